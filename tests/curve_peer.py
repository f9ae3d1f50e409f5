"""A hand-made CURVE client, for what libzmq's own client never does: half a command, an endless request, its own PINGs,
an identity, hanging up in the middle.

CurveZMQ is ZeroMQ RFC 26, the frames are those of ZMTP 3 (RFC 37).
"""

from __future__ import annotations

import os
import socket
import struct
from typing import Any

import nacl.bindings as nacl
from zmq.utils import z85

_GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"CURVE".ljust(20, b"\0") + bytes(32)
_MORE, _COMMAND = 1, 2  # flags inside of a MESSAGE


class CurvePeer:
    """One connection.

    Args:
        port: the broker's, on this machine.
        server_key: the broker's public key, Z85.
        keys: public and secret key, Z85.
    """

    def __init__(self, port: int, server_key: bytes, keys: tuple[bytes, bytes]) -> None:
        self._server = z85.decode(server_key)
        self._public, self._secret = map(z85.decode, keys)
        self._short_public, self._short_secret = nacl.crypto_box_keypair()
        self._count = 0
        self.connection = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> CurvePeer:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def _nonce(self) -> bytes:
        self._count += 1
        return struct.pack(">Q", self._count)

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            chunk = self.connection.recv(size - len(data))
            if not chunk:
                raise EOFError
            data += chunk
        return data

    def read_frame(self) -> bytes:
        (flags,) = self._read(1)
        (size,) = struct.unpack(">Q", self._read(8)) if flags & 2 else self._read(1)
        return self._read(size)

    # --- the handshake, one step at a time ---

    def say_hello(self) -> None:
        """Greeting and HELLO; reads the WELCOME."""
        self.connection.sendall(_GREETING)
        self._read(64)
        nonce = self._nonce()
        box = nacl.crypto_box(bytes(64), b"CurveZMQHELLO---" + nonce, self._server, self._short_secret)
        self.connection.sendall(_frame(b"\5HELLO\1\0" + bytes(72) + self._short_public + nonce + box, command=True))
        welcome = self.read_frame()
        assert welcome[:8] == b"\7WELCOME", welcome
        plain = nacl.crypto_box_open(welcome[24:], b"WELCOME-" + welcome[8:24], self._server, self._short_secret)
        self._server_short, self._cookie = plain[:32], plain[32:]
        self._session = nacl.crypto_box_beforenm(self._server_short, self._short_secret)

    def initiate(self, identity: bytes = b"") -> bytes:
        """The INITIATE command, to be sent."""
        nonce = os.urandom(16)
        vouch = nacl.crypto_box(
            self._short_public + self._server, b"VOUCH---" + nonce, self._server_short, self._secret
        )
        metadata = _property(b"Socket-Type", b"DEALER") + _property(b"Identity", identity)
        count = self._nonce()
        box = nacl.crypto_box_afternm(
            self._public + nonce + vouch + metadata, b"CurveZMQINITIATE" + count, self._session
        )
        return _frame(b"\x08INITIATE" + self._cookie + count + box, command=True)

    def shake_hands(self, identity: bytes = b"") -> None:
        """The whole handshake."""
        self.say_hello()
        self.connection.sendall(self.initiate(identity))
        ready = self.read_frame()
        assert ready[:6] == b"\5READY", ready

    # --- messages ---

    def _message(self, flags: int, body: bytes) -> bytes:
        nonce = self._nonce()
        box = nacl.crypto_box_afternm(bytes((flags,)) + body, b"CurveZMQMESSAGEC" + nonce, self._session)
        return _frame(b"\7MESSAGE" + nonce + box)

    def part(self, body: bytes) -> bytes:
        """A frame after which more of the same message follow."""
        return self._message(_MORE, body)

    def request(self, body: bytes) -> bytes:
        """A whole request: the empty frame and the body."""
        return self.part(b"") + self._message(0, body)

    def ping(self) -> bytes:
        """A PING, which the other side has to answer."""
        return self._message(_COMMAND, b"\4PING\0\0")

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def reset(self) -> None:
        """Hangs up so that the broker's system notices at once, even if data was not read."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


def _frame(body: bytes, *, command: bool = False) -> bytes:
    flags: Any = 4 if command else 0
    if len(body) < 256:
        return bytes((flags, len(body))) + body
    return bytes((flags | 2,)) + struct.pack(">Q", len(body)) + body


def _property(name: bytes, value: bytes) -> bytes:
    return bytes((len(name),)) + name + struct.pack(">I", len(value)) + value
