"""The network of a run forwards everything, and holds back exactly what it is told to."""

from __future__ import annotations

import gc
import os
import socket
import threading
from collections.abc import Iterator

import pytest

from .proxy import Network, Proxy, Rule, Way, free_ports, network


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of an echo server."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_serve, args=(server,), daemon=True).start()
        yield server.getsockname()[1]


def _serve(server: socket.socket) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=_answer, args=(connection,), daemon=True).start()


def _answer(connection: socket.socket) -> None:
    with connection:
        try:
            while data := connection.recv(65536):
                connection.sendall(data)
        except OSError:
            return


@pytest.fixture
def net() -> Iterator[Network]:
    with network() as made:
        yield made


@pytest.fixture
def way(net: Network, echo: int) -> Proxy:
    return net.proxy(echo, free_ports(1)[0])


def connect(way: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", way.port), timeout=20)


def echoes(connection: socket.socket, data: bytes) -> bool:
    connection.sendall(data)
    got = b""
    while len(got) < len(data):
        chunk = connection.recv(65536)
        if not chunk:
            return False
        got += chunk
    return got == data


def silent(connection: socket.socket) -> bool:
    connection.settimeout(0.3)
    try:
        return not connection.recv(1)
    except TimeoutError:
        return True
    finally:
        connection.settimeout(20)


def test_everything_passes_in_both_directions(way: Proxy) -> None:
    with connect(way) as one, connect(way) as two:
        assert echoes(one, os.urandom(100_000))
        assert echoes(two, b"two")


@pytest.mark.parametrize("stops", [Way.THERE, Way.BACK, Way.BOTH])
def test_held_back_data_arrives_when_the_partition_ends(way: Proxy, stops: Way) -> None:
    with connect(way) as old:
        assert echoes(old, b"before")
        way.obey(Rule(stops=stops))
        with connect(way) as new:
            for connection in (old, new):
                connection.sendall(b"held")
                assert silent(connection)
            way.heal()
            for connection in (old, new):
                assert connection.recv(100) == b"held"


def test_a_partition_may_affect_only_one_process(way: Proxy) -> None:
    with connect(way) as ours:
        assert echoes(ours, b"before")
        way.obey(Rule(stops=Way.BOTH, pids=frozenset({1})))
        assert echoes(ours, b"not us")
        way.obey(Rule(stops=Way.BOTH, pids=frozenset({1, os.getpid()})))
        ours.sendall(b"us")
        assert silent(ours)


def test_connections_that_a_partition_stopped_can_be_reset_with_its_end(way: Proxy) -> None:
    with connect(way) as connection:
        assert echoes(connection, b"before")
        way.obey(Rule(stops=Way.BOTH))
        way.heal(reset=True)
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    with connect(way) as connection:
        assert echoes(connection, b"after")


def test_a_refusing_port_breaks_open_connections_and_accepts_no_new_ones(way: Proxy) -> None:
    with connect(way) as connection:
        assert echoes(connection, b"before")
        way.obey(Rule(refuses=True))
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    with pytest.raises(ConnectionResetError), connect(way) as connection:
        connection.recv(1)


def test_the_end_of_a_connection_passes_on(way: Proxy) -> None:
    with connect(way) as connection:
        connection.sendall(b"last words")
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100) == b"last words"
        assert connection.recv(100) == b""


def test_a_network_that_ends_within_a_partition_leaves_nothing_waiting(
    echo: int, caplog: pytest.LogCaptureFixture
) -> None:
    with network() as net:
        way = net.proxy(echo, free_ports(1)[0])
        with connect(way) as old:
            assert echoes(old, b"before")
            way.obey(Rule(stops=Way.BOTH))
            old.sendall(b"held")
            assert silent(old)
            with connect(way) as new:
                assert silent(new)
    del net, way
    # "Task was destroyed but it is pending!" is said when it is collected.
    gc.collect()
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []
