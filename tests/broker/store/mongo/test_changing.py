"""A change is made exactly once, whoever writes, replaces collections, or dies meanwhile."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.broker.store.mongo.by_hand import CHANGES, Died, dies_before, old, outcome, refill
from tests.broker.store.mongo.conftest import Documents
from tests.broker.store.places import PATIENT, add, create, delete, remove, rename, undo
from tests.mongod import ReplicaSet, with_database

from afpools_broker.pools.changes import Change
from afpools_broker.pools.history import Entry
from afpools_broker.pools.pool import Pool
from afpools_broker.protocol import Code, RequestRefused
from afpools_broker.store import StoreUnavailable
from afpools_broker.store.mongo import MongoStore, changing


def test_two_pools_with_one_name_are_both_absent_and_block_all_writes(store: MongoStore, database: Documents) -> None:
    database.pools.insert_many([old("fx", "pc-01"), old("fx", "pc-02"), old("gpu", "pc-03")])
    contents = store.load()
    assert set(contents.pools) == {"gpu"}
    assert "'fx'" in contents.problems[0]
    with pytest.raises(StoreUnavailable, match="named 'fx'"):
        store.apply(create("new"))
    database.pools.delete_one({"clients.hostname": "pc-02"})
    store.apply(create("new"))
    assert set(store.load().pools) == {"fx", "gpu", "new"}


def test_an_index_of_another_kind_is_named(store: MongoStore, database: Documents) -> None:
    database.pools.create_index("name")
    with pytest.raises(StoreUnavailable, match="index of another kind"):
        store.apply(create("fx"))


# --- collections that are replaced while brokers run ----------------------------------------------------------------


def test_after_a_reimport_a_name_still_belongs_to_one_pool(
    store: MongoStore, other: MongoStore, database: Documents
) -> None:
    for opened in (store, other):
        opened.apply(create(secrets.token_hex(4)))
    refill(database, "pools")
    asked = [create("fx", f"host-{number}") for number in range(12)]
    with ThreadPoolExecutor(12) as threads:
        outcomes = list(threads.map(outcome, [store, other] * 6, asked))
    assert database.pools.count_documents({"name": "fx"}) == 1
    assert sum(isinstance(each, Entry) for each in outcomes) == 1
    assert outcomes.count(Code.POOL_EXISTS) == 11


def test_after_a_reimport_a_request_is_still_applied_once(
    store: MongoStore, other: MongoStore, database: Documents
) -> None:
    for opened in (store, other):
        opened.apply(create(secrets.token_hex(4)))
    for collection in ("pools", "history"):
        refill(database, collection)
    asked = create("fx", "a")
    with ThreadPoolExecutor(12) as threads:
        outcomes = list(threads.map(outcome, [store, other] * 6, [asked] * 12))
    assert outcomes == [outcomes[0]] * 12
    assert isinstance(outcomes[0], Entry)
    assert database.history.count_documents({"key": asked.key}) == 1


def _drop_index_and_create_the_same(database: Documents) -> None:
    database.pools.drop_index("name_1")
    database.pools.insert_one(old("fx", "theirs"))


def _replace_pools(database: Documents) -> None:
    refill(database, "pools")
    database.pools.create_index("name", unique=True)


@pytest.mark.parametrize(
    "happens", [_drop_index_and_create_the_same, _replace_pools, lambda database: refill(database, "history")]
)
@pytest.mark.parametrize("step", ["settle", "_record"])
def test_a_change_without_indexes_or_in_a_replaced_collection_is_not_acknowledged(
    store: MongoStore,
    database: Documents,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    happens: Callable[[Documents], None],
) -> None:
    store.apply(create("other"))
    owner: Any = changing if step == "settle" else store
    really = getattr(owner, step)

    def meanwhile(*args: Any, **options: Any) -> Any:
        monkeypatch.undo()
        happens(database)
        return really(*args, **options)

    monkeypatch.setattr(owner, step, meanwhile)
    with pytest.raises(StoreUnavailable, match=r"named 'fx'|dropped or replaced"):
        store.apply(create("fx", "a"))


def test_a_request_that_is_in_history_twice_is_named(store: MongoStore, database: Documents) -> None:
    entry = store.apply(create("fx"))
    database.history.drop_index("key_1")
    twice = database.history.find_one({"_id": entry.id})
    assert twice is not None
    database.history.insert_one({**twice, "_id": "another"})
    with pytest.raises(StoreUnavailable, match="more than one entry of the request 'anna:"):
        store.apply(create("gx"))


# --- edits by hand --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "edit", [{"$push": {"clients": {"hostname": "by-hand"}}}, {"$set": {"notes": "x"}}], ids=["host", "other field"]
)
def test_a_hand_edit_at_the_worst_moment_is_not_overwritten(
    store: MongoStore, database: Documents, monkeypatch: pytest.MonkeyPatch, edit: dict[str, Any]
) -> None:
    store.apply(create("fx", "a"))
    settle = changing.settle
    edits = iter([edit])

    def settle_while_somebody_edits(*args: Any, **options: Any) -> Any:
        for this in edits:
            database.pools.update_one({"name": "fx"}, this)
        return settle(*args, **options)

    monkeypatch.setattr(changing, "settle", settle_while_somebody_edits)
    store.apply(add("fx", "b"))
    kept = database.pools.find_one({"name": "fx"})
    assert kept is not None
    if "$set" in edit:
        assert kept["notes"] == "x"
    else:
        assert [client["hostname"] for client in kept["clients"]] == ["a", "by-hand", "b"]


# --- brokers that die between two steps -----------------------------------------------------------------------------


@pytest.mark.parametrize("asked", CHANGES, ids=lambda asked: asked.op)
def test_a_change_without_its_history_entry_gets_one(
    store: MongoStore, other: MongoStore, monkeypatch: pytest.MonkeyPatch, asked: Any
) -> None:
    store.apply(create("fx", "a"))
    dies_before(store, "_record", monkeypatch)
    with pytest.raises(Died):
        store.apply(asked)
    # Sent again to another broker, it has already been made.
    entry = other.apply(asked)
    assert other.history()[0] == entry
    assert len(other.history()) == 2
    assert other.apply(asked) == entry


def test_the_next_change_saves_the_previous_history_entry(
    store: MongoStore, other: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.apply(create("fx"))
    dies_before(store, "_record", monkeypatch)
    with pytest.raises(Died):
        store.apply(add("fx", "a"))
    other.apply(add("fx", "b"))
    assert [entry.diff.added for entry in other.history()] == [("b",), ("a",), ()]


@pytest.mark.parametrize("step", ["_record", "_remove_tombstone"])
@pytest.mark.parametrize(
    "ask", [lambda pool: delete(pool.name), lambda pool: undo("its creation", pool, None)], ids=["delete", "undo"]
)
def test_an_unfinished_deletion_is_finished_by_the_next_reader(
    store: MongoStore,
    other: MongoStore,
    database: Documents,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    ask: Callable[[Pool], Change],
) -> None:
    store.apply(create("fx", "a"))
    store.apply(create("gx"))
    with monkeypatch.context() as patch:
        dies_before(store, step, patch)
        meetings: list[Callable[[Change], object]] = [
            lambda _asked: other.load(),
            lambda _asked: other.apply(create("fx")),
            lambda _asked: other.apply(rename("gx", "fx")),
            lambda asked: other.apply(asked),
        ]
        for meet in meetings:
            if "fx" not in other.load().pools:
                other.apply(create("fx", "a"))
            asked = ask(other.load().pools["fx"])
            with pytest.raises(Died):
                store.apply(asked)
            assert database.pools.count_documents({"deleted": True}) == 1
            meet(asked)
            assert database.pools.count_documents({"deleted": True}) == 0
            assert [entry.key for entry in other.history(limit=500)].count(asked.key) == 1
            assert other.apply(asked).op == asked.op


def test_a_creation_that_came_twice_around_a_deletion_is_taken_back(
    store: MongoStore, other: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = create("fx", "a")
    settle = changing.settle
    meanwhile = [asked, delete("fx")]

    def settle_slowly(*args: Any, **options: Any) -> Any:
        now, meanwhile[:] = meanwhile[:], []
        for this in now:
            other.apply(this)
        return settle(*args, **options)

    monkeypatch.setattr(changing, "settle", settle_slowly)
    store.apply(asked)
    assert store.load().pools == {}
    assert [entry.op for entry in store.history()] == ["pools.delete", "pools.create"]


# --- servers that go away -------------------------------------------------------------------------------------------


def test_every_acknowledged_write_survives_the_death_of_the_primary(replica_set: ReplicaSet) -> None:
    uri = with_database(replica_set.uri, f"test_{secrets.token_hex(6)}")
    stores = [MongoStore(uri, timeout=1.5) for _ in range(3)]
    stores[0].apply(create("fx"))
    acknowledged: dict[str, str] = {}
    killed = threading.Event()
    finished = threading.Event()

    def work(number: int) -> None:
        count = 0
        while not finished.is_set():
            host = f"host-{number}-{count}"
            asked = add("fx", host)
            # As a client does: the same request again, to one broker or another, until there is an answer.
            for attempt in range(1000):
                try:
                    acknowledged[host] = stores[(number + attempt) % 3].apply(asked).id
                    break
                except StoreUnavailable:
                    time.sleep(0.05)
            count += 1

    workers = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for worker in workers:
        worker.start()

    def wait_for(count: int) -> None:
        goal = len(acknowledged) + count
        deadline = time.monotonic() + 60
        while len(acknowledged) < goal:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    try:
        wait_for(15)
        replica_set.primary.kill()
        killed.set()
        wait_for(15)
        replica_set.restore()
        replica_set.step_down()
        wait_for(15)
    finally:
        finished.set()
        for worker in workers:
            worker.join(60)
    replica_set.wait()
    reader = MongoStore(uri, timeout=PATIENT)
    hosts = reader.load().pools["fx"].hosts
    assert set(acknowledged) <= set(hosts)
    assert len(hosts) == len(set(hosts))
    history = _whole_history(reader)
    added = [host for entry in history for host in entry.diff.added]
    assert sorted(added) == sorted(hosts)
    assert {entry.id for entry in history} >= set(acknowledged.values())
    for opened in (*stores, reader):
        opened.close()


def _whole_history(store: MongoStore) -> list[Entry]:
    entries: list[Entry] = []
    while page := store.history(limit=500, before=entries[-1].id if entries else None):
        entries.extend(page)
    return entries


def test_without_a_majority_nothing_is_acknowledged(replica_set: ReplicaSet) -> None:
    store = MongoStore(with_database(replica_set.uri, f"test_{secrets.token_hex(6)}"), timeout=1.5)
    store.apply(create("fx"))
    primary = replica_set.primary
    for member in replica_set.members:
        if member is not primary:
            member.kill()
    asked = add("fx", "a")
    start = time.monotonic()
    with pytest.raises(StoreUnavailable):
        store.apply(asked)
    assert time.monotonic() - start < 3 * 2
    replica_set.restore()
    patient = MongoStore(with_database(replica_set.uri, store._database.name), timeout=PATIENT)
    entry = patient.apply(asked)
    assert patient.load().pools["fx"].hosts == ("a",)
    assert [e.id for e in patient.history()].count(entry.id) == 1
    store.close()
    patient.close()


# --- sizes ----------------------------------------------------------------------------------------------------------


def test_a_pool_too_large_for_mongodb_is_refused(store: MongoStore) -> None:
    many = [f"render-node-with-a-long-name-{number:06}" for number in range(200_000)]
    with pytest.raises(RequestRefused) as caught:
        store.apply(create("all", *many))
    assert caught.value.code == Code.TOO_LARGE
    assert "200,000 hosts" in caught.value.message
    # The largest accepted pool can still be changed, shrunk and deleted.
    store.apply(create("all", *many[:80_000]))
    store.apply(add("all", "one-more"))
    store.apply(remove("all", *many[:75_000]))
    assert len(store.load().pools["all"].hosts) == 5_001
    store.apply(add("all", *many[:60_000]))
    store.apply(delete("all"))
    assert store.load().pools == {}
