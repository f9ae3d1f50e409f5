"""Where the tests of SQLite put their file."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.broker.store.mongo import fake_mongo
from tests.broker.store.places import MakePlace, Place, opened
from tests.mongod import with_database

from afpools_broker.store import PoolStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "folder" / "pools.db"


@pytest.fixture
def make_place(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> MakePlace:
    server: Any = request.getfixturevalue(kind) if kind in ("mongod", "replica_set") else None

    def make() -> Place:
        name = f"test_{secrets.token_hex(6)}"
        match kind:
            case "sqlite":
                return Place(kind, f"sqlite:///{tmp_path}/{name}/pools.db", 2.0)
            case "mongomock":
                fake_mongo.install(request.getfixturevalue("monkeypatch"))
                return Place(kind, "mongodb://nowhere", 2.0)
            case "mongod":
                return Place(kind, with_database(server, name), 2.0)
            case _:
                return Place(kind, with_database(server.uri, name), 1.0)

    return make


@pytest.fixture
def place(make_place: MakePlace) -> Iterator[Place]:
    with opened(make_place()) as made:
        yield made


@pytest.fixture
def store(place: Place) -> PoolStore:
    return place.open()
