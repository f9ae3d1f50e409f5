"""What people see of jobs on the farm: which hosts each may use, how its fence stands, when it moved and why."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from typing import Annotated, Any, Literal

from msgspec import Meta

from ..picture.snapshot import Snapshot
from ..protocol import Result
from .intent import intent_of
from .jobs import SYSTEM_JOB, Job
from .plan import Fence, allowed, keeps_out
from .spill import Spill, as_time
from .tasks import Task
from .view import View

_EXCLUDE_SHOWN = 200

State = Literal["running", "ready", "waiting", "paused", "error", "done"]


class HostTasks(Result):
    """Tasks of one job on one host."""

    name: Annotated[str, Meta(description="the host")]
    tasks: Annotated[int, Meta(description="how many of its tasks run there")]
    outside: Annotated[bool, Meta(description="the job's fence excludes the host: these tasks started before it moved")]


class ListedSpill(Result):
    """A second pool, for a job that waits too long."""

    pool: Annotated[str, Meta(description="the second pool")]
    after: Annotated[int, Meta(description="seconds in a row without a running task until the job may use it too")]
    since: Annotated[dt.datetime | None, Meta(description="when its fence was widened; null if it is not")]
    waited: Annotated[int, Meta(description="seconds that it has waited so far, in steps of 10; 0 if it does not wait")]
    own: Annotated[bool, Meta(description="whether the job names it itself, rather than its pool")]
    why: Annotated[str, Meta(description="a sentence, if the second pool cannot be used now; else empty")]


class _ListedJob(Result, kw_only=True):
    """What is said about any job."""

    id: Annotated[int, Meta(description="its number")]
    serial: Annotated[int, Meta(description="ids are used again, serials never")]
    name: Annotated[str, Meta(description="the job's name")]
    user: Annotated[str, Meta(description="whose it is")]
    state: Annotated[State, Meta(description="how it stands")]
    ready: Annotated[int, Meta(description="tasks that wait")]
    running: Annotated[int, Meta(description="tasks that run")]
    done: Annotated[int, Meta(description="tasks that are done")]
    tasks: Annotated[int, Meta(description="tasks in all")]
    online: Annotated[int | None, Meta(description="hosts that it may use and that are online; null if not known")]
    renders: Annotated[int | None, Meta(description="hosts that it may use, online or not; null if not known")]
    hosts: Annotated[list[HostTasks], Meta(description="where it runs now")]


class JobSummary(_ListedJob, kw_only=True):
    """One job that names a pool."""

    pool: Annotated[str, Meta(description="what its pool is called now")]
    outside: Annotated[int, Meta(description="tasks that run on hosts outside its fence")]
    fence: Annotated[
        Fence,
        Meta(
            description="`current`; `behind`: it moves within seconds; `kept`: it keeps its last fence; `changed`: a "
            "person changed it, and it is left alone; `removed`: a person took its note away, and it is left alone; "
            "`unmarked`: an earlier plug-in sent it, and it is left alone; `refused`: afserver does not make the change"
        ),
    ]
    why: Annotated[str, Meta(description="a sentence; empty for `current`")]
    moved: Annotated[str | None, Meta(description="when its fence was moved last, ISO 8601; null if never")]
    by: Annotated[str, Meta(description="the change that made this necessary; empty if it never moved")]
    spill: Annotated[ListedSpill | None, Meta(description="its second pool; null if it has none")] = None


class OtherJob(_ListedJob, kw_only=True):
    """One job that names no pool."""

    exclude: Annotated[str, Meta(description="the exclude mask that it has, at most 200 characters of it")]


class Hosts:
    """The farm's renders, and which of them a job may use. What many jobs have in common is computed once.

    Args:
        snapshot: provides the farm.
        can_count: whether the list of renders is recent enough to count renders.
    """

    def __init__(self, snapshot: Snapshot, *, can_count: bool = True) -> None:
        farm = snapshot.farm
        self.names: list[str] = sorted({render.name for render in farm.renders}) if farm else []
        self.online: frozenset[str] = farm.online if farm else frozenset()
        self._can_count = can_count and farm is not None
        self._allowed: dict[object, list[str]] = {}

    def of(self, job: Job) -> list[str]:
        """The renders that a job may use, sorted."""
        blocks = tuple((block.hosts_mask, block.hosts_mask_exclude) for block in job.blocks)
        key = (job.hosts_mask_exclude, job.hosts_mask_type, job.hosts_mask, blocks)
        if key not in self._allowed:
            self._allowed[key] = allowed(job, self.names)
        return self._allowed[key]

    def count(self, hosts: Sequence[str]) -> tuple[int | None, int | None]:
        """How many of these hosts are online, and how many there are. If no render of the whole farm is online, as
        right after a restart of afserver, the first is unknown."""
        if not self._can_count:
            return None, None
        return self.online_among(hosts), len(hosts)

    def online_among(self, hosts: Sequence[str]) -> int | None:
        """How many of these hosts are online; None if unknown."""
        if not self.online or not self._can_count:
            return None
        return sum(host in self.online for host in hosts)


class Listing:
    """Describes jobs for people.

    Args:
        view: the state of the fences.
        tasks: the tasks that run now.
        hosts: the farm's renders.
    """

    def __init__(self, view: View, tasks: Iterable[Task], hosts: Hosts) -> None:
        self._view, self._hosts = view, hosts
        self._tasks: dict[int, dict[str, int]] = {}
        for task in tasks:
            on = self._tasks.setdefault(task.job, {})
            on[task.host] = on.get(task.host, 0) + 1

    @cached_property
    def _all(self) -> list[Job]:
        return [self._view.jobs[number] for number in sorted(self._view.jobs) if number != SYSTEM_JOB]

    def wanted(
        self, *, named: bool, pool: str | None, user: str | None, ids: Collection[int] | None, done: bool
    ) -> list[Job]:
        """The requested jobs, by number.

        Args:
            named: those that name a pool, or those that do not.
            pool: only those of this pool, and those of others that may use it as their second one.
            user: only this user's.
            ids: only these.
            done: finished ones too.
        """
        verdicts = self._view.verdicts
        return [
            job
            for job in self._all
            if (verdict := verdicts.get(job.id)) is not None
            and (verdict.fence != "none") is named
            and (pool is None or verdict.is_of(pool))
            and (user is None or job.user_name == user)
            and (ids is None or job.id in ids)
            and (done or not job.is_finished)
        ]

    def ours(self, job: Job) -> JobSummary:
        """A job that names a pool."""
        verdict = self._view.verdicts[job.id]
        note = intent_of(job).note
        said = self._said(job)
        return JobSummary(
            **said,
            pool=verdict.pool,
            outside=sum(host.tasks for host in said["hosts"] if host.outside),
            fence=verdict.fence,
            why=verdict.why,
            moved=(note.moved or None) if note else None,
            by=note.by if note else "",
            spill=self._spill(job, verdict.spill),
        )

    def _spill(self, job: Job, spill: Spill | None) -> ListedSpill | None:
        if spill is None:
            return None
        return ListedSpill(
            pool=spill.pool,
            after=spill.after,
            since=as_time(spill.since) if spill.is_open else None,
            waited=0 if spill.is_open else int(self._view.waited.get(job.serial, 0.0)) // 10 * 10,
            own=spill.own,
            why=spill.why,
        )

    def other(self, job: Job) -> OtherJob:
        """A job that names no pool."""
        return OtherJob(**self._said(job), exclude=job.hosts_mask_exclude[:_EXCLUDE_SHOWN])

    def _said(self, job: Job) -> dict[str, Any]:
        """The fields of `_ListedJob`."""
        online, renders = self._hosts.count(self._hosts.of(job))
        return {
            "id": job.id,
            "serial": job.serial,
            "name": job.name,
            "user": job.user_name,
            "state": job.state,
            "ready": job.tasks_ready,
            "running": job.running_tasks_num,
            "done": job.tasks_done,
            "tasks": job.tasks,
            "online": online,
            "renders": renders,
            "hosts": self._where(job),
        }

    def _where(self, job: Job) -> list[HostTasks]:
        on = self._tasks.get(job.id, {})
        return [HostTasks(name=host, tasks=on[host], outside=keeps_out(job, host)) for host in sorted(on)]

    def tasks_on(self, job: Job, hosts: Collection[str]) -> dict[str, int]:
        """How many tasks of a job run on each of these hosts."""
        return {host: count for host, count in sorted(self._tasks.get(job.id, {}).items()) if host in hosts}
