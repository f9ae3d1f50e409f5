"""`make bench`: the numbers the README quotes, each beside a reference measured in the same run.

Strategy: these machines are noisy, so what counts is the ratio to a reference that does nothing but the unavoidable,
the two measured in turn, several times; medians are printed.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import selectors
import ssl
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path

import zmq
import zmq.auth
from rich.console import Console
from tests.tls_peer import client_context, connected

from afpools import Client, zmtp
from afpools.profile import Profile
from afpools_broker.broker import Broker, open_credentials
from afpools_broker.config import load
from afpools_tools.commands.output import table
from afpools_tools.setup import make_state

_ROUNDS = 3
_SECONDS = 2.0
_SOCKETS = 8
_WINDOW = 16  # requests in progress on each socket
_POOLS = 4  # makes an answer of about 300 bytes, as the reference has

Ready = tuple[int, bytes]  # port and server's public key


def _bare_router(ready: Connection, stop: Event, answer: bytes) -> None:
    """The reference: CURVE, a ROUTER, a constant."""
    context = zmq.Context()
    router = context.socket(zmq.ROUTER)
    public, secret = zmq.curve_keypair()
    router.curve_server, router.curve_secretkey, router.curve_publickey = True, secret, public
    port = router.bind_to_random_port("tcp://127.0.0.1")
    ready.send((port, public))
    while not stop.is_set():
        if not router.poll(100):
            continue
        while True:
            try:
                *envelope, _ = router.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            router.send_multipart([*envelope, answer])
    context.destroy(0)


def _bare_tls(ready: Connection, stop: Event, argument: tuple[str, bytes]) -> None:
    """The reference: the same TLS, the same ZMTP, asyncio, a constant."""
    folder, answer = argument
    context = open_credentials(load(Path(folder, "broker.toml"), _ENVIRONMENT)).server_context()

    class Bare(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            self._transport = transport
            self._zmtp = zmtp.Connection(
                socket_type="ROUTER", as_server=True, accepts=frozenset({"REQ"}), max_message=1 << 20
            )
            transport.write(self._zmtp.data_to_send())

        def data_received(self, data: bytes) -> None:
            for event in self._zmtp.receive_data(data):
                if isinstance(event, zmtp.Message):
                    self._zmtp.send_message((b"", answer))
                    self._transport.write(self._zmtp.data_to_send())

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(Bare, "127.0.0.1", 0, ssl=context)
        ready.send((server.sockets[0].getsockname()[1], b""))
        while not stop.is_set():
            await asyncio.sleep(0.1)

    asyncio.run(serve())


def _our_broker_over_tls(ready: Connection, stop: Event, folder: str) -> None:
    with Broker(load(Path(folder, "broker.toml"), _ENVIRONMENT)) as broker:
        ready.send((broker.port("TLS"), b""))
        stop.wait()


def _our_broker(ready: Connection, stop: Event, folder: str) -> None:
    """What is measured: the whole broker, with roles, validation and statistics."""
    with Broker(load(Path(folder, "broker.toml"), _ENVIRONMENT)) as broker:
        ready.send((broker.port("CURVE"), broker.credentials.curve_public_key))
        stop.wait()


_ENVIRONMENT = {
    "AFPOOLS_CURVE_PORT": "0",
    "AFPOOLS_TLS_PORT": "0",
    "AFPOOLS_LIMITS_REQUESTS_PER_SECOND": "1000000",
    "AFPOOLS_LIMITS_REQUESTS_PER_SECOND_PER_CREDENTIAL": "1000000",
    "AFPOOLS_LIMITS_NEW_CONNECTIONS_PER_SECOND": "1000000",
}


@contextmanager
def _server(target: Callable[..., None], argument: object) -> Iterator[Ready]:
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    stop = spawn.Event()
    process = spawn.Process(target=target, args=(theirs, stop, argument), daemon=True)
    process.start()
    try:
        if not ours.poll(30):
            raise RuntimeError(f"{target.__name__} did not start")
        yield ours.recv()
    finally:
        stop.set()
        process.join(5)
        process.kill()


def _load(where: Ready, keys: tuple[bytes, bytes], request: bytes, seconds: float = _SECONDS) -> tuple[float, int]:
    """Requests per second from one process with several sockets, and the size of an answer."""
    port, server_key = where
    context = zmq.Context()
    sockets = []
    for _ in range(_SOCKETS):
        dealer = context.socket(zmq.DEALER)
        dealer.linger = 0
        dealer.curve_publickey, dealer.curve_secretkey, dealer.curve_serverkey = (*keys, server_key)
        dealer.connect(f"tcp://127.0.0.1:{port}")
        sockets.append(dealer)
    size = 0
    for dealer in sockets:  # excludes handshakes and caches
        dealer.send_multipart([b"", request])
        size = len(dealer.recv_multipart()[1])
    poller = zmq.Poller()
    for dealer in sockets:
        poller.register(dealer, zmq.POLLIN)
        for _ in range(_WINDOW):
            dealer.send_multipart([b"", request])
    count, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        for dealer, _ in poller.poll(1000):
            for _ in range(_WINDOW):
                try:
                    dealer.recv_multipart(zmq.NOBLOCK)
                except zmq.Again:
                    break
                dealer.send_multipart([b"", request])
                count += 1
    context.destroy(0)
    return count / elapsed, size


def requests_over_curve(folder: Path, console: Console) -> None:
    """Requests per second over CURVE, compared with a ROUTER loop that answers a constant."""
    profile = folder / "certs" / "profiles" / "reader"
    public, secret = zmq.auth.load_certificate(profile / "client.key_secret")
    assert secret is not None
    rows = table("CURVE, requests a second", "bare ROUTER", "broker", "ratio", right=("bare ROUTER", "broker", "ratio"))
    for name, request in (
        ("pools.list", b'{"v":1,"id":"1","op":"pools.list","params":{}}'),
        ("mask", b'{"v":1,"id":"1","op":"mask","params":{"pool":"pool-0"}}'),
    ):
        bare, ours, ratios = [], [], []
        with _server(_our_broker, str(folder)) as broker:
            _, size = _load(broker, (public, secret), request, 0.3)
            with _server(_bare_router, b"x" * size) as reference:
                for _ in range(_ROUNDS):
                    a, _ = _load(reference, (public, secret), request)
                    b, _ = _load(broker, (public, secret), request)
                    bare.append(a)
                    ours.append(b)
                    ratios.append(b / a)
        rows.add_row(
            f"{name}, answers of {size} bytes",
            f"{statistics.median(bare):,.0f}",
            f"{statistics.median(ours):,.0f}",
            f"{statistics.median(ratios):.2f}",
        )
    console.print(rows)


def _load_over_tls(
    port: int, profile: Path, request: bytes, connections: int, seconds: float = _SECONDS
) -> tuple[float, int]:
    """Requests per second from one thread with several connections, each with one request in progress, and the size of
    an answer."""
    context = client_context(profile)
    asked = b"\x01\x00" + bytes((0, len(request))) + request
    opened, size = [], 0
    for _ in range(connections):
        connection, framing = connected(context, port)
        connection.sendall(asked)
        (event,) = framing.receive_data(connection.recv(65536))
        assert isinstance(event, zmtp.Message)
        size = len(event.frames[-1])
        opened.append(connection)
    for connection in opened:
        connection.sendall(asked)
    count, started = 0, time.perf_counter()
    with selectors.DefaultSelector() as selector:
        for connection in opened:
            selector.register(connection, selectors.EVENT_READ)
        while (elapsed := time.perf_counter() - started) < seconds:
            for key, _ in selector.select(1):
                ready = key.fileobj
                assert isinstance(ready, ssl.SSLSocket)
                ready.recv(65536)
                ready.sendall(asked)
                count += 1
    for connection in opened:
        connection.close()
    return count / elapsed, size


def many_requests_over_tls(folder: Path, console: Console) -> None:
    """Requests per second over TLS, compared with a responder that answers a constant."""
    profile = folder / "certs" / "profiles" / "reader"
    columns = "bare responder", "broker", "ratio"
    rows = table("TLS, requests a second", "connections", *columns, right=columns)
    request = b'{"v":1,"id":"1","op":"mask","params":{"pool":"pool-0"}}'
    with _server(_our_broker_over_tls, str(folder)) as (port, _):
        _, size = _load_over_tls(port, profile, request, 1, 0.3)
        with _server(_bare_tls, (str(folder), b"x" * size)) as (reference, _):
            for connections in (8, 64):
                bare, ours = [], []
                for _ in range(_ROUNDS):
                    bare.append(_load_over_tls(reference, profile, request, connections)[0])
                    ours.append(_load_over_tls(port, profile, request, connections)[0])
                rows.add_row(
                    f"{connections}, mask, answers of {size} bytes",
                    f"{statistics.median(bare):,.0f}",
                    f"{statistics.median(ours):,.0f}",
                    f"{statistics.median(b / a for a, b in zip(bare, ours, strict=True)):.2f}",
                )
    console.print(rows)


def requests_over_tls(folder: Path, console: Console) -> None:
    """Requests per second and their latency over TLS, as a plug-in asks: one at a time."""
    with Broker(load(folder / "broker.toml", _ENVIRONMENT)) as broker:
        profile = Profile.load(str(folder / "certs" / "profiles" / "reader"))
        endpoint = profile.endpoints[0]._replace(url=f"tls://127.0.0.1:{broker.port('TLS')}")
        times = []
        started = time.perf_counter()
        with Client(profile._replace(endpoints=(endpoint,))) as client:
            client.list_pools()
            cold = time.perf_counter() - started
            for _ in range(2000):
                begun = time.perf_counter()
                client.list_pools()
                times.append(time.perf_counter() - begun)
    times.sort()
    rows = table("TLS, one client", "value", right=("value",))
    rows.add_row("requests a second, one after the other", f"{len(times) / sum(times):,.0f}")
    rows.add_row("median, milliseconds", f"{times[len(times) // 2] * 1000:.2f}")
    rows.add_row("99th percentile, milliseconds", f"{times[len(times) * 99 // 100] * 1000:.2f}")
    rows.add_row("first answer, connection and handshake included, milliseconds", f"{cold * 1000:.1f}")
    console.print(rows)


def main() -> None:
    """Measures everything."""
    console = Console(highlight=False)
    console.print(f"{os.cpu_count()} processors, pyzmq {zmq.__version__}, libzmq {zmq.zmq_version()}\n")
    with tempfile.TemporaryDirectory(prefix="afpools-bench-") as name:
        folder = Path(name)
        make_state(folder, farm="", curve_port=0, tls_port=0)
        with Broker(load(folder / "broker.toml", _ENVIRONMENT)) as broker:
            profile = Profile.load(str(folder / "certs" / "profiles" / "manager"))
            endpoint = profile.endpoints[0]._replace(url=f"tls://127.0.0.1:{broker.port('TLS')}")
            with Client(profile._replace(endpoints=(endpoint,))) as client:
                client.register_hosts(["pc-[01-20]"])
                for number in range(_POOLS):
                    client.create_pool(f"pool-{number}", [f"pc-[{4 * number + 1:02d}-{4 * number + 4:02d}]"])
        requests_over_curve(folder, console)
        console.print()
        many_requests_over_tls(folder, console)
        console.print()
        requests_over_tls(folder, console)


if __name__ == "__main__":
    main()
