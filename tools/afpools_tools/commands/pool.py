"""`afpools pool`: pools from the command line."""

from __future__ import annotations

import datetime as dt
import fnmatch
import shlex
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from typing import Annotated, Any

import typer
from rich.text import Text

from afpools import AfpoolsError, Client, HistoryEntry, PoolSummary, WriteResult
from afpools.job_results import LEFT_ALONE
from afpools.pool_menu import pool_machines

from .. import exchange
from ..words import duration, plural, ranges
from .options import (
    CommandError,
    DryRunOption,
    JsonOption,
    NewOption,
    ProfileOption,
    RequestIdOption,
    TimeoutOption,
    change,
    connect,
    named_hosts,
)
from .output import console, print_json, print_table, printable, remark, say, say_preview, stale, table
from .pool_files import export, import_pools
from .pool_follow import follow, unfollow
from .pool_spill import spill
from .repair import repair

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Show pools, and change them.")


# As the broker gives them at a time.
_MOST_HISTORY = 500

# How many characters of a change's id to show, from its random end: short enough for a table, and long enough to be
# unique among this many changes.
_SYSTEM_POOL = "farm.set_system_pool"
_FOLLOW, _MIRROR = "pools.follow", "pools.mirror"
_SHORT_ID = 8

# A line of the history names at most this many of the jobs that were moved.
_NAMED_JOBS = 3

# As the broker gives them at a time.
_MOST_JOBS = 5000

_UNKEPT = "No broker is known to keep the fences of running jobs: they follow once one does."


def _check_colour(colour: str | None) -> str | None:
    # Most commands have no colour, and then nothing of the broker needs to be imported.
    if colour and not exchange.is_colour(colour):
        raise typer.BadParameter(f"{colour!r} is not a colour: write it like '#3a7bd5'.")
    return colour


NameArgument = Annotated[str, typer.Argument(metavar="POOL", help="The pool's name.")]


MatchOption = Annotated[
    list[str] | None,
    typer.Option(
        "--match",
        metavar="PATTERN",
        help="Hosts whose names fit, 'gpu-*' or 'pc-0?', of those that the farm (for `remove`: the pool) has now; "
        "repeatable.",
    ),
]
MaybeHostsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="HOST", help="Host names and ranges: pc-01 'pc-[01-40]' 'gpu-[1-8,12]'."),
]


def _given_hosts(hosts: list[str] | None, match: list[str] | None, request_id: str | None) -> list[str]:
    """The names and ranges on the command line.

    Raises:
        typer.BadParameter: neither hosts nor a pattern is given, or a pattern together with a request id.
    """
    if not hosts and not match:
        raise typer.BadParameter("name hosts, or give --match PATTERN.", param_hint="HOST")
    if match and request_id is not None:
        # Other hosts may match by now, and then it would be another change.
        raise typer.BadParameter("name the hosts, as the error message does.", param_hint="--match")
    return named_hosts(hosts or [])


def _fitting(patterns: list[str] | None, names: Iterable[str], where: str) -> list[str]:
    """The names that match one of the patterns, ignoring case.

    Raises:
        CommandError: a pattern matches no name.
    """
    there = list(names)
    found: dict[str, None] = {}
    for pattern in patterns or ():
        fit = [name for name in there if fnmatch.fnmatchcase(name.casefold(), pattern.casefold())]
        if not fit:
            raise CommandError(f"No host {where} fits {pattern!r}.")
        found.update(dict.fromkeys(fit))
    return list(found)


def _fitting_farm(client: Client, patterns: list[str] | None) -> list[str]:
    """The hosts of today's farm that match: renders, and hosts registered by hand."""
    if not patterns:
        return []
    there = (host.name for host in client.list_hosts().hosts if host.states or host.registered)
    return _fitting(patterns, there, "of the farm")


def _besides(matched: list[str]) -> str:
    """What replaces the patterns when a command is repeated."""
    return f"{shlex.quote(ranges(matched))} in place of --match, and" if matched else ""


