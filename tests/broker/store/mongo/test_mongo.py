"""What only MongoDB has: the earlier project's documents, hand edits, brokers that die, servers that go away."""

from __future__ import annotations

import datetime as dt
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import bson
import pymongo
import pytest
from bson.raw_bson import RawBSONDocument
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pymongo.database import Database
from tests.broker.store.places import (
    PATIENT,
    add,
    change,
    create,
    delete,
    following,
    register,
    remove,
    rename,
    undo,
    wait_until,
)
from tests.conftest import need_mongod
from tests.mongod import ReplicaSet, single_server, with_database

from afpools_broker.picture.snapshot import SnapshotKeeper
from afpools_broker.pools.changes import Change
from afpools_broker.pools.history import Entry
from afpools_broker.pools.pool import Contents, Pool
from afpools_broker.protocol import Code, RequestRefused
from afpools_broker.store import StoreUnavailable, open_store
from afpools_broker.store.mongo import MongoStore, changing, comparing, watching
from afpools_broker.store.mongo.connection import TooSlow
from afpools_broker.store.mongo.documents import read_row

Documents = Database[dict[str, Any]]


@pytest.fixture
def uri(mongod: str) -> str:
    """A database of its own on the single server."""
    return with_database(mongod, f"test_{secrets.token_hex(6)}")


@pytest.fixture
def database(uri: str) -> Iterator[Documents]:
    """The same, as somebody sees it who edits it by hand."""
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


def old(name: str, *hosts: str) -> dict[str, Any]:
    """A document as the earlier project wrote it."""
    return {"name": name, "clients": [{"hostname": host, "engine": "", "ip": "", "port": ""} for host in hosts]}


# --- the earlier project's database ---------------------------------------------------------------------------------


def test_the_earlier_projects_pools_are_loaded_as_they_are(store: MongoStore, database: Documents) -> None:
    database.pools.create_index("name", unique=True)
    database.pools.insert_many([old("fx", "pc-01", "pc-02"), old("gpu"), old("night", "pc-01")])
    before = list(database.pools.find())
    assert store.load() == Contents(
        {"fx": Pool("fx", ("pc-01", "pc-02")), "gpu": Pool("gpu"), "night": Pool("night", ("pc-01",))}
    )
    assert list(database.pools.find()) == before


def test_the_earlier_project_can_read_what_is_written(store: MongoStore, database: Documents) -> None:
    database.pools.insert_one(old("fx", "pc-01"))
    store.apply(add("fx", "pc-02"))
    store.apply(create("gpu", "pc-03"))
    read = {doc["name"]: [client["hostname"] for client in doc["clients"]] for doc in database.pools.find()}
    assert read == {"fx": ["pc-01", "pc-02"], "gpu": ["pc-03"]}
    for document in database.pools.find():
        for client in document["clients"]:
            assert {key: client[key] for key in ("engine", "ip", "port")} == {"engine": "", "ip": "", "port": ""}


def test_the_database_is_named_afpools_unless_the_address_names_another(mongod: str) -> None:
    for address, expected in ((mongod, "afpools"), (with_database(mongod, "studio"), "studio")):
        store = MongoStore(address)
        assert store._database.name == expected
        store.close()


def test_a_damaged_list_of_hosts_is_not_written_over(store: MongoStore, database: Documents) -> None:
    database.pools.insert_one({"name": "fx", "clients": "pc-01 pc-02"})
    with pytest.raises(StoreUnavailable, match="Fix the document"):
        store.apply(add("fx", "pc-03"))
    assert database.pools.find_one()["clients"] == "pc-01 pc-02"


def test_fields_of_others_are_kept(store: MongoStore, database: Documents) -> None:
    theirs = {
        **old("fx", "pc-01", "pc-02"),
        "notes": {"floor": 2, "when": dt.datetime(2020, 1, 1, tzinfo=dt.UTC)},
        "deleted": True,
        "weight": bson.Decimal128("1.10"),
    }
    theirs["clients"][0]["rack"] = bson.Int64(7)
    database.pools.insert_one(dict(theirs))
    for asked in (
        add("fx", "pc-03"),
        remove("fx", "pc-02"),
        rename("fx", "gx"),
        change("pools.update", "gx", description="x"),
    ):
        store.apply(asked)
    kept = database.pools.find_one({"name": "gx"})
    assert kept is not None
    assert kept["clients"] == [
        {"hostname": "pc-01", "engine": "", "ip": "", "port": "", "rack": 7},
        {"hostname": "pc-03", "engine": "", "ip": "", "port": ""},
    ]
    assert {key: kept[key] for key in ("notes", "deleted", "weight")} == {
        key: theirs[key] for key in ("notes", "deleted", "weight")
    }


