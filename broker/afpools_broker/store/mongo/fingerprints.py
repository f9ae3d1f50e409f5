"""Finds the documents that have changed, by fingerprints that MongoDB computes.

Strategy: the server adds up the fingerprints per bucket, so that a few hundred numbers say whether anything differs and
in which bucket; only those buckets are then compared document by document. The cost for the broker depends on what
differs; the cost for the server depends on what a fingerprint is made of. The fingerprints to compare with are noted
when a document is read, in the same query, so that nothing has to be scanned twice before anybody gets an answer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument

from ..rows import REGISTERED, Key
from .documents import key_of

BUCKETS = 256

BUCKET = {"$abs": {"$mod": [{"$toHashedIndexKey": "$_id"}, BUCKETS]}}
"""The bucket of a document: an aggregation expression."""

EVERYTHING = {"$toHashedIndexKey": "$$ROOT"}
"""A fingerprint that changes with anything in a document. 100 MB take a server some 0.3 seconds."""

OURS = {"$toHashedIndexKey": ["$_id", "$change.id", {"$bsonSize": "$$ROOT"}]}
"""A fingerprint that changes with every change by a broker, and with most changes by others. It takes a tenth of the
time."""

MARKS = [BUCKET, OURS, EVERYTHING]
"""What is noted about a document that is read: an aggregation expression."""

Marks = tuple[int, int, int]

Stages = Sequence[Mapping[str, Any]]

_Sums = dict[int, tuple[int, int]]

Differing = dict[Key, str] | None
"""The keys of what differs, as `Sign.keys`; None if anything may."""


class NotComparable(Exception):
    """The server does not know the expressions that compute a fingerprint."""


class Fingerprints:
    """The fingerprints of all pools and of the list of registered hosts, as they were last read or last reported. Safe
    to use from any thread; only one at a time may compare.

    Args:
        of: what a fingerprint is made of: an aggregation expression.
        pools: runs an aggregation over the pools, and yields its results in pieces; raises `NotComparable`.
        registered: evaluates an expression on the document of the registered hosts; None if there is none.
        digest: computes one fingerprint of everything if the server cannot.
    """

    def __init__(
        self,
        of: Mapping[str, Any],
        *,
        pools: Callable[[Stages], Iterator[list[RawBSONDocument]]],
        registered: Callable[[Mapping[str, Any]], int | None],
        digest: Callable[[], bytes],
    ) -> None:
        self._of = of
        self._pools = pools
        self._registered = registered
        self._digest = digest
        self._lock = threading.Lock()
        self._sums: _Sums = {}
        self._seen: dict[int, dict[Key, int]] = {}
        self._buckets: dict[Key, int] = {}
        self._told: set[Key] = set()
        self._last: object = None
        self.known = False
        """Whether there is anything to compare with."""

    def begin(self) -> None:
        """From now on, what is read is noted. Earlier notes stay, and are reported as unread until they are read
        again."""
        self._last, self.known = self._registered(self._of), True

    def note(self, rows: Mapping[Key, tuple[int, int] | None]) -> None:
        """Notes what has just been read.

        Args:
            rows: bucket and fingerprint by key; None if there was no document.
        """
        with self._lock:
            for key, row in rows.items():
                self._put(key, row)
                self._told.discard(key)

    def note_registered(self, value: int | None) -> None:
        """Notes the fingerprint that the registered hosts had just before they were read."""
        self._last = value
        self._told.discard(REGISTERED)

    def registered(self) -> int | None:
        """The fingerprint of the registered hosts now."""
        return self._registered(self._of)

    @property
    def unread(self) -> dict[Key, str]:
        """The keys of what was reported and has not been read since."""
        with self._lock:
            return dict.fromkeys(self._told, "")

    def comparing(self) -> Generator[None, None, Differing]:
        """Compares, a piece at a time.

        Returns:
            What differs from what was last read.

        Raises:
            StoreUnavailable: the server does not answer.
        """
        try:
            if self.known:
                return (yield from self._compare())
            last = self._registered(self._of)
            for rows in self._pools(self._listing()):
                self.note({key: (bucket, seen) for bucket, key, seen in _read(rows)})
                yield
        except NotComparable:
            last_digest, self._last = self._last, self._digest()
            return {} if self._last == last_digest else None
        self._last, self.known = last, True
        return {}

    def _compare(self) -> Generator[None, None, Differing]:
        sums: _Sums = {}
        for groups in self._pools(self._adding_up()):
            _add(sums, groups)
            yield
        last, registered = self._last, self._registered(self._of)
        with self._lock:
            every = sums.keys() | self._sums.keys()
            buckets = [each for each in every if sums.get(each, (0, 0)) != self._sums.get(each, (0, 0))]
        # These may be newer than their sums, which then differ again at the next turn.
        now: dict[Key, tuple[int, int]] = {}
        if buckets:
            for rows in self._pools(self._listing({"$match": {"$expr": {"$in": [BUCKET, buckets]}}})):
                now |= {key: (bucket, seen) for bucket, key, seen in _read(rows)}
                yield
        keys: set[Key] = set() if registered == last else {REGISTERED}
        with self._lock:
            known = {key: (bucket, seen) for bucket in buckets for key, seen in self._seen.get(bucket, {}).items()}
            for key in known.keys() | now.keys():
                if known.get(key) != now.get(key):
                    keys.add(key)
                    self._put(key, now.get(key))
            self._told |= keys
        if registered != last:
            self._last = registered
        return dict.fromkeys(keys, "")

    def _put(self, key: Key, now: tuple[int, int] | None) -> None:
        bucket = self._buckets.pop(key, None)
        if bucket is not None:
            self._count(bucket, -1, -self._seen[bucket].pop(key))
        if now is not None:
            bucket, seen = now
            self._buckets[key] = bucket
            self._seen.setdefault(bucket, {})[key] = seen
            self._count(bucket, 1, seen)

    def _count(self, bucket: int, documents: int, fingerprints: int) -> None:
        count, total = self._sums.get(bucket, (0, 0))
        self._sums[bucket] = (count + documents, total + fingerprints)

    def sum(self) -> object:
        """One value for everything; it stays equal as long as nothing changes.

        Raises:
            StoreUnavailable: the server does not answer.
        """
        sums: _Sums = {}
        try:
            for groups in self._pools(self._adding_up()):
                _add(sums, groups)
        except NotComparable:
            return self._digest()
        return sums, self._registered(self._of)

    def _adding_up(self) -> Stages:
        each = {"$sum": {"$toDecimal": self._of}}  # as a decimal, exact
        return [{"$group": {"_id": BUCKET, "count": {"$sum": 1}, "sum": each}}]

    def _listing(self, *stages: Mapping[str, Any]) -> Stages:
        return [*stages, {"$project": {"bucket": BUCKET, "seen": self._of}}]


class Comparison:
    """Schedules the comparison of everything, a piece at a time, so that signs are not delayed.

    Args:
        fingerprints: what is compared.
        share: the fraction of the time that comparing may take.
        every: the least number of seconds between two comparisons.
    """

    def __init__(self, fingerprints: Fingerprints, *, share: float, every: float = 0.0) -> None:
        self._fingerprints = fingerprints
        self._share = share
        self._every = every
        self._due = float("-inf")
        self._running: Generator[None, None, Differing] | None = None
        self._took = 0.0
        self._began = 0.0
        self.confirmed = 0.0
        """When the last finished comparison began."""

    def wait(self) -> None:
        """Puts the next comparison off by the least interval from now."""
        self._due = time.monotonic() + self._every

    def turn(self, seconds: float) -> Differing:
        """Compares for about this many seconds, if it is time.

        Returns:
            What differs, as soon as that is known; until then nothing.

        Raises:
            StoreUnavailable: the server does not answer. The next turn starts over.
        """
        start = time.monotonic()
        if self._running is None:
            if start < self._due:
                return {}
            self._running, self._took, self._began = self._fingerprints.comparing(), 0.0, start
        try:
            while time.monotonic() < start + seconds:
                next(self._running)
        except StopIteration as end:
            self._end(time.monotonic() - start)
            self.confirmed = self._began
            found: Differing = end.value
            return found
        except BaseException:
            self._end(time.monotonic() - start)
            raise
        self._took += time.monotonic() - start
        return {}

    def _end(self, seconds: float) -> None:
        self._running = None
        self._due = time.monotonic() + max(self._every, (self._took + seconds) / self._share)


def finished(comparing: Generator[None, None, Differing]) -> Differing:
    """What a comparison finds, run to its end."""
    while True:
        try:
            next(comparing)
        except StopIteration as end:
            found: Differing = end.value
            return found


def _add(sums: _Sums, groups: Collection[RawBSONDocument]) -> None:
    for group in groups:
        bucket = int(group["_id"])
        count, total = sums.get(bucket, (0, 0))
        sums[bucket] = (count + int(group["count"]), total + int(group["sum"].to_decimal()))


def _read(rows: Iterable[RawBSONDocument]) -> Iterator[tuple[int, Key, int]]:
    for row in rows:
        # A document whose `_id` cannot be read has no key under which it could be reported.
        with suppress(BSONError, ValueError):
            yield int(row["bucket"]), key_of(row["_id"]), int(row["seen"])