@app.command("list")
def list_pools(profile: ProfileOption = None, timeout: TimeoutOption = 5.0, as_json: JsonOption = False) -> None:
    """All pools, how many hosts each has, and how many of those are renders that are online."""
    with connect(profile, timeout) as client:
        answer = client.list_pools()
    if as_json:
        print_json([pool._asdict() for pool in answer.pools])
        return
    if not answer.pools:
        say("There are no pools yet. Make one: afpools pool create NAME 'pc-[01-40]'")
        return
    follow_any = any(pool.follows for pool in answer.pools)
    follows = ("Follows",) if follow_any else ()
    rows = table("Pool", "Hosts", "On the farm", *follows, "Description", right=("Hosts",))
    for pool in answer.pools:
        dot = ("● ", pool.colour) if pool.colour else ""
        name = Text.assemble(dot, printable(pool.name))
        path = (printable(pool.follows),) if follow_any else ()
        rows.add_row(name, f"{pool.hosts:,}", _on_the_farm(pool), *path, printable(pool.description))
    print_table(rows)
    stale(answer.age)


def _on_the_farm(pool: PoolSummary) -> Text:
    if pool.hosts and pool.renders is None:
        return Text("not known", "dim")
    style = "yellow" if pool.hosts and (not pool.renders or pool.online == 0) else ""
    return Text(pool_machines(pool), style)


@app.command()
def show(
    name: NameArgument, profile: ProfileOption = None, timeout: TimeoutOption = 5.0, as_json: JsonOption = False
) -> None:
    """One pool with its hosts."""
    with connect(profile, timeout) as client:
        pool = client.get_pool(name)
    if as_json:
        print_json(pool._asdict())
        return
    rows = table()
    rows.add_row("Pool", Text(printable(pool.name), "bold"))
    if pool.description:
        rows.add_row("Description", printable(pool.description))
    if pool.colour:
        rows.add_row("Colour", Text.assemble(("● ", pool.colour), pool.colour))
    if pool.follows:
        rows.add_row("Follows", printable(f"{pool.follows} in Afanasy, where its hosts are changed"))
    if pool.spill_to:
        when = f"after {duration(pool.spill_after)} without a running task"
        rows.add_row("Spills", printable(f"to {pool.spill_to}: its jobs may use that too {when}"))
    rows.add_row("Hosts", f"{len(pool.hosts):,}" if pool.hosts else "none: jobs for this pool are refused")
    if pool.hosts:
        rows.add_row("", printable(ranges(pool.hosts)))
    rows.add_row("Revision", pool.revision)
    print_table(rows)
    stale(pool.age)


@app.command()
def create(
    name: NameArgument,
    hosts: Annotated[
        list[str] | None, typer.Argument(metavar="HOST", help="Host names and ranges: pc-01 'pc-[01-40]'.")
    ] = None,
    match: MatchOption = None,
    new: NewOption = False,
    description: Annotated[str, typer.Option(metavar="TEXT", help="What it is for.")] = "",
    colour: Annotated[str, typer.Option(metavar="#RRGGBB", callback=_check_colour, help="Shown beside its name.")] = "",
    profile: ProfileOption = None,
    request_id: RequestIdOption = None,
    timeout: TimeoutOption = 5.0,
) -> None:
    """Make a pool."""
    members = _given_hosts(hosts, match, request_id) if hosts or match else []
    with connect(profile, timeout) as client:
        matched = _fitting_farm(client, match)
        with change(request_id, besides=_besides(matched)) as request:
            done = client.create_pool(name, members + matched, description, colour, new_hosts=new, request_id=request)
    if done.hosts:
        say(f"Created {name} with {plural(done.hosts, 'host')}.")
    else:
        say(f"Created {name}, which has no hosts yet: jobs for it are refused until it has some.")
    _say_unchecked(done)


@app.command()
def rename(
    name: NameArgument,
    new_name: Annotated[str, typer.Argument(metavar="NEW_NAME", help="Must be free.")],
    dry_run: DryRunOption = False,
    profile: ProfileOption = None,
    request_id: RequestIdOption = None,
    timeout: TimeoutOption = 5.0,
) -> None:
    """Give a pool another name. Jobs on the farm follow it."""
    with connect(profile, timeout) as client:
        if dry_run:
            say_preview(client.preview(name, new_name=new_name))
            return
        concerned = _concerned(client, name, new_name=new_name)
        with change(request_id) as request:
            client.rename_pool(name, new_name, request_id=request)
        say(f"Renamed {name} to {new_name}.")
        _say_concerned(client, new_name, concerned)


