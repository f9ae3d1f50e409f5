"""What the calls about jobs return. Apart from results.py, because a plug-in's list of pools does not need it."""

from __future__ import annotations

from .records import Record
from .results import Fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional, Tuple


class HostTasks(Record):
    """Tasks of one job on one host; `outside`: its fence excludes that host, they started before it moved."""

    name: str
    tasks: int
    outside: bool


class Job(Record):
    """A job on the farm.

    `state` is `running`, `ready`, `waiting`, `paused`, `error` or `done`; `ready`, `running`, `done`, `tasks` count its
    tasks. `online` says how many of the hosts that it may use are online, `renders` how many there are; None where
    that is not known. `hosts` is where it runs now, `outside` how many tasks run outside its fence.

    Of a job that names a pool: `fence` is `current`, `behind` (it moves within seconds), `kept` (it keeps its last
    one), `changed` (by a person; it is left alone), `unmarked` (the same, sent by an earlier plug-in) or `refused` (by
    afserver), and `why` a sentence; `moved` is when the fence moved last (ISO 8601; empty if never), `by` the change
    that made it move. Of another: `pool` and `fence` are empty, and `exclude` is its exclude mask, cut at 200
    characters.
    """

    id: int
    serial: int
    name: str
    user: str
    state: str
    ready: int
    running: int
    done: int
    tasks: int
    online: Optional[int]
    renders: Optional[int]
    hosts: Tuple[HostTasks, ...]
    pool: str = ""
    outside: int = 0
    fence: str = ""
    why: str = ""
    moved: str = ""
    by: str = ""
    exclude: str = ""


class JobList(Record):
    """The jobs on the farm: `jobs` name a pool, `others` do not.

    `keeper` is the broker that keeps the fences, empty if none is known to, `keeping` whether it is the one that
    answers. `requeue` says what becomes of tasks outside a fence that has moved: they are sent back, or else finish.
    `problem` is a sentence if the list cannot be relied on. `age` is since when, in seconds, afserver has not confirmed
    the jobs (None: it never has), `behind` since when the fence has waited that has waited longest. `total` counts the
    jobs that name a pool; `more`: there are more than were asked for.
    """

    jobs: Tuple[Job, ...]
    others: Tuple[Job, ...]
    keeper: str
    keeping: bool
    requeue: bool
    problem: str
    age: Optional[float]
    behind: float
    total: int
    more: bool


class OrderedJob(Record):
    """What became of one job: its pool `before` and `after`, empty for none. `done`: it is as wanted, else `why` says
    what stood in the way, in a sentence. `tasks` were sent back. `serial` is None for a job that is not there."""

    id: int
    serial: Optional[int]
    name: str
    user: str
    before: str
    after: str
    done: bool
    why: str
    tasks: int


class JobsResult(Record):
    """What became of jobs. `change` is the id of the line in the history, empty for none; `moved` counts the jobs that
    were changed, or had tasks sent back."""

    change: str
    pool: str
    jobs: Tuple[OrderedJob, ...]
    moved: int


def _read_host_tasks(value: Any) -> HostTasks:
    f = Fields(value, "where a job runs")
    return HostTasks(f.text("name"), f.count("tasks"), f.flag("outside"))


def _read_job(value: Any) -> Job:
    f = Fields(value, "a job")
    return Job(
        f.count("id"),
        f.count("serial"),
        f.text("name"),
        f.text("user"),
        f.text("state"),
        f.count("ready"),
        f.count("running"),
        f.count("done"),
        f.count("tasks"),
        f.optional_count("online"),
        f.optional_count("renders"),
        tuple(f.each("hosts", _read_host_tasks)),
        f.text("pool", ""),
        f.count("outside", 0),
        f.text("fence", ""),
        f.text("why", ""),
        f.optional_text("moved") or "",
        f.text("by", ""),
        f.text("exclude", ""),
    )


def read_jobs(result: Any) -> JobList:
    f = Fields(result, "a list of jobs")
    return JobList(
        tuple(f.each("jobs", _read_job)),
        tuple(f.each("others", _read_job)),
        f.text("keeper"),
        f.flag("keeping"),
        f.text("running") == "requeue",
        f.text("problem"),
        f.optional_seconds("age"),
        f.seconds("behind"),
        f.count("total"),
        f.flag("more"),
    )


def _read_ordered(value: Any) -> OrderedJob:
    f = Fields(value, "a job")
    return OrderedJob(
        f.count("id"),
        f.optional_count("serial"),
        f.text("name"),
        f.text("user"),
        f.text("before"),
        f.text("after"),
        f.flag("done"),
        f.text("why"),
        f.count("tasks", 0),
    )


def read_ordered(result: Any) -> JobsResult:
    f = Fields(result, "what became of jobs")
    return JobsResult(f.text("change"), f.text("pool"), tuple(f.each("jobs", _read_ordered)), f.count("moved"))
