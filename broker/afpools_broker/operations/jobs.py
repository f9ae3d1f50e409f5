"""The operations about jobs that are on the farm already."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from ..farm import FarmError
from ..hosts import expand
from ..live.jobs import Job
from ..live.keeper import FenceKeeper, View
from ..live.listing import Hosts, JobSummary, Listing, OtherJob
from ..live.plan import World
from ..live.preview import PreviewResult, outlooks, outlooks_of_move, result_of, world_with
from ..live.tasks import Task
from ..pools import Pool, unique, without
from ..protocol import Code, HostPattern, PoolName, RequestRefused, Result, Role
from .base import Call, Operation, Parts
from .history import undoing_since

MOST_JOBS = 5_000

JobId = Annotated[int, Meta(ge=1, lt=2**31)]
UserName = Annotated[str, Meta(min_length=1, max_length=256)]


class JobReference(Struct, forbid_unknown_fields=True):
    """One job on the farm. An id is used again as soon as its job is deleted, a serial never."""

    id: JobId
    serial: Annotated[int, Meta(ge=0)] | None = None


JobReferences = Annotated[
    list[JobReference],
    Meta(
        min_length=1,
        max_length=1000,
        title="jobs",
        description='a list of 1 to 1,000 jobs, {"id": 812, "serial": 4711} each; the serial may be left out',
    ),
]


def live_of(parts: Parts) -> FenceKeeper:
    """What keeps the fences.

    Raises:
        RequestRefused: `farm_unavailable`: nothing does, and why.
    """
    if parts.live is not None:
        return parts.live
    if parts.farm.by_hand:
        why = "This broker has no afserver ([farm] server in broker.toml is empty), so it knows of no jobs."
    else:
        why = "This broker does not look at running jobs: set enabled = true in the section [live] of broker.toml."
    raise RequestRefused(Code.FARM_UNAVAILABLE, why)


def find_jobs(view: View, references: list[JobReference]) -> list[Job]:
    """The jobs that are meant.

    Raises:
        RequestRefused: `bad_request`: one of them is not on the farm any more, or never was.
    """
    found = []
    for reference in references:
        job = view.jobs.get(reference.id)
        if job is None or reference.serial not in (None, job.serial):
            raise RequestRefused(
                Code.BAD_REQUEST, f"There is no job {reference.id} on the farm any more. Look at the list of jobs."
            )
        found.append(job)
    return found


class _Picture:
    """The jobs on the farm, and what runs where."""

    def __init__(self, call: Call) -> None:
        moment = call.moment
        self.live = live_of(call.parts)
        self.view = self.live.view
        self.problem = self.view.problem
        tasks: list[Task] = []
        try:
            tasks = self.live.tasks()
        except FarmError as error:
            self.problem = self.problem or f"Where tasks run is not known: {error}"
        self.hosts = Hosts(moment.snapshot, can_count=moment.can_count)
        self.listing = Listing(self.view, tasks, self.hosts)
        age = self.live.age()
        self.age = None if age is None else round(age, 1)


class JobsListResult(Result):
    enabled: Annotated[bool, Meta(description="always true: where running jobs are not looked at, this is refused")]
    keeper: Annotated[str, Meta(description="the broker that keeps the fences now; empty if none is known to")]
    keeping: Annotated[bool, Meta(description="that is this broker")]
    running: Annotated[
        Literal["finish", "requeue"], Meta(description="what becomes of tasks outside of a fence that has moved")
    ]
    problem: Annotated[str, Meta(description="a sentence, if the list cannot be relied on; else empty")]
    age: Annotated[float | None, Meta(description="seconds since afserver has confirmed the jobs; null if never")]
    behind: Annotated[float, Meta(description="seconds since when the fence has waited that has waited longest")]
    total: Annotated[int, Meta(description="jobs that name a pool, also if the limit cut the list")]
    more: Annotated[bool, Meta(description="the limit cut one of the lists")]
    jobs: Annotated[list[JobSummary], Meta(description="those that name a pool, by number")]
    others: Annotated[list[OtherJob], Meta(description="those that do not")]


class JobsList(Operation):
    """The jobs that are on the farm: their pools, the hosts they may use, how their fences stand."""

    op = "jobs.list"
    result = JobsListResult

    pool: Annotated[PoolName | None, Meta(extra={"means": "only jobs of this pool; then none that name no pool"})] = (
        None
    )
    user: Annotated[UserName | None, Meta(description="a user's name", extra={"means": "only this user's jobs"})] = None
    ids: Annotated[
        Annotated[list[JobId], Meta(max_length=MOST_JOBS)] | None,
        Meta(description="a list of job numbers", extra={"means": "only these jobs"}),
    ] = None
    others: Annotated[bool, Meta(description="true or false", extra={"means": "also jobs that name no pool"})] = True
    done: Annotated[bool, Meta(description="true or false", extra={"means": "also finished jobs"})] = False
    limit: Annotated[
        int, Meta(ge=1, le=MOST_JOBS, description="a number from 1 to 5000", extra={"means": "of jobs in each list"})
    ] = 1000

    def answer(self, call: Call) -> JobsListResult:
        picture = _Picture(call)
        live, listing, view = picture.live, picture.listing, picture.view
        ids = None if self.ids is None else frozenset(self.ids)
        jobs = listing.wanted(named=True, pool=self.pool, user=self.user, ids=ids, done=self.done)
        others = []
        if self.others and self.pool is None:
            others = listing.wanted(named=False, pool=None, user=self.user, ids=ids, done=self.done)
        return JobsListResult(
            enabled=True,
            keeper=live.lease.keeper,
            keeping=live.lease.is_ours,
            running=live.running,
            problem=picture.problem,
            age=picture.age,
            behind=round(view.behind, 1),
            total=len(jobs),
            more=max(len(jobs), len(others)) > self.limit,
            jobs=[listing.ours(job) for job in jobs[: self.limit]],
            others=[listing.other(job) for job in others[: self.limit]],
        )


class PoolsPreview(Operation):
    """What a change would do to the jobs on the farm, told from their masks. Nothing is changed.

    It takes one of: `pool` with `add_hosts` and `remove_hosts`; `pool` with `delete`; `pool` with `new_name`; `entry`,
    for what undoing it would do; `jobs` and `pool`, for what moving them there would do.
    """

    op = "pools.preview"
    role = Role.MANAGER
    purpose = "preview changes"
    result = PreviewResult

    pool: PoolName | None = None
    add_hosts: Annotated[list[HostPattern], Meta(max_length=100_000, description="names and ranges")] = msgspec.field(
        default_factory=list
    )
    remove_hosts: Annotated[list[HostPattern], Meta(max_length=100_000, description="names and ranges")] = (
        msgspec.field(default_factory=list)
    )
    delete: Annotated[bool, Meta(description="true or false", extra={"means": "it would be deleted"})] = False
    new_name: PoolName | None = None
    entry: Annotated[Annotated[str, Meta(max_length=64)] | None, Meta(description="one that the history shows")] = None
    jobs: JobReferences | None = None
    limit: Annotated[
        int, Meta(ge=0, le=MOST_JOBS, description="a number from 0 to 5000", extra={"means": "of jobs in the answer"})
    ] = 200

    def __post_init__(self) -> None:
        changes_hosts = bool(self.add_hosts or self.remove_hosts)
        kinds = [changes_hosts, self.delete, self.new_name is not None, self.entry is not None, self.jobs is not None]
        if sum(kinds) > 1:
            raise ValueError("it previews one change: hosts, or delete, or new_name, or entry, or jobs")
        if (self.pool is None) == (self.entry is None):
            raise ValueError("it takes either a pool or an entry of the history")

    def answer(self, call: Call) -> PreviewResult:
        picture = _Picture(call)
        view, listing, hosts = picture.view, picture.listing, picture.hosts
        if view.world is None or picture.age is None:
            raise RequestRefused(Code.FARM_UNAVAILABLE, picture.problem or "The broker has not seen the jobs yet.")
        snapshot = call.moment.snapshot
        if self.jobs is not None:
            assert self.pool is not None
            snapshot.pool(self.pool)
            jobs = find_jobs(view, self.jobs)
            found = outlooks_of_move(view, listing, hosts, jobs, self.pool, World.of(snapshot))
        else:
            name, after = self._change(call)
            world = world_with(snapshot, after, name)
            found = outlooks(view, listing, hosts, name, world, after)
        return result_of(found, hosts, limit=self.limit, running=picture.live.running, age=picture.age)

    def _change(self, call: Call) -> tuple[str, Pool | None]:
        """The pool's name, and the pool afterwards; None for a deletion."""
        snapshot = call.moment.snapshot
        if self.entry is not None:
            return self._undone(call, self.entry)
        assert self.pool is not None
        present = snapshot.pool(self.pool)
        if self.delete:
            return self.pool, None
        if self.new_name is not None:
            return self.pool, replace(present, name=self.new_name)
        farm = snapshot.fences.farm
        if self.remove_hosts:
            present = without(present, expand(self.remove_hosts, farm, leaving=True))
        return self.pool, replace(present, hosts=unique((*present.hosts, *expand(self.add_hosts, farm))))

    @staticmethod
    def _undone(call: Call, entry_id: str) -> tuple[str, Pool | None]:
        parts = call.parts
        entry = parts.store.entry(entry_id)
        if entry is None:
            raise RequestRefused(
                Code.BAD_REQUEST, f"There is no change {entry_id!r} in the history. Take one that the history shows."
            )
        undoing = undoing_since(parts.store, entry.id, lambda _names: parts.keeper.current.contents)
        return undoing.pool_of(entry), undoing.plan(entry).result
