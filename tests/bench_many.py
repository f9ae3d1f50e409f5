"""Part of `make bench`: 2,000 connections, 64 of them busy at half of what they could get, while pools change ten times
a second and the farm is asked each second; beside the same 64 alone.

Strategy: requests are due at fixed times, whether or not earlier ones have been answered, and are timed from when they
were due: a broker that stands still is not spared what would have been asked meanwhile. Over each way in, one process
has all the connections; idle ones answer heartbeats and ask for nothing.
"""

from __future__ import annotations

import multiprocessing
import selectors
import ssl
import statistics
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import cycle
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

import zmq
import zmq.auth
from rich.console import Console
from tests.afserver import afserver, renders_answer
from tests.mongod import single_server, with_database
from tests.studio import point, settings
from tests.tls_peer import client_context, connected

from afpools import Client, zmtp
from afpools.profile import Profile
from afpools_broker.broker import Broker
from afpools_broker.protocol import Role
from afpools_tools.commands.output import table
from afpools_tools.commands.serve import _SWITCH_SECONDS
from afpools_tools.credentials.authority import Authority

_CONNECTIONS, _BUSY = 1000, 32  # over each way in
_HOSTS, _POOLS, _MEMBERS = 1000, 100, 20
_FULL_SECONDS, _SECONDS = 3.0, 15.0
_WRITES_A_SECOND = 10
_MOST = 1_000_000


# The broker, a process of its own


def _serve(pipe: Connection, folder: str, uri: str, farm: str) -> None:
    sections: dict[str, dict[str, Any]] = {
        "store": {"uri": uri},
        "farm": {"server": farm, "interval": 1.0},
        # All of it comes from one address here.
        "limits": {
            "connections": 4000,
            "connections_per_credential": 4000,
            "connections_per_client": 4000,
            "handshakes_per_address": 4000,
            "new_connections_per_second": _MOST,
            "requests_per_second": _MOST,
            "requests_per_second_per_credential": _MOST,
        },
    }
    sys.setswitchinterval(_SWITCH_SECONDS)
    with Broker(settings(Path(folder), sections)) as broker:
        while not broker._keeper.is_loaded or broker._keeper.current.farm is None:
            time.sleep(0.01)
        pipe.send((broker.port("TLS"), broker.port("CURVE"), broker.credentials.curve_public_key))
        while pipe.recv():
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
            pipe.send(pages * 4096 / 1e6)


# Connections, a process for each way in


class _Many(Protocol):
    """The connections over one transport."""

    def send(self, number: int, request: bytes) -> None:
        """Sends a request on one of the busy connections."""

    def answered(self, seconds: float) -> list[int]:
        """The busy connections with an answer, which is read; waits at most this long for the first."""

    refused: int
    """Refusals: nearly always because a mask is being made and too many requests wait for theirs."""

    def look_after(self) -> None:
        """Serves the idle connections."""


class _OverTls:
    def __init__(self, profile: Path, port: int, count: int, _key: bytes) -> None:
        context = client_context(profile)
        self._busy, self._idle = selectors.DefaultSelector(), selectors.DefaultSelector()
        self.refused = 0
        self._open: list[tuple[ssl.SSLSocket, zmtp.Connection]] = []
        for number in range(count):
            connection, framing = connected(context, port)
            self._open.append((connection, framing))
            (self._busy if number < _BUSY else self._idle).register(connection, selectors.EVENT_READ, number)

    def send(self, number: int, request: bytes) -> None:
        connection, framing = self._open[number]
        framing.send_message((b"", request))
        connection.sendall(framing.data_to_send())

    def answered(self, seconds: float) -> list[int]:
        return [key.data for key, _ in self._busy.select(seconds) if self._read(key.data)]

    def look_after(self) -> None:
        for key, _ in self._idle.select(0):
            self._read(key.data)

    def _read(self, number: int) -> bool:
        connection, framing = self._open[number]
        data = connection.recv(65536)
        if not data:
            raise ConnectionError("the broker hung up")
        events = framing.receive_data(data)
        pong = framing.data_to_send()
        if pong:
            connection.sendall(pong)
        messages = [event for event in events if isinstance(event, zmtp.Message)]
        self.refused += sum(b'"ok":true' not in message.frames[-1][:200] for message in messages)
        return bool(messages)


