"""What the calls about jobs return. Separate from results.py, because a plug-in's list of pools does not need it."""

from __future__ import annotations

from .records import Record
from .results import Fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional, Tuple


FENCES = {
    "current": "Current",
    "behind": "Moves within seconds",
    "kept": "Keeps its last fence",
    "changed": "Changed by a person",
    "removed": "Note removed by a person",
    "unmarked": "Not followed yet",
    "refused": "Refused by afserver",
}
"""The states of a job's fence, in the words that every interface shows."""

LEFT_ALONE = frozenset(["changed", "removed", "unmarked"])
"""Fences that stay unchanged until somebody makes the job follow its pool again."""


class HostTasks(Record):
    """Tasks of one job on one host; `outside`: the job's fence excludes that host, and they started before it moved."""

    name: str
    tasks: int
    outside: bool


class JobSpill(Record):
    """The second pool of a job that waits too long.

    `after` is how many seconds in a row it must have no running task before it may also use `pool`, `waited` how many
    have passed so far, and `since` when its fence was widened (ISO 8601; empty if it is not). `own`: the job itself
    names it, not its pool. `why` is a sentence if the second pool cannot be used now, otherwise empty.
    """

    pool: str
    after: int
    since: str
    waited: float
    own: bool
    why: str


class Job(Record):
    """A job on the farm.

    `state` is `running`, `ready`, `waiting`, `paused`, `error` or `done`; `ready`, `running`, `done`, `tasks` count its
    tasks. `renders` says how many hosts it may use, `online` how many of them are online; None if that is not known.
    `hosts` is where it runs now, `outside` how many tasks run outside its fence.

    If the job names a pool: `fence` is `current`, `behind` (it moves within seconds), `kept` (it keeps its last one),
    `changed` (by a person; it is left alone), `removed` (a person removed its note; it is left alone), `unmarked` (sent
    by an earlier plug-in; it is left alone) or `refused` (by afserver), see `FENCES`, and `why` is a sentence; `moved`
    is when the fence last moved (ISO 8601; empty if never), `by` the change that made it move; `spill` is its second
    pool, None if it has none. If not: `pool` and `fence` are empty, and `exclude` is its exclude mask, cut at 200
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
    spill: Optional[JobSpill] = None


class JobList(Record):
    """The jobs on the farm: `jobs` name a pool, `others` do not.

    `keeper` is the broker that keeps the fences, empty if none is known to; `keeping` says whether that is the broker
    that answers. `requeue` says what happens to tasks outside a fence that has moved: they are sent back if it is set,
    else they finish. `problem` is a sentence if the list is not reliable. `age` is the time in seconds since afserver
    last confirmed the jobs (None: never); `behind` is how long, in seconds, the oldest waiting fence has waited.
    `total` counts the jobs that name a pool; `more`: there are more than were asked for.
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
    """The outcome for one job: its pool `before` and `after`, empty for none. `done`: the job is as requested, else
    `why` is a sentence that says what prevented it. `tasks` counts the tasks that were sent back. `serial` is None for
    a job that is not on the farm. `remark` is a sentence worth knowing although the job is done; else empty."""

    id: int
    serial: Optional[int]
    name: str
    user: str
    before: str
    after: str
    done: bool
    why: str
    tasks: int
    remark: str = ""


class JobsResult(Record):
    """The outcome for each job. `change` is the id of the entry in the history, empty for none; `moved` counts the jobs
    that were changed, or had tasks sent back."""

    change: str
    pool: str
    jobs: Tuple[OrderedJob, ...]
    moved: int


def _read_host_tasks(value: Any) -> HostTasks:
    f = Fields(value, "where a job runs")
    return HostTasks(f.text("name"), f.count("tasks"), f.flag("outside"))


def _read_spill(value: Any) -> JobSpill:
    f = Fields(value, "a second pool")
    return JobSpill(
        f.text("pool"),
        f.count("after"),
        f.optional_text("since") or "",
        f.seconds("waited", 0.0),
        f.flag("own", False),
        f.text("why", ""),
    )


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
        f.optional("spill", _read_spill),
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
        f.text("remark", ""),
    )


def read_ordered(result: Any) -> JobsResult:
    f = Fields(result, "what became of jobs")
    return JobsResult(f.text("change"), f.text("pool"), tuple(f.each("jobs", _read_ordered)), f.count("moved"))
