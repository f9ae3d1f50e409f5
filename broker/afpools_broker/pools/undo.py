"""Which changes can still be undone, and what undoing one does to its pool: pure functions of history and pools.

Strategy: an undo takes back one change and nothing else. What was done to the pool before or since stays, as long as it
does not conflict; if it does, the undo is refused, naming who did what and when. Pools are followed through their
history from the change on: a pool that was renamed since is found under its new name, and a new pool with the name of a
deleted pool is never mistaken for it. A pool that an undo brought back is the one that was deleted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from ..protocol import Code, RequestRefused
from .changes import MOVE_JOBS, Swap
from .history import MIRROR, REPAIR, Diff, Entry, Step
from .lookalikes import appearance
from .pool import Contents, Pool, pool_follows, refuse_lookalike, unique, with_system_pool

REACH = 5_000
"""How many changes back an undo may reach. Limits what is read from the store to answer `history.list`."""


@dataclass
class _Life:
    """One pool as history shows it, from the first known step; `name` is None after it was deleted."""

    name: str | None
    steps: list[Step] = field(default_factory=list)


class Undoing:
    """Decides about the changes of one stretch of history.

    Args:
        trail: every change from the oldest one asked about until now, newest first.
        contents: the pools, not older than the trail.
        did: what an operation did to a pool, by its name, as the rest of a sentence: "it was renamed".
    """

    def __init__(self, trail: Sequence[Step], contents: Contents, did: Mapping[str, str] | None = None) -> None:
        self._contents = contents
        self._did = {
            **(did or {}),
            REPAIR: "two pools with one name were resolved",
            MIRROR: "it followed Afanasy's pool",
        }
        self._hosts: dict[str, frozenset[str]] = {}
        self._lives: dict[str, _Life] = {}
        self._undone: dict[str, Step] = {}
        named: dict[str, _Life] = {}
        for step in reversed(trail):
            self._follow(step, named)
        for step in trail:
            # Newest first: an undo that was itself undone undoes nothing.
            if step.undoes and step.id not in self._undone:
                self._undone[step.undoes] = step

    def _follow(self, step: Step, named: dict[str, _Life]) -> None:
        if step.op == MOVE_JOBS:
            return
        old, new = step.diff.name or (step.pool, step.pool)
        if step.op == REPAIR:
            # There were two pools with one name: it is not known which of them the earlier steps were about.
            if old in named:
                named.pop(old).name = None
            life = _Life(new)
        elif step.before:
            life = named.pop(old, _Life(old))
        else:
            ended = self._lives.get(step.undoes)
            life = ended if ended is not None and ended.name is None else _Life(new)
        life.steps.append(step)
        life.name = new if step.after else None
        self._lives[step.id] = life
        if life.name is not None:
            displaced = named.get(life.name)
            if displaced is not None:
                displaced.name = None  # its name was taken without a history entry: somebody edited the database
            named[life.name] = life

    def why_not(self, entry: Entry) -> str:
        """Why a change cannot be undone now; empty if it can."""
        try:
            self._present(entry)
        except RequestRefused as refusal:
            return refusal.message
        return ""

    def undo_of(self, entry: Entry) -> Step | None:
        """What took this change back; None if nothing did."""
        return self._undone.get(entry.id)

    def pool_of(self, entry: Entry) -> str:
        """The name of the pool that undoing `entry` changes or makes; if it cannot be undone, the entry's own."""
        life = self._lives.get(entry.id)
        return entry.pool if life is None or life.name is None else life.name

    def plan(self, entry: Entry) -> Swap:
        """The change to that pool.

        Raises:
            RequestRefused: `conflict` or `pool_exists`, with what is in the way.
        """
        present = self._present(entry)
        if present is None:
            return Swap("", _before_deletion(entry))
        if not entry.before:
            return Swap(present.revision, None)
        diff, added = entry.diff, frozenset(entry.diff.added)
        result = replace(
            present,
            name=diff.name[0] if diff.name else present.name,
            description=diff.description[0] if diff.description else present.description,
            colour=diff.colour[0] if diff.colour else present.colour,
            follows=diff.turned[0] if diff.turned else present.follows,
            spill=diff.spill[0] if diff.spill else present.spill,
            hosts=unique((*(host for host in present.hosts if host not in added), *diff.removed)),
        )
        if present.name == "" and diff.description and not result.description:
            # As long as nobody has chosen a system pool, an existing fence stays. So record that there is none.
            result = with_system_pool(result, "")
        return Swap(present.revision, result)

    def _present(self, entry: Entry) -> Pool | None:
        """The pool that undoing `entry` changes; None if it makes a new one.

        Raises:
            RequestRefused: `entry` cannot be undone.
        """
        if entry.op == MOVE_JOBS:
            if (undo := self._undone.get(entry.id)) is not None:
                raise _conflict(f"The jobs have already been moved back{_by(undo)}.")
            return None
        life = self._lives.get(entry.id)
        if life is None:
            raise _conflict(f"More than {REACH:,} changes have been made since; an undo does not reach that far back.")
        if (undo := self._undone.get(entry.id)) is not None:
            raise _conflict(f"It has already been undone{_by(undo)}. To redo the change, undo that.")
        diff = entry.diff
        if not entry.after:
            restored = _before_deletion(entry)
            if restored.revision != entry.before:
                raise _conflict("The history does not have everything that was in the pool, so it cannot be restored.")
            self._refuse_taken(restored.name)
            return None
        if entry.before and not _says_anything(diff):
            raise _conflict("The history does not have what was changed, so it cannot be changed back.")
        present = self._still_there(entry, life)
        # An obstacle found below may come from the last step or an earlier one, and the steps have no hosts here. So
        # the messages say what the obstacle is, and which change was the last.
        if not entry.before and present.revision != entry.after and not _was_made_to_follow(entry, present):
            raise _conflict(f"{_the_pool(present.name)} is not as it was created.{self._last(entry, life)}")
        if diff.name and entry.before:
            if present.name != diff.name[1]:
                raise _conflict(f"The pool is now called {present.name!r}.{self._last(entry, life)}")
            self._refuse_taken(diff.name[0], present.name)
        for what in ("description", "colour", "spill"):
            pair = getattr(diff, what)
            if pair is not None and getattr(present, what) != pair[1]:
                words = "second pool" if what == "spill" else what
                whose = f"The {words} of {present.name!r}" if present.name else "The farm's setting"
                raise _conflict(
                    f"{whose} is {getattr(present, what)!r} now, not {pair[1]!r} as after this change."
                    f"{self._last(entry, life)}"
                )
        have = self._hosts_of(present)
        where = _the_pool(present.name)
        if diff.turned and present.follows != diff.turned[1]:
            now = f"follows Afanasy's pool {present.follows!r}" if present.follows else "follows no pool of Afanasy"
            raise _conflict(f"{where} {now} now.{self._last(entry, life)}")
        if present.follows and entry.before and not diff.turned and (diff.added or diff.removed):
            raise pool_follows(present)
        if diff.added and entry.before and have.isdisjoint(diff.added):
            raise _conflict(f"{where} has lost all the hosts that this change added.{self._last(entry, life)}")
        if diff.removed and have.issuperset(diff.removed):
            raise _conflict(f"{where} already has all the hosts that this change removed.{self._last(entry, life)}")
        return present

    def _still_there(self, entry: Entry, life: _Life) -> Pool:
        if life.name == "":
            return self._contents.registered
        if life.name is None:
            end = life.steps[-1]
            gone = (
                f"The pool was deleted{_by(end)}. Undo that first."
                if not end.after
                else f"The pool {end.pool!r} was replaced in the database, outside this history."
            )
            raise _conflict(gone)
        present = self._contents.pools.get(life.name)
        if present is None:
            raise _conflict(f"The pool {life.name!r} no longer exists.{self._last(entry, life)}")
        return present

    @cached_property
    def _looks(self) -> dict[str, list[str]]:
        """The names of pools by their appearance."""
        found: dict[str, list[str]] = {}
        for name in self._contents.pools:
            found.setdefault(appearance(name), []).append(name)
        return found

    def _refuse_taken(self, name: str, own: str = "") -> None:
        """Refuses a name that another pool has, or that looks like another pool's; `own` is the pool's present one."""
        alike = [other for other in self._looks.get(appearance(name), ()) if other != own]
        if alike and name not in alike:
            refuse_lookalike(name, alike)
        if alike:
            raise RequestRefused(
                Code.POOL_EXISTS, f"Another pool is called {name!r} now. Rename or delete that one first."
            )

    def _last(self, entry: Entry, life: _Life) -> str:
        """A sentence about the last change of this pool since `entry`."""
        step = life.steps[-1]
        if step.id == entry.id:
            return " That was done in the database, outside this history."
        return f" The last change since: {self._did.get(step.op, step.op)}{_by(step)}."

    def _hosts_of(self, pool: Pool) -> frozenset[str]:
        if pool.name not in self._hosts:
            self._hosts[pool.name] = frozenset(pool.hosts)
        return self._hosts[pool.name]


