"""What libzmq tells of its descriptors may be old: by then, the number may be anything of this process."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from afpools_broker.listeners.curve_connections import Watch, shut_unwatched

_TRY_TO_LOCK = """
import fcntl, sys
try:
    fcntl.lockf(open(sys.argv[1], "r+"), fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    sys.exit(3)
"""


def test_a_number_that_a_database_has_by_now_costs_it_none_of_its_locks(
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


def test_a_socket_of_another_port_and_a_closed_number_are_none_of_ours() -> None:
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
