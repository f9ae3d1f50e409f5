"""A stand-in for afserver that replays the recorded answers of a real one, in its framing, on a port of 127.0.0.1."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

RECORDINGS = Path(__file__).parent / "data" / "afserver"


def recording(name: str) -> dict[str, Any]:
    """One recorded pair, with `request` and `answer`."""
    return json.loads((RECORDINGS / f"{name}.json").read_text())


def framed(body: bytes) -> bytes:
    return b"AFANASY %d JSON%s" % (len(body), body)


def renders_answer(names: list[str]) -> dict[str, Any]:
    """A real afserver's answer about renders, with other names."""
    pattern = recording("renders_get")["answer"]["renders"][1]
    return {"renders": [{**pattern, "name": name, "id": number} for number, name in enumerate(names, 1)]}


class AfServer:
    """Answers with `renders` and `users`, accepts every job, or misbehaves according to `mood`. Monitors get events
    about renders that were added, removed or changed, however `renders` was changed.

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
        self.system_job: dict[str, Any] = recording("system_job_get")["answer"]["jobs"][0]
        self.stubborn = False  # acknowledges actions, and does nothing
        self.mood = "well"
        self.body: bytes | None = None  # instead of an answer
        self.body_of_renders: bytes | None = None  # instead of the answer about renders
        self.monitors: dict[int, dict[str, Any]] | None = {}  # by number; None: it does not support monitors
        self.requests: list[dict[str, Any]] = []
        self._told: dict[int, dict[int, str]] = {}  # what each monitor knows about each render
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
        """The commands that were sent to be run, in order."""
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
        renders = self.body_of_renders if request.get("get", {}).get("type") == "renders" else None
        body = renders if self.body is None else self.body
        reply = framed(json.dumps(self._answer(request)).encode() if body is None else body)
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

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if "job" in request:
            return recording("job_send")["answer"]
        if self.monitors is not None:
            if "monitor" in request:
                return self._register(request["monitor"])
            if request.get("action", {}).get("operation", {}).get("class") == "renders":
                return self._watch(request["action"]["ids"])
        match request.get("action"):
            case {"type": "jobs", "ids": [1], "params": params}:
                if not self.stubborn:
                    # As 3.4.1 does: empty keys are left out, and a hidden job is no longer hidden.
                    changed = {**self.system_job, "hidden": False, **params}
                    self.system_job = {key: value for key, value in changed.items() if value not in ("", False)}
                return recording("job_set_mask")["answer"]
        match request.get("get"):
            case {"type": "jobs", "ids": [1]}:
                return {"jobs": [self.system_job]}
            case {"type": "monitors", "ids": [number], "mode": "events"} if self.monitors is not None:
                return self._events(number)
            case {"type": "monitors", "ids": ids} if self.monitors is not None:
                return {"monitors": [self.monitors[number] for number in ids if number in self.monitors]}
            case {"type": "renders", "ids": ids}:
                return {"renders": [render for render in self.renders["renders"] if render["id"] in ids]}
            case {"type": "renders"}:
                return self.renders
            case {"type": "users"}:
                return self.users
            case {"type": "pools"}:
                return recording("pools_get")["answer"]
        return recording("unknown_request")["answer"]

    def _register(self, about: dict[str, Any]) -> dict[str, Any]:
        assert self.monitors is not None
        number = next(number for number in count(1) if number not in self.monitors)
        told = {"name": f"{about['user_name']}@{about['host_name']}", "id": number, "engine": about["engine"]}
        self.monitors[number] = recording("live_monitor_register")["answer"]["monitor"] | told
        return {"monitor": self.monitors[number]}

    def _watch(self, ids: list[int]) -> dict[str, Any]:
        for number in ids:
            self._told[number] = self._renders_by_id()
        return recording("live_monitor_watch_renders")["answer"]

    def _events(self, number: int) -> dict[str, Any]:
        if number not in (self.monitors or {}):
            return recording("live_monitor_events_zombie")["answer"]
        before = self._told.get(number)
        if before is None:  # it watches nothing
            return {"events": None}
        now = self._told[number] = self._renders_by_id()
        events = {
            "renders_add": [render for render in now if render not in before],
            "renders_change": [render for render in now if render in before and now[render] != before[render]],
            "renders_del": [render for render in before if render not in now],
        }
        return {"events": {kind: ids for kind, ids in events.items() if ids} or None}

    def _renders_by_id(self) -> dict[int, str]:
        return {render["id"]: json.dumps(render) for render in self.renders.get("renders", ())}


@contextmanager
def afserver(renders: dict[str, Any] | None = None) -> Iterator[AfServer]:
    server = AfServer(renders)
    try:
        yield server
    finally:
        server.stop()
