"""Where post commands run: keeps afserver's system job on the pool that a manager has chosen.

Strategy: post commands of all jobs run in one job of afserver's own, the system job, which knows no pool. The chosen
pool is kept in the store; everything else needed stands on the system job itself, so that any broker can continue where
another stopped. `decide` compares what is there with what is wanted, and knows no network. `SystemJobKeeper` looks
after every poll of the farm and every change of pools, makes at most one change, and trusts only what it reads back,
never "Action processed.".

A fence is never opened for lack of information: if the pool is missing, if there is no mask for it, or if the store
does not answer, the last fence stays. A mask that a person has set is left alone until a manager chooses a pool again.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import msgspec
from msgspec import Struct

from ..picture.snapshot import Snapshot, SnapshotKeeper
from ..pools.pool import fingerprint
from ..protocol import MASK_BYTES, Code, RequestRefused
from .afserver import Ask, FarmError

log = logging.getLogger("afpools.farm")


SYSTEM_JOB = 1
"""The system job's number. It cannot be deleted, and no other job ever has it (AFJOB::SYSJOB_ID in CGRU's afjob.h)."""

# What else distinguishes it from other jobs; same file of CGRU.
_NAME, _USER, _BLOCK = "afanasy", "afadmin", "post_commands"

_LOOK_SECONDS = 0.5
# A fence is not reported as holding if nothing new has been heard about pools or farm for this long, because neither
# answers.
_SILENCE_SECONDS = 10.0
# afserver carries out actions once a second.
_READ_BACK_SECONDS = 5.0
_READ_BACK_PAUSE = 0.25
# A change that afserver did not make is not requested again sooner.
_RETRY_SECONDS = 60.0
# A broker whose store has not confirmed its pools for this long may be the last to hear of a change, so it only looks.
_FRESH_SECONDS = 5.0


class _Block(Struct, gc=False):
    name: str = ""
    hosts_mask: str = ""
    hosts_mask_exclude: str = ""


class SystemJob(Struct, gc=False):
    """The system job, as afserver describes it. Before 3.4.0 there is no `hosts_mask_type`."""

    id: int
    name: str = ""
    user_name: str = ""
    hidden: bool = False
    custom_data: str = ""
    hosts_mask: str = ""
    hosts_mask_exclude: str = ""
    hosts_mask_type: str = ""
    pools: dict[str, int] = {}
    blocks: list[_Block] = []


class _Jobs(Struct):
    jobs: list[SystemJob] = []


class _Note(Struct):
    """What we store in the job's `custom_data`: the pool for which its mask was made, the time, and the mask."""

    system_pool: str
    since: str
    fingerprint: str


@dataclass(frozen=True)
class Wanted:
    """What the system job should be.

    Args:
        pool: the pool's name; empty for no pool.
        mask: its exclude mask, a regex; empty for no pool.
        old_engines: `no`, `some` or `all` renders run an Afanasy older than mask types.
    """

    pool: str
    mask: str
    old_engines: Literal["no", "some", "all"]


@dataclass(frozen=True)
class Verdict:
    """What to do about the system job.

    Args:
        params: the parameters of the action that makes it as wanted; None if there is nothing to do, or nothing may be
            done.
        state: a sentence for people.
        problem: whether somebody must act on it.
    """

    params: dict[str, Any] | None
    state: str
    problem: bool = False


def read_job(body: memoryview) -> SystemJob:
    """The system job, in afserver's answer to `{"get": {"type": "jobs", "ids": [1]}}`.

    Raises:
        FarmError: the answer is not a list of jobs, or job 1 is not the system job.
    """
    try:
        jobs = msgspec.json.decode(body, type=_Jobs, strict=False).jobs
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FarmError(f"afserver's answer about its system job makes no sense: {error}.") from None
    job = next((job for job in jobs if job.id == SYSTEM_JOB), None)
    if job is None:
        raise FarmError(f"afserver has no job {SYSTEM_JOB}, which should be its system job.")
    if (job.name, job.user_name) != (_NAME, _USER) or all(block.name != _BLOCK for block in job.blocks):
        raise FarmError(
            f"Job {SYSTEM_JOB} at afserver is {job.name!r} of {job.user_name!r}, not the system job "
            f"{_NAME!r} of {_USER!r}, so it is left alone."
        )
    return job


