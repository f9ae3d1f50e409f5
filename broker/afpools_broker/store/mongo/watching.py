"""How changes in MongoDB are noticed, whoever made them and however.

Strategy: a change stream where there is one, else fingerprints that are compared. As a backstop, fingerprints of
everything are compared beside the stream.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import bson
import pymongo
from bson.raw_bson import RawBSONDocument
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern

from .. import Sign
from ..rows import REGISTERED, Key
from .connection import AWAIT_SECONDS, TooSlow
from .documents import REGISTERED_ID, key_of
from .fingerprints import Comparison, finished
from .reading import MongoReading

log = logging.getLogger("afpools.store")

# How often everything is compared beside the change stream, and the most of the time that may be spent on it.
_DIGEST_SECONDS = 10.0
_DIGEST_SHARE = 1 / 50
_LINEARIZABLE = ReadConcern("linearizable")

# What says of a collection that its documents differ. Everything else that can be told of one may replace documents.
_OF_DOCUMENTS = ("insert", "update", "replace", "delete")


# A collection is dropped, renamed, made by $out or restored under a name that an event gives in one place or
# another; so only what changes nothing but documents of other collections is passed over.
_EVENTS: list[Mapping[str, Any]] = [
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


class MongoWatching(MongoReading):
    """Tells of changes."""

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
        with self._client.start_session() as session:
            asked = time.monotonic()
            with self._asking():
                opened = self._database.command(
                    "aggregate", 1, pipeline=_EVENTS, cursor={}, session=session, readConcern={"level": "majority"}
                )
            cursor = opened["cursor"]["id"]
            try:
                self._confirm_majority(replicated)
                everything = Comparison(self._everything, share=_DIGEST_SHARE, every=_DIGEST_SECONDS)
                everything.wait()
                # Only now, so that nothing is missed between what is read and the first event.
                yield self._first(asked)
                while cursor and not stop.is_set():
                    asked = time.monotonic()
                    self._confirm_majority(replicated)
                    # No deadline here: the driver would pass it on as the time to wait for an event.
                    with self._asking(deadline=False):
                        more = self._database.command(
                            "getMore",
                            bson.Int64(cursor),
                            collection="$cmd.aggregate",
                            maxTimeMS=int(AWAIT_SECONDS * 1000),
                            session=session,
                            codec_options=self._database.codec_options,
                        )
                    cursor = more["cursor"]["id"]
                    keys = _keys_of(more["cursor"]["nextBatch"])
                    keys = _both(keys, _unless_too_slow(lambda: everything.turn(self._timeout / 4)))
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
        ours = Comparison(self._ours, share=1.0)
        everything = Comparison(self._everything, share=_DIGEST_SHARE)
        asked = time.monotonic()
        yield self._first(asked)
        while not stop.is_set():
            start = time.monotonic()
            keys = ours.turn(self._timeout / 2)
            keys = _both(keys, _unless_too_slow(lambda: everything.turn(self._timeout / 4)))
            # Only what was compared to its end confirms anything.
            asked = max(asked, ours.confirmed)
            yield Sign(keys is None or bool(keys), asked, keys)
            stop.wait(max(0.0, start + self._poll_seconds - time.monotonic()))

    def _again(self) -> dict[Key, str] | None:
        """What differs from what was read before the server went away, a piece at a time; None where that may be
        anything."""
        unread = _both(self._ours.unread, self._everything.unread)
        return _both(unread, _unless_too_slow(lambda: finished(self._everything.comparing())))

    def _first(self, asked: float) -> Sign:
        """What to begin with: everything is read, unless it has been already."""
        if not self._is_read:
            return Sign(True, asked)
        keys = self._again()
        return Sign(keys is None or bool(keys), asked, keys)


def _unless_too_slow(compare: Callable[[], dict[Key, str] | None]) -> dict[Key, str] | None:
    """What differs, as far as the server can tell; None where that may be anything."""
    try:
        return compare()
    except TooSlow as error:
        log.warning("Everything is read again, because the server was too slow to compare it: %s", error)
        return None


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
