"""An address that opens connections by the thousand is blocked by the kernel for a while; all others get in."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.broker.listeners.peers import still_answers, wait_for
from tests.studio import studio

from afpools_broker.listeners.doorkeeper import Doorkeeper

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has such filters")

MANY = 300


@contextmanager
def door(
    address: str = "127.0.0.1", port: int = 0, *, dualstack: bool = False
) -> Iterator[tuple[socket.socket, Doorkeeper]]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as listening:
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dualstack)
        listening.bind((address, port))
        doorkeeper = Doorkeeper(listening, 64)
        yield listening, doorkeeper
        doorkeeper.close()


def comes_in(listening: socket.socket, address: str = "127.0.0.1") -> bool:
    """Whether a connection from this address is made before its first SYN would be retried."""
    port = listening.getsockname()[1]
    try:
        with (
            socket.create_connection((listening.getsockname()[0], port), timeout=0.5, source_address=(address, 0)),
            listening.accept()[0],
        ):
            return True
    except TimeoutError:
        return False


def connect_outside(listening: socket.socket, address: str) -> socket.socket:
    """The one connection for which there is room in the outside queue."""
    return socket.create_connection(listening.getsockname()[:2], timeout=5, source_address=(address, 0))


def storm(doorkeeper: Doorkeeper, network: str, now: float = 1.0) -> None:
    for _ in range(MANY):
        doorkeeper.note_closed(network, now)


def test_only_the_flooding_address_is_blocked_and_only_briefly() -> None:
    with door() as (listening, doorkeeper):
        assert comes_in(listening, "127.0.0.2")
        storm(doorkeeper, "127.0.0.2")
        connect_outside(listening, "127.0.0.2")
        for _ in range(3):
            assert not comes_in(listening, "127.0.0.2")
            assert comes_in(listening, "127.0.0.3")
        doorkeeper.look(1.5)
        assert not comes_in(listening, "127.0.0.2")
        doorkeeper.look(2.1)
        assert comes_in(listening, "127.0.0.2")
        assert not doorkeeper.kept_out


def test_the_connection_that_the_kernel_queued_outside_is_closed_so_that_its_peer_retries() -> None:
    with door() as (listening, doorkeeper):
        storm(doorkeeper, "127.0.0.2")
        waiting = connect_outside(listening, "127.0.0.2")
        doorkeeper.look(2.1)
        waiting.settimeout(10)
        assert waiting.recv(1) == b""
        waiting.close()
        assert comes_in(listening, "127.0.0.2")


def test_a_few_closed_connections_block_nobody() -> None:
    with door() as (listening, doorkeeper):
        for number in range(10 * MANY):
            doorkeeper.note_closed("127.0.0.2", number / 100)
        assert comes_in(listening, "127.0.0.2")


def test_open_connections_continue() -> None:
    with (
        door() as (listening, doorkeeper),
        socket.create_connection(listening.getsockname(), timeout=5, source_address=("127.0.0.2", 0)) as before,
        listening.accept()[0] as accepted,
    ):
        storm(doorkeeper, "127.0.0.2")
        for _ in range(3):
            before.sendall(b"still here")
            assert accepted.recv(100) == b"still here"


def test_hundreds_of_addresses_at_once_fit() -> None:
    with door() as (listening, doorkeeper):
        for number in range(150):
            storm(doorkeeper, f"127.1.0.{number}")
            storm(doorkeeper, f"2001:db8:0:{number:x}::/64")
        assert len(doorkeeper.kept_out) == 200
        connect_outside(listening, "127.1.0.148")
        assert not comes_in(listening, "127.1.0.149")
        assert comes_in(listening, "127.1.0.1")


def test_an_ipv6_network_is_blocked_as_a_whole() -> None:
    try:
        with door("::1") as (listening, doorkeeper):
            assert comes_in(listening, "::1")
            storm(doorkeeper, "2001:db8::/64")
            assert comes_in(listening, "::1")
            storm(doorkeeper, "::/64")
            connect_outside(listening, "::1")
            assert not comes_in(listening, "::1")
    except OSError:
        pytest.skip("this machine has no IPv6")


def test_ipv4_is_blocked_on_a_dual_stack_port() -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    with door("::", dualstack=True) as (listening, doorkeeper):
        storm(doorkeeper, "127.0.0.2")
        there = "127.0.0.1", listening.getsockname()[1]
        socket.create_connection(there, timeout=5, source_address=("127.0.0.2", 0))
        with pytest.raises(TimeoutError):
            socket.create_connection(there, timeout=0.5, source_address=("127.0.0.2", 0))
        socket.create_connection(there, timeout=5, source_address=("127.0.0.3", 0)).close()


def test_nobody_else_can_open_the_port() -> None:
    with door() as (listening, _), pytest.raises(OSError, match="in use"), door(*listening.getsockname()):
        pass


@pytest.mark.skipif(os.getuid() != 0, reason="is asked of other accounts than root")
def test_it_needs_no_privilege() -> None:
    program = """
import os, socket
from afpools_broker.listeners.doorkeeper import Doorkeeper
os.setgroups([]), os.setgid(65534), os.setuid(65534)
with socket.socket() as listening, socket.socket() as outside, socket.socket() as other:
    listening.bind(("127.0.0.1", 0))
    doorkeeper = Doorkeeper(listening, 64)
    for _ in range(300):
        doorkeeper.note_closed("127.0.0.1", 1.0)
    outside.connect(listening.getsockname())
    other.settimeout(0.5)
    try:
        other.connect(listening.getsockname())
    except TimeoutError:
        print("kept out")
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout == "kept out\n"


@pytest.mark.parametrize("listener", ["CURVE", "TLS"])
def test_a_flooding_address_is_blocked_and_admitted_again_later(tmp_path: Path, listener: str) -> None:
    with studio(tmp_path, limits={"new_connections_per_second": 50}) as place:
        made = next(one for one in place.broker._listeners if one.name == listener)
        until, kept_out = time.monotonic() + 30, False
        while not kept_out and time.monotonic() < until:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", made.port), timeout=1, source_address=("127.0.0.2", 0)).close()
            kept_out = made._doorkeeper.kept_out == ["127.0.0.2"]  # type: ignore[attr-defined]
        assert kept_out
        still_answers(place)
        wait_for(lambda: not made._doorkeeper.kept_out)  # type: ignore[attr-defined]