def test_a_date_that_python_cannot_hold_is_no_obstacle_to_a_change(store: MongoStore, database: Documents) -> None:
    far = bson.datetime_ms.DatetimeMS(2**62)
    database.pools.insert_one({**old("fx", "pc-01"), "when": far})
    store.apply(add("fx", "pc-02"))
    store.apply(rename("fx", "gx"))
    assert store.load().pools["gx"].hosts == ("pc-01", "pc-02")
    assert database.pools.find_one({"when": far}, {"name": 1}) is not None


def test_what_cannot_be_read_is_left_out_and_said(store: MongoStore, database: Documents) -> None:
    database.pools.insert_many(
        [
            old("good", "pc-01"),
            {"_id": "nameless", "clients": []},
            {"_id": "numbered", "name": 7, "clients": []},
            {"_id": "spaced", "name": " fx ", "clients": []},
            {"_id": "program", "name": bson.Code("fx"), "clients": []},
            {"_id": "no clients", "name": "no-clients"},
            {"_id": "text", "name": "text", "clients": "pc-01,pc-02"},
            {
                "name": "mixed",
                "clients": [
                    {"hostname": "a"},
                    {"ip": "10.0.0.1"},
                    "b",
                    None,
                    {"hostname": 5},
                    {"hostname": "a"},
                    {"hostname": bson.Code("b")},
                ],
            },
            {"name": "described", "clients": [{"hostname": "a"}], "description": 5, "colour": "red"},
        ]
    )
    database.hosts.insert_one({"_id": "registered", "clients": [{"hostname": "r"}, {}]})
    contents = store.load()
    assert contents.pools == {
        "good": Pool("good", ("pc-01",)),
        "no-clients": Pool("no-clients"),
        "text": Pool("text"),
        "mixed": Pool("mixed", ("a",)),
        "described": Pool("described", ("a",)),
    }
    assert contents.registered == Pool("", ("r",))
    for number, part in enumerate(
        [
            "'nameless'",
            "'no-clients'",
            "7",
            "'program'",
            "' fx '",
            "'pc-01,pc-02'",
            "5 of its 7 clients",
            "description",
            "colour",
        ]
    ):
        assert part in contents.problems[number]
    assert "registered by hand" in contents.problems[9]
    assert len(contents.problems) == 10
    # What is left out is not lost: hosts are changed around it.
    store.apply(add("mixed", "c"))
    mixed = database.pools.find_one({"name": "mixed"})
    assert mixed is not None
    assert mixed["clients"][1:5] == [{"ip": "10.0.0.1"}, "b", None, {"hostname": 5}]
    assert store.load().pools["mixed"].hosts == ("a", "c")


_odd = st.recursive(
    st.none() | st.integers(0, 9) | st.sampled_from(["", "pc-01", "pc-02", bson.Code("pc-03"), bson.Code("pc-04", {})]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["hostname", "$ref", "$id", "id", "after", "0"]), inner, max_size=3)
    ),
    max_leaves=6,
)
_clients = st.lists(st.fixed_dictionaries({"hostname": st.sampled_from(["pc-01", "pc-02"])}) | _odd, max_size=4)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    documents=st.lists(
        st.fixed_dictionaries(
            {"clients": _clients | _odd, "deleted": st.booleans()},
            optional={"description": st.text(max_size=3) | _odd, "colour": _odd, "change": _odd},
        ),
        min_size=1,
        max_size=20,
    )
)
@example(documents=[{"clients": [{"$ref": "pools", "$id": 1, "hostname": "pc-01"}], "deleted": False}])
@example(documents=[{"clients": [{"hostname": "pc-01"}, [{"hostname": "pc-02"}]], "deleted": False}])
def test_what_is_read_of_a_part_of_a_document_is_what_the_whole_says(
    store: MongoStore, database: Documents, documents: list[dict[str, Any]]
) -> None:
    database.pools.delete_many({})
    for number, document in enumerate(documents):
        # As bytes: the driver would not write some of what others do.
        whole = RawBSONDocument(bson.encode({"_id": number, "name": f"pool-{number}", **document}))
        database.pools.insert_one(whole)  # type: ignore[arg-type]
    raw = database.pools.with_options(codec_options=bson.CodecOptions(document_class=RawBSONDocument))
    expected = {key: row for key, row in map(read_row, raw.find()) if row is not None}  # type: ignore[arg-type]
    rows = {key: row for piece in store.scan() for key, row in piece.rows.items()}
    assert rows == expected


