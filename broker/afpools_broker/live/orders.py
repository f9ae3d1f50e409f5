"""A manager's orders for individual jobs: move them to another pool, take them up again, send their tasks back.

Strategy: the broker that receives an order carries it out at once, whoever holds the lease: it is one person's wish
about jobs that they named. The mask is set and noted on the job as at sending, so the broker that keeps the fences
finds nothing left to do.
"""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from msgspec import Meta

from afpools.fence_note import KEY, Note

from ..pools.history import MovedJob
from ..protocol import Result
from .apply import Move
from .intent import intent_of
from .jobs import Job, read_jobs
from .keeper import FenceKeeper
from .plan import World, plan_for, with_pool
from .tasks import Task, outside, restarts, running_tasks

# So long an order may take, and so much longer for each job: of those that no two change alike, some 500 are changed a
# second.
_PATIENCE_SECONDS = 10.0
_PATIENCE_PER_JOB = 0.004
_TRIES = 3
_LOOK_SECONDS = 0.1

Wish = Callable[[Job], "Note | str | None"]
"""The new note of a job; None: it gets no pool; a sentence: why it is left alone."""


class OrderedJob(Result):
    """The outcome for one job."""

    id: Annotated[int, Meta(description="its number")]
    serial: Annotated[int | None, Meta(description="its serial; null if the job does not exist")]
    name: Annotated[str, Meta(description="the job's name")]
    user: Annotated[str, Meta(description="whose it is")]
    before: Annotated[str, Meta(description="its pool before; empty if it named none")]
    after: Annotated[str, Meta(description="its pool now")]
    done: Annotated[bool, Meta(description="it is as wanted")]
    why: Annotated[str, Meta(description="a sentence: what stood in the way; else empty")]
    tasks: Annotated[int, Meta(description="tasks of it that were sent back, for `jobs.requeue`")] = 0
    remark: Annotated[str, Meta(description="a sentence that somebody should know although it is done; else empty")] = (
        ""
    )


@dataclass(frozen=True)
class Order:
    """The jobs that an order is about.

    Args:
        ids: their numbers.
        serials: what their serials must be, as far as given.
    """

    ids: Sequence[int]
    serials: Mapping[int, int]

    def find(self, jobs: Mapping[int, Job]) -> tuple[list[Job], list[OrderedJob]]:
        """The jobs that exist, and the outcome for the others."""
        found, missing = [], []
        for number in dict.fromkeys(self.ids):
            job = jobs.get(number)
            if job is not None and self.serials.get(number, job.serial) == job.serial:
                found.append(job)
            else:
                missing.append(_missing(number, self.serials.get(number)))
        return found, missing


def _missing(number: int, serial: int | None) -> OrderedJob:
    why = f"Job {number} is no longer on the farm."
    return OrderedJob(id=number, serial=serial, name="", user="", before="", after="", done=False, why=why)


