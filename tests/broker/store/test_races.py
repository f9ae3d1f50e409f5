"""What several brokers do at the same moment, on every real kind of store."""

from __future__ import annotations

import secrets
from dataclasses import replace

import pytest
from tests.broker.store.places import (
    Place,
    add,
    at_once,
    change,
    create,
    delete,
    on_real,
    planned,
    register,
    rename,
    replayed,
    undo,
)
from tests.broker.store.test_contract import FX

from afpools_broker.pools.changes import Change, PlanOutdated
from afpools_broker.pools.history import Entry
from afpools_broker.pools.pool import Pool
from afpools_broker.pools.undo import Undoing
from afpools_broker.protocol import Code
from afpools_broker.store import PoolStore


@on_real
def test_of_many_that_create_the_same_pool_one_wins(place: Place) -> None:
    stores = [place.open(), place.open()]
    results = at_once(
        *(lambda n=n: stores[n % 2].apply(create("fx", f"host-{n}")) for n in range(8))  # type: ignore[misc]
    )
    won = [result for result in results if isinstance(result, Entry)]
    assert len(won) == 1
    assert results.count(Code.POOL_EXISTS) == 7
    assert store_hosts(stores[0], "fx") == won[0].diff.added
    assert store_hosts(stores[1], "fx") == won[0].diff.added


@on_real
def test_of_many_that_make_pools_that_look_alike_at_most_one_succeeds(place: Place) -> None:
    stores = [place.open(), place.open()]
    stores[0].apply(create("old-0", "pc-01"))
    stores[0].apply(create("old-1", "pc-02"))
    names = ["fx", "FX", "Fx", "fX"]
    for turn in range(5):
        before = stores[0].load()
        calls = [create(f"{names[0]}{turn}"), create(f"{names[1]}{turn}")]
        calls += [rename(f"old-{n}", f"{names[2 + n]}{turn}") for n in range(2)]
        results = at_once(*(lambda n=n, call=call: stores[n % 2].apply(call) for n, call in enumerate(calls)))  # type: ignore[misc]
        won = [result for result in results if isinstance(result, Entry)]
        assert len(won) <= 1
        assert len(won) + results.count(Code.POOL_EXISTS) == 4
        after = stores[1].load()
        assert [entry.id for entry in stores[0].history(limit=1)] == [entry.id for entry in won] or not won
        for entry in won:
            plan = Undoing(stores[0].trail(since=entry.id, limit=9), after).plan(entry)
            stores[0].apply(planned(entry.id, entry.pool, plan))
        assert stores[1].load() == before


@on_real
def test_of_many_that_rename_to_the_same_name_one_wins(place: Place) -> None:
    stores = [place.open(), place.open()]
    for number in range(6):
        stores[0].apply(create(f"pool-{number}"))
    results = at_once(
        *(lambda n=n: stores[n % 2].apply(rename(f"pool-{n}", "fx")) for n in range(6))  # type: ignore[misc]
    )
    assert results.count(Code.POOL_EXISTS) == 5
    assert len(stores[0].load().pools) == 6


@on_real
@pytest.mark.parametrize(("before", "after"), [(FX, None), (None, FX), (FX, Pool("fx"))], ids=["gone", "back", "less"])
def test_of_many_that_undo_the_same_change_one_succeeds(place: Place, before: Pool | None, after: Pool | None) -> None:
    stores = [place.open(), place.open()]
    changed = stores[0].apply(create("fx", "a"))
    if before is None:
        changed = stores[0].apply(delete("fx"))
    results = at_once(
        *(lambda n=n: stores[n % 2].apply(undo(changed.id, before, after)) for n in range(6))  # type: ignore[misc]
    )
    won = [result for result in results if isinstance(result, Entry)]
    assert len(won) == 1
    assert all(result in (won[0], PlanOutdated, Code.POOL_EXISTS) for result in results)
    assert [entry.undoes for entry in stores[1].history()].count(changed.id) == 1
    assert stores[1].load().pools == ({} if after is None else {"fx": after})


@on_real
def test_nothing_is_lost_when_two_brokers_change_one_pool(place: Place) -> None:
    stores = [place.open(), place.open()]
    stores[0].apply(create("fx"))

    def work(worker: int) -> None:
        for number in range(5):
            stores[worker % 2].apply(add("fx", f"host-{worker}-{number}"))

    at_once(*(lambda w=w: work(w) for w in range(6)))  # type: ignore[misc]
    expected = {f"host-{worker}-{number}" for worker in range(6) for number in range(5)}
    assert set(store_hosts(stores[0], "fx")) == expected
    history = stores[1].history(limit=100)
    assert len(history) == 31
    assert set(replayed(history[::-1])["fx"].hosts) == expected


@on_real
@pytest.mark.parametrize(
    "asked",
    [create("new", "x"), add("fx", "x"), rename("fx", "gx"), delete("fx"), register("x"), add("fx", "a")],
    ids=lambda asked: f"{asked.op}-{asked.asked}",
)
def test_one_request_sent_to_two_brokers_at_once_is_applied_once(place: Place, asked: Change) -> None:
    stores = [place.open(), place.open()]
    for _round in range(5):
        this = replace(asked, request_id=secrets.token_hex(8))
        stores[0].apply(create("fx", "a"))
        results = at_once(*(lambda n=n, this=this: stores[n % 2].apply(this) for n in range(4)))  # type: ignore[misc]
        assert isinstance(results[0], Entry)
        assert all(result == results[0] for result in results)
        assert [entry.id for entry in stores[0].history()].count(results[0].id) == results[0].changed
        for name in stores[0].load().pools:
            stores[0].apply(delete(name))
        if stores[0].load().registered.hosts:
            stores[0].apply(change("hosts.forget", "", "x"))


def store_hosts(store: PoolStore, pool: str) -> tuple[str, ...]:
    return store.load().pools[pool].hosts