class _OverCurve:
    def __init__(self, profile: Path, port: int, count: int, key: bytes) -> None:
        context = zmq.Context()
        context.max_sockets = 2 * count + 100
        keys = zmq.auth.load_certificate(profile / "client.key_secret")
        self._poller = zmq.Poller()
        self._numbers: dict[Any, int] = {}
        self.refused = 0
        self._open = []
        for number in range(count):
            dealer = context.socket(zmq.DEALER)
            dealer.linger = 0
            dealer.curve_publickey, dealer.curve_secretkey, dealer.curve_serverkey = (*keys, key)
            dealer.connect(f"tcp://127.0.0.1:{port}")
            self._open.append(dealer)
            self._numbers[dealer] = number
            if number < _BUSY:
                self._poller.register(dealer, zmq.POLLIN)
            # A connection without requests is closed after half a minute.
            self.send(number, b'{"v":1,"id":"0","op":"hello"}')
        for dealer in self._open:
            dealer.recv_multipart()

    def send(self, number: int, request: bytes) -> None:
        self._open[number].send_multipart([b"", request])

    def answered(self, seconds: float) -> list[int]:
        ready = self._poller.poll(max(0, int(seconds * 1000)))
        for dealer, _ in ready:
            self.refused += b'"ok":true' not in dealer.recv_multipart()[-1][:200]
        return [self._numbers[dealer] for dealer, _ in ready]

    def look_after(self) -> None:
        pass  # libzmq does


def _ask(many: _Many, rate: float, seconds: float) -> list[float]:
    """Asks for masks, and returns what each took in seconds, from when it was due.

    Args:
        many: the connections.
        rate: requests a second; infinite for as many as there are answers to.
        seconds: for how long.
    """
    requests = cycle(
        b'{"v":1,"id":"%d","op":"mask","params":{"pool":"pool-%d"}}' % (number, number * 7 % _POOLS)
        for number in range(1000)
    )
    free, due, took = deque(range(_BUSY)), dict[int, float](), list[float]()
    now = began = next_due = looked = time.perf_counter()
    gap = 1 / rate
    while now < began + seconds or due:
        while free and next_due <= now < began + seconds:
            number = free.popleft()
            due[number] = next_due if gap else now
            many.send(number, next(requests))
            next_due += gap
        pause = 0.5 if not free or now >= began + seconds else max(0.0, next_due - now)
        for number in many.answered(pause):
            took.append(time.perf_counter() - due.pop(number))
            free.append(number)
        now = time.perf_counter()
        if now > looked + 1.0:
            looked = now
            many.look_after()
    return took


def _connect(pipe: Connection, make: Callable[..., _Many], *where: Any) -> None:
    many = make(*where)
    pipe.send(None)
    while (asked := pipe.recv()) is not None:
        many.refused = 0
        took = _ask(many, *asked)
        pipe.send((took, many.refused))


# What is measured


@contextmanager
def _process(target: Callable[..., None], *arguments: object) -> Iterator[Connection]:
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=target, args=(theirs, *arguments), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours
    finally:
        ours.send(None)
        process.join(10)
        process.kill()


@contextmanager
def _writer(profile: Path) -> Iterator[list[float]]:
    """Adds a host to each pool in turn and takes it out again; yields how late each answer was, in seconds."""
    took: list[float] = []
    stopping = threading.Event()

    def write() -> None:
        with Client(Profile.load(str(profile)), timeout=20) as client:
            for number in cycle(range(2 * _POOLS)):
                if stopping.wait(max(0.0, 1 / _WRITES_A_SECOND - (took[-1] if took else 0.0))):
                    return
                change = client.add_hosts if number < _POOLS else client.remove_hosts
                began = time.perf_counter()
                change(f"pool-{number % _POOLS}", ["pc-0999"])
                took.append(time.perf_counter() - began)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield took
    finally:
        stopping.set()
        thread.join()


