"""What a change would do to the jobs on the farm, as told by a whole broker."""

from __future__ import annotations

import pytest
from tests.broker.store.places import wait_until
from tests.live_office import send_job
from tests.working_afserver import WorkingAfServer

from afpools import Client
from afpools.fence_note import SpillNote


def test_a_preview_says_which_jobs_gain_and_lose_which_hosts(boss: Client, server: WorkingAfServer) -> None:
    first = send_job(boss, server, tasks=2, rounds=1_000_000)
    send_job(boss, server, "night", offline=True)
    wait_until(lambda: len(boss.jobs(ids=[first]).jobs[0].hosts) == 2)
    seen = boss.preview("fx", add_hosts=["pc-04"], remove_hosts=["pc-01"])
    assert seen["sentences"] == ["1 job gains pc-04.", "1 job loses pc-01; 1 task runs there now."]
    assert [(each["id"], each["gains"], each["loses"]) for each in seen["jobs"]] == [(first, ["pc-04"], ["pc-01"])]
    assert seen["lost_hosts"] == [{"name": "pc-01", "jobs": 1, "tasks": 1}]
    assert (seen["total"], seen["gain"], seen["lose"], seen["tasks_on_lost"]) == (1, 1, 1, 1)
    assert boss.get_pool("fx").hosts == ("pc-01", "pc-03")


def test_a_preview_says_which_job_would_have_no_machine_online(boss: Client, server: WorkingAfServer) -> None:
    number = send_job(boss, server, "night", offline=True)
    server.set_render("pc-04", " OFF")
    wait_until(lambda: next(h for h in boss.list_hosts().hosts if h.name == "pc-04").states == ("offline",))
    seen = boss.preview("night", add_hosts=["pc-04"], remove_hosts=["pc-05"])
    assert seen["without_machine"] == [number]
    assert f"Job {number} 'shot' of 'anna' would have no machine online." in seen["sentences"]


@pytest.mark.parametrize(
    ("pool", "change", "said"),
    [
        ("night", {"remove_hosts": ["pc-05"]}, "1 job loses pc-05."),
        ("night", {"add_hosts": ["pc-02"]}, "1 job gains pc-02."),
        ("night", {"delete": True}, "1 job loses pc-05."),
        ("night", {"new_name": "late"}, "No job on the farm gains or loses a host."),
        ("fx", {"remove_hosts": ["pc-01"]}, "1 job loses pc-01."),
        ("fx", {"new_name": "effects"}, "No job on the farm gains or loses a host."),
    ],
)
def test_a_preview_includes_jobs_that_have_spilled(
    boss: Client, server: WorkingAfServer, pool: str, change: dict[str, object], said: str
) -> None:
    spill = SpillNote("night", boss.get_pool("night").revision, 60, "2026-12-01T04:00:00Z")
    number = send_job(boss, server, spill=spill, offline=True)
    wait_until(lambda: [job.id for job in boss.jobs("night").jobs if job.fence == "current"] == [number])
    assert said in boss.preview(pool, **change)["sentences"]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"delete": True},
            "1 job stays as it is: The pool 'fx' would be deleted. The job keeps the fence that it has.",
        ),
        (
            {"remove_hosts": ["pc-01", "pc-03"]},
            "1 job stays as it is: The pool 'fx' would be empty. The job keeps the fence",
        ),
        ({"new_name": "effects"}, "No job on the farm gains or loses a host."),
        ({"add_hosts": ["pc-01"]}, "No job on the farm gains or loses a host."),
    ],
)
def test_a_preview_says_which_jobs_keep_their_fence(
    boss: Client, server: WorkingAfServer, change: dict[str, object], said: str
) -> None:
    send_job(boss, server, offline=True)
    (sentence,) = boss.preview("fx", **change)["sentences"]  # type: ignore[arg-type]
    assert sentence.startswith(said)


def test_a_preview_of_an_undo_and_of_a_move(boss: Client, server: WorkingAfServer) -> None:
    number = send_job(boss, server, offline=True)
    entry = boss.add_hosts("fx", ["pc-04"]).change
    wait_until(lambda: boss.jobs().jobs[0].online == 3)
    assert boss.preview(entry=entry)["sentences"] == ["1 job loses pc-04."]
    moved = boss.preview("night", jobs=[number])
    assert moved["sentences"] == ["1 job gains pc-05.", "1 job loses pc-01, pc-03, pc-04."]


def test_a_preview_of_taking_back_a_move(boss: Client, server: WorkingAfServer) -> None:
    number, unnamed = send_job(boss, server, offline=True), server.send("old", hosts_mask_exclude="pc-02", offline=True)
    wait_until(lambda: [other.id for other in boss.jobs().others] == [unnamed])
    entry = boss.move_jobs([number, unnamed], "night").change
    wait_until(lambda: len(boss.jobs("night").jobs) == 2)
    assert boss.preview(entry=entry)["sentences"] == [
        "2 jobs gain pc-01, pc-03.",
        "1 job gains pc-04.",
        "1 job loses pc-05.",
    ]
    boss.move_jobs([number], "fx")
    wait_until(lambda: len(boss.jobs("night").jobs) == 1)
    assert boss.preview(entry=entry)["sentences"] == ["1 job gains pc-01, pc-03, pc-04."]
