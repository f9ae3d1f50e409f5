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
from pathlib import Path
from typing import NoReturn

_CHECKOUT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(_CHECKOUT / folder) for folder in ("clients", "tools")]

from afpools import AfpoolsError, find_profile  # noqa: E402 - found through the lines above
from afpools.certificate import expires_soon  # noqa: E402
from afpools.profile import Profile  # noqa: E402
from afpools_tools import health  # noqa: E402


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        # Not argparse's own exit status 2, which here means that no endpoint answers.
        _unknown(message)


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
        _unknown(str(error))
    notice = expires_soon(profile.client_file, time.time())
    if notice:
        # The line on standard output is for the monitoring system.
        print(notice, file=sys.stderr)
    _end(*health.nagios(health.ask(profile, given.timeout)))


def _end(state: int, line: str) -> NoReturn:
    """Prints the line, and exits."""
    # Monitoring starts checks in the C locale: a character that it cannot encode must not be an error.
    sys.stdout.buffer.write(line.encode(sys.stdout.encoding or "utf-8", "replace") + b"\n")
    sys.stdout.flush()
    sys.exit(state)


def _unknown(why: str) -> NoReturn:
    _end(health.UNKNOWN, health.nagios_line(health.UNKNOWN, why))


if __name__ == "__main__":
    try:
        main()
    except Exception as error:  # noqa: BLE001 - a traceback would not be shown, and its exit status says "degraded"
        _unknown(f"the check itself failed: {type(error).__name__}: {error}")
