"""`afpools jobs`, and what other commands say about jobs on the farm."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.broker.live.conftest import put_job
from tests.broker.store.places import wait_until
from tests.command import Result, environment, terminal
from tests.studio import Studio, studio
from tests.working_afserver import WorkingAfServer, working_afserver

from afpools import Client, Profile
from afpools.fence_note import SpillNote
from afpools_broker.protocol import Role

Command = Callable[..., Result]


@pytest.fixture
def server() -> Iterator[WorkingAfServer]:
    with working_afserver("pc-01", "pc-02", "pc-03", "pc-04") as server:
        yield server


@pytest.fixture
def place(server: WorkingAfServer, tmp_path: Path) -> Iterator[Studio]:
    farm = {"server": f"127.0.0.1:{server.address[1]}", "interval": 0.2}
    with studio(tmp_path / "farm", farm=farm, live={"enabled": True}) as made:
        yield made


@pytest.fixture
def client(place: Studio) -> Iterator[Client]:
    with Client(Profile.load(str(place.profile("anna", Role.MANAGER))), timeout=20) as client:
        wait_until(lambda: len(client.list_hosts().hosts) == 4)
        client.create_pool("fx", ["pc-01"])
        client.create_pool("night", ["pc-04"])
        wait_until(lambda: client.jobs().keeping)
        yield client


@pytest.fixture
def job(client: Client, server: WorkingAfServer) -> int:
    mask = client.exclude_mask("fx")
    number = put_job(server, mask.mask, "fx", mask.revision, offline=True, tasks=5)
    wait_until(lambda: any(each.id == number for each in client.jobs().jobs))
    return number


def lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


def test_a_farm_without_jobs(manager: Command, client: Client) -> None:
    assert manager("jobs") == (0, "There are no jobs on the farm.\n", "")
    assert manager("jobs", "--pool", "fx").out == "There are no jobs of the pool fx on the farm.\n"


def test_jobs_show_their_pool_and_hosts_and_others_what_they_exclude(
    manager: Command, client: Client, server: WorkingAfServer, job: int
) -> None:
    other = server.send("old", hosts_mask_exclude="pc-02", offline=True)
    wait_until(lambda: client.jobs().others)
    assert lines(manager("jobs").out) == [
        "Job Name User Pool Tasks May use Fence Moved",
        f"{job} shot anna fx 5 ready 1 of 1 online Current",
        "",
        "Jobs that name no pool:",
        "Job Name User Tasks May use Excludes",
        f"{other} old anna 3 ready 3 of 3 online pc-02",
    ]
    answer = json.loads(manager("jobs", "--json").out)
    assert [each["pool"] for each in answer["jobs"]] == ["fx"]
    assert [each["id"] for each in answer["others"]] == [other]


def test_a_job_shows_its_second_pool_and_since_when_it_may_use_it(
    manager: Command, client: Client, server: WorkingAfServer
) -> None:
    mask = client.exclude_mask("fx")
    night = SpillNote("night", client.get_pool("night").revision, 1800)
    gone = SpillNote("gone", "r1", 1800)
    for name, spill in (("waits", night), ("lost", gone)):
        put_job(server, mask.mask, "fx", mask.revision, name, spill=spill, offline=True)
    spilled = night._replace(since="2026-12-01T04:00:00Z")
    put_job(server, mask.mask, "fx", mask.revision, "spilled", spill=spilled, offline=True)
    wait_until(lambda: sum(bool(each.moved) for each in client.jobs().jobs) == 1)
    wait_until(lambda: all(each.fence == "current" for each in client.jobs().jobs))
    shown = {line.split()[1]: line for line in lines(manager("jobs", "--pool", "fx").out)}
    assert "also on night after 30 minutes without a running task" in shown["waits"]
    assert "The second pool 'gone' does not exist any more. The job stays in its own pool" in shown["lost"]
    assert "also on night since 2026-12-01" in shown["spilled"]
    assert [job.name for job in client.jobs("night").jobs] == ["spilled"]
    told = json.loads(manager("jobs", "--json").out)["jobs"]
    assert [job["spill"]["own"] for job in told] == [True] * 3
    assert ["1 spilled" in line for line in lines(manager("health").out) if "Live pools" in line] == [True]


def test_a_change_says_before_and_after_what_it_does_to_jobs(manager: Command, client: Client, job: int) -> None:
    assert manager("pool", "add", "fx", "pc-03", "--dry-run").out == "1 job gains pc-03.\n"
    assert client.get_pool("fx").hosts == ("pc-01",)
    done = manager("pool", "add", "fx", "pc-03")
    assert done.out == "Added pc-03 to fx, which has 2 hosts now.\n1 job on the farm will follow.\n"
    wait_until(lambda: client.jobs().jobs[0].online == 2)
    assert "pc-03 joined 'fx' (anna)" in manager("jobs").out
    assert manager("pool", "remove", "fx", "pc-03", "--dry-run").out == "1 job loses pc-03.\n"
    assert manager("pool", "rename", "fx", "effects", "--dry-run").status == 0
    assert manager("pool", "delete", "fx", "--dry-run").out.startswith("1 job stays as it is: ")
    assert client.get_pool("fx").hosts == ("pc-01", "pc-03")


def test_a_job_that_was_changed_by_hand_is_not_reported_as_following(
    manager: Command, client: Client, server: WorkingAfServer, job: int
) -> None:
    server.by_hand(job, hosts_mask_exclude="pc-02")
    wait_until(lambda: client.jobs().jobs[0].fence == "changed")
    added = lines(manager("pool", "add", "fx", "pc-03").out)
    assert added[1:] == ["1 job will not follow: see `afpools jobs --pool fx`."]
    wait_until(lambda: "Changed by anna@ws-04" in client.jobs().jobs[0].why)
    assert "." not in manager("jobs").out.partition("Changed by a person: ")[2]
    assert manager("jobs", "adopt", job).out == f"Job {job} 'shot' of anna: follows fx\n"
    wait_until(lambda: client.jobs().jobs[0].fence == "current")


def test_a_pool_that_is_renamed_deleted_or_brought_back_says_what_jobs_do(
    manager: Command, client: Client, server: WorkingAfServer, job: int
) -> None:
    assert manager("pool", "rename", "fx", "effects").out == (
        "Renamed fx to effects.\n1 job on the farm will follow.\n"
    )
    wait_until(lambda: client.jobs().jobs[0].pool == "effects")
    assert manager("pool", "delete", "effects", "--yes").out == (
        "Deleted effects.\n1 job on the farm keeps its last fence.\n"
    )
    wait_until(lambda: client.jobs().jobs[0].fence == "kept")
    assert "Keeps its last fence: The pool" in manager("jobs").out
    deleted, renamed = (entry.id for entry in client.history(limit=2))
    assert lines(manager("pool", "undo", deleted).out) == [
        "Undone: effects has 1 host now: + pc-01.",
        "1 job on the farm will follow.",
    ]
    wait_until(lambda: client.jobs().jobs[0].fence == "current")
    server.by_hand(job, hosts_mask_exclude="pc-02")
    wait_until(lambda: client.jobs().jobs[0].fence == "changed")
    assert lines(manager("pool", "undo", renamed).out)[1:] == ["1 job will not follow: see `afpools jobs --pool fx`."]


def test_a_dry_run_is_refused_as_the_change_would_be(manager: Command, client: Client) -> None:
    refused = manager("pool", "add", "fx", "gpu-77", "--dry-run")
    assert refused.status == 1
    assert "gpu-77 is not on the farm" in refused.err


def test_a_job_is_moved_and_moved_back(manager: Command, client: Client, job: int) -> None:
    dry = manager("jobs", "move", job, "--to", "night", "--dry-run")
    assert lines(dry.out) == ["1 job gains pc-04.", "1 job loses pc-01."]
    moved = manager("jobs", "move", job, "--to", "night")
    assert moved.out == f"Job {job} 'shot' of anna: fx → night\n"
    wait_until(lambda: len(client.jobs("night").jobs) == 1)
    (entry,) = client.history(limit=1)
    assert f"move jobs to night: {job} 'shot'" in manager("pool", "history").out
    assert lines(manager("pool", "undo", entry.id, "--dry-run").out) == ["1 job gains pc-01.", "1 job loses pc-04."]
    assert manager("pool", "undo", entry.id).out == "Undone: 1 job moved back.\n"


def test_a_job_that_cannot_be_moved_fails_the_command_and_the_rest_is_moved(
    manager: Command, client: Client, job: int
) -> None:
    moved = manager("jobs", "move", job, 812, "--to", "night")
    assert moved.status == 1
    assert "fx → night" in moved.out
    assert "Not done for 1 job: 812." in moved.err
    assert "To undo the move: afpools pool undo" in moved.err


def test_tasks_are_sent_back_only_for_named_jobs(manager: Command, client: Client, job: int) -> None:
    assert "name jobs, or give --pool POOL" in manager("jobs", "requeue").err
    assert manager("jobs", "requeue", job).out == f"Job {job} 'shot' of anna: no task runs outside its fence\n"


def test_without_afserver_there_is_a_sentence_and_nothing_hangs(afpools: Command, tmp_path: Path) -> None:
    with studio(tmp_path / "alone") as alone:
        profile = alone.profile("anna", Role.MANAGER)
        shown = afpools("jobs", "--profile", profile)
        watched = afpools("jobs", "--watch", "--profile", profile)
        assert afpools("pool", "create", "fx", "pc-01", "--new", "--profile", profile).status == 0
        added = afpools("pool", "add", "fx", "pc-02", "--new", "--profile", profile)
    for refused in (shown, watched):
        assert (refused.status, refused.out) == (1, "")
        assert "afserver" in refused.err
    assert added.out == "Added pc-02 to fx, which has 2 hosts now.\n"


def test_it_says_if_live_pools_are_off(afpools: Command, server: WorkingAfServer, tmp_path: Path) -> None:
    farm = {"server": f"127.0.0.1:{server.address[1]}", "interval": 0.2}
    with studio(tmp_path / "off", farm=farm, live={"enabled": False}) as off:
        profile = off.profile("bert")
        shown = afpools("jobs", "--profile", profile)
        health = afpools("health", "--profile", profile)
    assert (shown.status, shown.out) == (1, "")
    assert "set enabled = true in the section [live] of broker.toml" in shown.err
    assert "Live pools" not in health.out


def test_watching_shows_what_changes_and_ends_quietly_with_ctrl_c(
    place: Studio, client: Client, job: int, tmp_path: Path
) -> None:
    env = environment(tmp_path, AFPOOLS_PROFILE=str(place.profile("bert")))
    with terminal("jobs", "--watch", env=env, columns=160) as watched:
        watched.wait_for("1 of 1 online")
        client.add_hosts("fx", ["pc-03"])
        watched.wait_for("pc-03 joined 'fx' (anna)")
        watched.process.send_signal(signal.SIGINT)
        assert watched.finish() == 0
        assert not [word for word in ("Traceback", "Interrupted", "Aborted") if word in watched.shown]


def test_a_broker_that_cannot_look_at_running_jobs_is_degraded(
    manager: Command, client: Client, server: WorkingAfServer, job: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("afpools_broker.live.keeper._BEHIND_SECONDS", 0.5)
    server.stop()
    wait_until(lambda: bool(client.health()["live"]["problems"]))
    health = manager("health")
    assert health.status == 1
    assert "Running jobs cannot be read: afserver at " in health.out
    assert ["the fences of 1 job" in line for line in lines(health.out) if line.startswith("Live pools ")] == [True]


def test_health_says_who_keeps_the_fences(manager: Command, client: Client, job: int) -> None:
    (line,) = (line for line in lines(manager("health").out) if line.startswith("Live pools "))
    assert "this broker keeps the fences of 1 job" in line
