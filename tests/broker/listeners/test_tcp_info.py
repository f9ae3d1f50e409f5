"""The kernel's counts for a connection match what was sent and received."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Iterator

import pytest
from tests.broker.listeners.peers import wait_for

from afpools_broker.listeners.tcp_info import TcpInfo, tcp_info

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Only Linux tells.")


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection over TCP, from both ends."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ours = socket.create_connection(listening.getsockname())
        theirs, _ = listening.accept()
    with ours, theirs:
        yield ours, theirs


def info(connection: socket.socket) -> TcpInfo:
    found = tcp_info(connection)
    assert found is not None
    return found


def test_bytes_are_counted_in_both_directions(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    before = info(ours)
    ours.sendall(b"x" * 1000)
    wait_for(lambda: info(ours).all_sent)
    assert info(ours).acknowledged - before.acknowledged == 1000
    assert info(theirs).received == 1000


def test_data_that_a_peer_has_not_taken_does_not_count_as_sent(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, _ = pair
    ours.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            ours.send(b"x" * 65536)
    assert not info(ours).all_sent


def test_a_closed_connection_has_no_counts(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, _ = pair
    ours.close()
    assert tcp_info(ours) is None
