"""Changes to pools: pure functions.

Strategy: a store only ever swaps one pool for another. What a change does to a pool is decided here and in the
operations, without I/O, so that MongoDB and SQLite cannot disagree about it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

from ..protocol import Code, RequestRefused
from .history import MIRROR, Entry, difference, next_entry_id
from .nearest import listed, nearest
from .pool import Pool, as_afrender_would, fingerprint, pool_follows

MOVE_JOBS = "jobs.move"
"""The operation of a history entry about jobs: no pool was changed."""


class PlanOutdated(Exception):
    """A planned change met a pool at another revision than the one it was planned for. Nothing was written: plan it
    again."""


Check = Callable[[Pool | None, Pool | None], None]
"""Checks what a change would make of a pool. Takes the pool as it is and as it would be (None if there is no pool), and
raises `RequestRefused` if that must not happen."""


class Deed(Protocol):
    """What a change does to its pool. Pure: anything else it depends on is already in it."""

    def becomes(self, present: Pool | None) -> Pool | None:
        """The pool as it is afterwards.

        Args:
            present: the pool with the change's name, None if there is none. For the list of hosts registered by hand,
                the pool whose name is empty.

        Returns:
            The new pool, equal to `present` if nothing had to change; None for a deletion.

        Raises:
            RequestRefused: `unknown_pool`, `pool_exists`, `conflict`, or `bad_request`.
            PlanOutdated: it was planned for another revision of the pool.
        """

    def takes_hosts(self, present: Pool | None) -> bool:
        """Whether this can remove hosts from the pool."""


@dataclass(frozen=True)
class Swap:
    """A deed planned beforehand, because it depends on more than its pool.

    Args:
        expects: the revision of the pool that it was planned for, empty if there was none.
        result: the pool afterwards, None for a deletion.
    """

    expects: str
    result: Pool | None

    def becomes(self, present: Pool | None) -> Pool | None:
        """As `Deed.becomes`."""
        if (present.revision if present else "") != self.expects:
            raise PlanOutdated
        return self.result

    def takes_hosts(self, present: Pool | None) -> bool:
        """As `Deed.takes_hosts`."""
        if present is None:
            return False
        return self.result is None or not set(present.hosts) <= set(self.result.hosts)


@dataclass(frozen=True, kw_only=True)
class Change:
    """One change that somebody asked for, ready to be applied to the pool as it is at that time.

    Args:
        op: the operation, `pools.create` and so on.
        who: the name in the credential that asked for it.
        request_id: the client's own name for this change.
        pool: name of the pool to change; empty for the list of hosts registered by hand.
        asked: everything that was asked for, JSON-encodable; a repeated request has the same value.
        deed: what to do to the pool.
        vet: checks the outcome. It is called when the change is applied, so that a repeated request is recognised
            first: the farm may have changed by then. Its verdict is not part of what was asked for.
        undoes: for `history.undo`, the id of the entry.
        unchecked: it was not possible to check whether the farm has the hosts to be added.
    """

    op: str
    who: str
    request_id: str
    pool: str
    asked: tuple[object, ...]
    deed: Deed
    vet: Check | None = field(default=None, compare=False)
    undoes: str = ""
    unchecked: bool = False

    @property
    def key(self) -> str:
        """What identifies a repeated request: its id and the credential that sent it."""
        return f"{self.who}:{self.request_id}"

    @cached_property
    def digest(self) -> str:
        """Fingerprint of everything asked for; tells a repeated request from a request id used for two changes."""
        return fingerprint(self.op, *self.asked)

    def apply(self, current: Pool | None) -> Pool | None:
        """The pool as it is after this change. Arguments and result as for `Deed.becomes`.

        Raises:
            RequestRefused: what `Deed.becomes` and `vet` raise; `conflict` for hosts of a pool that follows one of
                Afanasy's.
            PlanOutdated: what `Deed.becomes` raises.
        """
        after = self.deed.becomes(current)
        if self.op != MIRROR:
            refuse_followed(current, after)
        if self.vet is not None:
            self.vet(current, after)
        return after

    def entry(self, before: Pool | None, after: Pool | None, *, when: dt.datetime, follows: str = "") -> Entry:
        """The line of history for this change, which turned `before` into `after`.

        Args:
            before: None for a creation.
            after: None for a deletion.
            when: now.
            follows: id of the change that made `before`, if it is known; the new entry sorts after it.
        """
        named = after or before
        diff = difference(before, after)
        return Entry(
            id=next_entry_id(follows),
            when=when,
            who=self.who,
            op=self.op,
            pool=named.name if named else self.pool,
            diff=diff,
            before=before.revision if before else "",
            after=after.revision if after else "",
            hosts=len(after.hosts) if after else 0,
            key=self.key,
            digest=self.digest,
            undoes=self.undoes,
            unchecked=self.unchecked and bool(diff.added),
        )

    def recall(self, entry: Entry) -> Entry:
        """Accepts `entry` as the earlier outcome of this same request.

        Raises:
            RequestRefused: `bad_request` if the request id was already used for another change.
        """
        if entry.digest != self.digest:
            raise RequestRefused(
                Code.BAD_REQUEST,
                f"The request_id {self.request_id!r} was already used for another change ({entry.op} of "
                f"{entry.pool!r}). Make a new request_id for each change.",
            )
        return entry


def asked_for(
    pool: str,
    *,
    new_name: str = "",
    hosts: Iterable[str] = (),
    description: str | None = None,
    colour: str | None = None,
    if_revision: str | None = None,
) -> tuple[object, ...]:
    """The value of `Change.asked` for the operations that have existed from the beginning.

    All of them have the same fields in it, used or not, so that a broker recognises a request that an older or a newer
    broker received first.
    """
    return pool, new_name, sorted(hosts), description, colour, if_revision


def refuse_followed(before: Pool | None, after: Pool | None) -> None:
    """
    Args:
        before: the pool as it is; None if there is none.
        after: as it would be; None for a deletion.

    Raises:
        RequestRefused: `conflict`: it follows one of Afanasy's, still does afterwards, and would have other hosts.
    """
    if before is None or after is None or not before.follows or after.follows != before.follows:
        return
    if set(before.hosts) != set(after.hosts):
        raise pool_follows(before)


def check_revision(pool: str, wanted: str | None, present: Pool | None) -> None:
    """
    Args:
        pool: its name.
        wanted: the revision it must be at; None for any.
        present: the pool as it is.

    Raises:
        RequestRefused: `conflict`: it is at another revision.
    """
    if wanted is None or (present is not None and wanted == present.revision):
        return
    now = f"it is at revision {present.revision}" if present else "it no longer exists"
    raise RequestRefused(
        Code.CONFLICT,
        f"The pool {pool!r} has changed since you read it ({now}, you named {wanted}). "
        "Read it again and decide whether you still want your change.",
    )


def without(present: Pool, hosts: Sequence[str]) -> Pool:
    """A pool without some of its hosts.

    Raises:
        RequestRefused: `bad_request`: one of them is not in it. Such a name is mistyped, and its author would believe
            that the host is out; so one such name in a list means that nothing is taken out.
    """
    gone, missing = _meant(present.hosts, hosts)
    if missing:
        near = nearest(missing[0], present.hosts)
        hint = f"Did you mean {near!r}? " if near else ""
        are = "is" if len(missing) == 1 else "are"
        where = f"in the pool {present.name!r}" if present.name else "registered by hand"
        raise RequestRefused(
            Code.BAD_REQUEST, f"{listed(missing)} {are} not {where}, so nothing was taken out. {hint}".rstrip()
        )
    return replace(present, hosts=tuple(host for host in present.hosts if host not in gone))


def _meant(present: Iterable[str], named: Sequence[str]) -> tuple[frozenset[str], list[str]]:
    """Which of the present names the named ones mean: the same name in any case, or the same machine if only one of the
    two names has a domain. Somebody who takes `pc-01` out of a pool means the `PC-01.studio.lan` in it, but
    `pc-01.site-a` never means `pc-01.site-b`, and a name that is in the pool means no other.

    Returns:
        These, and the named ones that mean none of them.
    """
    whole = set(map(str.casefold, named))
    meant = {name for name in present if name.casefold() in whole}
    # Most hosts are named exactly as they are, and comparing domains costs ten times as much as comparing cases.
    loose = whole.difference(map(str.casefold, meant))
    if not loose:
        return frozenset(meant), []
    short: dict[str, set[str]] = {}
    for name in loose:
        short.setdefault(as_afrender_would(name), set()).add(name)
    missing = set(loose)
    for name in present:
        cut, fold = as_afrender_would(name), name.casefold()
        if cut in loose or fold in short:
            meant.add(name)
            missing -= {cut, *short.get(fold, ())}
    return frozenset(meant), [name for name in named if name.casefold() in missing]
