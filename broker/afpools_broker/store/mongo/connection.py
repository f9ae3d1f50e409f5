"""The connection to a MongoDB server: deadlines for whatever is asked, and sentences for whatever goes wrong."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pymongo
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient, ReadPreference, WriteConcern
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import DocumentTooLarge, PyMongoError, ServerSelectionTimeoutError
from pymongo.read_concern import ReadConcern
from pymongo.uri_parser import parse_uri

from ...protocol import Code, RequestRefused
from .. import RestoreUnfinished, StoreUnavailable, redacted

DEFAULT_DATABASE = "afpools"

# How long the server holds back an empty answer about changes. Bounds heartbeats and the time `watch` takes to end.
AWAIT_SECONDS = 0.5

# As many documents are read at a time at first, and at most.
FIRST_PIECE = 50

_MAJORITY = ReadConcern("majority")

# Error codes of the server, see src/mongo/base/error_codes.yml in MongoDB's sources.
_UNAUTHORIZED = 13
_AUTHENTICATION_FAILED = 18
_TOO_LARGE = (10334, 17280, 17419, 17420)
UNKNOWN_EXPRESSION = (168, 31325)

# Where a restore collects what it puts in the place of the collections. The last of them is also the sign that a
# restore has begun and not ended: it is made first, and renamed last.
STAGED = {name: f"restoring_{name}" for name in ("pools", "history", "farm", "hosts")}

Documents = Collection[RawBSONDocument]


class TooSlow(StoreUnavailable):
    """The server did not answer in time."""


class MongoConnection:
    """A database, and what is the same for everything that is asked of it. Arguments as for `MongoStore`."""

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
                socketTimeoutMS=milliseconds + int(AWAIT_SECONDS * 1000),
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
        self._pools: Documents = self._database["pools"]
        self._hosts: Documents = self._database["hosts"]
        self._history: Documents = self._database["history"]
        self._farm: Documents = self._database["farm"]
        self._probes: Documents = self._database["probes"]
        self._lease: Documents = self._database["lease"]
        self._quorum: dict[str, Any] | None = None

    def _answer_at_all(self) -> None:
        """Sees whether a server that was too slow would be quicker with less.

        Raises:
            StoreUnavailable: it does not even answer a ping.
        """
        try:
            self.ping()
        except TooSlow as error:
            raise StoreUnavailable(str(error)) from error

    @staticmethod
    def _majority(collection: Documents) -> Documents:
        """For what readers get: it is never rolled back."""
        return collection.with_options(read_concern=_MAJORITY)

    def ping(self) -> float:
        start = time.monotonic()
        with self._asking():
            self._database.command("ping")
        return time.monotonic() - start

    def _list_collections(self, *names: str) -> list[Any]:
        """Those of these that there are.

        Raises:
            RestoreUnfinished: what is in them is about to be replaced, or is so in part.
        """
        found = list(self._database.list_collections(filter={"name": {"$in": [*names, STAGED["hosts"]]}}))
        if any(each["name"] == STAGED["hosts"] for each in found):
            raise RestoreUnfinished(
                f"The pools in {self._uri} are being restored from a backup. If that was interrupted, run `afpools "
                "restore` again: until it has finished, nobody knows what is in them."
            )
        return found

    def close(self) -> None:
        self._client.close()

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
            raise (TooSlow if error.timeout else StoreUnavailable)(self._explain(error)) from error

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


def _seeds(uri: str) -> list[tuple[str, int | None]]:
    if uri.startswith("mongodb+srv://"):
        # Finding out the servers' names takes DNS, which is left to the first use.
        return [(uri.rpartition("@")[2].removeprefix("mongodb+srv://").partition("/")[0].partition("?")[0], None)]
    return list(parse_uri(uri, validate=False)["nodelist"])


def _first_line(error: PyMongoError) -> str:
    # The driver appends what it knows of every server, or the server's whole answer.
    text = str(error).partition(", full error:")[0].partition(", Timeout:")[0].partition("\n")[0]
    return text.partition(" (configured timeouts:")[0].rstrip(".")
