"""Counts of requests, answers and connections since the broker started.

Strategy: counting is part of every request, and answering one takes 15 µs, so a count is a plain integer under one
lock, and answers given at once are counted without it. Whoever reads the counts assembles what it needs from them.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from typing import NamedTuple

from ..protocol import Code

BOUNDS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Upper bounds of the histogram's buckets, in seconds: an answer from memory takes 15 µs, and a client gives up after
some seconds."""


class Timings(NamedTuple):
    """How long the answers to one operation over one transport took.

    Args:
        requests: how many requests have come.
        buckets: how many answers took at most the bound in `BOUNDS`, and more than the one before; at the end, how many
            took longer than all.
        seconds: of all answers together.
    """

    requests: int
    buckets: tuple[int, ...]
    seconds: float


class _Counted:
    """`Timings` that change."""

    __slots__ = ("buckets", "requests", "seconds")

    def __init__(self) -> None:
        self.requests = 0
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0


_FIRST = BOUNDS[0]

_NOTHING = Timings(0, (0,) * (len(BOUNDS) + 1), 0.0)


class Statistics:
    """Counts since the broker started; safe to use from any thread, except for `answered`.

    An `operation` is a name from `OPERATIONS`, never the client's own text; a `transport` is a listener's name.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counted: dict[tuple[str, str], _Counted] = {}
        self._at_once: dict[tuple[str, str], _Counted] = {}
        self._errors: Counter[tuple[str, str, str]] = Counter()
        self._refused: Counter[tuple[str, str]] = Counter()
        self.connections: Counter[str] = Counter()

    def request(self, operation: str, transport: str) -> None:
        """Counts a request."""
        with self._lock:
            self._of(operation, transport).requests += 1

    def took(self, operation: str, transport: str, seconds: float) -> None:
        """Counts the answer to a request.

        Args:
            operation: what was asked for.
            transport: how.
            seconds: from the moment the request was read until its answer was ready to be sent.
        """
        with self._lock:
            counted = self._of(operation, transport)
            counted.buckets[bisect_left(BOUNDS, seconds)] += 1
            counted.seconds += seconds

    def answered(self, operation: str, transport: str, seconds: float) -> None:
        """Counts a request together with its answer, for answers given at once. Only one thread at a time may do so for
        a transport, and it is the listener's: these counts have no lock, and are kept apart from the others."""
        counted = self._at_once.get((operation, transport))
        if counted is None:
            counted = self._at_once[operation, transport] = _Counted()
        counted.seconds += seconds
        if seconds <= _FIRST:
            counted.buckets[0] += 1
        else:
            counted.buckets[bisect_left(BOUNDS, seconds)] += 1

    def _of(self, operation: str, transport: str) -> _Counted:
        key = (operation, transport)
        counted = self._counted.get(key)
        if counted is None:
            counted = self._counted[key] = _Counted()
        return counted

    def error(self, operation: str, transport: str, code: Code) -> None:
        """Counts an error answer; `operation` is empty if it is not known."""
        with self._lock:
            self._errors[operation or "unreadable", transport, code.value] += 1

    def connection(self, listener: str, change: int) -> None:
        """Counts a connection that was opened (1) or closed (-1)."""
        with self._lock:
            self.connections[listener] += change

    def refused(self, listener: str, reason: str) -> None:
        """Counts a connection that was refused; `reason` is from a fixed set."""
        with self._lock:
            self._refused[listener, reason] += 1

    @property
    def requests(self) -> Counter[str]:
        """Requests so far, by operation."""
        found: Counter[str] = Counter()
        for (operation, _), timings in self.timings().items():
            found[operation] += timings.requests
        return found

    @property
    def refused_connections(self) -> int:
        """How many connections were refused."""
        with self._lock:
            return self._refused.total()

    def timings(self) -> dict[tuple[str, str], Timings]:
        """Requests so far and how long their answers took, by operation and transport."""
        with self._lock:
            found = {
                key: Timings(counted.requests, tuple(counted.buckets), counted.seconds)
                for key, counted in self._counted.items()
            }
        # A list, because a listener may add to it meanwhile.
        for key, counted in list(self._at_once.items()):
            buckets = tuple(counted.buckets)
            others = found.get(key, _NOTHING)
            found[key] = Timings(
                others.requests + sum(buckets),
                tuple(map(int.__add__, others.buckets, buckets)),
                others.seconds + counted.seconds,
            )
        return found

    def errors(self) -> dict[tuple[str, str, str], int]:
        """Errors so far, by operation, transport and code."""
        with self._lock:
            return dict(self._errors)

    def refusals(self) -> dict[tuple[str, str], int]:
        """Refused connections so far, by listener and reason."""
        with self._lock:
            return dict(self._refused)

    def errors_now(self) -> dict[str, dict[str, int]]:
        """Errors so far, by operation and code."""
        found: dict[str, dict[str, int]] = {}
        for (operation, _, code), count in self.errors().items():
            codes = found.setdefault(operation, {})
            codes[code] = codes.get(code, 0) + count
        return found
