"""libzmq's reports about descriptors may be old: by then, the number may be anything in this process."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests.broker.listeners.peers import READY, ask, by_hand, hangs_up, request
from tests.studio import studio

from afpools_broker.listeners.curve_connections import Watch, shut_unwatched
from afpools_broker.protocol import Role

_TRY_TO_LOCK = """
import fcntl, sys
try:
    fcntl.lockf(open(sys.argv[1], "r+"), fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    sys.exit(3)
"""


def test_a_descriptor_that_a_database_has_taken_over_keeps_its_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "pools.sqlite"
    descriptor = os.open(place, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert Watch.of(descriptor, 5570) is None
        shut_unwatched(descriptor, 5570)
        # It may become a file between two looks, too.
        monkeypatch.setattr("afpools_broker.listeners.curve_connections.stat.S_ISSOCK", lambda _mode: True)
        assert Watch.of(descriptor, 5570) is None
        tried = subprocess.run([sys.executable, "-c", _TRY_TO_LOCK, str(place)], check=False)
        assert tried.returncode == 3, "another process has got the lock"
    finally:
        os.close(descriptor)


def test_a_socket_on_another_port_and_a_closed_descriptor_are_not_ours() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)), listening.accept()[0] as accepted:
            assert Watch.of(accepted.fileno(), port + 1) is None
            ours = Watch.of(accepted.fileno(), port)
            assert ours is not None
            assert ours.host == "127.0.0.1"
            ours.close()
            number = accepted.fileno()
    assert Watch.of(number, port) is None


@pytest.mark.heavy
@pytest.mark.parametrize("asks", [True, False])
def test_an_idle_curve_connection_is_closed(tmp_path: Path, asks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("afpools_broker.listeners.curve_connections._FIRST_REQUEST_SECONDS", 1.0)
    limits = {"handshake_seconds": 1, "idle_seconds": 1}
    with studio(tmp_path, limits=limits) as place, by_hand(place, place.profile("idle")) as peer:
        peer.shake_hands()
        if asks:
            peer.send(peer.request(request("hello")))
        assert hangs_up(peer.connection)


def test_large_answers_are_still_given_if_the_system_does_not_count_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("afpools_broker.listeners.curve_connections.tcp_info", lambda _: None)
    limits = {**READY, "message_bytes": 100_000, "waiting_bytes": 200_000}
    with studio(tmp_path, limits=limits) as place, place.curve_request(place.profile("anna", Role.MANAGER)) as sock:
        ask(sock, "pools.create", pool="big", hosts=["pc-[00001-05000]"], request_id="1")
        assert all(ask(sock, "pools.get", pool="big")["ok"] for _ in range(10))
