"""Fixtures of the client library's tests."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.clients.scripted_broker import Script, ScriptedBroker, Studio, say_hello

from afpools import BrokerUnreachable, Client

StartBroker = Callable[..., ScriptedBroker]

# What the scheduler of a busy machine may add to a deadline, in seconds.
SLACK = 5.0


@contextmanager
def within(seconds: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    assert took < seconds + SLACK, f"took {took:.2f} s"


def unreachable(client: Client) -> str:
    with pytest.raises(BrokerUnreachable) as raised:
        client.hello()
    assert all(url for url, _ in raised.value.attempts)
    return str(raised.value)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is sent here is not among the pools that whoever runs the tests has used lately."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user-cache"))


@pytest.fixture
def blackhole() -> Iterator[str]:
    """An endpoint that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"tls://127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
    return port


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return Studio(tmp_path / "own")


@pytest.fixture
def start(studio: Studio) -> Iterator[StartBroker]:
    """Starts brokers that are stopped after the test."""
    with ExitStack() as stack:

        def start_one(script: Script = say_hello, **options: Any) -> ScriptedBroker:
            return stack.enter_context(ScriptedBroker(studio, script, **options))

        yield start_one
