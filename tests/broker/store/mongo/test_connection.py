"""The connection to a MongoDB server: the right party is named in time if it does not answer."""

from __future__ import annotations

import datetime as dt
import threading
import time
from pathlib import Path
from typing import Any

import pymongo
import pytest
from tests.broker.store.places import PATIENT, add, create
from tests.conftest import need_mongod
from tests.mongod import single_server, with_database

from afpools_broker.store import StoreUnavailable, open_store
from afpools_broker.store.mongo import MongoStore


def test_the_database_is_named_afpools_unless_the_address_names_another(mongod: str) -> None:
    for address, expected in ((mongod, "afpools"), (with_database(mongod, "studio"), "studio")):
        store = MongoStore(address)
        assert store._database.name == expected
        store.close()


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
def test_a_missing_server_is_named_in_time(call: Any, options: str) -> None:
    # Nobody listens on port 1 on any machine that runs tests.
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


def test_a_wrong_password_reads_differently_from_an_unreachable_server(tmp_path: Path) -> None:
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
def test_an_invalid_address_is_refused_without_its_password(uri: str, part: str) -> None:
    with pytest.raises(ValueError) as caught:
        open_store(uri)
    assert part in str(caught.value)
    assert "cret" not in str(caught.value)
