"""Reading pools and history, whoever wrote them and whatever is half done."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import pymongo
import pytest
from tests.broker.store.mongo.by_hand import CHANGES, Died, dies_before, old
from tests.broker.store.mongo.conftest import Documents
from tests.broker.store.places import PATIENT, add, create, delete, wait_until
from tests.mongod import single_server, with_database

from afpools_broker.picture.snapshot import SnapshotKeeper
from afpools_broker.protocol import Code, RequestRefused
from afpools_broker.store.mongo import MongoStore, comparing


def test_pools_are_read_while_a_deletion_cannot_be_finished(
    store: MongoStore, other: MongoStore, database: Documents, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("fx", "gx"):
        store.apply(create(name, "a"))
    dies_before(store, "_remove_tombstone", monkeypatch)
    with pytest.raises(Died):
        store.apply(delete("gx"))
    database.pools.drop_index("name_1")
    database.pools.insert_many([old("fx", "b"), old("night", "c")])
    assert set(other.load().pools) == {"night"}
    assert [entry.op for entry in other.history()] == ["pools.delete", "pools.create", "pools.create"]


def test_a_hand_edit_is_loaded_and_has_its_own_revision(store: MongoStore, database: Documents) -> None:
    revision = store.apply(create("fx", "a")).after
    database.pools.update_one({"name": "fx"}, {"$push": {"clients": {"hostname": "b"}}})
    pool = store.load().pools["fx"]
    assert pool.hosts == ("a", "b")
    assert pool.revision != revision
    with pytest.raises(RequestRefused) as caught:
        store.apply(add("fx", "c", if_revision=revision))
    assert caught.value.code == Code.CONFLICT


@pytest.mark.parametrize("asked", CHANGES, ids=lambda asked: asked.op)
def test_history_includes_entries_that_a_dead_broker_did_not_copy(
    store: MongoStore, other: MongoStore, monkeypatch: pytest.MonkeyPatch, asked: Any
) -> None:
    store.apply(create("fx", "a"))
    dies_before(store, "_record", monkeypatch)
    with pytest.raises(Died):
        store.apply(asked)
    assert [entry.op for entry in other.history()] == [asked.op, "pools.create"]


@pytest.mark.heavy
def test_a_first_reading_continues_where_the_server_hung(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has been read is not read again, whether the server only hung or was started again."""
    monkeypatch.setattr(comparing, "FIRST_PIECE", 1)
    monkeypatch.setattr(comparing, "_LARGEST_PIECE", 1)
    with single_server(tmp_path) as server:
        uri = with_database(server.uri, "afpools")
        with pymongo.MongoClient[dict[str, Any]](uri) as client:
            client.afpools.pools.insert_many([old(f"pool-{number}", "pc-01") for number in range(6)])
        store = MongoStore(uri, timeout=0.5)
        keeper = SnapshotKeeper(store, by_hand=False)
        read: list[int] = []
        read_pools = store._read_pools

        def one(query: Any, noted: Any) -> Any:
            if len(read) == 2 and not went[0].is_set():
                server.pause()
                went[0].set()
            if len(read) == 4 and not went[1].is_set():
                server.kill()
                went[1].set()
            rows = read_pools(query, noted)
            read.append(len(rows))
            return rows

        went = threading.Event(), threading.Event()
        monkeypatch.setattr(store, "_read_pools", one)
        keeper.start(wait=0)
        assert went[0].wait(PATIENT)
        # It may still have answered the request in progress when the signal came.
        wait_until(lambda: re.match("[23] of 6 pools have been read so far. MongoDB at", keeper.progress) is not None)
        with pytest.raises(RequestRefused, match=r"does not know the pools yet: [23] of 6 pools"):
            _ = keeper.current
        server.resume()
        assert went[1].wait(PATIENT)
        wait_until(lambda: keeper.progress.startswith("4 of 6 pools have been read so far. MongoDB at"))
        server.start()
        wait_until(lambda: keeper.is_loaded)
        assert len(keeper.current.contents.pools) == 6
        assert read[:6] == [1] * 6
        keeper.stop(wait=PATIENT)
        store.close()
