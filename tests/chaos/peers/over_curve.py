"""Peers over CURVE: real libzmq, and connections that are cut off on their way."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import zmq

from . import Peer, close_all, connect, request, several


def idle(peer: Peer) -> None:
    """2,000 CURVE connections and 500 TLS connections that never ask anything."""
    with peer.context() as context:
        dealers = [peer.dealer(context) for _ in range(peer.count(2000))]
        connections = several(peer.count(500), peer.tls)
        time.sleep(60)
        close_all(connections)
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
    """60 CURVE connections with answers in progress, whose process stops forever: not even the system reads."""
    with peer.context() as context:
        _send_in_turns([peer.dealer(context) for _ in range(peer.count(60))], peer.count(3000), request("pools.list"))
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGSTOP)


def unread(peer: Peer) -> None:
    """40 CURVE connections that ask for `hosts.list` again and again, and read none of them."""
    with peer.context() as context:
        dealers = [peer.dealer(context) for _ in range(peer.count(40))]
        # One at a time: the broker refuses more than it has workers for, and refusals are small.
        for _ in range(100):
            for dealer in dealers:
                dealer.send_multipart([b"", request("hosts.list")])
                time.sleep(0.01)


def leave(peer: Peer) -> None:
    """200 libzmq peers at a time that leave half-way: in the handshake, in a request, with answers in progress."""
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
    """A port that forwards to `target`, and breaks each connection after a number of bytes."""

    def serve(server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                inside, _ = server.accept()
                threading.Thread(target=_pass_some, args=(inside, target, dice.randrange(1500)), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0), backlog=512) as server:
        threading.Thread(target=serve, args=(server,), daemon=True).start()
        yield server.getsockname()[1]


def _pass_some(inside: socket.socket, target: int, most: int) -> None:
    with contextlib.suppress(OSError), inside, connect(target) as outside:
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
