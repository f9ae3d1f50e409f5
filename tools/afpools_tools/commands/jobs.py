"""`afpools jobs`: the jobs on the farm, the pool each follows, and commands that act on them."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from afpools import BrokerUnreachable, Job, JobList, JobSpill, JobsResult, OrderedJob
from afpools.job_results import FENCES

from ..words import duration, plural
from .options import (
    CommandError,
    DryRunOption,
    JsonOption,
    ProfileOption,
    RequestIdOption,
    TimeoutOption,
    change,
    connect,
    named_hosts,
)
from .output import console, print_json, print_table, printable, remark, say, say_preview, table, warn

app = typer.Typer(add_completion=False, help="Show the jobs on the farm and the pools they follow, and move them.")

# Seconds between two updates of --watch.
_WATCH_SECONDS = 1.0

# Seconds after which the list of jobs is out of date: the broker asks afserver several times within it.
_OLD_SECONDS = 30.0

_MOST_JOBS = 5000

_NONE_OUTSIDE = "no task runs outside its fence"

JobsArgument = Annotated[list[int], typer.Argument(metavar="JOB", min=1, help="Job numbers, as Afanasy shows them.")]


@app.callback(invoke_without_command=True)
def show(
    context: typer.Context,
    pool: Annotated[str | None, typer.Option("--pool", metavar="POOL", help="Only jobs of this pool.")] = None,
    user: Annotated[str | None, typer.Option("--user", metavar="USER", help="Only this user's jobs.")] = None,
    done: Annotated[bool, typer.Option("--done", help="Also show finished jobs.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Update the list every second, until Ctrl-C.")] = False,
    limit: Annotated[
        int, typer.Option("--limit", "-n", metavar="COUNT", min=1, max=_MOST_JOBS, help="Show at most this many.")
    ] = 1000,
    profile: ProfileOption = None,
    timeout: TimeoutOption = 5.0,
    as_json: JsonOption = False,
) -> None:
    """Show the jobs on the farm: the pool each follows, where it runs, and whether its fence is current."""
    if context.invoked_subcommand is not None:
        return
    if watch and as_json:
        raise typer.BadParameter("cannot be given with --json.", param_hint="--watch")
    with connect(profile, timeout) as client:
        if watch:
            _watch(lambda: client.jobs(pool, user, done=done, limit=limit), pool, user)
            return
        found = client.jobs(pool, user, done=done, limit=limit)
    if as_json:
        answer = found._asdict()
        answer["jobs"], answer["others"] = ([_for_programs(job) for job in jobs] for jobs in (found.jobs, found.others))
        print_json(answer)
        return
    for part in _parts(found, pool, user):
        if isinstance(part, Text):
            say(part.plain, str(part.style))
        else:
            print_table(part)
    for sentence in _doubts(found):
        warn(sentence)


def _for_programs(job: Job) -> dict[str, object]:
    spill = job.spill._asdict() if job.spill else None
    return {**job._asdict(), "hosts": [host._asdict() for host in job.hosts], "spill": spill}


def _watch(look: Callable[[], JobList], pool: str | None, user: str | None) -> None:
    """Shows the jobs repeatedly, until Ctrl-C. If the broker does not answer for a while, waits for it."""
    from rich.live import Live

    with Live(console=console, auto_refresh=False, screen=console.is_terminal) as live, suppress(KeyboardInterrupt):
        shown: list[RenderableType] = []
        while True:
            try:
                found = look()
                shown = [*_parts(found, pool, user), *(Text(doubt, "yellow") for doubt in _doubts(found))]
                now: list[RenderableType] = shown
            except BrokerUnreachable as error:
                now = [*shown, Text(printable(str(error)), "red")]
            live.update(Group(*now), refresh=True)
            time.sleep(_WATCH_SECONDS)


def _parts(found: JobList, pool: str | None, user: str | None) -> list[Table | Text]:
    """What to show, one below the other: jobs that follow a pool, and jobs that name none."""
    whose = (f" of the pool {pool}" if pool else "") + (f" of {user}" if user else "")
    if not found.jobs and not found.others:
        return [Text(f"There are no jobs{whose} on the farm.")]
    parts: list[Table | Text] = []
    if found.jobs:
        parts.append(_following(found.jobs))
    else:
        parts.append(Text(f"No job{whose} follows a pool."))
    if found.more:
        parts.append(Text(f"Showing {len(found.jobs):,} of {found.total:,} jobs. To see more: --limit.", "dim"))
    if found.others:
        parts += [Text(""), Text("Jobs that name no pool:", "bold"), _without_pool(found.others)]
    return parts


def _following(jobs: Iterable[Job]) -> Table:
    rows = table("Job", "Name", "User", "Pool", "Tasks", "May use", "Fence", "Moved", right=("Job",), whole=("Job",))
    for job in jobs:
        fence = Text(FENCES.get(job.fence, job.fence), "" if job.fence == "current" else "yellow")
        if job.why:
            fence.append(f": {printable(job.why).rstrip('.')}")
        if job.outside:
            fence.append(f"; {plural(job.outside, 'task')} outside: {_hosts(job, outside=True)}", "yellow")
        if job.spill:
            fence.append(f"; {_spills(job.spill)}", "yellow" if job.spill.why else "")
        rows.add_row(
            str(job.id), *map(printable, (job.name, job.user, job.pool)), _tasks(job), _may_use(job), fence, _moved(job)
        )
    return rows


def _without_pool(jobs: Iterable[Job]) -> Table:
    rows = table("Job", "Name", "User", "Tasks", "May use", "Excludes", right=("Job",), whole=("Job",))
    for job in jobs:
        rows.add_row(
            str(job.id), *map(printable, (job.name, job.user)), _tasks(job), _may_use(job), printable(job.exclude)
        )
    return rows


def _tasks(job: Job) -> str:
    """The job's progress: `3 running, 14 ready`."""
    parts = [f"{count:,} {word}" for count, word in ((job.running, "running"), (job.ready, "ready")) if count]
    return ", ".join(parts) if parts else f"{job.state}, {job.done:,} of {job.tasks:,} done"


