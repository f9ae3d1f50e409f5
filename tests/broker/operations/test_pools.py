"""The operations that change a pool."""

from __future__ import annotations

import pytest
from tests.desk import Desk

from afpools_broker.protocol import Code


def test_an_author_reads_back_the_change_at_once(desk: Desk) -> None:
    desk.ok("pools.create", pool="fx", hosts=["pc-[01-02]"], description="effects", colour="#ff8800")
    made = desk.ok("pools.get", pool="fx")["pool"]
    assert made["hosts"] == ["pc-01", "pc-02"]
    desk.ok("pools.add_hosts", pool="fx", hosts=["pc-03"])
    assert desk.ok("pools.get", pool="fx")["pool"]["hosts"] == ["pc-01", "pc-02", "pc-03"]
    desk.ok("pools.remove_hosts", pool="fx", hosts=["PC-01"])
    desk.ok("pools.update", pool="fx", description="more effects")
    desk.ok("pools.rename", pool="fx", new_name="vfx")
    renamed = desk.ok("pools.get", pool="vfx")["pool"]
    assert renamed == {
        "name": "vfx",
        "hosts": ["pc-02", "pc-03"],
        "description": "more effects",
        "colour": "#ff8800",
        "revision": renamed["revision"],
    }
    assert desk.code("pools.get", pool="fx") == Code.UNKNOWN_POOL
    desk.ok("pools.delete", pool="vfx")
    assert desk.ok("pools.list")["pools"] == []


def test_a_write_on_an_old_revision_is_a_conflict(desk: Desk) -> None:
    revision = desk.ok("pools.create", pool="fx")["revision"]
    desk.ok("pools.add_hosts", pool="fx", hosts=["pc-01"], if_revision=revision)
    assert desk.code("pools.add_hosts", pool="fx", hosts=["pc-02"], if_revision=revision) == Code.CONFLICT


@pytest.mark.parametrize(
    ("entered", "removed"),
    [("pc-01", True), ("PC-01", True), ("pc-01.studio.lan", True), ("pc-01.other.lan", False), ("pc-1", False)],
)
def test_a_host_can_be_taken_out_however_it_was_entered(desk: Desk, entered: str, removed: bool) -> None:
    desk.ok("pools.create", pool="fx", hosts=["PC-01.Studio.lan"])
    if removed:
        assert desk.ok("pools.remove_hosts", pool="fx", hosts=[entered])["hosts"] == 0
    else:
        assert desk.code("pools.remove_hosts", pool="fx", hosts=[entered]) == "bad_request"


def test_a_name_that_looks_like_another_pools_is_refused_and_that_pool_named(desk: Desk) -> None:
    desk.ok("pools.create", pool="caf\u00e9")
    assert desk.ask("pools.create", pool="CAFE\u0301")["error"] == {
        "code": Code.POOL_EXISTS,
        "message": "The name 'CAFE\\u0301' looks like that of the pool 'caf\u00e9', and a job could be sent to the "
        "wrong one. Choose another name, or change that pool.",
    }
    made = desk.ok("pools.rename", pool="caf\u00e9", new_name="Caf\u00e9")
    desk.ok("pools.create", pool="CAFETERIA")
    undone = desk.ok("pools.rename", pool="Caf\u00e9", new_name="bar")
    desk.ok("pools.rename", pool="CAFETERIA", new_name="CAF\u00c9")
    assert "looks like that of the pool" in desk.ask("history.undo", entry=undone["change"])["error"]["message"]
    why = {entry["id"]: entry["why_not"] for entry in desk.ok("history.list")["entries"]}
    assert "looks like that of the pool" in why[undone["change"]]
    assert "is now called" in why[made["change"]]
