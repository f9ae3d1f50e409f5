"""A stand-in for afserver that replays the recorded answers of a real one, in its framing, on a port of 127.0.0.1."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

RECORDINGS = Path(__file__).parent / "data" / "afserver"


def recording(name: str) -> dict[str, Any]:
    """One recorded pair, with `request` and `answer`."""
    return json.loads((RECORDINGS / f"{name}.json").read_text())


def framed(body: bytes) -> bytes:
    return b"AFANASY %d JSON%s" % (len(body), body)


def renders_answer(names: list[str]) -> dict[str, Any]:
    """What a real afserver says of renders, with other names."""
    pattern = recording("renders_get")["answer"]["renders"][1]
    return {"renders": [{**pattern, "name": name, "id": number} for number, name in enumerate(names, 1)]}


class AfServer:
    """Says `renders` and `users` when it is asked for them, takes every job, or misbehaves as `mood` says.

    Moods: `well`, `silent` (accepts, never answers), `cut` (hangs up in the middle), `rubbish`, `dribble` (a byte every
    50 ms), `endless` (announces more than it may).

    Args:
        renders: the answer from the first request on, which may come at once where a broker waits at `port`; the
            recorded one by default.
        port: to come back after a restart.
    """

    def __init__(self, renders: dict[str, Any] | None = None, port: int = 0) -> None:
        self.renders: dict[str, Any] = recording("renders_get")["answer"] if renders is None else renders
        self.users: dict[str, Any] = recording("users_get")["answer"]
        self.mood = "well"
        self.body: bytes | None = None  # instead of an answer
        self.requests: list[dict[str, Any]] = []
        self._leave = threading.Event()
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                outer._handle(self.request)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

        self._server = Server(("127.0.0.1", port), Handler)
        self.address: tuple[str, int] = self._server.server_address
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def jobs(self) -> list[dict[str, Any]]:
        """What was sent to be run, in its order."""
        return [request["job"] for request in self.requests if "job" in request]

    def stop(self) -> None:
        self._leave.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handle(self, connection: socket.socket) -> None:
        data = b""
        while b"JSON" not in data:
            chunk = connection.recv(65536)
            if not chunk:
                return
            data += chunk
        head, _, body = data.partition(b"JSON")
        while len(body) < int(head.split()[1]):
            body += connection.recv(65536)
        request = json.loads(body)
        self.requests.append(request)
        wanted = request.get("get", {}).get("type")
        if "job" in request:
            answer = recording("job_send")["answer"]
        else:
            answer = {
                "renders": self.renders,
                "users": self.users,
                "pools": recording("pools_get")["answer"],
            }.get(wanted, recording("unknown_request")["answer"])
        reply = framed(json.dumps(answer).encode() if self.body is None else self.body)
        match self.mood:
            case "well":
                connection.sendall(reply)
            case "silent":
                self._leave.wait(10)
            case "cut":
                connection.sendall(reply[: len(reply) // 2])
            case "rubbish":
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n" * 3)
            case "wrong":
                connection.sendall(framed(b'{"renders": "none"}'))
            case "endless":
                connection.sendall(b"AFANASY 9999999999 JSON{")
            case "dribble":
                for byte in reply:
                    if self._leave.wait(0.05):
                        return
                    connection.sendall(bytes([byte]))


@contextmanager
def afserver(renders: dict[str, Any] | None = None) -> Iterator[AfServer]:
    server = AfServer(renders)
    try:
        yield server
    finally:
        server.stop()
