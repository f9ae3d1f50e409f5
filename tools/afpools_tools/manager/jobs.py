"""Jobs on the farm, in the form that pages show, and what a change would do to them.

Strategy: all information comes from the broker; this module reduces its answers to what a page needs. A broker that
does not list jobs is asked again only occasionally.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from afpools import BrokerRefused, Client, Job, JobsResult
from afpools.job_results import FENCES, LEFT_ALONE

from .params import PoolHosts, PreviewChange, typed_hosts

OPERATION = "jobs.list"

# As many as a broker gives at a time, and takes in one order.
_MOST_JOBS = 5000

# Seconds.
_REFUSED_PAUSE = 5.0
# A list of 5,000 jobs costs the broker a third of a second: it is asked for less often than a short one.
_PAUSE_FOR_EACH_SECOND_ASKED = 10.0
# A single answer may take seconds because the machine is busy: what people see must not stay old for long after it.
_LONGEST_PAUSE = 5.0
_OLD = 30.0
_BEHIND = 5.0

NO_JOBS: Mapping[str, Job] = MappingProxyType({})


def pause_after(took: float, for_each_second: float) -> float:
    """How long to wait, in seconds, until something is asked again.

    Args:
        took: seconds that the last answer took.
        for_each_second: seconds to wait for each of these.
    """
    return min(took * for_each_second, _LONGEST_PAUSE)


class JobsStatus(NamedTuple):
    """How reliable the list of jobs is.

    Args:
        offered: whether the broker can list jobs at all.
        error: why there is no list; then the last one is no longer shown.
        problem: what is wrong with the list, if there is one.
        age: whole seconds since afserver confirmed it, if that is long enough to mention, else 0.
        behind: the same for how long the oldest waiting fence has waited.
        kept: whether a broker currently keeps the fences.
        more: there are more jobs than are shown.
        requeue: whether the broker sends back tasks outside a fence that has moved.
        fences: how a fence stands, in words.
        left_alone: fences that stay as they are until somebody takes the job up again.
    """

    offered: bool = False
    error: str = ""
    problem: str = ""
    age: int = 0
    behind: int = 0
    kept: bool = True
    more: bool = False
    requeue: bool = False
    fences: Mapping[str, str] = FENCES
    left_alone: tuple[str, ...] = tuple(sorted(LEFT_ALONE))


class JobsView(NamedTuple):
    """Jobs by number and serial: those that name a pool, and those that do not."""

    jobs: Mapping[str, Job] = NO_JOBS
    status: JobsStatus = JobsStatus()


class Jobs:
    """Asks for the jobs. Not thread-safe.

    Args:
        client: the client to ask.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._due = 0.0

    def ask(self, last: JobsView, *, offered: bool) -> JobsView:
        """The current jobs.

        Args:
            last: the previous answer. Whatever has not changed stays the same object.
            offered: whether the broker lists jobs.
        """
        if not offered:
            return JobsView()
        began = time.monotonic()
        if began < self._due:
            return last
        try:
            listed = self._client.jobs(limit=_MOST_JOBS)
        except BrokerRefused as error:
            self._due = time.monotonic() + _REFUSED_PAUSE
            return JobsView(status=JobsStatus(offered=True, error=str(error)))
        now = time.monotonic()
        self._due = now + pause_after(now - began, _PAUSE_FOR_EACH_SECOND_ASKED)
        jobs = {f"{job.id}.{job.serial}": job for job in (*listed.jobs, *listed.others)}
        status = JobsStatus(
            offered=True,
            problem=listed.problem,
            age=round(listed.age) if listed.age is not None and listed.age > _OLD else 0,
            behind=round(listed.behind) if listed.behind > _BEHIND else 0,
            kept=listed.keeper != "",
            more=listed.more,
            requeue=listed.requeue,
        )
        return JobsView(last.jobs if jobs == last.jobs else jobs, status)


def preview(client: Client, params: PreviewChange) -> dict[str, Any]:
    """What a change would do to the jobs on the farm. For a change of several pools, the previews are added up, and
    each sentence says which pool it is about."""
    if params.entries:
        answers = [client.preview(entry=entry, limit=_MOST_JOBS) for entry in params.entries]
        concerned = [answer for answer in answers if answer["total"]] or answers[:1]
        return _summary([(_pool_of(answer) if len(concerned) > 1 else "", answer) for answer in concerned])
    if params.jobs:
        [pool] = params.pools
        references = [(job.id, job.serial) for job in params.jobs]
        return _summary([("", client.preview(pool, jobs=references, limit=_MOST_JOBS))])
    if params.delete or params.new_name is not None:
        [pool] = params.pools
        answer = client.preview(pool, delete=params.delete, new_name=params.new_name, limit=_MOST_JOBS)
        return _summary([("", answer)])
    add = params.add + typed_hosts(params.typed)
    changes = [PoolHosts(pool=pool, add=add, remove=params.remove) for pool in params.pools] + params.hosts
    found = [
        (each.pool, client.preview(each.pool, add_hosts=each.add, remove_hosts=each.remove, limit=_MOST_JOBS))
        for each in changes
    ]
    return _summary(found if len(found) > 1 else [("", answer) for _, answer in found])


def _pool_of(answer: Mapping[str, Any]) -> str:
    return str(answer["jobs"][0]["pool"]) if answer["jobs"] else ""


def _summary(found: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """What a page shows of previews. `back` has the jobs and hosts to name in order to send back the tasks that lose
    their host."""
    sentences: list[str] = []
    hosts: dict[str, None] = {}
    jobs: list[dict[str, int]] = []
    tasks = total = 0
    requeue = False
    for pool, answer in found:
        sentences += [f"{pool}: {sentence}" if pool else sentence for sentence in answer["sentences"]]
        jobs += [{"id": job["id"], "serial": job["serial"]} for job in answer["jobs"] if job["running_on_lost"]]
        hosts.update(dict.fromkeys(host["name"] for host in answer["lost_hosts"] if host["tasks"]))
        tasks += answer["tasks_on_lost"]
        total += answer["total"]
        requeue = requeue or answer["running"] == "requeue"
    back = {"jobs": jobs[:_MOST_JOBS], "hosts": list(hosts)}
    return {"sentences": sentences, "total": total, "tasks": tasks, "requeue": requeue, "back": back}


def outcome(made: JobsResult) -> dict[str, Any]:
    """The outcome for each job, for a page."""
    return {
        "change": made.change,
        "moved": made.moved,
        "tasks": sum(job.tasks for job in made.jobs),
        "remarks": [{"id": job.id, "remark": job.remark} for job in made.jobs if job.remark],
        "failed": [{"id": job.id, "name": job.name, "why": job.why} for job in made.jobs if not job.done],
    }
