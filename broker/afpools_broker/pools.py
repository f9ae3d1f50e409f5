"""Pools, changes to them, and what history remembers: plain values and pure functions.

Strategy: a store only ever swaps one pool for another. What a change does to a pool is decided here, without I/O, so
that MongoDB and SQLite cannot disagree about it. A pool's revision is a fingerprint of its contents rather than a
counter: a document edited by hand in MongoDB, or written years ago by the earlier project, has a right revision too,
and all brokers of a studio compute the same one.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

import msgspec
from msgspec import Struct

from .lookalikes import lookalike, spelled_out
from .nearest import listed, nearest
from .persistent import PersistentMap
from .protocol import Code, RequestRefused

MOVE_JOBS = "jobs.move"
"""The operation of an entry about jobs. It changed no pool."""

REPAIR = "pools.repair"
"""The operation of an entry by `afpools pool repair`. Which document an earlier entry was about is not known."""

REPAIRED = "repaired"
"""What history says of it, before the pool's name."""


def fingerprint(*values: object) -> str:
    """Twelve hexadecimal digits that differ when any of `values` differs (JSON-encodable, order matters)."""
    return fingerprint_of_json(msgspec.json.encode(values))


def fingerprint_of_json(values: bytes) -> str:
    """The same of values that are encoded already, as one array."""
    return hashlib.sha256(values).hexdigest()[:12]


@dataclass(frozen=True)
class Pool:
    """A named set of hosts.

    Args:
        name: unique among the pools. The list of hosts registered by hand is kept as a pool whose name is empty; its
            description says which pool is the system pool, see `Contents.system_pool`.
        hosts: host names as they were entered, in that order, each once.
        description: for people.
        colour: `#rrggbb`, or empty.
    """

    name: str
    hosts: tuple[str, ...] = ()
    description: str = ""
    colour: str = ""

    @cached_property
    def revision(self) -> str:
        """Fingerprint of the contents; the order of hosts does not count."""
        return fingerprint(self.name, sorted(self.hosts), self.description, self.colour)


@dataclass(frozen=True)
class Contents:
    """Everything a store holds that reads are answered from.

    Args:
        pools: by name.
        registered: the hosts registered by hand.
        problems: one sentence for each document that could not be read; such a document counts as absent.
    """

    pools: Mapping[str, Pool] = field(default_factory=PersistentMap[Pool])
    registered: Pool = Pool("")
    problems: tuple[str, ...] = ()

    @property
    def system_pool(self) -> str | None:
        """The pool that post commands are kept on. Empty: they are kept on none; None: nobody has ever said, or it
        cannot be read, which must not open what has been fenced."""
        text = self.registered.description
        return text.removeprefix(_SYSTEM_POOL).strip() if text.startswith(_SYSTEM_POOL) else None


# What the description of the pool without a name begins with, where somebody has chosen a system pool.
_SYSTEM_POOL = "system pool:"


def with_system_pool(registered: Pool, name: str) -> Pool:
    """The list of registered hosts, saying that this pool is the system pool; an empty name for none."""
    return replace(registered, description=f"{_SYSTEM_POOL} {name}".rstrip())


class MovedJob(Struct, frozen=True):
    """One job that was moved from one pool to another; `before` is empty if it named none."""

    id: int
    serial: int
    name: str
    user: str
    before: str
    after: str


class Diff(Struct, frozen=True, omit_defaults=True):
    """What a change changed. A pair is (before, after); a name that is absent on one side is empty. `jobs` were moved
    to the pool, which stayed as it was."""

    name: tuple[str, str] | None = None
    description: tuple[str, str] | None = None
    colour: tuple[str, str] | None = None
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    jobs: tuple[MovedJob, ...] = ()


