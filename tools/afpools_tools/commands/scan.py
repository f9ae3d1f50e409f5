"""`afpools scan`: finds machines in a network that are not render nodes yet, and adds them."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar
from rich.text import Text

from afpools import AfpoolsError, Client, HostSummary, OutcomeUnknown

from ..hosts import expand_hosts
from ..network.addresses import ScanError, own_target, parse_target, this_machine
from ..network.scan import PORTS, RATE, WAIT, Machine, Scanner, ScanResult, Settings, keep, last_result, mark
from ..words import duration, plural, ranges
from .options import CommandError, JsonOption, ProfileOption, TimeoutOption, connect, named_hosts
from .output import errors, print_json, print_table, printable, remark, say, stale_hosts, table, warn

# The shell's exit status for a program that Ctrl-C ended.
_INTERRUPTED = 130


NetworkArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="CIDR",
        help="An IPv4 network, at most a /20, or one address. Without it: the network this machine is in.",
    ),
]
LastOption = Annotated[
    bool, typer.Option("--last", help="Do not scan: show the last result, compared with the farm as it is now.")
]
RegisterOption = Annotated[
    bool, typer.Option("--register", help="Register the new machines, before the farm has seen them.")
]
AddToOption = Annotated[str | None, typer.Option("--add-to", metavar="POOL", help="Add the new machines to a pool.")]
OnlyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        metavar="HOSTS",
        help="Show and use only these of the machines found, new or not: names and ranges, 'pc-[01-40]'.",
    ),
]
PortOption = Annotated[
    list[int] | None,
    typer.Option("--port", metavar="PORT", help=f"Try this port instead of {', '.join(map(str, PORTS))}; repeatable."),
]
RateOption = Annotated[float, typer.Option("--rate", metavar="COUNT", help="Connections to open per second.")]
WaitOption = Annotated[float, typer.Option("--wait", metavar="SECONDS", help="How long to wait for a port to answer.")]
NoBrokerOption = Annotated[
    bool, typer.Option("--no-broker", help="Do not ask the broker which of them are renders or in pools.")
]


def scan(
    network: NetworkArgument = None,
    only_new: Annotated[bool, typer.Option("--new", help="Only machines that the broker does not know.")] = False,
    last: LastOption = False,
    register: RegisterOption = False,
    pool: AddToOption = None,
    only: OnlyOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before hosts are registered or added.")] = False,
    port: PortOption = None,
    rate: RateOption = RATE,
    wait: WaitOption = WAIT,
    no_broker: NoBrokerOption = False,
    profile: ProfileOption = None,
    timeout: TimeoutOption = 5.0,
    as_json: JsonOption = False,
) -> None:
    """Find machines in the network that are not render nodes yet. Ctrl-C ends it and shows what was found so far.

    A machine is found if one of its ports accepts or refuses a TCP connection, so one whose firewall drops everything
    is not found. Nothing is sent to the ports, and no address outside the network is tried.
    """
    takes = register or pool is not None
    _check(network, last=last, needs_broker=only_new or takes, no_broker=no_broker)
    chosen = expand_hosts(named_hosts(only)) if only else []
    scanner = None if last else _scanner(network, Settings(tuple(port or PORTS), rate, wait))
    client, hosts = (None, None) if no_broker else _ask_broker(profile, timeout, needed=only_new or takes)
    try:
        if client and takes:
            _check_rights(client, pool)
        if scanner is None:
            result, interrupted = last_result(), False
        else:
            _announce(scanner)
            result, interrupted = _run(scanner)
            _keep(result)
        machines = _select(mark(result.findings, hosts or ()), chosen, only_new=only_new)
        if as_json:
            print_json(_as_json(result, machines, asked_broker=hosts is not None))
        else:
            _print(result, machines, asked_broker=hosts is not None)
        if interrupted:
            raise typer.Exit(_INTERRUPTED)
        if client and takes:
            tell = remark if as_json else say
            taken = _taken(machines, any_of_them=bool(chosen))
            try:
                _take(client, taken, register=register, pool=pool, yes=yes, tell=tell)
            except OutcomeUnknown as error:
                raise CommandError(f"{error}\nRun the same command again with --last: nothing is done twice.") from None
    finally:
        if client:
            client.close()


def _check(network: str | None, *, last: bool, needs_broker: bool, no_broker: bool) -> None:
    if last and network:
        raise typer.BadParameter(
            "the last result is of the network that was scanned: leave one out.", param_hint="CIDR"
        )
    if no_broker and needs_broker:
        raise typer.BadParameter(
            "only the broker knows which machines are new, and only it can add them: leave one out.",
            param_hint="--no-broker",
        )


def _scanner(network: str | None, settings: Settings) -> Scanner:
    machine = this_machine()
    target = parse_target(network) if network else own_target(machine)
    return Scanner(target, machine, settings)


def _announce(scanner: Scanner) -> None:
    """Prints what will be scanned, before the first connection."""
    target = scanner.target
    if target.narrowed_from:
        warn(
            f"This machine's network is {target.narrowed_from}, too large for one scan. Scanning only the "
            "part around its own address. To scan another part: afpools scan CIDR"
        )
    if target.network.is_global:
        warn(f"{target.network} is on the public internet. Press Ctrl-C unless these machines are yours.")
    count = scanner.progress.addresses
    remark(
        f"Scanning {target.network}: {count:,} {'address' if count == 1 else 'addresses'}, "
        f"about {duration(scanner.expected_seconds)} at most. Ctrl-C ends it."
    )


def _ask_broker(
    profile: Any, timeout: float, *, needed: bool
) -> tuple[Client, Sequence[HostSummary]] | tuple[None, None]:
    """The broker and its hosts; None if it is neither available nor needed."""
    client = None
    try:
        client = connect(profile, timeout)
        answer = client.list_hosts()
    except AfpoolsError as error:
        if client:
            client.close()
        if needed:
            raise
        warn(f"The farm could not be asked about the machines. {error}")
        return None, None
    stale_hosts(answer)
    return client, answer.hosts


def _check_rights(client: Client, pool: str | None) -> None:
    """Refuses now what the broker would refuse after a scan that takes minutes."""
    us = client.hello()
    if "hosts.register" not in us.operations:
        raise CommandError(f"{us.name} is a {us.role} to the broker: only a manager may register hosts or add them.")
    if pool is not None:
        client.get_pool(pool)


def _run(scanner: Scanner) -> tuple[ScanResult, bool]:
    """Scans; returns whether Ctrl-C ended it."""
    bar = ProgressBar(
        TextColumn("{task.fields[found]} found", justify="right"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=errors,
        transient=True,
        disable=not errors.is_terminal,
    )
    with bar:
        task = bar.add_task("", total=scanner.progress.addresses, found=0)
        try:
            asyncio.run(scanner.run(lambda now: bar.update(task, completed=now.tried, found=now.found)))
        except KeyboardInterrupt:
            return scanner.result(), True
    return scanner.result(), False


def _keep(result: ScanResult) -> None:
    try:
        keep(result)
    except ScanError as error:
        warn(str(error))  # it is about to be shown


def _select(machines: Sequence[Machine], chosen: Sequence[str], *, only_new: bool) -> list[Machine]:
    """The machines that the options ask for."""
    if chosen:
        from afpools_broker.pools.pool import as_afrender_would

        wanted = {as_afrender_would(name).casefold() for name in chosen}
        machines = [machine for machine in machines if as_afrender_would(machine.name).casefold() in wanted]
    return [machine for machine in machines if not only_new or machine.host is None]


def _taken(machines: Sequence[Machine], *, any_of_them: bool) -> dict[str, Machine]:
    """The names of the machines to register or add: those that were chosen, else the new ones, without this machine."""
    taken = [m for m in machines if m.name and (any_of_them or (m.host is None and not m.finding.this_machine))]
    return {machine.name: machine for machine in taken}


def _take(
    client: Client, taken: Mapping[str, Machine], *, register: bool, pool: str | None, yes: bool, tell: Any
) -> None:
    names = list(taken)
    if not names:
        tell("Nothing to do: there is no machine with a name among these that the broker does not know.")
        return
    coming = [name for name, machine in taken.items() if not machine.is_render]
    if pool is not None and coming:
        remark(f"Not on the farm yet: {ranges(coming)}. Jobs on {pool} run there once a render of that name is.")
    what = " and ".join(["register"] * register + [f"add to {pool}"] * (pool is not None))
    if not yes:
        question = f"{what.capitalize()} {'this host' if len(names) == 1 else f'these {len(names):,} hosts'}"
        typer.confirm(printable(f"{question}: {ranges(names)}?"), abort=True, err=True)
    # Add first, because that can be refused: hosts that are only registered are not what was asked for.
    if pool is not None:
        # Hosts that are already in the pool may be spelled differently there.
        adding = [name for name, machine in taken.items() if pool not in machine.pools]
        added = client.add_hosts(pool, adding, new_hosts=bool(coming)).added if adding else ()
        tell(f"Added {ranges(added)} to {pool}." if added else f"Nothing to do: all are in {pool}.")
    if register:
        done = client.register_hosts(names)
        tell(f"Registered {ranges(done.added)}." if done.added else "Nothing to do: already registered.")


# --- what is shown --------------------------------------------------------------------------------------------------


def _as_json(result: ScanResult, machines: Sequence[Machine], *, asked_broker: bool) -> dict[str, Any]:
    """What `--json` prints. If no broker was asked, `new` and `render` are null: not known."""

    def known(value: bool) -> bool | None:
        return value if asked_broker else None

    return {
        "network": str(result.network),
        "started": result.started.isoformat(),
        "seconds": result.seconds,
        "addresses": result.addresses,
        "tried": result.tried,
        "complete": result.complete,
        "trouble": result.trouble,
        "machines": [
            {
                "address": str(machine.finding.address),
                "name": machine.name,
                "resolved": machine.finding.resolved,
                "port": machine.finding.port,
                "accepted": machine.finding.accepted,
                "this_machine": machine.finding.this_machine,
                "new": known(machine.host is None),
                "render": known(machine.is_render),
                "states": list(machine.host.states) if machine.host else [],
                "pools": list(machine.pools),
            }
            for machine in machines
        ],
    }


def _print(result: ScanResult, machines: Sequence[Machine], *, asked_broker: bool) -> None:
    if machines:
        rows = table("Address", "Host", "On the farm", "Pools", "Answered", whole=("Address", "Host"))
        for machine in machines:
            finding = machine.finding
            answered = f"port {finding.port}" if finding.accepted else f"port {finding.port}, refused"
            rows.add_row(
                str(finding.address),
                printable(machine.name),
                _standing(machine) if asked_broker else Text("not known", "dim"),
                printable(", ".join(machine.pools)),
                f"{answered}; this machine" if finding.this_machine else answered,
            )
        print_table(rows)
    elif result.findings:
        say("None of the machines found is among those you asked for.")
    _print_summary(result, len(machines))


def _standing(machine: Machine) -> Text:
    if machine.host is None:
        return Text("new", "green")
    if machine.is_render:
        return Text(printable(f"render, {' '.join(machine.host.states)}"))
    return Text("registered" if machine.host.registered else "only in pools")


def _print_summary(result: ScanResult, shown: int) -> None:
    found = f"{plural(len(result.findings), 'machine')} found" + (
        f", {shown:,} shown" * (shown != len(result.findings))
    )
    age = (dt.datetime.now(dt.UTC) - result.started).total_seconds() - result.seconds
    when = f", {duration(age)} ago" if age >= 60 else ""
    remark(f"{found} in {result.network}{when}.")
    if not result.complete:
        warn(f"The scan was cancelled: {result.tried:,} of {result.addresses:,} addresses were tried.")
    if result.trouble:
        warn(
            f"Some connections could not even be begun, so machines may be missing: {result.trouble}. "
            "See that a route leads there, or scan more slowly: --rate 50"
        )
