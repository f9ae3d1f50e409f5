"""A running Pool Manager in front of a real broker, and a client that speaks plain HTTP to it, without a browser."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from tests.studio import Studio, studio

from afpools import Client, OutcomeUnknown
from afpools.profile import Profile
from afpools_broker.protocol import Role
from afpools_tools.manager.serving import Serving, listen


def token_in(address: str) -> str:
    """The part after the # in an address of the Pool Manager."""
    return urlsplit(address).fragment.removeprefix("token=")


class Answer(NamedTuple):
    """Of the Pool Manager."""

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
    """A running Pool Manager, and the secret after it has admitted us.

    Args:
        new_address: makes another address like those that it prints.
        stop: tells it to end, without waiting.
    """

    def __init__(self, new_address: Callable[..., str], stop: Callable[[], None] = lambda: None) -> None:
        self.new_address = new_address
        self.stop = stop
        self.address = new_address()
        parts = urlsplit(self.address)
        self.host, self.port = parts.hostname or "", parts.port or 0
        self.origin = f"http://{parts.netloc}"
        self.token = token_in(self.address)
        self.secret = ""

    def ask(self, path: str, method: str = "GET", body: Any = None, **headers: str) -> Answer:
        """One request with exactly these headers; `_` in their names means `-`."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=10)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection.request(method, path, data, sent)
        response = connection.getresponse()
        answer = Answer(response.status, {key.lower(): value for key, value in response.getheaders()}, response.read())
        connection.close()
        return answer

    def exchange(self, token: str, **headers: str) -> Answer:
        """Uses the part after the # of the address as our page does."""
        return self.ask("/api/session", "POST", {"token": token}, Origin=self.origin, **headers)

    def log_in(self) -> None:
        """Opens the address as a browser does."""
        opened = self.exchange(self.token)
        assert opened.status == 200, opened
        self.secret = opened.json["secret"]

    @property
    def authorization(self) -> dict[str, str]:
        """The header that grants access."""
        return {"Authorization": f"Bearer {self.secret}"}

    def read(self, path: str, **headers: str) -> Answer:
        return self.ask(f"/api/{path}", **self.authorization, **headers)

    def write(self, path: str, **params: Any) -> Answer:
        return self.ask(f"/api/{path}", "POST", params, Origin=self.origin, **self.authorization)

    def import_file(self, **file: Any) -> Answer:
        """Does as the page does: previews the change, then makes it."""
        shown = self.write("import/plan", **file).json["shown"]
        return self.write("import/apply", **file, shown=shown)

    @contextmanager
    def stream(self) -> Iterator[Iterator[dict[str, Any]]]:
        """The messages of the live stream."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=20)
        connection.request("GET", "/api/live", headers=self.authorization)
        response = connection.getresponse()

        def messages() -> Iterator[dict[str, Any]]:
            while line := response.readline():
                if line.strip():
                    yield json.loads(line)

        try:
            yield messages()
        finally:
            if connection.sock:
                connection.sock.close()
            response.close()
            connection.close()


@contextmanager
def running(profile: Path, port: int | None = 0) -> Iterator[Manager]:
    """A Pool Manager with a profile, in a thread of this process. `port`: as `--port`, None for no such option."""
    with listen(port) as listening:
        answering = threading.Event()
        serving = Serving(Profile.load(str(profile)), listening, answering.set)
        thread = threading.Thread(target=serving.run, name="manager")
        thread.start()
        try:
            assert answering.wait(20)
            yield Manager(serving.new_address, serving.stop)
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
    """A Pool Manager with a manager profile, which has admitted us."""
    made = start()
    made.log_in()
    return made


@pytest.fixture
def elsewhere(place: Studio) -> Iterator[Client]:
    """Another person, who edits pools with another program."""
    with Client(Profile.load(str(place.profile("carl", Role.MANAGER))), timeout=10) as client:
        yield client


def until(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Waits until something is true, and returns it."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "It did not become true."
        time.sleep(0.05)
    return value


class Gate:
    """Makes calls of the client wait until they are released."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
        self.reached, self.released = threading.Event(), threading.Event()
        call = getattr(Client, method)

        def wait(*arguments: Any, **options: Any) -> Any:
            self.reached.set()
            assert self.released.wait(30)
            return call(*arguments, **options)

        monkeypatch.setattr(Client, method, wait)


class Lost:
    """Loses the answer to a client's first call: the change is made, but nobody knows.

    Attributes:
        request_ids: of each call.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
        self.request_ids: list[str] = []
        call = getattr(Client, method)

        def lose(*arguments: Any, request_id: str, **options: Any) -> Any:
            self.request_ids.append(request_id)
            made = call(*arguments, request_id=request_id, **options)
            if len(self.request_ids) == 1:
                raise OutcomeUnknown([("tls://broker", "it did not answer in time")], request_id)
            return made

        monkeypatch.setattr(Client, method, lose)
