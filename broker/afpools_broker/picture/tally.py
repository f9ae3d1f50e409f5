"""How many hosts of each pool are renders, how many of those are online, and the list of pools with these counts.

Strategy: renders come and go every few seconds, pools and names seldom change. A tally is for one moment of the farm.
It counts a pool on demand, and takes over the previous tally's counts of pools without hosts that came or went. The
list's revision is a sum over its pools, so that the cost of a change depends only on what changed; the text is
assembled on first use.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Set
from functools import cached_property
from typing import NamedTuple

import msgspec

from ..pools.persistent import PersistentMap, persistent
from ..pools.pool import Moves, Pool, came_and_gone, fingerprint
from ..protocol import PoolSpill, PoolSummary

# A list of at most this many pools is assembled at once: handing it to a worker would take as long.
_FEW = 200
# For the sum of fingerprints.
_MODULUS = 2**256


class Counts(NamedTuple):
    """Counts of the hosts of one pool.

    Args:
        renders: how many are renders of the farm; None if the list of renders is unknown or old.
        online: how many of those are online; None if that is unknown. If no render of the whole farm is online, as
            right after a restart of afserver, that says nothing about one pool.
    """

    renders: int | None = None
    online: int | None = None


UNKNOWN = Counts()


class _Piece(NamedTuple):
    """One pool's part of the list of pools.

    Args:
        pool: the pool.
        counts: the counts of its hosts.
        summary: JSON.
        fingerprint: a number that differs if the name, the revision or the counts do.
    """

    pool: Pool
    counts: Counts
    summary: bytes
    fingerprint: int

    @classmethod
    def of(cls, pool: Pool, counts: Counts) -> _Piece:
        summary = PoolSummary(
            name=pool.name,
            hosts=len(pool.hosts),
            revision=pool.revision,
            description=pool.description,
            colour=pool.colour,
            follows=pool.follows,
            spill=PoolSpill(pool=pool.spill_to, after=pool.spill_after) if pool.spill_to else None,
            renders=counts.renders,
            online=counts.online,
        )
        told = msgspec.json.encode((pool.name, pool.revision, counts))
        return cls(pool, counts, msgspec.json.encode(summary), int.from_bytes(hashlib.sha256(told).digest()))


class _Order:
    """The order of the pools in some lists; computed on first use."""

    def __init__(self, names: Mapping[str, object]) -> None:
        self._names = names

    @cached_property
    def shown(self) -> list[str]:
        """The names, sorted as people expect."""
        return sorted(self._names, key=lambda name: (name.casefold(), name))


class Listing:
    """The list of pools, ready to send: assembled from pieces, which are kept as long as they are valid.

    Args:
        pieces: by name.
        total: the sum of their fingerprints.
        order: the order of these names.
    """

    def __init__(self, pieces: PersistentMap[_Piece], total: int, order: _Order) -> None:
        self._pieces, self._total, self._order = pieces, total, order
        self.revision = fingerprint(f"{total:064x}")
        """Differs if anything in the list does; brokers that see the same pools and renders agree on it."""

    def evolve(self, pools: Mapping[str, tuple[Pool, Counts] | None]) -> Listing:
        """A list in which these pools are replaced.

        Args:
            pools: by name, with their counts; None for a pool that no longer exists. Unchanged pools may be among them.
        """
        made: dict[str, _Piece | None] = {}
        total, same_names = self._total, True
        for name, its in pools.items():
            last = self._pieces.get(name)
            if its is None:
                piece = None
            elif last is not None and last.pool is its[0] and last.counts == its[1]:
                continue
            else:
                piece = _Piece.of(*its)
            made[name] = piece
            total += (piece.fingerprint if piece else 0) - (last.fingerprint if last else 0)
            same_names &= (last is None) == (piece is None)
        if not made:
            return self
        pieces = self._pieces.evolve(made)
        return Listing(pieces, total % _MODULUS, self._order if same_names else _Order(pieces))

    @property
    def at_hand(self) -> bool:
        """Whether `pools` has been made, or takes practically no time."""
        return len(self._pieces) <= _FEW or "pools" in self.__dict__

    @cached_property
    def pools(self) -> msgspec.Raw:
        """The summaries, sorted by name, JSON."""
        pieces = self._pieces.values_of(self._order.shown)
        return msgspec.Raw(b"[%b]" % b",".join([piece.summary for piece in pieces]))


def _empty() -> Listing:
    pieces = PersistentMap[_Piece]()
    return Listing(pieces, 0, _Order(pieces))


def listing(pools: PersistentMap[Pool], last: tuple[Mapping[str, Pool], Listing] | None = None) -> Listing:
    """The list of these pools, without counts of renders.

    Args:
        pools: by name.
        last: other pools and their list.
    """
    before, listed = last or ({}, _empty())
    names = pools.differing(before)
    return listed.evolve({name: (pools[name], UNKNOWN) if name in pools else None for name in names})


class Tally:
    """The counts of all pools at one moment. Safe to use from any thread.

    Args:
        pools: by name.
        members: the hosts of each pool, as the farm spells them.
        renders: the names of the farm's renders.
        online: those of them that are online.
        last: the previous tally. What was counted there is counted here at once.
    """

    def __init__(
        self,
        pools: Mapping[str, Pool],
        members: Mapping[str, Set[str]],
        renders: frozenset[str],
        online: frozenset[str],
        last: Tally | None = None,
    ) -> None:
        self.online = online
        self._pools = persistent(pools)
        self._members = persistent(members)
        self._renders = renders
        self._counts = PersistentMap[Counts]()
        self._listing: Listing | None = None
        if last is not None:
            self._take_over(last)

    def _take_over(self, last: Tally) -> None:
        counted = last._counts
        # Through a list, because iterating over the difference of two large sets takes as long as over the sets.
        renders = frozenset(list(last._renders ^ self._renders) if self._renders is not last._renders else ())
        online = frozenset(list(last.online ^ self.online) if self.online is not last.online else ())
        anew = set(self._members.differing(last._members))
        if bool(last.online) != bool(self.online):
            anew |= set(self._members)
        moved: dict[str, Counts | None] = {}
        changed_hosts = renders | online
        for pool, members in self._members.items() if changed_hosts else ():
            counts = counted.get(pool)
            if pool not in anew and counts is not None and not members.isdisjoint(changed_hosts):
                # Only the hosts that came or went: a pool may have every host of the farm.
                moved[pool] = Counts(
                    _corrected(counts.renders, members, renders, self._renders),
                    _corrected(counts.online, members, online, self.online),
                )
        self._counts = counted.evolve({**dict.fromkeys(anew), **moved})
        for pool in anew if not changed_hosts else ():
            counts, before, now = counted.get(pool), last._members.get(pool), self._members.get(pool)
            if counts is not None and before is not None and now is not None:
                moves = came_and_gone(tuple(before), tuple(now))
                counts = Counts(_moved(counts.renders, moves, self._renders), _moved(counts.online, moves, self.online))
                self._counts = self._counts.evolve({pool: counts})
        for pool in anew:
            if pool in counted and pool in self._members:
                self.of(pool)
        if last._listing is not None:
            changed = {*self._pools.differing(last._pools), *self._counts.differing(counted)}
            self._listing = last._listing.evolve(self._listed(changed))

    def _listed(self, names: Iterable[str]) -> dict[str, tuple[Pool, Counts] | None]:
        return {name: (self._pools[name], self.of(name)) if name in self._pools else None for name in names}

    def of(self, pool: str) -> Counts:
        """The counts of one pool.

        Args:
            pool: the name of an existing pool.
        """
        counts = self._counts.get(pool)
        if counts is None:
            members = self._members[pool]
            online = _in_common(members, self.online) if self.online else None
            counts = Counts(_in_common(members, self._renders), online)
            # If two threads count at the same time, one may have to count again later.
            self._counts = self._counts.evolve({pool: counts})
        return counts

    @property
    def listing(self) -> Listing:
        """The list of pools with their counts, made now if necessary."""
        if self._listing is None:
            self._listing = _empty().evolve(self._listed(self._pools))
        return self._listing

    @property
    def listing_at_hand(self) -> Listing | None:
        """The same, if it has been made already."""
        return self._listing

    def without_online(self) -> int | None:
        """How many pools have hosts, but none of these is online; None if no render of the whole farm is."""
        if not self.online:
            return None
        return sum(1 for name, members in self._members.items() if members and not self.of(name).online)

    def without_renders(self, yet_to_come: Set[str] = frozenset()) -> list[str]:
        """The pools that have hosts but no render among them, sorted by name.

        Args:
            yet_to_come: hosts that are not set up yet; a pool with one of these is left out.
        """
        return sorted(
            name
            for name, members in self._members.items()
            if members and not self.of(name).renders and members.isdisjoint(yet_to_come)
        )


def _corrected(count: int | None, members: Set[str], changed: frozenset[str], now: frozenset[str]) -> int | None:
    """How many of the members are there now, updated by those that came or went; None if the count was unknown."""
    return None if count is None else count + sum(1 if name in now else -1 for name in members & changed)


def _moved(count: int | None, moves: Moves, there: frozenset[str]) -> int | None:
    """How many members there are, updated by those that came and went; None if the count was unknown."""
    came, gone = moves
    return None if count is None else count + sum(map(there.__contains__, came)) - sum(map(there.__contains__, gone))


def _in_common(members: Set[str], renders: frozenset[str]) -> int:
    # Most members are renders, and most of those online: collecting the few others takes half the time.
    return len(members) - len([host for host in members if host not in renders])