class Entry(Struct, frozen=True, kw_only=True):
    """One line of history: who did what, when, from which state to which.

    `pool` is the name after the change (before it, for a deletion); `before` and `after` are the pool's revisions,
    empty where there was or is none; `hosts` counts the hosts after the change. `undoes` is the id of the entry that an
    undo took back. `unchecked` is set where hosts were added and nobody could tell whether the farm has them. `key` and
    `digest` recognise a repeated request and stay inside the broker.
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
        """False for a request that found everything as it asked for already; history does not show those."""
        return self.before != self.after


class StepDiff(Struct, frozen=True):
    """Of a `Diff`, what says which pool it was."""

    name: tuple[str, str] | None = None


class Step(Struct, frozen=True, kw_only=True):
    """An `Entry` without its lists of hosts, which can be long: what it takes to follow pools through their history."""

    id: str
    when: dt.datetime
    who: str
    op: str
    pool: str
    diff: StepDiff
    before: str
    after: str
    undoes: str = ""


class PlanOutdated(Exception):
    """A planned change met a pool other than the one it was planned for. Nothing was written: plan it again."""


Check = Callable[[Pool | None, Pool | None], None]
"""Looks at what a change would make of a pool, gets it as it is and as it would be (None is not a pool), and raises
`RequestRefused` if that must not be."""


class Deed(Protocol):
    """What a change does to its pool. Pure: whatever that depends on besides the pool is in it already."""

    def becomes(self, present: Pool | None) -> Pool | None:
        """The pool as it is afterwards.

        Args:
            present: the pool of the change's name, None if there is none. For the hosts registered by hand, the pool
                whose name is empty.

        Returns:
            The new pool, equal to `present` if nothing had to change; None for a deletion.

        Raises:
            RequestRefused: `unknown_pool`, `pool_exists`, `conflict`, or `bad_request`.
            PlanOutdated: it was planned for another revision of the pool.
        """

    def takes_hosts(self, present: Pool | None) -> bool:
        """Whether hosts may leave this pool by it."""


@dataclass(frozen=True)
class Swap:
    """A deed that was planned beforehand, because it depends on more than its pool.

    Args:
        expects: the revision of the pool that it was planned for, empty if there was none.
        result: the pool afterwards, None for a deletion.
    """

    expects: str
    result: Pool | None

    def becomes(self, present: Pool | None) -> Pool | None:
        """As `Deed` has it."""
        if (present.revision if present else "") != self.expects:
            raise PlanOutdated
        return self.result

    def takes_hosts(self, present: Pool | None) -> bool:
        """As `Deed` has it."""
        if present is None:
            return False
        return self.result is None or not set(present.hosts) <= set(self.result.hosts)


@dataclass(frozen=True, kw_only=True)
class Change:
    """One change that somebody asked for, ready to be applied to whatever the pool is by then.

    Args:
        op: the operation, `pools.create` and so on.
        who: name in the credential that asked.
        request_id: the client's own name for this change.
        pool: name of the pool to change; empty for the list of hosts registered by hand.
        asked: everything that was asked for, JSON-encodable: a repeated request has the same.
        deed: what becomes of the pool.
        vet: looks at the outcome. It is asked when the change is applied, so that a request that was made before and is
            repeated is recognised first: by then, the farm may be another. Whom it lets through is not part of what was
            asked for.
        undoes: for `history.undo`, the id of the entry.
        unchecked: nobody can tell whether the farm has the hosts that are to join.
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
        """What makes a repeated request recognisable: its id, within the credential that sent it."""
        return f"{self.who}:{self.request_id}"

    @cached_property
    def digest(self) -> str:
        """Fingerprint of everything asked for, to tell a repeated request from a request id used twice."""
        return fingerprint(self.op, *self.asked)

    def apply(self, current: Pool | None) -> Pool | None:
        """The pool as it is after this change. Arguments and result as for `Deed.becomes`.

        Raises:
            RequestRefused: what `Deed.becomes` and `vet` raise.
            PlanOutdated: what `Deed.becomes` raises.
        """
        after = self.deed.becomes(current)
        if self.vet is not None:
            self.vet(current, after)
        return after

    def entry(self, before: Pool | None, after: Pool | None, *, when: dt.datetime, follows: str = "") -> Entry:
        """The line of history for this change having turned `before` into `after`.

        Args:
            before: None for a creation.
            after: None for a deletion.
            when: now.
            follows: id of the change that made `before`, where it is known: the new one sorts after it.
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
            RequestRefused: `bad_request`, where the request id had been used for another change.
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
    """What `Change.asked` is for the operations that have been there from the beginning.

    All of them have the same places in it, used or not: so a broker recognises a request that an older one, or one
    that has been updated already, was sent first.
    """
    return pool, new_name, sorted(hosts), description, colour, if_revision


def check_revision(pool: str, wanted: str | None, present: Pool | None) -> None:
    """
    Args:
        pool: its name.
        wanted: the revision that it must be at; None for any.
        present: the pool as it is.

    Raises:
        RequestRefused: `conflict`: it is at another one.
    """
    if wanted is None or (present is not None and wanted == present.revision):
        return
    now = f"it is at revision {present.revision}" if present else "it is not there"
    raise RequestRefused(
        Code.CONFLICT,
        f"The pool {pool!r} has changed since you read it ({now}, you named {wanted}). "
        "Read it again and decide whether you still want your change.",
    )


def without(present: Pool, hosts: Sequence[str]) -> Pool:
    """A pool without some of its hosts.

    Raises:
        RequestRefused: `bad_request`: one of them is not in it. That is a mistyped name, and its author believes that
            the host is out; so with one such name in a list nothing is taken out.
    """
    missing = _not_among(present.hosts, hosts)
    if missing:
        near = nearest(missing[0], present.hosts)
        hint = f"Did you mean {near!r}? " if near else ""
        are = "is" if len(missing) == 1 else "are"
        where = f"in the pool {present.name!r}" if present.name else "registered by hand"
        raise RequestRefused(
            Code.BAD_REQUEST, f"{listed(missing)} {are} not {where}, so nothing was taken out. {hint}".rstrip()
        )
    gone = _same_hosts(present.hosts, hosts)
    return replace(present, hosts=tuple(host for host in present.hosts if host not in gone))


def unknown_pool(name: str, pools: Iterable[str] = ()) -> RequestRefused:
    """The refusal for a pool that is not there; `pools` are the names of those that are."""
    near = nearest(name, pools)
    hint = f"Did you mean {near!r}?" if near else "It may have been renamed or deleted: look at the list of pools."
    return RequestRefused(Code.UNKNOWN_POOL, f"There is no pool {name!r}. {hint}")


def pool_exists(name: str) -> RequestRefused:
    """The refusal for a name that is taken."""
    return RequestRefused(
        Code.POOL_EXISTS, f"A pool {name!r} exists already. Choose another name, or change that pool."
    )


def refuse_lookalike(name: str, others: Iterable[str]) -> None:
    """
    Args:
        name: what a pool is to be called.
        others: the names of all other pools.

    Raises:
        RequestRefused: `pool_exists`: the name is one of them, or looks like one in a menu.
    """
    other = lookalike(name, others)
    if other == name != "":
        raise pool_exists(name)
    if other:
        raise RequestRefused(
            Code.POOL_EXISTS,
            f"The name {spelled_out(name)} looks like that of the pool {spelled_out(other)}, and a job could be sent "
            "to the wrong one. Choose another name, or change that pool.",
        )


def difference(before: Pool | None, after: Pool | None) -> Diff:
    """What it takes to get from `before` to `after`, enough to go back as well."""
    old, new = before or Pool(""), after or Pool("")
    old_hosts, new_hosts = set(old.hosts), set(new.hosts)

    def pair(a: str, b: str) -> tuple[str, str] | None:
        return None if a == b else (a, b)

    return Diff(
        name=pair(old.name, new.name),
        description=pair(old.description, new.description),
        colour=pair(old.colour, new.colour),
        added=tuple(h for h in new.hosts if h not in old_hosts),
        removed=tuple(h for h in old.hosts if h not in new_hosts),
    )


def as_afrender_would(name: str) -> str:
    """The name a render gives itself when nobody says otherwise: lower case, cut at the first dot. An address stays
    one.

    Source: CGRU's documentation of afrender; a name given with `-hostname` is taken as it is.
    """
    lowered = name.lower()
    return (lowered.split(".", 1)[0] or name) if has_domain(name) else lowered


def has_domain(name: str) -> bool:
    """Whether what follows the first dot may be a domain: not in an IPv4 or IPv6 address, nor in what begins like one.
    No domain ends in a number (RFC 3696, section 2)."""
    if "." not in name or ":" in name:
        return False
    last = name.rstrip(".").rpartition(".")[2]
    return not (last.isascii() and last.isdigit())


def _same_hosts(present: Iterable[str], named: Iterable[str]) -> frozenset[str]:
    """Which of the present names are meant by the named ones: the same whatever their case, or the same machine with
    its domain on one side only. Somebody who takes `pc-01` out of a pool means the `PC-01.studio.lan` in it, but
    `pc-01.site-a` never means `pc-01.site-b`, and a name that is in it means no other.
    """
    whole = set(map(str.casefold, named))
    meant = {name for name in present if name.casefold() in whole}
    # Most are named as they are, and domains cost ten times as much as cases.
    if loose := whole.difference(map(str.casefold, present)):
        short = set(map(as_afrender_would, loose))
        meant.update(name for name in present if as_afrender_would(name) in loose or name.casefold() in short)
    return frozenset(meant)


def _not_among(present: Iterable[str], named: Iterable[str]) -> list[str]:
    """Which of the named hosts mean none of the present ones; the opposite view of `_same_hosts`."""
    whole = set(map(str.casefold, present))
    loose = [name for name in named if name.casefold() not in whole]
    if not loose:
        return []
    short = set(map(as_afrender_would, whole))
    return [name for name in loose if as_afrender_would(name) not in whole and name.casefold() not in short]


def unique(names: Iterable[str]) -> tuple[str, ...]:
    """Each name once, in the order of first appearance."""
    return tuple(dict.fromkeys(names))


_entry_lock = threading.Lock()
_last_tick = 0

_FAR_AHEAD = 2**53  # microseconds: the year 2255, which no clock is wrong enough to show


def next_entry_id(follows: str = "") -> str:
    """A new id for a history entry: 24 hexadecimal digits that sort by time, and never twice alike.

    The first 14 are microseconds since 1970, made to increase within one broker, and beyond those of the entry that
    this one `follows`: the entries of one pool keep their order when two brokers' clocks disagree.
    """
    global _last_tick
    now = time.time_ns() // 1000
    # Somebody may have written anything into the document; what cannot be one of our ids, or lies far ahead, is not.
    after = int(follows[:14], 16) if re.fullmatch("[0-9a-f]{24}", follows) else 0
    if after > _FAR_AHEAD:
        after = 0
    with _entry_lock:
        _last_tick = max(_last_tick + 1, now, after + 1)
        return f"{_last_tick:014x}{secrets.token_hex(5)}"
