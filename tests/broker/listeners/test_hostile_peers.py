"""What one peer does does not reach the others: real connections that never end, never read, never stop asking."""

from __future__ import annotations

import _ssl
import contextlib
import ctypes
import json
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq
import zmq.auth
from tests.broker.listeners.test_listeners import TlsPeer, ask, closed, request, still_answers, wait_for
from tests.command import environment, running
from tests.curve_peer import CurvePeer
from tests.studio import Studio, studio

from afpools import BrokerUnreachable, Client, zmtp
from afpools.errors import RateLimited
from afpools.profile import Profile
from afpools_broker.listeners.refusals import Refusals
from afpools_broker.monitoring.peer_log import PeerLog
from afpools_broker.monitoring.statistics import Statistics
from afpools_broker.protocol import Role
from afpools_tools.credentials.authority import Authority
from afpools_tools.setup import make_state

READY = {"handshake_seconds": 30}


def keys(profile: Path) -> tuple[bytes, bytes]:
    public, secret = zmq.auth.load_certificate(profile / "client.key_secret")
    assert secret is not None
    return public, secret


def by_hand(place: Studio, profile: Path) -> CurvePeer:
    return CurvePeer(place.curve_port, place.broker.credentials.curve_public_key, keys(profile))


def hangs_up(connection: socket.socket, seconds: float = 30) -> bool:
    """Whether the broker closes a connection, whatever it says before."""
    connection.settimeout(seconds)
    return closed(connection)


# --- libzmq's assertions --------------------------------------------------------------------------------------------


# 60 connections that send 1,500 requests each and a PING every millisecond, read no answer, and leave.
_FLOOD = """
import sys, time, zmq
port, server_key, public, secret = sys.argv[1:]
context = zmq.Context()
sockets = []
for _ in range(60):
    sock = context.socket(zmq.DEALER)
    sock.linger, sock.sndhwm, sock.rcvhwm = 0, 0, 1
    sock.curve_publickey, sock.curve_secretkey = public.encode(), secret.encode()
    sock.curve_serverkey = server_key.encode()
    sock.heartbeat_ivl, sock.heartbeat_timeout = 1, 60_000
    sock.connect(f"tcp://127.0.0.1:{port}")
    sockets.append(sock)
for _ in range(1500):
    for sock in sockets:
        sock.send_multipart([b"", b'{"v": 1, "id": "1", "op": "hello"}'])
time.sleep(1)  # what was sent has to get out, which nothing tells
context.destroy(linger=0)
"""


@pytest.mark.heavy
def test_peers_that_ask_without_reading_and_leave_do_not_abort_the_broker(tmp_path: Path) -> None:
    """An assertion in libzmq 4.3.5, `!_io_error`: where it has stopped reading a peer that then hangs up, the next PING
    aborts the process. Heartbeats of the ROUTER's own lead there, and without them those of the peer."""
    make_state(tmp_path, farm="", curve_port=0, tls_port=0)
    limits = {
        "AFPOOLS_LIMITS_REQUESTS_PER_SECOND": "1000000",
        "AFPOOLS_LIMITS_REQUESTS_PER_SECOND_PER_CREDENTIAL": "1000000",
        "AFPOOLS_LIMITS_NEW_CONNECTIONS_PER_SECOND": "1000000",
        "AFPOOLS_LIMITS_HEARTBEAT_SECONDS": "0.1",
    }
    env = environment(tmp_path, **limits)
    with running("serve", "-c", tmp_path / "broker.toml", env=env, folder=tmp_path) as broker:
        broker.wait_for("serves; store")
        port = int(broker.err.partition("CURVE: listening at 127.0.0.1 port ")[2].split()[0])
        reader = tmp_path / "certs" / "profiles" / "reader"
        server_key, _ = zmq.auth.load_certificate(tmp_path / "certs" / "brokers" / "broker.key_secret")
        for _ in range(2):
            # A process of its own: what it does to the broker's libzmq can happen to its own as well.
            subprocess.run(
                [sys.executable, "-c", _FLOOD, str(port), server_key.decode(), *(key.decode() for key in keys(reader))],
                timeout=60,
                check=False,
                stderr=subprocess.DEVNULL,
            )
        # Until the broker has seen all of them leave, their client may have too many connections.
        wait_for(lambda: _answers(port, server_key, reader), 60)
        assert broker.process.poll() is None
        assert broker.stop() == 0


