"""A running Pool Manager in front of a real broker, and a client that speaks HTTP to it without a browser's manners."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from tests.studio import Studio, studio

from afpools import Client
from afpools.profile import Profile
from afpools_broker.protocol import Role
from afpools_tools.manager.command import Serving


class Answer(NamedTuple):
    """Of the manager."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return self.json["error"]["code"]


class Manager:
    """A running manager, and a cookie once it has let us in.

    Args:
        address: what it printed.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        parts = urlsplit(address)
        self.port = parts.port or 0
        self.origin = f"http://127.0.0.1:{self.port}"
        self.opening = f"{parts.path}?{parts.query}"
        self.cookie = ""
        self.csrf = ""

    def ask(self, path: str, method: str = "GET", body: Any = None, **headers: str) -> Answer:
        """One request with exactly these headers; `_` in their names means `-`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection.request(method, path, data, sent)
        response = connection.getresponse()
        answer = Answer(response.status, {key.lower(): value for key, value in response.getheaders()}, response.read())
        connection.close()
        return answer

    def log_in(self) -> None:
        """As a browser does with the address."""
        opened = self.ask(self.opening)
        assert opened.status == 200, opened
        self.cookie = opened.headers["set-cookie"].partition(";")[0]
        self.csrf = self.read("session").json["csrf"]

    def read(self, path: str, **headers: str) -> Answer:
        return self.ask(f"/api/{path}", Cookie=self.cookie, **headers)

    def write(self, path: str, **params: Any) -> Answer:
        return self.ask(f"/api/{path}", "POST", params, Cookie=self.cookie, Origin=self.origin, X_CSRF_Token=self.csrf)

    @contextmanager
    def stream(self) -> Iterator[Iterator[dict[str, Any]]]:
        """The messages of the live stream."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request("GET", "/api/live", headers={"Cookie": self.cookie})
        response = connection.getresponse()

        def messages() -> Iterator[dict[str, Any]]:
            while line := response.readline():
                if line.startswith(b"data: "):
                    yield json.loads(line[6:])

        try:
            yield messages()
        finally:
            if connection.sock:
                connection.sock.close()
            response.close()
            connection.close()


@contextmanager
def running(profile: Path, port: int = 0) -> Iterator[Manager]:
    """A manager with a profile, in a thread of this process."""
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
        answering = threading.Event()
        serving = Serving(Profile.load(str(profile)), listening, answering.set)
        thread = threading.Thread(target=serving.run, name="manager")
        thread.start()
        try:
            assert answering.wait(20)
            yield Manager(serving.address)
        finally:
            serving.stop()
            thread.join(20)
            assert not thread.is_alive()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Studio]:
    """A studio without pools, and without afserver."""
    with studio(tmp_path) as made:
        yield made


@pytest.fixture
def start(place: Studio) -> Iterator[Callable[..., Manager]]:
    """Starts managers; they are stopped after the test."""
    with ExitStack() as stack:

        def start(name: str = "anna", role: Role = Role.MANAGER) -> Manager:
            return stack.enter_context(running(place.profile(name, role)))

        yield start


@pytest.fixture
def manager(start: Callable[..., Manager]) -> Manager:
    """A manager that has let us in, with a manager's profile."""
    made = start()
    made.log_in()
    return made


@pytest.fixture
def elsewhere(place: Studio) -> Iterator[Client]:
    """Somebody else who edits pools, with another program."""
    with Client(Profile.load(str(place.profile("carl", Role.MANAGER))), timeout=10) as client:
        yield client


def until(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Waits until something is true, and returns it."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "It did not become true."
        time.sleep(0.05)
    return value
