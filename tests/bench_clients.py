"""Part of `make bench`: from a cold start to the first answer, as a plug-in has it, beside asking MongoDB directly; and
what the commands take as whole processes.

Strategy: each measurement is a Python of its own, which says how long it took from before its first import; they take
turns, and medians are printed, the ratio's too. MongoDB is asked over TLS with the certificates that the broker and its
clients have, which is what asking it directly across a studio's network takes, and unencrypted as well.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from tests.bench_masks import verdict
from tests.command import AFPOOLS
from tests.mongod import single_server, with_database
from tests.studio import studio

from afpools import Client, Profile
from afpools_broker.protocol import Role
from afpools_tools.commands.output import table
from afpools_tools.credentials.authority import Authority

_ROUNDS = 15

_TIMED = """
import time
began = time.perf_counter()
{}
print(time.perf_counter() - began)
"""

_NAMES = (
    "the list remembered from last time, before the broker is asked",
    "first list from the broker, over TLS",
    "PyMongo: first list from MongoDB, over TLS",
    "PyMongo: first list from MongoDB, unencrypted",
)
# What plug-ins import, and the way they ask.
_REMEMBERED = """import afpools.job
from afpools.pool_menu import PoolMenu
menu = PoolMenu({profile!r}, folder={cache!r})
assert len(menu.latest().pools) == 20"""
_OURS = """import afpools.job
from afpools.pool_menu import PoolMenu
menu = PoolMenu({profile!r}, folder={cache!r})
menu.refresh()
assert len(menu.wait(30).pools) == 20"""
_PYMONGO = """import pymongo
pools = list(pymongo.MongoClient({uri!r}).afpools.pools.find())
assert len(pools) == 20"""


# The most seconds of CPU time for each.
_COMMANDS = {
    ("pool", "list"): 0.2,
    ("mask", "pool-1"): 0.2,
    ("host", "list"): 0.2,
    ("--help",): 0.3,
    ("certs", "--help"): 0.3,
    ("serve", "--help"): 0.3,
    ("up", "--help"): 0.3,
}

# Compiled once and kept, as everywhere else: pip has compiled PyMongo when it was installed.
_ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}


def _seconds(program: str) -> float:
    command = [sys.executable, "-c", _TIMED.format(program)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60, env=_ENVIRONMENT)
    return float(done.stdout)


def _cpu_seconds(*command: str, profile: Path) -> float:
    """CPU time of a whole process, which other programs affect less than elapsed time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    env = {**_ENVIRONMENT, "AFPOOLS_PROFILE": str(profile)}
    subprocess.run([str(AFPOOLS), *command], check=True, capture_output=True, timeout=60, env=env)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measures and prints."""
    console = Console(highlight=False)
    with tempfile.TemporaryDirectory(prefix="afpools-bench-") as name:
        folder = Path(name)
        (folder / "mongod").mkdir()
        authority = Authority.create(folder / "certs")
        authority.issue_broker("broker", ["127.0.0.1", "localhost"])
        ca = folder / "certs" / "ca" / "ca.pem"
        server = folder / "mongod.pem"
        server.touch(mode=0o600)
        server.write_text(
            "".join((folder / "certs" / "brokers" / f"broker.{kind}").read_text() for kind in ("pem", "key"))
        )
        encrypted = ("--tlsMode", "allowTLS", "--tlsCertificateKeyFile", str(server), "--tlsCAFile", str(ca))
        with (
            single_server(folder / "mongod", *encrypted) as mongod,
            studio(folder, store={"uri": with_database(mongod.uri, "afpools")}) as place,
        ):
            profile = place.profile("anna", Role.MANAGER)
            with Client(Profile.load(str(profile)), timeout=30) as client:
                for number in range(20):
                    client.create_pool(f"pool-{number}", [f"pc-[{number}0-{number}9]"])
            cache = str(folder / "cache")
            _seconds(_OURS.format(profile=str(profile), cache=cache))
            tls = f"{mongod.uri}&tls=true&tlsCAFile={ca}&tlsCertificateKeyFile={profile / 'client.pem'}"
            programs = (
                _REMEMBERED.format(profile=str(profile), cache=cache),
                _OURS.format(profile=str(profile), cache=cache),
                _PYMONGO.format(uri=tls),
                _PYMONGO.format(uri=mongod.uri),
            )
            for program in programs:  # so that files are in memory for all alike
                _seconds(program)
            times = [[_seconds(program) for program in programs] for _ in range(_ROUNDS)]
            cpu = {
                command: statistics.median(_cpu_seconds(*command, profile=profile) for _ in range(_ROUNDS))
                for command in _COMMANDS
            }
    columns = "median, ms", "quickest", "ours takes (≤ 1/5)"
    rows = table("A plug-in's cold start", *columns, right=columns)
    ours = [round_[1] for round_ in times]
    for name, column in zip(_NAMES, zip(*times, strict=True), strict=True):
        ratio = statistics.median(theirs / our for our, theirs in zip(ours, column, strict=True))
        shown = verdict(ratio, f"1/{ratio:.1f}", least=5) if name.startswith("PyMongo") else ""
        rows.add_row(name, f"{statistics.median(column) * 1000:.0f}", f"{min(column) * 1000:.0f}", shown)
    console.print(rows)
    console.print()
    rows = table("A command as a whole process", "target", "CPU", right=("target", "CPU"))
    for command, took in cpu.items():
        most = _COMMANDS[command]
        name = " ".join(("afpools", *command))
        rows.add_row(name, f"< {most:g} s", verdict(took, f"{took:.2f} s", most=most))
    console.print(rows)


if __name__ == "__main__":
    main()
