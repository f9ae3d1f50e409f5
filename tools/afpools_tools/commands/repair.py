"""`afpools pool repair`: decides between MongoDB documents with the same pool name.

It works directly on the database in broker.toml, as `serve` does, not through a broker: on the wire a pool is
identified by its name, which is ambiguous here, and a broker refuses every change until that is resolved.
"""

from __future__ import annotations

import getpass
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from ..words import plural, ranges
from .options import CommandError, ConfigOption, JsonOption, open_configured
from .output import print_json, print_table, printable, say, table, warn

if TYPE_CHECKING:
    # Imported where they are used, so that a list of pools does not wait for the database's driver.
    from afpools_broker.pools.pool import Pool
    from afpools_broker.store import PoolStore
    from afpools_broker.store.mongo import MongoStore
    from afpools_broker.store.mongo.claims import Claim, Conflict, Decisions, RepairStep


def repair(
    config: ConfigOption = Path("broker.toml"),
    keep: Annotated[
        list[str] | None,
        typer.Option("--keep", metavar="DOCUMENT", help="Keep this one, and delete the others with its name."),
    ] = None,
    merge: Annotated[
        list[str] | None,
        typer.Option("--merge", metavar="POOL", help="Put the hosts of all documents with this name into one."),
    ] = None,
    rename: Annotated[
        list[str] | None, typer.Option("--rename", metavar="DOCUMENT=NAME", help="Give this one another name.")
    ] = None,
    delete: Annotated[list[str] | None, typer.Option("--delete", metavar="DOCUMENT", help="Delete this one.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show pools that have the same name, and resolve them. Run it where the broker runs; brokers may be running.

    Without --keep, --merge, --rename or --delete it only shows them.
    """
    from afpools_broker.store.mongo.claims import Decisions

    if as_json and (keep or merge or rename or delete):
        raise typer.BadParameter("only shows what is there: decide in a second call.", param_hint="--json")
    decisions = Decisions(keep or (), merge or (), _pairs(rename or ()), delete or ())
    with closing(open_configured(config)) as store:
        _repair(store, decisions, dry_run=dry_run, yes=yes, as_json=as_json)


def _pairs(arguments: Iterable[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for argument in arguments:
        document, separator, name = argument.partition("=")
        if not separator:
            raise typer.BadParameter(f"{argument!r} names no new name. Write DOCUMENT=NAME.", param_hint="--rename")
        pairs[document] = name
    return pairs


def _repair(store: PoolStore, decisions: Decisions, *, dry_run: bool, yes: bool, as_json: bool) -> None:
    if store.kind != "mongodb":
        for problem in store.load().problems:
            warn(problem)
        if as_json:
            print_json({"pools": [], "requests": []})
            return
        say("Nothing to repair: in an SQLite file no two pools can have one name.")
        return
    from afpools_broker.store.mongo import MongoStore
    from afpools_broker.store.mongo.claims import plan, undecided

    assert isinstance(store, MongoStore)
    found = store.conflicts()
    twice = store.requests_twice()
    try:
        steps = plan(found, decisions)
    except ValueError as error:
        raise CommandError(str(error)) from None
    if as_json:
        print_json(
            {
                "pools": [_as_json(conflict) for conflict in found],
                "requests": [{"key": key, "entries": entries} for key, entries in twice],
            }
        )
        raise typer.Exit(1 if found or twice else 0)
    for conflict in found:
        _show(conflict)
    for key, entries in twice:
        say(f"{len(entries)} entries in history are of the request {key!r}. Only the oldest will answer for it.")
    if not found and not twice:
        store.check()
        say("Nothing to repair: every pool has a name of its own.")
        return
    for step in steps:
        say(_describe(step))
    count = plural(len(steps) + bool(twice), "change")
    if dry_run:
        say(f"{count} would be made.")
    elif steps or twice:
        if not yes:
            typer.confirm(f"Make {count}?", abort=True)
        _make(store, steps, count)
    remain = undecided(found, steps)
    if remain:
        names = ", ".join(repr(conflict.name) if conflict.name else "documents without a name" for conflict in remain)
        warn(
            f"Still to be decided: {names}. For each document: --keep DOCUMENT, --rename DOCUMENT=NAME or "
            "--delete DOCUMENT; or for all of a name: --merge POOL."
        )
        raise typer.Exit(1)
    if not dry_run:
        store.check()
        say("Every pool has a name of its own, and can be changed.")


def _make(store: MongoStore, steps: Sequence[RepairStep], count: str) -> None:
    """Makes the changes; `count` says how many."""
    for number, step in enumerate(steps):
        try:
            store.resolve(step, who=getpass.getuser())
        except Exception:
            if number:
                warn(f"Only {number} of {count} made. Running this again shows what is left.")
            raise
    store.separate_requests()
    say(f"{count} made.")


def _show(conflict: Conflict) -> None:
    say(
        f"{len(conflict.claims)} documents are named {conflict.name}:"
        if conflict.name
        else "These documents have no name that a pool can have, and count as absent:",
        "bold",
    )
    rows = table("Document", "Hosts", "Description", "Last change", whole=("Document",))
    for claim in conflict.claims:
        rows.add_row(
            Text(printable(claim.id)),
            printable(f"{len(claim.pool.hosts):,}: {ranges(claim.pool.hosts)}" if claim.pool.hosts else "none"),
            printable(claim.pool.description),
            printable(_last(claim)),
        )
    print_table(rows)


def _last(claim: Claim) -> str:
    last = claim.last
    if last is None:
        return "not by Afanasy Pools"
    return f"{last.when.astimezone():%Y-%m-%d %H:%M:%S} by {last.who}: {last.op.partition('.')[2].replace('_', ' ')}"


def _describe(step: RepairStep) -> str:
    claim, after = step.claim, step.becomes
    if after is None:
        return f"delete {claim.id}, {claim.pool.name} with {plural(len(claim.pool.hosts), 'host')}"
    if after.name != claim.pool.name:
        return f"rename {claim.id}, {claim.pool.name}, to {after.name}"
    return f"merge into {claim.id}, {after.name}: {_added(claim.pool, after)}"


def _added(before: Pool, after: Pool) -> str:
    added = set(after.hosts) - set(before.hosts)
    return f"+ {ranges(added)}" if added else "no host that it does not have"


def _as_json(conflict: Conflict) -> dict[str, Any]:
    return {
        "name": conflict.name,
        "documents": [
            {
                "id": claim.id,
                "hosts": claim.pool.hosts,
                "description": claim.pool.description,
                "colour": claim.pool.colour,
                "changed": claim.last and claim.last.when.isoformat(),
                "changed_by": claim.last and claim.last.who,
            }
            for claim in conflict.claims
        ],
    }
