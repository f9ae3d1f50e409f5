"""mongomock in place of a MongoDB server, for `MongoStore` without a mongod.

What it cannot show, and what the contract is therefore also tested on a real mongod for: change streams, timeouts,
failover, write and read concerns, limits of size, and races (one lock makes every call atomic here).

It also knows neither undecoded documents nor comparison with `$$ROOT`, which this module adds to it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import Any

import bson
import mongomock
import pytest
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.errors import OperationFailure

from afpools_broker.store.mongo import connection

_RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument, tz_aware=True)
_lock = threading.RLock()


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every `MongoStore` that is opened from now on use the same pretend server."""
    server = mongomock.store.ServerStore()
    monkeypatch.setattr(connection, "MongoClient", lambda uri, **_options: _Client(server))


class _Client:
    def __init__(self, server: Any) -> None:
        self._client = mongomock.MongoClient(_store=server)

    def get_default_database(self, default: str) -> _Database:
        return _Database(self._client[default])

    def close(self) -> None:
        pass


class _Database:
    name = "afpools"

    def __init__(self, database: Any) -> None:
        self._database = database

    def with_options(self, **_options: object) -> _Database:
        return self

    def __getitem__(self, name: str) -> _Collection:
        return _Collection(self._database[name])

    def command(self, _name: str) -> dict[str, object]:
        return {"ok": 1}

    def list_collections(self, filter: object) -> list[dict[str, object]]:
        return []


class _Cursor:
    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def sort(self, key: str, direction: int) -> _Cursor:
        return _Cursor(self._cursor.sort(key, direction))

    def limit(self, count: int) -> _Cursor:
        return _Cursor(self._cursor.limit(count))

    def __iter__(self) -> Iterator[RawBSONDocument]:
        with _lock:
            return iter([_raw(document) for document in self._cursor])


class _Collection:
    def __init__(self, collection: Any) -> None:
        self._collection = collection
        self.name = collection.name

    def with_options(self, **_options: object) -> _Collection:
        return self

    def create_indexes(self, indexes: list[Any]) -> None:
        with _lock:
            self._collection.create_indexes(indexes)

    def find(self, query: Any, projection: Any = None, batch_size: int = 0) -> _Cursor:
        return _Cursor(self._collection.find(query, projection))

    def aggregate(self, _pipeline: Any, **_options: object) -> None:
        raise OperationFailure("Unrecognized expression", 168)

    def find_raw_batches(self, query: Any, projection: Any = None) -> list[bytes]:
        return [bytes(document.raw) for document in self.find(query, projection)]

    def find_one(self, query: Any, projection: Any = None) -> RawBSONDocument | None:
        return next(iter(self.find(query, projection)), None)

    def insert_one(self, document: Mapping[str, Any]) -> None:
        with _lock:
            self._collection.insert_one(dict(document))

    def update_one(self, query: dict[str, Any], update: Any, upsert: bool = False) -> Any:
        with _lock:
            if "$expr" in query:
                asked = bson.decode(query["$expr"]["$eq"][1]["$literal"].raw)
                query = {"_id": query["_id"]}
                found = self._collection.find_one(query)
                if found is None or bson.decode(bson.encode(found)) != asked:
                    query = {"_id": "nothing has this id"}
            return self._collection.update_one(query, _plain(update), upsert=upsert)

    def delete_one(self, query: Any) -> None:
        with _lock:
            self._collection.delete_one(query)


def _raw(document: Mapping[str, Any]) -> RawBSONDocument:
    return RawBSONDocument(bson.encode(document), _RAW)


def _plain(value: Any) -> Any:
    """`value` without undecoded parts, as on a server."""
    return bson.decode(bson.encode(value))
