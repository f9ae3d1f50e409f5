#!/usr/bin/env python3
"""Are the brokers well? A check for Nagios, Icinga and all that reads their format.

    python3 tools/health.py --profile /etc/afpools/profile

Runs from a checkout that is not installed, with Python 3.7 or newer and nothing but its standard library. Every
endpoint of the profile is asked; those over CURVE take pyzmq, and are skipped without it.

Prints one line: the state, what is wrong, and after the bar how long each endpoint took and what the brokers count.
Exit status 0: healthy; 1: degraded; 2: no endpoint answers; 3: nobody could be asked.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

_CHECKOUT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(_CHECKOUT / folder) for folder in ("clients", "tools")]

from afpools import AfpoolsError, find_profile  # noqa: E402 - found through the lines above
from afpools.profile import Profile  # noqa: E402
from afpools_tools import health  # noqa: E402

OK, DEGRADED, DOWN, UNKNOWN = range(4)
_WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")  # as the format calls the four exit statuses
_STATES = {"healthy": OK, "degraded": DEGRADED, "down": DOWN}

# Of one line: Nagios reads 4 kB of it, and some that came after it 1 kB.
_LONGEST = 800


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        # Not argparse's own status 2, which is ours for brokers that are down.
        _end(UNKNOWN, message)


def main() -> None:
    """Asks, prints one line, and ends with its exit status."""
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
    _end(*_state(health.ask(profile, given.timeout)))


def _state(asked: Sequence[health.Asked]) -> tuple[int, str, dict[str, str]]:
    """Exit status, what to say, and numbers by their labels."""
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
        # Null without live pools; a broker of an earlier version does not have it.
        if report.get("live"):
            numbers.update(_live(name, report["live"]))
    if state == DOWN:
        # Where every endpoint was skipped, nothing is known about the brokers.
        skipped = all(one.status == "skipped" for one in asked)
        return UNKNOWN if skipped else DOWN, str(health.nobody(asked)), numbers
    count = len(asked) - sum(one.status == "skipped" for one in asked)
    said = f"{len(answered)} of {count} endpoints answer" if count > 1 else "the endpoint answers"
    return state, ". ".join([said, *health.problems(asked)]), numbers


def _live(name: str, live: dict[str, Any]) -> dict[str, str]:
    """How the fences of running jobs stand. `c` is the format's word for a count since the broker started."""
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
    """Prints the line, and ends."""
    # A line break would end the text, and a bar begin the numbers.
    text = " ".join(said.replace("|", "/").split())
    text = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    perfdata = " ".join(f"'{_label(name)}'={value}" for name, value in (numbers or {}).items())
    line = f"AFPOOLS {_WORDS[state]} - {text}" + (f" | {perfdata}" if perfdata else "")
    # Monitoring starts checks in the C locale: what it has no letter for is not a reason to fail.
    sys.stdout.buffer.write(line.encode(sys.stdout.encoding or "utf-8", "replace") + b"\n")
    sys.stdout.flush()
    sys.exit(state)


def _label(name: str) -> str:
    """A name as the format takes it between quotes: addresses come from the profile, which anybody may have edited."""
    return "".join(letter for letter in name if letter not in "'=|" and letter.isprintable())


if __name__ == "__main__":
    try:
        main()
    except Exception as error:  # noqa: BLE001 - a traceback would not be shown, and its exit status says "degraded"
        _end(UNKNOWN, f"the check itself failed: {type(error).__name__}: {error}")
