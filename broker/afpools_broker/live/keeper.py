"""Keeps every job's fence up to date with its pool.

Strategy: one thread reads the jobs, compares them with pools and farm, and carries out what is due, a little at a time,
so that nothing new waits long. Every broker reads and plans, and can report the state; only the broker that holds the
lease acts. Nothing is done while the store does not confirm its pools: a broker that may be the last to hear of a
change must not act on old data.
"""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any, NamedTuple

from afpools.fence_note import Note, parse_note

from ..config import FarmSection, Running
from ..farm.afserver import Ask, FarmError
from ..picture.snapshot import Snapshot, SnapshotKeeper
from ..pools.pool import Contents
from ..protocol import LiveHealth, RequestRefused
from ..store import PoolStore, StoreUnavailable
from .apply import USER, Move, Mover, Outcome
from .causes import described
from .intent import changed_by, is_removed_by
from .jobs import Job, JobsReader, read_jobs, read_log
from .lease import LeaseKeeper, NotOurs
from .names import PoolNames
from .overwritten import Overwritten
from .plan import NO_POOL, Verdict, World, plan, removed
from .refusals import Refusals
from .struck import Struck
from .tasks import Task, outside, restarts, running_tasks
from .trail import Trail
from .view import View
from .waiting import JobsWaiting

log = logging.getLogger("afpools.live")

# Seconds between two checks for changed pools, and between two polls of afserver's events.
_LOOK_SECONDS = 0.05
_EVENTS_SECONDS = 0.5
# Seconds until the next attempt if afserver did not answer.
_PAUSE_SECONDS = 1.0
# A broker whose store has not confirmed its pools for this long may be the last to hear of a change, so it only looks.
_FRESH_SECONDS = 5.0
# Seconds after which history is read again for a pool that could not be found: the rename may not have been there yet.
_NAMES_SECONDS = 5.0
# For how many pools that changed at once we find out who changed them, and among how many of their newest changes.
_CAUSES_AT_ONCE = 20
_CAUSES_READ = 5
# The most seconds of planning at a time, before the moves known to be due are made.
_PLAN_SECONDS = 0.5
# The running tasks are read at most once in this many seconds, however many people look at them.
_TASKS_SECONDS = 1.0
# Fences that are this many seconds behind are worth a message.
_BEHIND_SECONDS = 60.0
# How many jobs' logs are read in each round, to find out who changed them.
_LOGS_AT_ONCE = 5
# With the defaults of broker.toml.
_FARM = FarmSection("")


class Settings(NamedTuple):
    """The settings from broker.toml that matter here; they may change while the broker runs.

    Args:
        requeue: whether tasks that run outside a fence that has moved are sent back.
        refuse_after: age in seconds from which the list of renders is too old for a mask that depends on it.
        timeout: seconds that afserver may take for one answer.
        flag_after: age in seconds from which the list of renders is too old to count how long jobs wait.
    """

    requeue: bool = False
    refuse_after: float = _FARM.refuse_after
    timeout: float = _FARM.timeout
    flag_after: float = _FARM.flag_after


