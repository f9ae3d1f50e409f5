"""How busy each pool is, and was: counted from the hosts' states, kept in memory while the manager runs.

Strategy: one sample is one flat array of numbers, and samples are in a ring of fixed size: 200 pools take 7 MB after
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
_POINTS = 240


class Counts(NamedTuple):
    """Of a pool's hosts: how many are online, how many of these run something, how many of these would take a job."""

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


class Series(NamedTuple):
    """A pool over time: `when` is seconds since 1970, the others are counts at that moment; None where the pool was
    not there."""

    when: list[int]
    online: list[int | None]
    busy: list[int | None]
    free: list[int | None]


class Usage:
    """A ring of samples. May be shared by threads."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, tuple[str, ...], array[int]]] = deque(maxlen=SAMPLES_KEPT)
        self._lock = threading.Lock()

    def note(self, now: float, counts: Mapping[str, Counts]) -> None:
        """Takes a sample, unless the last one was a moment ago.

        Args:
            now: seconds since 1970.
            counts: of every pool.
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

    def series(self, pool: str) -> Series:
        """What was noted of a pool, thinned to what a chart can show."""
        with self._lock:
            samples = list(self._samples)
        samples = samples[:: -(-len(samples) // _POINTS) or 1]
        found = Series([], [], [], [])
        at: dict[int, int | None] = {}
        for when, names, numbers in samples:
            found.when.append(round(when))
            if id(names) not in at:
                at[id(names)] = names.index(pool) * 3 if pool in names else None
            start = at[id(names)]
            for offset, line in enumerate((found.online, found.busy, found.free)):
                line.append(None if start is None else numbers[start + offset])
        return found
