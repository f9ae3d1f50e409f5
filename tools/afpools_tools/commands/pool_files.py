"""`afpools pool export` and `import`: pools to and from files, and from Afanasy's own pools."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from afpools import AfpoolsError, BrokerRefused, Client, NativePool, OutcomeUnknown, UnknownHost

from .. import exchange
from ..words import plural, ranges
from ..written import write
from .options import (
    YET_TO_COME,
    CommandError,
    NewOption,
    ProfileOption,
    TimeoutOption,
    connect,
)
from .output import remark, say, warn


def export(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="Where to write; default: standard output.", dir_okay=False)
    ] = None,
    profile: ProfileOption = None,
    timeout: TimeoutOption = 5.0,
) -> None:
    """Write all pools as JSON, to keep or to `import` again.

    A FILE that ends in .csv gets CSV, one that ends in .jsonl the earlier pool server's documents for mongoimport.
    """
    with connect(profile, timeout) as client:
        pools = list(exchange.present_pools(client))
    ending = "" if file is None else file.suffix.lower().removeprefix(".")
    text = exchange.FORMATS.get(ending, exchange.as_json)(pools)
    if file is None:
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    write(file, text)
    say(f"Wrote {plural(len(pools), 'pool')} to {file}.")


FileToImport = Annotated[
    Path | None,
    typer.Argument(
        metavar="FILE",
        help="What `export` wrote, or mongoexport of the earlier pool server's database; - for standard input.",
    ),
]
NativeOption = Annotated[
    bool,
    typer.Option(
        "--native",
        help="Instead of a file, import Afanasy's own pools that have renders. Asks first, and takes no host "
        "out of a pool.",
    ),
]
OnlyOption = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="PATH", help="With --native: only this pool, such as /local/gpu; repeatable."),
]
ReplaceOption = Annotated[
    bool,
    typer.Option(
        "--replace",
        help="Remove hosts from a pool that the file does not list in it. Pools that are not in the file always stay.",
    ),
]


def import_pools(
    file: FileToImport = None,
    native: NativeOption = False,
    only: OnlyOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --native: do not ask.")] = False,
    replace: ReplaceOption = False,
    new: NewOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")] = False,
    profile: ProfileOption = None,
    timeout: TimeoutOption = 5.0,
) -> None:
    """Make pools as in a file, or like Afanasy's own. Running it twice has the same effect as running it once."""
    if native:
        if file or replace or new:
            raise typer.BadParameter(
                "takes Afanasy's own pools, and no FILE, --replace or --new.", param_hint="--native"
            )
        with connect(profile, timeout) as client:
            _import_native(client, only, dry_run=dry_run, yes=yes)
        return
    if file is None:
        raise typer.BadParameter("name the file to import, or Afanasy's own pools: --native.", param_hint="FILE")
    if only or yes:
        raise typer.BadParameter("only --native asks, and can leave pools out.", param_hint="--only, --yes")
    text = _read_file(file)
    with connect(profile, timeout) as client:
        wanted = exchange.read_pools(text, str(file), exchange.known_hosts(client))
        steps = exchange.steps(client, wanted, replace=replace, new_hosts=new)
        done = _preview(steps) if dry_run else _import(steps)
    if not steps:
        say(f"Nothing to do: {plural(len(wanted), 'pool')} as in the file.")
    else:
        say(f"{plural(len(done.steps), 'change')} {'would be made' if dry_run else 'made'}.")
    if done.unchecked:
        remark(done.unchecked)
    if done.refused:
        raise CommandError(
            f"{plural(len(done.refused), 'pool')} of the file {'cannot' if dry_run else 'could not'} be imported as a "
            "whole:"
            + "".join(
                f"\n{name}: {why}" + f" {YET_TO_COME}" * isinstance(why, UnknownHost)
                for name, why in done.refused.items()
            )
        )


def _preview(steps: list[exchange.Step]) -> exchange.Preview:
    """Prints the changes that would be made. Returns what they would result in."""
    done = exchange.preview(steps)
    for step in done.steps:
        say(step.text)
    return done


def _import(steps: list[exchange.Step]) -> exchange.Preview:
    """Makes the changes and prints each when it is made. Returns the results."""
    made: list[exchange.Step] = []
    refused: dict[str, AfpoolsError] = {}
    unchecked = ""

    def say_how_far() -> None:
        if made:
            warn(f"{len(made)} of {plural(len(steps), 'change')} made before this one.")

    for step in steps:
        if step.pool in refused:
            continue
        try:
            unchecked = step.apply().unchecked or unchecked
        except AfpoolsError as error:
            if exchange.refuses_pool(error):
                refused[step.pool] = error
                continue
            say_how_far()
            if isinstance(error, OutcomeUnknown):
                raise CommandError(f"{error}\n{step.text}\n{_IMPORT_AGAIN}") from None
            raise
        except KeyboardInterrupt:
            say_how_far()
            raise CommandError(
                f"Interrupted: it is not known whether this change was made.\n{step.text}\n{_IMPORT_AGAIN}"
            ) from None
        say(step.text)
        made.append(step)
    return exchange.Preview(tuple(made), refused, unchecked)


_IMPORT_AGAIN = "Run the same command again: it does whatever is missing by then."


def _import_native(client: Client, only: list[str] | None, *, dry_run: bool, yes: bool) -> None:
    found = client.import_native(only, dry_run=True)
    wanted = [pool for pool in found if pool.created or pool.added]
    for pool in wanted:
        step = f"create with {plural(len(pool.hosts), 'host')}: {ranges(pool.hosts)}"
        say(f"{pool.path} → {pool.pool}: {step if pool.created else f'+ {ranges(pool.added)}'}")
    if not wanted:
        as_in = f"{plural(len(found), 'pool')} as in Afanasy" if found else "no render is in a pool of Afanasy"
        say(f"Nothing to do: {as_in}.")
        return
    _say_jobs(client, [pool for pool in wanted if not pool.created])
    if dry_run:
        say(f"{plural(len(wanted), 'change')} would be made.")
    else:
        if not yes:
            typer.confirm(
                f"Make {'this change' if len(wanted) == 1 else f'these {len(wanted):,} changes'}?", abort=True
            )
        # Import only what was shown, even if Afanasy has other pools by now.
        try:
            done = client.import_native([pool.path for pool in wanted])
        except OutcomeUnknown as error:
            raise CommandError(f"{error}\n{_IMPORT_AGAIN}") from None
        say(f"{plural(sum(bool(pool.change) for pool in done), 'change')} made.")


def _say_jobs(client: Client, pools: list[NativePool]) -> None:
    """Prints what would happen to the jobs on the farm whose pools would get hosts."""
    try:
        for pool in pools:
            preview = client.preview(pool.pool, add_hosts=pool.added, limit=0)
            for sentence in preview["sentences"] if preview["total"] else ():
                say(f"{pool.pool}: {sentence}")
    except BrokerRefused as error:
        remark(f"It is not known what this does to the jobs on the farm. {error}")


def _read_file(file: Path) -> str:
    piped = str(file) == "-"
    try:
        # Bytes: in some locales, Python silently reads text that is not UTF-8 as lone surrogates.
        return (sys.stdin.buffer.read() if piped else file.read_bytes()).decode("utf-8")
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise CommandError(f"{'Standard input' if piped else file} is not text in UTF-8.") from None