def _may_use(job: Job) -> Text:
    """The hosts that its masks let it use: `4 of 6 online`."""
    if job.renders is None or job.online is None:
        return Text("not known", "dim")
    return Text(f"{job.online:,} of {job.renders:,} online", "" if job.online else "yellow")


def _hosts(job: Job, *, outside: bool) -> str:
    return ", ".join(printable(host.name) for host in job.hosts if host.outside is outside)


def _moved(job: Job) -> str:
    """When its fence last moved, in the reader's time zone, and by which change."""
    if not job.moved:
        return ""
    return f"{_local(job.moved)} {printable(job.by)}".rstrip()


def _local(when: str) -> str:
    try:
        return f"{dt.datetime.fromisoformat(when).astimezone():%Y-%m-%d %H:%M:%S}"
    except ValueError:
        # It is stored in the job, where anybody can write.
        return printable(when)


def _spills(spill: JobSpill) -> str:
    """The state of the job's second pool: `also on night since 2026-12-01 14:02:00`."""
    pool = printable(spill.pool)
    if spill.why:
        return printable(spill.why).rstrip(".")
    if spill.since:
        return f"also on {pool} since {_local(spill.since)}"
    waits = f", {duration(spill.waited)} so far" if spill.waited else ""
    return f"also on {pool} after {duration(spill.after)} without a running task{waits}"


def _doubts(found: JobList) -> list[str]:
    """Sentences that say why the list, or a fence in it, may be out of date."""
    doubts = [printable(found.problem)] if found.problem else []
    if found.age is None and not doubts:
        doubts.append("afserver has not confirmed its jobs yet.")
    elif found.age is not None and found.age > _OLD_SECONDS:
        doubts.append(f"afserver confirmed its jobs {duration(found.age)} ago. Showing them as they were then.")
    if not found.keeper and not doubts:
        doubts.append("No broker is known to keep the fences, so jobs may not follow their pools.")
    if found.behind > _OLD_SECONDS:
        doubts.append(f"A fence has been behind its pool for {duration(found.behind)}.")
    return doubts


@app.command()
def move(
    jobs: JobsArgument,
    to: Annotated[str, typer.Option("--to", metavar="POOL", help="The pool that they will follow from now on.")],
    dry_run: DryRunOption = False,
    profile: ProfileOption = None,
    request_id: RequestIdOption = None,
    timeout: TimeoutOption = 15.0,
) -> None:
    """Move jobs on the farm to another pool, or into one. `afpools pool undo` takes it back."""
    with connect(profile, timeout) as client:
        if dry_run:
            say_preview(client.preview(to, jobs=jobs))
            return
        with change(request_id) as request:
            done = client.move_jobs(jobs, to, request_id=request)
    if done.change:
        remark(f"To undo the move: afpools pool undo {done.change[-8:]}")
    _report(done, lambda job: f"{job.before or 'no pool'} → {job.after}")


@app.command()
def adopt(
    jobs: JobsArgument,
    profile: ProfileOption = None,
    request_id: RequestIdOption = None,
    timeout: TimeoutOption = 15.0,
) -> None:
    """Give jobs their pool's mask again, although a person has changed it or an earlier plug-in sent them."""
    with connect(profile, timeout) as client, change(request_id) as request:
        done = client.adopt_jobs(jobs, request_id=request)
    _report(done, lambda job: f"follows {job.after}")


@app.command()
def requeue(
    jobs: Annotated[
        list[int] | None, typer.Argument(metavar="[JOB]", min=1, help="Job numbers, as Afanasy shows them.")
    ] = None,
    pool: Annotated[str | None, typer.Option("--pool", metavar="POOL", help="All jobs of this pool.")] = None,
    host: Annotated[
        list[str] | None, typer.Option("--host", metavar="HOST", help="Only tasks on these hosts; repeatable.")
    ] = None,
    profile: ProfileOption = None,
    request_id: RequestIdOption = None,
    timeout: TimeoutOption = 15.0,
) -> None:
    """Send back the tasks that run on hosts outside their job's fence, so that they start again within it."""
    if not jobs and pool is None:
        raise typer.BadParameter("name jobs, or give --pool POOL.", param_hint="JOB")
    hosts = named_hosts(host) if host else None
    with connect(profile, timeout) as client, change(request_id) as request:
        done = client.requeue_tasks(jobs or None, pool, hosts, request_id=request)
    if not done.jobs:
        say("Nothing to do: no task runs outside its job's fence.")
        return
    _report(done, lambda job: f"{plural(job.tasks, 'task')} sent back" if job.tasks else _NONE_OUTSIDE)


def _report(done: JobsResult, words: Callable[[OrderedJob], str]) -> None:
    """Prints the outcome for each job.

    Raises:
        CommandError: one was not changed.
    """
    for job in done.jobs:
        what = printable(f"{words(job)}. {job.remark}" if job.remark else words(job) if job.done else job.why)
        name = f" {printable(job.name)!r} of {printable(job.user)}" if job.name else ""
        say(f"Job {job.id}{name}: {what}", "" if job.done else "yellow")
    left = [str(job.id) for job in done.jobs if not job.done]
    if left:
        raise CommandError(f"Not done for {plural(len(left), 'job')}: {', '.join(left)}.")
