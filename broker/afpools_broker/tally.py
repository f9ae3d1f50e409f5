"""How many hosts of each pool are renders, how many of those are online, and the list of pools that says so.

Strategy: renders come and go every few seconds, pools and names seldom. A tally is one moment of the farm. It counts a
pool when somebody asks, and takes over from the tally before whatever no host that came or went has touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from .pools import Pool, fingerprint
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


class Listing(NamedTuple):
    """The list of pools, ready to be sent.

    Args:
        revision: differs when anything in the list does; brokers that see the same pools and renders agree on it.
        pools: the summaries, JSON.
    """

    revision: str
    pools: msgspec.Raw


def listing(pools: Iterable[Pool], counts: Mapping[str, Counts] | None = None) -> Listing:
    """The list of these pools, sorted by name.

    Args:
        pools: in any order.
        counts: for each of them by its name; None where nothing is known.
    """
    sorted_pools = sorted(pools, key=lambda pool: pool.name.casefold())
    counted = [UNKNOWN if counts is None else counts[pool.name] for pool in sorted_pools]
    summaries = [
        PoolSummary(
            name=pool.name,
            hosts=len(pool.hosts),
            revision=pool.revision,
            description=pool.description,
            colour=pool.colour,
            renders=count.renders,
            online=count.online,
        )
        for pool, count in zip(sorted_pools, counted, strict=True)
    ]
    revision = fingerprint(*sorted((pool.name, pool.revision) for pool in sorted_pools), *([counted] if counts else ()))
    return Listing(revision, msgspec.Raw(msgspec.json.encode(summaries)))


class Tally:
    """The counts of all pools at one moment. Safe to use from any thread.

    Args:
        pools: by name.
        members: the hosts of each pool, as the farm spells them.
        renders: the names of the farm's renders.
        online: those of them that are online.
        last: the tally before, of the same pools and renders. What was counted there is counted here at once.
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
        if last is not None:
            self._take_over(last)

    def _take_over(self, last: Tally) -> None:
        # By way of a list: the difference of two large sets takes as long to walk through as they do.
        changed = frozenset(list(last.online ^ self.online))
        known = bool(last.online) == bool(self.online)
        for pool, counts in last._counts.copy().items():
            if known and self._members[pool].isdisjoint(changed):
                self._counts[pool] = counts
            else:
                self.of(pool)
        if last.at_hand:
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
            self._listing = listing(self._pools.values(), {pool: self.of(pool) for pool in self._pools})
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
