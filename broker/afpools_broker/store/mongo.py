"""Pools in MongoDB, shared by every broker of a studio and with whoever edits them there by hand.

Strategy: no transactions, so that a single server works like a replica set. A pool's document is the only truth about
it and carries the entry of its last change; one atomic update swaps both, and only while the document is exactly what
was read. `history` is a copy of those entries, made after the swap; before an entry is overwritten it is made sure that
the copy exists, so a broker may die between any two steps. A deletion is a swap too: to a tombstone, which is removed
once history has its entry, by whoever meets it first.

Everything that is acknowledged was written by a majority. Reads that decide a write are `local`: the swap fails where
they were wrong, whereas a majority's older view could deny a change that is just being replicated.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import logging
import secrets
import threading
import time
import zlib
from collections import abc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any

import bson
import pymongo
from bson.raw_bson import RawBSONDocument
from pymongo import ASCENDING, DESCENDING, IndexModel, MongoClient, ReadPreference, ReturnDocument, WriteConcern
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import (
    DocumentTooLarge,
    DuplicateKeyError,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)
from pymongo.read_concern import ReadConcern
from pymongo.uri_parser import parse_uri

from ..pools.changes import Change, Swap, asked_for
from ..pools.history import REPAIR, Entry, Step
from ..pools.lookalikes import appearance
from ..pools.pool import Contents, Pool, pool_exists, refuse_lookalike
from ..protocol import Code, RequestRefused
from . import Lease, RestoreUnfinished, Sign, StoreUnavailable, redacted
from .archive import EntryRecord, FarmRecord, Record
from .documents import (
    REGISTERED_ID,
    SHORT,
    exactly,
    history_document,
    history_record,
    id_of,
    is_tombstone,
    key_of,
    new_document,
    pool_record,
    read_change,
    read_history,
    read_pool,
    read_registered,
    read_registered_row,
    read_row,
    read_short_row,
    read_step,
    restored,
    tombstone,
    update,
)
from .fingerprints import BUCKET, BUCKETS, EVERYTHING, OURS, Fingerprints, Stages
from .repair import Conflict, conflicts
from .repair import Step as RepairStep
from .rows import REGISTERED, Key, Piece, Row, gathered
from .settling import Settled, settle, to_milliseconds

log = logging.getLogger("afpools.store")

DEFAULT_DATABASE = "afpools"

MAX_DOCUMENT_BYTES = 12_000_000
"""A document of MongoDB may have 16 MiB, and so may one statement; a swap holds the whole document as it was and what
changes. With the difference, a pool of this size (100,000 hosts with short names) can still be changed in any way."""

# How long the server holds back an empty answer about changes. Bounds heartbeats and the time `watch` takes to end.
_AWAIT_SECONDS = 0.5
# How often everything is compared beside the change stream, and the most of the time that may be spent on it.
_DIGEST_SECONDS = 10.0
_DIGEST_SHARE = 1 / 50
# As many documents are read at a time at first, and at most.
_FIRST_PIECE = 50
_LARGEST_PIECE = 2_000
# One answer holds as many documents as fit into 16 MB: pools are read in one go, not while they are being renamed.
_ONE_GO = 1_000_000

_MAJORITY = ReadConcern("majority")
_THE_LEASE = {"_id": "live"}
_LINEARIZABLE = ReadConcern("linearizable")

# Error codes of the server, see src/mongo/base/error_codes.yml in MongoDB's sources.
_UNAUTHORIZED = 13
_AUTHENTICATION_FAILED = 18
_INDEX_CONFLICTS = (85, 86)
_TOO_LARGE = (10334, 17280, 17419, 17420)
_UNKNOWN_EXPRESSION = (168, 31325)

# A name belongs to one pool, and a request to one entry.
_POOL_INDEXES = [IndexModel([("name", ASCENDING)], unique=True), IndexModel([("change.key", ASCENDING)], sparse=True)]
_HISTORY_INDEXES = [
    IndexModel([("key", ASCENDING)], unique=True),
    IndexModel([("names", ASCENDING), ("_id", DESCENDING)]),
]

# Where a restore collects what it puts in the place of the collections. The last of them is also the sign that a
# restore has begun and not ended: it is made first, and renamed last.
_STAGED = {name: f"restoring_{name}" for name in ("pools", "history", "farm", "hosts")}
_STAGED_AT_A_TIME = 200
# `_id` of the document in `hosts` that says which restore this is, or which one was the last.
_RESTORE = "restore"
# The version of the server's protocol that can read several collections as they were at one moment: MongoDB 5.0.
_SNAPSHOTS = 13
_UNCHANGED_TRIES = 20

# What says of a collection that its documents differ. Everything else that can be told of one may replace documents.
_OF_DOCUMENTS = ("insert", "update", "replace", "delete")

_Documents = Collection[RawBSONDocument]


class _TooSlow(StoreUnavailable):
    """The server did not answer in time."""


class MongoStore:
    """A `PoolStore` in a MongoDB database, also the earlier project's.

    Args:
        uri: `mongodb://…` or `mongodb+srv://…`; the database is the one it names, else `afpools`.
        timeout: seconds that any call may take.
        poll_seconds: how often a server without change streams is looked at.

    Raises:
        ValueError: `uri` cannot be understood.
    """

    kind = "mongodb"

    def __init__(self, uri: str, *, timeout: float = 1.5, poll_seconds: float = 1.0) -> None:
        self._uri = redacted(uri)
        self._timeout = timeout
        self._poll_seconds = poll_seconds
        milliseconds = int(timeout * 1000)
        try:
            self._client: MongoClient[RawBSONDocument] = MongoClient(
                uri,
                appname="afpools",
                connect=False,
                # Undecoded: one document that cannot be read must not take the others with it, and what is compared
                # and written back must be what was read, byte for byte.
                document_class=RawBSONDocument,
                tz_aware=True,
                # A date outside of Python's range is somebody's field, not an error.
                datetime_conversion="DATETIME_AUTO",
                serverSelectionTimeoutMS=milliseconds,
                connectTimeoutMS=milliseconds,
                # Only `watch` waits as long as this; all other calls have a deadline of their own.
                socketTimeoutMS=milliseconds + int(_AWAIT_SECONDS * 1000),
            )
            database = self._client.get_default_database(DEFAULT_DATABASE)
        except (PyMongoError, ValueError, TypeError) as error:
            # The driver quotes what it did not understand, and with a credential that may be a piece of the password.
            why = (
                "in user name and password, the characters : / ? # [ ] @ % must be percent-encoded"
                if "@" in uri
                else str(error)
            )
            raise ValueError(f"{self._uri} is not a MongoDB address: {why}.") from None
        self._hosts_in_uri = ", ".join(f"{h}:{p}" if p else h for h, p in _seeds(uri)) or self._uri
        self._database: Database[RawBSONDocument] = database.with_options(
            read_preference=ReadPreference.PRIMARY,
            read_concern=ReadConcern("local"),
            write_concern=WriteConcern(w="majority", j=True),
        )
        self._pools: _Documents = self._database["pools"]
        self._hosts: _Documents = self._database["hosts"]
        self._history: _Documents = self._database["history"]
        self._farm: _Documents = self._database["farm"]
        self._probes: _Documents = self._database["probes"]
        self._lease: _Documents = self._database["lease"]
        self._quorum: dict[str, Any] | None = None
        self._piece = _FIRST_PIECE
        self._parts = 1

    # --- reading --------------------------------------------------------------------------------------------------

    def load(self) -> Contents:
        return gathered(self.scan())

    def scan(self) -> Iterator[Piece]:
        with self._asking():
            self._list_collections()
            # From the index alone, whatever is in the documents.
            found = list(self._majority(self._pools).find({}, {"_id": True}, batch_size=_ONE_GO).sort("_id", ASCENDING))
            registered = self._read_registered()
        ids = [document["_id"] for document in found]
        yield Piece(registered, 0, len(ids))
        done = 0
        while done < len(ids):
            try:
                for rows, read in self._read_in_pieces(ids, done):
                    done += read
                    yield Piece({key: row for key, row in rows.items() if row is not None}, done, len(ids))
            except StoreUnavailable as error:
                yield Piece({}, done, len(ids), error)

    def read(self, keys: abc.Collection[Key], names: abc.Collection[str] = ()) -> dict[Key, Row]:
        found: dict[Key, Row | None] = {}
        with self._asking():
            self._list_collections()
            if REGISTERED in keys:
                found |= self._read_registered()
        ids = [id_of(key) for key in keys if key != REGISTERED]
        if ids and len(ids) + len(names) <= _FIRST_PIECE:
            # At once: one of these pools may have got the name of another just now.
            found |= self._read_pools({"$or": [{"_id": {"$in": ids}}, {"name": {"$in": list(names)}}]})
        else:
            for first in range(0, len(names), _FIRST_PIECE):
                found |= self._read_pools({"name": {"$in": list(names)[first : first + _FIRST_PIECE]}})
            for rows, _read in self._read_in_pieces(ids):
                found |= rows
        return {key: row for key, row in found.items() if row is not None}

    def _read_registered(self) -> dict[Key, Row]:
        document = self._majority(self._hosts).find_one({"_id": REGISTERED_ID}, {"change.diff": False})
        return {} if document is None else {REGISTERED: read_registered_row(document)}

    def _read_pools(self, query: Mapping[str, Any]) -> dict[Key, Row | None]:
        """The pools of a query, read in one go; None for those that are being deleted."""
        with self._asking():
            rows, others = self._read_short(query)
            if others is not None:
                # The last change's lists of hosts are not needed here, and can be as long as the pool.
                found = self._majority(self._pools).find(others, {"change.diff": False}, batch_size=_ONE_GO)
                rows |= map(read_row, found)
            for key in [key for key, row in rows.items() if row is None]:
                # Tidying up; it can wait for the next one who passes.
                with suppress(PyMongoError, StoreUnavailable):
                    self._finish_deletion(id_of(key))
        return rows

    def _read_short(self, query: Mapping[str, Any]) -> tuple[dict[Key, Row | None], Mapping[str, Any] | None]:
        """The same of those pools that can be told from a part of their documents, and a query for all others."""
        pipeline = [{"$match": query}, {"$project": SHORT}]
        rows: dict[Key, Row | None] = {}
        odd: list[object] = []
        try:
            for document in self._majority(self._pools).aggregate(pipeline, batchSize=_ONE_GO):
                read = read_short_row(document)
                if read is None:
                    odd.append(document["_id"])
                else:
                    rows[read[0]] = read[1]
        except (bson.errors.BSONError, ValueError):
            return {}, query  # not even an `_id` can be read
        except OperationFailure as error:
            if error.code not in _UNKNOWN_EXPRESSION:
                raise
            return {}, query
        return rows, {"_id": {"$in": odd}} if odd else None

    def _read_in_pieces(self, ids: Sequence[object], done: int = 0) -> Iterator[tuple[dict[Key, Row | None], int]]:
        """The pools of these documents, but for the first `done`: as many at a time as the server gives well within the
        timeout. And of how many documents each piece is.

        Raises:
            StoreUnavailable: the server does not answer, or takes too long for a single document.
        """
        while done < len(ids):
            some = ids[done : done + self._piece]
            start = time.monotonic()
            try:
                rows = self._read_pools({"_id": {"$in": some}})
            except _TooSlow as error:
                if len(some) == 1:
                    raise StoreUnavailable(
                        f"{error} That was one document of the collection pools, {some[0]!r}; {done:,} of {len(ids):,} "
                        "had been read before. If mongod has nothing else to do, allow it more: [store] timeout."
                    ) from error
                self._answer_at_all()
                self._piece = max(1, len(some) // 4)
                continue
            if time.monotonic() - start < self._timeout / 8:
                self._piece = min(self._piece * 2, _LARGEST_PIECE)
            done += len(some)
            yield rows, len(some)

    def _answer_at_all(self) -> None:
        """Sees whether a server that was too slow would be quicker with less.

        Raises:
            StoreUnavailable: it does not even answer a ping.
        """
        try:
            self.ping()
        except _TooSlow as error:
            raise StoreUnavailable(str(error)) from error

    @staticmethod
    def _majority(collection: _Documents) -> _Documents:
        """For what readers get: it is never rolled back."""
        return collection.with_options(read_concern=_MAJORITY)

    def history(self, *, pool: str | None = None, limit: int = 50, before: str | None = None) -> list[Entry]:
        query: dict[str, Any] = {"changed": True}
        if pool is not None:
            query["names"] = pool
        if before is not None:
            query["_id"] = {"$lt": before}
        with self._asking():
            self._complete_history()
            found = list(
                self._majority(self._history).find(query, batch_size=_ONE_GO).sort("_id", DESCENDING).limit(limit)
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
                    batch_size=_ONE_GO,
                )
                .sort("_id", DESCENDING)
                .limit(limit)
            )
        return [step for step in map(read_step, found) if step is not None]

    def ping(self) -> float:
        start = time.monotonic()
        with self._asking():
            self._database.command("ping")
        return time.monotonic() - start

    def probe(self) -> float:
        start = time.monotonic()
        with self._asking():
            self._probes.update_one({"_id": "probe"}, {"$inc": {"count": 1}}, upsert=True)
        return time.monotonic() - start

    # --- changing -------------------------------------------------------------------------------------------------

    def apply(self, change: Change) -> Entry:
        with self._asking():
            collections = self._check_collections()
            # Ends: each turn lost is another broker's change made, and the deadline ends a series of those.
            while (entry := self._try(change)) is None:
                pass
            # Anybody can drop an index or replace a collection, while a change is made, too. What is acknowledged is in
            # the collections that are there, and they hold no name and no request twice. One may have been new.
            if not collections.items() <= self._check_collections().items():
                raise StoreUnavailable(
                    f"The collections of {self._uri} were dropped or replaced while the change was made."
                )
            return entry

    def record(self, entry: Entry) -> Entry:
        with self._asking():
            self._check_collections()
            document = self._history.find_one({"key": entry.key})
            made = read_history(document) if document is not None else None
            # Recording it again waits until a majority has it.
            return self._record(made or entry)

    def _try(self, change: Change) -> Entry | None:
        """Makes one attempt; None where something else happened to the pool meanwhile."""
        collection = self._pools if change.pool else self._hosts
        document, repeated = self._find(change)
        if repeated is not None:
            return repeated
        last = read_change(document)
        repeated = self._recall(change, last)
        if repeated is not None:
            return repeated
        if document is not None and is_tombstone(document):
            self._finish_deletion(document["_id"])
            return None
        current = self._read(change, document)
        try:
            settled = settle(change, current, follows=last.id if last else "")
        except RequestRefused:
            # Another broker may have made this very change since we looked for it: then that is the answer.
            if self._was_made(change):
                return None
            raise
        entry = settled.entry
        if not entry.changed:
            return change.recall(self._record(entry))
        _check_size(change, settled, document)
        if settled.takes_name:
            self._refuse_lookalike(settled)
        try:
            if document is None:
                assert settled.after is not None
                collection.insert_one(new_document(settled.after, entry))  # type: ignore[arg-type]
            elif settled.after is None:
                if not collection.update_one(exactly(document), tombstone(entry)).matched_count:
                    return None
            else:
                assert settled.before is not None
                swap = update(document, settled.before, settled.after, entry)
                if not collection.update_one(exactly(document), swap).matched_count:
                    return None
        except DuplicateKeyError:
            self._refuse_taken_name(change, settled)
            return None
        if settled.takes_name:
            try:
                self._refuse_lookalike(settled)
            except RequestRefused:
                self._take_back(document, entry)
                raise
        recorded = self._record(entry)
        if recorded.id != entry.id and document is None:
            # Two brokers got the same request. The other one's pool was created and deleted again between our look
            # into history and our creation, which therefore has to be taken back.
            collection.delete_one({"change.id": entry.id})
            return change.recall(recorded)
        if settled.after is None and document is not None:
            self._remove_tombstone(document["_id"], entry)
        return entry

    def _find(self, change: Change) -> tuple[RawBSONDocument | None, Entry | None]:
        """The document to change, and the entry of this same change where a document still carries it."""
        if not change.pool:
            document = self._hosts.find_one({"_id": REGISTERED_ID})
            made = read_change(document)
            return document, self._record(change.recall(made)) if made and made.key == change.key else None
        wanted = None
        for document in self._pools.find({"$or": [{"name": change.pool}, {"change.key": change.key}]}):
            made = read_change(document)
            if made is not None and made.key == change.key:
                entry = self._record(change.recall(made))
                if is_tombstone(document):
                    self._remove_tombstone(document["_id"], entry)
                return document, entry
            if document.get("name") == change.pool:
                wanted = document
        return wanted, None

    def _recall(self, change: Change, last: Entry | None) -> Entry | None:
        """The entry of this same change where history has it; and sees to it that history has `last`.

        To be called after the document was read: a change that was made before that is found either in the
        document or here, and one that is made later makes the swap fail.
        """
        query: list[dict[str, Any]] = [{"key": change.key}]
        if last is not None:
            query.append({"_id": last.id})
        last_is_there = last is None
        for document in self._history.find({"$or": query}):
            entry = read_history(document)
            if entry is not None and entry.key == change.key:
                # Recording it again waits until a majority has it, which an answer promises.
                return self._record(change.recall(entry))
            last_is_there = True
        if last is not None and not last_is_there:
            self._record(last)
        return None

    def _was_made(self, change: Change) -> bool:
        # In this order: an entry is in history before it leaves its document.
        return any(
            collection.find_one({key: change.key}, {"_id": True}) is not None
            for collection, key in (
                (self._pools, "change.key"),
                (self._hosts, "change.key"),
                (self._history, "key"),
            )
        )

    def _read(self, change: Change, document: RawBSONDocument | None) -> Pool | None:
        try:
            if not change.pool:
                return read_registered(document, []) if document is not None else Pool("")
            return read_pool(document, []) if document is not None else None
        except ValueError as error:
            raise StoreUnavailable(str(error)) from None

    def _refuse_taken_name(self, change: Change, settled: Settled) -> None:
        """Refuses a change whose name was found taken; returns where another attempt may find it free."""
        assert settled.after is not None
        name = settled.after.name
        if not name:
            return
        taken = self._pools.find_one({"name": name})
        if taken is None or self._was_made(change):
            return
        if not is_tombstone(taken):
            raise pool_exists(name)
        self._finish_deletion(taken["_id"])

    def _refuse_lookalike(self, settled: Settled) -> None:
        """Refuses a name that looks like another pool's.

        Called before a pool gets the name, and again after it: no index keeps such names apart, but of two brokers that
        each write first and look then, at least one sees the other's pool. Both may, and then neither gets its name.
        """
        assert settled.after is not None
        name, own = settled.after.name, settled.before.name if settled.before else ""
        # All texts are at least this one. Names alone are read from their index, however large the pools are.
        found = self._pools.find({"name": {"$gte": ""}}, {"_id": False, "name": True}, batch_size=_ONE_GO)
        others = [document["name"] for document in found]
        looks = appearance(name)
        for other in others:
            if other in (name, own) or appearance(other) != looks:
                continue
            taken = self._pools.find_one({"name": other})
            if taken is not None and is_tombstone(taken):
                self._finish_deletion(taken["_id"])
            elif taken is not None:
                refuse_lookalike(name, (other,))

    def _take_back(self, document: RawBSONDocument | None, entry: Entry) -> None:
        """Makes a pool what it was before `entry`, and `entry` something that never was.

        Args:
            document: the pool as it was, None if there was none.
            entry: the change that is not to be acknowledged.
        """
        if document is None:
            self._pools.delete_one({"change.id": entry.id})
        else:
            self._pools.replace_one({"_id": {"$eq": document["_id"]}, "change.id": entry.id}, document)
        self._history.delete_one({"_id": entry.id})

    def _record(self, entry: Entry) -> Entry:
        """Copies an entry into history, where it is not there yet, and waits until a majority has it.

        Returns:
            The entry that history has for this request: another one where another broker was first.
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
        """Copies what a broker could not copy any more before it died."""
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

    def _check_collections(self) -> dict[str, object]:
        """Sees that no two pools can have one name and no two entries one request, and makes the indexes for it.

        Returns:
            Which collections these are: each one's UUID, by name. One that replaces another has a UUID of its own.

        Raises:
            StoreUnavailable: there are two already.
        """
        quorum = self._index_quorum()
        for collection, indexes in ((self._pools, _POOL_INDEXES), (self._history, _HISTORY_INDEXES)):
            try:
                collection.create_indexes(indexes, **quorum)
            except DuplicateKeyError as error:
                raise StoreUnavailable(self._say_twice(collection.name, error)) from error
            except OperationFailure as error:
                self._quorum = None
                if error.code in _INDEX_CONFLICTS:
                    raise StoreUnavailable(
                        f"The database {self._uri} has an index of another kind where a unique one on pools.name or "
                        f"history.key must be: drop it there ({error.details and error.details.get('errmsg')})."
                    ) from error
                raise
        # In this order: an index was seen in the collection that is named here, or in one that it has replaced since.
        found = self._list_collections("pools", "hosts", "history")
        return {each["name"]: each["info"]["uuid"] for each in found if each["type"] == "collection"}

    def _list_collections(self, *names: str) -> list[Any]:
        """Those of these that there are.

        Raises:
            RestoreUnfinished: what is in them is about to be replaced, or is so in part.
        """
        found = list(self._database.list_collections(filter={"name": {"$in": [*names, _STAGED["hosts"]]}}))
        if any(each["name"] == _STAGED["hosts"] for each in found):
            raise RestoreUnfinished(
                f"The pools in {self._uri} are being restored from a backup. If that was interrupted, run `afpools "
                "restore` again: until it has finished, nobody knows what is in them."
            )
        return found

    def _index_quorum(self) -> dict[str, Any]:
        if self._quorum is None:
            # A member that is down must not keep the others from building an index. A single server knows no quorum.
            self._quorum = {"commitQuorum": "majority"} if "setName" in self._database.command("hello") else {}
        return self._quorum

    def _say_twice(self, collection: str, error: DuplicateKeyError) -> str:
        value = next(iter((error.details or {}).get("keyValue", {}).values()), None)
        if collection == "history":
            what = f"The history in {self._uri} has more than one entry of the request {value!r}"
        else:
            named = "has no name" if value is None else f"is named {value!r}"
            what = f"More than one document in the collection pools of {self._uri} {named}"
        return (
            f"{what}, so no pool can be changed. Run `afpools pool repair` on the broker's machine: it shows what they "
            "say, and resolves it."
        )

    # --- repairing -------------------------------------------------------------------------------------------------

    def conflicts(self) -> list[Conflict]:
        """The names in `pools` that several documents claim, and documents that have no name for a pool.

        Raises:
            StoreUnavailable: the server does not answer.
        """
        with self._asking():
            documents = list(self._pools.find({}, batch_size=_ONE_GO))
            for document in filter(is_tombstone, documents):
                self._finish_deletion(document["_id"])
        return conflicts(document for document in documents if not is_tombstone(document))

    def resolve(self, step: RepairStep, *, who: str) -> Entry:
        """Changes one document as somebody has decided, and records it. Brokers may be running.

        Args:
            step: what becomes of the document.
            who: gets into history.

        Raises:
            StoreUnavailable: the server does not answer, the document is not what was shown any more, or the name
                is another pool's.
        """
        claim, after = step.claim, step.becomes
        change = Change(
            op=REPAIR,
            who=who,
            request_id=secrets.token_hex(8),
            pool=claim.pool.name,
            asked=asked_for(claim.pool.name),
            deed=Swap(claim.pool.revision, after),
        )
        entry = change.entry(
            claim.pool,
            after,
            when=to_milliseconds(dt.datetime.now(dt.UTC)),
            follows=claim.last.id if claim.last else "",
        )
        with self._asking():
            if after and after.name != claim.pool.name and self._pools.find_one({"name": after.name}, {"_id": True}):
                raise StoreUnavailable(f"There is another pool {after.name!r}. Choose a name that is free.")
            if after and after.name != claim.pool.name:
                try:
                    self._refuse_lookalike(Settled(claim.pool, after, entry))
                except RequestRefused as refusal:
                    raise StoreUnavailable(refusal.message) from None
            if claim.last is not None:
                self._record(claim.last)
            swap = tombstone(entry) if after is None else update(claim.document, claim.pool, after, entry)
            if not self._pools.update_one(exactly(claim.document), swap).matched_count:
                raise StoreUnavailable(
                    f"Somebody else has changed the document {claim.id} meanwhile. Look at it again, then decide."
                )
            self._record(entry)
            if after is None:
                self._remove_tombstone(claim.document["_id"], entry)
        return entry

    def requests_twice(self) -> list[tuple[object, list[object]]]:
        """The requests that history has more than once: what it knows each by, and the ids of its entries, the oldest
        first.

        Raises:
            StoreUnavailable: the server does not answer.
        """
        with self._asking():
            groups = self._history.aggregate(
                [
                    {"$sort": {"_id": ASCENDING}},
                    {"$group": {"_id": "$key", "ids": {"$push": "$_id"}}},
                    {"$match": {"ids.1": {"$exists": True}}},
                ],
                allowDiskUse=True,
            )
            return [(group["_id"], list(group["ids"])) for group in groups]

    def separate_requests(self) -> int:
        """Lets the oldest entry of each request stand for it when it is repeated; the others stay in history.

        Returns:
            How many others there were.

        Raises:
            StoreUnavailable: the server does not answer.
        """
        others = [(key, entry_id) for key, (_first, *rest) in self.requests_twice() for entry_id in rest]
        with self._asking():
            for key, entry_id in others:
                self._history.update_one({"_id": {"$eq": entry_id}}, {"$set": {"key": f"{key} again: {entry_id}"}})
        return len(others)

    def check(self) -> None:
        """Sees that pools can be changed, and makes the indexes for it.

        Raises:
            StoreUnavailable: they cannot; the message says why.
        """
        with self._asking():
            self._check_collections()

    # --- backups --------------------------------------------------------------------------------------------------

    def export(self) -> Iterator[Record]:
        with self._asking():
            self._list_collections()  # refuses what was restored in part
            hello = self._database.command("hello")
        if "setName" in hello and hello["maxWireVersion"] >= _SNAPSHOTS:
            with self._client.start_session(snapshot=True) as session:
                yield from self._read_everything(session)
            return
        # A single server cannot show a moment. What was read is kept until it is certain that nothing came between.
        for _turn in range(_UNCHANGED_TRIES):
            before = self._state()
            records = list(self._read_everything(None))
            if self._state() == before:
                yield from records
                return
        raise StoreUnavailable(f"The pools in {self._uri} are changed faster than they are read. Try again later.")

    def _state(self) -> object:
        everything = self._fingerprints(EVERYTHING).sum()
        with self._asking():
            newest = self._history.find_one({}, {"_id": True}, sort=[("_id", DESCENDING)])
            return everything, self._history.count_documents({}), newest and newest["_id"]

    def _read_everything(self, session: ClientSession | None) -> Iterator[Record]:
        # What is not in history at this moment: an entry gets there after the change.
        carried: dict[str, Entry] = {}
        for collection in (self._pools, self._hosts):
            for document in self._read_all(collection, session):
                if (entry := read_change(document)) is not None:
                    carried[entry.id] = entry
                if not is_tombstone(document) and document["_id"] != _RESTORE:
                    yield pool_record(document, collection.name)
        for document in self._read_all(self._history, session):
            carried.pop(str(document["_id"]), None)
            yield history_record(document)
        for entry in carried.values():
            yield EntryRecord(entry=entry)
        for document in self._read_all(self._farm, session):
            if document["_id"] == "renders":
                data, seen = self._unpack(document)
                yield FarmRecord(data=data, seen=seen)

    def _read_all(self, collection: _Documents, session: ClientSession | None) -> Iterator[RawBSONDocument]:
        cursor = collection.find({}, session=session)
        while True:
            with self._asking():
                documents = list(islice(cursor, _STAGED_AT_A_TIME))
            if not documents:
                return
            yield from documents

    def restore(self, records: Iterable[Record], *, writes_end: float) -> None:
        token = secrets.token_hex(8)
        began = time.monotonic()
        with self._asking():
            interrupted = _STAGED["hosts"] in self._database.list_collection_names()
            if not interrupted:
                self._database.create_collection(_STAGED["hosts"])
            staged = {name: self._database[temporary] for name, temporary in _STAGED.items()}
            # From now on no broker begins a change.
            staged["hosts"].delete_many({})
            staged["hosts"].insert_one({"_id": _RESTORE, "token": token, "when": dt.datetime.now(dt.UTC)})  # type: ignore[arg-type]
        try:
            self._stage(staged, records)
            # One that was begun before is in what is replaced, and its line in history as well.
            time.sleep(max(0.0, began + writes_end - time.monotonic()))
            with self._asking():
                mark = staged["hosts"].find_one({"_id": _RESTORE})
            if mark is None or mark["token"] != token:
                interrupted = True
                raise StoreUnavailable(f"Another restore into {self._uri} has begun meanwhile. This one was given up.")
        except BaseException:
            if not interrupted:
                # Nothing was replaced yet, and nothing is.
                with suppress(StoreUnavailable), self._asking():
                    for collection in staged.values():
                        collection.drop()
            raise
        for name, collection in staged.items():
            with self._asking():
                collection.rename(name, dropTarget=True)

    def _stage(self, staged: Mapping[str, _Documents], records: Iterable[Record]) -> None:
        with self._asking():
            for name in ("pools", "history", "farm"):
                staged[name].drop()
                self._database.create_collection(_STAGED[name])
        waiting: dict[str, list[Any]] = {name: [] for name in staged}

        def insert(name: str) -> None:
            if waiting[name]:
                with self._asking():
                    staged[name].insert_many(waiting[name])
                waiting[name].clear()

        for record in records:
            name, document = (
                ("farm", _packed(record.data, record.seen)) if isinstance(record, FarmRecord) else restored(record)
            )
            waiting[name].append(document)
            if len(waiting[name]) >= _STAGED_AT_A_TIME:
                insert(name)
        for name in waiting:
            insert(name)
        for name, indexes in (("pools", _POOL_INDEXES), ("history", _HISTORY_INDEXES)):
            # A backup may hold names or requests twice, as the database did that it was made of. Brokers will say so.
            with self._asking(), suppress(DuplicateKeyError):
                staged[name].create_indexes(indexes, **self._index_quorum())

    # --- the list of renders --------------------------------------------------------------------------------------

    def save_farm(self, data: bytes, seen: dt.datetime) -> None:
        packed = _packed(data, seen)
        with self._asking():
            # Where a newer list is kept, nothing matches, and the insertion that MongoDB tries instead fails. It fails
            # as well when two brokers save the very first list at once; the second turn then decides.
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
                "It is replaced as soon as afserver answers; deleting the collection farm there does no harm."
            ) from None

    # --- the lease --------------------------------------------------------------------------------------------------

    def take_lease(self, holder: str, seconds: float) -> Lease:
        # The server's clock decides, and one document changes in one step.
        ran_out = {"$not": {"$gt": ["$until", "$$NOW"]}}
        renewed = {"$add": ["$$NOW", int(seconds * 1000)]}
        steps: list[dict[str, Any]] = [
            {"$set": {"token": {"$add": [{"$ifNull": ["$token", 0]}, {"$cond": [ran_out, 1, 0]}]}}},
            {"$set": {"holder": {"$cond": [ran_out, {"$literal": holder}, "$holder"]}}},
            {"$set": {"until": {"$cond": [{"$eq": ["$holder", {"$literal": holder}]}, renewed, "$until"]}}},
        ]
        with self._asking():
            while True:
                try:
                    kept = self._lease.find_one_and_update(
                        _THE_LEASE, steps, upsert=True, return_document=ReturnDocument.AFTER
                    )
                except DuplicateKeyError:
                    continue  # two brokers made the document at once; the next turn finds it
                assert kept is not None  # made where it was not there
                return Lease(str(kept["holder"]), int(kept["token"]))

    def give_up_lease(self, holder: str) -> None:
        with self._asking():
            self._lease.update_one({**_THE_LEASE, "holder": holder}, [{"$set": {"until": "$$NOW"}}])

    # --- telling of changes ---------------------------------------------------------------------------------------

    def watch(self, stop: threading.Event) -> Iterator[Sign]:
        with self._asking():
            hello = self._database.command("hello")
        streams = "setName" in hello or hello.get("msg") == "isdbgrid"
        while not stop.is_set():
            # A stream ends by itself when the database is dropped; it is opened again then.
            yield from self._stream(stop, "setName" in hello) if streams else self._poll(stop)

    def _stream(self, stop: threading.Event, replicated: bool) -> Iterator[Sign]:
        """A change stream, read as plain commands: the driver's own hands out one event at a time, and a hundred
        changes that came together are one reason to read, not a hundred.

        Events alone are not relied upon: fingerprints of everything are compared beside them, from time to time.
        """
        # A collection is dropped, renamed, made by $out or restored under a name that an event gives in one place or
        # another; so only what changes nothing but documents of other collections is passed over.
        pipeline = [
            {"$changeStream": {}},
            {
                "$match": {
                    "$or": [
                        {"ns.coll": {"$in": ["pools", "hosts"]}},
                        {"operationType": {"$nin": _OF_DOCUMENTS}},
                    ]
                }
            },
            # The server insists on `_id`.
            {
                "$project": {
                    "operationType": True,
                    "ns": True,
                    "documentKey": True,
                    "change": "$updateDescription.updatedFields.change.id",
                }
            },
        ]
        with self._client.start_session() as session:
            asked = time.monotonic()
            with self._asking():
                opened = self._database.command(
                    "aggregate", 1, pipeline=pipeline, cursor={}, session=session, readConcern={"level": "majority"}
                )
            cursor = opened["cursor"]["id"]
            try:
                self._confirm_majority(replicated)
                # Before it is read, so that what changes meanwhile makes the next one differ.
                everything = self._fingerprints(EVERYTHING)
                self._compare(everything)
                due = time.monotonic() + max(_DIGEST_SECONDS, everything.took / _DIGEST_SHARE)
                # Only now, so that nothing is missed between what is read and the first event.
                yield Sign(True, asked)
                while cursor and not stop.is_set():
                    asked = time.monotonic()
                    self._confirm_majority(replicated)
                    # No deadline here: the driver would pass it on as the time to wait for an event.
                    with self._asking(deadline=False):
                        more = self._database.command(
                            "getMore",
                            bson.Int64(cursor),
                            collection="$cmd.aggregate",
                            maxTimeMS=int(_AWAIT_SECONDS * 1000),
                            session=session,
                            codec_options=self._database.codec_options,
                        )
                    cursor = more["cursor"]["id"]
                    keys = _keys_of(more["cursor"]["nextBatch"])
                    if time.monotonic() >= due:
                        keys = _both(keys, self._compare(everything))
                        due = time.monotonic() + max(_DIGEST_SECONDS, everything.took / _DIGEST_SHARE)
                    yield Sign(keys is None or bool(keys), asked, keys)
            finally:
                if cursor:
                    with suppress(PyMongoError), pymongo.timeout(self._timeout):
                        self._database.command(
                            "killCursors", "$cmd.aggregate", cursors=[bson.Int64(cursor)], session=session
                        )

    def _confirm_majority(self, replicated: bool) -> None:
        """Makes sure that what follows is answered by the primary, and with everything that was acknowledged so far.

        A primary that was cut off, or stopped for a while, has no events to tell either. A linearizable read is
        answered once a majority has agreed that it still is the primary. Through mongos there is none.
        """
        with self._asking():
            if replicated:
                self._hosts.with_options(read_concern=_LINEARIZABLE).find_one({"_id": REGISTERED_ID}, {"_id": True})

    def _poll(self, stop: threading.Event) -> Iterator[Sign]:
        """Fingerprints, compared at each turn: those of what brokers change at every change, which cost next to
        nothing, and those of everything as often as they may cost."""
        ours, everything = self._fingerprints(OURS), self._fingerprints(EVERYTHING)
        due = float("-inf")
        while not stop.is_set():
            asked = time.monotonic()
            keys = ours.differing()
            if time.monotonic() >= due:
                keys = _both(keys, self._compare(everything))
                due = time.monotonic() + everything.took / _DIGEST_SHARE - self._poll_seconds
            elif keys:
                # Or what was just told of would be told of again when their turn comes.
                everything.note(keys)
            yield Sign(keys is None or bool(keys), asked, keys)
            stop.wait(max(0.0, asked + self._poll_seconds - time.monotonic()))

    def _fingerprints(self, of: Mapping[str, Any]) -> Fingerprints:
        def registered(expression: Mapping[str, Any]) -> int | None:
            stages: list[Mapping[str, Any]] = [{"$match": {"_id": REGISTERED_ID}}, {"$project": {"seen": expression}}]
            with self._asking():
                return next((each["seen"] for each in self._majority(self._hosts).aggregate(stages)), None)

        return Fingerprints(of, pools=self._aggregate, registered=registered, digest=self._digest)

    @staticmethod
    def _compare(everything: Fingerprints) -> dict[Key, str] | None:
        """What differs, as far as the server can tell; None where that may be anything."""
        try:
            return everything.differing()
        except _TooSlow as error:
            log.warning("Everything is read again, because the server was too slow to compare it: %s", error)
            return None

    def _aggregate(self, stages: Stages) -> list[RawBSONDocument] | None:
        """What an aggregation gives for all pools, for a part of them at a time where the server is slow; None where
        it does not know the expressions.

        Raises:
            StoreUnavailable: it does not answer, or is too slow for any part.
        """
        while True:
            found: list[RawBSONDocument] = []
            try:
                for part in range(self._parts):
                    some: Mapping[str, Any] = {"$match": {"$expr": {"$eq": [{"$mod": [BUCKET, self._parts]}, part]}}}
                    pipeline = [some, *stages] if self._parts > 1 else list(stages)
                    with self._asking():
                        found += list(self._majority(self._pools).aggregate(pipeline))
            except _TooSlow:
                self._answer_at_all()
                if self._parts >= BUCKETS:
                    raise
                self._parts *= 4
            except StoreUnavailable as error:
                if getattr(error.__cause__, "code", None) in _UNKNOWN_EXPRESSION:
                    return None
                raise
            else:
                return found

    def _digest(self) -> bytes:
        """A fingerprint of everything that is read of pools and registered hosts, computed here."""
        digest = hashlib.blake2b()
        with self._asking():
            for collection in (self._pools, self._hosts):
                digest.update(b"\0")
                for batch in self._majority(collection).find_raw_batches({}, {"change.diff": False}):
                    digest.update(batch)  # type: ignore[arg-type]  # bytes, whatever the collection holds
        return digest.digest()

    def close(self) -> None:
        self._client.close()

    # --- trouble --------------------------------------------------------------------------------------------------

    @contextmanager
    def _asking(self, *, deadline: bool = True) -> Iterator[None]:
        """Everything that is asked of the server inside has to be answered in time, and fails with a sentence."""
        try:
            with pymongo.timeout(self._timeout if deadline else None):
                yield
        except PyMongoError as error:
            if isinstance(error, DocumentTooLarge) or getattr(error, "code", None) in _TOO_LARGE:
                raise RequestRefused(
                    Code.TOO_LARGE, f"The change is larger than MongoDB takes: {error}. Split it into smaller ones."
                ) from None
            raise (_TooSlow if error.timeout else StoreUnavailable)(self._explain(error)) from error

    def _explain(self, error: PyMongoError) -> str:
        where = f"MongoDB at {self._hosts_in_uri}"
        code = getattr(error, "code", None)
        if code == _AUTHENTICATION_FAILED:
            return (
                f"{where} does not accept the user name and password of {self._uri}. "
                "Check both, and the option authSource if the user is kept in another database."
            )
        if code == _UNAUTHORIZED:
            return (
                f"{where} does not let this broker use the database {self._database.name!r}: {_first_line(error)}. "
                f"Name a user in [store] uri who has the role readWrite there; it is {self._uri} now."
            )
        if isinstance(error, ServerSelectionTimeoutError):
            servers = self._client.topology_description.server_descriptions().values()
            if any(server.server_type_name != "Unknown" for server in servers):
                return (
                    f"{where} has no primary at the moment: {_first_line(error)}. It elects one within seconds if "
                    "more than half of the replica set's members run and reach each other."
                )
            return (
                f"{where} does not answer within {self._timeout:g} s: {_first_line(error)}. "
                "See that mongod runs there and that [store] uri names it."
            )
        if error.timeout:
            return (
                f"{where} did not finish within {self._timeout:g} s: {_first_line(error)}. "
                "It is busy, or too few members of the replica set are there to confirm a write."
            )
        return f"{where} failed: {_first_line(error)}. See mongod's log if it stays."


