"""Part of `make bench`: from a cold start to the first answer, as a plug-in has it, beside asking MongoDB directly.

Strategy: each measurement is a Python of its own, which says how long it took from before its first import; the two
take turns, and medians are printed.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from tests.mongod import single_server, with_database
from tests.studio import studio

from afpools import Client, Profile
from afpools_broker.protocol import Role
from afpools_tools.output import table

_ROUNDS = 15

_TIMED = """
import time
began = time.perf_counter()
{}
print(time.perf_counter() - began)
"""

_IMPORT = "import afpools"
_OURS = """import afpools
pools = afpools.Client(afpools.Profile.load({profile!r})).list_pools().pools
assert len(pools) == 20"""
_PYMONGO = """import pymongo
pools = list(pymongo.MongoClient({uri!r}).afpools.pools.find())
assert len(pools) == 20"""


def _seconds(program: str) -> float:
    command = [sys.executable, "-c", _TIMED.format(program)]
    # Compiled once and kept, as everywhere else: pip has compiled PyMongo when it was installed.
    env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return float(subprocess.run(command, check=True, capture_output=True, text=True, timeout=60, env=env).stdout)


def main() -> None:
    """Measures and prints."""
    console = Console(highlight=False)
    with tempfile.TemporaryDirectory(prefix="afpools-bench-") as name:
        folder = Path(name)
        for part in ("mongod", "studio"):
            (folder / part).mkdir()
        with (
            single_server(folder / "mongod") as mongod,
            studio(folder / "studio", store={"uri": with_database(mongod.uri, "afpools")}) as place,
        ):
            profile = str(place.profile("anna", Role.MANAGER))
            with Client(Profile.load(profile), timeout=30) as client:
                for number in range(20):
                    client.create_pool(f"pool-{number}", [f"pc-[{number}0-{number}9]"])
            programs = (_IMPORT, _OURS.format(profile=profile), _PYMONGO.format(uri=mongod.uri))
            for program in programs:  # what is on disk is then in memory, for all alike
                _seconds(program)
            times = [[_seconds(program) for program in programs] for _ in range(_ROUNDS)]
    imports, ours, pymongo = (statistics.median(column) * 1000 for column in zip(*times, strict=True))
    ratio = statistics.median(theirs / our for _, our, theirs in times)
    columns = "PyMongo", "afpools", "ratio"
    rows = table("A plug-in's cold start, milliseconds", *columns, right=columns)
    rows.add_row("import", "", f"{imports:.0f}", "")
    rows.add_row("import, connect, first list of pools", f"{pymongo:.0f}", f"{ours:.0f}", f"{ratio:.1f}")
    console.print(rows)


if __name__ == "__main__":
    main()
