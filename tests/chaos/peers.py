"""Peers that do their worst, with a real credential or none: what a broken or hostile program on a workstation can do.

    python -m tests.chaos.peers NAME spec.json

Strategy: each is a process of its own, so that killing it is what a killed program is to the broker, and so that its
work slows nobody else's process. Those over CURVE are real libzmq; what libzmq does not do (half a command, half a
message) is done on plain sockets, or by cutting libzmq's bytes off on their way. Each goes on, in rounds, until it is
killed; the size of a round is bounded.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import signal
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import zmq
import zmq.auth
from msgspec import Struct

from afpools import zmtp

# Somebody who was killed instead of us.
_LONGEST_SECONDS = 600.0
_MIB = 1 << 20

# They are at a workstation of their own: limits that count an address must not hit the healthy ones at 127.0.0.1.
_ADDRESS = "127.0.0.66"


class PeerSpec(Struct, frozen=True):
    """What a peer is told on its way.

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
        """So many, scaled."""
        return max(2, int(number * self.spec.scale))

    @contextmanager
    def context(self) -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
        """A libzmq context with room for thousands of sockets, which leaves without a farewell."""
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
        # Little room in the system's buffers, so that what is not read waits in the broker.
        dealer.rcvbuf = 4096
        dealer.connect(f"tcp://{_ADDRESS}:0;127.0.0.1:{port or self.spec.curve}")
        return dealer

    def tls(self, *, certificate: bool = True) -> ssl.SSLSocket:
        """A TLS connection, greeted as ZMTP wants it where a certificate lets us in."""
        context = ssl.create_default_context(cafile=str(Path(self.spec.profile, "ca.pem")))
        if certificate:
            context.load_cert_chain(Path(self.spec.profile, "client.pem"))
        connection = context.wrap_socket(_connect(self.spec.tls), server_hostname="127.0.0.1")
        if certificate:
            greeting = zmtp.Connection(
                socket_type="REQ", as_server=False, accepts=frozenset({"REP", "ROUTER"}), max_message=64 * _MIB
            )
            while True:
                connection.sendall(greeting.data_to_send())
                if greeting.ready:
                    break
                data = connection.recv(65536)
                if not data:
                    raise ConnectionResetError
                greeting.receive_data(data)
        return connection


def _connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(_ADDRESS, 0))


def request(op: str, **params: object) -> bytes:
    """A request on the wire."""
    return json.dumps({"v": 1, "id": "1", "op": op, "params": params}).encode()


def framed(body: bytes) -> bytes:
    """A REQ socket's message in ZMTP 3.1: an empty frame, and one with the body."""
    return b"\x01\x00" + b"\x02" + struct.pack(">Q", len(body)) + body


def _several(count: int, make: Callable[[], socket.socket]) -> list[socket.socket]:
    """So many connections, or as many as one is let in with."""
    made: list[socket.socket] = []
    for _ in range(count):
        with contextlib.suppress(OSError):
            made.append(make())
    return made


def _leave(connections: list[socket.socket]) -> None:
    for connection in connections:
        connection.close()


# --- each a round ----------------------------------------------------------------------------------------------------


def idle(peer: Peer) -> None:
    """2,000 CURVE connections and 500 TLS connections that never ask anything."""
    with peer.context() as context:
        dealers = [peer.dealer(context) for _ in range(peer.count(2000))]
        connections = _several(peer.count(500), peer.tls)
        time.sleep(60)
        _leave(connections)
        del dealers


def flood(peer: Peer) -> None:
    """60 CURVE connections that send 3,000 `hello` each, read no answer, and leave."""
    with peer.context() as context:
        _send_in_turns([peer.dealer(context) for _ in range(peer.count(60))], peer.count(3000), request("hello"))
        time.sleep(peer.dice.uniform(0.5, 3))


