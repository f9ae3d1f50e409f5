"""The lease that says which broker keeps the fences of running jobs, in both kinds of store."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.broker.store.places import Place, opened
from tests.mongod import with_database

from afpools_broker.store import Lease, PoolStore


@pytest.fixture(params=["sqlite", "mongod", "replica_set"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    kind, name = request.param, f"test_{secrets.token_hex(6)}"
    uri = f"sqlite:///{tmp_path}/pools.db"
    if kind != "sqlite":
        server: Any = request.getfixturevalue(kind)
        uri = with_database(server if kind == "mongod" else server.uri, name)
    with opened(Place(kind, uri, 2.0)) as made:
        yield made


@pytest.fixture
def store(place: Place) -> PoolStore:
    return place.open()


def test_the_first_broker_has_it_and_renews_it(store: PoolStore) -> None:
    assert store.take_lease("a") == Lease("a", 1, 1)
    assert store.take_lease("b") == Lease("a", 1, 1)
    assert store.take_lease("a") == Lease("a", 1, 2)


def test_a_lease_that_nobody_renews_goes_to_the_broker_that_saw_that_and_its_token_grows(store: PoolStore) -> None:
    seen = store.take_lease("a").beat
    assert store.take_lease("b", seen) == Lease("b", 2, 2)
    assert store.take_lease("a") == Lease("b", 2, 2)


def test_a_lease_that_was_renewed_stays_where_it_is(store: PoolStore) -> None:
    seen = store.take_lease("a").beat
    store.take_lease("a")
    assert store.take_lease("b", seen) == Lease("a", 1, 2)


def test_a_holder_that_let_it_run_out_gets_another_token(store: PoolStore) -> None:
    seen = store.take_lease("a").beat
    assert store.take_lease("a", seen) == Lease("a", 2, 2)


def test_a_lease_that_is_given_up_is_free_at_once(store: PoolStore) -> None:
    store.take_lease("a")
    store.give_up_lease("b")
    assert store.take_lease("b") == Lease("a", 1, 1)
    store.give_up_lease("a")
    assert store.take_lease("b") == Lease("b", 2, 3)


def test_a_name_may_contain_query_syntax(store: PoolStore) -> None:
    assert store.take_lease("$holder") == Lease("$holder", 1, 1)
    assert store.take_lease("$holder") == Lease("$holder", 1, 2)


@pytest.mark.parametrize("turn", range(3))
def test_of_many_that_ask_at_once_one_gets_it(place: Place, turn: int) -> None:
    stores = [place.open() for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        leases = list(threads.map(lambda n: stores[n].take_lease(f"{turn} {n}"), range(4)))
    assert len(set(leases)) == 1
    assert leases[0].token == 1
