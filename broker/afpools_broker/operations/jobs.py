"""The operations about jobs on the farm."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from ..farm.afserver import FarmError
from ..live.jobs import Job
from ..live.keeper import FenceKeeper
from ..live.listing import Hosts, JobSummary, Listing, OtherJob
from ..live.orders import Order, OrderedJob, Orders
from ..live.plan import World
from ..live.preview import PreviewResult, others_of, outlooks, outlooks_back, outlooks_of_move, result_of, world_with
from ..live.tasks import Task
from ..live.view import View
from ..pools.changes import MOVE_JOBS, refuse_followed, without
from ..pools.history import Diff, Entry, MovedJob, next_entry_id
from ..pools.hosts import expand
from ..pools.pool import Pool, fingerprint, unique
from ..pools.undo import Undoing
from ..protocol import Code, HostPattern, PoolName, RequestId, RequestRefused, Result, Role
from ..store.settling import to_milliseconds
from .base import Call, Operation, Parts
from .history import undoing_since
from .writing import WriteResult

log = logging.getLogger("afpools.service")

MOST_JOBS = 5_000

# How many seconds an order about jobs waits for the one before it.
_ORDER_SECONDS = 1.5

JobId = Annotated[int, Meta(ge=1, lt=2**31)]
UserName = Annotated[str, Meta(min_length=1, max_length=256)]


class JobReference(Struct, forbid_unknown_fields=True):
    """One job on the farm. afserver reuses an id as soon as its job is deleted, a serial never."""

    id: JobId
    serial: Annotated[int, Meta(ge=0)] | None = None


JobReferences = Annotated[
    list[JobReference],
    Meta(
        min_length=1,
        max_length=MOST_JOBS,
        title="jobs",
        description='a list of 1 to 5,000 jobs, {"id": 812, "serial": 4711} each; the serial may be left out',
    ),
]


def live_of(parts: Parts) -> FenceKeeper:
    """The keeper of the fences.

    Raises:
        RequestRefused: `farm_unavailable`: there is none; the message says why.
    """
    if parts.live is not None:
        return parts.live
    if parts.farm.by_hand:
        why = "This broker has no afserver, so it knows of no jobs: set server in the section [farm] of broker.toml."
    else:
        why = "This broker does not look at running jobs: set enabled = true in the section [live] of broker.toml."
    raise RequestRefused(Code.FARM_UNAVAILABLE, why)


def find_jobs(view: View, references: list[JobReference]) -> list[Job]:
    """The jobs that are named.

    Raises:
        RequestRefused: `bad_request`: one of them is no longer on the farm, or never was.
    """
    found = []
    for reference in references:
        job = view.jobs.get(reference.id)
        if job is None or reference.serial not in (None, job.serial):
            raise RequestRefused(
                Code.BAD_REQUEST, f"Job {reference.id} is no longer on the farm. Look at the list of jobs."
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
        Literal["finish", "requeue"], Meta(description="what happens to tasks outside a fence that has moved")
    ]
    problem: Annotated[str, Meta(description="a sentence, if the list cannot be relied on; else empty")]
    age: Annotated[float | None, Meta(description="seconds since afserver has confirmed the jobs; null if never")]
    behind: Annotated[float, Meta(description="how long the fence that has waited longest has waited, in seconds")]
    total: Annotated[int, Meta(description="jobs that name a pool, also if the limit cut the list")]
    more: Annotated[bool, Meta(description="the limit cut one of the lists")]
    jobs: Annotated[list[JobSummary], Meta(description="those that name a pool, by number")]
    others: Annotated[list[OtherJob], Meta(description="those that do not")]


class JobsList(Operation):
    """The jobs on the farm: their pools, the hosts they may use, how their fences stand."""

    op = "jobs.list"
    result = JobsListResult

    pool: Annotated[
        PoolName | None,
        Meta(extra={"means": "only jobs of this pool or spilled to it; then none that name no pool"}),
    ] = None
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
    """What a change would do to the jobs on the farm, judged by their masks. Nothing is changed.

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
        elif self.entry is not None and (entry := self._entry(call, self.entry)).op == MOVE_JOBS:
            found = outlooks_back(view, listing, hosts, entry.diff.jobs, World.of(snapshot))
        else:
            name, after = self._change(call)
            world = world_with(snapshot, after, others_of(view, listing, name))
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
        after = present
        if self.remove_hosts:
            after = without(present, expand(self.remove_hosts, farm, leaving=True))
        after = replace(after, hosts=unique((*after.hosts, *expand(self.add_hosts, farm))))
        refuse_followed(present, after)
        return self.pool, after

    @staticmethod
    def _entry(call: Call, entry_id: str) -> Entry:
        entry = call.parts.store.entry(entry_id)
        if entry is None:
            raise RequestRefused(
                Code.BAD_REQUEST, f"There is no change {entry_id!r} in the history. Take one that the history shows."
            )
        return entry

    @classmethod
    def _undone(cls, call: Call, entry_id: str) -> tuple[str, Pool | None]:
        parts = call.parts
        entry = cls._entry(call, entry_id)
        undoing = undoing_since(parts.store, entry.id, lambda _names: parts.keeper.current.contents)
        return undoing.pool_of(entry), undoing.plan(entry).result


