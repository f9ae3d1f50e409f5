"""What the calls about jobs return, made from a broker's answers."""

from __future__ import annotations

from typing import Any

import pytest

from afpools.job_results import HostTasks, JobSpill, read_jobs, read_ordered
from afpools.results import BadAnswer

JOB: dict[str, Any] = {
    "id": 12,
    "serial": 3,
    "name": "shot",
    "user": "anna",
    "state": "running",
    "ready": 1,
    "running": 2,
    "done": 3,
    "tasks": 6,
    "online": 2,
    "renders": None,
    "hosts": [{"name": "pc-01", "tasks": 2, "outside": True}],
    "pool": "fx",
    "fence": "current",
}
LIST: dict[str, Any] = {
    "jobs": [JOB],
    "others": [],
    "keeper": "broker-1",
    "keeping": True,
    "running": "requeue",
    "problem": "",
    "age": 0.5,
    "behind": 0.0,
    "total": 1,
    "more": False,
}


def test_a_job_has_what_its_broker_sends_and_nothing_else() -> None:
    answer = read_jobs({**LIST, "of_a_newer_broker": 1})
    (job,) = answer.jobs
    assert (job.id, job.online, job.renders, job.hosts) == (12, 2, None, (HostTasks("pc-01", 2, True),))
    assert (job.pool, job.fence, job.why, job.moved, job.by) == ("fx", "current", "", "", "")
    assert (answer.keeper, answer.keeping, answer.requeue) == ("broker-1", True, True)


def test_a_job_reports_the_state_of_its_second_pool() -> None:
    spill = {"pool": "night", "after": 1800, "since": None, "waited": 720, "own": True, "why": ""}
    (job,) = read_jobs({**LIST, "jobs": [{**JOB, "spill": spill}]}).jobs
    assert job.spill == JobSpill("night", 1800, "", 720, True, "")
    assert read_jobs(LIST).jobs[0].spill is None
    with pytest.raises(BadAnswer):
        read_jobs({**LIST, "jobs": [{**JOB, "spill": "night"}]})


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        [],
        {**LIST, "jobs": None},
        {**LIST, "jobs": [{**JOB, "id": "12"}]},
        {**LIST, "jobs": [{**JOB, "hosts": [7]}]},
        {name: value for name, value in LIST.items() if name != "keeper"},
    ],
)
def test_an_invalid_list_of_jobs_is_refused(wrong: object) -> None:
    with pytest.raises(BadAnswer):
        read_jobs(wrong)


def test_the_outcome_of_an_order_is_listed_job_by_job() -> None:
    job = {"id": 12, "serial": 3, "name": "shot", "user": "anna", "before": "", "after": "fx", "done": True, "why": ""}
    result = read_ordered({"change": "c1", "pool": "fx", "jobs": [job], "moved": 1})
    assert (result.change, result.moved, result.jobs[0].after, result.jobs[0].tasks) == ("c1", 1, "fx", 0)
    with pytest.raises(BadAnswer):
        read_ordered({"change": "c1", "pool": "fx", "jobs": [{**job, "done": "yes"}], "moved": 1})
