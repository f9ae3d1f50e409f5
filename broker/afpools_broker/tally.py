"""How many hosts of each pool are renders, how many of those are online, and the list of pools that says so.

Strategy: renders come and go every few seconds, pools and names seldom. A tally is one moment of the farm. It counts a
pool when somebody asks, and takes over from the tally before whatever no host that came or went has touched.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from .pools import Pool, fingerprint_of_json
from .protocol import PoolSummary


class Counts(NamedTuple):
    """Of the hosts of one pool.

    Args:
        renders: how many are renders of the farm; None where the list of renders is not known, or is old.
        online: how many of those are online; None where that is not known. While no render of the whole farm is online,
            as right after a restart of afserver, it says nothing about one pool.
    """

    renders: int | None = None
    online: int | None = None


UNKNOWN = Counts()


class _Piece(NamedTuple):
    """What the list of pools has of one pool, JSON."""

    pool: Pool
    counts: Counts
    summary: bytes
    revision: bytes
    counted: bytes

    @classmethod
    def of(cls, pool: Pool, counts: Counts) -> _Piece:
        summary = PoolSummary(
            name=pool.name,
            hosts=len(pool.hosts),
            revision=pool.revision,
            description=pool.description,
            colour=pool.colour,
            renders=counts.renders,
            online=counts.online,
        )
        encode = msgspec.json.encode
        return cls(pool, counts, encode(summary), encode((pool.name, pool.revision)), encode(counts))


class Listing:
    """The list of pools, ready to be sent: put together from pieces, which are kept for as long as they are right.

    Args:
        pieces: by name.
        counted: whether the counts are anything.
        last: another list, whose order is taken over where it has the same names.
    """

    def __init__(self, pieces: dict[str, _Piece], *, counted: bool, last: Listing | None = None) -> None:
        self.pieces = pieces
        self._shown: list[str]
        self._sorted: list[str]
        if last is not None and last.pieces.keys() == pieces.keys():
            self._shown, self._sorted = last._shown, last._sorted
        else:
            self._shown = sorted(pieces, key=lambda name: (name.casefold(), name))
            self._sorted = sorted(pieces)
        shown = [pieces[name] for name in self._shown]
        self.pools = msgspec.Raw(b"[%b]" % b",".join([piece.summary for piece in shown]))
        """The summaries, sorted by name, JSON."""
        values = [pieces[name].revision for name in self._sorted]
        if counted:
            values.append(b"[%b]" % b",".join([piece.counted for piece in shown]))
        self.revision = fingerprint_of_json(b"[%b]" % b",".join(values))
        """Differs when anything in the list does; brokers that see the same pools and renders agree on it."""


def listing(
    pools: Mapping[str, Pool], counts: Mapping[str, Counts] | None = None, last: Listing | None = None
) -> Listing:
    """The list of these pools.

    Args:
        pools: by name.
        counts: for each of them by its name; None where nothing is known.
        last: a list that was made before. What is still right is taken from it.
    """
    kept = last.pieces if last is not None else {}
    pieces: dict[str, _Piece] = {}
    for name, pool in pools.items():
        its = UNKNOWN if counts is None else counts[name]
        piece = kept.get(name)
        pieces[name] = piece if piece is not None and piece[0] is pool and piece[1] == its else _Piece.of(pool, its)
    return Listing(pieces, counted=bool(counts), last=last)


class Tally:
    """The counts of all pools at one moment. Safe to use from any thread.

    Args:
        pools: by name.
        members: the hosts of each pool, as the farm spells them.
        renders: the names of the farm's renders.
        online: those of them that are online.
        last: the tally before. What was counted there is counted here at once.
    """

    def __init__(
        self,
        pools: Mapping[str, Pool],
        members: Mapping[str, frozenset[str]],
        renders: frozenset[str],
        online: frozenset[str],
        last: Tally | None = None,
    ) -> None:
        self.online = online
        self._pools = pools
        self._members = members
        self._renders = renders
        self._counts: dict[str, Counts] = {}
        self._listing: Listing | None = None
        self._last_listing: Listing | None = None
        if last is not None:
            self._take_over(last)

    def _take_over(self, last: Tally) -> None:
        # By way of a list: the difference of two large sets takes as long to walk through as they do.
        changed = frozenset(list(last.online ^ self.online)) if self.online is not last.online else frozenset[str]()
        if self._renders is not last._renders:
            changed |= frozenset(list(last._renders ^ self._renders))
        known = bool(last.online) == bool(self.online)
        for pool, counts in last._counts.copy().items():
            members = self._members.get(pool)
            if members is None:
                continue
            if known and members is last._members.get(pool) and (not changed or members.isdisjoint(changed)):
                self._counts[pool] = counts
            else:
                self.of(pool)
        if last._listing is not None:
            self._last_listing = last._listing
            _ = self.listing

    def of(self, pool: str) -> Counts:
        """The counts of one pool.

        Args:
            pool: the name of one that there is.
        """
        counts = self._counts.get(pool)
        if counts is None:
            members = self._members[pool]
            online = len(members & self.online) if self.online else None
            counts = self._counts[pool] = Counts(len(members & self._renders), online)
        return counts

    @property
    def at_hand(self) -> bool:
        """Whether `listing` has been made already."""
        return self._listing is not None

    @property
    def listing(self) -> Listing:
        """The list of pools with their counts, made now if need be."""
        if self._listing is None:
            counts = {pool: self.of(pool) for pool in self._pools}
            self._listing = listing(self._pools, counts, self._last_listing)
            self._last_listing = None
        return self._listing

    def without_renders(self, yet_to_come: frozenset[str] = frozenset()) -> list[str]:
        """The pools that have hosts, and no render among them, sorted by name.

        Args:
            yet_to_come: a pool with one of these hosts is not counted among them.
        """
        return sorted(
            name
            for name, members in self._members.items()
            if members and not self.of(name).renders and members.isdisjoint(yet_to_come)
        )
