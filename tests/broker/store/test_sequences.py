"""Any sequence of changes, and what is undone after it, does what is said, on every kind of store."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import Any

import pymongo
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo.errors import DuplicateKeyError
from tests.broker.store.places import (
    CHANGES,
    NAMES,
    PATIENT,
    MakePlace,
    Place,
    create,
    following,
    model,
    on_all,
    on_real,
    opened,
    planned,
    replayed,
    wait_until,
)

from afpools_broker.pools.changes import Change
from afpools_broker.pools.pool import Pool
from afpools_broker.pools.undo import Undoing
from afpools_broker.protocol import RequestRefused


@on_all
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(changes=st.lists(CHANGES, max_size=20))
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


@on_all
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(changes=st.lists(CHANGES, min_size=1, max_size=12), picks=st.lists(st.integers(0, 99), max_size=4))
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
        st.tuples(st.lists(st.tuples(st.booleans(), CHANGES), max_size=6), NAMES, st.sampled_from("xyz")),
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
