"""Peers by hand: what a test itself sends over CURVE or TLS, byte by byte if it wants."""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zmq
import zmq.auth
from tests.curve_peer import CurvePeer
from tests.studio import Studio

from afpools import zmtp
from afpools.profile import Profile


def request(op: str, **params: Any) -> bytes:
    return json.dumps({"v": 1, "id": "1", "op": op, "params": params}).encode()


def ask(sock: zmq.SyncSocket, op: str, **params: Any) -> dict[str, Any]:
    sock.send(request(op, **params))
    return json.loads(sock.recv())


class TlsPeer:
    """ZMTP inside TLS, as a client speaks it."""

    def __init__(self, connection: ssl.SSLSocket) -> None:
        self.connection = connection
        self.zmtp = zmtp.Connection(
            socket_type="REQ", as_server=False, accepts=frozenset({"REP", "ROUTER"}), max_message=1 << 26
        )
        self.events: list[zmtp.Event] = []
        self.flush()
        while not self.zmtp.ready:
            self.read()

    def flush(self) -> None:
        data = self.zmtp.data_to_send()
        if data:
            self.connection.sendall(data)

    def read(self) -> None:
        data = self.connection.recv(65536)
        if not data:
            raise EOFError
        self.events += self.zmtp.receive_data(data)
        self.flush()

    def ask_raw(self, data: bytes) -> dict[str, Any]:
        self.zmtp.send_message([b"", data])
        self.flush()
        while True:
            while self.events:
                event = self.events.pop(0)
                if isinstance(event, zmtp.Message):
                    return json.loads(event.frames[-1])
            self.read()

    def ask(self, op: str, **params: Any) -> dict[str, Any]:
        return self.ask_raw(request(op, **params))


def wait_for(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
    return value


def silent(sock: zmq.SyncSocket) -> bool:
    """Whether a ZeroMQ socket gets no answer. libzmq retries a refused handshake forever and says nothing."""
    # Sending waits as well: a socket whose handshake failed for good has no peer left to send to.
    sock.rcvtimeo = sock.sndtimeo = 400
    try:
        sock.send(request("hello"))
        sock.recv()
    except zmq.Again:
        return True
    finally:
        sock.close()
    return False


def closed(connection: socket.socket) -> bool:
    """Whether the broker hangs up; libzmq sends its own greeting first."""
    try:
        while connection.recv(4096):
            pass
    except TimeoutError:
        return False
    except (ConnectionResetError, ssl.SSLError, BrokenPipeError):
        pass
    return True


def still_answers(place: Studio) -> None:
    with place.curve_request(place.profile("witness")) as sock:
        assert ask(sock, "hello")["ok"]
    with place.tls_socket(place.profile("witness")) as connection:
        assert TlsPeer(connection).ask("hello")["ok"]


READY = {"handshake_seconds": 30}


def keys(profile: Path) -> tuple[bytes, bytes]:
    public, secret = zmq.auth.load_certificate(profile / "client.key_secret")
    assert secret is not None
    return public, secret


def by_hand(place: Studio, profile: Path) -> CurvePeer:
    return CurvePeer(place.curve_port, place.broker.credentials.curve_public_key, keys(profile))


def hangs_up(connection: socket.socket, seconds: float = 30) -> bool:
    """Whether the broker closes a connection, whatever it says before."""
    connection.settimeout(seconds)
    return closed(connection)


def only_over(place: Studio, listener: str, name: str = "b") -> Profile:
    profile = Profile.load(str(place.profile(name)))
    scheme = listener.lower()
    return profile._replace(endpoints=tuple(e for e in profile.endpoints if e.scheme == scheme))
