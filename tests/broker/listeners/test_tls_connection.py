"""One connection over TLS, whatever its peer sends, reads, or fails to send."""

from __future__ import annotations

import _ssl
import contextlib
import ctypes
import json
import ssl
import struct
import time
from pathlib import Path
from typing import Any

import pytest
from tests.broker.listeners.peers import READY, TlsPeer, ask, closed, request, still_answers, wait_for
from tests.studio import Studio, studio

from afpools import zmtp
from afpools_broker.protocol import Role


@pytest.mark.parametrize("cut", [0, 1, 2, 3, 4, 40])
def test_over_tls_requests_are_answered_in_order_however_they_arrive(place: Studio, cut: int) -> None:
    ping = b"\x04\x0a\x04PING\x00\x00abc"
    padding = " " * 300  # a frame of more than 255 bytes has a different header
    requests = [
        b'{"v":1,"id":"%d","op":"pools.list"%b}' % (number, padding.encode() * (number % 3 == 2)) for number in range(6)
    ]
    framed = [
        b"\x01\x00" + (bytes((0, len(body))) if len(body) < 256 else b"\x02" + struct.pack(">Q", len(body))) + body
        for body in requests
    ]
    with place.tls_socket(place.profile("anna")) as connection:
        peer = TlsPeer(connection)
        assert peer.ask("pools.list")["ok"]
        # Each in its own record, or its end together with the beginning of the next; PINGs in between.
        data = b"".join(frame + ping * (number % 2) for number, frame in enumerate(framed))
        ends = [sum(map(len, framed[: number + 1])) + len(ping) * ((number + 1) // 2) + cut for number in range(6)]
        for start, end in zip([0, *ends], [*ends[:-1], len(data)], strict=False):
            if data[start:end]:
                connection.sendall(data[start:end])
        while sum(isinstance(event, zmtp.Message) for event in peer.events) < len(requests):
            peer.read()
    answers = [json.loads(event.frames[-1]) for event in peer.events if isinstance(event, zmtp.Message)]
    assert [(answer["id"], answer["ok"]) for answer in answers] == [(str(number), True) for number in range(6)]


def test_tls_certificate_revoked_while_connected(place: Studio, refusals: Any) -> None:
    with place.tls_socket(place.profile("leaver")) as connection:
        assert TlsPeer(connection).ask("hello")["ok"]
        place.authority.revoke("leaver")
        connection.settimeout(30)
        assert closed(connection)
    assert "closed: certificate of 'leaver' was revoked" in refusals()[0]
    still_answers(place)


@pytest.mark.heavy
def test_a_tls_peer_that_sends_no_greeting_is_dropped(hasty: Studio, refusals: Any) -> None:
    with hasty.tls_socket(hasty.profile("b")) as connection:
        assert connection.recv(64)[:1] == b"\xff"
        assert closed(connection)
    assert "'b' sent no ZeroMQ greeting within 2 seconds" in refusals()[0]


def test_rubbish_inside_tls_is_dropped(place: Studio, refusals: Any) -> None:
    with place.tls_socket(place.profile("b")) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 4)
        connection.recv(64)
        assert closed(connection)
    assert "'b' broke the protocol" in refusals()[0]
    still_answers(place)


@pytest.mark.heavy
def test_an_idle_tls_connection_is_closed_and_a_living_one_is_not(tmp_path: Path) -> None:
    with studio(tmp_path, limits={"heartbeat_seconds": 0.5, "idle_seconds": 1.2}) as place:
        with place.tls_socket(place.profile("b")) as connection:
            peer = TlsPeer(connection)
            # It answers every PING, so it is alive; it asks for nothing, so it is idle.
            with contextlib.suppress(EOFError):
                while True:
                    peer.read()
            assert any(isinstance(event, zmtp.Ping) for event in peer.events)
        with place.tls_socket(place.profile("b")) as connection:
            peer = TlsPeer(connection)
            enough = time.monotonic() + 3
            while time.monotonic() < enough:
                assert peer.ask("hello")["ok"]


@pytest.mark.heavy
def test_a_peer_that_answers_no_heartbeat_is_dropped(tmp_path: Path) -> None:
    with (
        studio(tmp_path, limits={"heartbeat_seconds": 0.5, "idle_seconds": 60}) as place,
        place.tls_socket(place.profile("b")) as connection,
    ):
        TlsPeer(connection)
        received = b""
        while chunk := connection.recv(4096):
            received += chunk
        assert b"\x04PING" in received


def test_requests_that_are_never_completed_are_dropped_over_tls(narrow: Studio) -> None:
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


def test_unread_answers_are_limited_over_tls(tmp_path: Path) -> None:
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


def test_a_client_that_asks_too_often_over_tls_waits_and_gets_every_answer(tmp_path: Path) -> None:
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


def test_frames_that_ask_for_nothing_but_take_time_count_as_well(tmp_path: Path) -> None:
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


@pytest.mark.heavy
def test_key_updates_count_as_work(tmp_path: Path) -> None:
    """OpenSSL by itself keeps reading as long as they arrive, and nobody else is answered meanwhile."""
    libssl = ctypes.CDLL(_ssl.__file__)  # and the library that it is linked with
    with studio(tmp_path, limits={**READY, "requests_per_second": 50}) as place:
        with place.tls_socket(place.profile("b")) as connection:
            peer = TlsPeer(connection)
            # `PySSLSocket` of Modules/_ssl.c: OpenSSL's own object comes after the object's header and the socket.
            handle = ctypes.c_void_p.from_address(id(connection._sslobj) + object.__basicsize__ + 8)  # type: ignore[attr-defined]
            began = time.monotonic()
            for _ in range(2000):
                assert libssl.SSL_key_update(handle, 0) == 1
                assert libssl.SSL_do_handshake(handle) == 1
            assert peer.ask("hello")["ok"]
            # 54,000 bytes that carry nothing; all but one record of them count as 500 requests.
            assert time.monotonic() - began > 5
        still_answers(place)
