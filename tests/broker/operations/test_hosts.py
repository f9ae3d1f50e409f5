"""Hosts that are registered by hand."""

from __future__ import annotations

from tests.desk import Desk


def test_registered_hosts_are_known_hosts(desk: Desk) -> None:
    desk.ok("pools.create", pool="fx", hosts=["pc-01", "pc-03"])
    desk.ok("hosts.register", hosts=["NEW-[1-2]"])
    assert desk.ok("mask", pool="fx")["mask"] == "new-1|new-2|pc-02|pc-04|pc-05"
    hosts = {host["name"]: host for host in desk.ok("hosts.list")["hosts"]}
    assert hosts["new-1"] == {"name": "new-1", "registered": True}
    assert hosts["pc-01"] == {"name": "pc-01", "states": ["online"], "engine": "3.4.1", "pools": ["fx"]}
    desk.ok("hosts.forget", hosts=["new-1"])
    assert desk.ok("mask", pool="fx")["mask"] == "new-2|pc-02|pc-04|pc-05"
