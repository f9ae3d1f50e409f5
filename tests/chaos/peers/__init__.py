"""Peers that do their worst, with a real credential or none: what a broken or hostile program on a workstation can do.

    python -m tests.chaos.peers NAME spec.json

Strategy: each is a process of its own, so that killing it is what a killed program is to the broker, and so that its
work slows nobody else's process. Those over CURVE are real libzmq; what libzmq does not do (half a command, half a
message) is done on plain sockets, or by cutting libzmq's bytes off on their way. Each is a function that does one
round, whose size is bounded, and is called again until the process is killed.
"""

from __future__ import annotations

import contextlib
import json
import random
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import zmq
import zmq.auth
from msgspec import Struct

from afpools import zmtp

MIB = 1 << 20

# They have an address of their own: limits per address must not affect the healthy clients at 127.0.0.1.
_ADDRESS = "127.0.0.66"


class PeerSpec(Struct, frozen=True):
    """The parameters of a peer process.

    Args:
        profile: folder of its credential.
        server_key: the broker's CURVE key.
        tls: the broker's port.
        curve: the broker's port.
        scale: of the attack, 1 for what was seen to do harm.
        seed: for its choices.
    """

    profile: str
    server_key: str
    tls: int
    curve: int
    scale: float
    seed: int


class Peer:
    """What the attacks have in common.

    Args:
        spec: whom it attacks, and as whom.
    """

    def __init__(self, spec: PeerSpec) -> None:
        self.spec = spec
        self.dice = random.Random(spec.seed)
        self._keys = zmq.auth.load_certificate(Path(spec.profile, "client.key_secret"))

    def count(self, number: int) -> int:
        """A number, scaled."""
        return max(2, int(number * self.spec.scale))

    @contextmanager
    def context(self) -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
        """A libzmq context with room for thousands of sockets, which closes without lingering."""
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        context.set(zmq.MAX_SOCKETS, 10_000)
        try:
            yield context
        finally:
            context.destroy(linger=0)

    def dealer(self, context: zmq.Context[zmq.Socket[bytes]], port: int = 0) -> zmq.Socket[bytes]:
        """A CURVE connection that sends without waiting for answers."""
        dealer = context.socket(zmq.DEALER)
        # It reads one answer, and then none: whoever does not call `recv` is a peer that does not read.
        dealer.rcvhwm, dealer.sndhwm, dealer.linger = 1, 0, 0
        dealer.curve_publickey, dealer.curve_secretkey = self._keys
        dealer.curve_serverkey = self.spec.server_key.encode()
        # Small system buffers, so that unread data waits in the broker.
        dealer.rcvbuf = 4096
        dealer.connect(f"tcp://{_ADDRESS}:0;127.0.0.1:{port or self.spec.curve}")
        return dealer

    def tls(self) -> ssl.SSLSocket:
        """A TLS connection with our certificate, with ZMTP's greeting.

        Raises:
            OSError: the broker does not let us in; the limits that it has for a client may be the reason.
        """
        context = ssl.create_default_context(cafile=str(Path(self.spec.profile, "ca.pem")))
        context.load_cert_chain(Path(self.spec.profile, "client.pem"))
        connection = context.wrap_socket(connect(self.spec.tls), server_hostname="127.0.0.1")
        greeting = zmtp.Connection(
            socket_type="REQ", as_server=False, accepts=frozenset({"REP", "ROUTER"}), max_message=64 * MIB
        )
        connection.sendall(greeting.data_to_send())
        while not greeting.ready:
            data = connection.recv(65536)
            if not data:
                raise ConnectionResetError
            try:
                greeting.receive_data(data)
            except zmtp.PeerRefused as error:
                raise ConnectionRefusedError(str(error)) from None
            connection.sendall(greeting.data_to_send())
        return connection


def connect(port: int) -> socket.socket:
    """A plain connection from the workstation to a port of the broker."""
    return socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(_ADDRESS, 0))


def several(count: int, make: Callable[[], socket.socket]) -> list[socket.socket]:
    """This many connections, or as many as the broker accepts."""
    made: list[socket.socket] = []
    for _ in range(count):
        with contextlib.suppress(OSError):
            made.append(make())
    return made


def close_all(connections: list[socket.socket]) -> None:
    """Closes all of them."""
    for connection in connections:
        connection.close()


def request(op: str, **params: object) -> bytes:
    """A request on the wire."""
    return json.dumps({"v": 1, "id": "1", "op": op, "params": params}).encode()
