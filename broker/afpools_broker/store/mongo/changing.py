"""How a change is made in MongoDB, so that it is made exactly once even if others write at the same time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import bson
from bson.raw_bson import RawBSONDocument
from pymongo import ASCENDING, DESCENDING, IndexModel, ReturnDocument
from pymongo.errors import DuplicateKeyError, OperationFailure

from ...pools.changes import Change
from ...pools.history import Entry
from ...pools.lookalikes import appearance
from ...pools.pool import Pool, pool_exists, refuse_lookalike
from ...protocol import Code, RequestRefused
from .. import Lease, StoreUnavailable
from ..settling import Settled, settle
from .comparing import ONE_GO
from .documents import (
    REGISTERED_ID,
    exactly,
    is_tombstone,
    new_document,
    read_change,
    read_history,
    read_pool,
    read_registered,
    tombstone,
    update,
)
from .reading import MongoReading

MAX_DOCUMENT_BYTES = 12_000_000
"""A document of MongoDB may have 16 MiB, and so may one statement; a swap contains the whole old document and the
changes. With this margin, a pool of this size (100,000 hosts with short names) can still be changed in any way."""

_THE_LEASE = {"_id": "live"}

_INDEX_CONFLICTS = (85, 86)

# A name belongs to one pool, and a request to one entry.
POOL_INDEXES = [IndexModel([("name", ASCENDING)], unique=True), IndexModel([("change.key", ASCENDING)], sparse=True)]

HISTORY_INDEXES = [
    IndexModel([("key", ASCENDING)], unique=True),
    IndexModel([("names", ASCENDING), ("_id", DESCENDING)]),
]


class MongoChanging(MongoReading):
    """Makes changes, and keeps names and requests unique."""

    def probe(self) -> float:
        start = time.monotonic()
        with self._asking():
            self._probes.update_one({"_id": "probe"}, {"$inc": {"count": 1}}, upsert=True)
        return time.monotonic() - start

    def apply(self, change: Change) -> Entry:
        with self._asking():
            collections = self._check_collections()
            # Terminates: a lost turn means that another broker's change was made, and the deadline ends a series of
            # those.
            while (entry := self._try(change)) is None:
                pass
            # Anybody can drop an index or replace a collection, also while a change is made. So check that what is
            # acknowledged is in the present collections, and that these hold no name and no request twice. One of them
            # may have been new.
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
        """Makes one attempt; None if something else happened to the pool meanwhile."""
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
            # Two brokers got the same request. The other one's pool was created and deleted again after we looked into
            # history and before our creation, so ours must be taken back.
            collection.delete_one({"change.id": entry.id})
            return change.recall(recorded)
        if settled.after is None and document is not None:
            self._remove_tombstone(document["_id"], entry)
        return entry

    def _find(self, change: Change) -> tuple[RawBSONDocument | None, Entry | None]:
        """The document to change, and the entry of this same change if a document still carries it."""
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
        """The entry of this same change if history has it. Also makes sure that history has `last`.

        Call it after reading the document: a change made before that is found either in the document or here, and one
        made later makes the swap fail.
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
        """Refuses a change whose name was found taken; returns if another attempt may find it free."""
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

        Called before a pool gets the name and again after it. No index keeps such names apart, but if two brokers each
        write first and check afterwards, at least one sees the other's pool. If both do, neither pool gets its name.
        """
        assert settled.after is not None
        name, own = settled.after.name, settled.before.name if settled.before else ""
        # The empty text sorts before all others. Names alone are read from their index, however large the pools are.
        found = self._pools.find({"name": {"$gte": ""}}, {"_id": False, "name": True}, batch_size=ONE_GO)
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
        """Restores a pool to what it was before `entry`, and removes `entry`.

        Args:
            document: the pool as it was, None if there was none.
            entry: the change that is not to be acknowledged.
        """
        if document is None:
            self._pools.delete_one({"change.id": entry.id})
        else:
            back: list[Mapping[str, Any]] = [{"$replaceWith": {"$literal": document}}]
            if isinstance(document.get("change", {}), Mapping):
                # Somebody may have read the pool meanwhile, and have noted the earlier document: restored byte for
                # byte, it would look as if nothing had happened. The next change removes this field.
                back.append({"$set": {"change.taken_back": entry.id}})
            self._pools.update_one({"_id": {"$eq": document["_id"]}, "change.id": entry.id}, back)
        self._history.delete_one({"_id": entry.id})

    def _check_collections(self) -> dict[str, object]:
        """Makes sure that no two pools can have the same name and no two entries the same request, and makes the
        indexes for it.

        Returns:
            The UUID of each collection, by name. A collection that replaces another has a different UUID.

        Raises:
            StoreUnavailable: two of them already do.
        """
        quorum = self._index_quorum()
        for collection, indexes in ((self._pools, POOL_INDEXES), (self._history, HISTORY_INDEXES)):
            try:
                collection.create_indexes(indexes, **quorum)
            except DuplicateKeyError as error:
                raise StoreUnavailable(self._say_twice(collection.name, error)) from error
            except OperationFailure as error:
                self._quorum = None
                if error.code in _INDEX_CONFLICTS:
                    raise StoreUnavailable(
                        f"The database {self._uri} has an index of another kind in place of the unique one on "
                        f"pools.name or history.key. Drop it there ({error.details and error.details.get('errmsg')})."
                    ) from error
                raise
        # In this order, so that an index was seen in the collection that is named here, or in one that it has since
        # replaced.
        found = self._list_collections("pools", "hosts", "history")
        return {each["name"]: each["info"]["uuid"] for each in found if each["type"] == "collection"}

    def _index_quorum(self) -> dict[str, Any]:
        if self._quorum is None:
            # A member that is down must not keep the others from building an index. A single server rejects the option.
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

    def take_lease(self, holder: str, instead_of: int | None = None) -> Lease:
        # One document changes in one step.
        asks: dict[str, Any] = {"$literal": holder}
        free = {"$or": [{"$eq": ["$holder", ""]}, {"$eq": ["$beat", -1 if instead_of is None else instead_of]}]}
        known = {"holder": "", "token": 0, "beat": 0}
        steps: list[dict[str, Any]] = [
            {"$set": {key: {"$ifNull": [f"${key}", value]} for key, value in known.items()}},
            {"$set": {"free": free}},
            {"$set": {"holder": {"$cond": ["$free", asks, "$holder"]}, "token": _one_more("token", "$free")}},
            {"$set": {"beat": _one_more("beat", {"$eq": ["$holder", asks]})}},
            {"$unset": ["free", "until"]},
        ]
        with self._asking():
            while True:
                try:
                    kept = self._lease.find_one_and_update(
                        _THE_LEASE, steps, upsert=True, return_document=ReturnDocument.AFTER
                    )
                except DuplicateKeyError:
                    continue  # two brokers made the document at once; the next turn finds it
                assert kept is not None  # made if it did not exist
                return Lease(str(kept["holder"]), int(kept["token"]), int(kept["beat"]))

    def give_up_lease(self, holder: str) -> None:
        with self._asking():
            self._lease.update_one({**_THE_LEASE, "holder": holder}, {"$set": {"holder": ""}, "$inc": {"beat": 1}})


def _one_more(field: str, condition: object) -> dict[str, Any]:
    return {"$add": [f"${field}", {"$cond": [condition, 1, 0]}]}


def _check_size(change: Change, settled: Settled, document: RawBSONDocument | None) -> None:
    """Refuses a pool that would be too large to change. A change that makes a pool smaller is always allowed."""
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