class FenceKeeper:
    """Keeps the fences of the jobs on one farm.

    Args:
        ask: sends one request to afserver; raises `FarmError`. Called from several threads.
        address: afserver's host and port.
        keeper: provides the pools and the farm.
        store: provides history and the lease.
        name: this broker's name.
        settings: called anew each time.
        lease: decides whether this broker acts; by default a lease in `store`.
        clock: the time, with its zone.
        monotonic: seconds since some moment, for how long jobs wait.
    """

    def __init__(
        self,
        ask: Ask,
        address: tuple[str, int],
        *,
        keeper: SnapshotKeeper,
        store: PoolStore,
        name: str,
        settings: Callable[[], Settings],
        lease: LeaseKeeper | None = None,
        clock: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask, self._keeper, self._store = ask, keeper, store
        self._settings, self._clock = settings, clock
        self.lease = lease or LeaseKeeper(store, name)
        self.view = View()
        self._token, self._acts_until = 0, float("-inf")
        self._reader = JobsReader(ask, self._matters)
        self._mover = Mover(ask, address, timeout=lambda: settings().timeout, host=name, may_act=self._check)
        self.by_hand = Mover(ask, address, timeout=lambda: settings().timeout, host=name, may_act=lambda: None)
        """Carries out a manager's orders for individual jobs, whoever has the lease. For one thread at a time."""
        self.orders = threading.Lock()
        """Held while `by_hand` is in use."""
        self.struck = Struck(ask, self.by_hand)
        """Pauses jobs that were hit by mistake; safe to tell of more from any thread."""
        giving = Mover(ask, address, timeout=lambda: settings().timeout, host=name, may_act=lambda: None)
        self.overwritten = Overwritten(ask, giving)
        """Gives back what people set at the same time as we did. The broker that overwrote it does that, with the lease
        or without."""
        self._wanted: set[int] = set()  # numbers of jobs that somebody has changed just now
        self._verdicts: dict[int, Verdict] = {}
        self._unplanned: set[int] = set()  # their verdicts are from earlier pools or masks
        self._due: dict[int, float] = {}
        self._refusals = Refusals()
        self._who: dict[tuple[int, tuple[object, ...]], str] = {}
        self._noted: dict[int, str] = {}  # by serial, the custom data in which a job named its pool last
        self._trail = Trail(store)
        self._names_due = 0.0
        self._tasks: list[Task] = []
        self._tasks_due = 0.0
        self._tasks_lock = threading.Lock()
        self._events_due = 0.0
        self._waiting = JobsWaiting(monotonic)
        self._counted: float | None = None
        self._said = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="afpools-fences", daemon=True)

    def start(self) -> None:
        """Starts the thread, which acts as soon as the lease is ours."""
        self.lease.start()
        self._thread.start()

    def stop(self, *, wait: float) -> None:
        """Ends the thread, and gives up the lease; waits at most `wait` seconds."""
        self._stop.set()
        self.lease.stop(wait=wait)
        if self._thread.is_alive():
            self._thread.join(wait)

    def _run(self) -> None:
        while not self._stop.is_set():
            pause = _LOOK_SECONDS
            try:
                if self.look():
                    pause = 0.0
            except FarmError as error:
                self._say(f"Running jobs cannot be read: {error}")
                pause = _PAUSE_SECONDS
            except Exception:
                # Not even a bug may end the thread that keeps the fences.
                log.exception("Keeping the fences of running jobs failed")
                self._say("The broker failed to look after running jobs; its log says why.")
                pause = _PAUSE_SECONDS
            self._stop.wait(pause)

    def look(self, *, at_once: bool = False) -> bool:
        """Does one round: looks, and carries out some of what is due. Returns whether there is more.

        Args:
            at_once: fetches afserver's events whether or not it is time.

        Raises:
            FarmError: afserver does not answer.
        """
        try:
            snapshot = self._keeper.current
        except RequestRefused as refusal:
            self._say(refusal.message)
            return False
        self._pause_struck()
        if self._see(snapshot):
            # Noted before afserver is asked for anything: whether or not it answers, they must be planned.
            self._unplanned.update(self._reader.jobs)
        if at_once or time.monotonic() >= self._events_due:
            self._reader.poll(at_once=at_once)
            self._events_due = time.monotonic() + _EVENTS_SECONDS
        self._read_wanted()
        if self._reader.seen is None:
            return False
        self._take_in(self._mover.catch_up())
        self._pause_struck()
        is_news = bool(self._unplanned or self._reader.touched)
        self._plan()
        if self._count_waiting(snapshot):
            is_news = True
            self._plan()
        is_news |= self._ask_who()
        if is_news or self.view.problem:
            self._say("")
        is_busy = self._act() or bool(self._unplanned)
        self._take_in(self.overwritten.look(self._reader.jobs.get, _LOGS_AT_ONCE))
        return is_busy

    # --- what there is ---

    def _read_wanted(self) -> None:
        wanted: set[int] = set()
        while self._wanted:
            wanted.add(self._wanted.pop())
        try:
            self._reader.take(wanted, read_jobs(self._ask, wanted))
        except FarmError:
            self._wanted.update(wanted)
            raise

    def _matters(self, number: int) -> bool:
        verdict = self._verdicts.get(number)
        return verdict is not None and verdict.fence != "none"

    def _see(self, snapshot: Snapshot) -> bool:
        """Stores pools and farm; returns whether they have changed, so that all jobs must be planned again."""
        world, now = self.view.world, time.monotonic()
        too_old = snapshot.farm is not None and snapshot.farm.age(self._clock()) > self._settings().refuse_after
        if world is not None and now < self._names_due:
            same = world.snapshot.contents is snapshot.contents and world.snapshot.fences is snapshot.fences
            users = _regex_users(world.snapshot) == _regex_users(snapshot)
            if same and users and world.farm_is_too_old == too_old:
                return False
        # After the contents: whatever they show, the trail has it, or will have it at the next read.
        pools = snapshot.contents.pools
        if not self._trail.read(pools):
            return False
        names = PoolNames(self._trail.steps, pools)
        old = world.causes if world else {}
        causes = {key: cause for key, cause in old.items() if key[0] in pools and pools[key[0]].revision == key[1]}
        self._find_causes(snapshot, world, causes)
        lost = any(verdict.is_lost for verdict in self._verdicts.values())
        self._names_due = now + _NAMES_SECONDS if lost else float("inf")
        self.view = replace(self.view, world=World(snapshot, names, too_old, causes))
        return True

    def _find_causes(self, snapshot: Snapshot, last: World | None, causes: dict[tuple[str, str], str]) -> None:
        """Finds out which change made each pool what it is, for pools whose jobs may have to move."""
        pools = snapshot.contents.pools
        before = last.snapshot.contents.pools if last else pools
        changed = [name for name, pool in pools.items() if before.get(name) is not pool]
        for name in {*changed[:_CAUSES_AT_ONCE], *self._pools_in_use()}:
            pool = pools.get(name)
            if pool is None or (name, pool.revision) in causes:
                continue
            try:
                newest = self._store.history(pool=name, limit=_CAUSES_READ)
            except StoreUnavailable:
                return
            made = next((entry for entry in newest if entry.after == pool.revision), None)
            if made is not None:
                causes[name, pool.revision] = described(made)
            elif name not in changed:
                # Not asked again in each round. The history of a change just made may come a moment later.
                causes[name, pool.revision] = ""

    def _pools_in_use(self) -> set[str]:
        """The pools that fences of jobs depend on."""
        verdicts = self._verdicts.values()
        return {verdict.pool for verdict in verdicts} | {
            verdict.spill.pool for verdict in verdicts if verdict.spill is not None and verdict.spill.is_open
        }

    # --- who waits ---

    def _count_waiting(self, snapshot: Snapshot) -> bool:
        """Counts how long jobs have waited for their second pools; returns whether some must be planned again because
        they have waited long enough."""
        seen = self._reader.seen
        # Not the world's farm, which is kept as long as names and versions stay the same.
        if seen == self._counted or not self._knows_all(snapshot):
            return False
        self._counted = seen
        self._waiting.look(self._reader.jobs, self._verdicts)
        self.view = replace(self.view, waited=self._waiting.seconds_by_serial())
        over = {
            number
            for number, verdict in self._verdicts.items()
            if verdict.may_open and number in self._reader.jobs and self._has_waited(self._reader.jobs[number])
        }
        self._unplanned |= over
        return bool(over)

    def _has_waited(self, job: Job) -> bool:
        """Whether a job has waited so long that its second pool must be added to its fence. Only the broker that holds
        the lease decides that: the others may have counted for longer."""
        verdict = self._verdicts.get(job.id)
        if verdict is None or not self.lease.is_ours or not self._reader.is_read(job.id):
            return False
        return self._waiting.has_waited(job, verdict)

    def _knows_all(self, snapshot: Snapshot) -> bool:
        """Whether pools and farm are confirmed. If no render of the farm is online, as after a restart of afserver, no
        job counts as waiting for one."""
        if self._keeper.trouble or self._keeper.age > _FRESH_SECONDS or snapshot.farm is None:
            return False
        return bool(snapshot.farm.online) and snapshot.farm.age(self._clock()) <= self._settings().flag_after

    # --- what is to be done ---

    def _plan(self) -> None:
        world, now = self.view.world, self._clock()
        self._unplanned |= self._reader.take_touched()
        if world is None or not self._unplanned:
            return
        until = time.monotonic() + _PLAN_SECONDS
        for number in sorted(self._unplanned, key=self._effort):
            self._unplanned.discard(number)
            job = self._reader.jobs.get(number)
            if job is None:
                self._verdicts.pop(number, None)
                continue
            verdict = self._remembered(job, self._plan_one(job, world, now), world)
            if verdict.fence in ("changed", "removed"):
                verdict = replace(verdict, why=self._who.get((number, job.fence), verdict.why))
            self._verdicts[number] = verdict
            if verdict.is_lost:
                self._names_due = min(self._names_due, time.monotonic() + _NAMES_SECONDS)
            if time.monotonic() > until:
                break
        self._note_due()

    def _effort(self, number: int) -> int:
        """Jobs to plan last if time is short: a job's own exclude mask may take seconds (12 s were measured)."""
        job = self._reader.jobs.get(number)
        return len(job.custom_data) if job else 0

    def _plan_one(self, job: Job, world: World, now: dt.datetime) -> Verdict:
        try:
            return plan(job, world, now, waited=self._has_waited(job))
        except Exception:
            # Whatever somebody wrote into one job, the fences of the others must move.
            log.exception("The fence of job %d could not be worked out", job.id)
            return Verdict("kept", why="The broker failed to work out its fence; its log says why.")

    def _remembered(self, job: Job, verdict: Verdict, world: World) -> Verdict:
        """The verdict on a job of which more may be known than it says itself."""
        if verdict.fence != "none":
            self._noted[job.serial] = job.custom_data
            return verdict
        note = self.note_of(job)
        return verdict if note is None else removed(note, world)

    def note_of(self, job: Job) -> Note | None:
        """What a job said of its pool, as long as a person has not taken that away."""
        return parse_note(self._noted.get(job.serial, ""))

    def forget_note(self, job: Job) -> None:
        """The note was taken away by us. Safe to call from any thread."""
        self._noted.pop(job.serial, None)

    def _note_due(self) -> None:
        """When each fence that has to move became due, except those that afserver refuses to move."""
        now = time.monotonic()
        due = {
            job.serial: self._due.get(job.serial, now)
            for number, verdict in self._verdicts.items()
            if verdict.params is not None
            and (job := self._reader.jobs.get(number)) is not None
            and not job.is_finished
            and self._refusals.may_try(job, verdict.params)
        }
        self._due = due
        self._forget()

    def _forget(self) -> None:
        """Drops what was known about jobs that are gone or have another mask by now."""
        jobs = self._reader.jobs
        serials = {job.serial for job in jobs.values()}
        self.struck.keep_only(serials)
        self._noted = {serial: data for serial, data in self._noted.items() if serial in serials}
        self._refusals.keep_only(serials)
        self._who = {key: who for key, who in self._who.items() if key[0] in jobs and jobs[key[0]].fence == key[1]}

    def _ask_who(self) -> bool:
        """Finds out who changed jobs that are left alone; returns whether that is now known for more of them."""
        asked = 0
        for number, verdict in self._verdicts.items():
            job = self._reader.jobs.get(number)
            if verdict.fence not in ("changed", "removed") or job is None or (number, job.fence) in self._who:
                continue
            if asked == _LOGS_AT_ONCE:
                break
            asked += 1
            try:
                lines = read_log(self._ask, number)
            except FarmError:
                lines = []  # knowing who it was does not justify delaying other fences
            if verdict.fence == "removed" and is_removed_by(lines, USER):
                self.forget_note(job)
                self._verdicts[number] = Verdict("none", why=NO_POOL)
                continue
            why = self._who[number, job.fence] = changed_by(lines, USER, verdict.fence)
            self._verdicts[number] = replace(verdict, why=why)
        return asked > 0

    def _moves(self) -> list[Move]:
        """The moves that are due, most urgent first."""
        moves = []
        for number, verdict in self._verdicts.items():
            job = self._reader.jobs.get(number)
            if verdict.params is None or job is None or job in self.struck or number in self._unplanned:
                continue
            if self._refusals.may_try(job, verdict.params):
                moves.append(Move(job, verdict.params, only_idle=verdict.opens))
        return sorted(moves, key=lambda move: (move.job.is_finished, not move.job.running_tasks_num))

    def _act(self) -> bool:
        """Carries out some of what is due; returns whether there is more."""
        if not self.lease.is_ours or self._keeper.trouble or self._keeper.age > _FRESH_SECONDS:
            return False
        moves = self._moves()
        if not moves:
            return False
        self._token, self._acts_until = self.lease.token, time.monotonic() + _FRESH_SECONDS
        try:
            outcome = self._mover.carry_out(moves)
            self._take_in(outcome)
            self._pause_struck()
            if self._settings().requeue and outcome.done:
                self._send_back(outcome.done)
        except NotOurs:
            log.warning("The lease was lost or pools changed while fences were moved; they are planned again.")
            return False
        return len(moves) > len(outcome.read)

    def _check(self) -> None:
        """Called right before each action is written: this process may have been paused since the action was planned.

        Raises:
            NotOurs: another broker has the lease, or pools or renders have changed.
        """
        self.lease.check(self._token)
        known, world = self._keeper.current, self.view.world
        is_new = world is not None and known.contents is world.snapshot.contents
        if not is_new or self._keeper.age > _FRESH_SECONDS or time.monotonic() > self._acts_until:
            raise NotOurs

    def _take_in(self, outcome: Outcome) -> None:
        if not outcome.read:
            return
        read = {number: job for number, job in outcome.read.items() if job is not None}
        self._reader.take(outcome.read, read)
        for job in outcome.done:
            verdict = self._verdicts.get(job.id)
            if verdict is not None and verdict.opens:
                log.info("Job %d %r spills: %s.", job.id, job.name, verdict.note.by if verdict.note else "")
        for job, params in outcome.refused:
            self._refusals.refused(job, params)
        self.struck.hit(outcome.struck)
        self.overwritten.watch(outcome.made)
        view = self.view
        self.view = replace(
            view,
            moved=view.moved + len(outcome.done),
            refused=view.refused + len(outcome.refused),
            seconds=outcome.seconds,
        )
        self._unplanned.update(outcome.read)
        self._plan()
        self._say("")

    def _pause_struck(self) -> None:
        """The broker that hit a job pauses it, with the lease or without: no other broker knows."""
        self.look_at(self.struck.pause())

    def _send_back(self, jobs: list[Job]) -> None:
        tasks = outside(running_tasks(self._ask), {job.id: job for job in jobs})
        self._mover.operate(self._restart(restarts(tasks)))

    def _restart(self, what: list[tuple[int, int, list[int]]]) -> list[dict[str, Any]]:
        return [
            self._mover.action([job], block_ids=[block], operation={"type": "restart", "task_ids": numbers})
            for job, block, numbers in what
        ]

    def _say(self, problem: str) -> None:
        if problem and problem != self._said:
            log.warning("%s", problem)
        self._said = problem
        self.view = replace(
            self.view,
            jobs=dict(self._reader.jobs),
            verdicts={
                number: self._refusals.overlaid(self._reader.jobs[number], verdict)
                for number, verdict in self._verdicts.items()
                if number in self._reader.jobs
            },
            due=dict(self._due),
            problem=problem,
            struck=self.struck.texts,
        )

    def look_at(self, ids: Collection[int]) -> None:
        """Reads these jobs again in the next round. Safe to call from any thread."""
        self._wanted.update(ids)

    @property
    def ask(self) -> Ask:
        """Sends one request to afserver; raises `FarmError`."""
        return self._ask

    @property
    def contents(self) -> Contents:
        """The pools as the broker knows them now; those of the last round may be older.

        Raises:
            RequestRefused: `store_unavailable`: it has not seen its store since it started.
        """
        return self._keeper.current.contents

    def tasks(self) -> list[Task]:
        """The tasks that run now, at most a second old. Safe to call from any thread.

        Raises:
            FarmError: afserver does not answer.
        """
        with self._tasks_lock:
            if time.monotonic() >= self._tasks_due:
                self._tasks = running_tasks(self._ask)
                self._tasks_due = time.monotonic() + _TASKS_SECONDS
            return self._tasks

    @property
    def running(self) -> Running:
        """What happens to tasks that run outside a fence that has moved."""
        return "requeue" if self._settings().requeue else "finish"

    def age(self) -> float | None:
        """Seconds since afserver confirmed the jobs; None if it never has."""
        return self._reader.age()

    def health(self) -> LiveHealth:
        """The state of the fences in numbers, and in words if somebody must act."""
        view, age = self.view, self.age()
        problems = [view.problem] if view.problem and age is not None else []
        if age is None or age > _BEHIND_SECONDS:
            since = "has never confirmed its jobs" if age is None else f"confirmed its jobs {age:.0f} seconds ago"
            problems = [view.problem or f"afserver {since}, so the fences of running jobs may be out of date."]
        if view.behind > _BEHIND_SECONDS:
            problems.append(f"Fences of {len(view.due):,} running jobs have been behind for {view.behind:.0f} seconds.")
        refused = [number for number, verdict in view.verdicts.items() if verdict.fence == "refused"]
        if refused:
            problems.append(
                f"afserver does not change the mask of {len(refused):,} running jobs, of job {refused[0]} among them."
            )
        return LiveHealth(
            keeper=self.lease.keeper,
            keeping=self.lease.is_ours,
            jobs=view.kept,
            spilled=view.spilled,
            age=None if age is None else round(age, 1),
            behind=round(view.behind, 1),
            moved=view.moved,
            refused=view.refused,
            afserver_ms=round(view.seconds * 1000, 1),
            problems=[*problems, *view.struck],
        )


def _regex_users(snapshot: Snapshot) -> frozenset[str] | None:
    return snapshot.farm.regex_users if snapshot.farm else None
