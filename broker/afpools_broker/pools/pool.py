"""Pools: plain values, and the rules for their names.

Strategy: a pool's revision is a fingerprint of its contents rather than a counter: a document edited by hand in
MongoDB, or written years ago by the earlier project, also has a correct revision, and all brokers of a studio compute
the same one.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import msgspec

from afpools.fence_note import MAX_SPILL_SECONDS, MIN_SPILL_SECONDS

from ..protocol import Code, RequestRefused
from .lookalikes import lookalike, spelled_out
from .nearest import nearest
from .persistent import PersistentMap


def fingerprint(*values: object) -> str:
    """Twelve hexadecimal digits that differ if any of `values` differs (JSON-encodable; order matters)."""
    return fingerprint_of_json(msgspec.json.encode(values))


def fingerprint_of_json(values: bytes) -> str:
    """The same for values that are already encoded, as one JSON array."""
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
        follows: the path of Afanasy's own pool that brokers mirror in it, `/local/farm`; empty for a pool whose hosts
            people choose.
        spill: a second pool for its jobs that wait too long, as `spill_text` writes it; empty for none.
    """

    name: str
    hosts: tuple[str, ...] = ()
    description: str = ""
    colour: str = ""
    follows: str = ""
    spill: str = ""

    @cached_property
    def revision(self) -> str:
        """Fingerprint of the contents; the order of hosts does not count."""
        # Absent settings leave no trace in it, so that brokers that do not know them yet compute the same.
        more: list[tuple[object, ...]] = [("follows", self.follows)] if self.follows else []
        if self.spill:
            more.append(("spill", self.spill))
        return fingerprint(self.name, sorted(self.hosts), self.description, self.colour, *more)

    @property
    def spill_to(self) -> str:
        """The name of the second pool; empty for none."""
        return self._spill[1]

    @property
    def spill_after(self) -> int:
        """Seconds in a row without a running task after which a job may use the second pool too."""
        return self._spill[0]

    @cached_property
    def _spill(self) -> tuple[int, str]:
        after, _, to = self.spill.partition(" ")
        # Anybody may have edited the database: what cannot be read is no second pool.
        is_right = after.isascii() and after.isdigit() and MIN_SPILL_SECONDS <= int(after) <= MAX_SPILL_SECONDS
        return (int(after), to) if is_right and to else (0, "")


def spill_text(to: str, after: int) -> str:
    """A pool's second pool, and after how many seconds its jobs may use that too, in one text: `1800 night`."""
    return f"{after} {to}" if to else ""


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
        """The pool that post commands are restricted to. Empty: they are not restricted; None: nobody has ever chosen,
        or the setting cannot be read, which must not open a fence."""
        text = self.registered.description
        return text.removeprefix(_SYSTEM_POOL).strip() if text.startswith(_SYSTEM_POOL) else None


# How the description of the pool without a name begins if somebody has chosen a system pool.
_SYSTEM_POOL = "system pool:"


def with_system_pool(registered: Pool, name: str) -> Pool:
    """The list of registered hosts that records this pool as the system pool; an empty name for none."""
    return replace(registered, description=f"{_SYSTEM_POOL} {name}".rstrip())


def unknown_pool(name: str, pools: Iterable[str] = ()) -> RequestRefused:
    """The refusal for a pool that does not exist; `pools` are the names of those that do."""
    near = nearest(name, pools)
    hint = f"Did you mean {near!r}?" if near else "It may have been renamed or deleted: look at the list of pools."
    return RequestRefused(Code.UNKNOWN_POOL, f"There is no pool {name!r}. {hint}")


def pool_exists(name: str) -> RequestRefused:
    """The refusal for a name that is taken."""
    return RequestRefused(
        Code.POOL_EXISTS, f"A pool {name!r} exists already. Choose another name, or change that pool."
    )


def pool_follows(pool: Pool) -> RequestRefused:
    """The refusal to change the hosts of a pool that follows one of Afanasy's own."""
    return RequestRefused(
        Code.CONFLICT,
        f"The pool {pool.name!r} follows Afanasy's pool {pool.follows!r}, so its hosts are changed in Afanasy. To "
        f"change them here, first run `afpools pool unfollow {shlex.quote(pool.name)}`.",
    )


def refuse_lookalike(name: str, others: Iterable[str]) -> None:
    """
    Args:
        name: what a pool is to be called.
        others: the names of all other pools.

    Raises:
        RequestRefused: `pool_exists`: the name is one of them, or looks like one of them in a menu.
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


def as_afrender_would(name: str) -> str:
    """The name that a render gives itself if nobody sets one: lower case, cut at the first dot. An address is not cut.

    Source: CGRU's documentation of afrender; a name given with `-hostname` is taken as it is.
    """
    lowered = name.lower()
    return (lowered.split(".", 1)[0] or name) if has_domain(name) else lowered


def has_domain(name: str) -> bool:
    """Whether what follows the first dot may be a domain: not so in an IPv4 or IPv6 address, nor in a name that begins
    like one. No domain ends in a number (RFC 3696, section 2)."""
    if "." not in name or ":" in name:
        return False
    last = name.rstrip(".").rpartition(".")[2]
    return not (last.isascii() and last.isdigit())


# How many names are compared at once.
_AT_ONCE = 256

Moves = tuple[tuple[str, ...], tuple[str, ...]]
"""The names that were added, and those that were removed."""


def came_and_gone(before: Sequence[str], after: Sequence[str]) -> Moves:
    """The differences between two lists of names without duplicates.

    Most changes concern a few names of many, so equal beginnings and ends are skipped first, many names at
    a time.

    Returns:
        The names that only `after` has and those that only `before` has, in order.
    """
    start = _alike(before, after)
    short = min(len(before), len(after)) - start
    end = min(_alike(before[start:][::-1], after[start:][::-1]), short)
    old, new = before[start : len(before) - end], after[start : len(after) - end]
    had, has = set(old), set(new)
    return tuple(name for name in new if name not in had), tuple(name for name in old if name not in has)


def _alike(some: Sequence[str], others: Sequence[str]) -> int:
    """The number of equal names at the beginning of both."""
    at, short = 0, min(len(some), len(others))
    while at < short and some[at : at + _AT_ONCE] == others[at : at + _AT_ONCE]:
        at += _AT_ONCE
    while at < short and some[at] == others[at]:
        at += 1
    return min(at, short)


def unique(names: Iterable[str]) -> tuple[str, ...]:
    """Each name once, in the order of first appearance."""
    return tuple(dict.fromkeys(names))
