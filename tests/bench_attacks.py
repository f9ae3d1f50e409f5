"""`make bench`: what a healthy reader notices while another does its worst, compared with the same reader alone.

Strategy: for each attack a broker of its own, as `afpools serve` runs it with the limits it comes with; a reader that
asks over kept connections and over new ones; and the attacker, at another address and at the lowest priority. It stands
for another machine, whose processors are not the broker's; what it costs the broker counts in full.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec
import psutil
import zmq.auth
from rich.console import Console
from tests.chaos.peers import PeerSpec
from tests.chaos.peers.catalogue import PEERS
from tests.command import AFPOOLS, environment

from afpools import AfpoolsError, Client
from afpools.profile import Profile
from afpools_broker.protocol import Role
from afpools_tools.commands.output import table
from afpools_tools.credentials.authority import Authority
from afpools_tools.setup import make_state

_BEFORE_SECONDS, _ATTACK_SECONDS, _AFTER_SECONDS = 6.0, 12.0, 6.0
_PAUSE = 0.02
_HOSTS = 6000


@dataclass
class Phase:
    """What the reader saw in one period: seconds of each request, and how many failed."""

    kept: list[float] = field(default_factory=list)
    new: list[float] = field(default_factory=list)
    failed: int = 0


def _read(pipe: Connection, folder: str, tls: int, curve: int) -> None:
    """The healthy reader: reports what it saw on request."""
    profile = Profile.load(folder)
    ports = {"tls": tls, "curve": curve}
    endpoints = {
        endpoint.scheme: endpoint._replace(url=f"{endpoint.scheme}://127.0.0.1:{ports[endpoint.scheme]}")
        for endpoint in profile.endpoints
    }
    clients = {scheme: Client(profile._replace(endpoints=(endpoint,))) for scheme, endpoint in endpoints.items()}
    phase, turn = Phase(), 0
    while True:
        if pipe.poll():
            if pipe.recv() == "stop":
                return
            pipe.send(phase)
            phase = Phase()
        for scheme, client in clients.items():
            turn += 1
            began = time.perf_counter()
            try:
                if turn % 10 in (0, 5):
                    with Client(profile._replace(endpoints=(endpoints[scheme],))) as fresh:
                        fresh.exclude_mask("fx")
                    phase.new.append(time.perf_counter() - began)
                else:
                    client.exclude_mask("fx")
                    phase.kept.append(time.perf_counter() - began)
            except AfpoolsError:
                phase.failed += 1
        time.sleep(_PAUSE)


@contextmanager
def _reader(folder: Path, tls: int, curve: int) -> Iterator[Connection]:
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_read, args=(theirs, str(folder), tls, curve), daemon=True)
    process.start()
    try:
        yield ours
    finally:
        with contextlib.suppress(OSError):
            ours.send("stop")
        process.join(10)
        process.kill()


def _ask(reader: Connection) -> Phase:
    reader.send("phase")
    return reader.recv()  # type: ignore[no-any-return]


@contextmanager
def _broker(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    log = folder / "broker.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [str(AFPOOLS), "serve", "-c", str(folder / "broker.toml")],
            env=environment(folder, AFPOOLS_CURVE_PORT="0", AFPOOLS_TLS_PORT="0"),
            stdin=subprocess.DEVNULL,
            stderr=file,
        )
    try:
        until = time.monotonic() + 30
        while "serves; store" not in log.read_text():
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(log.read_text())
            time.sleep(0.05)
        yield process, log
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()


@contextmanager
def _attacker(name: str, spec: Path) -> Iterator[None]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.chaos.peers", name, str(spec)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: os.nice(19),
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _resident(process: psutil.Process) -> float:
    """Megabytes; 0 if the process is gone."""
    with contextlib.suppress(psutil.Error):
        return float(process.memory_info().rss) / 1e6
    return 0.0


def _p99(seconds: list[float]) -> float:
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)] * 1000 if ordered else float("nan")


def attack(name: str, folder: Path) -> list[str]:
    """One row: what the reader noticed, and what the broker held and wrote."""
    with _broker(folder) as (process, log):
        ports = {
            listener: int(found[1])
            for listener in ("CURVE", "TLS")
            if (found := re.search(rf"{listener}: listening at \S+ port (\d+)", log.read_text()))
        }
        server_key, _ = zmq.auth.load_certificate(folder / "certs" / "brokers" / "broker.key_secret")
        profiles = folder / "certs" / "profiles"
        spec = folder / "peer.json"
        spec.write_bytes(
            msgspec.json.encode(
                PeerSpec(str(profiles / "worst"), server_key.decode(), ports["TLS"], ports["CURVE"], 1.0, 1)
            )
        )
        watched = psutil.Process(process.pid)
        with _reader(profiles / "reader", ports["TLS"], ports["CURVE"]) as reader:
            time.sleep(2.0)
            _ask(reader)
            time.sleep(_BEFORE_SECONDS)
            before, memory = _ask(reader), _resident(watched)
            lines, peak = len(log.read_text().splitlines()), 0.0
            with _attacker(name, spec):
                if name == "revoked":
                    time.sleep(2.0)
                    Authority.open(folder / "certs").revoke("worst")
                until = time.monotonic() + _ATTACK_SECONDS
                while time.monotonic() < until:
                    peak = max(peak, _resident(watched))
                    time.sleep(0.05)
                during = _ask(reader)
            time.sleep(_AFTER_SECONDS)
            after = _resident(watched)
            written = len(log.read_text().splitlines()) - lines
        alive = process.poll() is None
    return [
        name,
        f"{_p99(before.kept):.1f}",
        f"{_p99(during.kept):.1f}",
        f"{_p99(during.kept) / _p99(before.kept):.1f}",
        f"{statistics.median(before.new) * 1000:.0f}",
        f"{_p99(during.new):.0f}",
        f"{before.failed}, {during.failed}",
        f"{memory:.0f}",
        f"{peak:.0f}",
        f"{after:.0f}",
        f"{written}",
        "yes" if alive else f"no ({process.returncode})",
    ]


_COLUMNS = (
    "attack",
    "p99 before, ms",
    "during",
    "ratio",
    "new connection, median before, ms",
    "p99 during",
    "failed before, during",
    "memory before, MB",
    "peak",
    "after",
    "log lines",
    "broker alive",
)


def main() -> None:
    """Measures all attacks, or the named ones; `--markdown` for docs/security.md."""
    arguments = [name for name in sys.argv[1:] if name != "--markdown"]
    console = Console(highlight=False, width=200)
    rows = table(*_COLUMNS, right=_COLUMNS[1:-1])
    made = []
    for name in arguments or PEERS:
        with tempfile.TemporaryDirectory(prefix="afpools-attack-") as place:
            folder = Path(place)
            make_state(folder, farm="", curve_port=0, tls_port=0)
            Authority.open(folder / "certs").issue_profile("worst", Role.READER)
            with _broker(folder) as (_, log):
                port = int(re.search(r"TLS: listening at \S+ port (\d+)", log.read_text())[1])  # type: ignore[index]
                profile = Profile.load(str(folder / "certs" / "profiles" / "manager"))
                endpoint = profile.endpoints[0]._replace(url=f"tls://127.0.0.1:{port}")
                with Client(profile._replace(endpoints=(endpoint,)), timeout=20) as client:
                    client.register_hosts([f"pc-[0001-{_HOSTS}]"])
                    client.create_pool("fx", ["pc-[0001-0500]"])
            made.append(attack(name, folder))
            rows.add_row(*made[-1])
            if not console.is_terminal:
                print(made[-1], file=sys.stderr)
    if "--markdown" in sys.argv:
        print(f"| {' | '.join(_COLUMNS)} |\n|{' --- |' * len(_COLUMNS)}")
        for row in made:
            print(f"| {' | '.join(row)} |")
    else:
        console.print(rows)


if __name__ == "__main__":
    main()
