"""Reads pools and history from MongoDB.

Strategy: pools are read in pieces, as large as the server returns well within the timeout. A reader also completes what
a broker left unfinished when it died: a missing history entry, an unfinished deletion.
"""

from __future__ import annotations

import datetime as dt
import zlib
from collections import abc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import bson
from bson.raw_bson import RawBSONDocument
from pymongo import DESCENDING
from pymongo.errors import DuplicateKeyError, OperationFailure, PyMongoError

from ...pools.history import Entry, Step
from ...pools.pool import Contents
from .. import StoreUnavailable
from ..rows import REGISTERED, Key, Piece, Row, gathered
from ..settling import to_milliseconds
from .comparing import ONE_GO, MongoComparing
from .connection import FIRST_PIECE, UNKNOWN_EXPRESSION
from .documents import (
    REGISTERED_ID,
    SHORT,
    history_document,
    id_of,
    is_tombstone,
    key_of,
    read_change,
    read_history,
    read_registered_row,
    read_row,
    read_short_row,
    read_step,
)
from .fingerprints import MARKS, Marks, NotComparable

Noted = dict[Key, Marks | None]
"""`MARKS` by key; None if there is no document."""


_UNMARKED: Marks = (0, 0, 0)
"""The marks of a document that had none when it was read. No comparison matches them, so each one reports the
document."""


