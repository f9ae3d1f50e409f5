"""The health of a profile's brokers: every endpoint is asked, all at the same time.

Strategy: a client asks one endpoint and does not report on the others. Plug-ins connect over TLS only, and a broker
that answers over CURVE may be unreachable for them, so each endpoint counts. This needs only the client library and
Python 3.7: `tools/health.py` runs it from a checkout on a monitoring machine.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from afpools import AfpoolsError, BrokerUnreachable, Client
from afpools.profile import Endpoint, Profile
from afpools.transport import unusable

OK, DEGRADED, DOWN, UNKNOWN = range(4)
"""Exit statuses, with Nagios' meanings."""

_WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")  # the format's names for them
_STATES = {"healthy": OK, "degraded": DEGRADED, "down": DOWN}

# The length of the line: Nagios reads 4 kB of it, some of its successors 1 kB.
_LONGEST = 800


class Asked(NamedTuple):
    """One endpoint, and its answer.

    Args:
        endpoint: the endpoint.
        status: what its broker said, `healthy` or `degraded`; `down` if it did not answer; `skipped` if this program
            lacks what CURVE needs.
        why: a clause that says why it did not answer; else empty.
        milliseconds: until its answer, handshake included.
        report: its answer; empty if there is none.
    """

    endpoint: Endpoint
    status: str
    why: str = ""
    milliseconds: float = 0.0
    report: dict[str, Any] | None = None

    def for_programs(self) -> dict[str, Any]:
        """The same as a JSON object, for `--json`."""
        found = {"url": self.endpoint.url, "broker": self.endpoint.broker or "", "status": self.status}
        if self.report is None:
            return {**found, "why": self.why}
        return {**found, "milliseconds": self.milliseconds, "health": self.report}


def ask(profile: Profile, timeout: float) -> list[Asked]:
    """Asks every endpoint of a profile, in its order.

    Args:
        profile: its endpoints are asked, with its credentials.
        timeout: seconds for each of them.
    """
    with ThreadPoolExecutor(len(profile.endpoints)) as threads:
        return list(threads.map(lambda endpoint: _ask(profile, endpoint, timeout), profile.endpoints))


def verdict(asked: Sequence[Asked]) -> str:
    """`healthy`; `degraded` if an endpoint does not work or a broker says so; `down` if none answered."""
    if all(one.report is None for one in asked):
        return "down"
    return "healthy" if all(one.status in ("healthy", "skipped") for one in asked) else "degraded"


def nobody(asked: Sequence[Asked]) -> BrokerUnreachable:
    """The error for a profile none of whose endpoints answered."""
    return BrokerUnreachable([(one.endpoint.url, one.why) for one in asked])


def problems(asked: Sequence[Asked]) -> list[str]:
    """Sentences: what brokers report, each once, and which endpoints do not work."""
    named = by_broker(asked)
    found = [
        f"{name}: {problem}" if len(named) > 1 else problem
        for name, reports in named.items()
        # A broker that is asked twice at the same moment reports the same problem twice, with different numbers.
        for problem in next((report["problems"] for report in reports if report["problems"]), ())
    ]
    found += [f"{one.endpoint.url} does not work: {one.why}." for one in asked if one.status == "down"]
    over_tls = [one for one in asked if one.endpoint.scheme == "tls"]
    if over_tls and all(one.report is None for one in over_tls):
        found.append("No endpoint works over TLS, which is the only way in for plug-ins.")
    return found


def by_broker(asked: Sequence[Asked]) -> dict[str, list[dict[str, Any]]]:
    """The reports of each broker that answered, by its name in the profile; if that has none, by the broker's own."""
    found: dict[str, list[dict[str, Any]]] = {}
    for one in asked:
        if one.report is not None:
            found.setdefault(one.endpoint.broker or str(one.report["broker"]), []).append(one.report)
    return found


def status(asked: Sequence[Asked]) -> int:
    """The exit status: `OK`, `DEGRADED`, `DOWN`, or `UNKNOWN` if every endpoint was skipped, so that nothing is known
    about the brokers."""
    if all(one.status == "skipped" for one in asked):
        return UNKNOWN
    return _STATES[verdict(asked)]


def nagios(asked: Sequence[Asked]) -> tuple[int, str]:
    """The exit status, and the one line that Nagios and its successors read."""
    state = status(asked)
    answered = [one for one in asked if one.report is not None]
    numbers = {one.endpoint.url: f"{one.milliseconds:g}ms;;;0" for one in answered}
    for name, reports in by_broker(asked).items():
        numbers.update(_numbers(name, reports[0]))
    if not answered:
        return state, nagios_line(state, str(nobody(asked)), numbers)
    count = len(asked) - sum(one.status == "skipped" for one in asked)
    said = f"{len(answered)} of {count} endpoints answer" if count > 1 else "the endpoint answers"
    return state, nagios_line(state, ". ".join([said, *problems(asked)]), numbers)


def nagios_line(state: int, said: str, numbers: dict[str, str] | None = None) -> str:
    """
    Args:
        state: one of the exit statuses.
        said: the text.
        numbers: values in the format's own notation, by their labels.
    """
    # A line break would end the text, and a bar would begin the numbers.
    text = " ".join(said.replace("|", "/").split())
    text = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    perfdata = " ".join(f"'{_label(name)}'={value}" for name, value in (numbers or {}).items())
    return f"AFPOOLS {_WORDS[state]} - {text}" + (f" | {perfdata}" if perfdata else "")


def _label(name: str) -> str:
    """A name made safe for the format's quotes: addresses come from the profile, which anybody may have edited."""
    return "".join(letter for letter in name if letter not in "'=|" and letter.isprintable())


def _numbers(name: str, report: dict[str, Any]) -> dict[str, str]:
    """What one broker counts. `c` is the format's unit for a counter since the broker started."""
    numbers = {
        f"{name} pools": f"{report['pools']};;;0",
        f"{name} renders": f"{report['farm']['renders']};;;0",
        f"{name} connections": f"{sum(report['connections'].values())};;;0",
    }
    if report["farm"]["age"] is not None:
        numbers[f"{name} farm age"] = f"{report['farm']['age']:g}s;;;0"
    # Null without live pools; a broker of an earlier version does not have this key.
    live = report.get("live")
    if live:
        numbers[f"{name} live jobs"] = f"{live['jobs']};;;0"
        numbers[f"{name} fences behind"] = f"{live['behind']:g}s;;;0"
        numbers[f"{name} fences moved"] = f"{live['moved']}c;;;0"
        numbers[f"{name} fences refused"] = f"{live['refused']}c;;;0"
        if live["age"] is not None:
            numbers[f"{name} live jobs age"] = f"{live['age']:g}s;;;0"
    return numbers


def _ask(profile: Profile, endpoint: Endpoint, timeout: float) -> Asked:
    why = unusable(profile, endpoint)
    if why:
        # Plug-ins need neither pyzmq nor CURVE keys, so this program may lack them too.
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