def decide(job: SystemJob, wanted: Wanted, *, take_over: bool = False, now: dt.datetime) -> Verdict:
    """Decides what to do about the system job.

    Args:
        job: as it is.
        wanted: as it should be.
        take_over: whether a mask that a person has set is replaced.
        now: the time to note on the job, with its zone.
    """
    note, others = _read_note(job.custom_data)
    ours = note is not None and note.fingerprint == _fingerprint(job)
    if _is_as_wanted(job, wanted):
        if not wanted.pool:
            return Verdict(None, "Post commands are not fenced: they run on any render.")
        since = f" since {note.since}" if note is not None and ours else ""
        return Verdict(None, f"Post commands are fenced to {wanted.pool!r}{since}.")
    if job.hosts_mask_exclude and not ours and (not take_over or not wanted.pool):
        if not wanted.pool:
            return Verdict(None, "A person has set an exclude mask on the system job.")
        return _left_alone(
            f"Post commands are not fenced to {wanted.pool!r}: the system job has an exclude mask that a person has "
            f"set, {_cut(job.hosts_mask_exclude)}. To replace it: afpools farm system-pool {_quoted(wanted.pool)}"
        )
    if wanted.pool and job.hosts_mask_type != "regex" and wanted.old_engines != "all" and _has_other_masks(job):
        return _left_alone(
            f"Post commands are not fenced to {wanted.pool!r}: the system job or one of its blocks has a hosts mask, "
            "which would combine with the pool's mask. Empty it in Afanasy."
        )
    if others is None:
        return _left_alone(
            f"Post commands are not fenced to {wanted.pool!r}: the system job has custom data that is not a JSON "
            "object. Empty it in Afanasy."
        )
    return Verdict(_params(job, wanted, others, now), "")


def _left_alone(state: str) -> Verdict:
    return Verdict(None, state, problem=True)


def _is_as_wanted(job: SystemJob, wanted: Wanted) -> bool:
    if job.hosts_mask_exclude != wanted.mask:
        return False
    # An afserver older than mask types lists no type, and reads all masks as regex.
    untyped = not job.hosts_mask_type and wanted.old_engines != "no"
    return not wanted.pool or job.hosts_mask_type == "regex" or untyped


def _has_other_masks(job: SystemJob) -> bool:
    return bool(job.hosts_mask) or any(block.hosts_mask or block.hosts_mask_exclude for block in job.blocks)


def _params(job: SystemJob, wanted: Wanted, others: dict[str, Any], now: dt.datetime) -> dict[str, Any]:
    params: dict[str, Any] = {"hosts_mask_exclude": wanted.mask}
    after = job
    if wanted.pool and wanted.old_engines != "all":
        params["hosts_mask_type"] = "regex"
        after = msgspec.structs.replace(job, hosts_mask_type="regex")
    after = msgspec.structs.replace(after, hosts_mask_exclude=wanted.mask)
    if wanted.pool:
        note = _Note(wanted.pool, f"{now:%Y-%m-%d %H:%M} UTC", _fingerprint(after))
        others = {**others, "afpools": msgspec.to_builtins(note)}
    params["custom_data"] = json.dumps(others) if others else ""
    # Any action unhides a hidden job, and on 3.3.1 it empties the map of Afanasy's own pools (both measured).
    if job.hidden:
        params["hidden"] = True
    if job.pools:
        params["pools"] = job.pools
    return params


def _fingerprint(job: SystemJob) -> str:
    # If afserver loses the type in an upgrade or downgrade, that does not mean that a person has set the mask.
    return fingerprint(job.hosts_mask_exclude, job.hosts_mask_type == "find")


def _read_note(custom_data: str) -> tuple[_Note | None, dict[str, Any] | None]:
    """Our note, and what else is in the custom data; None for the latter if that is not an object."""
    try:
        data = json.loads(custom_data) if custom_data.strip() else {}
    except (ValueError, RecursionError):
        return None, None
    if not isinstance(data, dict):
        return None, None
    ours = data.pop("afpools", None)
    try:
        return msgspec.convert(ours, _Note), data
    except msgspec.ValidationError:
        return None, data


@dataclass(frozen=True)
class SystemPool:
    """The state of the fence for post commands.

    Args:
        pool: the chosen pool; empty for none, None if nobody has chosen.
        state: a sentence for people.
        problem: whether somebody must act on it.
        settled: the system job has been looked at since the pool was chosen.
    """

    pool: str | None
    state: str
    problem: bool = False
    settled: bool = True


UNSET = SystemPool(
    None,
    "No system pool has been set: post commands run on any render, unless somebody has set a mask on afserver's system "
    "job.",
)