def _answers(port: int, server_key: bytes, profile: Path) -> bool:
    with zmq.Context() as context, context.socket(zmq.REQ) as sock:
        sock.linger, sock.rcvtimeo = 0, 10_000
        sock.curve_publickey, sock.curve_secretkey = keys(profile)
        sock.curve_serverkey = server_key
        sock.connect(f"tcp://127.0.0.1:{port}")
        with contextlib.suppress(zmq.Again):
            return bool(ask(sock, "hello")["ok"])
    return False


# --- connections ----------------------------------------------------------------------------------------------------


@pytest.fixture
def narrow(tmp_path: Path) -> Iterator[Studio]:
    """A broker in which shares are used up quickly."""
    limits = {
        "connections": 20,
        "connections_for_managers": 4,
        "connections_per_client": 6,
        "handshakes_per_address": 5,
        "message_bytes": 64 * 1024,
        "waiting_bytes": 256 * 1024,
        "waiting_bytes_in_all": 1024 * 1024,
    }
    with studio(tmp_path, limits={**READY, **limits}) as made:
        yield made


def test_one_client_cannot_fill_the_broker_and_is_told_that_it_is_full(narrow: Studio) -> None:
    greedy = narrow.profile("greedy")
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            TlsPeer(stack.enter_context(narrow.tls_socket(greedy))).ask("hello")
            ask(stack.enter_context(narrow.curve_request(greedy)), "hello")
        with Client(_only(narrow, "TLS", "greedy")) as client, pytest.raises(BrokerUnreachable) as refused:
            client.hello()
        assert "too many connections: 'greedy' has 6 connections from this address" in str(refused.value)
        with Client(_only(narrow, "CURVE", "greedy")) as client, pytest.raises(RateLimited) as told:
            client.hello()
        assert "too many connections: 'greedy' has 6 connections from this address" in str(told.value)
        still_answers(narrow)
    wait_for(lambda: not narrow.broker._shares.connections)


