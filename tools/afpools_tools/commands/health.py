"""`afpools health`: a summary for people, and an exit status for monitoring."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from afpools import AfpoolsError
from afpools.job_results import FENCES

from ..health import DOWN, UNKNOWN, Asked, ask, by_broker, nagios_line, nobody, problems, status, verdict
from ..health import nagios as nagios_of
from ..words import duration, plural
from .options import JsonOption, ProfileOption, TimeoutOption, open_profile
from .output import fail, print_json, print_table, printable, say, table

NagiosOption = Annotated[
    bool, typer.Option("--nagios", help="Print one line with the numbers after a bar, as Nagios and Icinga read it.")
]


def health(
    profile: ProfileOption = None,
    timeout: TimeoutOption = 5.0,
    as_json: JsonOption = False,
    nagios: NagiosOption = False,
) -> None:
    """Check the broker's health over every endpoint. Exit status 0: healthy, 1: degraded, 2: down, 3: unknown."""
    if as_json and nagios:
        fail("Choose one of --json and --nagios.")
        raise typer.Exit(UNKNOWN)
    try:
        opened = open_profile(profile)
    except AfpoolsError as error:
        if nagios:
            say(nagios_line(UNKNOWN, str(error)))
        else:
            _say("unknown", str(error), [], as_json=as_json)
        raise typer.Exit(UNKNOWN) from None
    asked = ask(opened, timeout)
    state = status(asked)
    if nagios:
        say(nagios_of(asked)[1])
    elif state in (DOWN, UNKNOWN):
        _say("down" if state == DOWN else "unknown", str(nobody(asked)), asked, as_json=as_json)
    elif as_json:
        print_json(
            {
                **next(one.report for one in asked if one.report is not None),
                "status": verdict(asked),
                "problems": problems(asked),
                "endpoints": [one.for_programs() for one in asked],
            }
        )
    else:
        _print(asked)
    raise typer.Exit(state)


def _say(state: str, text: str, asked: Sequence[Asked], *, as_json: bool) -> None:
    """Reports that there is no answer."""
    if as_json:
        print_json({"status": state, "problems": [text], "endpoints": [one.for_programs() for one in asked]})
    else:
        fail(text)


def _print(asked: Sequence[Asked]) -> None:
    rows = table()
    for reports in by_broker(asked).values():
        _add_facts(rows, reports[0])
    for number, one in enumerate(asked):
        name = "" if number else "Endpoints"
        if one.report is not None:
            _add_fact(rows, name, f"{one.endpoint.url} works: {one.milliseconds:.0f} ms")
        elif one.status == "skipped":
            _add_fact(rows, name, f"{one.endpoint.url} was {one.why}", "dim")
        else:
            _add_fact(rows, name, f"{one.endpoint.url} does not work", "red")
    for number, problem in enumerate(problems(asked)):
        _add_fact(rows, "" if number else "Problems", problem, "yellow")
    print_table(rows)


def _add_fact(rows: Table, name: str, value: str, style: str = "") -> None:
    rows.add_row(Text(name, style), Text(printable(value), style))


def _add_facts(rows: Table, report: dict[str, Any]) -> None:
    """What one broker says about itself."""
    store, farm = report["store"], report["farm"]
    fact = partial(_add_fact, rows)

    fact(
        "Broker",
        f"{report['broker']} {report['version']}: {report['status']}",
        "green" if report["status"] == "healthy" else "yellow",
    )
    fact("Up since", f"{duration(report['uptime'])} ago")
    latency = f"answers in {store['latency_ms']:.1f} ms" if store["reachable"] else "does not answer"
    fact("Store", f"{store['kind']}, {latency}; {plural(report['pools'], 'pool')}", "" if store["reachable"] else "red")
    if farm["source"] == "registered":
        fact("Farm", "no afserver: hosts are registered by hand")
    else:
        state = "answers" if farm["reachable"] else "does not answer"
        age = "never seen" if farm["age"] is None else f"as of {duration(farm['age'])} ago"
        fact(
            "Farm",
            f"{farm['server']} {state}; {plural(farm['renders'], 'render')}, {age}",
            "" if farm["reachable"] else "red",
        )
        if farm.get("post_commands"):
            fact("", farm["post_commands"])
    if report.get("live"):
        fact("Live pools", _live(report["live"]))
    fact("Connections", _counts(report["connections"]))
    fact("Requests", _counts(report["requests"]))
    if report["errors"]:
        fact("Errors", _errors(report["errors"]))
    if report["refused_connections"]:
        fact("Refused", plural(report["refused_connections"], "connection"))


def _live(live: dict[str, Any]) -> str:
    """Which broker keeps the fences of running jobs, and their state."""
    if not live["keeper"]:
        return "no broker is known to keep the fences"
    keeper = "this broker keeps" if live["keeping"] else f"{live['keeper']} keeps"
    parts = [f"{keeper} the fences of {plural(live['jobs'], 'job')}"]
    if live.get("spilled"):
        parts.append(f"{live['spilled']:,} spilled")
    if live["behind"] >= 1:
        parts.append(f"{duration(live['behind'])} behind")
    parts.append("never seen" if live["age"] is None else f"as of {duration(live['age'])} ago")
    if live["keeping"]:
        parts.append(
            f"{live['moved']:,} moved, {live['refused']:,} {FENCES['refused'].lower()}; afserver took "
            f"{live['afserver_ms']:.0f} ms"
        )
    return "; ".join(parts)


def _errors(errors: dict[str, Any]) -> str:
    """Errors by operation and code; a broker of another version may count by code only."""
    by_code = {code: count for code, count in errors.items() if isinstance(count, int)}
    by_operation = [f"{op}: {_counts(codes)}" for op, codes in sorted(errors.items()) if isinstance(codes, dict)]
    return "; ".join([*by_operation, _counts(by_code)] if by_code else by_operation)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items())) or "none"
