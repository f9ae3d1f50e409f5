"""How changes in MongoDB are noticed, whoever made them and however.

Strategy: a change stream if there is one, otherwise fingerprints that are compared. As a backstop, the fingerprints of
everything are compared beside the stream as well.
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

# How often everything is compared beside the change stream, and the largest fraction of the time for it.
_DIGEST_SECONDS = 10.0
_DIGEST_SHARE = 1 / 50
_LINEARIZABLE = ReadConcern("linearizable")

# The events that say that documents of a collection have changed. Any other event may replace documents.
_OF_DOCUMENTS = ("insert", "update", "replace", "delete")


# An event about a collection that is dropped, renamed, made by $out or restored has its name in one place or another;
# so the only events ignored are those that change nothing but documents of other collections.
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
    # The server requires `_id`.
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
    """Reports changes."""

    def watch(self, stop: threading.Event) -> Iterator[Sign]:
        with self._asking():
            hello = self._database.command("hello")
        streams = "setName" in hello or hello.get("msg") == "isdbgrid"
        while not stop.is_set():
            # A stream ends by itself if the database is dropped; then it is opened again.
            yield from self._stream(stop, "setName" in hello) if streams else self._poll(stop)

    def _stream(self, stop: threading.Event, replicated: bool) -> Iterator[Sign]:
        """A change stream, read with plain commands: the driver's own stream returns one event at a time, but a hundred
        changes that came together are one reason to read, not a hundred.

        Events alone are not trusted: the fingerprints of everything are compared from time to time as well.
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
                # Only now, so that nothing between the read and the first event is missed.
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
        """Makes sure that the primary answers what follows, with everything that has been acknowledged so far.

        A primary that was cut off, or stopped for a while, also reports no events. A linearizable read is answered only
        after a majority has agreed that it is still the primary. mongos does not support it.
        """
        with self._asking():
            if replicated:
                self._hosts.with_options(read_concern=_LINEARIZABLE).find_one({"_id": REGISTERED_ID}, {"_id": True})

    def _poll(self, stop: threading.Event) -> Iterator[Sign]:
        """Compares fingerprints at each turn: those of what brokers change every time, which cost next to nothing, and
        those of everything as often as the server can afford."""
        ours = Comparison(self._ours, share=1.0)
        everything = Comparison(self._everything, share=_DIGEST_SHARE)
        asked = time.monotonic()
        yield self._first(asked)
        while not stop.is_set():
            start = time.monotonic()
            keys = ours.turn(self._timeout / 2)
            keys = _both(keys, _unless_too_slow(lambda: everything.turn(self._timeout / 4)))
            # Only a comparison that was finished confirms anything.
            asked = max(asked, ours.confirmed)
            yield Sign(keys is None or bool(keys), asked, keys)
            stop.wait(max(0.0, start + self._poll_seconds - time.monotonic()))

    def _again(self) -> dict[Key, str] | None:
        """What differs from what was read before the server became unreachable, a piece at a time; None if that may be
        anything."""
        unread = _both(self._ours.unread, self._everything.unread)
        return _both(unread, _unless_too_slow(lambda: finished(self._everything.comparing())))

    def _first(self, asked: float) -> Sign:
        """The first sign: read everything, unless that has been done already."""
        if not self._is_read:
            return Sign(True, asked)
        keys = self._again()
        return Sign(keys is None or bool(keys), asked, keys)


def _unless_too_slow(compare: Callable[[], dict[Key, str] | None]) -> dict[Key, str] | None:
    """What differs, as far as the server can tell; None if that may be anything."""
    try:
        return compare()
    except TooSlow as error:
        log.warning("Everything is read again, because the server was too slow to compare it: %s", error)
        return None


def _keys_of(events: Iterable[RawBSONDocument]) -> dict[Key, str] | None:
    """The keys of the documents in events of a change stream, each with the change that its last event reports, if that
    is a broker's; None if an event is about more than a document."""
    keys: dict[Key, str] = {}
    for event in events:
        kind = event["operationType"]
        if kind not in _OF_DOCUMENTS:
            return None
        document_id = event["documentKey"]["_id"]
        if event["ns"]["coll"] == "pools":
            # Others may restore an old document of ours, its change included. An update does not do that.
            keys[key_of(document_id)] = str(event.get("change", "")) if kind == "update" else ""
        elif document_id == REGISTERED_ID:
            keys[REGISTERED] = ""
    return keys


def _both(keys: dict[Key, str] | None, others: dict[Key, str] | None) -> dict[Key, str] | None:
    # A key without a change must be read, whatever the other side knows.
    return None if keys is None or others is None else {**keys, **others}
