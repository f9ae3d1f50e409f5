#!/usr/bin/env python3
"""Checks the brokers' health, for Nagios, Icinga and everything else that reads their format.

    python3 tools/health.py --profile /etc/afpools/profile

Runs from a checkout without installing, with only Python 3.7 or newer and its standard library. It asks every endpoint
of the profile; those over CURVE need pyzmq, and are skipped without it.

Prints one line: the state, what is wrong, and after the bar, how long each endpoint took and the brokers' counters.
Exit status 0: healthy; 1: degraded; 2: no endpoint answers; 3: no endpoint could be asked.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

_CHECKOUT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(_CHECKOUT / folder) for folder in ("clients", "tools")]

from afpools import AfpoolsError, find_profile  # noqa: E402 - found through the lines above
from afpools.certificate import expires_soon  # noqa: E402
from afpools.profile import Profile  # noqa: E402
from afpools_tools import health  # noqa: E402

OK, DEGRADED, DOWN, UNKNOWN = range(4)
_WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")  # the format's names for the four exit statuses
_STATES = {"healthy": OK, "degraded": DEGRADED, "down": DOWN}

# The length of the line: Nagios reads 4 kB of it, some of its successors 1 kB.
_LONGEST = 800


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        # Not argparse's own exit status 2, which here means that no endpoint answers.
        _end(UNKNOWN, message)


def main() -> None:
    """Asks the endpoints, prints one line, and exits with its status."""
    parser = _Parser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--profile",
        metavar="DIR",
        help="the folder with the credentials; without it $AFPOOLS_PROFILE, the user's configuration folder, "
        "$CGRU_LOCATION/afpools",
    )
    parser.add_argument("--timeout", metavar="SECONDS", type=float, default=5.0, help="for each endpoint; 5")
    given = parser.parse_args()
    if not 0.1 <= given.timeout <= 600:
        parser.error(f"--timeout: {given.timeout:g} is not valid (use 0.1 to 600)")
    try:
        profile = Profile.load(given.profile) if given.profile else find_profile()
    except AfpoolsError as error:
        _end(UNKNOWN, str(error))
    notice = expires_soon(profile.client_file, time.time())
    if notice:
        # The line on standard output is for the monitoring system.
        print(notice, file=sys.stderr)
    _end(*_state(health.ask(profile, given.timeout)))


def _state(asked: Sequence[health.Asked]) -> tuple[int, str, dict[str, str]]:
    """The exit status, the text, and numbers by their labels."""
    state = _STATES[health.verdict(asked)]
    answered = [one for one in asked if one.report is not None]
    numbers = {one.endpoint.url: f"{one.milliseconds:g}ms;;;0" for one in answered}
    for name, reports in health.by_broker(asked).items():
        report = reports[0]
        numbers[f"{name} pools"] = f"{report['pools']};;;0"
        numbers[f"{name} renders"] = f"{report['farm']['renders']};;;0"
        numbers[f"{name} connections"] = f"{sum(report['connections'].values())};;;0"
        if report["farm"]["age"] is not None:
            numbers[f"{name} farm age"] = f"{report['farm']['age']:g}s;;;0"
        # Null without live pools; a broker of an earlier version does not have this key.
        if report.get("live"):
            numbers.update(_live(name, report["live"]))
    if state == DOWN:
        # If every endpoint was skipped, nothing is known about the brokers.
        skipped = all(one.status == "skipped" for one in asked)
        return UNKNOWN if skipped else DOWN, str(health.nobody(asked)), numbers
    count = len(asked) - sum(one.status == "skipped" for one in asked)
    said = f"{len(answered)} of {count} endpoints answer" if count > 1 else "the endpoint answers"
    return state, ". ".join([said, *health.problems(asked)]), numbers


def _live(name: str, live: dict[str, Any]) -> dict[str, str]:
    """Numbers about the fences of running jobs. `c` is the format's unit for a counter since the broker started."""
    numbers = {
        f"{name} live jobs": f"{live['jobs']};;;0",
        f"{name} fences behind": f"{live['behind']:g}s;;;0",
        f"{name} fences moved": f"{live['moved']}c;;;0",
        f"{name} fences refused": f"{live['refused']}c;;;0",
    }
    if live["age"] is not None:
        numbers[f"{name} live jobs age"] = f"{live['age']:g}s;;;0"
    return numbers


def _end(state: int, said: str, numbers: dict[str, str] | None = None) -> NoReturn:
    """Prints the line, and exits."""
    # A line break would end the text, and a bar would begin the numbers.
    text = " ".join(said.replace("|", "/").split())
    text = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    perfdata = " ".join(f"'{_label(name)}'={value}" for name, value in (numbers or {}).items())
    line = f"AFPOOLS {_WORDS[state]} - {text}" + (f" | {perfdata}" if perfdata else "")
    # Monitoring starts checks in the C locale: a character that it cannot encode must not be an error.
    sys.stdout.buffer.write(line.encode(sys.stdout.encoding or "utf-8", "replace") + b"\n")
    sys.stdout.flush()
    sys.exit(state)


def _label(name: str) -> str:
    """A name made safe for the format's quotes: addresses come from the profile, which anybody may have edited."""
    return "".join(letter for letter in name if letter not in "'=|" and letter.isprintable())


if __name__ == "__main__":
    try:
        main()
    except Exception as error:  # noqa: BLE001 - a traceback would not be shown, and its exit status says "degraded"
        _end(UNKNOWN, f"the check itself failed: {type(error).__name__}: {error}")
