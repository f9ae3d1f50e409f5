"""The jobs on the farm: all of them are read once, then only those that change.

Strategy: a monitor at afserver reports which jobs were added, changed or removed; these are read by their numbers. A
running job changes nearly every second, so new jobs are read at once and changed ones in turn, a limited number at a
time. If afserver forgets the monitor, what happened meanwhile is unknown, and everything is read again.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Literal

import msgspec
from msgspec import Struct

from ..farm.afserver import Ask, FarmError
from ..farm.monitor import Monitor

log = logging.getLogger("afpools.live")


State = Literal["running", "ready", "waiting", "paused", "error", "done"]

SYSTEM_JOB = 1
"""afserver's own job: see `system_job`."""

# How many jobs are read by number in one request: 130 kB and some 5 ms of afserver's time (measured on 3.4.1).
_AT_ONCE = 100
# Seconds between two reads of jobs that only changed; each is read at most this often.
_CHANGED_SECONDS = 1.0
# The most jobs that are read each time because they changed. A farm with more running jobs is read in turns.
_CHANGED_AT_ONCE = 300
# Seconds after which everything is read again even if no event is known to have been missed.
_WHOLE_SECONDS = 300.0
# Seconds between two reads of everything if afserver does not register a monitor.
_WITHOUT_MONITOR_SECONDS = 5.0

# afserver writes the masks of blocks unescaped (blockdata.cpp), so one backslash there breaks the list of all jobs; and
# it leaves most control characters as they are.
_NOT_JSON = re.compile(rb'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})|\\|[\x00-\x08\x0b\x0c\x0e-\x1f]')


class Block(Struct, frozen=True, gc=False):
    """One block of a job, as afserver describes it: the parts that say where it may run, and how far it has got."""

    block_num: int = 0
    name: str = ""
    hosts_mask: str = ""
    hosts_mask_exclude: str = ""
    tasks_num: int = 0
    p_tasks_done: int = 0


class Job(Struct, frozen=True):
    """One job, as afserver describes it. afserver omits keys that are empty. Before 3.4.0 there is no
    `hosts_mask_type`."""

    id: int
    serial: int = 0
    name: str = ""
    user_name: str = ""
    hidden: bool = False
    custom_data: str = ""
    hosts_mask: str = ""
    hosts_mask_exclude: str = ""
    hosts_mask_type: Literal["", "find", "regex"] = ""
    pools: dict[str, int] = {}
    words: str = msgspec.field(name="state", default="")
    tasks_ready: int = 0
    running_tasks_num: int = 0
    time_creation: int = 0
    blocks: tuple[Block, ...] = ()

    @property
    def state(self) -> State:
        """Its state, in one word."""
        words = self.words.split()
        if self.running_tasks_num or "RUN" in words:
            return "running"
        for word, state in _STATES:
            if word in words:
                return state
        return "ready"

    @property
    def is_finished(self) -> bool:
        """Whether none of it will run unless somebody starts it again."""
        return self.state == "done"

    @property
    def tasks(self) -> int:
        """How many tasks it has."""
        return sum(block.tasks_num for block in self.blocks)

    @property
    def tasks_done(self) -> int:
        """How many of them are done."""
        return sum(block.p_tasks_done for block in self.blocks)

    @property
    def has_other_masks(self) -> bool:
        """Whether any mask other than the exclude mask depends on the job's type."""
        return bool(self.hosts_mask) or any(block.hosts_mask or block.hosts_mask_exclude for block in self.blocks)

    @property
    def fence(self) -> tuple[object, ...]:
        """Everything that a change of the fence depends on: if this is equal, so is the verdict."""
        return (
            *(self.serial, self.hosts_mask_exclude, self.hosts_mask_type, self.custom_data),
            *(self.hidden, tuple(sorted(self.pools.items())), self.has_other_masks),
        )


_STATES: tuple[tuple[str, State], ...] = (
    ("DON", "done"),
    ("OFF", "paused"),
    ("ERR", "error"),
    ("WD", "waiting"),
    ("WT", "waiting"),
)


