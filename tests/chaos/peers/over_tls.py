"""Peers over TLS, and peers that never show a credential, on either port."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import time
from pathlib import Path

from . import MIB, Peer, close_all, connect, request, several


def _framed(body: bytes) -> bytes:
    """A REQ socket's message in ZMTP 3.1: an empty frame, and one with the body."""
    return b"\x01\x00" + b"\x02" + struct.pack(">Q", len(body)) + body


def asking(peer: Peer) -> None:
    """50 TLS connections that ask as fast as they are answered, 20 requests at a time."""
    asked = _framed(request("pools.list")) * 20

    def ask(connection: socket.socket) -> None:
        connection.settimeout(1.0)
        with contextlib.suppress(OSError):
            while True:
                connection.sendall(asked)
                answered = 0
                # A piece that ends in the middle of the word costs one answer in the count, no more.
                while answered < 10:
                    data = connection.recv(1 << 16)
                    if not data:
                        return
                    answered += data.count(b'"ok":')

    threads = [threading.Thread(target=ask, args=(c,), daemon=True) for c in several(peer.count(50), peer.tls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def half_message(peer: Peer) -> None:
    """500 TLS connections that send half of a message of 2 MiB and a byte now and then, and leave."""
    half = b"\x01\x00" + b"\x02" + struct.pack(">Q", 2 * MIB) + b" " * MIB
    connections: list[socket.socket] = []
    for _ in range(10):
        for connection in several(peer.count(50), peer.tls):
            connections.append(connection)
            with contextlib.suppress(OSError):
                connection.sendall(half)
        _one_byte_more(connections)
    for _ in range(5):
        time.sleep(1)
        _one_byte_more(connections)
    close_all(connections)


def _one_byte_more(connections: list[socket.socket]) -> None:
    """A heartbeat: a silent peer is pinged, and does not read that."""
    for connection in connections:
        with contextlib.suppress(OSError):
            connection.sendall(b" ")


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
                connection = connect(port)
                connection.sendall(peer.dice.choice(pieces))
                connections.append(connection)
    for connection in peer.dice.sample(connections, len(connections) // 2):
        connection.close()
    time.sleep(2)
    close_all(connections)


def no_certificate(peer: Peer) -> None:
    """500 TLS connections without a certificate, with a MiB each behind the handshake, all at once; they stay."""
    context = ssl.create_default_context(cafile=str(Path(peer.spec.profile, "ca.pem")))
    made: list[tuple[socket.socket, bytes]] = []
    for connection in several(peer.count(500), lambda: connect(peer.spec.tls)):
        with contextlib.suppress(OSError):
            made.append((connection, _rest_of_handshake(context, connection) + b"\0" * MIB))
    for connection, data in made:
        connection.setblocking(False)
        with contextlib.suppress(OSError):
            connection.send(data)
    time.sleep(3)
    close_all([connection for connection, _ in made])


def _rest_of_handshake(context: ssl.SSLContext, connection: socket.socket) -> bytes:
    """Goes as far as possible without showing a certificate; reading the answer would reveal that there is none."""
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