@app.command()
def update(
    name: NameArgument,
    description: Annotated[str | None, typer.Option(metavar="TEXT", help="What it is for; '' for none.")] = None,
    colour: Annotated[
        str | None,
        typer.Option(metavar="#RRGGBB", callback=_check_colour, help="Shown beside its name; '' for none."),
    ] = None,
    profile: ProfileOption = None,
    request_id: RequestIdOption = None,
    timeout: TimeoutOption = 5.0,
) -> None:
    """Change a pool's description or colour."""
    if description is None and colour is None:
        raise typer.BadParameter("there is nothing to change: give one of them.", param_hint="--description, --colour")
    with connect(profile, timeout) as client, change(request_id) as request:
        client.update_pool(name, description=description, colour=colour, request_id=request)
    say(f"Updated {name}.")


@app.command()
def delete(
    name: NameArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    if_revision: Annotated[
        str | None,
        typer.Option(
            "--if-revision",
            metavar="REVISION",
            help="Delete it only if it still has the revision that `pool show` gave. Does not ask.",
        ),
    ] = None,
    dry_run: DryRunOption = False,
    profile: ProfileOption = None,
    request_id: RequestIdOption = None,
    timeout: TimeoutOption = 5.0,
) -> None:
    """Remove a pool. Its hosts stay on the farm; jobs sent with it keep their masks."""
    if request_id is not None and if_revision is None:
        raise typer.BadParameter("it needs --if-revision, too, as the error message says.", param_hint="--request-id")
    with connect(profile, timeout) as client:
        if dry_run:
            say_preview(client.preview(name, delete=True))
            return
        if if_revision is None:
            pool = client.get_pool(name)
            if not yes:
                typer.confirm(f"Delete {name} with {plural(len(pool.hosts), 'host')}?", abort=True)
            # Delete only what was shown: somebody may have changed the pool while the question was open.
            if_revision = pool.revision
        concerned = _concerned(client, name, delete=True)
        with change(request_id, besides=f"--if-revision {if_revision}") as request:
            client.delete_pool(name, if_revision=if_revision, request_id=request)
        say(f"Deleted {name}.")
        _say_concerned(client, name, concerned)


@app.command()
def add(
    name: NameArgument,
    hosts: MaybeHostsArgument = None,
    match: MatchOption = None,
    new: NewOption = False,
    dry_run: DryRunOption = False,
    profile: ProfileOption = None,
    request_id: RequestIdOption = None,
    timeout: TimeoutOption = 5.0,
) -> None:
    """Add hosts to a pool."""
    members = _given_hosts(hosts, match, request_id)
    with connect(profile, timeout) as client:
        matched = _fitting_farm(client, match)
        if dry_run:
            # Raises what the change would.
            with change(None):
                unchecked = client.check_hosts(name, members + matched, new_hosts=new)
            say_preview(client.preview(name, add_hosts=members + matched))
            if unchecked:
                remark(unchecked)
            return
        with change(request_id, besides=_besides(matched)) as request:
            _report(client.add_hosts(name, members + matched, new_hosts=new, request_id=request), name)
        _say_followers(client, name)


@app.command()
def remove(
    name: NameArgument,
    hosts: MaybeHostsArgument = None,
    match: MatchOption = None,
    dry_run: DryRunOption = False,
    profile: ProfileOption = None,
    request_id: RequestIdOption = None,
    timeout: TimeoutOption = 5.0,
) -> None:
    """Take hosts out of a pool."""
    members = _given_hosts(hosts, match, request_id)
    with connect(profile, timeout) as client:
        matched = _fitting(match, client.get_pool(name).hosts, f"of the pool {name!r}") if match else []
        if dry_run:
            say_preview(client.preview(name, remove_hosts=members + matched))
            return
        with change(request_id, besides=_besides(matched)) as request:
            _report(client.remove_hosts(name, members + matched, request_id=request), name)
        _say_followers(client, name)


