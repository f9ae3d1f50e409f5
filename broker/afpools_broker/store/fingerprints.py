"""Which documents differ from what they were, told by fingerprints that MongoDB computes.

Strategy: the server adds the fingerprints up by bucket, so that a few hundred numbers say whether anything differs and
in which bucket; only those buckets are then looked at document by document. What this costs the broker depends on what
differs. What it costs the server depends on what a fingerprint is made of.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from bson.raw_bson import RawBSONDocument

from .documents import id_of, key_of
from .rows import REGISTERED, Key

BUCKETS = 256

BUCKET = {"$abs": {"$mod": [{"$toHashedIndexKey": "$_id"}, BUCKETS]}}
"""The bucket of a document, as an expression of an aggregation."""

EVERYTHING = {"$toHashedIndexKey": "$$ROOT"}
"""A fingerprint that differs whatever in a document does. 100 MB take a server some 0.3 seconds."""

OURS = {"$toHashedIndexKey": ["$_id", "$change.id", {"$bsonSize": "$$ROOT"}]}
"""A fingerprint that every change by a broker makes another, and most changes by others. It takes a tenth of the
time."""

Stages = Sequence[Mapping[str, Any]]

_Sums = dict[int, tuple[int, int]]


class Fingerprints:
    """The fingerprints of all pools and of the hosts registered by hand, as they were when they were last looked at.

    Args:
        of: what a fingerprint is made of, an expression.
        pools: runs an aggregation over the pools; None where the server does not know its expressions.
        registered: computes an expression of the document of the registered hosts; None if there is none.
        digest: otherwise, one fingerprint of everything.
    """

    def __init__(
        self,
        of: Mapping[str, Any],
        *,
        pools: Callable[[Stages], list[RawBSONDocument] | None],
        registered: Callable[[Mapping[str, Any]], int | None],
        digest: Callable[[], bytes],
    ) -> None:
        self._of = of
        self._pools = pools
        self._registered = registered
        self._digest = digest
        self._sums: _Sums | None = None
        self._seen: dict[int, dict[Key, int]] = {}
        self._last: object = None
        self.took = 0.0
        """How many seconds the last comparison took."""

    def differing(self) -> dict[Key, str] | None:
        """The keys of what differs from the last time; None where anything may.

        Raises:
            StoreUnavailable: the server does not answer.
        """
        start = time.monotonic()
        try:
            return self._compare()
        finally:
            self.took = time.monotonic() - start

    def _compare(self) -> dict[Key, str] | None:
        if self._sums is None:
            rows = self._list([])
            if rows is None:
                return self._compare_digests()
            self._last = self._registered(self._of)
            self._seen = _by_bucket(rows)
            self._sums = {bucket: (len(seen), sum(seen.values())) for bucket, seen in self._seen.items()}
            return None
        sums = self._add_up() or {}
        last, registered = self._last, self._registered(self._of)
        buckets = [bucket for bucket in sums.keys() | self._sums.keys() if sums.get(bucket) != self._sums.get(bucket)]
        # Their fingerprints may be newer than their sums, which then differ once more at the next turn.
        now = _by_bucket(self._list([{"$match": {"$expr": {"$in": [BUCKET, buckets]}}}]) or ()) if buckets else {}
        keys: dict[Key, str] = {} if registered == last else {REGISTERED: ""}
        for bucket in buckets:
            seen, there = self._seen.get(bucket, {}), now.get(bucket, {})
            keys.update((key, "") for key in seen.keys() | there.keys() if seen.get(key) != there.get(key))
        for bucket in buckets:
            self._seen[bucket] = now.get(bucket, {})
        self._sums, self._last = sums, registered
        return keys

    def note(self, keys: Iterable[Key]) -> None:
        """Looks at these now, and does not tell of them next time unless they differ from this."""
        if self._sums is None:
            return
        if REGISTERED in keys:
            self._last = self._registered(self._of)
        ids = [id_of(key) for key in keys if key != REGISTERED]
        for bucket, there in _by_bucket(self._list([{"$match": {"_id": {"$in": ids}}}]) or ()).items():
            self._seen.setdefault(bucket, {}).update(there)

    def sum(self) -> object:
        """All of it together: equal for as long as nothing differs.

        Raises:
            StoreUnavailable: the server does not answer.
        """
        sums = self._add_up()
        return self._digest() if sums is None else (sums, self._registered(self._of))

    def _add_up(self) -> _Sums | None:
        each = {"$sum": {"$toDecimal": self._of}}  # as a decimal, exact
        groups = self._pools([{"$group": {"_id": BUCKET, "count": {"$sum": 1}, "sum": each}}])
        if groups is None:
            return None
        return {int(group["_id"]): (int(group["count"]), int(group["sum"].to_decimal())) for group in groups}

    def _list(self, stages: Stages) -> list[RawBSONDocument] | None:
        return self._pools([*stages, {"$project": {"bucket": BUCKET, "seen": self._of}}])

    def _compare_digests(self) -> dict[Key, str] | None:
        last, self._last = self._last, self._digest()
        return {} if self._last == last else None


def _by_bucket(rows: Iterable[RawBSONDocument]) -> dict[int, dict[Key, int]]:
    found: dict[int, dict[Key, int]] = {}
    for row in rows:
        found.setdefault(int(row["bucket"]), {})[key_of(row["_id"])] = int(row["seen"])
    return found
