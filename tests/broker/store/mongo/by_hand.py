"""What a test writes into MongoDB by hand."""

from __future__ import annotations

from typing import Any

import pytest
from tests.broker.store.mongo.conftest import Documents
from tests.broker.store.places import add, create, delete, register, rename, undo

from afpools_broker.pools.changes import Change
from afpools_broker.pools.history import Entry
from afpools_broker.pools.pool import Pool
from afpools_broker.protocol import Code, RequestRefused
from afpools_broker.store.mongo import MongoStore


def old(name: str, *hosts: str) -> dict[str, Any]:
    """A document as the earlier project wrote it."""
    return {"name": name, "clients": [{"hostname": host, "engine": "", "ip": "", "port": ""} for host in hosts]}


def refill(database: Documents, collection: str) -> None:
    """`mongoimport --drop`: everything is back except the indexes."""
    kept = list(database[collection].find())
    database.drop_collection(collection)
    database.create_collection(collection)
    if kept:
        database[collection].insert_many(kept)


def outcome(store: MongoStore, asked: Change) -> Entry | Code:
    try:
        return store.apply(asked)
    except RequestRefused as refused:
        return refused.code


class Died(Exception):
    """The broker died here."""


def dies_before(store: MongoStore, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes `store` die where it would call `step`."""

    def die(*_: object) -> None:
        raise Died

    monkeypatch.setattr(store, step, die)


FX = Pool("fx", ("a",))

CHANGES = [
    *(create("new", "x"), add("fx", "x"), rename("fx", "gx"), delete("fx"), register("x")),
    *(undo("an entry", *pools) for pools in ((None, Pool("new", ("x",))), (FX, Pool("fx")), (FX, None))),
]
