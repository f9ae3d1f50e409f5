"""`afpools health`: one look for people, an exit status for monitoring.

Strategy: every endpoint of the profile is asked, all at the same time, because a client asks one and keeps quiet about
the others: plug-ins come in over TLS only, and a broker that answers over CURVE may be out of their reach.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import typer
from rich.table import Table
from rich.text import Text

from afpools import AfpoolsError, BrokerUnreachable, Client
from afpools.profile import Endpoint, Profile
from afpools.transport import unusable

from ..words import duration, plural
from .options import JsonOption, ProfileOption, TimeoutOption, open_profile
from .output import fail, print_json, print_table, printable, table


class Asked(NamedTuple):
    """One endpoint, and what became of asking it.

    Args:
        endpoint: which.
        status: what its broker said, `healthy` or `degraded`; `down` where it did not answer; `skipped` where this
            program lacks what CURVE takes.
        why: a clause, where it did not answer.
        milliseconds: until its answer, handshake included.
        report: its answer.
    """

    endpoint: Endpoint
    status: str
    why: str = ""
    milliseconds: float = 0.0
    report: dict[str, Any] | None = None

    def for_programs(self) -> dict[str, Any]:
        """As `--json` has it."""
        found: dict[str, Any] = {
            "url": self.endpoint.url,
            "broker": self.endpoint.broker or "",
            "status": self.status,
        }
        if self.report is None:
            return {**found, "why": self.why}
        return {**found, "milliseconds": self.milliseconds, "health": self.report}


def health(profile: ProfileOption = None, timeout: TimeoutOption = 5.0, as_json: JsonOption = False) -> None:
    """Is the broker well, over every endpoint? Exit status 0: healthy, 1: degraded, 2: down."""
    try:
        opened = open_profile(profile)
    except AfpoolsError as error:
        # Whatever keeps us from asking keeps the plug-ins from asking too.
        _say_down(str(error), [], as_json=as_json)
        raise typer.Exit(2) from None
    with ThreadPoolExecutor(len(opened.endpoints)) as threads:
        asked = list(threads.map(lambda endpoint: _ask(opened, endpoint, timeout), opened.endpoints))
    answered = [one for one in asked if one.report is not None]
    if not answered:
        nobody = BrokerUnreachable([(one.endpoint.url, one.why) for one in asked])
        _say_down(str(nobody), asked, as_json=as_json)
        raise typer.Exit(2)
    well = all(one.status in ("healthy", "skipped") for one in asked)
    if as_json:
        print_json(
            {
                **(answered[0].report or {}),
                "status": "healthy" if well else "degraded",
                "problems": _problems(asked),
                "endpoints": [one.for_programs() for one in asked],
            }
        )
    else:
        _print(asked)
    raise typer.Exit(0 if well else 1)


def _ask(profile: Profile, endpoint: Endpoint, timeout: float) -> Asked:
    if why := unusable(profile, endpoint):
        # Plug-ins do without pyzmq and CURVE keys, and so may this program.
        return Asked(endpoint, "skipped" if endpoint.scheme == "curve" else "down", why)
    began = time.monotonic()
    try:
        with Client(profile._replace(endpoints=(endpoint,)), timeout=timeout) as client:
            report = client.health()
    except BrokerUnreachable as error:
        return Asked(endpoint, "down", "; ".join(why for _, why in error.attempts))
    except AfpoolsError as error:
        return Asked(endpoint, "down", str(error).rstrip("."))
    return Asked(endpoint, str(report["status"]), "", round((time.monotonic() - began) * 1000, 1), report)


def _say_down(text: str, asked: Sequence[Asked], *, as_json: bool) -> None:
    if as_json:
        print_json({"status": "down", "problems": [text], "endpoints": [one.for_programs() for one in asked]})
    else:
        fail(text)


def _problems(asked: Sequence[Asked]) -> list[str]:
    """In sentences: what brokers say, each once, and which endpoints do not work."""
    brokers = _brokers(asked)
    found = [
        f"{name}: {problem}" if len(brokers) > 1 else problem
        for name, reports in brokers.items()
        # Asked twice at the same moment, it says the same twice, with other numbers.
        for problem in next((report["problems"] for report in reports if report["problems"]), ())
    ]
    found += [f"{one.endpoint.url} does not work: {one.why}." for one in asked if one.status == "down"]
    found += _locked_out(asked)
    return found


def _locked_out(asked: Sequence[Asked]) -> list[str]:
    over_tls = [one for one in asked if one.endpoint.scheme == "tls"]
    if not over_tls or any(one.report is not None for one in over_tls):
        return []
    return ["No endpoint works over TLS, which is the only way in for plug-ins."]


def _brokers(asked: Sequence[Asked]) -> dict[str, list[dict[str, Any]]]:
    """The reports of each broker that answered, by its name in the profile; by its own where that says none."""
    found: dict[str, list[dict[str, Any]]] = {}
    for one in asked:
        if one.report is not None:
            found.setdefault(one.endpoint.broker or str(one.report["broker"]), []).append(one.report)
    return found


def _print(asked: Sequence[Asked]) -> None:
    rows = table()
    for reports in _brokers(asked).values():
        _add_facts(rows, reports[0])
    for number, one in enumerate(asked):
        name = "" if number else "Endpoints"
        if one.report is not None:
            _add_fact(rows, name, f"{one.endpoint.url} works: {one.milliseconds:.0f} ms")
        elif one.status == "skipped":
            _add_fact(rows, name, f"{one.endpoint.url} was {one.why}", "dim")
        else:
            _add_fact(rows, name, f"{one.endpoint.url} does not work", "red")
    for number, problem in enumerate(_problems(asked)):
        _add_fact(rows, "" if number else "Problems", problem, "yellow")
    print_table(rows)


def _add_fact(rows: Table, name: str, value: str, style: str = "") -> None:
    rows.add_row(Text(name, style), Text(printable(value), style))


def _add_facts(rows: Table, report: dict[str, Any]) -> None:
    """What one broker says of itself."""
    store, farm = report["store"], report["farm"]

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
        if farm.get("post_commands"):
            fact("", farm["post_commands"])
    fact("Connections", _counts(report["connections"]))
    fact("Requests", _counts(report["requests"]))
    if report["errors"]:
        fact("Errors", _errors(report["errors"]))
    if report["refused_connections"]:
        fact("Not let in", plural(report["refused_connections"], "connection"))


def _errors(errors: dict[str, Any]) -> str:
    """Errors by operation and code; a broker of another version may count by code alone."""
    by_code = {code: count for code, count in errors.items() if isinstance(count, int)}
    by_operation = [f"{op}: {_counts(codes)}" for op, codes in sorted(errors.items()) if isinstance(codes, dict)]
    return "; ".join([*by_operation, _counts(by_code)] if by_code else by_operation)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items())) or "none"
