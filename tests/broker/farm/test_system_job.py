"""Post commands are kept on the pool that a manager has chosen; against a stand-in that changes its job as afserver
does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.afserver import AfServer
from tests.broker.store.places import wait_until
from tests.desk import Desk, open_desk

from afpools_broker.farm import system_job
from afpools_broker.farm.afserver import ask
from afpools_broker.farm.farm import Render
from afpools_broker.protocol import Code

PC_01 = "(?!pc-01$).*"


@pytest.fixture
def server() -> Iterator[AfServer]:
    made = AfServer()
    yield made
    made.stop()


@pytest.fixture
def desk(tmp_path: Path, server: AfServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setattr(system_job, "_READ_BACK_PAUSE", 0.001)
    with open_desk(tmp_path / "pools.sqlite", afserver=lambda request: ask(server.address, request, timeout=5)) as made:
        made.ok("pools.create", pool="post", hosts=["pc-01"])
        yield made


def look(desk: Desk) -> dict[str, Any]:
    """What the broker reports after another look."""
    assert desk.system_job is not None
    desk.system_job.look(desk.keeper.current)
    return desk.ok("farm.system_pool")


def actions(server: AfServer) -> list[dict[str, Any]]:
    return [request["action"]["params"] for request in server.requests if "params" in request.get("action", {})]


def test_nobody_touches_the_system_job_before_a_pool_is_chosen(desk: Desk, server: AfServer) -> None:
    said = look(desk)
    assert (said["pool"], said["problem"]) == (None, False)
    assert said["state"].startswith("No system pool has been set: post commands run on any render")
    assert server.requests == []


def test_the_system_job_gets_the_pools_mask_once_and_keeps_it(desk: Desk, server: AfServer) -> None:
    desk.ok("farm.set_system_pool", pool="post")
    assert not desk.ok("farm.system_pool")["settled"]
    for _ in range(3):
        said = look(desk)
        assert said == {
            "pool": "post",
            "state": "Post commands are fenced to 'post' since 2026-11-23 12:00 UTC.",
            "problem": False,
            "settled": True,
        }
    assert (server.system_job["hosts_mask_exclude"], server.system_job["hosts_mask_type"]) == (PC_01, "regex")
    assert len(actions(server)) == 1


def test_afserver_that_comes_back_without_the_mask_gets_it_again(desk: Desk, server: AfServer) -> None:
    before = server.system_job
    desk.ok("farm.set_system_pool", pool="post")
    look(desk)
    server.system_job = before
    assert look(desk)["state"].startswith("Post commands are fenced")
    assert server.system_job["hosts_mask_exclude"] == PC_01


def test_the_fence_follows_the_pool_and_its_name(desk: Desk, server: AfServer) -> None:
    desk.ok("farm.set_system_pool", pool="post")
    desk.ok("pools.add_hosts", pool="post", hosts=["pc-02"])
    look(desk)
    assert server.system_job["hosts_mask_exclude"] == "(?!pc-0[12]$).*"
    desk.ok("pools.rename", pool="post", new_name="night")
    assert look(desk)["pool"] == "night"
    desk.ok("pools.remove_hosts", pool="night", hosts=["pc-02"])
    look(desk)
    assert server.system_job["hosts_mask_exclude"] == PC_01


def test_a_hidden_job_stays_hidden_and_custom_data_and_native_pools_are_kept(desk: Desk, server: AfServer) -> None:
    server.system_job |= {"hidden": True, "custom_data": '{"x": 1}', "pools": {"/local": 50}}
    desk.ok("farm.set_system_pool", pool="post")
    look(desk)
    job = server.system_job
    assert job["hidden"]
    assert actions(server)[0]["pools"] == {"/local": 50}
    assert json.loads(job["custom_data"])["x"] == 1
    desk.ok("farm.set_system_pool", pool=None)
    assert look(desk)["state"] == "Post commands are not fenced: they run on any render."
    job = server.system_job
    assert (job.get("hosts_mask_exclude"), job["hidden"], job["custom_data"]) == (None, True, '{"x": 1}')


def test_a_mask_that_a_person_has_set_is_left_alone_until_a_manager_asks(desk: Desk, server: AfServer) -> None:
    desk.ok("farm.set_system_pool", pool="post")
    look(desk)
    server.system_job |= {"hosts_mask_exclude": "ws-01", "hosts_mask_type": "find"}
    said = look(desk)
    assert said["problem"]
    assert "a person has set, 'ws-01'" in said["state"]
    assert "afpools farm system-pool post" in said["state"]
    assert server.system_job["hosts_mask_exclude"] == "ws-01"
    desk.ok("farm.set_system_pool", pool="post")
    assert not look(desk)["problem"]
    assert server.system_job["hosts_mask_exclude"] == PC_01


def test_an_empty_pool_keeps_its_last_fence_and_reports_it(desk: Desk, server: AfServer) -> None:
    desk.ok("farm.set_system_pool", pool="post")
    look(desk)
    desk.ok("pools.remove_hosts", pool="post", hosts=["pc-01"])
    said = look(desk)
    assert (said["problem"], said["state"]) == (
        True,
        "The system job is left as it is: The pool has no hosts, so there is nowhere for the job to run. "
        "Add hosts to it first.",
    )
    assert server.system_job["hosts_mask_exclude"] == PC_01


def test_a_broker_with_outdated_pools_changes_nothing(desk: Desk, server: AfServer) -> None:
    desk.ok("farm.set_system_pool", pool="post")
    desk.keeper.trouble = "The store does not answer."
    assert look(desk)["problem"]
    assert actions(server) == []


def test_without_the_farm_nothing_is_reported_as_fenced(desk: Desk, server: AfServer) -> None:
    desk.ok("farm.set_system_pool", pool="post")
    look(desk)
    server.mood = "rubbish"
    said = look(desk)
    assert said["problem"]
    assert said["state"].startswith("Whether post commands are fenced is not known: ")


def test_a_fence_is_not_reported_as_holding_while_nobody_can_check(
    desk: Desk, server: AfServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system_job, "_SILENCE_SECONDS", 0.05)
    monkeypatch.setattr(system_job, "_LOOK_SECONDS", 0.01)
    assert desk.system_job is not None
    desk.ok("farm.set_system_pool", pool="post")
    desk.system_job.start()
    try:
        wait_until(lambda: desk.ok("farm.system_pool")["state"].startswith("Post commands are fenced"))
        # There is no new list of renders, and no change of a pool.
        server.mood = "rubbish"
        wait_until(lambda: desk.ok("farm.system_pool")["problem"])
        server.mood = "well"
        wait_until(lambda: not desk.ok("farm.system_pool")["problem"])
    finally:
        desk.system_job.stop(wait=5)


def test_an_action_is_read_back_rather_than_believed(desk: Desk, server: AfServer, monkeypatch: Any) -> None:
    monkeypatch.setattr(system_job, "_READ_BACK_SECONDS", 0.02)
    server.stubborn = True
    desk.ok("farm.set_system_pool", pool="post")
    for _ in range(3):
        said = look(desk)
        assert said["problem"]
        assert "did not make it" in said["state"]
    # But not repeatedly.
    assert len(actions(server)) == 1


def test_another_job_with_that_number_is_left_alone(desk: Desk, server: AfServer) -> None:
    server.system_job |= {"name": "shot_010", "user_name": "anna"}
    desk.ok("farm.set_system_pool", pool="post")
    said = look(desk)
    assert said["problem"]
    assert "not the system job" in said["state"]
    assert actions(server) == []


def test_an_older_farm_is_not_sent_a_type(desk: Desk, server: AfServer) -> None:
    del server.system_job["hosts_mask_type"]
    desk.see_renders(Render("pc-01", ("online",), engine="3.3.1"))
    desk.ok("farm.set_system_pool", pool="post")
    assert not look(desk)["problem"]
    assert "hosts_mask_type" not in actions(server)[0]


@pytest.mark.parametrize(
    ("pool", "code"), [("nobody", Code.UNKNOWN_POOL), ("empty", Code.EMPTY_POOL), ("", Code.BAD_REQUEST)]
)
def test_a_pool_that_has_no_mask_is_refused(desk: Desk, server: AfServer, pool: str, code: Code) -> None:
    desk.ok("pools.create", pool="empty")
    error = desk.ask("farm.set_system_pool", pool=pool)["error"]
    assert error["code"] == code
    assert "''" not in error["message"] or not pool
    assert look(desk)["pool"] is None


def test_nobody_can_delete_the_system_pool(desk: Desk) -> None:
    created = desk.ok("history.list", limit=1)["entries"][0]["id"]
    desk.ok("farm.set_system_pool", pool="post")
    for op, params in (("pools.delete", {"pool": "post"}), ("history.undo", {"entry": created})):
        error = desk.ask(op, **params)["error"]
        assert (error["code"], "afpools farm system-pool NAME" in error["message"]) == (Code.CONFLICT, True), error
    desk.ok("farm.set_system_pool", pool=None)
    desk.ok("pools.delete", pool="post")


def test_a_repeated_request_gets_the_same_answer_whatever_happened_to_the_pool(desk: Desk) -> None:
    first = desk.ok("farm.set_system_pool", pool="post", request_id="one")
    desk.ok("pools.remove_hosts", pool="post", hosts=["pc-01"])
    assert desk.ok("farm.set_system_pool", pool="post", request_id="one") == first


def test_choosing_is_recorded_in_history_and_can_be_undone(desk: Desk, server: AfServer) -> None:
    desk.ok("pools.create", pool="night", hosts=["pc-02"])
    desk.ok("farm.set_system_pool", pool="post")
    desk.ok("farm.set_system_pool", pool="night")
    entry = desk.ok("history.list", limit=1)["entries"][0]
    assert (entry["op"], entry["undoable"]) == ("farm.set_system_pool", True)
    desk.ok("history.undo", entry=entry["id"])
    assert look(desk)["pool"] == "post"
    first = desk.ok("history.list", limit=50)["entries"][2]
    assert first["op"] == "farm.set_system_pool"


def test_undoing_the_first_choice_lifts_the_fence(desk: Desk, server: AfServer) -> None:
    desk.ok("farm.set_system_pool", pool="post")
    look(desk)
    desk.ok("history.undo", entry=desk.ok("history.list", limit=1)["entries"][0]["id"])
    assert look(desk)["state"] == "Post commands are not fenced: they run on any render."
    assert "hosts_mask_exclude" not in server.system_job


def test_registered_hosts_and_the_system_pool_do_not_touch_each_other(desk: Desk) -> None:
    desk.ok("farm.set_system_pool", pool="post")
    desk.ok("hosts.register", hosts=["lt-01"])
    assert desk.keeper.current.contents.system_pool == "post"
    desk.ok("farm.set_system_pool", pool=None)
    assert desk.keeper.current.contents.registered.hosts == ("lt-01",)


def test_without_afserver_there_is_nothing_to_fence(tmp_path: Path) -> None:
    with open_desk(tmp_path / "pools.sqlite", by_hand=True) as desk:
        for op, params in (("farm.system_pool", {}), ("farm.set_system_pool", {"pool": "post"})):
            error = desk.ask(op, **params)["error"]
            assert (error["code"], "no afserver" in error["message"]) == (Code.FARM_UNAVAILABLE, True)