def test_a_document_that_is_not_even_text_takes_no_other_with_it(store: MongoStore, database: Documents) -> None:
    database.pools.insert_one(old("good", "pc-01"))
    broken = bson.encode({"_id": 1, "name": "bad", "clients": [{"hostname": "XXXX"}]}).replace(b"XXXX", b"pc-\xff")
    database.pools.with_options(codec_options=bson.CodecOptions(document_class=RawBSONDocument)).insert_one(
        RawBSONDocument(broken)  # type: ignore[arg-type]
    )
    contents = store.load()
    assert set(contents.pools) == {"good"}
    assert "cannot be read" in contents.problems[0]
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        store.apply(add("bad", "x"))


def test_two_pools_of_one_name_are_both_absent_and_stop_all_writing(store: MongoStore, database: Documents) -> None:
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


def _refill(database: Documents, collection: str) -> None:
    """`mongoimport --drop`: everything is there again but the indexes."""
    kept = list(database[collection].find())
    database.drop_collection(collection)
    database.create_collection(collection)
    if kept:
        database[collection].insert_many(kept)


def test_after_a_refill_a_name_still_belongs_to_one_pool(
    store: MongoStore, other: MongoStore, database: Documents
) -> None:
    for opened in (store, other):
        opened.apply(create(secrets.token_hex(4)))
    _refill(database, "pools")
    asked = [create("fx", f"host-{number}") for number in range(12)]
    with ThreadPoolExecutor(12) as threads:
        outcomes = list(threads.map(outcome, [store, other] * 6, asked))
    assert database.pools.count_documents({"name": "fx"}) == 1
    assert sum(isinstance(each, Entry) for each in outcomes) == 1
    assert outcomes.count(Code.POOL_EXISTS) == 11


def test_after_a_refill_a_request_is_still_applied_once(
    store: MongoStore, other: MongoStore, database: Documents
) -> None:
    for opened in (store, other):
        opened.apply(create(secrets.token_hex(4)))
    for collection in ("pools", "history"):
        _refill(database, collection)
    asked = create("fx", "a")
    with ThreadPoolExecutor(12) as threads:
        outcomes = list(threads.map(outcome, [store, other] * 6, [asked] * 12))
    assert outcomes == [outcomes[0]] * 12
    assert isinstance(outcomes[0], Entry)
    assert database.history.count_documents({"key": asked.key}) == 1


def outcome(store: MongoStore, asked: Change) -> Entry | Code:
    try:
        return store.apply(asked)
    except RequestRefused as refused:
        return refused.code


def _drop_index_and_create_the_same(database: Documents) -> None:
    database.pools.drop_index("name_1")
    database.pools.insert_one(old("fx", "theirs"))


def _replace_pools(database: Documents) -> None:
    _refill(database, "pools")
    database.pools.create_index("name", unique=True)


