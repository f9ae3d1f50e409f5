"""Both transports: a peer gets answers or leaves one understandable line, and the others never notice."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from pathlib import Path
from typing import Any

import pytest
import zmq
import zmq.auth
from tests.broker.listeners.peers import TlsPeer, ask, closed, request, still_answers, wait_for
from tests.studio import Studio, studio

from afpools_broker.protocol import Role

FIVE = ["pc-[01-05]"]


# --- who may connect ------------------------------------------------------------------------------------------------


def test_a_stock_req_socket_and_our_framing_over_tls_get_the_same_answer(place: Studio) -> None:
    with place.curve_request(place.profile("anna", Role.MANAGER)) as sock:
        ask(sock, "hosts.register", hosts=FIVE, request_id="1")
        ask(sock, "pools.create", pool="fx", hosts=["pc-01", "pc-03"], request_id="2")
        over_curve = ask(sock, "mask", pool="fx")
    with place.tls_socket(place.profile("blender")) as connection:
        over_tls = TlsPeer(connection).ask("mask", pool="fx")
    assert over_curve["result"]["mask"] == "pc-02|pc-04|pc-05"
    assert {**over_tls["result"], "age": 0} == {**over_curve["result"], "age": 0}


def test_the_role_comes_from_the_credential_on_both_transports(place: Studio, refusals: Any, caplog: Any) -> None:
    reader, manager = place.profile("blender"), place.profile("anna", Role.MANAGER)
    with place.curve_request(reader) as sock:
        assert ask(sock, "hello")["result"]["role"] == "reader"
        assert ask(sock, "pools.create", pool="x", request_id="1")["error"]["code"] == "forbidden"
    with place.tls_socket(reader) as connection:
        assert TlsPeer(connection).ask("pools.create", pool="x", request_id="1")["error"]["code"] == "forbidden"
    with place.tls_socket(manager) as connection:
        assert TlsPeer(connection).ask("pools.create", pool="x", request_id="1")["ok"]
    lines = [r.getMessage() for r in caplog.records if "asked for pools.create" in r.getMessage()]
    assert len(lines) == 1  # the second within a minute, by the same client
    assert all("'blender' (reader) at 127.0.0.1" in line for line in lines)


def test_many_clients_at_once_each_get_their_own_answer(place: Studio) -> None:
    manager = place.profile("anna", Role.MANAGER)
    with place.curve_request(manager) as sock:
        for number in range(10):
            ask(sock, "pools.create", pool=f"p{number}", hosts=[f"pc-[1-{number + 1}]"], request_id=f"{number}")
    wrong: list[object] = []

    def work(number: int) -> None:
        with contextlib.closing(place.curve_request(manager)) as sock, place.tls_socket(manager) as connection:
            peer = TlsPeer(connection)
            for turn in range(20):
                name = f"p{(number + turn) % 10}"
                answers = ask(sock, "pools.get", pool=name), peer.ask("pools.get", pool=name)
                wrong.extend(answer for answer in answers if answer["result"]["pool"]["name"] != name)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_slow_write_lets_other_requests_pass(place: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = place.profile("anna", Role.MANAGER)
    release, original = threading.Event(), place.broker.store.apply

    def slow(change: Any) -> Any:
        release.wait(5)
        return original(change)

    monkeypatch.setattr(place.broker.store, "apply", slow)
    with place.curve_request(manager) as writer, place.curve_request(manager) as reader:
        writer.send(request("pools.create", pool="fx", request_id="1"))
        assert ask(reader, "hello")["ok"]
        with place.tls_socket(manager) as connection:
            assert TlsPeer(connection).ask("hello")["ok"]
        release.set()
        assert json.loads(writer.recv())["ok"]


# --- who is not -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("listener", ["TLS", "CURVE"])
def test_http_on_either_port(place: Studio, refusals: Any, listener: str) -> None:
    with socket.create_connection(("127.0.0.1", place.broker.port(listener)), timeout=30) as connection:
        # A browser keeps the connection open and waits.
        connection.sendall(b"GET / HTTP/1.1\r\nHost: broker\r\nUser-Agent: browser\r\nAccept: */*\r\n\r\n")
        assert closed(connection)
    assert f"{listener}: connection from " in refusals()[0]
    assert "browser or a scanner" in refusals()[0]
    still_answers(place)


@pytest.mark.heavy
@pytest.mark.parametrize("listener", ["TLS", "CURVE"])
def test_a_peer_that_says_nothing_is_dropped(hasty: Studio, refusals: Any, listener: str) -> None:
    with socket.create_connection(("127.0.0.1", hasty.broker.port(listener)), timeout=30) as connection:
        assert closed(connection)
    assert "did not finish its handshake within 2 seconds" in refusals()[0]
    still_answers(hasty)


# --- limits ---------------------------------------------------------------------------------------------------------


def test_a_slightly_too_large_request_gets_an_answer_and_a_huge_one_is_cut_off(tmp_path: Path) -> None:
    with studio(tmp_path, limits={"message_bytes": 4096}) as place:
        little, huge = b" " * 5000, b" " * 100_000
        with place.curve_request(place.profile("b")) as sock:
            sock.send(little)
            assert json.loads(sock.recv())["error"]["code"] == "too_large"
        with place.curve_request(place.profile("b"), timeout=0.5) as sock:
            sock.send(huge)
            with pytest.raises(zmq.Again):
                sock.recv()
        with place.tls_socket(place.profile("b")) as connection:
            peer = TlsPeer(connection)
            assert peer.ask_raw(little)["error"]["code"] == "too_large"
            assert peer.ask("hello")["ok"]
            with pytest.raises((EOFError, OSError)):
                peer.ask_raw(huge)
        still_answers(place)


def test_a_client_that_does_not_read_does_not_hold_up_others(place: Studio) -> None:
    manager = place.profile("anna", Role.MANAGER)
    with place.curve_request(manager) as sock:
        ask(sock, "pools.create", pool="big", hosts=["pc-[00001-20000]"], request_id="1")
    with place.tls_socket(manager) as connection:
        peer = TlsPeer(connection)
        for _ in range(50):
            peer.zmtp.send_message([b"", request("pools.get", pool="big")])
        peer.flush()  # 50 answers of 200 kB, none of which is read
        still_answers(place)


# --- opening and stopping -------------------------------------------------------------------------------------------


def test_a_reset_connection_leaves_nothing_behind(place: Studio) -> None:
    for _ in range(20):
        connection = socket.create_connection(("127.0.0.1", place.tls_port))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with contextlib.suppress(OSError):
            connection.send(b"\x16\x03")
        connection.close()
    with place.curve_request(place.profile("anna")) as sock:
        wait_for(lambda: ask(sock, "health")["result"]["connections"].get("TLS") == 0)
