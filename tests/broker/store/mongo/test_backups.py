"""An exported and restored database is the same again, including what only MongoDB has."""

from __future__ import annotations

from typing import Any

import bson
import pytest
from tests.broker.store.mongo.by_hand import old
from tests.broker.store.mongo.conftest import Documents
from tests.broker.store.places import add, create, delete

from afpools_broker.store.mongo import MongoStore

pytestmark = pytest.mark.heavy


def everything(database: Documents) -> dict[str, list[dict[str, Any]]]:
    """Pools by name, since documents that are only pools are written anew; and history."""
    pools = database.pools.find({}, {"_id": False, "change": False})
    return {"pools": sorted(pools, key=lambda each: str(each["name"])), "history": list(database.history.find())}


def test_a_restored_database_is_as_it_was_and_can_be_changed(store: MongoStore, database: Documents) -> None:
    store.apply(create("fx", "pc-01"))
    store.apply(create("gone"))
    store.apply(delete("gone"))
    database.pools.insert_one({**old("theirs", "pc-07"), "floor": 2, "at": bson.Timestamp(7, 1)})
    database.pools.insert_one({"name": 7, "clients": "none"})
    before, records = everything(database), list(store.export())
    store.apply(add("fx", "pc-02"))
    database.pools.delete_one({"name": "theirs"})
    store.restore(records, writes_end=0.0)
    assert everything(database) == before
    assert store.apply(add("fx", "pc-03")).diff.added == ("pc-03",)


def test_a_change_whose_line_is_not_in_history_yet_is_exported_with_it(store: MongoStore, database: Documents) -> None:
    entry = store.apply(create("fx", "pc-01"))
    database.history.delete_one({"_id": entry.id})
    store.restore(list(store.export()), writes_end=0.0)
    assert database.history.find_one({"_id": entry.id}) is not None
