"""Connections over TLS and CURVE: whom they trust, what they say about one that fails, and how long it takes."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import zmq
import zmq.auth
from tests.clients.conftest import StartBroker, unreachable, within
from tests.clients.scripted_broker import HELLO, ScriptedBroker, Studio, Talk
from zmq.auth.thread import ThreadAuthenticator

from afpools import Client, Endpoint, ProfileError, zmtp
from afpools.transport import _refused_key

# --- TLS


def test_a_port_without_tls_is_recognised(studio: Studio) -> None:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        port = router.bind_to_random_port("tcp://127.0.0.1")
        assert "does not speak TLS (is it the port for CURVE?)" in unreachable(
            Client(studio.profile(f"tls://127.0.0.1:{port}"))
        )


def test_a_broker_without_tls_1_3_is_not_used(studio: Studio, start: StartBroker) -> None:
    broker = start(newest_tls=ssl.TLSVersion.TLSv1_2)
    assert "it does not speak TLS 1.3" in unreachable(Client(studio.profile(broker.url)))
    assert not broker.requests


# --- certificates


def test_an_expired_certificate_of_the_broker_is_named(studio: Studio, start: StartBroker) -> None:
    broker = start(certificate=studio.issue("old", "127.0.0.1", days=-1))
    assert "the broker's certificate has expired" in unreachable(Client(studio.profile(broker.url)))


def test_a_broker_of_another_studio_is_not_trusted(studio: Studio, start: StartBroker, tmp_path: Path) -> None:
    foreign = Studio(tmp_path / "foreign").issue("broker", "127.0.0.1")
    broker = start(certificate=foreign)
    assert "not from the authority in our ca.pem" in unreachable(Client(studio.profile(broker.url)))


def test_a_certificate_that_breaks_the_rules_for_certificates_is_not_trusted(
    studio: Studio, start: StartBroker
) -> None:
    broker = start(certificate=studio.issue("broker", "127.0.0.1", names_key=False))
    assert "certificate is not accepted: Missing Authority Key Identifier" in unreachable(
        Client(studio.profile(broker.url))
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_certificate_for_another_name_is_not_trusted(studio: Studio, start: StartBroker, host: str) -> None:
    broker = start(certificate=studio.issue("other", "broker.lan"))
    text = unreachable(Client(studio.profile(f"tls://{host}:{broker.port}")))
    assert f"the broker's certificate is not for '{host}'" in text


def test_a_common_name_does_not_stand_in_for_a_name(studio: Studio, start: StartBroker) -> None:
    broker = start(certificate=studio.issue("localhost"))
    assert "is not for 'localhost'" in unreachable(Client(studio.profile(f"tls://localhost:{broker.port}")))


@pytest.mark.parametrize(("days", "text"), [(-1, "our certificate expired on 20"), (1, "client.pem: unknown ca")])
def test_a_refused_client_certificate_is_named(
    studio: Studio, start: StartBroker, tmp_path: Path, days: int, text: str
) -> None:
    issuer = studio if days < 0 else Studio(tmp_path / "foreign")
    profile = studio.profile(start().url, client=issuer.issue("client", days=days))
    assert text in unreachable(Client(profile))


def test_a_broker_that_hangs_up_after_the_handshake_gives_a_hint(studio: Studio, start: StartBroker) -> None:
    # As the real one does with a revoked certificate, which it detects after the handshake.
    class Hanging(ScriptedBroker):
        def _talk(self, connection: Any) -> None:
            connection.close()

    with Hanging(studio) as broker:
        text = unreachable(Client(studio.profile(broker.url)))
        assert "may not accept our certificate (revoked?), or be full or stopping" in text


def error_command(reason: bytes) -> bytes:
    body = b"\x05ERROR" + bytes((len(reason),)) + reason
    return bytes((4, len(body))) + body


@pytest.mark.parametrize("in_handshake", [True, False])
def test_a_brokers_reason_for_refusing_us_is_quoted_and_the_next_is_asked(
    studio: Studio, start: StartBroker, in_handshake: bool
) -> None:
    reason = "It has 40 connections of 'anna' already, which is its share. Close some."

    class Full(ScriptedBroker):
        def _talk(self, connection: Any) -> None:
            ours = zmtp.Connection(socket_type="ROUTER", as_server=True, accepts=frozenset({"REQ"}), max_message=99)
            greeting = ours.data_to_send()
            connection.sendall((greeting[:64] if in_handshake else greeting) + error_command(reason.encode()))
            while connection.recv(100):
                pass

    other = start()
    with Full(studio) as full:
        text = unreachable(Client(studio.profile(full.url)))
        assert text == f"No broker answered. {full.url}: the broker refused the connection: {reason}"
        with Client(studio.profile(full.url, other.url)) as client:
            client.hello()


def test_a_connection_ended_with_a_reason_while_it_was_idle_is_replaced(studio: Studio, start: StartBroker) -> None:
    def script(talk: Talk, request: dict[str, Any]) -> None:
        talk.answer(request, HELLO)
        if len(broker.requests) == 1:
            talk.socket.sendall(error_command(b"idle for too long"))
            talk.close()

    broker = start(script)
    with Client(studio.profile(broker.url)) as client:
        client.hello()
        client.hello()
    assert broker.accepted == 2


def test_a_renewed_certificate_counts_at_the_next_connection(studio: Studio, start: StartBroker) -> None:
    broker = start()
    profile = studio.profile(broker.url, client=studio.issue("anna", days=-1))
    client = Client(profile)
    assert "expired" in unreachable(client)
    shutil.copy(studio.issue("anna"), profile.client_file)
    client.hello()
    client.close()


@pytest.mark.parametrize("name", ["ca.pem", "client.pem"])
def test_a_file_that_is_not_a_certificate_is_named(studio: Studio, start: StartBroker, name: str) -> None:
    profile = studio.profile(start().url)
    Path(profile.folder, name).write_text("rubbish")
    with pytest.raises(ProfileError, match=f"{name} does not hold a certificate"):
        Client(profile).hello()


def test_a_key_with_a_passphrase_is_an_error_rather_than_a_prompt(studio: Studio, start: StartBroker) -> None:
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
        load_pem_private_key,
    )

    profile = studio.profile(start().url)
    path = Path(profile.client_file)
    key = load_pem_private_key(path.read_bytes(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    path.write_bytes(path.read_bytes().partition(b"-----BEGIN PRIVATE KEY")[0] + locked)
    with pytest.raises(ProfileError, match="has a passphrase"):
        Client(profile).hello()


# --- names


@pytest.mark.heavy
def test_a_silent_address_leaves_time_for_the_next_address(
    studio: Studio, start: StartBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = start()
    with socket.socket() as full, ExitStack() as stack:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        # Linux drops all but one connection waiting to be accepted.
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        addresses = [
            (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port))
            for port in (full.getsockname()[1], broker.port)
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)
        with Client(studio.profile(f"tls://localhost:{broker.port}"), timeout=4.0) as client:
            client.hello()


# --- CURVE


@pytest.fixture
def curve(tmp_path: Path) -> Iterator[tuple[Endpoint, Path]]:
    """A libzmq ROUTER that says hello over CURVE, and the client's key file that it accepts."""
    keys = tmp_path / "listed"
    keys.mkdir()
    _, secret_file = zmq.auth.create_certificates(keys, "client")
    context = zmq.Context()
    authenticator = ThreadAuthenticator(context)
    authenticator.start()
    authenticator.configure_curve(domain="*", location=str(keys))
    router = context.socket(zmq.ROUTER)
    public, router.curve_secretkey = zmq.curve_keypair()
    router.curve_server = True
    port = router.bind_to_random_port("tcp://127.0.0.1")
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            if router.poll(20):
                *envelope, body = router.recv_multipart()
                answer = {"v": 1, "id": json.loads(body)["id"], "ok": True, "result": HELLO}
                router.send_multipart([*envelope, json.dumps(answer).encode()])
        router.close(0)

    thread = threading.Thread(target=serve)
    thread.start()
    yield Endpoint(f"curve://127.0.0.1:{port}", public.decode()), Path(secret_file)
    stop.set()
    thread.join()
    authenticator.stop()
    context.destroy(0)


