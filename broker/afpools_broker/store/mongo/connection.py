"""The connection to a MongoDB server: a deadline for every request, and a sentence for every error."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
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

from ...pools.pool import Pool
from ...protocol import Code, RequestRefused
from .. import RestoreUnfinished, StoreUnavailable, redacted

DEFAULT_DATABASE = "afpools"

# How long the server holds back an empty answer about changes. Limits the interval of signs and the time `watch` takes
# to end.
AWAIT_SECONDS = 0.5

# How many documents are read at a time: at first, and at most.
FIRST_PIECE = 50

_MAJORITY = ReadConcern("majority")

# Error codes of the server, see src/mongo/base/error_codes.yml in MongoDB's sources.
_UNAUTHORIZED = 13
_AUTHENTICATION_FAILED = 18
_TOO_LARGE = (10334, 17280, 17419, 17420)
UNKNOWN_EXPRESSION = (168, 31325)

# Where a restore collects the documents that replace the collections. The last of them also marks a restore that has
# begun and not finished: it is made first, and renamed last.
STAGED = {name: f"restoring_{name}" for name in ("pools", "history", "farm", "hosts")}

Documents = Collection[RawBSONDocument]


class TooSlow(StoreUnavailable):
    """The server did not answer in time."""


class MongoConnection:
    """A database, and what all requests to it have in common. Arguments as for `MongoStore`."""

    kind = "mongodb"

    def __init__(self, uri: str, *, timeout: float = 1.5, poll_seconds: float = 1.0) -> None:
        # A document is swapped as a whole, so it must be read even if the pool is known.
        self.known: Callable[[str], Pool | None] = lambda _name: None
        self._uri = redacted(uri)
        self._timeout = timeout
        self._poll_seconds = poll_seconds
        milliseconds = int(timeout * 1000)
        try:
            self._client: MongoClient[RawBSONDocument] = MongoClient(
                uri,
                appname="afpools",
                connect=False,
                # Undecoded: one unreadable document must not make the others unreadable, and what is compared and
                # written back must be exactly what was read.
                document_class=RawBSONDocument,
                tz_aware=True,
                # A date outside Python's range may be a foreign field and is not an error.
                datetime_conversion="DATETIME_AUTO",
                serverSelectionTimeoutMS=milliseconds,
                connectTimeoutMS=milliseconds,
                # Only `watch` waits as long as this; all other calls have a deadline of their own.
                socketTimeoutMS=milliseconds + int(AWAIT_SECONDS * 1000),
            )
            database = self._client.get_default_database(DEFAULT_DATABASE)
        except (PyMongoError, ValueError, TypeError) as error:
            # The driver quotes what it could not parse; in a URI with credentials that may be part of the password.
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
        """Checks whether a server that was too slow can answer at all, and so might answer a smaller request.

        Raises:
            StoreUnavailable: it does not even answer a ping.
        """
        try:
            self.ping()
        except TooSlow as error:
            raise StoreUnavailable(str(error)) from error

    @staticmethod
    def _majority(collection: Documents) -> Documents:
        """For what readers get: data that is never rolled back."""
        return collection.with_options(read_concern=_MAJORITY)

    def ping(self) -> float:
        start = time.monotonic()
        with self._asking():
            self._database.command("ping")
        return time.monotonic() - start

    def _list_collections(self, *names: str) -> list[Any]:
        """Those of these collections that exist.

        Raises:
            RestoreUnfinished: their contents are about to be replaced, or have been in part.
        """
        found = list(self._database.list_collections(filter={"name": {"$in": [*names, STAGED["hosts"]]}}))
        if any(each["name"] == STAGED["hosts"] for each in found):
            raise RestoreUnfinished(
                f"The pools in {self._uri} are being restored from a backup. If that was interrupted, run `afpools "
                "restore` again: until it has finished, their contents are unknown."
            )
        return found

    def close(self) -> None:
        self._client.close()

    @contextmanager
    def _asking(self, *, deadline: bool = True) -> Iterator[None]:
        """Inside this context, every request to the server has a deadline, and its errors become sentences."""
        try:
            with pymongo.timeout(self._timeout if deadline else None):
                yield
        except PyMongoError as error:
            if isinstance(error, DocumentTooLarge) or getattr(error, "code", None) in _TOO_LARGE:
                raise RequestRefused(
                    Code.TOO_LARGE, f"The change is larger than MongoDB accepts: {error}. Split it into smaller ones."
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
                f"{where} does not allow the broker to use the database {self._database.name!r}: {_first_line(error)}. "
                f"Name a user in [store] uri with the role readWrite there; it is {self._uri} now."
            )
        if isinstance(error, ServerSelectionTimeoutError):
            servers = self._client.topology_description.server_descriptions().values()
            if any(server.server_type_name != "Unknown" for server in servers):
                return (
                    f"{where} has no primary at the moment: {_first_line(error)}. It elects one within seconds if "
                    "more than half of the replica set's members are running and can reach each other."
                )
            return (
                f"{where} does not answer within {self._timeout:g} s: {_first_line(error)}. "
                "Check that mongod runs there and that [store] uri names it."
            )
        if error.timeout:
            return (
                f"{where} did not finish within {self._timeout:g} s: {_first_line(error)}. "
                "It is busy, or too few members of the replica set are up to confirm a write."
            )
        return f"{where} failed: {_first_line(error)}. If this persists, see mongod's log."


def _seeds(uri: str) -> list[tuple[str, int | None]]:
    if uri.startswith("mongodb+srv://"):
        # Finding out the servers' names needs DNS, which must wait until the first use.
        return [(uri.rpartition("@")[2].removeprefix("mongodb+srv://").partition("/")[0].partition("?")[0], None)]
    return list(parse_uri(uri, validate=False)["nodelist"])


def _first_line(error: PyMongoError) -> str:
    # The driver appends what it knows about every server, or the server's whole answer.
    text = str(error).partition(", full error:")[0].partition(", Timeout:")[0].partition("\n")[0]
    return text.partition(" (configured timeouts:")[0].rstrip(".")