class _Jobs(Struct):
    jobs: list[Job]


class _Info(Struct):
    text: str


class _Refused(Struct):
    info: _Info


_decode = msgspec.json.Decoder(_Jobs, strict=False).decode
_decode_job = msgspec.json.Decoder(Job, strict=False).decode
_decode_refusal = msgspec.json.Decoder(_Refused).decode


def parse_jobs(body: bytes | memoryview) -> list[Job]:
    """The jobs in afserver's answer to `{"get": {"type": "jobs"}}`, including the system job.

    Raises:
        FarmError: the answer is not a list of jobs.
    """
    try:
        return _decode(body).jobs
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    if _says_gone(body):
        return []
    escaped = _NOT_JSON.sub(_escape, body)
    try:
        return _decode(escaped).jobs
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return _one_by_one(escaped)
    except (ValueError, RecursionError) as error:
        raise FarmError(f"afserver's list of jobs makes no sense ({error}): {bytes(body[:80])!r}.") from None


def _one_by_one(body: bytes) -> list[Job]:
    """Reads the jobs one by one: an unreadable job must not hide the others.

    afserver passes on whatever it was given: names in another encoding, line breaks, unpaired surrogates.

    Raises:
        ValueError, RecursionError: the body is not a list of jobs.
    """
    told = json.loads(body.decode("utf-8", "replace"), strict=False)
    match told:
        case {"jobs": [*listed]}:
            pass
        case _:
            raise ValueError("it has no list of jobs")
    jobs = []
    for about in listed:
        try:
            jobs.append(_decode_job(json.dumps(about, ensure_ascii=False).encode("utf-8", "replace")))
        except msgspec.DecodeError as error:
            number = about.get("id") if isinstance(about, dict) else None
            _say_unreadable(number, str(error))
    return jobs


@lru_cache(maxsize=1000)
def _say_unreadable(number: object, why: str) -> None:
    """Logs it once: a running job is read every second."""
    log.warning("Job %r on the farm cannot be read, so its fence is not kept: %s", number, why)


def _escape(found: re.Match[bytes]) -> bytes:
    text = found[0]
    if len(text) > 1:
        return text
    return b"\\\\" if text == b"\\" else b"\\u%04x" % text[0]


def _says_gone(body: bytes | memoryview) -> bool:
    """Whether afserver says that there is no such job. It does so for a single number; from a list it omits the job."""
    try:
        return _decode_refusal(body).info.text == "Invalid ID"
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def read_jobs(ask: Ask, ids: Collection[int]) -> dict[int, Job]:
    """The jobs that have these numbers now; jobs that are gone are missing.

    Raises:
        FarmError: afserver does not answer.
    """
    found: dict[int, Job] = {}
    for some in pieces(sorted(ids), _AT_ONCE):
        body = ask({"get": {"type": "jobs", "ids": list(some)}})
        found.update((job.id, job) for job in parse_jobs(body))
    return found


class _Message(Struct):
    lines: list[str] = msgspec.field(name="list", default_factory=list)


class _Log(Struct):
    message: _Message


_decode_log = msgspec.json.Decoder(_Log).decode


def read_log(ask: Ask, number: int) -> list[str]:
    """The lines of a job's log, oldest first; empty if there is none that can be read.

    Raises:
        FarmError: afserver does not answer.
    """
    body = ask({"get": {"type": "jobs", "ids": [number], "mode": "log"}})
    # A log of 100 lines is 50 kB. Escaping it takes 3 ms, and most logs do not need it.
    for text in (lambda: body, lambda: _NOT_JSON.sub(_escape, body)):
        with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return _decode_log(text()).message.lines
    return []


