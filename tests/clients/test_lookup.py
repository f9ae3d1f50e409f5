"""Names of brokers are looked up, and nobody waits for a name server longer than they asked to."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest
from tests.clients.conftest import StartBroker, unreachable, within
from tests.clients.scripted_broker import Studio

from afpools import Client


def test_a_name_server_that_hangs_costs_no_more_than_the_timeout(
    studio: Studio, start: StartBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = threading.Event()
    calls: list[str] = []

    def hang(host: str, *args: Any, **kwargs: Any) -> Any:
        calls.append(host)
        stop.wait(30)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    broker = start()
    client = Client(studio.profile("tls://broker.lan:5571"), timeout=0.3)
    for _ in range(2):
        with within(0.3):
            assert "looking up the name 'broker.lan'" in unreachable(client)
    assert calls == ["broker.lan"], "the second call waits for the look-up of the first"
    with within(4), Client(studio.profile("tls://broker.lan:5571", broker.url), timeout=4) as client:
        client.hello()
    stop.set()


def test_an_unknown_name_is_named(studio: Studio) -> None:
    text = unreachable(Client(studio.profile("tls://no-such-host.invalid:5571"), timeout=10))
    assert "the name 'no-such-host.invalid' cannot be looked up" in text


def test_an_invalid_name_is_an_error_rather_than_a_hang(studio: Studio) -> None:
    assert "cannot be looked up" in unreachable(Client(studio.profile(f"tls://{'x' * 100}.lan:5571"), timeout=10))
