"""Everything in MongoDB as records of a backup, and back.

Strategy: a restore collects the new documents in separate collections, then renames those over the old ones. From its
beginning to its end no broker reads or changes anything.
"""

from __future__ import annotations

import datetime as dt
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from typing import Any

from bson.raw_bson import RawBSONDocument
from pymongo import DESCENDING
from pymongo.client_session import ClientSession
from pymongo.errors import DuplicateKeyError

from ...pools.history import Entry
from .. import StoreUnavailable
from ..archive import EntryRecord, FarmRecord, Record
from .changing import HISTORY_INDEXES, POOL_INDEXES, MongoChanging
from .connection import STAGED, Documents
from .documents import history_record, is_tombstone, pool_record, read_change, restored
from .fingerprints import EVERYTHING
from .reading import packed_farm
from .watching import MongoWatching

_STAGED_AT_A_TIME = 200

# `_id` of the document in `hosts` that says which restore is running, or which one was the last.
_RESTORE = "restore"

# The version of the server's protocol that can read several collections at one moment: MongoDB 5.0.
_SNAPSHOTS = 13
_UNCHANGED_TRIES = 20


class MongoBackups(MongoChanging, MongoWatching):
    """Exports and restores."""

    def export(self) -> Iterator[Record]:
        with self._asking():
            self._list_collections()  # refuses a half-finished restore
            hello = self._database.command("hello")
        if "setName" in hello and hello["maxWireVersion"] >= _SNAPSHOTS:
            with self._client.start_session(snapshot=True) as session:
                yield from self._read_everything(session)
            return
        # A single server cannot read at one moment. What was read is used only if nothing changed meanwhile.
        for _turn in range(_UNCHANGED_TRIES):
            before = self._state()
            records = list(self._read_everything(None))
            if self._state() == before:
                yield from records
                return
        raise StoreUnavailable(f"The pools in {self._uri} change faster than they can be read. Try again later.")

    def _state(self) -> object:
        everything = self._fingerprints(EVERYTHING).sum()
        with self._asking():
            newest = self._history.find_one({}, {"_id": True}, sort=[("_id", DESCENDING)])
            return everything, self._history.count_documents({}), newest and newest["_id"]

    def _read_everything(self, session: ClientSession | None) -> Iterator[Record]:
        # Entries that are not in history at this moment: an entry is copied there after the change.
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

    def _read_all(self, collection: Documents, session: ClientSession | None) -> Iterator[RawBSONDocument]:
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
            interrupted = STAGED["hosts"] in self._database.list_collection_names()
            if not interrupted:
                self._database.create_collection(STAGED["hosts"])
            staged = {name: self._database[temporary] for name, temporary in STAGED.items()}
            # From now on no broker begins a change.
            staged["hosts"].delete_many({})
            staged["hosts"].insert_one({"_id": _RESTORE, "token": token, "when": dt.datetime.now(dt.UTC)})  # type: ignore[arg-type]
        try:
            self._stage(staged, records)
            # A change that was begun before is in what is replaced, and so is its entry in history.
            time.sleep(max(0.0, began + writes_end - time.monotonic()))
            with self._asking():
                mark = staged["hosts"].find_one({"_id": _RESTORE})
            if mark is None or mark["token"] != token:
                interrupted = True
                raise StoreUnavailable(f"Another restore into {self._uri} has begun meanwhile. This one was abandoned.")
        except BaseException:
            if not interrupted:
                # Nothing has been replaced yet, and nothing will be.
                with suppress(StoreUnavailable), self._asking():
                    for collection in staged.values():
                        collection.drop()
            raise
        for name, collection in staged.items():
            with self._asking():
                collection.rename(name, dropTarget=True)

    def _stage(self, staged: Mapping[str, Documents], records: Iterable[Record]) -> None:
        with self._asking():
            for name in ("pools", "history", "farm"):
                staged[name].drop()
                self._database.create_collection(STAGED[name])
        waiting: dict[str, list[Any]] = {name: [] for name in staged}

        def insert(name: str) -> None:
            if waiting[name]:
                with self._asking():
                    staged[name].insert_many(waiting[name])
                waiting[name].clear()

        for record in records:
            name, document = (
                ("farm", packed_farm(record.data, record.seen)) if isinstance(record, FarmRecord) else restored(record)
            )
            waiting[name].append(document)
            if len(waiting[name]) >= _STAGED_AT_A_TIME:
                insert(name)
        for name in waiting:
            insert(name)
        for name, indexes in (("pools", POOL_INDEXES), ("history", HISTORY_INDEXES)):
            # A backup may have names or requests twice, as its database had. Brokers will report them.
            with self._asking(), suppress(DuplicateKeyError):
                staged[name].create_indexes(indexes, **self._index_quorum())
