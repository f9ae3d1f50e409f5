"""Documents of MongoDB, as pure functions."""

from __future__ import annotations

import datetime as dt
from typing import Any

import bson
import pytest
from bson.raw_bson import RawBSONDocument
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.broker.store.mongo.by_hand import old
from tests.broker.store.mongo.conftest import Documents
from tests.broker.store.places import add, change, create, remove, rename
from tests.fuzz.targets.documents import _ENTRY as ENTRY

from afpools_broker.pools.pool import Contents, Pool
from afpools_broker.store import StoreUnavailable
from afpools_broker.store.mongo import MongoStore, documents
from afpools_broker.store.mongo.documents import read_row


@pytest.mark.parametrize("name", [["pc-01"], {"a": 1}, None, 7])
def test_foreign_clients_stay_when_hosts_join_and_leave_together(name: object) -> None:
    odd = {"hostname": name}
    document = RawBSONDocument(bson.encode({"name": "fx", "clients": [{"hostname": "pc-01"}, odd]}))
    update = documents.update(document, Pool("fx", ("pc-01",)), Pool("fx", ("pc-02",)), ENTRY)
    kept = bson.decode(bson.encode(update["$set"]))["clients"]
    assert kept[0] == odd
    assert [client["hostname"] for client in kept[1:]] == ["pc-02"]


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


def test_a_damaged_list_of_hosts_is_not_overwritten(store: MongoStore, database: Documents) -> None:
    database.pools.insert_one({"name": "fx", "clients": "pc-01 pc-02"})
    with pytest.raises(StoreUnavailable, match="Fix the document"):
        store.apply(add("fx", "pc-03"))
    assert database.pools.find_one()["clients"] == "pc-01 pc-02"


def test_foreign_fields_are_kept(store: MongoStore, database: Documents) -> None:
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


def test_a_date_that_python_cannot_hold_does_not_prevent_a_change(store: MongoStore, database: Documents) -> None:
    far = bson.datetime_ms.DatetimeMS(2**62)
    database.pools.insert_one({**old("fx", "pc-01"), "when": far})
    store.apply(add("fx", "pc-02"))
    store.apply(rename("fx", "gx"))
    assert store.load().pools["gx"].hosts == ("pc-01", "pc-02")
    assert database.pools.find_one({"when": far}, {"name": 1}) is not None


def test_unreadable_parts_are_left_out_and_reported(store: MongoStore, database: Documents) -> None:
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
    # What is left out is not lost: hosts are changed around it in the document.
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
def test_reading_part_of_a_document_gives_the_same_as_the_whole(
    store: MongoStore, database: Documents, documents: list[dict[str, Any]]
) -> None:
    database.pools.delete_many({})
    for number, document in enumerate(documents):
        # As bytes, because the driver would not write some of what others write.
        whole = RawBSONDocument(bson.encode({"_id": number, "name": f"pool-{number}", **document}))
        database.pools.insert_one(whole)  # type: ignore[arg-type]
    raw = database.pools.with_options(codec_options=bson.CodecOptions(document_class=RawBSONDocument))
    expected = {key: row for key, row in map(read_row, raw.find()) if row is not None}  # type: ignore[arg-type]
    rows = {key: row for piece in store.scan() for key, row in piece.rows.items()}
    assert rows == expected


def test_a_document_that_is_not_even_text_does_not_affect_others(store: MongoStore, database: Documents) -> None:
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