def _percentiles(seconds: list[float]) -> list[str]:
    ordered = sorted(seconds)
    return [f"{ordered[min(len(ordered) - 1, int(len(ordered) * part))] * 1000:.1f}" for part in (0.5, 0.99, 0.999)]


class _Place:
    """A broker with everything around it."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack = stack
        authority = Authority.create(folder / "certs")
        authority.issue_broker("broker", ["127.0.0.1", "localhost"])
        for role in (Role.READER, Role.MANAGER):
            authority.issue_profile(role.value, role)
        self._reader, self.manager = (authority.profile_path(role.value) for role in (Role.READER, Role.MANAGER))
        farm = stack.enter_context(afserver(renders_answer([f"pc-{number:04}" for number in range(_HOSTS)])))
        (folder / "mongod").mkdir()
        uri = with_database(stack.enter_context(single_server(folder / "mongod")).uri, "afpools")
        address = "{}:{}".format(*farm.address)
        self._broker = stack.enter_context(_process(_serve, str(folder), uri, address))
        self._tls, self._curve, self._key = self._broker.recv()
        point(self.manager, tls=self._tls, curve=self._curve)
        with Client(Profile.load(str(self.manager)), timeout=20) as client:
            for number in range(_POOLS):
                first = number * 9
                client.create_pool(f"pool-{number}", [f"pc-[{first:04}-{first + _MEMBERS - 1:04}]"])
                client.exclude_mask(f"pool-{number}")

    def memory(self) -> float:
        """Megabytes of memory that the broker uses."""
        self._broker.send(1)
        return float(self._broker.recv())

    def connect(self, stack: ExitStack, count: int) -> list[Connection]:
        """Opens connections over each transport."""
        kinds: list[tuple[Callable[..., _Many], int]] = [(_OverTls, self._tls), (_OverCurve, self._curve)]
        pipes = [
            stack.enter_context(_process(_connect, kind, self._reader, port, count, self._key)) for kind, port in kinds
        ]
        for pipe in pipes:
            pipe.recv()
        return pipes


def _load(pipes: list[Connection], rates: list[float], seconds: float) -> list[tuple[list[float], int]]:
    for pipe, rate in zip(pipes, rates, strict=True):
        pipe.send((rate, seconds))
    return [pipe.recv() for pipe in pipes]


_COLUMNS = "offered", "answered", "p50, ms", "p99", "p99.9", "refused", "memory, MB"


def main() -> None:
    """Measures and prints."""
    console = Console(highlight=False, width=140)
    rows = table("Many connections, requests a second", *_COLUMNS, right=_COLUMNS)
    with tempfile.TemporaryDirectory(prefix="afpools-bench-") as name, ExitStack() as stack:
        place = _Place(stack, Path(name))
        rates: list[float] = []
        for alone in (True, False):
            with ExitStack() as inner:
                pipes = place.connect(inner, _BUSY if alone else _CONNECTIONS)
                if alone:
                    full = _load(pipes, [float("inf")] * 2, _FULL_SECONDS)
                    rates = [len(took) / _FULL_SECONDS / 2 for took, _ in full]
                    written: list[float] = []
                else:
                    written = inner.enter_context(_writer(place.manager))
                answers = _load(pipes, rates, _SECONDS)
                memory = place.memory()
            what = f"{2 * _BUSY} busy" if alone else f"{2 * _BUSY} busy of {2 * _CONNECTIONS:,}, writer, farm"
            for way, rate, (took, refused) in zip(("TLS", "CURVE"), rates, answers, strict=True):
                numbers = (
                    f"{rate:,.0f}",
                    f"{len(took) / _SECONDS:,.0f}",
                    *_percentiles(took),
                    f"{refused:,}",
                    f"{memory:.0f}",
                )
                rows.add_row(f"{way}: {what}", *numbers)
    console.print(rows)
    late = statistics.median(written) * 1000
    console.print(f"{len(written):,} changes meanwhile, each answered after {late:.0f} ms (median)")


if __name__ == "__main__":
    main()
