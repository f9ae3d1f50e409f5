"""A separate database on the single server, as brokers and people who edit it see it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pymongo
import pytest
from pymongo.database import Database
from tests.broker.store.places import PATIENT
from tests.mongod import with_database

from afpools_broker.store.mongo import MongoStore

Documents = Database[dict[str, Any]]


@pytest.fixture
def uri(mongod: str) -> str:
    """A separate database on the single server."""
    return with_database(mongod, f"test_{secrets.token_hex(6)}")


@pytest.fixture
def database(uri: str) -> Iterator[Documents]:
    """The same database, for edits by hand."""
    with pymongo.MongoClient[dict[str, Any]](uri, tz_aware=True) as client:
        yield client.get_default_database()


@pytest.fixture
def store(uri: str) -> Iterator[MongoStore]:
    yield from _opened(uri)


@pytest.fixture
def other(uri: str) -> Iterator[MongoStore]:
    """Another broker's store in the same database."""
    yield from _opened(uri)


def _opened(uri: str) -> Iterator[MongoStore]:
    opened = MongoStore(uri, timeout=PATIENT)
    yield opened
    opened.close()