def test_a_refusal_over_curve_arrives_before_the_connection_is_closed(
    narrow: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is to be closed is closed at the first look after its answer, and now that follows at once.
    monkeypatch.setattr("afpools_broker.listeners.curve._WATCH_SECONDS", 0.0)
    greedy = narrow.profile("greedy")
    with contextlib.ExitStack() as stack:
        for _ in range(6):
            ask(stack.enter_context(narrow.curve_request(greedy)), "hello")
        for _ in range(50):
            with Client(_only(narrow, "CURVE", "greedy")) as client, pytest.raises(RateLimited):
                client.hello()
    wait_for(lambda: not narrow.broker._shares.connections)


def test_a_client_reads_an_answer_that_came_just_before_the_end(
    narrow: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Late(zmq.Poller):
        """At first, it looks for the end only, as where the answer comes right after the look for it."""

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
        with Client(_only(narrow, "CURVE", "greedy")) as client, pytest.raises(RateLimited):
            client.hello()


def test_a_connection_that_is_not_used_any_more_makes_room(narrow: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
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
        with Client(_only(narrow, "TLS", "late")) as client, pytest.raises(BrokerUnreachable) as refused:
            client.hello()
        assert "the broker is full, with 16 of 20 connections" in str(refused.value)
        with Client(Profile.load(str(narrow.profile("anna", Role.MANAGER)))) as client:
            assert client.hello().role == "manager"


@pytest.mark.parametrize("listener", ["TLS", "CURVE"])
def test_whoever_shows_no_credential_keeps_nobody_out(narrow: Studio, listener: str) -> None:
    with contextlib.ExitStack() as stack:
        silent = [
            stack.enter_context(socket.create_connection(("127.0.0.1", narrow.broker.port(listener)), timeout=30))
            for _ in range(40)
        ]
        still_answers(narrow)
        # The oldest made room, long before the time for a handshake was over.
        assert all(hangs_up(connection) for connection in silent[:30])


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


def test_a_flood_of_new_connections_from_one_address_is_cut_short(tmp_path: Path) -> None:
    with studio(tmp_path, limits={**READY, "new_connections_per_second": 5}) as place, contextlib.ExitStack() as stack:
        made = [
            stack.enter_context(socket.create_connection(("127.0.0.1", place.broker.port(listener)), timeout=30))
            for listener in ("TLS", "CURVE")
            for _ in range(40)
        ]
        # Eighty connections take far less than a second, in which five are allowed.
        assert sum(hangs_up(connection, 0.5) for connection in made) >= 60
        wait_for(lambda: place.broker._shares.arrives("127.0.0.1"))


# --- bytes ----------------------------------------------------------------------------------------------------------


def test_requests_that_are_never_completed_are_given_up_over_tls(narrow: Studio) -> None:
    profile = narrow.profile("half")
    half = b"\x02" + (60_000).to_bytes(8, "big") + bytes(50_000)
    with contextlib.ExitStack() as stack:
        connections = []
        for _ in range(6):
            connection = stack.enter_context(narrow.tls_socket(profile))
            TlsPeer(connection)
            with contextlib.suppress(OSError):
                connection.sendall(half)
            connections.append(connection)
        # Five times 50 kB are within its share of 256 KiB, the sixth is not.
        wait_for(lambda: len(narrow.broker._listeners[1]._connections) < 6)  # type: ignore[attr-defined]
        assert narrow.broker._shares.waiting_in <= 256 * 1024
        still_answers(narrow)
    wait_for(lambda: not narrow.broker._shares.waiting_in)


def test_a_message_of_frames_without_end_is_given_up_over_curve(narrow: Studio) -> None:
    """libzmq keeps all frames of a message until the last one comes, and has no limit for their number."""
    with by_hand(narrow, narrow.profile("endless")) as peer:
        peer.shake_hands()
        peer.send(peer.request(request("hello")))
        peer.read_frame()
        peer.connection.settimeout(30)
        sent = 0
        with pytest.raises(OSError):  # noqa: PT012 - whichever part it is that finds the connection closed
            while sent < 1 << 30:
                part = peer.part(bytes(32_000))
                peer.send(part)
                sent += len(part)
        still_answers(narrow)


def test_a_peer_cannot_choose_its_routing_id(narrow: Studio) -> None:
    """libzmq ignores the second peer of an identity, but keeps collecting what it sends; and it aborts when a peer has
    chosen the id that it would give out next by itself, a NUL and four bytes that it counts up."""
    profile = narrow.profile("twin")
    for identity in (b"twin", b"\0abcd"):
        with by_hand(narrow, profile) as first, by_hand(narrow, profile) as second:
            for peer in (first, second):
                peer.shake_hands(identity=identity)
                peer.send(peer.request(request("hello")))
                peer.read_frame()
                answer = peer.read_frame()
                assert len(answer) > 100
            known = narrow.broker._listeners[0]._connections.by_routing_id  # type: ignore[attr-defined]
            assert len(known) >= 2
            assert all(routing_id.startswith(b"\1") and len(routing_id) == 13 for routing_id in known)


def test_parts_of_an_endless_message_behind_a_request_count_as_well(narrow: Studio) -> None:
    with by_hand(narrow, narrow.profile("endless")) as peer:
        peer.shake_hands()
        peer.connection.settimeout(30)
        with pytest.raises(OSError):  # noqa: PT012 - whichever part it is that finds the connection closed
            sent = peer.request(request("hello")) + b"".join(peer.part(bytes(30_000)) for _ in range(20))
            for _ in range(1000):
                peer.send(sent)
                sent = peer.part(bytes(1000))
                time.sleep(0.01)


@pytest.mark.heavy
def test_answers_that_are_not_read_are_bounded_over_curve(tmp_path: Path) -> None:
    limits = {**READY, "message_bytes": 100_000, "waiting_bytes": 1_000_000}
    with studio(tmp_path, limits=limits) as place:
        with place.curve_request(place.profile("anna", Role.MANAGER)) as sock:
            ask(sock, "pools.create", pool="big", hosts=["pc-[00001-20000]"], request_id="1")
        reader = place.profile("b")
        with contextlib.ExitStack() as stack:
            peers = []
            for _ in range(10):
                peer = stack.enter_context(by_hand(place, reader))
                peer.shake_hands()
                # Nothing is read of 40 answers of 250 kB each; on loopback the system takes a few MB of them.
                for _ in range(40):
                    peer.send(peer.request(request("pools.get", pool="big")))
                peers.append(peer)
            shares = place.broker._shares
            wait_for(lambda: shares.waiting_out > 100_000)
            still_answers(place)
            # One answer each may be on its way whatever its size, and what the kernel's own buffers hold.
            assert shares.waiting_out < 10 * 5_000_000
            # Who reads again finds out why there was nothing more.
            codes = set()
            with contextlib.suppress(EOFError, OSError):
                peers[-1].connection.settimeout(30)
                for _ in range(80):
                    frame = peers[-1].read_frame()
                    codes.add(len(frame) < 1000)
        assert codes
        wait_for(lambda: not shares.waiting_out)


def test_answers_that_are_not_read_are_bounded_over_tls(tmp_path: Path) -> None:
    limits = {**READY, "message_bytes": 100_000, "waiting_bytes": 1_000_000}
    with studio(tmp_path, limits=limits) as place, contextlib.ExitStack() as stack:
        with place.curve_request(place.profile("anna", Role.MANAGER)) as sock:
            ask(sock, "pools.create", pool="big", hosts=["pc-[00001-20000]"], request_id="1")
        for _ in range(20):
            connection = stack.enter_context(place.tls_socket(place.profile("b")))
            peer = TlsPeer(connection)
            for _ in range(40):
                peer.zmtp.send_message([b"", request("pools.get", pool="big")])
            connection.setblocking(False)
            with contextlib.suppress(ssl.SSLWantWriteError, BlockingIOError):
                connection.send(peer.zmtp.data_to_send())
        shares = place.broker._shares
        wait_for(lambda: shares.waiting_out > 100_000)
        still_answers(place)
        assert shares.waiting_out < 1_000_000 + 20 * 300_000
    wait_for(lambda: not shares.waiting_out)


# --- requests -------------------------------------------------------------------------------------------------------


def test_who_asks_too_often_over_tls_waits_and_gets_every_answer(tmp_path: Path) -> None:
    with (
        studio(tmp_path, limits={**READY, "requests_per_second": 50}) as place,
        place.tls_socket(place.profile("b")) as connection,
    ):
        peer = TlsPeer(connection)
        began = time.monotonic()
        for number in range(100):
            peer.zmtp.send_message([b"", json.dumps({"v": 1, "id": str(number), "op": "hello"}).encode()])
        peer.flush()
        answers: list[Any] = []
        while len(answers) < 100:
            peer.read()
            answers += [json.loads(e.frames[-1]) for e in peer.events if isinstance(e, zmtp.Message)]
            peer.events.clear()
        # Fifty at once, the others at fifty a second. A slow machine can only make it longer.
        assert time.monotonic() - began > 0.9
        assert [answer["id"] for answer in answers if answer["ok"]] == [str(number) for number in range(100)]


def test_what_asks_for_nothing_but_takes_time_counts_as_well(tmp_path: Path) -> None:
    with (
        studio(tmp_path, limits={**READY, "requests_per_second": 50}) as place,
        place.tls_socket(place.profile("b")) as connection,
    ):
        peer = TlsPeer(connection)
        began = time.monotonic()
        for _ in range(200):
            peer.zmtp.send_ping(ttl=0)
        assert peer.ask("hello")["ok"]
        # Two hundred commands are the work of a hundred requests. A slow machine can only make it longer.
        assert time.monotonic() - began > 0.9


def test_requests_of_no_bytes_are_bounded_too(narrow: Studio) -> None:
    """Eight thousand of them fit into one record of TLS."""
    narrow.broker._shares.limits = msgspec.structs.replace(narrow.broker._shares.limits, requests_per_second=1)
    with narrow.tls_socket(narrow.profile("b")) as connection:
        peer = TlsPeer(connection)
        with contextlib.suppress(OSError):
            peer.connection.sendall(b"\0\0" * 8000)
        assert hangs_up(connection)
    still_answers(narrow)


def test_who_asks_too_often_over_curve_is_told_and_then_disconnected(tmp_path: Path) -> None:
    with studio(tmp_path, limits={"handshake_seconds": 3, "requests_per_second": 20}) as place:
        with by_hand(place, place.profile("flood")) as peer:
            peer.shake_hands()
            with contextlib.suppress(OSError):
                peer.send(b"".join(peer.request(request("hello")) for _ in range(3000)))
            assert hangs_up(peer.connection)
        still_answers(place)
        # A moment later it may come back.
        wait_for(lambda: _gets_in(place, "flood"))


def _gets_in(place: Studio, name: str) -> bool:
    with by_hand(place, place.profile(name)) as peer:
        try:
            peer.shake_hands()
        except (EOFError, OSError, AssertionError):
            return False
        return True


def test_what_a_peer_may_not_do_leaves_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with studio(tmp_path, limits=READY) as place:
        for listener in ("TLS", "CURVE"):
            with Client(_only(place, listener)) as client:
                for number in range(50):
                    with pytest.raises(Exception, match="manager"):
                        client.create_pool(f"pool-{number}")
    lines = [r.getMessage() for r in caplog.records if "asked for pools.create" in r.getMessage()]
    assert len(lines) == 1


def _only(place: Studio, listener: str, name: str = "b") -> Profile:
    profile = Profile.load(str(place.profile(name)))
    scheme = listener.lower()
    return profile._replace(endpoints=tuple(e for e in profile.endpoints if e.scheme == scheme))


# --- descriptors ----------------------------------------------------------------------------------------------------


def test_requests_of_a_connection_that_is_gone_are_nobody_elses(tmp_path: Path) -> None:
    """A descriptor is used again at once; what came through the old connection must not count for the new one."""
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


def test_a_manager_who_takes_over_an_identity_gets_its_own_role(tmp_path: Path) -> None:
    """A peer may choose its own routing id. The next one to choose it is somebody else."""
    with studio(tmp_path, limits=READY) as place:
        Authority.open(place.folder / "certs")
        for name, role in (("anna", Role.MANAGER), ("artist", Role.READER), ("anna", Role.MANAGER)):
            with by_hand(place, place.profile(name, role)) as peer:
                peer.shake_hands(identity=b"same")
                peer.send(peer.request(request("pools.list")))
                peer.read_frame()
                with pytest.raises(TimeoutError):  # noqa: PT012
                    # Whatever is not answered within a moment would be an answer to somebody else.
                    peer.connection.settimeout(0.2)
                    peer.read_frame()
                    peer.read_frame()


def test_what_a_peer_sent_before_it_left_does_not_cost_the_next_one_its_answer(tmp_path: Path) -> None:
    """Its requests are read long after the next one has got its descriptor."""
    with studio(tmp_path, limits=READY) as place:
        leaver, stays = place.profile("a"), place.profile("b")
        for _ in range(10):
            with by_hand(place, leaver) as peer:
                peer.shake_hands()
                peer.send(b"".join(peer.request(request("hello")) for _ in range(1500)))
                peer.reset()
            with by_hand(place, stays) as peer:
                peer.shake_hands()
                peer.send(peer.request(request("hello")))
                assert peer.read_frame()
        wait_for(lambda: not place.broker._shares.connections)
        assert not place.broker._shares.waiting_in
        assert not place.broker._shares.waiting_out


def test_where_the_system_does_not_count_bytes_large_answers_are_still_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("afpools_broker.listeners.curve_connections.tcp_info", lambda _: None)
    limits = {**READY, "message_bytes": 100_000, "waiting_bytes": 200_000}
    with studio(tmp_path, limits=limits) as place, place.curve_request(place.profile("anna", Role.MANAGER)) as sock:
        ask(sock, "pools.create", pool="big", hosts=["pc-[00001-05000]"], request_id="1")
        assert all(ask(sock, "pools.get", pool="big")["ok"] for _ in range(10))


@pytest.mark.heavy
def test_key_updates_count_as_work(tmp_path: Path) -> None:
    """OpenSSL by itself reads on as long as they come, and nobody else is answered meanwhile."""
    libssl = ctypes.CDLL(_ssl.__file__)  # and with it the library that it is linked with
    with studio(tmp_path, limits={**READY, "requests_per_second": 50}) as place:
        with place.tls_socket(place.profile("b")) as connection:
            peer = TlsPeer(connection)
            # `PySSLSocket` of Modules/_ssl.c: after the object's head and the socket comes OpenSSL's own.
            handle = ctypes.c_void_p.from_address(id(connection._sslobj) + object.__basicsize__ + 8)  # type: ignore[attr-defined]
            began = time.monotonic()
            for _ in range(2000):
                assert libssl.SSL_key_update(handle, 0) == 1
                assert libssl.SSL_do_handshake(handle) == 1
            assert peer.ask("hello")["ok"]
            # 54,000 bytes that carry nothing; all but a record of them are the work of 500 requests.
            assert time.monotonic() - began > 5
        still_answers(place)


def test_a_machine_with_many_addresses_of_one_network_leaves_one_line(caplog: pytest.LogCaptureFixture) -> None:
    refusals = Refusals(Statistics(), PeerLog())
    for number in range(1, 50):
        refusals.refuse("TLS", f"[2001:db8::{number:x}]:40000", "no TLS", "it does not speak TLS")
    assert len(caplog.records) == 1