def _keys_of(events: Iterable[RawBSONDocument]) -> dict[Key, str] | None:
    """The keys of the documents that events of a change stream are about, each with the change that its last event
    tells of, where that is a broker's; None where an event is about more than a document."""
    keys: dict[Key, str] = {}
    for event in events:
        kind = event["operationType"]
        if kind not in _OF_DOCUMENTS:
            return None
        document_id = event["documentKey"]["_id"]
        if event["ns"]["coll"] == "pools":
            # Somebody else may put back a document of ours, its change included. Who only updates one does not.
            keys[key_of(document_id)] = str(event.get("change", "")) if kind == "update" else ""
        elif document_id == REGISTERED_ID:
            keys[REGISTERED] = ""
    return keys


def _both(keys: dict[Key, str] | None, others: dict[Key, str] | None) -> dict[Key, str] | None:
    # What is told of without a change is to be read whatever the other side knows.
    return None if keys is None or others is None else {**keys, **others}


def _packed(data: bytes, seen: dt.datetime) -> dict[str, Any]:
    """The document of a list of renders."""
    # 16 MB is also what a whole document may have; a list of renders packs to a tenth.
    return {"_id": "renders", "when": to_milliseconds(seen), "data": zlib.compress(data, 1)}


def _check_size(change: Change, settled: Settled, document: RawBSONDocument | None) -> None:
    """Refuses a pool that could not be changed any more. Whatever makes it smaller is always allowed."""
    before, after = settled.before, settled.after
    if after is None or (before is not None and len(after.hosts) <= len(before.hosts)):
        return
    if document is None:
        size = len(bson.encode(new_document(after, settled.entry)))
    else:
        assert before is not None
        grows = len(bson.encode(update(document, before, after, settled.entry)))
        size = len(document.raw) + grows - len(bson.encode({"": document.get("change")}))
    if size > MAX_DOCUMENT_BYTES:
        raise RequestRefused(
            Code.TOO_LARGE,
            f"The pool {change.pool!r} with {len(after.hosts):,} hosts would take {size:,} bytes, and "
            f"MongoDB can hold {MAX_DOCUMENT_BYTES:,} here. Split it into several pools.",
        )


def _seeds(uri: str) -> list[tuple[str, int | None]]:
    if uri.startswith("mongodb+srv://"):
        # Finding out the servers' names takes DNS, which is left to the first use.
        return [(uri.rpartition("@")[2].removeprefix("mongodb+srv://").partition("/")[0].partition("?")[0], None)]
    return list(parse_uri(uri, validate=False)["nodelist"])


def _first_line(error: PyMongoError) -> str:
    # The driver appends what it knows of every server, or the server's whole answer.
    text = str(error).partition(", full error:")[0].partition(", Timeout:")[0].partition("\n")[0]
    return text.partition(" (configured timeouts:")[0].rstrip(".")
