"""The list of hosts, whole and in pages."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.desk import READER, Desk, open_desk

from afpools_broker.farm.farm import Render
from afpools_broker.picture import host_list
from afpools_broker.protocol import Code


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Desk]]:
    with open_desk(tmp_path / "pools.sqlite") as made:
        yield lambda: made


@pytest.fixture
def desk(make: Callable[..., Desk]) -> Desk:
    desk = make()
    desk.ok("pools.create", pool="fx", hosts=["pc-01", "pc-02"])
    desk.ok("pools.create", pool="gpu", hosts=["pc-02", "later-1"], new_hosts=True)
    desk.ok("hosts.register", hosts=["later-2"])
    return desk


def walk(desk: Desk, limit: int) -> list[dict[str, Any]]:
    """All pages in order."""
    hosts: list[dict[str, Any]] = []
    params: dict[str, Any] = {"limit": limit}
    while True:
        page = desk.ok("hosts.list", **params)
        assert 1 <= len(page["hosts"]) <= limit
        hosts += page["hosts"]
        if page["next"] is None:
            return hosts
        assert page["next"] == page["hosts"][-1]["name"]
        params["after"] = page["next"]


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 100_000])
def test_the_pages_together_make_the_whole_list(desk: Desk, limit: int) -> None:
    whole = desk.ok("hosts.list")
    assert whole["next"] is None
    assert walk(desk, limit) == whole["hosts"]
    by_name = {host["name"]: host for host in whole["hosts"]}
    assert by_name["pc-02"] == {"name": "pc-02", "states": ["online"], "engine": "3.4.1", "pools": ["fx", "gpu"]}
    assert by_name["later-2"] == {"name": "later-2", "registered": True}


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(limit=st.integers(1, 8), block=st.integers(1, 12), page_bytes=st.integers(1, 400))
def test_how_it_is_divided_makes_no_difference(desk: Desk, limit: int, block: int, page_bytes: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host_list, "_BLOCK_MEMBERSHIPS", block)
        patch.setattr(host_list, "_PAGE_BYTES", page_bytes)
        patch.setattr(host_list, "_MOST_KEPT", 0)
        desk.see_renders(*(Render(f"pc-0{number}", ("online",), engine="3.4.1") for number in range(1, 6)))
        assert walk(desk, limit) == desk.ok("hosts.list")["hosts"]


def test_a_page_begins_after_a_name_that_need_not_exist(desk: Desk) -> None:
    page = desk.ok("hosts.list", after="pc-01a", limit=2)
    assert [host["name"] for host in page["hosts"]] == ["pc-02", "pc-03"]
    assert desk.ok("hosts.list", after="zz", limit=2)["hosts"] == []


def test_the_revision_depends_on_pools_and_names_but_not_on_states(desk: Desk) -> None:
    def revision() -> Any:
        return desk.ok("hosts.list", limit=1)["revision"]

    first = revision()
    desk.see_renders(*(Render(f"pc-0{number}", ("online", "busy"), engine="3.4.1") for number in range(1, 6)))
    assert revision() == first == desk.ok("hosts.list")["revision"]
    desk.see("pc-01", "pc-02", "pc-03", "pc-04", "pc-05", "pc-06")
    second = revision()
    desk.ok("pools.remove_hosts", pool="gpu", hosts=["pc-02"])
    third = revision()
    desk.ok("hosts.register", hosts=["pc-06"])
    assert len({first, second, third, revision()}) == 4


def test_a_list_that_is_too_large_is_refused_as_a_whole_and_given_in_pages(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_list, "_MOST_AT_ONCE", 200)
    answer = desk.ask("hosts.list", READER)
    assert answer["error"]["code"] == Code.TOO_LARGE
    assert "all 7 hosts" in answer["error"]["message"]
    assert len(walk(desk, 3)) == 7


def test_invalid_page_parameters_are_explained(desk: Desk) -> None:
    for params, said in (
        ({"limit": 0}, "a number from 1 to 100,000"),
        ({"after": "pc-01"}, "only together with limit"),
    ):
        answer = desk.ask("hosts.list", **params)
        assert answer["error"]["code"] == Code.BAD_REQUEST
        assert said in answer["error"]["message"]


def test_a_broker_that_knows_no_host_gives_an_empty_list(tmp_path: Path) -> None:
    with open_desk(tmp_path / "empty.sqlite", seen=False) as desk:
        assert desk.ok("hosts.list")["hosts"] == desk.ok("hosts.list", limit=1)["hosts"] == []


def test_the_whole_list_is_made_once_for_each_picture_of_pools_and_farm(desk: Desk) -> None:
    snapshot = desk.keeper.current
    assert snapshot.hosts.whole() is snapshot.hosts.whole()
    desk.ok("pools.add_hosts", pool="fx", hosts=["pc-09"], new_hosts=True)
    assert "pc-09" in {host["name"] for host in desk.ok("hosts.list")["hosts"]}


def test_a_very_large_list_of_hosts_is_not_kept(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_list, "_MOST_KEPT", 100)
    hosts = desk.keeper.current.hosts
    assert hosts.whole() is not hosts.whole()
    assert json.loads(bytes(hosts.whole()))
