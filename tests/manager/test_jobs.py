"""How the broker's answers about jobs are prepared for the pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.broker.live.conftest import put_job
from tests.broker.store.places import wait_until
from tests.live_office import live_manager, live_office
from tests.studio import Studio, studio
from tests.working_afserver import WorkingAfServer, working_afserver

from afpools import Client, OrderedJob, Profile
from afpools.job_results import JobList, JobsResult
from afpools_broker.protocol import Role
from afpools_tools.manager.jobs import Jobs, JobsView, outcome, preview
from afpools_tools.manager.params import PoolHosts, PreviewChange


@pytest.fixture
def server() -> Iterator[WorkingAfServer]:
    with working_afserver("pc-01", "pc-02", "pc-03") as server:
        yield server


@pytest.fixture
def office(server: WorkingAfServer, tmp_path: Path) -> Iterator[Studio]:
    with live_office(tmp_path, server) as made:
        yield made


@pytest.fixture
def client(office: Studio) -> Iterator[Client]:
    with live_manager(office, "anna", 3, fx=["pc-01"], night=["pc-02"]) as client:
        yield client


def put(client: Client, server: WorkingAfServer, pool: str) -> int:
    """A job of a pool that the broker has seen; it keeps running."""
    mask = client.exclude_mask(pool)
    number = put_job(server, mask.mask, pool, mask.revision, tasks=2, rounds=1_000_000)
    wait_until(lambda: bool(client.jobs(ids=[number]).jobs) and client.jobs(ids=[number]).jobs[0].hosts != ())
    return number


def test_a_broker_that_does_not_list_jobs_is_not_asked() -> None:
    nobody: Any = None
    assert Jobs(nobody).ask(JobsView(), offered=False) == JobsView()


def test_one_slow_answer_does_not_keep_the_list_old_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("afpools_tools.manager.jobs.time", SimpleNamespace(monotonic=lambda: now[0]))
    asked: list[float] = []

    class Busy:
        """A client on a machine that is busy: each answer takes two seconds."""

        def jobs(self, **_: Any) -> JobList:
            asked.append(now[0])
            now[0] += 2.0
            return JobList((), (), "broker", True, False, "", 0.1, 0.0, 0, False)

    busy: Any = Busy()
    asking = Jobs(busy)
    shown = asking.ask(JobsView(), offered=True)
    for _ in range(2):
        now[0] += 3.0
        asking.ask(shown, offered=True)
    assert asked == [100.0, 108.0]


def test_a_broker_that_refuses_is_asked_again_only_now_and_then(tmp_path: Path) -> None:
    with (
        studio(tmp_path) as place,
        Client(Profile.load(str(place.profile("anna", Role.MANAGER))), timeout=20) as client,
    ):
        asking = Jobs(client)
        refused = asking.ask(JobsView(), offered=True)
        assert refused.status.offered
        assert "afserver" in refused.status.error
        assert asking.ask(refused, offered=True) is refused


def test_jobs_that_have_not_changed_stay_the_same_object(client: Client, server: WorkingAfServer) -> None:
    number = server.send("old", offline=True)
    wait_until(lambda: [job.id for job in client.jobs().others] == [number])
    first = Jobs(client).ask(JobsView(), offered=True)
    again = Jobs(client).ask(first, offered=True)
    assert [job.id for job in first.jobs.values()] == [number]
    assert again.jobs is first.jobs
    assert first.status.kept


def test_a_change_of_several_pools_is_the_sum_of_theirs(client: Client, server: WorkingAfServer) -> None:
    fx, night = put(client, server, "fx"), put(client, server, "night")
    both = preview(
        client,
        PreviewChange(
            hosts=[
                PoolHosts(pool="fx", add=["pc-03"], remove=["pc-01"]),
                PoolHosts(pool="night", add=["pc-03"], remove=["pc-02"]),
            ]
        ),
    )
    assert both["sentences"] == [
        "fx: 1 job gains pc-03.",
        "fx: 1 job loses pc-01; 1 task runs there now.",
        "night: 1 job gains pc-03.",
        "night: 1 job loses pc-02; 1 task runs there now.",
    ]
    assert (both["total"], both["tasks"], both["requeue"]) == (2, 2, False)
    assert [job["id"] for job in both["back"]["jobs"]] == [fx, night]
    assert both["back"]["hosts"] == ["pc-01", "pc-02"]


def test_a_page_is_told_which_jobs_were_not_moved_and_why() -> None:
    left = OrderedJob(4, None, "", "", "", "", done=False, why="Job 4 is no longer on the farm.", tasks=0)
    moved = OrderedJob(3, 17, "shot", "anna", "fx", "night", done=True, why="", tasks=0)
    assert outcome(JobsResult("entry", "night", (moved, left), 1)) == {
        "change": "entry",
        "moved": 1,
        "tasks": 0,
        "remarks": [],
        "failed": [{"id": 4, "name": "", "why": "Job 4 is no longer on the farm."}],
    }