class Orders:
    """Carries out managers' orders.

    Args:
        live: knows the jobs and the connection to afserver.
        world: pools and farm as they are now.
        now: the time, with its zone.
    """

    def __init__(self, live: FenceKeeper, world: World, now: dt.datetime) -> None:
        self._live, self._world, self._now = live, world, now
        self._until = 0.0  # as time.monotonic counts

    def move(self, order: Order, pool: str, by: str) -> list[OrderedJob]:
        """Moves jobs to a pool; `by` describes the move for people.

        Raises:
            FarmError: afserver does not answer.
        """
        return self._carry_out(order, lambda job: with_pool(job, pool, self._world, self._live.note_of(job)), by)

    def adopt(self, order: Order, by: str) -> list[OrderedJob]:
        """Takes up jobs again that somebody changed, or that an earlier plug-in sent.

        Raises:
            FarmError: afserver does not answer.
        """

        def wish(job: Job) -> Note | str:
            pool = self._pool_of(job, self._live.note_of(job))
            if not pool:
                return "It names no pool: move it to one."
            if pool not in self._world.snapshot.contents.pools:
                return f"The pool {pool!r} was deleted: move it to another."
            intent = intent_of(job)
            if intent.kind == "unmarked" and intent.note is not None and not intent.note.exclude:
                unknown.add(job.id)
            return with_pool(job, pool, self._world, self._live.note_of(job))

        unknown: set[int] = set()
        results = self._carry_out(order, wish, by)
        for each in results:
            if each.done and each.id in unknown:
                each.remark = (
                    "An earlier plug-in sent it and did not note what the artist excluded besides, so that is not "
                    f"excluded any more: it may use all hosts of {each.after!r}."
                )
        return results

    def move_back(self, moved: Sequence[MovedJob], by: str) -> list[OrderedJob]:
        """Takes back a move, for the jobs that are still where it brought them.

        Raises:
            FarmError: afserver does not answer.
        """
        origin = {job.id: job for job in moved}

        def wish(job: Job) -> Note | str | None:
            before, after = origin[job.id].before, origin[job.id].after
            if self._pool_of(job) != after:
                return f"It is no longer in the pool {after!r}."
            if before and before not in self._world.snapshot.contents.pools:
                return f"The pool {before!r} no longer exists."
            return with_pool(job, before, self._world) if before else None

        order = Order(list(origin), {job.id: job.serial for job in moved})
        return self._carry_out(order, wish, by)

    def requeue(self, order: Order, hosts: Collection[str] | None) -> list[OrderedJob]:
        """Sends back tasks that run outside their job's fence, once the fence has moved.

        Args:
            order: which jobs.
            hosts: only tasks on these; None for all.

        Raises:
            FarmError: afserver does not answer.
        """
        self._be_patient(order)
        behind = self._wait_for_fences(order.ids)
        jobs, results = order.find(self._read(order.ids))
        ready = {job.id: job for job in jobs if job.id not in behind}
        tasks = outside(running_tasks(self._live.ask), ready, hosts)
        self._live.by_hand.operate([self._restart(*each) for each in restarts(tasks)])
        self._live.look_at(order.ids)
        return results + [self._requeued(job, tasks, late=job.id in behind) for job in jobs]

    def _requeued(self, job: Job, tasks: list[Task], *, late: bool) -> OrderedJob:
        pool = self._pool_of(job)
        why = "Its fence has not moved yet: its tasks would start where they are. Try again." if late else ""
        return _result(job, pool, pool, why, tasks=sum(task.job == job.id for task in tasks))

    def _restart(self, job: int, block: int, numbers: list[int]) -> dict[str, Any]:
        operation = {"type": "restart", "task_ids": numbers}
        return self._live.by_hand.action([job], block_ids=[block], operation=operation)

    def _be_patient(self, order: Order) -> None:
        self._until = time.monotonic() + _PATIENCE_SECONDS + _PATIENCE_PER_JOB * len(order.ids)

    def _wait_for_fences(self, ids: Collection[int]) -> set[int]:
        """Waits until the fences of these jobs match their pools; returns the jobs whose fences did not move in
        time."""
        while True:
            view = self._live.view
            is_new = view.world is not None and view.world.snapshot.contents is self._live.contents
            behind = {number for number in ids if (v := view.verdicts.get(number)) and v.fence == "behind"}
            if (is_new and not behind) or time.monotonic() > self._until:
                return behind
            time.sleep(_LOOK_SECONDS)

    def _read(self, ids: Collection[int]) -> dict[int, Job]:
        return read_jobs(self._live.ask, ids)

    def _pool_of(self, job: Job, said: Note | None = None) -> str:
        """The present name of a job's pool; empty if it names none, and `said` named none before."""
        note = intent_of(job).note or said
        view = self._live.view
        if note is None:
            return ""
        return (view.world.names.now(note.pool, note.revision) if view.world else None) or note.pool

    def _carry_out(self, order: Order, wish: Wish, by: str) -> list[OrderedJob]:
        self._be_patient(order)
        jobs, results = order.find(self._read(order.ids))
        before = {job.id: self._pool_of(job) for job in jobs}
        wishes = {job.id: wish(job) for job in jobs}
        waiting = {job.id: job for job in jobs}
        for _ in range(_TRIES):
            moves = []
            for job in list(waiting.values()):
                move = self._move_of(job, self._again(job, wishes[job.id]), by)
                if isinstance(move, Move):
                    moves.append(move)
                    continue
                del waiting[job.id]
                pool = before[job.id] if move else self._pool_of(job)
                results.append(_result(job, before[job.id], pool, move))
            read = self._send(moves)
            for number, job_now in read.items():
                if job_now is None or job_now.serial != waiting[number].serial:
                    results.append(_missing(number, waiting.pop(number).serial))
                else:
                    waiting[number] = job_now
            if not waiting or time.monotonic() > self._until:
                break
        for job in waiting.values():
            # Checked once more: the last try may have succeeded.
            move = self._move_of(job, self._again(job, wishes[job.id]), by)
            why = "afserver has not made the change yet. Check again later." if isinstance(move, Move) else move
            results.append(_result(job, before[job.id], before[job.id] if why else self._pool_of(job), why))
        self._live.look_at(order.ids)
        return sorted(results, key=lambda each: each.id)

    def _again(self, job: Job, wish: Note | str | None) -> Note | str | None:
        """The wish for a job as it is now: its own note may already be what is wanted."""
        return with_pool(job, wish.pool, self._world, wish) if isinstance(wish, Note) else wish

    def _move_of(self, job: Job, note: Note | str | None, by: str) -> Move | str:
        """The move to send; otherwise why the job is left alone, or nothing if it is as wanted."""
        if isinstance(note, str):
            return note
        if note is None:
            self._live.forget_note(job)
            return self._without_pool(job)
        verdict = plan_for(job, note, self._world, self._now, by=by)
        if verdict.params is not None:
            return Move(job, verdict.params)
        return verdict.why if verdict.fence == "kept" else ""

    @staticmethod
    def _without_pool(job: Job) -> Move | str:
        """The move that makes a job what it was before it named a pool."""
        note = intent_of(job).note
        if note is None:
            return ""
        others = {key: value for key, value in json.loads(job.custom_data).items() if key != KEY}
        params: dict[str, Any] = {"hosts_mask_exclude": note.exclude}
        if note.exclude_type in ("find", "regex") and job.hosts_mask_type not in ("", note.exclude_type):
            params["hosts_mask_type"] = note.exclude_type
        params["custom_data"] = json.dumps(others) if others else ""
        params.update({key: value for key, value in (("hidden", job.hidden), ("pools", job.pools)) if value})
        return Move(job, params)

    def _send(self, moves: list[Move]) -> dict[int, Job | None]:
        """Carries out moves, as many as time allows; returns each job as it was last read."""
        read: dict[int, Job | None] = {}
        while moves and time.monotonic() < self._until:
            outcome = self._live.by_hand.carry_out(moves)
            read.update(outcome.read)
            self._live.struck.hit(outcome.struck)
            self._live.overwritten.watch(outcome.made)
            moves = [move for move in moves if move.job.id not in outcome.read]
        return read


def _result(job: Job, before: str, after: str, why: str, *, tasks: int = 0) -> OrderedJob:
    return OrderedJob(
        id=job.id,
        serial=job.serial,
        name=job.name,
        user=job.user_name,
        before=before,
        after=after,
        done=not why,
        why=why,
        tasks=tasks,
    )
