"""`afpools pool repair`: a database in which two pools have the same name, and the command that resolves it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pymongo
import pytest
from pymongo.database import Database
from tests.broker.store.places import PATIENT, add, create, delete
from tests.command import Result
from tests.mongod import with_database

from afpools_broker.pools.undo import Undoing
from afpools_broker.store import StoreUnavailable
from afpools_broker.store.mongo import MongoStore

Documents = Database[dict[str, Any]]
Repair = Callable[..., Result]


@pytest.fixture
def uri(mongod: str) -> str:
    return with_database(mongod, f"test_{secrets.token_hex(6)}")


@pytest.fixture
def store(uri: str) -> Iterator[MongoStore]:
    """The database of a broker that runs throughout."""
    opened = MongoStore(uri, timeout=PATIENT)
    yield opened
    opened.close()


@pytest.fixture
def database(uri: str) -> Iterator[Documents]:
    with pymongo.MongoClient[dict[str, Any]](uri, tz_aware=True) as client:
        yield client.get_default_database()


@pytest.fixture
def repair(afpools: Callable[..., Result], uri: str, tmp_path: Path) -> Repair:
    """`afpools pool repair` with the broker's configuration."""
    config = tmp_path / "broker.toml"
    config.write_text(f'[store]\nuri = "{uri}"\n[farm]\nserver = ""\n')
    return lambda *arguments, **options: afpools("pool", "repair", "-c", config, *arguments, **options)


@pytest.fixture
def twins(store: MongoStore, database: Documents) -> tuple[str, str]:
    """Two documents named fx: the ids of the one that anna made, and of the one that somebody added by hand."""
    store.apply(create("fx", "pc-01", "pc-02", description="Effects"))
    store.apply(create("gpu", "gpu-01"))
    made = database.pools.find_one({"name": "fx"})
    assert made is not None
    database.pools.drop_index("name_1")
    other = database.pools.insert_one(
        {"name": "fx", "clients": [{"hostname": "pc-02"}, {"hostname": "pc-09"}], "floor": 2}
    )
    with pytest.raises(StoreUnavailable, match="afpools pool repair"):
        store.apply(add("gpu", "gpu-02"))
    return str(made["_id"]), str(other.inserted_id)


def test_the_documents_are_shown_and_nothing_is_changed(repair, twins, database) -> None:
    before = list(database.pools.find())
    shown = repair()
    assert shown.status == 1
    assert "2 documents are named fx" in shown.out
    rows = [line for line in shown.out.splitlines() if line.startswith(twins)]
    assert "pc-[01-02]" in rows[0]
    assert "Effects" in rows[0]
    assert "by anna: create" in rows[0]
    assert "pc-[02,09]" in rows[1]
    assert "not by Afanasy Pools" in rows[1]
    assert "Still to be decided: 'fx'" in shown.err
    (conflict,) = json.loads(repair("--json").out)["pools"]
    assert [document["id"] for document in conflict["documents"]] == list(twins)
    assert list(database.pools.find()) == before


