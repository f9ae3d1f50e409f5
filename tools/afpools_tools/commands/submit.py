"""`afpools submit`: a job with a pool, for scripts and cron."""

from __future__ import annotations

import difflib
import os
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as ProgressBar

from afpools.choice import WITHOUT, decide, standing

from ..plugins.catalogue import cgru_place
from ..submission import Cgru, Lost, Outcome, Progress, Sent, SubmissionError, follow
from .options import JsonOption, ProfileOption, connect
from .output import errors, fail, print_json, say, warn

# As in every command, 1 means that something failed before anything was sent, and 2 a wrong command line.
_STATUS: dict[Outcome, int] = {"done": 0, "errors": 3, "deleted": 4}
_LOST = 5
_INTERRUPTED = 130  # the shell's exit status for SIGINT

_WORDS: dict[Outcome, str] = {
    "done": "Job {} is done.",
    "errors": "Job {} has tasks with errors, and nothing of it can run.",
    "deleted": "Job {} was deleted before it was done.",
}


app = typer.Typer(add_completion=False)


# afjob.py's options begin with one hyphen; click would read them as its own.
@app.command("submit", context_settings={"allow_interspersed_args": False, "ignore_unknown_options": True})
def submit(
    arguments: Annotated[
        list[str],
        typer.Argument(metavar="SCENE FIRST LAST [afjob.py's options]", help="Exactly what afjob.py takes."),
    ],
    pool: Annotated[
        str | None,
        typer.Option("--pool", metavar="POOL", help="Without it: $AFPOOLS_POOL, else the profile's default."),
    ] = None,
    no_pool: Annotated[bool, typer.Option("--no-pool", help="On any host, whatever the profile's default is.")] = False,
    wait: Annotated[
        bool,
        typer.Option(
            "--wait",
            help="Wait until the job ends. Exit status 0: done, 3: errors, 4: deleted, 5: afserver is unreachable, "
            "130: Ctrl-C. After Ctrl-C the job keeps running.",
        ),
    ] = False,
    cgru: Annotated[
        Path | None, typer.Option("--cgru", metavar="DIR", help="CGRU's folder. Without it: $CGRU_LOCATION.")
    ] = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send a job as CGRU's afjob.py does, with a pool. Its arguments come last, as for afjob.py.

    Prints the job's number. Exit status 1: the job was not sent. Example:

    afpools submit --pool fx --wait shot.blend 1 100 -name shot_010
    """
    if pool is not None and no_pool:
        raise typer.BadParameter("say --pool or --no-pool, not both.", param_hint="--no-pool")
    if pool is not None and not pool.strip():
        raise typer.BadParameter("name a pool, or leave it out.", param_hint="--pool")
    chosen = decide(WITHOUT if no_pool else pool or "", lambda: standing(str(profile or "")))
    submitter = Cgru(cgru_place(cgru, os.environ), os.environ, profile)
    if chosen:
        _check_pool(chosen, profile)
    sent = submitter.send(arguments, chosen)
    if not as_json:
        say(str(sent.id))
    outcome, status = _follow(sent, submitter, as_json=as_json) if wait else ("sent", 0)
    if as_json:
        print_json({"id": sent.id, "serial": sent.serial, "pool": chosen or None, "outcome": outcome})
    raise typer.Exit(status)


def _check_pool(pool: str, profile: Path | None) -> None:
    """
    Raises:
        SubmissionError: there is no such pool; the message names those that are spelled alike.
    """
    with connect(profile) as client:
        names = [summary.name for summary in client.list_pools().pools]
    if pool not in names:
        folded = {name.casefold(): name for name in names}
        near = [folded[name] for name in difflib.get_close_matches(pool.casefold(), folded, n=3)]
        hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else "afpools pool list shows those there are."
        raise SubmissionError(f"The job was not sent: there is no pool {pool!r}. {hint}")


def _follow(sent: Sent, submitter: Cgru, *, as_json: bool) -> tuple[str, int]:
    """Waits for the job; returns the JSON for programs, and the exit status."""
    bar = ProgressBar(
        TextColumn(f"Job {sent.id}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[state]}"),
        console=errors,
        transient=True,
    )
    try:
        with bar if errors.is_terminal else nullcontext():
            task = bar.add_task("", total=None, state="sent")

            def show(now: Progress) -> None:
                bar.update(task, completed=now.done, total=now.tasks, state=now.state)

            outcome = follow(sent, submitter.server(), show)
    except KeyboardInterrupt:
        warn(f"Interrupted: job {sent.id} stays on the farm.")
        return "interrupted", _INTERRUPTED
    except Lost as error:
        fail(str(error))
        return "unknown", _LOST
    sentence = _WORDS[outcome].format(sent.id)
    if outcome != "done":
        fail(sentence)
    elif not as_json:
        say(sentence)
    return outcome, _STATUS[outcome]
