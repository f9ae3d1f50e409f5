"""How busy each pool is and was: counted from the hosts' states, and kept in memory while the Pool Manager runs.

Strategy: each sample is one flat array of numbers, and samples are in a ring of fixed size: 200 pools take 7 MB after
twelve hours, and no more after a week.
"""

from __future__ import annotations

import threading
from array import array
from collections import deque
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from afpools import HostSummary

SECONDS_BETWEEN = 15.0
HOURS_KEPT = 12.0
SAMPLES_KEPT = int(HOURS_KEPT * 3600 / SECONDS_BETWEEN)

# A chart is a few hundred pixels wide.
_POINTS = 160


class Counts(NamedTuple):
    """How many of a pool's hosts are online, how many of the online ones are busy, and how many would take a job."""

    online: int
    busy: int
    free: int


def count(hosts: Iterable[HostSummary]) -> dict[str, Counts]:
    """Counts for each pool that has a host."""
    found: dict[str, list[int]] = {}
    for host in hosts:
        states = host.states
        online = "online" in states
        busy = online and "busy" in states
        free = online and not busy and not {"nimby", "paused", "sick"}.intersection(states)
        for pool in host.pools:
            counts = found.setdefault(pool, [0, 0, 0])
            counts[0] += online
            counts[1] += busy
            counts[2] += free
    return {pool: Counts(*counts) for pool, counts in found.items()}


class Lines(NamedTuple):
    """A pool over time: counts at each moment; None while the pool did not exist."""

    online: list[int | None]
    busy: list[int | None]
    free: list[int | None]


class Series(NamedTuple):
    """Pools over time: `when` is seconds since 1970."""

    when: list[int]
    pools: dict[str, Lines]


class Usage:
    """A ring of samples. Threads may share it."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, tuple[str, ...], array[int]]] = deque(maxlen=SAMPLES_KEPT)
        self._lock = threading.Lock()

    def note(self, now: float, counts: Mapping[str, Counts]) -> None:
        """Takes a sample, unless the last one is too recent.

        Args:
            now: seconds since 1970.
            counts: the counts of every pool.
        """
        with self._lock:
            names = tuple(sorted(counts))
            if self._samples:
                then, last, _ = self._samples[-1]
                if 0 <= now - then < SECONDS_BETWEEN:
                    return
                names = last if names == last else names
            numbers = array("I", (number for name in names for number in counts[name]))
            self._samples.append((now, names, numbers))

    def series(self, only: str | None = None) -> Series:
        """The samples, thinned out to what charts can show.

        Args:
            only: only this pool; if not given, all pools in the newest sample.
        """
        with self._lock:
            samples = list(self._samples)
        # From the end, so that the newest is always included.
        samples = samples[:: -max(1, -(-len(samples) // _POINTS))][::-1]
        wanted = (samples[-1][1] if samples else ()) if only is None else (only,)
        found = Series([], {pool: Lines([], [], []) for pool in wanted})
        names: tuple[str, ...] | None = None
        start: dict[str, int] = {}
        for when, present, numbers in samples:
            found.when.append(round(when))
            if present is not names:
                names, start = present, {pool: 3 * at for at, pool in enumerate(present)}
            for pool, lines in found.pools.items():
                at = start.get(pool)
                for offset, line in enumerate(lines):
                    line.append(None if at is None else numbers[at + offset])
        return found