@pytest.mark.parametrize(
    ("decision", "pools"),
    [
        (("--keep", 0), {"fx": ("pc-01", "pc-02")}),
        (("--keep", 1), {"fx": ("pc-02", "pc-09")}),
        (("--delete", 0), {"fx": ("pc-02", "pc-09")}),
        (("--merge", "fx"), {"fx": ("pc-01", "pc-02", "pc-09")}),
        (("--rename", "1=fx2"), {"fx": ("pc-01", "pc-02"), "fx2": ("pc-02", "pc-09")}),
        (("--keep", 1, "--rename", "0=fx2"), {"fx": ("pc-02", "pc-09"), "fx2": ("pc-01", "pc-02")}),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_a_decision_is_carried_out_and_recorded(repair, twins, store, database, decision, pools) -> None:
    def named(part: object) -> object:
        if isinstance(part, int):
            return twins[part]
        number, separator, name = str(part).partition("=")
        return f"{twins[int(number)]}={name}" if separator else part

    arguments = [named(part) for part in decision]
    before = list(database.pools.find())
    planned = repair(*arguments, "--dry-run")
    assert (planned.status, list(database.pools.find())) == (0, before)
    assert "1 change would be made." in planned.out or "2 changes would be made." in planned.out
    assert repair(*arguments, given="n\n").status == 1
    assert list(database.pools.find()) == before
    done = repair(*arguments, "--yes")
    assert done.status == 0, done.err
    assert "Every pool has a name of its own" in done.out
    found = store.load()
    assert {name: pool.hosts for name, pool in found.pools.items()} == {**pools, "gpu": ("gpu-01",)}
    assert found.problems == ()
    store.apply(add("gpu", "gpu-02"))
    history = store.history()
    assert {entry.op for entry in history[1:-2]} == {"pools.repair"}
    # It is not known which document the earlier changes were about, so none of them can be undone in the wrong one.
    undoing = Undoing(store.trail(since=history[-1].id, limit=100), store.load())
    assert "outside this history" in undoing.why_not(history[-1])
    assert repair().out == "Nothing to repair: every pool has a name of its own.\n"


def test_foreign_fields_stay(repair, twins, database) -> None:
    assert repair("--rename", f"{twins[1]}=fx2", "--yes").status == 0
    kept = database.pools.find_one({"name": "fx2"})
    assert kept is not None
    assert kept["floor"] == 2


@pytest.mark.parametrize(
    ("decision", "said"),
    [
        (("--keep", "7"), "No document 7 is in conflict"),
        (("--merge", "gpu"), "No two documents are named 'gpu'"),
        (("--rename", "ID= x"), "cannot be a pool's name"),
        (("--keep", "ID", "--delete", "ID"), "two decisions about"),
        (("--keep", "ID", "--merge", "fx"), "not both"),
        (("--rename", "ID=gpu", "--yes"), "Another pool is called 'gpu'"),
    ],
    ids=str,
)
def test_an_impossible_decision_changes_nothing(repair, twins, database, decision, said) -> None:
    before = list(database.pools.find())
    refused = repair(*(part.replace("ID", twins[0]) for part in decision))
    assert refused.status == 1
    assert said in refused.err
    assert list(database.pools.find()) == before


def test_a_document_without_a_name_gets_one_or_is_deleted(repair, store, database) -> None:
    database.pools.insert_many([{"_id": "a", "clients": [{"hostname": "pc-01"}]}, {"_id": "b", "name": None}])
    assert repair().status == 1
    assert repair("--rename", "a=night", "--delete", "b", "--yes").status == 0
    assert {name: pool.hosts for name, pool in store.load().pools.items()} == {"night": ("pc-01",)}


def test_a_request_that_is_in_history_twice_stays_there_and_the_oldest_answers_for_it(repair, store, database) -> None:
    asked = create("fx", "a")
    entry = store.apply(asked)
    database.history.drop_index("key_1")
    line = database.history.find_one()
    database.history.insert_one({**line, "_id": f"f{entry.id[1:]}"})
    assert "2 entries in history are of the request 'anna:" in repair("--dry-run").out
    assert repair("--yes").status == 0
    assert database.history.count_documents({}) == 2
    assert store.apply(asked) == entry
    store.apply(delete("fx"))


def test_changes_made_meanwhile_are_not_lost_in_a_repair(repair, twins, store, database, monkeypatch) -> None:
    resolve = MongoStore.resolve

    def meanwhile(self: MongoStore, step: Any, **options: Any) -> Any:
        database.pools.update_many({"name": "fx"}, {"$push": {"clients": {"hostname": "late"}}})
        return resolve(self, step, **options)

    monkeypatch.setattr(MongoStore, "resolve", meanwhile)
    refused = repair("--keep", twins[0], "--yes")
    assert refused.status == 1
    assert "Somebody else has changed the document" in refused.err
    assert database.pools.count_documents({"name": "fx"}) == 2


def test_in_an_sqlite_file_there_is_nothing_to_repair(afpools: Callable[..., Result], tmp_path: Path) -> None:
    config = tmp_path / "broker.toml"
    config.write_text('[store]\nuri = "sqlite:///x.sqlite"\n[farm]\nserver = ""\n')
    done = afpools("pool", "repair", "-c", config)
    assert (done.status, done.out) == (0, "Nothing to repair: in an SQLite file no two pools can have one name.\n")
