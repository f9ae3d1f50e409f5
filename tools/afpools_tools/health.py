"""`afpools health`: one look for people, an exit status for monitoring."""

from __future__ import annotations

from typing import Any

import typer
from rich.text import Text

from afpools import AfpoolsError

from .output import (
    JsonOption,
    ProfileOption,
    TimeoutOption,
    connect,
    duration,
    fail,
    plural,
    print_json,
    print_table,
    printable,
    table,
)


def health(profile: ProfileOption = None, timeout: TimeoutOption = 5.0, as_json: JsonOption = False) -> None:
    """Is the broker well? Exit status 0: healthy, 1: degraded, 2: down."""
    try:
        with connect(profile, timeout) as client:
            report = client.health()
    except AfpoolsError as error:
        # Whatever keeps us from asking keeps the plug-ins from asking too.
        if as_json:
            print_json({"status": "down", "problems": [str(error)]})
        else:
            fail(str(error))
        raise typer.Exit(2) from None
    if as_json:
        print_json(report)
    else:
        _print(report)
    raise typer.Exit(0 if report["status"] == "healthy" else 1)


def _print(report: dict[str, Any]) -> None:
    store, farm = report["store"], report["farm"]
    rows = table()

    def fact(name: str, value: str, style: str = "") -> None:
        rows.add_row(Text(name, style), Text(printable(value), style))

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
    fact("Connections", _counts(report["connections"]))
    fact("Requests", _counts(report["requests"]))
    if report["errors"]:
        fact("Errors", _errors(report["errors"]))
    if report["refused_connections"]:
        fact("Not let in", plural(report["refused_connections"], "connection"))
    for number, problem in enumerate(report["problems"]):
        fact("" if number else "Problems", problem, "yellow")
    print_table(rows)


def _errors(errors: dict[str, Any]) -> str:
    """Errors by operation and code; a broker of another version may count by code alone."""
    by_code = {code: count for code, count in errors.items() if isinstance(count, int)}
    by_operation = [f"{op}: {_counts(codes)}" for op, codes in sorted(errors.items()) if isinstance(codes, dict)]
    return "; ".join([*by_operation, _counts(by_code)] if by_code else by_operation)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items())) or "none"