def _say_followers(client: Client, name: str) -> None:
    """Prints how many jobs on the farm follow the change that was made, if the broker can tell."""
    # The change has been made: a failure here must not look like a failure of the change.
    with suppress(AfpoolsError):
        found = client.jobs(name, others=False, limit=_MOST_JOBS)
        if not found.total:
            return
        if not found.keeper:
            say(_UNKEPT)
            return
        _say_counts(name, Counter(job.fence for job in found.jobs))


def _concerned(client: Client, name: str | None = None, **would: Any) -> Counter[str] | None:
    """How many jobs on the farm a change will affect, by the state of their fences after it; None if that is not known.

    Call it before the change is made: afterwards, the pool that they name has another name or does not exist.
    """
    with suppress(AfpoolsError):
        return Counter(job["fence"] for job in client.preview(name, **would, limit=_MOST_JOBS)["jobs"])
    return None


def _say_concerned(client: Client, name: str, concerned: Counter[str] | None) -> None:
    """Prints what happens to the jobs that a change has affected."""
    if not concerned:
        return
    with suppress(AfpoolsError):
        if client.jobs(others=False, limit=1).keeper:
            _say_counts(name, concerned)
        else:
            say(_UNKEPT)


def _say_counts(name: str, fences: Counter[str]) -> None:
    left_alone, kept = sum(fences[fence] for fence in LEFT_ALONE), fences["kept"]
    if following := fences.total() - left_alone - kept:
        say(f"{plural(following, 'job')} on the farm will follow.")
    if kept:
        say(f"{plural(kept, 'job')} on the farm {'keeps its' if kept == 1 else 'keep their'} last fence.")
    if left_alone:
        say(f"{plural(left_alone, 'job')} will not follow: see `afpools jobs --pool {shlex.quote(name)}`.")


def _say_unchecked(done: WriteResult) -> None:
    if done.unchecked:
        remark(done.unchecked)


def _report(done: WriteResult, name: str) -> None:
    if done.added:
        say(f"Added {ranges(done.added)} to {name}, which has {plural(done.hosts, 'host')} now.")
    elif done.removed:
        say(f"Removed {ranges(done.removed)} from {name}, which has {plural(done.hosts, 'host')} now.")
    else:
        say(f"Nothing to do: {name} has them already, and {plural(done.hosts, 'host')} in all.")
    _say_unchecked(done)


@app.command()
def history(
    name: Annotated[str | None, typer.Argument(metavar="POOL", help="Only changes of this pool.")] = None,
    limit: Annotated[
        int,
        typer.Option("--limit", "-n", metavar="COUNT", min=1, max=_MOST_HISTORY, help="Show the last COUNT changes."),
    ] = 20,
    profile: ProfileOption = None,
    timeout: TimeoutOption = 5.0,
    as_json: JsonOption = False,
) -> None:
    """Who changed what and when, the newest first, with the id for `undo`, or the reason why there is none."""
    with connect(profile, timeout) as client:
        entries = client.history(name, limit=limit)
    if as_json:
        print_json([entry._asdict() for entry in entries])
        return
    if not entries:
        say("Nothing has been changed yet.")
        return
    rows = table("When", "Who", "Change", "Undo", whole=("When", "Undo"))
    for entry in entries:
        # In the reader's time zone.
        when = dt.datetime.fromisoformat(entry.when).astimezone()
        change = Text(printable(_describe(entry)))
        if not entry.undoable:
            change.append("\n" if console.is_terminal else "; ")
            change.append(printable(f"cannot be undone: {entry.why_not}"), "dim")
        rows.add_row(
            f"{when:%Y-%m-%d %H:%M:%S}",
            printable(entry.who),
            change,
            printable(entry.id[-_SHORT_ID:]) if entry.undoable else "",
        )
    print_table(rows)
    if any(entry.undoable for entry in entries):
        remark("To undo a change: afpools pool undo with the id under Undo.")


