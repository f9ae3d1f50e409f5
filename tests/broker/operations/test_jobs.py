"""The operations about jobs on the farm, through a whole broker, by our own client."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.live_office import send_job
from tests.studio import Studio, studio
from tests.working_afserver import WorkingAfServer

from afpools import BadRequest, Client, FarmUnavailable, Forbidden, Profile, UnknownPool


def test_readers_see_jobs_and_only_managers_preview_changes(
    boss: Client, office: Studio, server: WorkingAfServer
) -> None:
    send_job(boss, server, offline=True)
    with Client(Profile.load(str(office.profile("anna"))), timeout=20) as reader:
        assert len(reader.jobs().jobs) == 1
        with pytest.raises(Forbidden, match="To preview changes you need a manager profile"):
            reader.preview("fx", delete=True)


def test_a_change_that_cannot_be_previewed_is_refused(boss: Client, server: WorkingAfServer) -> None:
    with pytest.raises(BadRequest, match="Job 812 is no longer on the farm"):
        boss.preview("night", jobs=[812])
    with pytest.raises(UnknownPool):
        boss.preview("nights", delete=True)
    with pytest.raises(BadRequest, match="It previews one change"):
        boss.preview("fx", delete=True, new_name="effects")
    with pytest.raises(BadRequest, match="pc-05 is not in the pool 'fx'"):
        boss.preview("fx", remove_hosts=["pc-05"])


def test_a_broker_that_does_not_look_at_jobs_says_so(tmp_path: Path, server: WorkingAfServer) -> None:
    farm = {"server": f"127.0.0.1:{server.address[1]}"}
    with (
        studio(tmp_path, farm=farm) as made,
        Client(Profile.load(str(made.profile("anna"))), timeout=20) as reader,
        pytest.raises(FarmUnavailable, match=r"set enabled = true in the section \[live\]"),
    ):
        reader.jobs()


def test_health_says_how_the_fences_stand(boss: Client, server: WorkingAfServer) -> None:
    send_job(boss, server, offline=True)
    live = boss.health()["live"]
    assert (live["keeper"], live["keeping"], live["jobs"], live["problems"]) == ("broker", True, 1, [])


# --- orders -----------------------------------------------------------------------------------------------------


def test_a_repeated_move_is_one_history_entry(boss: Client, server: WorkingAfServer) -> None:
    number = send_job(boss, server, offline=True)
    first = boss.move_jobs([number], "night", request_id="once")
    second = boss.move_jobs([number], "night", request_id="once")
    assert (first.change, second.jobs[0].done) == (second.change, True)
    assert [entry.op for entry in boss.history(pool="night")] == ["jobs.move", "pools.create"]


def test_orders_are_for_managers(office: Studio, boss: Client) -> None:
    with Client(Profile.load(str(office.profile("anna"))), timeout=20) as reader:
        for order in (
            lambda: reader.move_jobs([2], "fx"),
            lambda: reader.adopt_jobs([2]),
            lambda: reader.requeue_tasks([2]),
        ):
            with pytest.raises(Forbidden):
                order()
