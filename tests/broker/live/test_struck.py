"""Jobs that got the number of another just before an action of ours."""

from __future__ import annotations

from typing import Any

import pytest
from tests.broker.live.conftest import Studio

from afpools_broker.farm.afserver import FarmError


@pytest.fixture
def struck(studio: Studio) -> int:
    """The number of a job that has another's mask by mistake, and is about to be paused."""
    job = studio.send("fx", offline=True)
    studio.look()
    studio.fences.struck.hit([studio.fences.view.jobs[job]])
    return job


def pauses(studio: Studio) -> list[list[int]]:
    return [action["ids"] for action in studio.server.actions if action.get("operation", {}).get("type") == "pause"]


def test_a_job_that_has_the_number_by_now_is_not_paused(studio: Studio, struck: int) -> None:
    studio.server.act(struck, operation={"type": "delete"})
    assert studio.server.send("third") == struck
    studio.look()
    assert pauses(studio) == []
    assert studio.fences.view.struck == ()


def test_a_job_that_somebody_gave_another_mask_is_not_paused(studio: Studio, struck: int) -> None:
    studio.server.by_hand(struck, hosts_mask_exclude="pc-05")
    studio.look()
    assert pauses(studio) == []


@pytest.mark.parametrize("offline", [False, True])
def test_a_job_that_gets_the_number_just_before_it_is_paused_is_named(
    studio: Studio, struck: int, offline: bool
) -> None:
    server = studio.server

    def swap() -> None:
        server.before_actions = None
        del server.jobs[struck]
        assert server.send("third", offline=offline, hosts_mask_exclude="pc") == struck

    server.before_actions = swap
    studio.look()
    studio.fences.look(at_once=True)
    (text,) = studio.fences.view.struck
    assert "'third' of 'anna' got the number of a job that was deleted just then, and was paused in its place" in text
    assert studio.mask(struck) == "pc"


def test_a_job_that_is_gone_once_it_is_paused_is_not_named(studio: Studio, struck: int) -> None:
    server = studio.server

    def delete() -> None:
        server.before_actions = None
        del server.jobs[struck]

    server.before_actions = delete
    studio.look()
    assert studio.fences.view.struck == ()


def test_it_is_tried_again_where_afserver_does_not_answer(studio: Studio, struck: int) -> None:
    keeper = studio.fences
    ask = keeper.struck._ask

    def fail(request: dict[str, Any]) -> memoryview:
        raise FarmError("afserver cannot be reached.")

    keeper.struck._ask = fail
    with pytest.raises(FarmError):
        keeper.look()
    keeper.struck._ask = ask
    studio.look()
    assert pauses(studio) == [[struck]]
