"""What history says about changes, and about those that were taken back."""

from __future__ import annotations

from tests.desk import Desk


def test_history_shows_who_did_what(desk: Desk) -> None:
    desk.ok("pools.create", pool="fx", hosts=["pc-01"])
    desk.ok("pools.add_hosts", pool="fx", hosts=["pc-01"])  # as asked for already
    desk.ok("pools.add_hosts", pool="fx", hosts=["pc-02"])
    added, created = desk.ok("history.list")["entries"]
    assert (created["op"], created["who"], created["pool"]) == ("pools.create", "anna", "fx")
    assert added["diff"] == {"added": ["pc-02"]}
    assert added["before"] == created["after"]
    assert {"key", "digest"}.isdisjoint(added)
    assert desk.ok("history.list", limit=1)["entries"] == [added]
    assert desk.ok("history.list", before=added["id"])["entries"] == [created]


def test_a_change_sent_again_after_it_was_undone_changes_nothing(desk: Desk) -> None:
    desk.ok("pools.create", pool="fx", hosts=["pc-01", "pc-03"])
    first = desk.ok("pools.add_hosts", pool="fx", hosts=["pc-05"], request_id="again-1")
    desk.ok("pools.remove_hosts", pool="fx", hosts=["pc-05"])
    assert desk.ok("pools.add_hosts", pool="fx", hosts=["pc-05"], request_id="again-1") == first
    assert desk.ok("pools.get", pool="fx")["pool"]["hosts"] == ["pc-01", "pc-03"]
    assert desk.ok("mask", pool="fx")["mask"] == "pc-02|pc-04|pc-05"
    desk.ok("pools.create", pool="g", hosts=["pc-01"])
    desk.ok("pools.delete", pool="g", request_id="again-2")
    desk.ok("pools.create", pool="g", hosts=["pc-01"])
    desk.ok("pools.delete", pool="g", request_id="again-2")
    assert [pool["name"] for pool in desk.ok("pools.list")["pools"]] == ["fx", "g"]
