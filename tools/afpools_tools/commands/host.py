"""`afpools host`: the hosts that a broker knows."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from afpools import AfpoolsError, HostSummary

from ..hosts import HostError, Step, expand_hosts, find_host, is_farm_known, is_on_farm, replace_host
from ..words import ranges
from .options import (
    CommandError,
    HostsArgument,
    JsonOption,
    NewOption,
    ProfileOption,
    RequestIdOption,
    TimeoutOption,
    change,
    connect,
    named_hosts,
)
from .output import print_json, print_table, printable, remark, say, stale_hosts, table, warn

# An error names at most this many pools; if there are more, it says how many.
_NAMED = 10

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Show hosts, and register some.")


@app.command("list")
def list_hosts(profile: ProfileOption = None, timeout: TimeoutOption = 5.0, as_json: JsonOption = False) -> None:
    """Every host the broker knows: renders, hosts registered by hand, members of pools."""
    with connect(profile, timeout) as client:
        answer = client.list_hosts()
    stale_hosts(answer)
    known = is_farm_known(answer)
    on_farm = {host.name: is_on_farm(host) if known else None for host in answer.hosts}
    if as_json:
        print_json([{**host._asdict(), "on_farm": on_farm[host.name]} for host in answer.hosts])
        return
    if not answer.hosts:
        say("No hosts are known yet. Register some: afpools host register 'pc-[01-40]'")
        return
    absent = [host.name for host in answer.hosts if host.pools and on_farm[host.name] is False]
    rows = table("Host", "State", "Address", "Engine", "Native pool", "Pools", whole=("Host",))
    for host in sorted(answer.hosts, key=_natural):
        state = Text(_state(host, on_farm[host.name]), "" if host.name not in absent else "yellow")
        rest = (host.address, host.engine, host.native_pool, ", ".join(host.pools))
        rows.add_row(printable(host.name), state, *map(printable, rest))
    print_table(rows)
    if absent:
        _advise(absent)


def _natural(host: HostSummary) -> list[int | str]:
    """A sort key that puts pc-2 before pc-10: text and numbers in alternation."""
    return [int(part) if part.isdecimal() else part.casefold() for part in re.split(r"(\d+)", host.name)]


def _state(host: HostSummary, on_farm: bool | None) -> str:
    if host.states:
        return " ".join(host.states)
    if on_farm is False:
        return "registered, not on the farm" if host.registered else "not on the farm"
    return "registered" if host.registered else "only in pools"


def _advise(absent: list[str]) -> None:
    """Suggests what to do with hosts in pools that are not renders."""
    one = shlex.quote(absent[0])
    which = f"{ranges(absent)}: " + ("is in pools" if len(absent) == 1 else f"{len(absent):,} hosts are in pools")
    warn(f"{which}, but not on the farm.")
    remark(f"  To put another host in its place:  afpools host replace {one} NEW")
    remark(f"  To take it out of all its pools:   afpools host forget --from-pools {one}")


@app.command()
def replace(
    old: Annotated[str, typer.Argument(metavar="OLD", help="The host that leaves.")],
    by: Annotated[str, typer.Argument(metavar="NEW", help="The host that takes its place.")],
    new: NewOption = False,
    profile: ProfileOption = None,
    timeout: TimeoutOption = 5.0,
) -> None:
    """Take a host out of all its pools, and put another one in. After a failure, run it again: it does the rest."""
    for name in (old, by):
        if "[" in name or named_hosts([name]) != [name]:
            raise typer.BadParameter(f"{name!r} is not the name of one host.")
    with connect(profile, timeout) as client:
        hosts = client.list_hosts().hosts
        there = next((host.pools for host in hosts if host.name.casefold() == by.casefold()), ())
        done = (
            f" {by} is in {', '.join(there)}. If you are repeating the command, it has done its work." if there else ""
        )
        try:
            host = find_host(hosts, old)
        except HostError as error:
            raise CommandError(f"{error}{done}") from None
        if host.name.casefold() == by.casefold():
            raise CommandError(f"{old} cannot take its own place. Name another host.")
        if not host.pools:
            raise CommandError(f"{host.name} is in no pool.{done}")
        for step in _each(replace_host(client, host, by, {host.name for host in hosts}, new_hosts=new), host):
            if step.follows:
                _say_left(step, host)
            else:
                say(f"{step.pool}: " + (f"added {by}" if step.added else f"{by} is in it") + f", took out {host.name}.")


def _say_left(step: Step, host: HostSummary) -> None:
    remark(f"{step.pool} follows Afanasy's pool {step.follows}, so {host.name} stays in it as long as it is in that.")


def _each(steps: Iterator[Step], host: HostSummary) -> Iterator[Step]:
    """Yields each step when it is done.

    Raises:
        CommandError: a step failed, or its outcome is unknown.
    """
    done = 0
    try:
        for step in steps:
            done += 1
            yield step
    except (AfpoolsError, KeyboardInterrupt) as error:
        why = "Interrupted." if isinstance(error, KeyboardInterrupt) else str(error)
        rest = host.pools[done:]
        left = f"Not done: {', '.join(rest)}." if len(rest) <= _NAMED else f"Not done: {len(rest):,} pools."
        raise CommandError(f"{why}\n{left} Run the same command again to do the rest.") from None


@app.command()
def register(
    names: HostsArgument,
    profile: ProfileOption = None,
    request_id: RequestIdOption = None,
    timeout: TimeoutOption = 5.0,
) -> None:
    """Make hosts known before the farm has seen them."""
    hosts = named_hosts(names)
    with connect(profile, timeout) as client, change(request_id) as request:
        done = client.register_hosts(hosts, request_id=request)
    say(f"Registered {ranges(done.added)}." if done.added else "Nothing to do: already registered.")


@app.command()
def forget(
    names: HostsArgument,
    from_pools: Annotated[
        bool,
        typer.Option("--from-pools", help="Also take them out of all their pools. Repeat the command after a failure."),
    ] = False,
    profile: ProfileOption = None,
    request_id: RequestIdOption = None,
    timeout: TimeoutOption = 5.0,
) -> None:
    """Take back `register`. Renders of the farm and members of pools stay known."""
    hosts = named_hosts(names)
    if from_pools:
        if request_id is not None:
            raise typer.BadParameter(
                "cannot be given with --from-pools: repeat the command.", param_hint="--request-id"
            )
        _forget_members(hosts, profile, timeout)
        return
    with connect(profile, timeout) as client, change(request_id) as request:
        done = client.forget_hosts(hosts, request_id=request)
    say(f"Forgot {ranges(done.removed)}.")


def _forget_members(names: list[str], profile: Path | None, timeout: float) -> None:
    """Takes hosts out of all their pools, and unregisters them."""
    wanted = expand_hosts(names, leaving=True)
    with connect(profile, timeout) as client:
        known = client.list_hosts().hosts
        # Check all of them first: a mistyped name stops everything before anything is done.
        found = [find_host(known, name) for name in wanted]
        for host in found:
            if not host.pools and not host.registered:
                raise CommandError(f"{host.name} is in no pool, and is not registered.")
        for host in found:
            for step in _each(replace_host(client, host, None, {host.name for host in known}), host):
                if step.follows:
                    _say_left(step, host)
                else:
                    say(f"{step.pool}: took out {host.name}.")
        # Look them up again: without afserver, a host that leaves its pool is registered so that it stays known.
        gone = {host.name for host in found}
        left = [host.name for host in client.list_hosts().hosts if host.registered and host.name in gone]
        if left:
            say(f"Forgot {ranges(client.forget_hosts(left).removed)}.")
