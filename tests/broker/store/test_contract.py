"""The contract of every store, on every kind of store."""

from __future__ import annotations

import datetime as dt
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pymongo
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo.errors import DuplicateKeyError
from tests.broker.store.mongo import fake_mongo
from tests.broker.store.places import (
    PATIENT,
    Place,
    add,
    change,
    create,
    delete,
    following,
    mirroring,
    opened,
    planned,
    register,
    remove,
    rename,
    undo,
    wait_until,
)
from tests.mongod import with_database

from afpools_broker.pools.changes import Change, PlanOutdated
from afpools_broker.pools.history import Diff, Entry
from afpools_broker.pools.lookalikes import lookalike
from afpools_broker.pools.pool import Contents, Pool
from afpools_broker.pools.undo import Undoing
from afpools_broker.protocol import Code, RequestRefused
from afpools_broker.store import PoolStore

KINDS = ("sqlite", "mongomock", "mongod", "replica_set")
REAL = ("sqlite", "mongod", "replica_set")

MakePlace = Callable[[], Place]


@pytest.fixture
def make_place(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> MakePlace:
    server: Any = request.getfixturevalue(kind) if kind in ("mongod", "replica_set") else None

    def make() -> Place:
        name = f"test_{secrets.token_hex(6)}"
        match kind:
            case "sqlite":
                return Place(kind, f"sqlite:///{tmp_path}/{name}/pools.db", 2.0)
            case "mongomock":
                fake_mongo.install(request.getfixturevalue("monkeypatch"))
                return Place(kind, "mongodb://nowhere", 2.0)
            case "mongod":
                return Place(kind, with_database(server, name), 2.0)
            case _:
                return Place(kind, with_database(server.uri, name), 1.0)

    return make


@pytest.fixture
def place(make_place: MakePlace) -> Iterator[Place]:
    with opened(make_place()) as made:
        yield made


@pytest.fixture
def store(place: Place) -> PoolStore:
    return place.open()


on_all = pytest.mark.parametrize("kind", KINDS)
# mongomock cannot show races and timing.
on_real = pytest.mark.parametrize("kind", REAL)


def refusal(store: PoolStore, asked: Change) -> Code:
    with pytest.raises(RequestRefused) as caught:
        store.apply(asked)
    return caught.value.code


def at_once(*calls: Callable[[], object]) -> list[object]:
    """What each call returned or raised, all started at the same moment."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], object]) -> object:
        barrier.wait()
        try:
            return call()
        except RequestRefused as refused:
            return refused.code
        except PlanOutdated:
            return PlanOutdated

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(run, calls))


# --- loading and changing -------------------------------------------------------------------------------------------


@on_all
def test_a_new_store_is_empty(store: PoolStore) -> None:
    assert store.load() == Contents()
    assert store.history() == []
    assert store.load_farm() is None


@on_all
def test_a_created_pool_is_loaded_as_it_was_asked_for(store: PoolStore) -> None:
    entry = store.apply(create("fx", "pc-02", "PC-01", description="Effects", colour="#ff0000"))
    pool = Pool("fx", ("pc-02", "PC-01"), "Effects", "#ff0000")
    assert store.load() == Contents({"fx": pool})
    assert (entry.op, entry.pool, entry.who, entry.before, entry.after) == (
        "pools.create",
        "fx",
        "anna",
        "",
        pool.revision,
    )
    assert entry.hosts == 2
    assert entry.diff.added == ("pc-02", "PC-01")


@on_all
def test_names_are_unique_and_no_two_look_alike(store: PoolStore) -> None:
    store.apply(create("fx"))
    store.apply(create("night"))
    assert refusal(store, create("fx")) == Code.POOL_EXISTS
    for alike in ("FX", "\uff46x", "f\u200bx", "fx\u3164"):
        assert refusal(store, create(alike)) == Code.POOL_EXISTS
        assert refusal(store, rename("night", alike)) == Code.POOL_EXISTS
    assert set(store.load().pools) == {"fx", "night"}
    assert [entry.op for entry in store.history()] == ["pools.create"] * 2, "nothing is recorded of a refusal"


@on_all
def test_a_pool_may_change_the_case_of_its_own_name(store: PoolStore) -> None:
    store.apply(create("fx", "pc-01"))
    store.apply(rename("fx", "FX"))
    assert set(store.load().pools) == {"FX"}
    store.apply(delete("FX"))
    store.apply(create("fx"))
    assert set(store.load().pools) == {"fx"}


@on_all
def test_names_and_hosts_may_contain_query_syntax(store: PoolStore) -> None:
    odd = "$where.'; DROP \"ö 日本\\"
    store.apply(create(odd, "$set", "a.b", "'"))
    store.apply(add(odd, '"'))
    assert store.load().pools[odd].hosts == ("$set", "a.b", "'", '"')
    assert [entry.pool for entry in store.history(pool=odd)] == [odd, odd]
    store.apply(delete(odd))
    assert not store.load().pools


@on_all
def test_hosts_are_added_at_the_end_and_each_once(store: PoolStore) -> None:
    store.apply(create("fx", "b", "a"))
    entry = store.apply(add("fx", "c", "a", "A"))
    assert store.load().pools["fx"].hosts == ("b", "a", "c", "A")
    assert entry.diff.added == ("c", "A")


@on_all
def test_hosts_are_removed_whatever_their_case(store: PoolStore) -> None:
    store.apply(create("fx", "PC-01", "pc-02", "pc-03"))
    entry = store.apply(remove("fx", "pc-01", "PC-03"))
    assert store.load().pools["fx"].hosts == ("pc-02",)
    assert entry.diff.removed == ("PC-01", "pc-03")


@on_all
def test_removing_a_host_that_is_not_in_the_pool_removes_none(store: PoolStore) -> None:
    store.apply(create("fx", "pc-01", "pc-02"))
    with pytest.raises(RequestRefused, match="pc-99 is not in the pool 'fx'"):
        store.apply(remove("fx", "pc-01", "pc-99"))
    assert store.load().pools["fx"].hosts == ("pc-01", "pc-02")


@on_all
def test_a_repeated_removal_gets_the_same_answer(store: PoolStore) -> None:
    store.apply(create("fx", "pc-01"))
    asked = remove("fx", "pc-01")
    assert store.apply(asked) == store.apply(asked)


@on_all
def test_a_renamed_pool_keeps_everything_else(store: PoolStore) -> None:
    store.apply(create("fx", "a", description="Effects"))
    entry = store.apply(rename("fx", "effects"))
    assert store.load().pools == {"effects": Pool("effects", ("a",), "Effects")}
    assert entry.diff.name == ("fx", "effects")
    store.apply(create("fx"))
    assert set(store.load().pools) == {"fx", "effects"}


@on_all
def test_a_deleted_pool_is_gone_and_its_name_free(store: PoolStore) -> None:
    store.apply(create("fx", "a"))
    entry = store.apply(delete("fx"))
    assert store.load().pools == {}
    assert (entry.after, entry.hosts, entry.diff.removed) == ("", 0, ("a",))
    store.apply(create("fx", "b"))
    assert store.load().pools["fx"].hosts == ("b",)


@on_all
def test_description_and_colour_change_one_without_the_other(store: PoolStore) -> None:
    store.apply(create("fx", description="one"))
    store.apply(change("pools.update", "fx", colour="#00ff00"))
    store.apply(change("pools.update", "fx", description="two"))
    assert store.load().pools["fx"] == Pool("fx", (), "two", "#00ff00")


@on_all
def test_what_a_pool_follows_is_kept_through_every_change_until_it_ends(store: PoolStore) -> None:
    store.apply(change("pools.follow", "farm", path="/local/farm/", description="all"))
    followed = Pool("farm", ("a", "b"), "all", "", "/local/farm")
    store.apply(mirroring(replace(followed, hosts=()), "a", "b"))
    assert store.load().pools == {"farm": followed}
    store.apply(change("pools.update", "farm", description="", colour="#ff0000"))
    assert refusal(store, add("farm", "c")) == refusal(store, remove("farm", "a")) == Code.CONFLICT
    store.apply(rename("farm", "fx"))
    renamed = Pool("fx", ("a", "b"), "", "#ff0000", "/local/farm")
    store.apply(mirroring(renamed, "b", "c"))
    assert store.load().pools == {"fx": replace(renamed, hosts=("b", "c"))}
    assert store.history()[0].diff == Diff(added=("c",), removed=("a",), follows=("/local/farm", "/local/farm"))
    store.apply(change("pools.unfollow", "fx"))
    store.apply(add("fx", "d"))
    assert store.load().pools == {"fx": Pool("fx", ("b", "c", "d"), "", "#ff0000")}


@on_all
def test_a_second_pool_is_kept_through_every_change_until_it_is_taken_away(store: PoolStore) -> None:
    store.apply(create("fx", "a"))
    plain = store.load().pools["fx"]
    store.apply(change("pools.update", "fx", spill_to="night or day", spill_after=1800))
    store.apply(change("pools.update", "fx", description="Fire"))
    store.apply(add("fx", "b"))
    store.apply(rename("fx", "effects"))
    pool = store.load().pools["effects"]
    assert pool == Pool("effects", ("a", "b"), "Fire", spill="1800 night or day")
    assert (pool.spill_to, pool.spill_after) == ("night or day", 1800)
    store.apply(change("pools.update", "effects", spill_to="", description=""))
    assert store.history()[0].diff == Diff(description=("Fire", ""), spill=("1800 night or day", ""))
    store.apply(remove("effects", "b"))
    store.apply(rename("effects", "fx"))
    # Without one, it is what every earlier version knows.
    assert (store.load().pools["fx"], store.load().pools["fx"].revision) == (plain, plain.revision)


@on_all
def test_hosts_read_from_afserver_for_another_revision_of_a_pool_are_not_written(store: PoolStore) -> None:
    store.apply(change("pools.follow", "farm", path="/local/farm"))
    empty = store.load().pools["farm"]
    store.apply(mirroring(empty, "a"))
    with pytest.raises(PlanOutdated):
        store.apply(mirroring(empty, "b"))
    assert store.load().pools["farm"].hosts == ("a",)


@on_all
def test_registered_hosts_are_not_a_pool(store: PoolStore) -> None:
    store.apply(register("a", "b"))
    store.apply(change("hosts.forget", "", "A"))
    contents = store.load()
    assert contents.pools == {}
    assert contents.registered == Pool("", ("b",))
    assert [entry.op for entry in store.history()] == ["hosts.forget", "hosts.register"]


@on_all
def test_a_missing_pool_cannot_be_changed(store: PoolStore) -> None:
    for asked in (add("fx", "a"), remove("fx", "a"), rename("fx", "gx"), delete("fx"), change("pools.update", "fx")):
        assert refusal(store, asked) == Code.UNKNOWN_POOL
    assert store.history() == []


@on_all
def test_a_change_of_an_older_revision_conflicts(store: PoolStore) -> None:
    revision = store.apply(create("fx", "a")).after
    store.apply(add("fx", "b", if_revision=revision))
    assert refusal(store, add("fx", "c", if_revision=revision)) == Code.CONFLICT
    assert refusal(store, delete("fx", if_revision=revision)) == Code.CONFLICT
    assert store.load().pools["fx"].hosts == ("a", "b")


@on_all
def test_everything_is_still_there_after_a_restart(place: Place) -> None:
    first = place.open()
    first.apply(create("fx", "a"))
    first.apply(register("b"))
    history = first.history()
    contents = first.load()
    place.close()
    again = place.open()
    assert again.load() == contents
    assert again.history() == history


@on_all
def test_a_pool_of_ten_thousand_hosts(store: PoolStore) -> None:
    hosts = tuple(f"render-node-{number:05}" for number in range(10_000))
    store.apply(create("all", *hosts))
    store.apply(remove("all", "render-node-00000"))
    assert store.load().pools["all"].hosts == hosts[1:]


@on_all
def test_ping_says_how_long_it_took(store: PoolStore) -> None:
    assert 0 <= store.ping() < 20


# --- requests that come twice ---------------------------------------------------------------------------------------


@on_all
@pytest.mark.parametrize(
    "asked",
    [
        create("new", "x"),
        add("fx", "x"),
        remove("fx", "a"),
        rename("fx", "gx"),
        delete("fx"),
        change("pools.update", "fx", description="x"),
        register("x"),
        rename("fx", "fx"),
        add("fx", "a"),
    ],
    ids=lambda asked: f"{asked.op}-{asked.asked}",
)
def test_the_same_request_is_applied_once_and_gets_the_same_answer(place: Place, asked: Change) -> None:
    store = place.open()
    store.apply(create("fx", "a", "b"))
    entry = store.apply(asked)
    contents = store.load()
    assert store.apply(asked) == entry
    assert place.open().apply(asked) == entry
    # Even if the pool has changed since, so that the same request would be a different change now.
    for later in (create("fx", "q"), add("fx", "later"), remove("fx", "x"), change("hosts.forget", "", "x")):
        try:
            store.apply(later)
        except RequestRefused:
            continue
        contents = store.load()
        assert store.apply(asked) == entry
    assert store.load() == contents
    assert [e.id for e in store.history()].count(entry.id) == entry.changed


@on_all
def test_a_request_id_belongs_to_one_change(store: PoolStore) -> None:
    store.apply(create("fx", "a", request="1"))
    assert refusal(store, create("fx", "b", request="1")) == Code.BAD_REQUEST
    assert refusal(store, delete("fx", request="1")) == Code.BAD_REQUEST
    store.apply(delete("fx", request="2"))
    assert refusal(store, delete("gx", request="2")) == Code.BAD_REQUEST
    assert store.load().pools == {}


@on_all
def test_two_people_may_use_the_same_request_id(store: PoolStore) -> None:
    store.apply(create("fx", request="1", by="anna"))
    store.apply(create("gx", request="1", by="ben"))
    assert set(store.load().pools) == {"fx", "gx"}


@on_all
def test_a_request_that_had_nothing_to_do_stays_without_effect(store: PoolStore) -> None:
    store.apply(create("fx", "a"))
    asked = add("fx", "a")
    assert not store.apply(asked).changed
    store.apply(remove("fx", "a"))
    assert not store.apply(asked).changed
    assert store.load().pools["fx"].hosts == ()
    assert [entry.op for entry in store.history()] == ["pools.remove_hosts", "pools.create"]


@on_all
def test_a_refused_request_may_be_sent_again(store: PoolStore) -> None:
    asked = add("fx", "b")
    assert refusal(store, asked) == Code.UNKNOWN_POOL
    store.apply(create("fx", "a"))
    assert store.apply(asked).changed


# --- history --------------------------------------------------------------------------------------------------------


@on_all
def test_history_has_the_newest_first_and_pages(store: PoolStore) -> None:
    made = [store.apply(create(f"pool-{number}")) for number in range(7)]
    newest_first = made[::-1]
    assert store.history() == newest_first
    assert store.history(limit=3) == newest_first[:3]
    assert store.history(limit=3, before=newest_first[2].id) == newest_first[3:6]
    assert store.history(before=made[0].id) == []


@on_all
def test_history_of_a_pool_goes_by_the_names_it_had_around_each_change(store: PoolStore) -> None:
    store.apply(create("other"))
    for asked in (create("fx"), add("fx", "a"), rename("fx", "gx"), add("gx", "b"), delete("gx")):
        store.apply(asked)
    assert [entry.op for entry in store.history(pool="fx")] == ["pools.rename", "pools.add_hosts", "pools.create"]
    assert [entry.op for entry in store.history(pool="gx")] == ["pools.delete", "pools.add_hosts", "pools.rename"]
    assert store.history(pool="gx", limit=1)[0].op == "pools.delete"
    assert store.history(pool="nobody") == []


@on_all
def test_history_keeps_its_order_when_a_clock_goes_back(store: PoolStore, monkeypatch: pytest.MonkeyPatch) -> None:
    first = store.apply(create("fx"))
    monkeypatch.setattr("afpools_broker.pools.history._last_tick", 0)
    monkeypatch.setattr("time.time_ns", lambda: 1_000_000_000)
    second = store.apply(add("fx", "a"))
    assert store.history(pool="fx") == [second, first]


# --- against the model ----------------------------------------------------------------------------------------------

_names = st.sampled_from(["fx", "gpu", "night"])
_hosts = st.lists(st.sampled_from(["a", "b", "c", "A", "pc-1"]), unique=True, max_size=4).map(tuple)
_texts = st.none() | st.sampled_from(["", "x", "y"])
_paths = st.sampled_from(["/", "/local/farm"])
_changes = st.one_of(
    st.builds(lambda n, p: change("pools.follow", n, path=p), _names, _paths),
    st.builds(lambda n: change("pools.unfollow", n), _names),
    st.builds(lambda n, h, d: create(n, *h, description=d or ""), _names, _hosts, _texts),
    st.builds(lambda n, h: add(n, *h), _names, _hosts),
    st.builds(lambda n, h: remove(n, *h), _names, _hosts),
    st.builds(rename, _names, _names),
    st.builds(delete, _names),
    st.builds(lambda n, d: change("pools.update", n, description=d), _names, _texts),
    st.builds(lambda n, to: change("pools.update", n, spill_to=to, spill_after=60), _names, st.just("") | _names),
    st.builds(lambda h: register(*h), _hosts),
    st.builds(lambda h: change("hosts.forget", "", *h), _hosts),
)


def model(pools: dict[str, Pool], asked: Change) -> Code | None:
    """A model of what any store has to do; the registered hosts are the pool without a name."""
    try:
        after = asked.apply(pools.get(asked.pool))
    except RequestRefused as refused:
        return refused.code
    if after is not None and after.name != asked.pool and lookalike(after.name, pools.keys() - {asked.pool, ""}):
        return Code.POOL_EXISTS
    pools.pop(asked.pool, None)
    if after is not None:
        pools[after.name] = after
    return None


def replayed(oldest_first: list[Entry]) -> dict[str, Pool]:
    """The pools according to history; also checks that each change begins where the last one ended."""
    pools = {"": Pool("")}
    for entry in oldest_first:
        old_name, new_name = entry.diff.name or (entry.pool, entry.pool)
        pool = pools.pop(old_name) if entry.before else Pool("")
        assert not entry.before or pool.revision == entry.before
        pool = replace(
            pool,
            name=new_name,
            hosts=(*(host for host in pool.hosts if host not in entry.diff.removed), *entry.diff.added),
            description=entry.diff.description[1] if entry.diff.description else pool.description,
            colour=entry.diff.colour[1] if entry.diff.colour else pool.colour,
            follows=entry.diff.follows[1] if entry.diff.follows else pool.follows,
            spill=entry.diff.spill[1] if entry.diff.spill else pool.spill,
        )
        if entry.after:
            assert pool.revision == entry.after
            assert len(pool.hosts) == entry.hosts
            pools[new_name] = pool
    return pools


@on_all
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(changes=st.lists(_changes, max_size=20))
def test_any_sequence_of_changes_does_what_the_model_does(make_place: MakePlace, changes: list[Change]) -> None:
    with opened(make_place()) as place:
        store = place.open()
        pools = {"": Pool("")}
        for asked in changes:
            expected = model(pools, asked)
            try:
                store.apply(asked)
                found = None
            except RequestRefused as refused:
                found = refused.code
            assert found == expected
        contents = store.load()
        assert {"": contents.registered, **contents.pools} == pools
        assert contents.problems == ()
        assert replayed(store.history(limit=500)[::-1]) == pools


# --- changes that are planned: undo ---------------------------------------------------------------------------------

FX = Pool("fx", ("a",))


class Refused:
    """The conflict of an outdated plan."""

    def becomes(self, present: Pool | None) -> Pool | None:
        raise RequestRefused(Code.CONFLICT, "It was undone already.")

    def takes_hosts(self, present: Pool | None) -> bool:
        return False


@on_all
def test_an_undo_is_a_change_like_any_other(store: PoolStore) -> None:
    created = store.apply(create("fx", "a"))
    undone = store.apply(undo(created.id, FX, None))
    assert (undone.op, undone.pool, undone.undoes, undone.after) == ("history.undo", "fx", created.id, "")
    assert store.load().pools == {}
    restored = store.apply(undo(undone.id, None, FX))
    assert store.load().pools == {"fx": FX}
    assert store.history() == [restored, undone, created]
    assert store.entry(undone.id) == undone


@on_all
def test_an_undo_meets_the_pool_that_it_was_planned_for_or_does_nothing(store: PoolStore) -> None:
    created = store.apply(create("fx", "a"))
    added = store.apply(add("fx", "b"))
    for plan in (undo(created.id, FX, None), undo(created.id, None, FX)):
        with pytest.raises(PlanOutdated):
            store.apply(plan)
    assert store.load().pools == {"fx": Pool("fx", ("a", "b"))}
    assert store.history() == [added, created]


@on_all
def test_a_change_that_adds_and_removes_hosts_does_both(store: PoolStore) -> None:
    created = store.apply(create("fx", "a", "b", "c"))
    before = Pool("fx", ("a", "b", "c"))
    store.apply(undo(created.id, before, Pool("fx", ("a", "c", "d"))))
    assert store.load().pools["fx"].hosts == ("a", "c", "d")


@on_all
def test_an_undo_sent_twice_is_recognised_although_its_plan_no_longer_fits(place: Place) -> None:
    store, other = place.open(), place.open()
    created = store.apply(create("fx", "a"))
    asked = undo(created.id, FX, None)
    undone = store.apply(asked)
    refused = replace(asked, deed=Refused())
    assert [each.apply(again) for each in (store, other) for again in (asked, refused)] == [undone] * 4
    assert refusal(store, replace(refused, request_id="another")) == Code.CONFLICT


@on_all
def test_the_trail_has_what_history_has_but_no_hosts(store: PoolStore) -> None:
    entries = [store.apply(asked) for asked in (create("fx", "a"), rename("fx", "gx"), register("b"), delete("gx"))]
    for number, entry in enumerate(entries):
        trail = store.trail(since=entry.id, limit=100)
        assert [step.id for step in trail] == [later.id for later in entries[number:]][::-1]
    assert [(step.op, step.pool, step.diff.name) for step in store.trail(since=entries[1].id, limit=2)] == [
        ("pools.delete", "gx", ("gx", "")),
        ("hosts.register", "", None),
    ]


@on_all
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(changes=st.lists(_changes, min_size=1, max_size=12), picks=st.lists(st.integers(0, 99), max_size=4))
def test_an_undo_after_any_changes_does_what_was_planned(
    make_place: MakePlace, changes: list[Change], picks: list[int]
) -> None:
    with opened(make_place()) as place:
        store = place.open()
        for asked in changes:
            with suppress(RequestRefused):
                store.apply(asked)
        for pick in picks:
            history = store.history(limit=500)
            if not history:
                return
            entry = history[pick % len(history)]
            before = store.load()
            undoing = Undoing(store.trail(since=entry.id, limit=100), before)
            try:
                pool, swap = undoing.pool_of(entry), undoing.plan(entry)
            except RequestRefused:
                assert undoing.why_not(entry)
                continue
            store.apply(planned(entry.id, pool, swap))
            expected = {"": before.registered, **before.pools}
            expected.pop(pool, None)
            if swap.result is not None:
                expected[swap.result.name] = swap.result
            contents = store.load()
            assert {"": contents.registered, **contents.pools} == expected
        assert set(replayed(store.history(limit=500)[::-1])) == {"", *store.load().pools}


# --- several at once ------------------------------------------------------------------------------------------------


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


# --- the list of renders --------------------------------------------------------------------------------------------

NOON = dt.datetime(2026, 8, 1, 12, tzinfo=dt.UTC)


@on_all
def test_the_newest_list_of_renders_is_kept(place: Place) -> None:
    store = place.open()
    store.save_farm(b"first", NOON)
    store.save_farm(b"second", NOON + dt.timedelta(milliseconds=1))
    store.save_farm(b"late", NOON)
    assert store.load_farm() == (b"second", NOON + dt.timedelta(milliseconds=1))
    assert place.open().load_farm() == store.load_farm()


@on_all
def test_a_list_of_renders_is_dated_to_the_millisecond(store: PoolStore) -> None:
    store.save_farm(b"", NOON + dt.timedelta(microseconds=1999))
    assert store.load_farm() == (b"", NOON + dt.timedelta(milliseconds=1))


@on_real
def test_a_list_of_renders_may_have_16_megabytes(store: PoolStore) -> None:
    data = (b'{"name": "render-%08d", "state": "ONL"}' % 1) * 430_000
    store.save_farm(data[: 16 * 1024 * 1024], NOON)
    kept = store.load_farm()
    assert kept is not None
    assert kept[0] == data[: 16 * 1024 * 1024]


# --- telling of changes ---------------------------------------------------------------------------------------------


class Watcher:
    """Follows a store on its own thread."""

    def __init__(self, store: PoolStore) -> None:
        self.stop = threading.Event()
        self.changes = 0
        self.signs = 0
        self.last_sign = time.monotonic()
        self.longest_silence = 0.0
        self._store = store
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        for sign in self._store.watch(self.stop):
            now = time.monotonic()
            self.longest_silence = max(self.longest_silence, now - self.last_sign)
            self.last_sign = now
            self.signs += 1
            self.changes += sign.changed

    def until(self, reached: Callable[[], bool], seconds: float) -> float:
        """Waits, and returns how long it took; fails after `seconds`."""
        start = time.monotonic()
        while not reached():
            assert time.monotonic() - start < seconds
            time.sleep(0.005)
        return time.monotonic() - start

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self._thread.join(10)
        assert not self._thread.is_alive()


# The factor by which something may take longer than promised on a machine that is busy with other tests.
SLACK = 15


@on_all
def test_watching_begins_with_a_change(store: PoolStore) -> None:
    stop = threading.Event()
    before = time.monotonic()
    signs = store.watch(stop)
    first = next(signs)
    assert first.changed
    assert before <= first.asked <= time.monotonic()
    stop.set()
    assert not any(sign.changed for sign in signs)


@on_real
def test_a_change_by_another_broker_is_seen_in_time(place: Place) -> None:
    mine, theirs = place.open(), place.open()
    theirs.apply(create("fx"))
    with Watcher(mine) as watcher:
        watcher.until(lambda: watcher.changes > 0, SLACK)
        for asked in (add("fx", "a"), register("b"), delete("fx")):
            # Until everything earlier has been reported.
            quiet = watcher.signs
            watcher.until(lambda quiet=quiet: watcher.signs >= quiet + 3, 4 * SLACK)  # type: ignore[misc]
            seen = watcher.changes
            theirs.apply(asked)
            watcher.until(lambda seen=seen: watcher.changes > seen, place.seconds_to_see * SLACK)  # type: ignore[misc]


@on_real
def test_data_that_does_not_affect_pools_is_not_reported_as_a_change(place: Place) -> None:
    mine, theirs = place.open(), place.open()
    theirs.apply(create("fx", "a"))
    with Watcher(mine) as watcher:
        watcher.until(lambda: watcher.signs >= 3, 4 * SLACK)
        seen, signs = watcher.changes, watcher.signs
        for number in range(5):
            assert 0 < theirs.probe() < 20
            theirs.save_farm(b"renders", NOON + dt.timedelta(seconds=number))
        watcher.until(lambda: watcher.signs >= signs + 4, 4 * SLACK)
        assert watcher.changes == seen


@on_real
def test_an_unchanged_store_gives_signs_of_life(store: PoolStore) -> None:
    store.load()
    with Watcher(store) as watcher:
        watcher.until(lambda: watcher.signs >= 4, 4 * SLACK)
        assert watcher.changes == 1
        assert watcher.longest_silence < 1.1 * SLACK


@on_real
def test_watching_ends_soon_after_it_is_told_to(store: PoolStore) -> None:
    with Watcher(store) as watcher:
        watcher.until(lambda: watcher.changes > 0, SLACK)
        watcher.stop.set()
        watcher._thread.join(1 * SLACK)
        assert not watcher._thread.is_alive()


# --- following, a pool at a time ------------------------------------------------------------------------------------


def _by_hand(place: Place, name: str, host: str) -> None:
    """Somebody edits the database itself: a pool gets another host, none, or another name, or goes; or there is one."""
    if place.kind == "sqlite":
        with sqlite3.connect(place.uri.removeprefix("sqlite:///"), timeout=PATIENT) as db:
            db.execute("UPDATE pools SET hosts = json_array(?) WHERE name = ?", (host, name))
            db.execute("UPDATE OR IGNORE pools SET name = ? WHERE name = 'c'", (host,))
            db.execute("DELETE FROM pools WHERE name = ?", (f"{name}x",))
            db.execute(
                "INSERT OR IGNORE INTO pools (name, hosts, description, colour) VALUES (?, '[\"y\"]', '', '')",
                (f"{host}{name}",),
            )
        db.close()
        return
    with pymongo.MongoClient[dict[str, Any]](place.uri) as client:
        pools = client.get_default_database()["pools"]
        # The last edit keeps length and change: only the whole document shows it.
        pools.update_one({"name": name}, {"$set": {"clients": [{"hostname": host}]}})
        pools.update_one({"name": name}, {"$set": {"clients.0.hostname": host.swapcase()}})
        pools.insert_one({"name": f"{host}{name}", "clients": [{"hostname": "y"}]})
        pools.insert_one({"name": "twice", "clients": []}) if host == "x" else pools.delete_one({"name": "twice"})


@on_real
@settings(
    max_examples=4,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    rounds=st.lists(
        st.tuples(st.lists(st.tuples(st.booleans(), _changes), max_size=6), _names, st.sampled_from("xyz")),
        min_size=2,
        max_size=3,
    )
)
def test_following_gives_the_same_as_reading_everything_again(
    make_place: MakePlace, rounds: list[tuple[list[tuple[bool, Change]], str, str]]
) -> None:
    with opened(make_place()) as place:
        mine, theirs = place.open(), place.open()
        theirs.apply(create("a", "x"))
        with following(mine) as keeper:
            for changes, name, host in rounds:
                for here, asked in changes:
                    with suppress(RequestRefused):
                        if here:
                            entry = keeper.apply(asked)
                            pool = keeper.current.contents.pools.get(entry.pool)
                            assert not entry.pool or (pool.revision if pool else "") == entry.after
                        else:
                            theirs.apply(asked)
                wait_until(lambda: keeper.current.contents == theirs.load())
                with suppress(sqlite3.IntegrityError, DuplicateKeyError):
                    _by_hand(place, name, host)
                wait_until(lambda: keeper.current.contents == theirs.load())
            assert not keeper.trouble