def test_a_curve_endpoint_is_used(studio: Studio, curve: tuple[Endpoint, Path]) -> None:
    endpoint, key = curve
    profile = studio.profile(endpoint)
    shutil.copy(key, profile.curve_file)
    with Client(profile) as client:
        for _ in range(3):
            assert client.hello().broker == "scripted"


def test_a_curve_key_that_is_not_listed_is_named(studio: Studio, curve: tuple[Endpoint, Path], tmp_path: Path) -> None:
    profile = studio.profile(curve[0])
    shutil.copy(zmq.auth.create_certificates(tmp_path, "other")[1], profile.curve_file)
    with within(3):
        assert "does not accept our CURVE key" in unreachable(Client(profile, timeout=3))


@contextmanager
def answering(status: bytes) -> Iterator[Endpoint]:
    """A libzmq ROUTER whose ZAP handler says the same about every key."""
    with zmq.Context() as context, context.socket(zmq.REP) as zap, context.socket(zmq.ROUTER) as router:
        zap.linger = router.linger = 0
        zap.bind("inproc://zeromq.zap.01")
        stop = threading.Event()

        def answer() -> None:
            while not stop.is_set():
                if zap.poll(20):
                    version, request_id, *_ = zap.recv_multipart()
                    zap.send_multipart([version, request_id, status, b"", b"", b""])

        thread = threading.Thread(target=answer)
        thread.start()
        public, router.curve_secretkey = zmq.curve_keypair()
        router.curve_server = True
        port = router.bind_to_random_port("tcp://127.0.0.1")
        try:
            yield Endpoint(f"curve://127.0.0.1:{port}", public.decode())
        finally:
            stop.set()
            thread.join()


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (b"400", "the broker does not accept our CURVE key (answer 400); is it listed there?"),
        (b"500", "the broker could not check our CURVE key (answer 500); its log says why"),
    ],
)
def test_a_brokers_verdict_on_a_curve_key_is_reported_and_the_next_is_asked(
    studio: Studio, start: StartBroker, status: bytes, text: str
) -> None:
    with answering(status) as refusing:
        profile = studio.profile(refusing)
        zmq.auth.create_certificates(profile.folder, "client")
        with within(0.5):
            assert text in unreachable(Client(profile, timeout=20))
        with Client(studio.profile(refusing, start().url), timeout=20) as client:
            client.hello()