class MongoReading(MongoComparing):
    """Reads pools, history, and the last known list of renders."""

    def __init__(self, uri: str, *, timeout: float = 1.5, poll_seconds: float = 1.0) -> None:
        super().__init__(uri, timeout=timeout, poll_seconds=poll_seconds)
        self._is_read = False  # to the end, by the process that watches for changes

    def load(self) -> Contents:
        return gathered(self._scan(None))

    def scan(self) -> Iterator[Piece]:
        self._is_read = False
        with suppress(NotComparable):
            self._ours.begin()
            self._everything.begin()
        yield from self._scan({})
        self._is_read = True

    def _scan(self, noted: Noted | None) -> Iterator[Piece]:
        with self._asking():
            self._list_collections()
            registered = self._read_registered()
        ids = self._ids()
        yield Piece(registered, 0, len(ids))
        done = 0
        while done < len(ids):
            try:
                for rows, read in self._in_pieces(ids, lambda some: self._read_ids(some, noted), done):
                    done += read
                    self._note(noted)
                    yield Piece({key: row for key, row in rows.items() if row is not None}, done, len(ids))
            except StoreUnavailable as error:
                yield Piece({}, done, len(ids), error)

    def read(self, keys: abc.Collection[Key], names: abc.Collection[str] = ()) -> dict[Key, Row]:
        found: dict[Key, Row | None] = {}
        noted: Noted = {}
        registered: tuple[int | None, int | None] | None = None
        if REGISTERED in keys:
            with suppress(NotComparable):
                registered = self._ours.registered(), self._everything.registered()
        with self._asking():
            self._list_collections()
            if REGISTERED in keys:
                found |= self._read_registered()
        ids = [id_of(key) for key in keys if key != REGISTERED]
        if ids and len(ids) + len(names) <= FIRST_PIECE:
            # In one query: one of these pools may just have taken the name of another.
            found |= self._read_pools({"$or": [{"_id": {"$in": ids}}, {"name": {"$in": list(names)}}]}, noted)
        else:
            for first in range(0, len(names), FIRST_PIECE):
                found |= self._read_pools({"name": {"$in": list(names)[first : first + FIRST_PIECE]}}, noted)
            for rows, _read in self._in_pieces(ids, lambda some: self._read_ids(some, noted)):
                found |= rows
        # Only after everything has been read: a caller that gets an error still has what it had before.
        self._note({**{key: None for key in keys if key != REGISTERED and key not in found}, **noted})
        if registered is not None:
            self._ours.note_registered(registered[0])
            self._everything.note_registered(registered[1])
        return {key: row for key, row in found.items() if row is not None}

    def _note(self, noted: Noted | None) -> None:
        """Stores the fingerprints of the pools that have just been read."""
        if noted:
            self._ours.note({key: marks and (marks[0], marks[1]) for key, marks in noted.items()})
            self._everything.note({key: marks and (marks[0], marks[2]) for key, marks in noted.items()})
            noted.clear()

    def _read_registered(self) -> dict[Key, Row]:
        document = self._majority(self._hosts).find_one({"_id": REGISTERED_ID}, {"change.diff": False})
        return {} if document is None else {REGISTERED: read_registered_row(document)}

    def _read_ids(self, ids: Sequence[object], noted: Noted | None) -> dict[Key, Row | None]:
        return self._read_pools({"_id": {"$in": ids}}, noted)

    def _read_pools(self, query: Mapping[str, Any], noted: Noted | None) -> dict[Key, Row | None]:
        """The pools that match a query, read at once; None for those that are being deleted.

        Args:
            query: which pools.
            noted: receives their fingerprints; None if they are not compared.
        """
        with self._asking():
            marked = noted is not None and self._mark(query, noted)
            rows, others = self._read_short(query)
            if others is not None:
                # The last change's lists of hosts are not needed here, and can be as long as the pool.
                found = self._majority(self._pools).find(others, {"change.diff": False}, batch_size=ONE_GO)
                rows |= map(read_row, found)
            for key in [key for key, row in rows.items() if row is None]:
                # This cleanup is optional; the next reader tries again.
                with suppress(PyMongoError, StoreUnavailable):
                    self._finish_deletion(id_of(key))
        if noted is not None and marked:
            # A document added since the marks were taken may be removed again, so the next comparison always checks it.
            for key in rows:
                noted.setdefault(key, _UNMARKED)
        return rows

    def _mark(self, query: Mapping[str, Any], noted: Noted) -> bool:
        """Notes the fingerprints of the pools that match a query and are about to be read. A separate query, since both
        in one take the server half as long again.

        Returns:
            Whether the server knows fingerprints.
        """
        try:
            for document in self._majority(self._pools).aggregate(
                [{"$match": query}, {"$project": {"marks": MARKS}}], batchSize=ONE_GO
            ):
                # A document whose `_id` cannot be read has no key under which it could be reported.
                with suppress(bson.errors.BSONError, ValueError):
                    bucket, ours, everything = map(int, document["marks"])
                    noted[key_of(document["_id"])] = bucket, ours, everything
        except OperationFailure as error:
            if error.code not in UNKNOWN_EXPRESSION:
                raise
            return False
        return True

    def _read_short(self, query: Mapping[str, Any]) -> tuple[dict[Key, Row | None], Mapping[str, Any] | None]:
        """The rows of those pools that can be read from a part of their documents, and a query for the others."""
        pipeline = [{"$match": query}, {"$project": SHORT}]
        rows: dict[Key, Row | None] = {}
        odd: list[object] = []
        try:
            for document in self._majority(self._pools).aggregate(pipeline, batchSize=ONE_GO):
                read = read_short_row(document)
                if read is None:
                    odd.append(document["_id"])
                else:
                    rows[read[0]] = read[1]
        except (bson.errors.BSONError, ValueError):
            return {}, query  # not even the `_id` can be read
        except OperationFailure as error:
            if error.code not in UNKNOWN_EXPRESSION:
                raise
            return {}, query
        return rows, {"_id": {"$in": odd}} if odd else None

    def history(self, *, pool: str | None = None, limit: int = 50, before: str | None = None) -> list[Entry]:
        query: dict[str, Any] = {"changed": True}
        if pool is not None:
            query["names"] = pool
        if before is not None:
            query["_id"] = {"$lt": before}
        with self._asking():
            self._complete_history()
            found = list(
                self._majority(self._history).find(query, batch_size=ONE_GO).sort("_id", DESCENDING).limit(limit)
            )
        return [entry for entry in map(read_history, found) if entry is not None]

    def entry(self, entry_id: str) -> Entry | None:
        with self._asking():
            self._complete_history()
            found = self._majority(self._history).find_one({"_id": {"$eq": entry_id}, "changed": True})
        return None if found is None else read_history(found)

    def trail(self, *, since: str, limit: int) -> list[Step]:
        with self._asking():
            self._complete_history()
            found = list(
                self._majority(self._history)
                .find(
                    {"changed": True, "_id": {"$gte": since}},
                    {"diff.added": False, "diff.removed": False},
                    batch_size=ONE_GO,
                )
                .sort("_id", DESCENDING)
                .limit(limit)
            )
        return [step for step in map(read_step, found) if step is not None]

    def _record(self, entry: Entry) -> Entry:
        """Copies an entry into history, unless it is already there, and waits until a majority has it.

        Returns:
            The entry that history has for this request: a different one if another broker was first.
        """
        kept = history_document(entry)
        try:
            self._history.update_one({"_id": kept.pop("_id")}, {"$setOnInsert": kept}, upsert=True)
        except DuplicateKeyError:
            document = self._history.find_one({"key": entry.key})
            return (document is not None and read_history(document)) or entry
        return entry

    def _finish_deletion(self, document_id: object) -> None:
        document = self._pools.find_one({"_id": {"$eq": document_id}})
        entry = read_change(document)
        if document is None or entry is None or not is_tombstone(document):
            return
        self._record(entry)
        self._remove_tombstone(document_id, entry)

    def _remove_tombstone(self, document_id: object, entry: Entry) -> None:
        self._pools.delete_one({"_id": {"$eq": document_id}, "deleted": True, "change.id": entry.id})

    def _complete_history(self) -> None:
        """Copies the entries that a broker could not copy before it died."""
        for collection in (self._pools, self._hosts):
            carried = {
                change["id"]: document["_id"]
                for document in collection.find({"change.id": {"$type": "string"}}, {"change.id": True})
                for change in (document["change"],)
            }
            there = self._history.find({"_id": {"$in": list(carried)}}, {"_id": True})
            for missing in carried.keys() - {document["_id"] for document in there}:
                entry = read_change(collection.find_one({"_id": {"$eq": carried[missing]}}))
                if entry is not None:
                    self._record(entry)

    def save_farm(self, data: bytes, seen: dt.datetime) -> None:
        packed = packed_farm(data, seen)
        with self._asking():
            # If a newer list is kept, nothing matches, and the insertion that MongoDB tries instead fails. It also
            # fails if two brokers save the very first list at once; then the second attempt decides.
            for _turn in range(2):
                try:
                    self._farm.update_one(
                        {"_id": packed["_id"], "when": {"$lte": packed["when"]}},
                        {"$set": packed},
                        upsert=True,
                    )
                except DuplicateKeyError:
                    continue
                return

    def load_farm(self) -> tuple[bytes, dt.datetime] | None:
        with self._asking():
            kept = self._majority(self._farm).find_one({"_id": "renders"})
        return None if kept is None else self._unpack(kept)

    def _unpack(self, kept: RawBSONDocument) -> tuple[bytes, dt.datetime]:
        try:
            return zlib.decompress(kept["data"]), kept["when"]
        except (zlib.error, KeyError, TypeError, bson.errors.BSONError) as error:
            raise StoreUnavailable(
                f"The list of renders kept in {self._uri} is damaged ({error!r}). "
                "It will be replaced as soon as afserver answers. It is safe to delete the collection farm there."
            ) from None


def packed_farm(data: bytes, seen: dt.datetime) -> dict[str, Any]:
    """The document of a list of renders."""
    # A whole document may have 16 MB, too; a list of renders compresses to a tenth.
    return {"_id": "renders", "when": to_milliseconds(seen), "data": zlib.compress(data, 1)}
