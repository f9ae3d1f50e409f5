"""Changes are noticed, whoever made them and however."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from typing import Any

import pymongo
import pytest
from tests.broker.store.mongo.by_hand import old
from tests.broker.store.mongo.conftest import Documents
from tests.broker.store.places import PATIENT, create, following, wait_until
from tests.mongod import ReplicaSet, with_database

from afpools_broker.picture.snapshot import SnapshotKeeper
from afpools_broker.pools.pool import Contents
from afpools_broker.store import StoreUnavailable
from afpools_broker.store.mongo import MongoStore, watching
from afpools_broker.store.mongo.connection import TooSlow


def test_watching_reports_that_the_primary_is_gone_and_continues_with_the_next(replica_set: ReplicaSet) -> None:
    uri = with_database(replica_set.uri, f"test_{secrets.token_hex(6)}")
    store = MongoStore(uri, timeout=1.5)
    stop = threading.Event()
    signs = store.watch(stop)
    assert next(signs).changed
    replica_set.primary.kill()
    with pytest.raises(StoreUnavailable, match=r"MongoDB at 127\.0\.0\.1"):
        list(signs)
    deadline = time.monotonic() + 60
    while True:
        signs = store.watch(stop)
        try:
            assert next(signs).changed
            break
        except StoreUnavailable:
            assert time.monotonic() < deadline
    signs.close()
    store.close()


def test_a_dropped_database_is_noticed(replica_set: ReplicaSet) -> None:
    name = f"test_{secrets.token_hex(6)}"
    store = MongoStore(with_database(replica_set.uri, name), timeout=PATIENT)
    store.apply(create("fx"))
    signs = store.watch(threading.Event())
    assert next(signs).changed
    with pymongo.MongoClient[dict[str, Any]](replica_set.uri) as client:
        client.drop_database(name)
    assert any(next(signs).changed for _ in range(10))
    signs.close()
    assert store.load() == Contents()
    store.close()


def _drop_and_fill(database: Documents) -> None:
    kept = list(database.pools.find())
    database.drop_collection("pools")
    database.pools.insert_many([{**document, "clients": []} for document in kept])


def _rename_over(database: Documents) -> None:
    database["restored"].insert_one(old("fx"))
    database["restored"].rename("pools", dropTarget=True)


def _out(database: Documents) -> None:
    database.pools.aggregate([{"$set": {"clients": []}}, {"$out": "pools"}])


def _out_of_another_collection(database: Documents) -> None:
    database["restored"].insert_one(old("fx"))
    database["restored"].aggregate([{"$out": "pools"}])


def _rename_away(database: Documents) -> None:
    database.pools.rename("put-away")


def _make_a_view(database: Documents) -> None:
    _rename_away(database)
    database.create_collection("pools", viewOn="put-away", pipeline=[{"$set": {"clients": []}}])


@pytest.mark.parametrize(
    "replace", [_drop_and_fill, _rename_over, _out, _out_of_another_collection, _rename_away, _make_a_view]
)
def test_a_replaced_collection_is_noticed_however_it_was_replaced(
    replica_set: ReplicaSet, replace: Callable[[Documents], None]
) -> None:
    uri = with_database(replica_set.uri, f"test_{secrets.token_hex(6)}")
    store = MongoStore(uri, timeout=PATIENT)
    store.apply(create("fx", "pc-01"))
    with following(store) as keeper, pymongo.MongoClient[dict[str, Any]](uri) as client:
        assert keeper.current.contents.pools["fx"].hosts == ("pc-01",)
        replace(client.get_default_database())
        # Well before the next digest, which would also notice.
        wait_until(lambda: not _hosts(keeper, "fx"), watching._DIGEST_SECONDS / 2)
    store.close()


def test_a_change_without_an_event_is_noticed(replica_set: ReplicaSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_DIGEST_SECONDS", 0.5)
    uri = with_database(replica_set.uri, f"test_{secrets.token_hex(6)}")
    store = MongoStore(uri, timeout=PATIENT)
    with pymongo.MongoClient[dict[str, Any]](uri) as client:
        database = client.get_default_database()
        # The pools are a view of another collection, and the broker does not know which.
        database["elsewhere"].insert_one(old("fx", "pc-01"))
        database.create_collection("pools", viewOn="elsewhere", pipeline=[])
        with following(store) as keeper:
            assert _hosts(keeper, "fx") == ("pc-01",)
            database["elsewhere"].update_one({}, {"$set": {"clients": []}})
            wait_until(lambda: not _hosts(keeper, "fx"))
    store.close()


def test_everything_is_read_again_if_no_digest_can_be_made_in_time(
    replica_set: ReplicaSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MongoStore(with_database(replica_set.uri, f"test_{secrets.token_hex(6)}"), timeout=PATIENT)
    store.apply(create("fx", "pc-01"))
    monkeypatch.setattr(watching, "_DIGEST_SECONDS", 0.1)

    def too_slow(*_: object) -> bytes:
        raise TooSlow("It did not finish.")

    monkeypatch.setattr(store, "_aggregate", too_slow)
    signs = store.watch(threading.Event())
    assert all(next(signs).changed for _ in range(3))
    signs.close()
    store.close()


@pytest.mark.parametrize("kind", ["mongod", "replica_set"])
def test_an_unchanged_store_is_not_loaded_again(kind: str, request: pytest.FixtureRequest) -> None:
    server = request.getfixturevalue(kind)
    name = f"test_{secrets.token_hex(6)}"
    store = MongoStore(with_database(getattr(server, "uri", server), name), timeout=PATIENT, poll_seconds=0.1)
    store.apply(create("fx", "pc-01"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watching, "_DIGEST_SECONDS", 0.1)
        signs = store.watch(threading.Event())
        assert next(signs).changed
        assert not any(next(signs).changed for _ in range(6))
        signs.close()
    store.close()


def test_a_primary_without_a_majority_confirms_nothing(replica_set: ReplicaSet) -> None:
    store = MongoStore(with_database(replica_set.uri, f"test_{secrets.token_hex(6)}"), timeout=1.5)
    store.apply(create("fx", "pc-01"))
    with following(store) as keeper:
        secondaries = [member for member in replica_set.members if member is not replica_set.primary]
        for member in secondaries:
            member.pause()
        cut_off = time.monotonic()
        try:
            # It steps down after a while; until then it is a primary that answers, but what others did is unknown.
            wait_until(lambda: bool(keeper.trouble))
            assert keeper._confirmed <= cut_off
            assert _hosts(keeper, "fx") == ("pc-01",)
        finally:
            for member in secondaries:
                member.resume()
        wait_until(lambda: not keeper.trouble)
        assert keeper.age < 2 * SLACK
    store.close()


def _hosts(keeper: SnapshotKeeper, pool: str) -> tuple[str, ...]:
    found = keeper.current.contents.pools.get(pool)
    return found.hosts if found else ()


# The factor by which something may take longer than promised on a machine that is busy with other tests.
SLACK = 15
