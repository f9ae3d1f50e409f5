"""What history remembers of a change, and the ids that put its entries in order."""

from __future__ import annotations

import datetime as dt
import re
import secrets
import threading
import time

from msgspec import Struct

from .pool import Pool, came_and_gone

REPAIR = "pools.repair"
"""The operation of a history entry by `afpools pool repair`. It is not known which document an earlier entry was
about."""

REPAIRED = "repaired"
"""How history words it, before the pool's name."""

MIRROR = "pools.mirror"
"""The operation of an entry by a broker: a pool was given the hosts of the pool of Afanasy's that it follows."""

MIRRORED = "followed Afanasy's pool with"
"""How history words it, before the pool's name."""


class MovedJob(Struct, frozen=True):
    """One job that was moved from one pool to another; `before` is empty if it named none."""

    id: int
    serial: int
    name: str
    user: str
    before: str
    after: str


class Diff(Struct, frozen=True, omit_defaults=True):
    """What a change changed. A pair is (before, after); a name missing on one side is empty. `follows` is there for a
    pool that followed one of Afanasy's before or after, also where both are the same. `spill` is as `pool.spill_text`
    writes it. `jobs` were moved to the pool,
    which stayed as it was."""

    name: tuple[str, str] | None = None
    description: tuple[str, str] | None = None
    colour: tuple[str, str] | None = None
    follows: tuple[str, str] | None = None
    spill: tuple[str, str] | None = None
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    jobs: tuple[MovedJob, ...] = ()

    @property
    def turned(self) -> tuple[str, str] | None:
        """`follows`, if that was changed."""
        return self.follows if self.follows and self.follows[0] != self.follows[1] else None


class Entry(Struct, frozen=True, kw_only=True):
    """One line of history: who did what, when, from which state to which.

    `pool` is the name after the change (before it, for a deletion); `before` and `after` are the pool's revisions,
    empty for a pool that did not or does not exist; `hosts` counts the hosts after the change. `undoes` is the id of
    the entry that an undo took back. `unchecked` is set if hosts were added and it was not possible to check whether
    the farm has them. `key` and `digest` identify a repeated request and stay inside the broker.
    """

    id: str
    when: dt.datetime
    who: str
    op: str
    pool: str
    diff: Diff
    before: str
    after: str
    hosts: int
    key: str
    digest: str
    undoes: str = ""
    unchecked: bool = False

    @property
    def changed(self) -> bool:
        """False for a request that found everything already as requested; history does not show those."""
        return self.before != self.after


class StepDiff(Struct, frozen=True):
    """The part of a `Diff` that says which pool it was."""

    name: tuple[str, str] | None = None


class Step(Struct, frozen=True, kw_only=True):
    """An `Entry` without its lists of hosts, which can be long: enough to follow pools through their history."""

    id: str
    when: dt.datetime
    who: str
    op: str
    pool: str
    diff: StepDiff
    before: str
    after: str
    undoes: str = ""


def difference(before: Pool | None, after: Pool | None) -> Diff:
    """What it takes to get from `before` to `after`, enough to go back as well."""
    old, new = before or Pool(""), after or Pool("")
    added, removed = came_and_gone(old.hosts, new.hosts)

    def pair(a: str, b: str) -> tuple[str, str] | None:
        return None if a == b else (a, b)

    return Diff(
        name=pair(old.name, new.name),
        description=pair(old.description, new.description),
        colour=pair(old.colour, new.colour),
        spill=pair(old.spill, new.spill),
        follows=(old.follows, new.follows) if old.follows or new.follows else None,
        added=added,
        removed=removed,
    )


_entry_lock = threading.Lock()

_last_tick = 0

_FAR_AHEAD = 2**53  # microseconds: the year 2255, which no clock is wrong enough to show


def next_entry_id(follows: str = "") -> str:
    """A new id for a history entry: 24 hexadecimal digits that sort by time and never repeat.

    The first 14 are microseconds since 1970. They increase within one broker, and beyond those of the entry that this
    one `follows`, so that the entries of one pool keep their order even if two brokers' clocks disagree.
    """
    global _last_tick
    now = time.time_ns() // 1000
    # Anybody may have edited the document: a value that cannot be one of our ids, or that lies far ahead, is ignored.
    after = int(follows[:14], 16) if re.fullmatch("[0-9a-f]{24}", follows) else 0
    if after > _FAR_AHEAD:
        after = 0
    with _entry_lock:
        _last_tick = max(_last_tick + 1, now, after + 1)
        return f"{_last_tick:014x}{secrets.token_hex(5)}"
