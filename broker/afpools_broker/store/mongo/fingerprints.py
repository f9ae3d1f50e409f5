"""Which documents differ from what they were, told by fingerprints that MongoDB computes.

Strategy: the server adds the fingerprints up by bucket, so that a few hundred numbers say whether anything differs and
in which bucket; only those buckets are then looked at document by document. What this costs the broker depends on what
differs. What it costs the server depends on what a fingerprint is made of. What it is compared with is noted by whoever
reads a document, in the same question, so that nothing has to be walked through twice before anybody can be answered.
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
"""The bucket of a document, as an expression of an aggregation."""

EVERYTHING = {"$toHashedIndexKey": "$$ROOT"}
"""A fingerprint that differs whatever in a document does. 100 MB take a server some 0.3 seconds."""

OURS = {"$toHashedIndexKey": ["$_id", "$change.id", {"$bsonSize": "$$ROOT"}]}
"""A fingerprint that every change by a broker makes another, and most changes by others. It takes a tenth of the
time."""

MARKS = [BUCKET, OURS, EVERYTHING]
"""What is noted of a document that is read, an expression."""

Marks = tuple[int, int, int]

Stages = Sequence[Mapping[str, Any]]

_Sums = dict[int, tuple[int, int]]

Differing = dict[Key, str] | None
"""The keys of what differs, as `Sign.keys`; None where anything may."""


class NotComparable(Exception):
    """The server does not know the expressions that make a fingerprint."""


class Fingerprints:
    """The fingerprints of all pools and of the hosts registered by hand, as they were when they were last read, or last
    told of. Safe to use from any thread; one at a time compares.

    Args:
        of: what a fingerprint is made of, an expression.
        pools: runs an aggregation over the pools, and gives what it finds in pieces; raises `NotComparable`.
        registered: computes an expression of the document of the registered hosts; None if there is none.
        digest: otherwise, one fingerprint of everything.
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
        """From now on, what is read is noted; what has been noted before stays, and is told of unless it is read."""
        self._last, self.known = self._registered(self._of), True

    def note(self, rows: Mapping[Key, tuple[int, int] | None]) -> None:
        """What has been read now.

        Args:
            rows: bucket and fingerprint by key; None where nothing was there.
        """
        with self._lock:
            for key, row in rows.items():
                self._put(key, row)
                self._told.discard(key)

    def note_registered(self, value: int | None) -> None:
        """What the fingerprint of the registered hosts was just before they were read."""
        self._last = value
        self._told.discard(REGISTERED)

    def registered(self) -> int | None:
        """The fingerprint of the registered hosts now."""
        return self._registered(self._of)

    @property
    def unread(self) -> dict[Key, str]:
        """The keys of what was told of and has not been read since."""
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
        # These may be newer than their sums, which then differ once more at the next turn.
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
        """All of it together: equal for as long as nothing differs.

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
    """When everything is compared, a piece at a time, so that whoever waits for a sign is not kept waiting.

    Args:
        fingerprints: what is compared.
        share: the part of the time that it may take.
        every: how many seconds lie between two at least.
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
        """When the last comparison began that has ended."""

    def wait(self) -> None:
        """Begins no sooner than that from now."""
        self._due = time.monotonic() + self._every

    def turn(self, seconds: float) -> Differing:
        """Goes on for about so many seconds, if it is time.

        Returns:
            What differs, once that is known; until then nothing.

        Raises:
            StoreUnavailable: the server does not answer. The next turn begins anew.
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
    """What a comparison finds, in one go."""
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
        # One whose `_id` cannot be read has no key by which it could be told of.
        with suppress(BSONError, ValueError):
            yield int(row["bucket"]), key_of(row["_id"]), int(row["seen"])
