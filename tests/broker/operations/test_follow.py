"""The operations by which a pool follows one of Afanasy's own, and stops following it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.desk import Desk

from afpools_broker.farm.farm import Render
from afpools_broker.protocol import Code


@pytest.fixture
def desk(desk: Desk) -> Desk:
    """A farm with two renders in `/local/farm` and one in `/local`."""
    places = {"pc-01": "/local/farm", "pc-02": "/local/farm", "pc-03": "/local", "pc-04": "/"}
    desk.see_renders(*(Render(name, ("online",), native_pool=path) for name, path in places.items()))
    return desk


def hosts(desk: Desk, pool: str) -> list[str]:
    return desk.ok("pools.get", pool=pool)["pool"]["hosts"]


def test_a_pool_begins_with_the_renders_of_the_whole_branch(desk: Desk) -> None:
    desk.ok("pools.follow", pool="farm", path="/local")
    assert sorted(hosts(desk, "farm")) == ["pc-01", "pc-02", "pc-03"]


def test_people_can_change_its_hosts_only_after_it_stops_following(desk: Desk) -> None:
    desk.ok("pools.follow", pool="farm", path="/local/farm")
    refused = desk.ask("pools.add_hosts", pool="farm", hosts=["pc-04"])["error"]
    assert (refused["code"], "afpools pool unfollow farm" in refused["message"]) == (Code.CONFLICT, True)
    desk.ok("pools.update", pool="farm", description="The farm")
    desk.ok("pools.unfollow", pool="farm")
    desk.ok("pools.add_hosts", pool="farm", hosts=["pc-04"])
    assert sorted(hosts(desk, "farm")) == ["pc-01", "pc-02", "pc-04"]


@pytest.mark.parametrize(("path", "said"), [("/locl/farm", "Did you mean /local/farm?"), ("/nowhere", "There are:")])
def test_a_path_without_renders_is_refused_with_the_existing_ones(desk: Desk, path: str, said: str) -> None:
    refused = desk.ask("pools.follow", pool="farm", path=path)["error"]
    assert (refused["code"], said in refused["message"]) == (Code.BAD_REQUEST, True), refused


def test_a_taken_name_is_refused_and_its_owner_described(desk: Desk) -> None:
    desk.ok("pools.create", pool="farm", hosts=["pc-04"])
    refused = desk.ask("pools.follow", pool="farm", path="/local")["error"]
    assert (refused["code"], "whose hosts people have chosen" in refused["message"]) == (Code.POOL_EXISTS, True)


def test_a_repeated_follow_request_gets_the_same_answer_whatever_the_farm_is_by_then(desk: Desk) -> None:
    first = desk.ok("pools.follow", pool="farm", path="/local", request_id="r1-again")
    desk.see("pc-09")
    assert desk.ok("pools.follow", pool="farm", path="/local", request_id="r1-again") == first


def test_without_a_list_of_renders_nothing_can_be_followed(make: Callable[..., Desk]) -> None:
    for settings in ({"by_hand": True}, {"seen": False}):
        assert make(**settings).code("pools.follow", pool="farm", path="/local") == Code.FARM_UNAVAILABLE
