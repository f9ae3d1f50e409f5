"""A broker as a whole: how it stops, and ports that it cannot open."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.broker.listeners.peers import TlsPeer, ask, request, still_answers, wait_for
from tests.studio import Studio, settings, studio

from afpools_broker.broker import Broker
from afpools_broker.listeners import ListenError
from afpools_broker.protocol import Role


@pytest.mark.parametrize("section", ["curve", "tls"])
def test_a_busy_port_is_named(tmp_path: Path, section: str) -> None:
    with studio(tmp_path) as place:
        port = place.curve_port if section == "curve" else place.tls_port
        broker = Broker(settings(tmp_path, {section: {"port": port}}))
        with pytest.raises(ListenError, match=rf"port {port}: the port is in use.*\[{section}\] port"):
            broker.start()
        still_answers(place)


@pytest.mark.parametrize("section", ["curve", "tls"])
def test_an_address_of_another_machine_is_named(tmp_path: Path, section: str) -> None:
    with studio(tmp_path) as place:
        ports = {"curve": {"port": 0}, "tls": {"port": 0}, section: {"address": "192.0.2.1"}}
        broker = Broker(settings(tmp_path, ports))
        with pytest.raises(ListenError, match=rf"192.0.2.1 port 0: .*\[{section}\] address"):
            broker.start()
        still_answers(place)
    # Nothing is left behind: the port that could be opened is free again.
    for listener in broker._listeners:
        if listener.port:
            socket.create_server((listener.address, listener.port)).close()
    broker.stop()  # harmless


def hold_writes(place: Studio, release: threading.Event) -> threading.Semaphore:
    """Makes each write of this broker wait for `release`; the semaphore says how many have begun."""
    begun, original = threading.Semaphore(0), place.broker.store.apply

    def held(change: Any) -> Any:
        begun.release()
        release.wait(60)
        return original(change)

    place.broker.store.apply = held  # type: ignore[method-assign]
    return begun


def test_stopping_finishes_a_write_under_way(tmp_path: Path) -> None:
    with studio(tmp_path) as place:
        manager, port = place.profile("anna", Role.MANAGER), place.tls_port
        release = threading.Event()
        begun = hold_writes(place, release)
        answers: list[dict[str, Any]] = []

        def write() -> None:
            other = place.profile("otto", Role.MANAGER)  # one client may not occupy all writers
            with place.tls_socket(manager) as connection, place.curve_request(other) as sock:
                sock.send(request("pools.create", pool="last but one", request_id="0"))
                answers.append(TlsPeer(connection).ask("pools.create", pool="last", request_id="1"))
                answers.append(json.loads(sock.recv()))

        with place.curve_request(manager) as idle, place.tls_socket(manager) as idle_tls:
            ask(idle, "hello")
            TlsPeer(idle_tls).ask("hello")
            writer = threading.Thread(target=write)
            writer.start()
            assert begun.acquire(timeout=30)
            assert begun.acquire(timeout=30)
            stopping = threading.Thread(target=place.broker.stop)
            stopping.start()
            wait_for(lambda: not _is_open(port))
            release.set()
            stopping.join(30)
            writer.join(30)
    assert [answer["ok"] for answer in answers] == [True, True]
    with studio(tmp_path) as again, again.curve_request(again.profile("b")) as sock:
        assert [p["name"] for p in ask(sock, "pools.list")["result"]["pools"]] == ["last", "last but one"]


@pytest.mark.heavy
def test_stopping_does_not_wait_for_a_write_that_hangs(tmp_path: Path) -> None:
    release = threading.Event()
    with studio(tmp_path) as place, place.curve_request(place.profile("anna", Role.MANAGER)) as sock:
        begun = hold_writes(place, release)
        sock.send(request("pools.create", pool="fx", request_id="0"))
        assert begun.acquire(timeout=30)
        stopping = threading.Thread(target=place.broker.stop)
        stopping.start()
        stopping.join(30)  # two seconds as promised, plus what a busy machine adds
        assert not stopping.is_alive()
        release.set()


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
