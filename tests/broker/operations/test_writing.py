"""How a change is made, and what a refusal says.

`made` is false if nothing was changed, and absent if that is unknown.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.desk import NOW, Desk

from afpools_broker.farm.farm import Farm, Render
from afpools_broker.operations.pools import PoolsAddHosts
from afpools_broker.pools.changes import Change
from afpools_broker.pools.history import Entry
from afpools_broker.protocol import Code
from afpools_broker.store import StoreUnavailable


def test_a_write_sent_twice_is_applied_once_and_answered_alike(desk: Desk) -> None:
    first = desk.ok("pools.create", pool="fx", hosts=["pc-01"], request_id="same")
    desk.ok("pools.add_hosts", pool="fx", hosts=["pc-02"])
    assert desk.ok("pools.create", pool="fx", hosts=["pc-01"], request_id="same") == first
    assert len(desk.ok("pools.get", pool="fx")["pool"]["hosts"]) == 2
    assert desk.code("pools.delete", pool="fx", request_id="same") == Code.BAD_REQUEST


def test_without_afserver_a_host_that_leaves_its_pool_is_still_excluded(make: Callable[..., Desk]) -> None:
    desk = make(by_hand=True)
    desk.ok("pools.create", pool="fx", hosts=["pc-01"])
    desk.ok("pools.create", pool="night", hosts=["pc-01", "pc-02"])
    desk.ok("pools.add_hosts", pool="night", hosts=["pc-03"])
    desk.ok("pools.remove_hosts", pool="night", hosts=["pc-02"])
    assert desk.ok("mask", pool="fx")["mask"] == "pc-02|pc-03"
    desk.ok("pools.delete", pool="night")
    assert desk.ok("mask", pool="fx")["mask"] == "pc-02|pc-03"


def test_without_afserver_a_host_that_another_broker_has_just_added_is_excluded(make: Callable[..., Desk]) -> None:
    desk = make(by_hand=True)
    desk.ok("pools.create", pool="fx", hosts=["pc-01"])
    desk.ok("pools.create", pool="night", hosts=["pc-02"])
    desk.ok("pools.create", pool="day", hosts=["pc-03"])
    desk.keeper.stop(wait=5)  # it no longer hears what others write
    for pool in ("night", "day"):
        added = PoolsAddHosts(request_id=pool, pool=pool, hosts=[f"{pool.upper()}-01.lan"])
        desk.store.apply(added.change("bob"))
    desk.ok("pools.remove_hosts", pool="night", hosts=["night-01"])
    # The pool that is changed here is read afresh; the others are as last heard.
    assert desk.ok("mask", pool="fx")["mask"] == "night-01|pc-02|pc-03"
    desk.store.apply(PoolsAddHosts(request_id="2", pool="day", hosts=["day-02"]).change("bob"))
    desk.ok("pools.delete", pool="day", request_id="gone")
    assert desk.ok("mask", pool="fx")["mask"] == "day-01|day-02|night-01|pc-02|pc-03"
    # If it is sent again, it does not take back what was done since.
    desk.ok("hosts.forget", hosts=["day-02"])
    desk.ok("pools.delete", pool="day", request_id="gone")
    assert desk.ok("mask", pool="fx")["mask"] == "day-01|night-01|pc-02|pc-03"


def away(*_: object, **__: object) -> None:
    raise StoreUnavailable("The database at db:27017 does not answer.")


def test_a_broker_that_stops_certainly_changes_nothing(desk: Desk) -> None:
    desk.keeper.refuse_writes("The broker is stopping.")
    error = desk.ask("pools.create", pool="fx")["error"]
    assert (error["code"], error["made"]) == (Code.STORE_UNAVAILABLE, False)


def test_a_change_that_could_not_be_planned_was_not_made(desk: Desk, monkeypatch) -> None:
    made = desk.ok("pools.create", pool="fx")
    monkeypatch.setattr(desk.store, "trail", away)
    error = desk.ask("history.undo", entry=made["change"])["error"]
    assert (error["code"], error["made"]) == (Code.STORE_UNAVAILABLE, False)


def test_a_store_that_does_not_answer_in_time_may_have_made_the_change(desk: Desk, monkeypatch) -> None:
    monkeypatch.setattr(desk.store, "apply", away)
    error = desk.ask("pools.create", pool="fx")["error"]
    assert error["code"] == Code.STORE_UNAVAILABLE
    assert "made" not in error
    assert error["message"].startswith("Whether the change was made is not known")


def test_a_change_whose_second_step_failed_is_reported_as_made(make: Callable[..., Desk], monkeypatch) -> None:
    desk = make(by_hand=True)
    desk.ok("pools.create", pool="night", hosts=["pc-02"])
    desk.keeper.stop(wait=5)  # it no longer hears what others write
    desk.store.apply(PoolsAddHosts(request_id="1", pool="night", hosts=["pc-09"]).change("bob"))
    apply = desk.store.apply

    def once(change: Change) -> Entry:
        entry = apply(change)
        if change.op == "pools.delete":
            monkeypatch.setattr(desk.store, "apply", away)
        return entry

    monkeypatch.setattr(desk.store, "apply", once)
    error = desk.ask("pools.delete", pool="night", request_id="gone")["error"]
    assert "made" not in error
    assert error["message"].startswith("The change was made, but the hosts that left the pool may not be registered")
    monkeypatch.setattr(desk.store, "apply", apply)
    desk.ok("pools.delete", pool="night", request_id="gone")
    assert {host["name"] for host in desk.ok("hosts.list")["hosts"]} == {"pc-02", "pc-09"}


def test_an_import_that_stops_in_the_middle_says_what_was_imported(desk: Desk, monkeypatch) -> None:
    renders = tuple(Render(f"pc-{n}", ("online",), native_pool=f"/local/{n}") for n in range(3))
    desk.keeper.see_farm(Farm(renders, NOW, known_since=time.monotonic() + 3600))
    apply = desk.store.apply

    def two(change: Change) -> Entry:
        if change.pool == "local/2":
            desk.keeper.refuse_writes("The broker is stopping.")
            away()
        return apply(change)

    monkeypatch.setattr(desk.store, "apply", two)
    error = desk.ask("pools.import_native", request_id="once")["error"]
    assert error["message"].startswith("2 of 3 pools of Afanasy are imported; then: ")
    assert "made" not in error
    monkeypatch.setattr(desk.store, "apply", apply)
    desk.keeper.refuse_writes("")
    assert [pool["created"] for pool in desk.ok("pools.import_native", request_id="once")["pools"]] == [True] * 3
    assert len(desk.ok("history.list")["entries"]) == 3


def test_with_an_unreachable_store_writes_are_refused_and_reads_answered(desk: Desk, monkeypatch) -> None:
    desk.ok("pools.create", pool="fx", hosts=["pc-01"])

    for method in ("apply", "load", "history", "ping"):
        monkeypatch.setattr(desk.store, method, away)
    assert desk.code("pools.delete", pool="fx") == Code.STORE_UNAVAILABLE
    assert desk.code("history.list") == Code.STORE_UNAVAILABLE
    assert desk.ok("pools.list")["pools"][0]["name"] == "fx"
    assert desk.ok("mask", pool="fx")["mask"]