class JobsResult(Result):
    change: Annotated[str, Meta(description="the id of the history entry; empty if there is none")]
    pool: Annotated[str, Meta(description="the pool; empty if there was none named")]
    jobs: Annotated[list[OrderedJob], Meta(description="the outcome for each job, by number")]
    moved: Annotated[int, Meta(description="how many jobs were changed, or had tasks sent back")]


@contextmanager
def ordering(call: Call) -> Iterator[Orders]:
    """Waits for the turn to carry out an order for individual jobs.

    Raises:
        RequestRefused: `rate_limited`, `farm_unavailable`, `store_unavailable`.
    """
    live = live_of(call.parts)
    # One at a time: they share the connection to afserver, and what is known about its pace.
    if not live.orders.acquire(timeout=_ORDER_SECONDS):
        raise RequestRefused(
            Code.RATE_LIMITED, "The broker is busy with other orders about jobs. Try again in a moment.", made=False
        )
    try:
        call.refuse_late()
        yield Orders(live, World.of(call.parts.keeper.current), call.parts.clock())
    except FarmError as error:
        raise RequestRefused(
            Code.FARM_UNAVAILABLE, f"The outcome for the jobs is unknown: {error} Look at the list of jobs."
        ) from None
    finally:
        live.orders.release()


class _Order(Operation, kw_only=True):
    """Base of the orders for individual jobs."""

    role = Role.MANAGER
    result = JobsResult

    request_id: RequestId

    def answer(self, call: Call) -> JobsResult:
        with ordering(call) as orders:
            return self.carry_out(call, orders)

    def carry_out(self, call: Call, orders: Orders) -> JobsResult:
        """
        Raises:
            FarmError: afserver does not answer.
        """
        raise NotImplementedError


def _order(references: list[JobReference]) -> Order:
    serials = {each.id: each.serial for each in references if each.serial is not None}
    return Order([each.id for each in references], serials)


def _moved(jobs: list[OrderedJob]) -> tuple[MovedJob, ...]:
    return tuple(
        MovedJob(job.id, job.serial or 0, job.name, job.user, job.before, job.after)
        for job in jobs
        if job.done and job.before != job.after
    )


def record_move(
    call: Call, request_id: str, jobs: list[OrderedJob], pool: str, asked: tuple[object, ...], undoes: str = ""
) -> str:
    """Records in history that jobs were moved; returns the id of the entry, empty if none was moved.

    Args:
        call: the request.
        request_id: the request's id.
        jobs: the outcomes.
        pool: where they were moved.
        asked: everything that was asked for.
        undoes: the id of the entry that this takes back.
    """
    moved = _moved(jobs)
    entry = Entry(
        id=next_entry_id(undoes),
        when=to_milliseconds(call.parts.clock()),
        who=call.who,
        op=MOVE_JOBS,
        pool=pool,
        diff=Diff(jobs=moved),
        before="jobs" if moved else "",
        after=fingerprint(moved) if moved else "",
        hosts=0,
        key=f"{call.who}:{request_id}",
        digest=fingerprint(MOVE_JOBS, *asked),
        undoes=undoes,
    )
    recorded = call.parts.store.record(entry)
    if recorded.digest != entry.digest:
        raise RequestRefused(
            Code.BAD_REQUEST,
            f"The request_id {request_id!r} was already used for another change. The jobs were moved all the same. "
            "Make a new request_id for each change.",
        )
    if moved:
        call.did(MOVE_JOBS, f"{len(moved)} jobs to {pool!r}")
    return recorded.id if recorded.changed else ""