def _before_deletion(entry: Entry) -> Pool:
    """The pool that a deletion removed, as far as its entry describes it."""
    diff = entry.diff
    return Pool(
        entry.pool,
        diff.removed,
        diff.description[0] if diff.description else "",
        diff.colour[0] if diff.colour else "",
        diff.follows[0] if diff.follows else "",
        diff.spill[0] if diff.spill else "",
    )


def _says_anything(diff: Diff) -> bool:
    return bool(diff.name or diff.description or diff.colour or diff.spill or diff.turned or diff.added or diff.removed)


def _was_made_to_follow(entry: Entry, present: Pool) -> bool:
    """Whether a pool is as it was created, except for its hosts, which have followed Afanasy's pool since."""
    diff = entry.diff
    if not diff.follows or entry.pool != present.name:
        return False
    created = (diff.follows[1], *(pair[1] if pair else "" for pair in (diff.description, diff.colour, diff.spill)))
    return (present.follows, present.description, present.colour, present.spill) == created


def _conflict(message: str) -> RequestRefused:
    return RequestRefused(Code.CONFLICT, message)


def _the_pool(name: str) -> str:
    return f"The pool {name!r}" if name else "The list of registered hosts"


def _by(step: Step) -> str:
    return f" by {step.who!r} on {step.when:%Y-%m-%d at %H:%M} UTC"
