"""A request for pools is told how many of their machines are available, or nothing if that is unknown."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.afserver import afserver, renders_answer
from tests.broker.monitoring.test_health import wait_for
from tests.broker.store.places import PATIENT
from tests.desk import FARM, MANAGER, NOW, Desk, open_desk
from tests.studio import studio

from afpools import Client, Profile
from afpools_broker.farm.farm import Render
from afpools_broker.operations import Sender
from afpools_broker.protocol import Role
from afpools_broker.service import Later

ONLINE, OFFLINE = ("online",), ("offline",)
LIST = b'{"v":1,"id":"7","op":"pools.list","params":{}}'


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """Of the farm pc-01 … pc-05, fx has three, one of them under its full name, and night has none."""
    with open_desk(tmp_path / "pools.sqlite") as desk:
        desk.ok("pools.create", pool="fx", hosts=["PC-01.studio.lan", "pc-02", "pc-03", "gone"], new_hosts=True)
        desk.ok("pools.create", pool="night", hosts=["old-1"], new_hosts=True)
        desk.ok("pools.create", pool="empty")
        yield desk


def counts(desk: Desk) -> dict[str, tuple[int | None, int | None]]:
    listed = desk.ok("pools.list")["pools"]
    return {pool["name"]: (pool.get("renders"), pool.get("online")) for pool in listed}


def states(desk: Desk, *online: str) -> None:
    """These renders of the farm are online, the others are not."""
    desk.see_renders(*(Render(name, ONLINE if name in online else OFFLINE, engine="3.4.1") for name in FARM))


def test_the_list_says_how_many_hosts_are_renders_and_online(desk: Desk) -> None:
    assert counts(desk) == {"empty": (0, 0), "fx": (3, 3), "night": (0, 0)}
    states(desk, "pc-01", "pc-04")
    assert counts(desk)["fx"] == (3, 1)
    mask = desk.ok("mask", pool="fx", style="complement")
    assert (mask["pool_renders"], mask["pool_online"]) == (3, 1)
    desk.ok("pools.add_hosts", pool="fx", hosts=["pc-04"])
    assert counts(desk)["fx"] == (4, 2)
    desk.see(*FARM, "gone")
    assert counts(desk)["fx"] == (5, 5)


def test_a_kept_list_is_outdated_when_a_render_of_a_pool_comes_or_goes(desk: Desk) -> None:
    revision = desk.ok("pools.list")["revision"]
    states(desk, *FARM)
    assert desk.ok("pools.list", if_revision=revision)["unchanged"] is True
    states(desk, "pc-01")
    changed = desk.ok("pools.list", if_revision=revision)
    assert changed["revision"] != revision
    states(desk, *FARM)
    assert desk.ok("pools.list", if_revision=changed["revision"])["revision"] == revision


def test_a_farm_that_is_all_offline_says_nothing_about_a_pool(desk: Desk) -> None:
    states(desk)
    assert counts(desk) == {"empty": (0, None), "fx": (3, None), "night": (0, None)}
    mask = desk.ok("mask", pool="fx", style="complement")
    assert (mask["pool_renders"], mask["pool_online"]) == (3, None)
    states(desk, "pc-05")
    assert counts(desk)["fx"] == (3, 0)


def test_an_old_list_of_renders_is_not_used_for_counts(desk: Desk) -> None:
    counted = desk.ok("pools.list")["revision"]
    desk.now[0] = NOW + dt.timedelta(minutes=2)
    assert counts(desk)["fx"] == (None, None)
    assert "unchanged" not in desk.ok("pools.list", if_revision=counted)
    mask = desk.ok("mask", pool="fx", style="complement")
    assert (mask["pool_renders"], mask["pool_online"]) == (None, None)
    desk.see(*FARM)
    assert counts(desk)["fx"] == (3, 3)


def test_nothing_is_counted_without_a_list_of_renders(tmp_path: Path) -> None:
    with open_desk(tmp_path / "by-hand.sqlite", by_hand=True) as desk:
        desk.ok("pools.create", pool="fx", hosts=["pc-01"])
        assert counts(desk) == {"fx": (None, None)}
        assert desk.ok("mask", pool="fx")["pool_renders"] is None
    with open_desk(tmp_path / "unseen.sqlite", seen=False) as desk:
        desk.ok("pools.create", pool="fx", hosts=["pc-01"])
        assert counts(desk) == {"fx": (None, None)}


def test_the_first_count_is_done_by_a_worker_and_later_ones_by_the_farms_thread(desk: Desk) -> None:
    asker = Sender(MANAGER, "127.0.0.1:40000")
    first = desk.service.answer(asker, LIST)
    assert isinstance(first, Later)
    first.work()
    assert isinstance(desk.service.answer(asker, LIST), bytes)
    states(desk, "pc-01")
    assert isinstance(desk.service.answer(asker, LIST), bytes)
    assert counts(desk)["fx"] == (3, 1)


def test_a_long_list_is_assembled_by_a_worker_on_first_use(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("afpools_broker.picture.tally._FEW", 2)
    asker = Sender(MANAGER, "127.0.0.1:40000")
    first = desk.ok("pools.list")
    assert isinstance(desk.service.answer(asker, LIST), bytes)
    desk.ok("pools.add_hosts", pool="empty", hosts=["pc-05"])
    # A client with the previous or the present list does not wait for those that want all of it.
    assert isinstance(desk.service.answer(asker, LIST), Later)
    changed = desk.ok("pools.list", if_revision=first["revision"])
    assert [pool["name"] for pool in changed["pools"]] == ["empty", "fx", "night"]
    desk.ok("pools.remove_hosts", pool="empty", hosts=["pc-05"])
    unchanged = LIST.replace(b"{}", b'{"if_revision":"%b"}' % first["revision"].encode())
    answer = desk.service.answer(asker, unchanged)
    assert isinstance(answer, bytes)
    assert b'"unchanged":true' in answer


def test_health_names_pools_without_a_render_but_not_those_that_are_offline(tmp_path: Path) -> None:
    with (
        afserver(renders_answer(["pc-01", "pc-02"])) as farm,
        studio(tmp_path, farm={"server": f"127.0.0.1:{farm.address[1]}"}) as place,
        Client(Profile.load(place.profile("anna", Role.MANAGER)), timeout=PATIENT) as anna,
    ):
        anna.create_pool("night", ["old-1"], new_hosts=True)
        anna.create_pool("fx", ["pc-01", "old-2"], new_hosts=True)
        anna.create_pool("empty")
        wait_for(place, lambda report: report.farm.reachable and report.store.writable)
        (problem,) = place.broker._health.report().problems
        assert problem == (
            "No host of the pool 'night' is a render of this farm, so a job there waits forever. "
            "Check how its hosts are spelled, or register those that are not set up yet."
        )
        anna.register_hosts(["old-1"])
        assert place.broker._health.report().problems == []
        for number in range(12):
            anna.create_pool(f"p{number:02}", ["old-2"], new_hosts=True)
        (problem,) = place.broker._health.report().problems
        assert problem.startswith("No host of each of the pools 'p00', 'p01'")
        assert "'p09' and 2 more" in problem