@pytest.mark.heavy
def test_a_full_broker_over_curve_is_not_reported_as_refusing_our_key(studio: Studio, start: StartBroker) -> None:
    with answering(b"300") as full:
        profile = studio.profile(full)
        zmq.auth.create_certificates(profile.folder, "client")
        with within(2.0):
            told = unreachable(Client(profile, timeout=2.0))
        assert "is the broker full or stopping?" in told or "the broker may be full or stopping" in told
        assert "does not accept" not in told
        with Client(studio.profile(full, start().url), timeout=8.0) as client:
            client.hello()


def test_the_status_of_a_full_broker_is_not_a_refusal_of_the_key() -> None:
    assert _refused_key(300) == "the broker is full or stopping (answer 300); try again shortly"


def test_a_wrong_server_key_is_named(studio: Studio, curve: tuple[Endpoint, Path]) -> None:
    profile = studio.profile(curve[0]._replace(server_key=zmq.curve_keypair()[0].decode()))
    shutil.copy(curve[1], profile.curve_file)
    with within(3):
        assert "is server_key the broker's" in unreachable(Client(profile, timeout=3))


def test_a_closed_curve_port_costs_little_of_the_time(
    studio: Studio, start: StartBroker, curve: tuple[Endpoint, Path], closed_port: int
) -> None:
    profile = studio.profile(curve[0]._replace(url=f"curve://127.0.0.1:{closed_port}"), start().url)
    shutil.copy(curve[1], profile.curve_file)
    with within(0.5), Client(profile, timeout=20) as client:
        client.hello()


def test_a_curve_endpoint_is_skipped_without_a_key(
    studio: Studio, start: StartBroker, curve: tuple[Endpoint, Path]
) -> None:
    with Client(studio.profile(curve[0], start().url)) as client:
        client.hello()


def test_without_pyzmq_or_another_endpoint_the_error_says_so(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    profile = studio.profile(Endpoint("curve://127.0.0.1:5570", zmq.curve_keypair()[0].decode()))
    Path(profile.curve_file).touch()
    monkeypatch.setitem(sys.modules, "zmq", None)
    with pytest.raises(ProfileError, match=r"no endpoint that this program can use.*\n.*needs pyzmq"):
        Client(profile).hello()


@pytest.mark.parametrize(("broker", "named"), [("one", False), ("another", True)])
def test_a_skipped_endpoint_is_named_if_its_broker_could_not_be_tried_otherwise(
    studio: Studio, closed_port: int, broker: str, named: bool
) -> None:
    tls = Endpoint(f"tls://127.0.0.1:{closed_port}", None, "one")
    curve = Endpoint("curve://127.0.0.1:1", zmq.curve_keypair()[0].decode(), broker)
    told = unreachable(Client(studio.profile(tls, curve)))
    assert "refused" in told
    assert ("skipped" in told) is named


def test_an_endpoint_of_a_later_version_is_skipped(studio: Studio, start: StartBroker) -> None:
    with Client(studio.profile("quic://127.0.0.1:1", start().url)) as client:
        client.hello()