class SystemJobKeeper:
    """Keeps the system job on its pool, on its own thread.

    Args:
        ask: sends one request to afserver; raises `FarmError`.
        keeper: provides the chosen pool and its hosts.
        clock: the time, with its zone.
    """

    def __init__(
        self,
        ask: Ask,
        keeper: SnapshotKeeper,
        *,
        clock: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
    ) -> None:
        self._ask, self._keeper, self._clock = ask, keeper, clock
        self._state = UNSET
        self._said = UNSET.state  # not worth a log line at each start
        self._take_over = False
        self._seen: Snapshot | None = None
        self._look_due = float("-inf")
        self._refused: tuple[dict[str, Any], float] | None = None
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="afpools-system-job", daemon=True)

    @property
    def state(self) -> SystemPool:
        """The state, as far as it has been checked since the pool was chosen."""
        state = self._state
        try:
            chosen = self._keeper.current.contents.system_pool
        except RequestRefused:
            return state
        if chosen == state.pool:
            return state
        return SystemPool(chosen, "The broker has not looked at the system job yet.", settled=False)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self, *, wait: float) -> None:
        """Ends the thread; waits at most `wait` seconds for a request in progress."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(wait)

    def take_over(self) -> None:
        """Called when a manager has chosen a pool: replaces a mask that a person has set, and looks right away."""
        self._take_over = True
        self._refused = None
        self._state = UNSET  # until it has been looked at
        self._seen = None
        self._wake.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                snapshot = self._keeper.current
                if snapshot is not self._seen or time.monotonic() >= self._look_due:
                    self._seen, self._look_due = snapshot, time.monotonic() + _SILENCE_SECONDS
                    self.look(snapshot)
            except RequestRefused:
                pass  # the pools have not been loaded yet
            except Exception:
                # Not even a bug may end the thread that keeps the fence.
                log.exception("Looking after the system job failed")
                self._say(SystemPool(self._state.pool, "The broker failed to look after the system job.", True))
            self._wake.wait(_LOOK_SECONDS)
            self._wake.clear()

    def look(self, snapshot: Snapshot) -> None:
        """Compares once, and makes the change if one is needed."""
        chosen = snapshot.contents.system_pool
        if chosen is None:
            self._say(UNSET)
            return
        if self._keeper.trouble or self._keeper.age > _FRESH_SECONDS:
            why = "The database does not answer, so the system job is left as it is."
            self._say(SystemPool(chosen, why, problem=True))
            return
        try:
            wanted = _wanted(chosen, snapshot)
            self._say(self._kept(wanted))
        except RequestRefused as refusal:
            self._say(SystemPool(chosen, f"The system job is left as it is: {refusal.message}".rstrip(), problem=True))
        except FarmError as error:
            self._say(SystemPool(chosen, f"Whether post commands are fenced is not known: {error}", problem=True))

    def _kept(self, wanted: Wanted) -> SystemPool:
        """
        Raises:
            FarmError: afserver does not answer.
        """
        take_over = self._take_over
        verdict = decide(self._read(), wanted, take_over=take_over, now=self._clock())
        if verdict.params is None:
            if not verdict.problem:
                self._take_over = False
            return SystemPool(wanted.pool, verdict.state, verdict.problem)
        lasting = {key: value for key, value in verdict.params.items() if key != "custom_data"}
        if self._refused is not None and self._refused[0] == lasting and time.monotonic() < self._refused[1]:
            return replace(self._state, pool=wanted.pool)
        self._ask({"action": self._action(verdict.params)})
        until = time.monotonic() + _READ_BACK_SECONDS
        while not self._stop.wait(_READ_BACK_PAUSE):
            after = decide(self._read(), wanted, now=self._clock())
            if after.params is None:
                self._take_over = False
                self._refused = None
                return SystemPool(wanted.pool, after.state, after.problem)
            if time.monotonic() > until:
                break
        self._refused = (lasting, time.monotonic() + _RETRY_SECONDS)
        return SystemPool(
            wanted.pool,
            "afserver accepted the change of the system job's exclude mask but did not make it. See afserver's log.",
            problem=True,
        )

    def _read(self) -> SystemJob:
        return read_job(self._ask({"get": {"type": "jobs", "ids": [SYSTEM_JOB]}}))

    @staticmethod
    def _action(params: dict[str, Any]) -> dict[str, Any]:
        host = socket.gethostname() or "localhost"
        return {"user_name": "afpools", "host_name": host, "type": "jobs", "ids": [SYSTEM_JOB], "params": params}

    def _say(self, state: SystemPool) -> None:
        self._state = state
        if state.state != self._said:
            log.log(logging.WARNING if state.problem else logging.INFO, "%s", state.state)
            self._said = state.state


def _wanted(chosen: str, snapshot: Snapshot) -> Wanted:
    """
    Raises:
        RequestRefused: there is no mask for this pool.
    """
    engines = snapshot.fences.engines
    old: Literal["no", "some", "all"] = "all" if engines.all_old else "some" if engines.no_find else "no"
    return Wanted(chosen, system_mask(chosen, snapshot) if chosen else "", old)


def system_mask(pool: str, snapshot: Snapshot) -> str:
    """The exclude mask that keeps the system job on a pool, also from hosts that register later.

    Raises:
        RequestRefused: there is no such mask.
    """
    # Not through `exclude_mask_within` as usual, which would choose another style if a complement is not possible.
    mask = snapshot.fences.mask((pool, "complement", ("regex",)), MASK_BYTES)
    if not mask.covers_future_hosts:
        raise RequestRefused(
            Code.MASK_NOT_EXPRESSIBLE, f"The pool {pool!r} is too large for a mask that covers later hosts. {mask.why}"
        )
    return mask.text


def _cut(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:77]}…")


def _quoted(name: str) -> str:
    return name if name.isidentifier() else repr(name)
