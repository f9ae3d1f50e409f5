"""CURVE: what libzmq's ROUTER does with peers of every kind, and what we do about it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import zmq
import zmq.auth
from tests.broker.listeners.peers import (
    READY,
    TlsPeer,
    ask,
    by_hand,
    hangs_up,
    keys,
    only_over,
    request,
    silent,
    still_answers,
    wait_for,
)
from tests.command import environment, running
from tests.studio import Studio, studio

from afpools import Client
from afpools.errors import RateLimited
from afpools_broker.protocol import Role
from afpools_tools.credentials.authority import Authority
from afpools_tools.setup import make_state


def test_requests_of_a_dealer_are_answered_one_for_one(place: Studio) -> None:
    with place.curve_request(place.profile("b"), kind=zmq.DEALER) as dealer:
        for number in range(300):
            dealer.send_multipart([b"", json.dumps({"v": 1, "id": str(number), "op": "hello"}).encode()])
        answers = [json.loads(dealer.recv_multipart()[1]) for _ in range(300)]
    assert [answer["id"] for answer in answers] == [str(number) for number in range(300)]


def test_curve_without_a_key(place: Studio, refusals: Any) -> None:
    sock = zmq.Context.instance().socket(zmq.REQ)
    sock.linger = 0
    sock.connect(f"tcp://127.0.0.1:{place.curve_port}")
    assert silent(sock)
    # On loopback the peer may be gone before its address can be asked for. Which side notices first is chance.
    wait_for(lambda: any("the broker's key" in line for line in refusals()))
    still_answers(place)


def test_curve_with_a_key_that_is_not_listed(place: Studio, refusals: Any) -> None:
    sock = place.curve_request(place.profile("x"))
    sock.disconnect(sock.last_endpoint)
    sock.curve_publickey, sock.curve_secretkey = zmq.curve_keypair()
    sock.connect(f"tcp://127.0.0.1:{place.curve_port}")
    assert silent(sock)
    assert any("not one of those in clients/" in line for line in refusals())
    still_answers(place)


def test_curve_for_another_broker(place: Studio, refusals: Any) -> None:
    sock = zmq.Context.instance().socket(zmq.REQ)
    sock.linger = 0
    sock.curve_publickey, sock.curve_secretkey = zmq.curve_keypair()
    sock.curve_serverkey, _ = zmq.curve_keypair()
    sock.connect(f"tcp://127.0.0.1:{place.curve_port}")
    assert silent(sock)
    assert "encrypted for another broker" in refusals()[0]
    still_answers(place)


def test_curve_key_revoked_while_connected(place: Studio, refusals: Any) -> None:
    with place.curve_request(place.profile("leaver")) as sock:
        assert ask(sock, "hello")["ok"]
        place.authority.revoke("leaver")
        with place.tls_socket(place.profile("witness")) as connection:
            peer = TlsPeer(connection)
            wait_for(lambda: peer.ask("health")["result"]["connections"]["CURVE"] == 0)
    assert any("not one of those in clients/" in line for line in refusals())
    still_answers(place)


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
time.sleep(1)  # what was sent must get out, and nothing reports that
context.destroy(linger=0)
"""


@pytest.mark.heavy
def test_peers_that_send_requests_without_reading_and_leave_do_not_abort_the_broker(tmp_path: Path) -> None:
    """An assertion in libzmq 4.3.5, `!_io_error`: if libzmq has stopped reading a peer that then hangs up, the next
    PING aborts the process. The ROUTER's own heartbeats lead there, and without them those of the peer do."""
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
            # A separate process: what it does to the broker's libzmq can also happen to its own.
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


def test_a_refusal_over_curve_arrives_before_the_connection_is_closed(
    narrow: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A connection to be closed is closed at the first check after its answer, which now follows at once.
    monkeypatch.setattr("afpools_broker.listeners.curve._WATCH_SECONDS", 0.0)
    greedy = narrow.profile("greedy")
    with contextlib.ExitStack() as stack:
        for _ in range(6):
            ask(stack.enter_context(narrow.curve_request(greedy)), "hello")
        for _ in range(50):
            with Client(only_over(narrow, "CURVE", "greedy")) as client, pytest.raises(RateLimited):
                client.hello()
    wait_for(lambda: not narrow.broker._shares.connections)


def test_an_endless_multi_frame_message_is_cut_off_over_curve(narrow: Studio) -> None:
    """libzmq keeps all frames of a message until the last one arrives, and does not limit their number."""
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
    """libzmq ignores the second peer with an identity, but keeps collecting what it sends. It aborts if a peer has
    chosen the id that it would assign next by itself, a NUL and a four-byte counter."""
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


def test_parts_of_an_endless_message_after_a_request_count_as_well(narrow: Studio) -> None:
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
def test_unread_answers_are_limited_over_curve(tmp_path: Path) -> None:
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
                # None of 40 answers of 250 kB each is read; on loopback the system buffers a few MB of them.
                for _ in range(40):
                    peer.send(peer.request(request("pools.get", pool="big")))
                peers.append(peer)
            shares = place.broker._shares
            wait_for(lambda: shares.waiting_out > 100_000)
            still_answers(place)
            # One answer each may be on its way whatever its size, besides what the kernel's own buffers hold.
            assert shares.waiting_out < 10 * 5_000_000
            # A client that reads again finds out why there was nothing more.
            codes = set()
            with contextlib.suppress(EOFError, OSError):
                peers[-1].connection.settimeout(30)
                for _ in range(80):
                    frame = peers[-1].read_frame()
                    codes.add(len(frame) < 1000)
        assert codes
        wait_for(lambda: not shares.waiting_out)


def test_a_client_that_asks_too_often_over_curve_is_told_and_then_disconnected(tmp_path: Path) -> None:
    with studio(tmp_path, limits={"handshake_seconds": 3, "requests_per_second": 20}) as place:
        with by_hand(place, place.profile("flood")) as peer:
            peer.shake_hands()
            with contextlib.suppress(OSError):
                peer.send(b"".join(peer.request(request("hello")) for _ in range(3000)))
            assert hangs_up(peer.connection)
        still_answers(place)
        # Soon afterwards it may come back.
        wait_for(lambda: _gets_in(place, "flood"))


def _gets_in(place: Studio, name: str) -> bool:
    with by_hand(place, place.profile(name)) as peer:
        try:
            peer.shake_hands()
        except (EOFError, OSError, AssertionError):
            return False
        return True


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
                    # A request that is not answered at once must have been answered to somebody else.
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
