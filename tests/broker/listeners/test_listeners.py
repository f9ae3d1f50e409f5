"""Both transports: a peer gets answers or leaves one understandable line, and the others never notice."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import logging
import shutil
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
import zmq.auth
from tests.studio import Studio, settings, studio

from afpools import BrokerUnreachable, Client, zmtp
from afpools.profile import Profile
from afpools_broker.broker import Broker
from afpools_broker.listeners import ListenError
from afpools_broker.protocol import Role
from afpools_tools.credentials.authority import Authority

FIVE = ["pc-[01-05]"]


def request(op: str, **params: Any) -> bytes:
    return json.dumps({"v": 1, "id": "1", "op": op, "params": params}).encode()


def ask(sock: zmq.SyncSocket, op: str, **params: Any) -> dict[str, Any]:
    sock.send(request(op, **params))
    return json.loads(sock.recv())


class TlsPeer:
    """ZMTP inside TLS, as a client speaks it."""

    def __init__(self, connection: ssl.SSLSocket) -> None:
        self.connection = connection
        self.zmtp = zmtp.Connection(
            socket_type="REQ", as_server=False, accepts=frozenset({"REP", "ROUTER"}), max_message=1 << 26
        )
        self.events: list[zmtp.Event] = []
        self.flush()
        while not self.zmtp.ready:
            self.read()

    def flush(self) -> None:
        data = self.zmtp.data_to_send()
        if data:
            self.connection.sendall(data)

    def read(self) -> None:
        data = self.connection.recv(65536)
        if not data:
            raise EOFError
        self.events += self.zmtp.receive_data(data)
        self.flush()

    def ask_raw(self, data: bytes) -> dict[str, Any]:
        self.zmtp.send_message([b"", data])
        self.flush()
        while True:
            while self.events:
                event = self.events.pop(0)
                if isinstance(event, zmtp.Message):
                    return json.loads(event.frames[-1])
            self.read()

    def ask(self, op: str, **params: Any) -> dict[str, Any]:
        return self.ask_raw(request(op, **params))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Studio]:
    with studio(tmp_path, limits={"handshake_seconds": 30}) as made:
        yield made


@pytest.fixture
def hasty(tmp_path: Path) -> Iterator[Studio]:
    """A broker that does not wait long for a handshake, but long enough for those that are not meant to fail."""
    with studio(tmp_path, limits={"handshake_seconds": 2}) as made:
        yield made


@pytest.fixture
def refusals(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """The log lines about peers that were refused, waited for until there is one."""
    caplog.set_level(logging.INFO)

    def lines() -> list[str]:
        wait_for(lambda: [r for r in caplog.records if r.name == "afpools.connections"])
        return [r.getMessage() for r in caplog.records if r.name == "afpools.connections"]

    return lines


def wait_for(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
    return value


def silent(sock: zmq.SyncSocket) -> bool:
    """Whether a ZeroMQ socket gets no answer. libzmq retries a refused handshake forever and says nothing."""
    # Sending waits as well: a socket whose handshake failed for good has nobody left to send to.
    sock.rcvtimeo = sock.sndtimeo = 400
    try:
        sock.send(request("hello"))
        sock.recv()
    except zmq.Again:
        return True
    finally:
        sock.close()
    return False


def closed(connection: socket.socket) -> bool:
    """Whether the broker hangs up; libzmq says its own greeting first."""
    try:
        while connection.recv(4096):
            pass
    except TimeoutError:
        return False
    except (ConnectionResetError, ssl.SSLError, BrokenPipeError):
        pass
    return True


def still_answers(place: Studio) -> None:
    with place.curve_request(place.profile("witness")) as sock:
        assert ask(sock, "hello")["ok"]
    with place.tls_socket(place.profile("witness")) as connection:
        assert TlsPeer(connection).ask("hello")["ok"]


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


@pytest.mark.parametrize("cut", [0, 1, 2, 3, 4, 40])
def test_over_tls_requests_are_answered_in_their_order_however_they_arrive(place: Studio, cut: int) -> None:
    ping = b"\x04\x0a\x04PING\x00\x00abc"
    padding = " " * 300  # a frame of more than 255 bytes has another header
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
        # Each in a record of its own, or its end together with the next one's beginning; PINGs between them.
        data = b"".join(frame + ping * (number % 2) for number, frame in enumerate(framed))
        ends = [sum(map(len, framed[: number + 1])) + len(ping) * ((number + 1) // 2) + cut for number in range(6)]
        for start, end in zip([0, *ends], [*ends[:-1], len(data)], strict=False):
            if data[start:end]:
                connection.sendall(data[start:end])
        while sum(isinstance(event, zmtp.Message) for event in peer.events) < len(requests):
            peer.read()
    answers = [json.loads(event.frames[-1]) for event in peer.events if isinstance(event, zmtp.Message)]
    assert [(answer["id"], answer["ok"]) for answer in answers] == [(str(number), True) for number in range(6)]


def test_the_role_is_in_the_credential_on_both_ways_in(place: Studio, refusals: Any, caplog: Any) -> None:
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


def test_requests_of_a_dealer_are_answered_one_for_one(place: Studio) -> None:
    with place.curve_request(place.profile("b"), kind=zmq.DEALER) as dealer:
        for number in range(300):
            dealer.send_multipart([b"", json.dumps({"v": 1, "id": str(number), "op": "hello"}).encode()])
        answers = [json.loads(dealer.recv_multipart()[1]) for _ in range(300)]
    assert [answer["id"] for answer in answers] == [str(number) for number in range(300)]


# --- who is not -----------------------------------------------------------------------------------------------------


def test_curve_without_a_key(place: Studio, refusals: Any) -> None:
    sock = zmq.Context.instance().socket(zmq.REQ)
    sock.linger = 0
    sock.connect(f"tcp://127.0.0.1:{place.curve_port}")
    assert silent(sock)
    # On loopback the peer may be gone before its address can be asked for.
    # Which side notices first is chance.
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


def test_tls_certificate_revoked_while_connected(place: Studio, refusals: Any) -> None:
    with place.tls_socket(place.profile("leaver")) as connection:
        assert TlsPeer(connection).ask("hello")["ok"]
        place.authority.revoke("leaver")
        connection.settimeout(30)
        assert closed(connection)
    assert "closed: certificate of 'leaver' was revoked" in refusals()[0]
    still_answers(place)


def test_tls_with_a_revoked_certificate(place: Studio, refusals: Any) -> None:
    kept = place.folder / "kept"
    shutil.copytree(place.profile("leaver"), kept)
    place.authority.revoke("leaver")
    place.broker.credentials.refresh()
    with Client(Profile.load(str(kept))) as client, pytest.raises(BrokerUnreachable) as refused:
        client.hello()
    # Whoever is refused is told why, and so is whoever runs the broker.
    assert "certificate of 'leaver' was revoked" in str(refused.value)
    assert "certificate of 'leaver' was revoked" in refusals()[0]
    still_answers(place)


def test_tls_with_an_expired_certificate(place: Studio, refusals: Any) -> None:
    past = Authority.open(
        place.folder / "certs", clock=lambda: dt.datetime.now(dt.UTC) - dt.timedelta(days=800)
    ).issue_profile("old", Role.READER)
    with place.tls_socket(past) as connection:
        assert closed(connection)
    assert "certificate has expired" in refusals()[0]
    still_answers(place)


def test_tls_with_a_certificate_of_another_studio(place: Studio, refusals: Any, tmp_path: Path) -> None:
    foreign = Authority.create(tmp_path / "foreign")
    foreign.issue_broker("broker", ["127.0.0.1"])
    with place.tls_socket(foreign.issue_profile("anna", Role.MANAGER)) as connection:
        assert closed(connection)
    assert "its certificate is not accepted" in refusals()[0]
    still_answers(place)


def test_tls_without_a_certificate(place: Studio, refusals: Any) -> None:
    with place.tls_socket() as connection:
        assert closed(connection)
    assert "showed no client certificate" in refusals()[0]
    still_answers(place)


def test_tls_1_2_is_not_spoken(place: Studio, refusals: Any) -> None:
    with pytest.raises(ssl.SSLError):
        place.tls_socket(place.profile("b"), maximum_version=ssl.TLSVersion.TLSv1_2)
    assert "no TLS 1.3" in refusals()[0]
    still_answers(place)


@pytest.mark.parametrize("listener", ["TLS", "CURVE"])
def test_http_on_either_port(place: Studio, refusals: Any, listener: str) -> None:
    with socket.create_connection(("127.0.0.1", place.broker.port(listener)), timeout=30) as connection:
        # A browser keeps the connection open and waits.
        connection.sendall(b"GET / HTTP/1.1\r\nHost: broker\r\nUser-Agent: browser\r\nAccept: */*\r\n\r\n")
        assert closed(connection)
    assert f"{listener}: connection from " in refusals()[0]
    assert "browser or a scanner" in refusals()[0]
    still_answers(place)


def test_plain_zeromq_on_the_tls_port(place: Studio, refusals: Any) -> None:
    sock = zmq.Context.instance().socket(zmq.REQ)
    sock.linger = 0
    sock.connect(f"tcp://127.0.0.1:{place.tls_port}")
    assert silent(sock)
    assert "does not speak TLS" in refusals()[0]
    still_answers(place)


@pytest.mark.heavy
@pytest.mark.parametrize("listener", ["TLS", "CURVE"])
def test_a_peer_that_says_nothing_is_dropped(hasty: Studio, refusals: Any, listener: str) -> None:
    with socket.create_connection(("127.0.0.1", hasty.broker.port(listener)), timeout=30) as connection:
        assert closed(connection)
    assert "did not finish its handshake within 2 seconds" in refusals()[0]
    still_answers(hasty)


@pytest.mark.heavy
def test_tls_without_a_greeting_inside_is_dropped(hasty: Studio, refusals: Any) -> None:
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


# --- limits ---------------------------------------------------------------------------------------------------------


def test_a_request_a_little_too_large_is_told_so_and_a_huge_one_cut_off(tmp_path: Path) -> None:
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


@pytest.mark.parametrize("section", ["curve", "tls"])
def test_a_busy_port_is_named(tmp_path: Path, section: str) -> None:
    with studio(tmp_path) as place:
        port = place.curve_port if section == "curve" else place.tls_port
        broker = Broker(settings(tmp_path, {section: {"port": port}}))
        with pytest.raises(ListenError, match=rf"port {port}: the port is in use.*\[{section}\] port"):
            broker.start()
        still_answers(place)


@pytest.mark.parametrize("section", ["curve", "tls"])
def test_an_address_of_another_machine_is_named(tmp_path: Path, section: str) -> None:
    with studio(tmp_path) as place:
        ports = {"curve": {"port": 0}, "tls": {"port": 0}, section: {"address": "192.0.2.1"}}
        broker = Broker(settings(tmp_path, ports))
        with pytest.raises(ListenError, match=rf"192.0.2.1 port 0: .*\[{section}\] address"):
            broker.start()
        still_answers(place)
    # Nothing of it is left: the port that could be opened is free again.
    for listener in broker._listeners:
        if listener.port:
            socket.create_server((listener.address, listener.port)).close()
    broker.stop()  # harmless


def hold_writes(place: Studio, release: threading.Event) -> threading.Semaphore:
    """Makes each write of this broker wait for `release`; the semaphore says how many have begun."""
    begun, original = threading.Semaphore(0), place.broker.store.apply

    def held(change: Any) -> Any:
        begun.release()
        release.wait(60)
        return original(change)

    place.broker.store.apply = held  # type: ignore[method-assign]
    return begun


def test_stopping_finishes_a_write_under_way(tmp_path: Path) -> None:
    with studio(tmp_path) as place:
        manager, port = place.profile("anna", Role.MANAGER), place.tls_port
        release = threading.Event()
        begun = hold_writes(place, release)
        answers: list[dict[str, Any]] = []

        def write() -> None:
            other = place.profile("otto", Role.MANAGER)  # one client may not have all of the writers
            with place.tls_socket(manager) as connection, place.curve_request(other) as sock:
                sock.send(request("pools.create", pool="last but one", request_id="0"))
                answers.append(TlsPeer(connection).ask("pools.create", pool="last", request_id="1"))
                answers.append(json.loads(sock.recv()))

        with place.curve_request(manager) as idle, place.tls_socket(manager) as idle_tls:
            ask(idle, "hello")
            TlsPeer(idle_tls).ask("hello")
            writer = threading.Thread(target=write)
            writer.start()
            assert begun.acquire(timeout=30)
            assert begun.acquire(timeout=30)
            stopping = threading.Thread(target=place.broker.stop)
            stopping.start()
            wait_for(lambda: not _is_open(port))
            release.set()
            stopping.join(30)
            writer.join(30)
    assert [answer["ok"] for answer in answers] == [True, True]
    with studio(tmp_path) as again, again.curve_request(again.profile("b")) as sock:
        assert [p["name"] for p in ask(sock, "pools.list")["result"]["pools"]] == ["last", "last but one"]


@pytest.mark.heavy
def test_stopping_does_not_wait_for_a_write_that_hangs(tmp_path: Path) -> None:
    release = threading.Event()
    with studio(tmp_path) as place, place.curve_request(place.profile("anna", Role.MANAGER)) as sock:
        begun = hold_writes(place, release)
        sock.send(request("pools.create", pool="fx", request_id="0"))
        assert begun.acquire(timeout=30)
        stopping = threading.Thread(target=place.broker.stop)
        stopping.start()
        stopping.join(30)  # two seconds, as promised, and what a busy machine adds
        assert not stopping.is_alive()
        release.set()


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_reset_connection_leaves_nothing_behind(place: Studio) -> None:
    for _ in range(20):
        connection = socket.create_connection(("127.0.0.1", place.tls_port))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with contextlib.suppress(OSError):
            connection.send(b"\x16\x03")
        connection.close()
    with place.curve_request(place.profile("anna")) as sock:
        wait_for(lambda: ask(sock, "health")["result"]["connections"].get("TLS") == 0)
