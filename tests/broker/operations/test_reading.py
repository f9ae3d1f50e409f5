"""The operations that only read."""

from __future__ import annotations

from tests.desk import READER, Desk

from afpools_broker.operations import OPERATIONS


def test_the_list_of_pools_is_cheap_if_nothing_has_changed(desk: Desk) -> None:
    desk.ok("pools.create", pool="fx")
    first = desk.ok("pools.list")
    again = desk.ok("pools.list", if_revision=first["revision"])
    assert again["unchanged"] is True
    assert "pools" not in again
    desk.ok("pools.add_hosts", pool="fx", hosts=["pc-01"])
    changed = desk.ok("pools.list", if_revision=first["revision"])
    assert changed["pools"][0]["hosts"] == 1
    assert changed["revision"] != first["revision"]


def test_hello_says_what_a_peer_may_do(desk: Desk) -> None:
    manager, reader = desk.ask("hello")["result"], desk.ask("hello", READER)["result"]
    assert (manager["name"], manager["role"]) == ("anna", "manager")
    assert set(manager["operations"]) == set(OPERATIONS)
    assert set(reader["operations"]) == {
        "hello",
        "health",
        "jobs.list",
        "pools.list",
        "pools.get",
        "hosts.list",
        "mask",
        "farm.system_pool",
    }
