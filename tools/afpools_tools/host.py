"""`afpools host`: the hosts that a broker knows."""

from __future__ import annotations

import re

import typer

from afpools import HostSummary

from .output import (
    HostsArgument,
    JsonOption,
    ProfileOption,
    RequestIdOption,
    TimeoutOption,
    change,
    connect,
    print_json,
    print_table,
    printable,
    ranges,
    say,
    stale_hosts,
    table,
)
from .pool import split_hosts

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Show the hosts there are, and register some.")


@app.command("list")
def list_hosts(profile: ProfileOption = None, timeout: TimeoutOption = 5.0, as_json: JsonOption = False) -> None:
    """Every host the broker knows: renders, registered by hand, members of pools."""
    with connect(profile, timeout) as client:
        answer = client.list_hosts()
    stale_hosts(answer)
    if as_json:
        print_json([host._asdict() for host in answer.hosts])
        return
    if not answer.hosts:
        say("No hosts are known yet. Register some: afpools host register 'pc-[01-40]'")
        return
    rows = table("Host", "State", "Address", "Engine", "Native pool", "Pools", whole=("Host",))
    for host in sorted(answer.hosts, key=_natural):
        cells = (host.name, _state(host), host.address, host.engine, host.native_pool, ", ".join(host.pools))
        rows.add_row(*map(printable, cells))
    print_table(rows)


def _natural(host: HostSummary) -> list[int | str]:
    """What makes pc-2 come before pc-10: text and numbers in turns."""
    return [int(part) if part.isdecimal() else part.casefold() for part in re.split(r"(\d+)", host.name)]


def _state(host: HostSummary) -> str:
    if host.states:
        return " ".join(host.states)
    return "registered" if host.registered else "only in pools"


@app.command()
def register(
    names: HostsArgument,
    profile: ProfileOption = None,
    request_id: RequestIdOption = None,
    timeout: TimeoutOption = 5.0,
) -> None:
    """Make hosts known before the farm has seen them."""
    hosts = split_hosts(names)
    with connect(profile, timeout) as client, change(request_id) as request:
        done = client.register_hosts(hosts, request_id=request)
    say(f"Registered {ranges(done.added)}." if done.added else "Nothing to do: already registered.")


@app.command()
def forget(
    names: HostsArgument,
    profile: ProfileOption = None,
    request_id: RequestIdOption = None,
    timeout: TimeoutOption = 5.0,
) -> None:
    """Take back `register`. Renders of the farm and members of pools stay known."""
    hosts = split_hosts(names)
    with connect(profile, timeout) as client, change(request_id) as request:
        done = client.forget_hosts(hosts, request_id=request)
    say(f"Forgot {ranges(done.removed)}.")
