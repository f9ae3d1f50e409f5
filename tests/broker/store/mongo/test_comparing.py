"""What differs from what was read, as computed by MongoDB: at once, in pieces, and across a change of the primary."""

from __future__ import annotations

import contextlib
import secrets
import threading
from contextlib import suppress
from typing import Any
from unittest import mock

import pymongo
import pytest
from pymongo import WriteConcern
from pymongo.errors import NetworkTimeout, PyMongoError
from tests.broker.store.mongo.conftest import Documents
from tests.broker.store.places import PATIENT, create
from tests.mongod import ReplicaSet, with_database

from afpools_broker.store import Sign
from afpools_broker.store.mongo import MongoStore, comparing
from afpools_broker.store.mongo.connection import TooSlow
from afpools_broker.store.mongo.documents import key_of
from afpools_broker.store.mongo.fingerprints import Comparison


def pool(name: str) -> dict[str, Any]:
    return {"name": name, "clients": [{"hostname": "pc-01"}]}


def test_pools_are_known_before_anything_is_compared(mongod: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = MongoStore(with_database(mongod, f"test_{secrets.token_hex(6)}"), timeout=PATIENT, poll_seconds=0.1)
    store.apply(create("fx", "pc-01"))
    asked: list[object] = []

    def too_slow(stages: object) -> list[Any]:
        asked.append(stages)
        raise TooSlow("It did not finish.")

    monkeypatch.setattr(store, "_aggregate", too_slow)
    signs = store.watch(threading.Event())
    assert next(signs) == Sign(True, mock.ANY)
    assert not asked
    assert [piece.done for piece in store.scan()] == [0, 1]
    assert not asked
    signs.close()
    store.close()


def test_a_server_too_slow_for_everything_is_asked_in_pieces_that_name_their_documents(
    store: MongoStore, database: Documents, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "afpools.store")
    monkeypatch.setattr(comparing, "_PROGRESS_SECONDS", 0.0)
    database["pools"].insert_many([pool(f"pool-{number}") for number in range(6)])
    for _piece in store.scan():
        pass
    asked: list[int] = []

    class Slow:
        """The pools of a server that takes too long for more than two of them."""

        def __init__(self, pools: Any) -> None:
            self._pools = pools

        def __getattr__(self, name: str) -> Any:
            return getattr(self._pools, name)

        def aggregate(self, stages: Any, **options: Any) -> Any:
            named = stages[0].get("$match", {}).get("_id", {}).get("$in")
            asked.append(6 if named is None else len(named))
            if asked[-1] > 2:
                raise NetworkTimeout("It takes too long.")
            return self._pools.aggregate(stages, **options)

    majority = store._majority
    monkeypatch.setattr(store, "_majority", lambda of: Slow(majority(of)) if of.name == "pools" else majority(of))
    monkeypatch.setattr(comparing, "_LARGEST_PIECE", 2)
    store._piece = 6
    database["pools"].update_one({"name": "pool-4"}, {"$set": {"clients": []}})
    comparison = Comparison(store._everything, share=1.0)
    turns = [comparison.turn(0.000001) for _turn in range(12)]
    assert asked[:2] == [6, 6]
    assert max(asked[2:]) <= 2
    key = key_of(database["pools"].find_one({"name": "pool-4"})["_id"])  # type: ignore[index]
    # Nothing is reported until it is known, and signs are not delayed beyond one piece.
    assert [turn for turn in turns if turn] == [{key: ""}]
    assert turns[0] == {}
    assert "Comparing the database (mongodb) with what was read: 2 of 6 pools so far" in caplog.messages
    assert "Comparing the database (mongodb) with what was read: 6 of 6 pools so far" in caplog.messages


def test_a_primary_that_changes_during_the_first_reading_repeats_no_work(replica_set: ReplicaSet) -> None:
    uri = with_database(replica_set.uri, f"test_{secrets.token_hex(6)}")
    with pymongo.MongoClient[dict[str, Any]](uri) as client:
        pools = client.get_default_database()["pools"].with_options(write_concern=WriteConcern("majority"))
        pools.insert_many([pool(f"pool-{number}") for number in range(6)])
        store = MongoStore(uri, timeout=PATIENT)
        with contextlib.closing(store.watch(threading.Event())) as signs:
            assert next(signs) == Sign(True, mock.ANY)
            pieces = list(store.scan())
            assert pieces[-1].done == 6
            # The stream ends with the primary that it was opened on.
            with suppress(PyMongoError):
                client.admin.command("replSetStepDown", 10, force=True)
            pools.update_one({"name": "pool-3"}, {"$set": {"clients": []}})
            changed = pools.find_one({"name": "pool-3"})
        assert changed is not None
        with contextlib.closing(store.watch(threading.Event())) as signs:
            assert next(signs) == Sign(True, mock.ANY, {key_of(changed["_id"]): ""})
        # Reported but not read yet: it is reported again.
        with contextlib.closing(store.watch(threading.Event())) as signs:
            assert next(signs) == Sign(True, mock.ANY, {key_of(changed["_id"]): ""})
        store.read([key_of(changed["_id"])])
        with contextlib.closing(store.watch(threading.Event())) as signs:
            assert not next(signs).changed
        store.close()
