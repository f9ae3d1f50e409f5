"""The contract of every store, on every kind of store."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.broker.store.places import (
    Place,
    Refused,
    add,
    change,
    create,
    delete,
    mirroring,
    on_all,
    on_real,
    refusal,
    register,
    remove,
    rename,
    undo,
)

from afpools_broker.pools.changes import Change, PlanOutdated
from afpools_broker.pools.history import Diff
from afpools_broker.pools.pool import Contents, Pool
from afpools_broker.protocol import Code, RequestRefused
from afpools_broker.store import PoolStore

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


# --- changes that are planned: undo ---------------------------------------------------------------------------------

FX = Pool("fx", ("a",))


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