def pieces(values: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """The values, in groups of this size."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


class JobsReader:
    """Keeps track of the jobs on the farm.

    Args:
        ask: sends one request to afserver; raises `FarmError`.
        matters: whether a job that has changed is read before others.
    """

    def __init__(self, ask: Ask, matters: Callable[[int], bool]) -> None:
        self._ask, self._matters = ask, matters
        self.jobs: dict[int, Job] = {}
        """By number, without the system job."""
        self.touched: set[int] = set()
        """Numbers of jobs that were added, changed or removed since the last `take_touched`."""
        self.seen: float | None = None
        """When afserver last confirmed them, in seconds of `time.monotonic`."""
        self._monitor: Monitor | None = None
        self._whole_due = float("-inf")
        self._changed_due = float("-inf")
        self._no_monitor_until = float("-inf")
        self._changed: dict[int, None] = {}

    def is_read(self, number: int) -> bool:
        """Whether afserver has not reported a change of this job since it was read."""
        return number not in self._changed

    def take_touched(self) -> set[int]:
        """The numbers of the jobs that were added, changed or removed since the last call, as far as they have been
        read."""
        touched, self.touched = self.touched, set()
        return touched

    def poll(self, *, at_once: bool = False) -> None:
        """Polls afserver once.

        Args:
            at_once: jobs that changed are read whether or not it is their turn.

        Raises:
            FarmError: afserver does not answer. What is known is kept, and so are the touched jobs.
        """
        # Kept again only after everything it reported has been read: afserver reports each event once.
        monitor, self._monitor = self._monitor, None
        now = time.monotonic()
        events = monitor.fetch() if monitor else None
        if monitor is None or events is None:
            self._begin(now)
            return
        if now >= self._whole_due:
            self._read_all()
        else:
            self._changed.update(dict.fromkeys(events.changed))
            self._read({*events.added, *events.deleted} - {SYSTEM_JOB})
        self._read(self._turn(now, at_once=at_once))
        self._monitor = monitor
        self.seen = now

    def _begin(self, now: float) -> None:
        """Reads everything, and registers a monitor if there is none."""
        if now < self._no_monitor_until:
            return
        # The present jobs are worth knowing before afserver has registered the monitor, which takes a second.
        if self.seen is None:
            self._read_all()
        monitor = Monitor.register(self._ask, "jobs")
        # After the registration, or changes between the two would go unnoticed.
        self._read_all()
        self._monitor = monitor
        self._no_monitor_until = float("-inf") if monitor else now + _WITHOUT_MONITOR_SECONDS

    def _read_all(self) -> None:
        began = time.monotonic()
        read = {job.id: job for job in parse_jobs(self._ask({"get": {"type": "jobs"}})) if job.id != SYSTEM_JOB}
        self.touched |= {number for number in {*read, *self.jobs} if read.get(number) != self.jobs.get(number)}
        self.jobs = read
        self.seen = began
        self._whole_due = began + _WHOLE_SECONDS
        self._changed.clear()

    def _turn(self, now: float, *, at_once: bool) -> list[int]:
        """The changed jobs whose turn it is to be read."""
        if (now < self._changed_due and not at_once) or not self._changed:
            return []
        self._changed_due = now + _CHANGED_SECONDS
        self._changed.pop(SYSTEM_JOB, None)
        # Sorting is stable: among equals, those that have waited longest come first.
        turn = sorted(self._changed, key=lambda number: not self._matters(number))[:_CHANGED_AT_ONCE]
        for number in turn:
            del self._changed[number]
        return turn

    def _read(self, ids: Iterable[int]) -> None:
        wanted = set(ids)
        self.take(wanted, read_jobs(self._ask, wanted))

    def take(self, wanted: Collection[int], read: dict[int, Job]) -> None:
        """Stores jobs that somebody has read.

        Args:
            wanted: the numbers that were asked for.
            read: the jobs that have these numbers.
        """
        touched = {number for number in wanted if read.get(number) != self.jobs.get(number)}
        for number in touched:
            job = read.get(number)
            if job is None:
                self.jobs.pop(number, None)
            else:
                self.jobs[number] = job
        self.touched |= touched

    def age(self) -> float | None:
        """Seconds since afserver confirmed the jobs; None if it never has."""
        return None if self.seen is None else max(0.0, time.monotonic() - self.seen)
