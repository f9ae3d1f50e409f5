"""What MongoDB computes about pools, to compare them with what has been read.

Strategy: everything at once if the server is quick, otherwise in pieces of as many documents as it can handle well
within the timeout. Each piece names its documents, so that the server does not have to walk through the others.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from bson.raw_bson import RawBSONDocument
from pymongo import ASCENDING

from .. import StoreUnavailable
from .connection import FIRST_PIECE, UNKNOWN_EXPRESSION, MongoConnection, TooSlow
from .documents import REGISTERED_ID
from .fingerprints import EVERYTHING, OURS, Fingerprints, NotComparable, Stages

_LARGEST_PIECE = 2_000

# One answer holds as many documents as fit into 16 MB: pools are read at once, not while they are being renamed.
ONE_GO = 1_000_000

# A server that was too slow for everything at once may only have been busy; try that again after this long.
_BUSY_SECONDS = 600.0

# A comparison takes the server little time, and may be spread over minutes: a line in the log says how far it is.
_PROGRESS_SECONDS = 30.0

T = TypeVar("T")

log = logging.getLogger("afpools.store")


class MongoComparing(MongoConnection):
    """Fingerprints of the pools. Arguments as for `MongoStore`."""

    def __init__(self, uri: str, *, timeout: float = 1.5, poll_seconds: float = 1.0) -> None:
        super().__init__(uri, timeout=timeout, poll_seconds=poll_seconds)
        self._piece = FIRST_PIECE
        self._in_pieces_until = float("-inf")
        self._ours = self._fingerprints(OURS)
        self._everything = self._fingerprints(EVERYTHING)

    def _fingerprints(self, of: Mapping[str, Any]) -> Fingerprints:
        def registered(expression: Mapping[str, Any]) -> int | None:
            stages: list[Mapping[str, Any]] = [{"$match": {"_id": REGISTERED_ID}}, {"$project": {"seen": expression}}]
            try:
                with self._asking():
                    return next((each["seen"] for each in self._majority(self._hosts).aggregate(stages)), None)
            except StoreUnavailable as error:
                raise _not_comparable(error) from error

        return Fingerprints(
            of, pools=lambda stages: self._aggregate(stages), registered=registered, digest=self._digest
        )

    def _aggregate(self, stages: Stages) -> Iterator[list[RawBSONDocument]]:
        """The results of an aggregation over all pools, in pieces if the server is slow.

        Raises:
            NotComparable: it does not know the expressions.
            StoreUnavailable: it does not answer, or is too slow for a single document.
        """

        def ask(stages: Sequence[Mapping[str, Any]]) -> list[RawBSONDocument]:
            try:
                with self._asking():
                    return list(self._majority(self._pools).aggregate(stages))
            except StoreUnavailable as error:
                raise _not_comparable(error) from error

        if time.monotonic() >= self._in_pieces_until:
            try:
                rows = ask(list(stages))
            except TooSlow:
                self._answer_at_all()
                self._in_pieces_until = time.monotonic() + _BUSY_SECONDS
            else:
                yield rows
                return
        ids, done, said = self._ids(), 0, time.monotonic()
        for rows, more in self._in_pieces(ids, lambda some: ask([{"$match": {"_id": {"$in": some}}}, *stages])):
            done += more
            if time.monotonic() >= said + _PROGRESS_SECONDS:
                said = time.monotonic()
                log.info(
                    "Comparing the database (%s) with what was read: %d of %d pools so far", self.kind, done, len(ids)
                )
            yield rows

    def _ids(self) -> list[object]:
        """The `_id` of each document of a pool, from the index alone, without reading the documents."""
        with self._asking():
            found = self._majority(self._pools).find({}, {"_id": True}, batch_size=ONE_GO).sort("_id", ASCENDING)
            return [document["_id"] for document in found]

    def _in_pieces(
        self, ids: Sequence[object], ask: Callable[[list[object]], T], done: int = 0
    ) -> Iterator[tuple[T, int]]:
        """The results for these documents, except the first `done`: about as many at a time as the server answers well
        within the timeout. Also yields how many documents each piece covers.

        Raises:
            StoreUnavailable: the server does not answer, or takes too long for a single document.
        """
        while done < len(ids):
            some = list(ids[done : done + self._piece])
            start = time.monotonic()
            try:
                found = ask(some)
            except TooSlow as error:
                if len(some) == 1:
                    raise StoreUnavailable(
                        f"{error} That was for one document of the collection pools, {some[0]!r}; {done:,} of "
                        f"{len(ids):,} had been read before. If mongod is not busy otherwise, allow more time with "
                        "[store] timeout."
                    ) from error
                self._answer_at_all()
                self._piece = max(1, len(some) // 4)
                continue
            if time.monotonic() - start < self._timeout / 8:
                self._piece = min(self._piece * 2, _LARGEST_PIECE)
            done += len(some)
            yield found, len(some)

    def _digest(self) -> bytes:
        """A fingerprint of everything that is read of pools and registered hosts, computed here."""
        digest = hashlib.blake2b()
        with self._asking():
            for collection in (self._pools, self._hosts):
                digest.update(b"\0")
                for batch in self._majority(collection).find_raw_batches({}, {"change.diff": False}):
                    digest.update(batch)  # type: ignore[arg-type]  # bytes, whatever the collection holds
        return digest.digest()


def _not_comparable(error: StoreUnavailable) -> Exception:
    """The same error, or `NotComparable` if it says that the server does not know the expressions."""
    return NotComparable() if getattr(error.__cause__, "code", None) in UNKNOWN_EXPRESSION else error
