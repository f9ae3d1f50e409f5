"""A decision about documents is carried out one document at a time, and only on documents as they were shown."""

from __future__ import annotations

import pytest
from tests.broker.store.mongo.by_hand import old
from tests.broker.store.mongo.conftest import Documents
from tests.broker.store.places import create

from afpools_broker.store import StoreUnavailable
from afpools_broker.store.mongo import MongoStore
from afpools_broker.store.mongo.claims import Decisions, RepairStep, plan

pytestmark = pytest.mark.heavy


@pytest.fixture
def steps(store: MongoStore, database: Documents) -> list[RepairStep]:
    """Two documents are named fx, and the second one is to have another name."""
    database.pools.insert_many([{"_id": 1, **old("fx", "pc-01")}, {"_id": 2, **old("fx", "pc-02")}])
    return plan(store.conflicts(), Decisions(rename={"2": "gpu"}))


def test_a_step_is_recorded_and_then_pools_can_be_changed(store: MongoStore, steps: list[RepairStep]) -> None:
    with pytest.raises(StoreUnavailable):
        store.check()
    (entry,) = [store.resolve(step, who="admin") for step in steps]
    assert (entry.op, entry.who, entry.diff.name) == ("pools.repair", "admin", ("fx", "gpu"))
    assert store.conflicts() == []
    store.check()
    assert store.apply(create("new")).pool == "new"


def test_a_document_changed_meanwhile_is_left_alone(
    store: MongoStore, database: Documents, steps: list[RepairStep]
) -> None:
    database.pools.update_one({"_id": 2}, {"$set": {"description": "mine"}})
    with pytest.raises(StoreUnavailable, match="Somebody else has changed the document 2"):
        store.resolve(steps[0], who="admin")
    assert {document["name"] for document in database.pools.find()} == {"fx"}


def test_a_name_taken_meanwhile_is_not_given_twice(
    store: MongoStore, database: Documents, steps: list[RepairStep]
) -> None:
    database.pools.insert_one(old("gpu"))
    with pytest.raises(StoreUnavailable, match="Another pool is called 'gpu'"):
        store.resolve(steps[0], who="admin")