def move_back(call: Call, request_id: str, entry: Entry, undoing: Undoing) -> WriteResult:
    """Takes back a move, for `history.undo`.

    Args:
        call: the request.
        request_id: the request's id.
        entry: the move.
        undoing: knows whether it has been undone since.

    Raises:
        RequestRefused: `conflict`: no job is where the move brought it.
    """
    undone = undoing.undo_of(entry)
    made = call.parts.store.entry(undone.id) if undone else None
    if made is not None and made.key == f"{call.who}:{request_id}":
        return WriteResult(change=made.id, pool=made.pool, revision="", hosts=0, added=[], removed=[])
    if why_not := undoing.why_not(entry):
        raise RequestRefused(Code.CONFLICT, why_not, made=False)
    with ordering(call) as orders:
        jobs = orders.move_back(entry.diff.jobs, f"moved back by {call.who}")
    if not _moved(jobs):
        raise RequestRefused(Code.CONFLICT, f"No job was moved back. {jobs[0].why}")
    pool = entry.diff.jobs[0].before or entry.pool
    change = record_move(call, request_id, jobs, pool, (entry.id,), entry.id)
    return WriteResult(change=change, pool=pool, revision="", hosts=0, added=[], removed=[])


class JobsMove(_Order, kw_only=True):
    """Move jobs that are on the farm to another pool, or into one if they name none yet; in that case their present
    exclude mask also counts. The move is recorded in history, and can be undone."""

    op = MOVE_JOBS
    purpose = "move jobs"
    did = "jobs were moved to it"
    verb = "moved jobs to"

    jobs: JobReferences
    pool: PoolName

    def carry_out(self, call: Call, orders: Orders) -> JobsResult:
        call.parts.keeper.current.pool(self.pool)
        if trouble := call.parts.keeper.trouble:
            raise RequestRefused(
                Code.STORE_UNAVAILABLE, f"The move could not be recorded in history: {trouble}", made=False
            )
        jobs = orders.move(_order(self.jobs), self.pool, f"moved to {self.pool!r} by {call.who}")
        asked = (self.pool, [(each.id, each.serial) for each in self.jobs])
        change = record_move(call, self.request_id, jobs, self.pool, asked)
        return JobsResult(change=change, pool=self.pool, jobs=jobs, moved=len(_moved(jobs)))


class JobsAdopt(_Order, kw_only=True):
    """Take up jobs again that a person has changed, or that an earlier plug-in sent. They get their pool's mask, and
    follow the pool from then on."""

    op = "jobs.adopt"
    purpose = "take up jobs again"

    jobs: JobReferences

    def carry_out(self, call: Call, orders: Orders) -> JobsResult:
        jobs = orders.adopt(_order(self.jobs), f"taken up again by {call.who}")
        call.did(self.op, f"{len(jobs)} jobs")
        return JobsResult(change="", pool="", jobs=jobs, moved=sum(job.done for job in jobs))


class JobsRequeue(_Order, kw_only=True):
    """Send back tasks that run outside their job's fence, so that they start again within it. It waits until the fences
    match the pools. It takes `jobs`, or a `pool` for all its jobs, or both."""

    op = "jobs.requeue"
    purpose = "send tasks back"

    jobs: JobReferences | None = None
    pool: PoolName | None = None
    hosts: Annotated[
        Annotated[list[HostPattern], Meta(max_length=100_000)] | None,
        Meta(description="a list of names and ranges", extra={"means": "only tasks on these hosts"}),
    ] = None

    def __post_init__(self) -> None:
        if self.jobs is None and self.pool is None:
            raise ValueError("it takes jobs, or a pool for all its jobs")

    def carry_out(self, call: Call, orders: Orders) -> JobsResult:
        view = live_of(call.parts).view
        order = Order([], {}) if self.jobs is None else _order(self.jobs)
        if self.pool is not None:
            ids = [
                number
                for number, verdict in view.verdicts.items()
                if verdict.is_of(self.pool) and not view.jobs[number].is_finished
            ]
            named = {each.id for each in self.jobs or ()}
            order = Order([number for number in ids if self.jobs is None or number in named], order.serials)
        fences = call.moment.snapshot.fences
        hosts = None if self.hosts is None else fences.spelled(expand(self.hosts, fences.farm, leaving=True))
        jobs = orders.requeue(order, hosts)
        tasks = sum(job.tasks for job in jobs)
        call.did(self.op, f"{tasks} tasks")
        return JobsResult(change="", pool=self.pool or "", jobs=jobs, moved=sum(bool(job.tasks) for job in jobs))