@app.command()
def undo(
    entry: Annotated[
        str,
        typer.Argument(
            metavar="CHANGE", help="The id under Undo in `afpools pool history`, or the whole id from --json."
        ),
    ],
    dry_run: DryRunOption = False,
    profile: ProfileOption = None,
    request_id: RequestIdOption = None,
    timeout: TimeoutOption = 5.0,
) -> None:
    """Undo one change, and nothing else. An undo is itself a change, and can be undone."""
    with connect(profile, timeout) as client:
        whole_id = _whole_id(client, entry)
        if dry_run:
            say_preview(client.preview(entry=whole_id))
            return
        concerned = _concerned(client, entry=whole_id)
        with change(request_id) as request:
            done = client.undo(whole_id, request_id=request)
        newest = client.history(limit=1) if done.change and not done.revision else []
        moved = next((each.diff.get("jobs") for each in newest if each.id == done.change), None)
        _say_undone(done, moved)
        if done.change and not moved:
            _say_concerned(client, done.pool, concerned)
    if done.change:
        remark(f"To redo the change: afpools pool undo {done.change[-_SHORT_ID:]}")


def _say_undone(done: WriteResult, moved: list[Any] | None) -> None:
    what = done.pool or "the list of registered hosts"
    parts = [f"+ {ranges(done.added)}"] * bool(done.added) + [f"- {ranges(done.removed)}"] * bool(done.removed)
    if not done.change:
        say(f"Nothing to do: {what} is as before that change.")
    elif not done.revision:
        say(f"Undone: {plural(len(moved), 'job')} moved back." if moved else f"Undone: {done.pool} is gone.")
    elif parts:
        say(f"Undone: {what} has {plural(done.hosts, 'host')} now: {'; '.join(parts)}.")
    else:
        say(f"Undone: {what} is as before that change.")


def _whole_id(client: Client, end: str) -> str:
    """The id of the change whose id ends like this; if there is none, what was given, so that the broker refuses it.

    Raises:
        CommandError: several ids end like this.
    """
    if len(end) != _SHORT_ID:
        return end
    found = [entry.id for entry in client.history(limit=_MOST_HISTORY) if entry.id.endswith(end)]
    if len(found) > 1:
        raise CommandError(f"Several changes end with {end}: {', '.join(found)}. Give one of these.")
    return found[0] if found else end


def _describe(entry: HistoryEntry) -> str:
    """One line that says what was done to which pool, and what changed."""
    diff = entry.diff
    if entry.op == _SYSTEM_POOL and diff.get("description"):
        return f"set system pool: {diff['description'][1].partition(': ')[2] or 'none'}"
    path = (diff.get("follows") or ("", ""))[1]
    if entry.op == _MIRROR:
        parts = [f"{ranges(diff['added'])} joined"] if diff.get("added") else []
        parts += [f"{ranges(diff['removed'])} left"] if diff.get("removed") else []
        return f"{entry.pool} followed {path}: {', '.join(parts)}"
    verb = "move jobs to" if entry.op == "jobs.move" else entry.op.partition(".")[2].replace("_", " ")
    what = f"{verb} {path} as {entry.pool}" if entry.op == _FOLLOW else f"{verb} {entry.pool or 'hosts'}"
    parts = []
    if diff.get("name") and all(diff["name"]):
        parts.append(f"{diff['name'][0]} → {diff['name'][1]}")
    if diff.get("added"):
        parts.append(f"+ {ranges(diff['added'])}")
    if diff.get("removed"):
        parts.append(f"- {ranges(diff['removed'])}")
    if diff.get("jobs"):
        parts.append(", ".join(f"{job['id']} {job['name']!r}" for job in diff["jobs"][:_NAMED_JOBS]))
        more = len(diff["jobs"]) - _NAMED_JOBS
        if more > 0:
            parts[-1] += f" and {more:,} more"
    for key in ("description", "colour"):
        if diff.get(key) and not entry.after:
            continue  # deleted with its pool
        if diff.get(key):
            before, after = diff[key]
            parts.append(f"{key} {before!r} → {after!r}" if before else f"{key} {after!r}")
    if diff.get("spill") and entry.after:
        seconds, _, to = diff["spill"][1].partition(" ")
        parts.append(f"second pool {to} after {duration(int(seconds))}" if to else "no second pool")
    return f"{what}: {'; '.join(parts)}" if parts else what


app.command()(follow)
app.command()(unfollow)
app.command()(spill)
app.command()(export)
app.command("import")(import_pools)
app.command()(repair)
