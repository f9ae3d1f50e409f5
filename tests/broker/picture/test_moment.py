"""What one answer depends on: a snapshot, its age, and the farm's."""

from __future__ import annotations

import datetime as dt

from tests.desk import FARM, NOW, Desk

from afpools_broker.protocol import Code


def test_an_old_list_of_renders_is_flagged_and_later_refused_if_it_matters(desk: Desk) -> None:
    desk.ok("pools.create", pool="fx", hosts=["pc-01"])
    for minutes, stale in ((0.5, False), (2, True), (59, True)):
        desk.now[0] = NOW + dt.timedelta(minutes=minutes)
        result = desk.ok("mask", pool="fx")
        assert (result["farm_is_stale"], result["farm_age"]) == (stale, minutes * 60)
        assert desk.ok("hosts.list")["farm_is_stale"] is stale
    desk.now[0] = NOW + dt.timedelta(minutes=61)
    assert desk.code("mask", pool="fx") == Code.FARM_UNAVAILABLE
    assert desk.code("mask", pool="fx", style="complement", accept=["find"]) == Code.FARM_UNAVAILABLE
    complement = desk.ok("mask", pool="fx", style="complement")
    assert (complement["style"], complement["farm_is_stale"]) == ("complement", False)
    desk.see(*FARM)
    assert desk.ok("mask", pool="fx")["farm_is_stale"] is False