@pytest.mark.parametrize(
    "happens", [_drop_index_and_create_the_same, _replace_pools, lambda database: _refill(database, "history")]
)
@pytest.mark.parametrize("step", ["settle", "_record"])
def test_nothing_is_acknowledged_that_was_made_without_the_indexes_or_replaced_since(
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


def test_a_request_that_history_has_twice_is_named(store: MongoStore, database: Documents) -> None:
    entry = store.apply(create("fx"))
    database.history.drop_index("key_1")
    twice = database.history.find_one({"_id": entry.id})
    assert twice is not None
    database.history.insert_one({**twice, "_id": "another"})
    with pytest.raises(StoreUnavailable, match="more than one entry of the request 'anna:"):
        store.apply(create("gx"))


# --- edits by hand --------------------------------------------------------------------------------------------------


def test_a_hand_edit_is_loaded_and_has_its_own_revision(store: MongoStore, database: Documents) -> None:
    revision = store.apply(create("fx", "a")).after
    database.pools.update_one({"name": "fx"}, {"$push": {"clients": {"hostname": "b"}}})
    pool = store.load().pools["fx"]
    assert pool.hosts == ("a", "b")
    assert pool.revision != revision
    with pytest.raises(RequestRefused) as caught:
        store.apply(add("fx", "c", if_revision=revision))
    assert caught.value.code == Code.CONFLICT


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


class Died(Exception):
    """The broker ended here."""


def dies_before(store: MongoStore, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes `store` end where it would call `step`."""

    def die(*_: object) -> None:
        raise Died

    monkeypatch.setattr(store, step, die)


FX = Pool("fx", ("a",))
CHANGES = [
    *(create("new", "x"), add("fx", "x"), rename("fx", "gx"), delete("fx"), register("x")),
    *(undo("an entry", *pools) for pools in ((None, Pool("new", ("x",))), (FX, Pool("fx")), (FX, None))),
]


@pytest.mark.parametrize("asked", CHANGES, ids=lambda asked: asked.op)
def test_a_change_without_its_line_in_history_gets_it(
    store: MongoStore, other: MongoStore, monkeypatch: pytest.MonkeyPatch, asked: Any
) -> None:
    store.apply(create("fx", "a"))
    dies_before(store, "_record", monkeypatch)
    with pytest.raises(Died):
        store.apply(asked)
    # Sent again to another broker, it was made already.
    entry = other.apply(asked)
    assert other.history()[0] == entry
    assert len(other.history()) == 2
    assert other.apply(asked) == entry


@pytest.mark.parametrize("asked", CHANGES, ids=lambda asked: asked.op)
def test_history_finds_what_a_dead_broker_did_not_write_there(
    store: MongoStore, other: MongoStore, monkeypatch: pytest.MonkeyPatch, asked: Any
) -> None:
    store.apply(create("fx", "a"))
    dies_before(store, "_record", monkeypatch)
    with pytest.raises(Died):
        store.apply(asked)
    assert [entry.op for entry in other.history()] == [asked.op, "pools.create"]


def test_the_next_change_saves_the_last_ones_line(
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
def test_half_a_deletion_is_finished_by_whoever_meets_it(
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


def test_watching_says_that_the_primary_is_gone_and_goes_on_with_the_next(replica_set: ReplicaSet) -> None:
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
def test_a_collection_that_was_replaced_is_noticed_however_it_was_done(
    replica_set: ReplicaSet, replace: Callable[[Documents], None]
) -> None:
    uri = with_database(replica_set.uri, f"test_{secrets.token_hex(6)}")
    store = MongoStore(uri, timeout=PATIENT)
    store.apply(create("fx", "pc-01"))
    with following(store) as keeper, pymongo.MongoClient[dict[str, Any]](uri) as client:
        assert keeper.current.contents.pools["fx"].hosts == ("pc-01",)
        replace(client.get_default_database())
        # Well before the next digest, which would notice as well.
        wait_until(lambda: not _hosts(keeper, "fx"), watching._DIGEST_SECONDS / 2)
    store.close()


def test_a_change_that_no_event_tells_of_is_noticed(replica_set: ReplicaSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_DIGEST_SECONDS", 0.5)
    uri = with_database(replica_set.uri, f"test_{secrets.token_hex(6)}")
    store = MongoStore(uri, timeout=PATIENT)
    with pymongo.MongoClient[dict[str, Any]](uri) as client:
        database = client.get_default_database()
        # The pools are a view of another collection, and nobody has told the broker which.
        database["elsewhere"].insert_one(old("fx", "pc-01"))
        database.create_collection("pools", viewOn="elsewhere", pipeline=[])
        with following(store) as keeper:
            assert _hosts(keeper, "fx") == ("pc-01",)
            database["elsewhere"].update_one({}, {"$set": {"clients": []}})
            wait_until(lambda: not _hosts(keeper, "fx"))
    store.close()


def test_where_no_digest_can_be_made_in_time_everything_is_read_again(
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
def test_a_quiet_store_is_not_loaded_again(kind: str, request: pytest.FixtureRequest) -> None:
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
            # It steps down after a while; until then it is a primary that answers, but nobody knows what others did.
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


# How much longer than promised something may take on a machine that is busy with other tests.
SLACK = 15


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.load(),
        lambda store: store.apply(create("fx")),
        lambda store: store.history(),
        lambda store: store.ping(),
        lambda store: next(store.watch(threading.Event())),
        lambda store: store.load_farm(),
        lambda store: store.save_farm(b"", dt.datetime.now(dt.UTC)),
    ],
    ids=["load", "apply", "history", "ping", "watch", "load_farm", "save_farm"],
)
@pytest.mark.parametrize("options", ["", "?replicaSet=rs0"], ids=["single", "replica set"])
def test_a_server_that_is_not_there_is_named_in_time(call: Any, options: str) -> None:
    # Port 1 is nobody's on any machine a test runs on.
    store = open_store(f"mongodb://ann:secret@127.0.0.1:1/afpools{options}", timeout=0.5)
    start = time.monotonic()
    with pytest.raises(StoreUnavailable) as caught:
        call(store)
    assert time.monotonic() - start < 20  # the driver by itself would take 30
    assert "127.0.0.1:1 does not answer" in str(caught.value)
    assert "secret" not in str(caught.value)
    store.close()


@pytest.mark.heavy
def test_a_store_finds_its_server_again(tmp_path: Path) -> None:
    need_mongod()
    with single_server(tmp_path) as server:
        store = MongoStore(server.uri, timeout=1.5)
        store.apply(create("fx", "a"))
        server.kill()
        with pytest.raises(StoreUnavailable, match=r"does not answer|failed"):
            store.apply(add("fx", "b"))
        server.start()
        deadline = time.monotonic() + 30
        while True:
            try:
                assert store.load().pools["fx"].hosts == ("a",)
                break
            except StoreUnavailable:
                assert time.monotonic() < deadline
        store.close()


@pytest.mark.heavy
def test_a_first_reading_goes_on_where_the_server_hung(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
        # What it was asked as the signal came, it may still have answered.
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


def test_a_wrong_password_reads_differently_from_a_server_that_is_away(tmp_path: Path) -> None:
    need_mongod()
    with single_server(tmp_path, "--auth") as server:
        with pymongo.MongoClient[dict[str, Any]](server.uri) as client:
            client.admin.command("createUser", "root", pwd="root-password", roles=["root"])
        with pymongo.MongoClient[dict[str, Any]](server.uri, username="root", password="root-password") as client:
            client["afpools"].command("createUser", "reader", pwd="p%w", roles=["read"])
            client["afpools"].command("createUser", "broker", pwd="p%w", roles=["readWrite"])
        where = f"127.0.0.1:{server.port}/afpools?directConnection=true"
        good = MongoStore(f"mongodb://broker:p%25w@{where}", timeout=PATIENT)
        good.apply(create("fx", "a"))
        assert next(good.watch(threading.Event())).changed
        cases = [
            (f"mongodb://broker:wrong@{where}", "does not accept the user name and password"),
            (f"mongodb://{where}", "does not allow the broker"),
            (f"mongodb://reader:p%25w@{where}", "does not allow the broker"),
        ]
        for uri, expected in cases:
            store = MongoStore(uri, timeout=PATIENT)
            with pytest.raises(StoreUnavailable) as caught:
                store.apply(create("gx"))
            assert expected in str(caught.value)
            assert "wrong" not in str(caught.value)
            assert "p%25w" not in str(caught.value)
            store.close()
        good.close()


# --- sizes ----------------------------------------------------------------------------------------------------------


def test_a_pool_too_large_for_mongodb_is_refused(store: MongoStore) -> None:
    many = [f"render-node-with-a-long-name-{number:06}" for number in range(200_000)]
    with pytest.raises(RequestRefused) as caught:
        store.apply(create("all", *many))
    assert caught.value.code == Code.TOO_LARGE
    assert "200,000 hosts" in caught.value.message
    # The largest that is taken can still be changed, shrunk and deleted.
    store.apply(create("all", *many[:80_000]))
    store.apply(add("all", "one-more"))
    store.apply(remove("all", *many[:75_000]))
    assert len(store.load().pools["all"].hosts) == 5_001
    store.apply(add("all", *many[:60_000]))
    store.apply(delete("all"))
    assert store.load().pools == {}


# --- addresses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "part"),
    [
        ("mongodb://", "is not a MongoDB address"),
        ("mongodb://ann:se/cret@host/afpools", "percent-encoded"),
        ("mongodb://ann:se@cret@host/afpools", "percent-encoded"),
        ("mongodb://host:99999/", "is not a MongoDB address"),
        ("mysql://host/", "Use sqlite:///, mongodb:// or mongodb+srv://"),
        ("/srv/pools.db", "Use sqlite:///"),
        ("sqlite://pools.db", "names no file"),
        ("sqlite:///", "names no file"),
        ("sqlite:///:memory:", "names no file"),
    ],
)
def test_what_is_no_address_is_refused_without_its_password(uri: str, part: str) -> None:
    with pytest.raises(ValueError) as caught:
        open_store(uri)
    assert part in str(caught.value)
    assert "cret" not in str(caught.value)