def _send_in_turns(dealers: list[zmq.Socket[bytes]], times: int, asked: bytes) -> None:
    """In turns, so that all of them are more than the broker can read at once: it stops reading from them, too."""
    for _ in range(times):
        for dealer in dealers:
            dealer.send_multipart([b"", asked])


def stopped(peer: Peer) -> None:
    """60 CURVE connections with answers under way, whose process stops for ever: not even the system reads."""
    with peer.context() as context:
        _send_in_turns([peer.dealer(context) for _ in range(peer.count(60))], peer.count(3000), request("pools.list"))
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGSTOP)


def unread(peer: Peer) -> None:
    """40 CURVE connections that ask for `hosts.list` again and again, and read none of them."""
    with peer.context() as context:
        dealers = [peer.dealer(context) for _ in range(peer.count(40))]
        # One after the other: the broker refuses more than it has workers for, and refusals are small.
        for _ in range(100):
            for dealer in dealers:
                dealer.send_multipart([b"", request("hosts.list")])
                time.sleep(0.01)


def asking(peer: Peer) -> None:
    """50 TLS connections that ask as fast as they are answered."""

    def ask(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection.sendall(framed(request("pools.list")))
                if not connection.recv(1 << 20):
                    return

    threads = [threading.Thread(target=ask, args=(c,), daemon=True) for c in _several(peer.count(50), peer.tls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def half_message(peer: Peer) -> None:
    """500 TLS connections that send half of a message of 2 MiB, wait, and leave."""
    head = b"\x01\x00" + b"\x02" + struct.pack(">Q", 2 * _MIB)
    connections = _several(peer.count(500), peer.tls)
    for connection in connections:
        with contextlib.suppress(OSError):
            connection.sendall(head + b" " * _MIB)
    time.sleep(3)
    _leave(connections)


# ZMTP 3.1's greeting of a CURVE client, and the beginning of its HELLO command (200 bytes and what names it).
_GREETING = b"\xff" + b"\0" * 8 + b"\x7f\x03\x01CURVE".ljust(23, b"\0") + b"\0" * 32
_HELLO = b"\x04\xc8\x05HELLO\x01\0" + b"\0" * 72


def half_command(peer: Peer) -> None:
    """300 connections to each port that send a part of what a handshake needs, and wait or leave."""
    pieces = (
        b"",
        _GREETING[:10],
        _GREETING[:11],
        _GREETING,
        _GREETING + _HELLO[:20],
        _GREETING + _HELLO,
        b"\x04" * 400,
    )
    connections = []
    for _ in range(peer.count(300)):
        for port in (peer.spec.curve, peer.spec.tls):
            with contextlib.suppress(OSError):
                connection = _connect(port)
                connection.sendall(peer.dice.choice(pieces))
                connections.append(connection)
    for connection in peer.dice.sample(connections, len(connections) // 2):
        connection.close()
    time.sleep(2)
    _leave(connections)


def leave(peer: Peer) -> None:
    """200 libzmq peers at a time that leave half-way: in the handshake, in a request, with answers under way."""
    with _cut(peer.spec.curve, peer.dice) as port:
        for _ in range(5):
            with peer.context() as context:
                for number in range(peer.count(200)):
                    dealer = peer.dealer(context, port if number % 2 else 0)
                    for _ in range(peer.dice.randrange(20)):
                        dealer.send_multipart([b"", request("pools.list")])
                    if peer.dice.random() < 0.3:
                        dealer.close()
                time.sleep(peer.dice.uniform(0, 0.5))


@contextmanager
def _cut(target: int, dice: random.Random) -> Iterator[int]:
    """A port that leads to `target`, and breaks each connection after a number of bytes."""

    def serve(server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                inside, _ = server.accept()
                threading.Thread(target=_pass_some, args=(inside, target, dice.randrange(1500)), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0), backlog=512) as server:
        threading.Thread(target=serve, args=(server,), daemon=True).start()
        yield server.getsockname()[1]


def _pass_some(inside: socket.socket, target: int, most: int) -> None:
    with contextlib.suppress(OSError), inside, _connect(target) as outside:
        inside.settimeout(3)
        outside.settimeout(0.05)
        while most > 0:
            with contextlib.suppress(TimeoutError):
                data = inside.recv(min(most, 64))
                if not data:
                    break
                outside.sendall(data)
                most -= len(data)
            with contextlib.suppress(TimeoutError):
                inside.sendall(outside.recv(65536))
        # A reset in the middle, every other time.
        if most % 2:
            outside.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def revoked(peer: Peer) -> None:
    """10 CURVE connections that ask as fast as they can, answered or not, beside 50 that do not read and leave."""
    with peer.context() as context:
        threading.Thread(target=_ask_over_curve, args=(peer, 10, request("pools.list")), daemon=True).start()
        while True:
            dealers = [peer.dealer(context) for _ in range(peer.count(50))]
            _send_in_turns(dealers, peer.count(1000), request("hello"))
            time.sleep(peer.dice.uniform(0.5, 3))
            for dealer in dealers:
                dealer.close()


def forbidden(peer: Peer) -> None:
    """10 CURVE connections that ask for what a reader may not, as fast as they are refused."""
    _ask_over_curve(peer, 10, request("pools.delete", pool="fx", request_id="1"))


def _ask_over_curve(peer: Peer, connections: int, asked: bytes) -> None:
    with peer.context() as context:
        dealers = [peer.dealer(context) for _ in range(connections)]
        poller = zmq.Poller()
        for dealer in dealers:
            dealer.rcvhwm = 1000
            poller.register(dealer, zmq.POLLIN)
            for _ in range(16):
                dealer.send_multipart([b"", asked])
        while True:
            answered = [dealer for dealer, _ in poller.poll(1000)] or dealers
            for dealer in answered:
                with contextlib.suppress(zmq.Again):
                    while True:
                        dealer.recv_multipart(zmq.NOBLOCK)
                        dealer.send_multipart([b"", asked])


def no_certificate(peer: Peer) -> None:
    """500 TLS connections without a certificate, with a MiB each behind the handshake, all at once; they stay."""
    context = ssl.create_default_context(cafile=str(Path(peer.spec.profile, "ca.pem")))
    made: list[tuple[socket.socket, bytes]] = []
    for connection in _several(peer.count(500), lambda: _connect(peer.spec.tls)):
        with contextlib.suppress(OSError):
            made.append((connection, _rest_of_handshake(context, connection) + b"\0" * _MIB))
    for connection, data in made:
        connection.setblocking(False)
        with contextlib.suppress(OSError):
            connection.send(data)
    time.sleep(3)
    _leave([connection for connection, _ in made])


def _rest_of_handshake(context: ssl.SSLContext, connection: socket.socket) -> bytes:
    """Goes as far as one gets without showing a certificate. What is returned would show that there is none."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(back, there, server_hostname="127.0.0.1")
    while True:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            connection.sendall(there.read())
            data = connection.recv(65536)
            if not data:
                raise ConnectionResetError from None
            back.write(data)
        else:
            return there.read()


PEERS: dict[str, Callable[[Peer], None]] = {
    "idle": idle,
    "flood": flood,
    "stopped": stopped,
    "unread": unread,
    "asking": asking,
    "half-message": half_message,
    "half-command": half_command,
    "leave": leave,
    "revoked": revoked,
    "forbidden": forbidden,
    "no-certificate": no_certificate,
}


def main() -> None:
    """Attacks until it is killed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else max(soft, 20_000), hard))
    attack = PEERS[sys.argv[1]]
    peer = Peer(msgspec.json.decode(Path(sys.argv[2]).read_bytes(), type=PeerSpec))
    until, parent = time.monotonic() + _LONGEST_SECONDS, os.getppid()
    while time.monotonic() < until and os.getppid() == parent:
        attack(peer)


if __name__ == "__main__":
    main()
