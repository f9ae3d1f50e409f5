"""Resolves documents between which brokers cannot decide, as an administrator has decided."""

from __future__ import annotations

import datetime as dt
import secrets

from pymongo import ASCENDING

from ...pools.changes import Change, Swap, asked_for
from ...pools.history import REPAIR, Entry
from ...protocol import RequestRefused
from .. import StoreUnavailable
from ..settling import Settled, to_milliseconds
from .changing import MongoChanging
from .claims import Conflict, RepairStep, conflicts
from .comparing import ONE_GO
from .documents import exactly, is_tombstone, tombstone, update


class MongoRepairing(MongoChanging):
    """The database side of `afpools pool repair`."""

    def conflicts(self) -> list[Conflict]:
        """The names in `pools` that several documents claim, and documents without a valid name for a pool.

        Raises:
            StoreUnavailable: the server does not answer.
        """
        with self._asking():
            documents = list(self._pools.find({}, batch_size=ONE_GO))
            for document in filter(is_tombstone, documents):
                self._finish_deletion(document["_id"])
        return conflicts(document for document in documents if not is_tombstone(document))

    def resolve(self, step: RepairStep, *, who: str) -> Entry:
        """Changes one document as an administrator has decided, and records it. Brokers may be running meanwhile.

        Args:
            step: what happens to the document.
            who: the name for history.

        Raises:
            StoreUnavailable: the server does not answer, the document is no longer what was shown, or another pool has
                the name.
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
                raise StoreUnavailable(f"Another pool is called {after.name!r}. Choose a free name.")
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
        """The requests that history has more than once: the key of each, and the ids of its entries, oldest first.

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
        """Makes the oldest entry of each request the answer if the request is repeated; the others stay in history.

        Returns:
            The number of other entries.

        Raises:
            StoreUnavailable: the server does not answer.
        """
        others = [(key, entry_id) for key, (_first, *rest) in self.requests_twice() for entry_id in rest]
        with self._asking():
            for key, entry_id in others:
                self._history.update_one({"_id": {"$eq": entry_id}}, {"$set": {"key": f"{key} again: {entry_id}"}})
        return len(others)

    def check(self) -> None:
        """Makes sure that pools can be changed, and makes the indexes for that.

        Raises:
            StoreUnavailable: they cannot; the message says why.
        """
        with self._asking():
            self._check_collections()
