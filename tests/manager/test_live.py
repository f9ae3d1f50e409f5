"""The stream of changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.studio import Studio

from afpools import Client, HostSummary
from afpools.profile import Profile
from afpools_tools.manager.jobs import JobsStatus
from afpools_tools.manager.live import Live, PoolRow, Status, View, difference
from afpools_tools.manager.usage import Usage

from .conftest import Manager, until

FX = PoolRow("fx", 1, "r1", "", "", 1, 0, 1)
PC = HostSummary("pc-01", ("online",))


def test_the_first_message_has_everything() -> None:
    view = View(pools={"fx": FX}, hosts={"pc-01": PC}, status=Status(reachable=True))
    assert difference(None, view) == {
        "whole": True,
        "pools": [FX],
        "pools_gone": [],
        "hosts": [PC],
        "hosts_gone": [],
        "jobs": [],
        "jobs_gone": [],
        "status": Status(reachable=True),
        "jobs_status": JobsStatus()._asdict(),
    }


def test_a_later_message_has_what_changed() -> None:
    shown = View(
        pools={"fx": FX, "old": FX._replace(name="old")}, hosts={"pc-01": PC, "pc-02": PC._replace(name="pc-02")}
    )
    busy = PC._replace(states=("online", "busy"))
    now = View(pools={"fx": FX, "new": FX._replace(name="new")}, hosts={**shown.hosts, "pc-01": busy})
    assert difference(shown, now) == {
        "whole": False,
        "pools": [FX._replace(name="new")],
        "pools_gone": ["old"],
        "hosts": [busy],
        "hosts_gone": [],
    }


def test_unchanged_parts_are_not_sent() -> None:
    view = View(pools={"fx": FX}, hosts={"pc-01": PC})
    assert difference(view, View(pools=view.pools, hosts=view.hosts)) == {"whole": False}


class Page:
    """The state of a page, built from the messages."""

    def __init__(self, messages: Any) -> None:
        self._messages = messages
        self.rows: dict[str, dict[str, list[Any]]] = {"pools": {}, "hosts": {}}
        self.status: dict[str, Any] = {}

    def wait_for(self, condition: Callable[[Page], bool]) -> None:
        while not condition(self):
            message = next(self._messages)
            for name, rows in self.rows.items():
                if message["whole"]:
                    rows.clear()
                for gone in message.get(f"{name}_gone", ()):
                    del rows[gone]
                rows.update({row[0]: row for row in message.get(name, ())})
            self.status = message.get("status", self.status)


def test_changes_made_elsewhere_arrive_by_themselves(manager: Manager, elsewhere: Client) -> None:
    with manager.stream() as messages:
        page = Page(messages)
        elsewhere.create_pool("fx", ["pc-[01-03]"], colour="#3f7ae0")
        page.wait_for(lambda page: "fx" in page.rows["pools"] and len(page.rows["hosts"]) == 3)
        assert page.rows["pools"]["fx"][1] == 3
        assert page.rows["hosts"]["pc-02"][-1] == ["fx"]
        elsewhere.rename_pool("fx", "sim")
        page.wait_for(lambda page: list(page.rows["pools"]) == ["sim"])
        elsewhere.delete_pool("sim")
        page.wait_for(lambda page: not page.rows["pools"])


def test_if_the_broker_goes_down_the_last_state_stays_until_it_is_back(
    manager: Manager, elsewhere: Client, place: Studio
) -> None:
    elsewhere.create_pool("fx", ["pc-01"])
    with manager.stream() as messages:
        page = Page(messages)
        page.wait_for(lambda page: page.status.get("reachable", False) and "fx" in page.rows["pools"])
        for name in ("anna", "carl"):
            place.authority.revoke(name)
        place.broker.credentials.refresh()
        page.wait_for(lambda page: not page.status["reachable"])
        assert page.status["since"] > 0
        assert page.status["error"]
        assert "fx" in page.rows["pools"]


def test_a_bug_is_reported_rather_than_an_old_state_shown(
    place: Studio, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = Client(Profile.load(str(place.profile("anna"))))
    monkeypatch.setattr(client, "list_hosts", lambda: 1 / 0)
    live = Live(client, Usage())
    live.start()
    try:
        until(lambda: live.view.status.since)
        assert not live.view.status.reachable
        assert "terminal" in live.view.status.error
        assert "ZeroDivisionError" in caplog.text
        monkeypatch.undo()
        live.look_now()
        until(lambda: live.view.status.reachable)
    finally:
        live.stop()


def test_two_pages_see_the_same(manager: Manager) -> None:
    with manager.stream() as one, manager.stream() as other:
        manager.write("pools/create", pool="fx", hosts="pc-[01-02]")
        for messages in (one, other):
            Page(messages).wait_for(lambda page: "fx" in page.rows["pools"])
