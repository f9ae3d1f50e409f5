"""One peer's behaviour does not affect the others: real connections that never end, never read, never stop asking."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq
import zmq.auth
from tests.broker.listeners.peers import (
    READY,
    TlsPeer,
    ask,
    by_hand,
    hangs_up,
    only_over,
    request,
    still_answers,
    wait_for,
)
from tests.studio import Studio, studio

from afpools import BrokerUnreachable, Client
from afpools.errors import RateLimited
from afpools.profile import Profile
from afpools_broker.protocol import Role

# --- connections ----------------------------------------------------------------------------------------------------


def test_one_client_cannot_fill_the_broker_and_is_told_that_it_is_full(narrow: Studio) -> None:
    greedy = narrow.profile("greedy")
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            TlsPeer(stack.enter_context(narrow.tls_socket(greedy))).ask("hello")
            ask(stack.enter_context(narrow.curve_request(greedy)), "hello")
        with Client(only_over(narrow, "TLS", "greedy")) as client, pytest.raises(BrokerUnreachable) as refused:
            client.hello()
        assert "too many connections: 'greedy' has 6 connections from this address" in str(refused.value)
        with Client(only_over(narrow, "CURVE", "greedy")) as client, pytest.raises(RateLimited) as told:
            client.hello()
        assert "too many connections: 'greedy' has 6 connections from this address" in str(told.value)
        still_answers(narrow)
    wait_for(lambda: not narrow.broker._shares.connections)


def test_a_client_reads_an_answer_that_came_just_before_the_end(
    narrow: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Late(zmq.Poller):
        """At first it sees only the end, as if the answer came right after the check for it."""

        looked = False

        def poll(self, timeout: int | None = None) -> list[tuple[Any, int]]:
            events, _ = self.sockets[1]
            if not self.looked and events.poll(timeout):
                self.looked = True
                return [(events, zmq.POLLIN)]
            return super().poll(timeout)

    greedy = narrow.profile("greedy")
    with contextlib.ExitStack() as stack:
        for _ in range(6):
            ask(stack.enter_context(narrow.curve_request(greedy)), "hello")
        monkeypatch.setattr(zmq, "Poller", Late)
        with Client(only_over(narrow, "CURVE", "greedy")) as client, pytest.raises(RateLimited):
            client.hello()


def test_an_unused_connection_makes_room(narrow: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("afpools_broker.listeners.tls._REPLACEABLE_SECONDS", 0.0)
    monkeypatch.setattr("afpools_broker.listeners.curve_connections._REPLACEABLE_SECONDS", 0.0)
    leaky = narrow.profile("leaky")
    with contextlib.ExitStack() as stack:
        for _ in range(30):
            TlsPeer(stack.enter_context(narrow.tls_socket(leaky))).ask("hello")
    wait_for(lambda: not narrow.broker._shares.connections)
    with contextlib.ExitStack() as stack:
        for _ in range(30):
            ask(stack.enter_context(narrow.curve_request(leaky)), "hello")


def test_readers_leave_room_for_managers(narrow: Studio) -> None:
    with contextlib.ExitStack() as stack:
        for number in range(16):
            profile = narrow.profile(f"reader-{number}")
            TlsPeer(stack.enter_context(narrow.tls_socket(profile))).ask("hello")
        narrow.profile("late")
        with Client(only_over(narrow, "TLS", "late")) as client, pytest.raises(BrokerUnreachable) as refused:
            client.hello()
        assert "the broker is full, with 16 of 20 connections" in str(refused.value)
        with Client(Profile.load(str(narrow.profile("anna", Role.MANAGER)))) as client:
            assert client.hello().role == "manager"


@pytest.mark.parametrize("listener", ["TLS", "CURVE"])
def test_peers_that_show_no_credential_block_nobody(narrow: Studio, listener: str) -> None:
    with contextlib.ExitStack() as stack:
        silent = [
            stack.enter_context(socket.create_connection(("127.0.0.1", narrow.broker.port(listener)), timeout=30))
            for _ in range(40)
        ]
        still_answers(narrow)
        # The oldest made room, long before the handshake's deadline.
        assert all(hangs_up(connection) for connection in silent[:30])


@pytest.mark.parametrize("asks", [True, False])
def test_a_revoked_key_is_disconnected_whether_or_not_it_asks(tmp_path: Path, asks: bool) -> None:
    with studio(tmp_path, limits=READY) as place, by_hand(place, place.profile("leaver")) as peer:
        peer.shake_hands()
        if asks:
            peer.send(peer.request(request("hello")))
            peer.read_frame()
        place.authority.revoke("leaver")
        assert hangs_up(peer.connection)
        still_answers(place)


def test_a_flood_of_new_connections_from_one_address_is_stopped(tmp_path: Path) -> None:
    with studio(tmp_path, limits={**READY, "new_connections_per_second": 5}) as place, contextlib.ExitStack() as stack:
        made = [
            stack.enter_context(socket.create_connection(("127.0.0.1", place.broker.port(listener)), timeout=30))
            for listener in ("TLS", "CURVE")
            for _ in range(40)
        ]
        # Eighty connections take far less than a second, in which five are allowed.
        assert sum(hangs_up(connection, 0.5) for connection in made) >= 60
        wait_for(lambda: place.broker._shares.arrives("127.0.0.1"))


# --- requests -------------------------------------------------------------------------------------------------------


def test_empty_requests_are_limited_too(narrow: Studio) -> None:
    """Eight thousand of them fit into one record of TLS."""
    narrow.broker._shares.limits = msgspec.structs.replace(narrow.broker._shares.limits, requests_per_second=1)
    with narrow.tls_socket(narrow.profile("b")) as connection:
        peer = TlsPeer(connection)
        with contextlib.suppress(OSError):
            peer.connection.sendall(b"\0\0" * 8000)
        assert hangs_up(connection)
    still_answers(narrow)


# --- descriptors ----------------------------------------------------------------------------------------------------


def test_requests_of_a_closed_connection_are_not_attributed_to_another(tmp_path: Path) -> None:
    """A descriptor is reused at once; what came through the old connection must not count for the new one."""
    with studio(tmp_path, limits=READY) as place:
        a, b = place.profile("a"), place.profile("b")
        for turn in range(60):
            with by_hand(place, (a, b)[turn % 2]) as peer:
                peer.shake_hands()
                peer.send(b"".join(peer.request(request("hello")) for _ in range(20)))
                if turn % 3:
                    peer.reset()
        wait_for(lambda: not place.broker._shares.connections)
        still_answers(place)
