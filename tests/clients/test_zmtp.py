"""The ZMTP core against literal bytes from ZeroMQ RFC 37, and against libzmq over plain TCP."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from afpools import zmtp
from afpools.zmtp import Connection, LocalProtocolError, Message, Ping, Pong, Ready, RemoteProtocolError

if TYPE_CHECKING:
    from afpools.zmtp import Event

# signature (10), version 3.1 (2), mechanism (20), as-server (1), filler (31)
GREETING = b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f" + b"\x03\x01" + b"NULL" + bytes(16) + b"\x00" + bytes(31)
GREETING_3_0 = GREETING[:11] + b"\x00" + GREETING[12:]
# As libzmq 4.3.5 sends it, recorded with a plain socket.
READY_REQ = b"\x04\x26\x05READY\x0bSocket-Type\x00\x00\x00\x03REQ\x08Identity\x00\x00\x00\x00"
READY_DEALER = b"\x04\x1c\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER"
HELLO = GREETING + READY_REQ


def server(max_message: int = 1000) -> Connection:
    return Connection(
        socket_type="ROUTER", as_server=True, accepts=frozenset({"REQ", "DEALER"}), max_message=max_message
    )


def ready_server(max_message: int = 1000, hello: bytes = HELLO) -> Connection:
    connection = server(max_message)
    connection.receive_data(hello)
    connection.data_to_send()
    return connection


# --- greeting and READY


READY_ROUTER = b"\x04\x1c\x05READY\x0bSocket-Type\x00\x00\x00\x06ROUTER"


def test_greeting_and_ready_are_queued_at_once() -> None:
    connection = server()
    assert connection.data_to_send() == GREETING[:32] + b"\x01" + bytes(31) + READY_ROUTER
    assert connection.data_to_send() == b""
    assert not connection.ready


def test_a_client_does_not_claim_to_be_a_server() -> None:
    client = Connection(socket_type="REQ", as_server=False, accepts=frozenset({"REP"}), max_message=1)
    assert client.data_to_send() == GREETING + b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03REQ"


def test_a_peer_that_waits_for_our_ready_gets_it_once() -> None:
    connection = server()
    connection.data_to_send()
    assert connection.receive_data(GREETING) == []
    assert connection.data_to_send() == b""


def test_the_peers_ready_opens_the_connection() -> None:
    connection = server()
    assert connection.receive_data(HELLO) == [Ready("REQ", {"socket-type": b"REQ", "identity": b""})]
    assert connection.ready


def test_names_of_properties_are_compared_without_case() -> None:
    connection = server()
    connection.receive_data(GREETING + READY_REQ.replace(b"Socket-Type", b"sOCKET-tYPE"))
    assert connection.ready


def test_the_as_server_bit_does_not_matter_with_null() -> None:
    connection = server()
    connection.receive_data(GREETING[:32] + b"\x01" + GREETING[33:] + READY_DEALER)
    assert connection.ready


@pytest.mark.parametrize("version", [b"\x03\x00", b"\x03\x01", b"\x03\x02", b"\x04\x00"])
def test_versions_from_3_0_on_are_accepted(version: bytes) -> None:
    connection = server()
    connection.receive_data(GREETING[:10] + version + GREETING[12:] + READY_REQ)
    assert connection.ready


# --- messages


@pytest.mark.parametrize(
    ("data", "frames"),
    [
        (b"\x00\x02hi", (b"hi",)),
        (b"\x00\x00", (b"",)),
        (b"\x01\x00\x00\x02hi", (b"", b"hi")),
        (b"\x01\x01a\x01\x00\x00\x01b", (b"a", b"", b"b")),
        (b"\x02\x00\x00\x00\x00\x00\x00\x01\x00" + b"x" * 256, (b"x" * 256,)),
        (b"\x03\x00\x00\x00\x00\x00\x00\x00\x01a\x00\x01b", (b"a", b"b")),
    ],
    ids=["short", "empty", "request", "three frames", "long", "long and more"],
)
def test_a_message_is_received(data: bytes, frames: tuple[bytes, ...]) -> None:
    assert ready_server().receive_data(data) == [Message(frames)]


@pytest.mark.parametrize(
    ("frames", "data"),
    [
        ([b"hi"], b"\x00\x02hi"),
        ([b"", b"hi"], b"\x01\x00\x00\x02hi"),
        ([b"x" * 255], b"\x00\xff" + b"x" * 255),
        ([b"x" * 256], b"\x02\x00\x00\x00\x00\x00\x00\x01\x00" + b"x" * 256),
        ([b"x" * 256, b""], b"\x03\x00\x00\x00\x00\x00\x00\x01\x00" + b"x" * 256 + b"\x00\x00"),
    ],
    ids=["short", "request", "longest short", "shortest long", "long and more"],
)
def test_a_message_is_sent(frames: list[bytes], data: bytes) -> None:
    connection = ready_server()
    connection.send_message(frames)
    assert connection.data_to_send() == data


def test_a_ping_between_two_frames_is_answered_and_the_message_stays_whole() -> None:
    connection = ready_server()
    data = b"\x01\x01a" + b"\x04\x07\x04PING\x00\x00" + b"\x00\x01b"
    assert connection.receive_data(data) == [Ping(0.0, b""), Message((b"a", b"b"))]


# --- heartbeats


def test_a_ping_is_answered_with_its_context() -> None:
    connection = ready_server()
    assert connection.receive_data(b"\x04\x0a\x04PING\x00\x19abc") == [Ping(2.5, b"abc")]
    assert connection.data_to_send() == b"\x04\x08\x04PONGabc"


def test_a_ping_is_sent_with_its_ttl_in_tenths_of_a_second() -> None:
    connection = ready_server()
    connection.send_ping(2.5, b"abc")
    assert connection.data_to_send() == b"\x04\x0a\x04PING\x00\x19abc"
    assert connection.receive_data(b"\x04\x08\x04PONGabc") == [Pong(b"abc")]


def test_a_peer_of_version_3_0_is_not_sent_pings() -> None:
    connection = ready_server(hello=GREETING_3_0 + READY_REQ)
    connection.send_ping(2.5)
    assert connection.data_to_send() == b""


def test_unknown_commands_are_skipped() -> None:
    assert ready_server().receive_data(b"\x04\x0b\x09SUBSCRIBEx\x04\x05\x04BLAH\x00\x02hi") == [Message((b"hi",))]


# --- what the peer may not do


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", r"not a ZeroMQ peer: got b'GET / HTTP/1\.1\\r\\n"),
        (b"\x16\x03\x01", "not a ZeroMQ peer"),
        (GREETING[:9] + b"\x7e", "not a ZeroMQ peer"),
        (b"\x01\x00", "ZMTP 1 "),
        (GREETING[:10] + b"\x00", "ZMTP 1 "),
        (GREETING[:10] + b"\x01\x03", "ZMTP 2 "),
        (GREETING[:10] + b"\x02", "ZMTP 2 "),
        (GREETING[:12] + b"NULL" + bytes(15) + b"X", r"mechanism 'NULL\\x00.*X', only NULL"),
        (GREETING[:12] + b"CURVE" + bytes(15), "mechanism 'CURVE', only NULL"),
        (GREETING[:12] + b"PLAIN\n".ljust(20, b"\0"), r"mechanism 'PLAIN\\n', only NULL"),
        (GREETING + b"\x00\x02hi", "a message before READY"),
        (GREETING + b"\x04\x06\x05HELLO", "'HELLO' before READY"),
        (GREETING + b"\x04\x0d\x05ERROR\x06no way", "refused the connection: no way"),
        (GREETING + b"\x04\x06\x05ERROR", "refused the connection: it gives no reason"),
        (GREETING + b"\x04\x06\x05READY", "without Socket-Type"),
        (GREETING + b"\x04\x12\x05READY\x0bSocket-Type", "cut short"),
        (GREETING + b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x04REQ", "cut short"),
        (GREETING + b"\x04\x0b\x05READY\x00\x00\x00\x00\x00", "cut short"),
        (GREETING + b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03SUB", "'SUB' socket, only DEALER and REQ"),
        (HELLO + b"\x08\x00", "flags 0x08"),
        (HELLO + b"\x05\x05\x04PING", "flags 0x05"),
        (HELLO + b"\x04\x00", "command without a name"),
        (HELLO + b"\x04\x02\x00x", "command without a name"),
        (HELLO + b"\x04\x02\x05x", "command without a name"),
        (HELLO + b"\x04\x06\x04PING\x00", "PING of 1 bytes"),
        (HELLO + b"\x04\x18\x04PING\x00\x00" + b"x" * 17, "PING of 19 bytes"),
        (HELLO + b"\x06" + (zmtp.MAX_COMMAND + 1).to_bytes(8, "big"), "command of 8193 bytes"),
        (HELLO + b"\x04\x0d\x05ERROR\x06no way", "refused the connection: no way"),
        (HELLO + b"\x04\x0d\x05ERROR\x02no way", "refused the connection: no$"),
        (HELLO + b"\x02" + (1001).to_bytes(8, "big"), "message of 1001 bytes or more, at most 1000"),
        (HELLO + b"\x02" + b"\xff" * 8, "message of 18446744073709551615 bytes"),
        (HELLO + b"\x03" + (999).to_bytes(8, "big") + b"x" * 999 + b"\x00\x02", "message of 1001 bytes"),
        (HELLO + b"\x01\x00" * zmtp.MAX_FRAMES, "more than 16 frames"),
    ],
)  # fmt: skip
def test_a_peer_is_refused(data: bytes, text: str) -> None:
    connection = server()
    with pytest.raises(RemoteProtocolError, match=text):
        connection.receive_data(data)
    assert not connection.ready
    with pytest.raises(RemoteProtocolError, match=text):
        connection.receive_data(b"\x00\x00")
    with pytest.raises(LocalProtocolError, match="broke the protocol"):
        connection.send_message([b"hi"])


def test_a_command_may_be_as_long_as_allowed_and_its_name_one_letter() -> None:
    body = b"\x01x" + bytes(zmtp.MAX_COMMAND - 2)
    command = b"\x06" + len(body).to_bytes(8, "big") + body
    assert ready_server().receive_data(command + b"\x00\x02hi") == [Message((b"hi",))]


def test_as_many_frames_as_allowed_are_received() -> None:
    [message] = ready_server().receive_data(b"\x01\x00" * (zmtp.MAX_FRAMES - 1) + b"\x00\x00")
    assert message == Message((b"",) * zmtp.MAX_FRAMES)


def test_the_limit_is_for_one_message_not_for_all() -> None:
    connection = ready_server(max_message=4)
    assert connection.receive_data(b"\x01\x02ab\x00\x02cd" * 2) == [Message((b"ab", b"cd"))] * 2


# --- what we may not do


def test_nothing_is_sent_before_the_peer_is_ready() -> None:
    connection = server()
    with pytest.raises(LocalProtocolError, match="introduced itself"):
        connection.send_message([b"hi"])
    with pytest.raises(LocalProtocolError, match="introduced itself"):
        connection.send_ping(1)


@pytest.mark.parametrize(("ttl", "context", "data"), [(0, b"", b"\0\0"), (6553.5, b"x" * 16, b"\xff\xff" + b"x" * 16)])
def test_a_ping_may_use_its_whole_range(ttl: float, context: bytes, data: bytes) -> None:
    connection = ready_server()
    connection.send_ping(ttl, context)
    assert connection.data_to_send() == bytes([4, 5 + len(data)]) + b"\x04PING" + data


def test_no_error_is_sent_to_an_admitted_peer() -> None:
    connection = ready_server()
    with pytest.raises(LocalProtocolError, match="the handshake"):
        connection.send_error("too late")
    assert connection.data_to_send() == b""


@pytest.mark.parametrize(("ttl", "context"), [(-1, b""), (6553.6, b""), (1, b"x" * 17)])
def test_a_ping_out_of_range_is_refused(ttl: float, context: bytes) -> None:
    with pytest.raises(LocalProtocolError, match="PING"):
        ready_server().send_ping(ttl, context)


def test_a_message_without_frames_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="at least one frame"):
        ready_server().send_message([])


# --- however the bytes come


def frame(body: bytes, *, more: bool, long: bool) -> bytes:
    if long or len(body) > 255:
        return bytes([2 | more]) + len(body).to_bytes(8, "big") + body
    return bytes([0 | more, len(body)]) + body


@st.composite
def conversations(draw: st.DrawFn) -> tuple[bytes, list[Event]]:
    """What a well-behaved peer may send, and what it means."""
    data = HELLO
    events: list[Event] = [Ready("REQ", {"socket-type": b"REQ", "identity": b""})]
    for bodies in draw(st.lists(st.lists(st.binary(max_size=300), min_size=1, max_size=3), max_size=4)):
        if draw(st.booleans()):
            context = draw(st.binary(max_size=16))
            data += bytes([4, 7 + len(context)]) + b"\x04PING\x00\x0a" + context
            events.append(Ping(1.0, context))
        for number, body in enumerate(bodies):
            data += frame(body, more=number < len(bodies) - 1, long=draw(st.booleans()))
        events.append(Message(tuple(bodies)))
    return data, events


@settings(deadline=None)
@given(conversations(), st.data())
def test_any_split_of_the_bytes_gives_the_same_events(
    conversation: tuple[bytes, list[Event]], data: st.DataObject
) -> None:
    whole, expected = conversation
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=30)))
    connection = server(max_message=3000)
    events: list[Event] = []
    for start, stop in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        events += connection.receive_data(whole[start:stop])
    assert events == expected
    assert connection.data_to_send() == _all_at_once(whole)


def _all_at_once(whole: bytes) -> bytes:
    connection = server(max_message=3000)
    connection.receive_data(whole)
    return connection.data_to_send()


@settings(deadline=None)
@given(conversations())
def test_byte_by_byte_gives_the_same_events(conversation: tuple[bytes, list[Event]]) -> None:
    whole, expected = conversation
    connection = server(max_message=3000)
    events = [event for byte in whole for event in connection.receive_data(bytes([byte]))]
    assert events == expected


@settings(deadline=None)
@given(st.sampled_from([0, 12, 64, len(HELLO)]), st.lists(st.binary(max_size=100), max_size=10))
def test_random_bytes_raise_nothing_but_the_peers_error(valid: int, chunks: list[bytes]) -> None:
    connection = server()
    connection.receive_data(HELLO[:valid])
    for chunk in chunks:
        with contextlib.suppress(RemoteProtocolError):
            connection.receive_data(chunk)


@settings(deadline=None)
@given(conversations(), st.data())
def test_a_damaged_conversation_raises_nothing_but_the_peers_error(
    conversation: tuple[bytes, list[Event]], data: st.DataObject
) -> None:
    damaged = bytearray(conversation[0])
    for place in data.draw(st.lists(st.integers(0, len(damaged) - 1), min_size=1, max_size=4)):
        damaged[place] = data.draw(st.integers(0, 255))
    with contextlib.suppress(RemoteProtocolError):
        server().receive_data(bytes(damaged))


def test_bytes_that_trickle_in_take_linear_time() -> None:
    def seconds(size: int) -> float:
        connection = ready_server(max_message=10**7)
        data = b"\x02" + size.to_bytes(8, "big") + bytes(size)
        began = time.thread_time()  # not affected by other processes on this machine
        events = [event for at in range(0, len(data), 4) for event in connection.receive_data(data[at : at + 4])]
        assert len(events) == 1
        return time.thread_time() - began

    small = min(seconds(100_000) for _ in range(3))
    large = min(seconds(800_000) for _ in range(3))
    assert large < small * 24  # eight times the bytes; quadratic would be 64 times the work


# --- libzmq as the peer


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    made = zmq.Context()
    yield made
    made.destroy(linger=0)


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        made.settimeout(10)
        yield made


def pump(connection: Connection, plain: socket.socket, until: Callable[[list[Event]], bool]) -> list[Event]:
    """Moves bytes until the events are as a test expects."""
    plain.settimeout(10)
    seen: list[Event] = []
    while True:
        plain.sendall(connection.data_to_send())
        if until(seen):
            return seen
        data = plain.recv(65536)
        assert data, f"libzmq hung up after {seen}"
        seen += connection.receive_data(data)


def messages(events: list[Event]) -> list[Message]:
    return [event for event in events if isinstance(event, Message)]


@pytest.mark.parametrize("size", [0, 5, 255, 256, 100_000])
def test_a_libzmq_req_socket_is_answered(
    context: zmq.Context[zmq.Socket[bytes]], listening: socket.socket, size: int
) -> None:
    req = context.socket(zmq.REQ)
    req.connect(f"tcp://127.0.0.1:{listening.getsockname()[1]}")
    req.send(b"q" * size)
    with listening.accept()[0] as plain:
        connection = server(max_message=200_000)
        events = pump(connection, plain, lambda seen: bool(messages(seen)))
        assert events[0] == Ready("REQ", {"socket-type": b"REQ", "identity": b""})
        assert messages(events) == [Message((b"", b"q" * size))]
        connection.send_message([b"", b"a" * size])
        pump(connection, plain, lambda seen: True)
        assert req.poll(10_000)
        assert req.recv() == b"a" * size


def test_libzmqs_heartbeats_are_answered(context: zmq.Context[zmq.Socket[bytes]], listening: socket.socket) -> None:
    req = context.socket(zmq.REQ)
    req.heartbeat_ivl = 20
    req.heartbeat_timeout = 200
    monitor = req.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    req.connect(f"tcp://127.0.0.1:{listening.getsockname()[1]}")
    with listening.accept()[0] as plain:
        connection = server()
        began = time.monotonic()
        events = pump(connection, plain, lambda seen: time.monotonic() > began + 0.5)
        assert [event for event in events if isinstance(event, Ping)]
        assert not monitor.poll(0)
        req.disable_monitor()


def test_libzmq_answers_our_ping(context: zmq.Context[zmq.Socket[bytes]], listening: socket.socket) -> None:
    dealer = context.socket(zmq.DEALER)
    dealer.connect(f"tcp://127.0.0.1:{listening.getsockname()[1]}")
    with listening.accept()[0] as plain:
        connection = server()
        pump(connection, plain, lambda seen: connection.ready)
        connection.send_ping(10, b"still there?")
        assert pump(connection, plain, bool) == [Pong(b"still there?")]


@pytest.mark.parametrize("kind", [zmq.REP, zmq.ROUTER])
def test_libzmq_servers_answer_our_client(context: zmq.Context[zmq.Socket[bytes]], kind: int) -> None:
    peer = context.socket(kind)
    port = peer.bind_to_random_port("tcp://127.0.0.1")

    def echo() -> None:
        frames = peer.recv_multipart()
        peer.send_multipart([*frames[:-1], frames[-1].upper()])

    thread = threading.Thread(target=echo)
    thread.start()
    with socket.create_connection(("127.0.0.1", port)) as plain:
        client = Connection(socket_type="REQ", as_server=False, accepts=frozenset({"REP", "ROUTER"}), max_message=10**6)
        pump(client, plain, lambda seen: client.ready)
        client.send_message([b"", b"question" * 100])
        assert pump(client, plain, bool) == [Message((b"", b"QUESTION" * 100))]
    thread.join(10)


def test_the_mechanism_that_libzmq_offers_is_named(
    context: zmq.Context[zmq.Socket[bytes]], listening: socket.socket
) -> None:
    req = context.socket(zmq.REQ)
    req.curve_publickey, req.curve_secretkey = zmq.curve_keypair()
    req.curve_serverkey = zmq.curve_keypair()[0]
    req.connect(f"tcp://127.0.0.1:{listening.getsockname()[1]}")
    connection = server()
    with listening.accept()[0] as plain:
        # Only signature and version: if libzmq saw our mechanism, it would hang up before naming its own.
        plain.sendall(connection.data_to_send()[:12])
        greeting = b""
        while len(greeting) < 64:
            greeting += plain.recv(65536)
    with pytest.raises(RemoteProtocolError, match="'CURVE'"):
        connection.receive_data(greeting)


def test_an_error_in_place_of_ready_tells_a_peer_why_it_is_rejected() -> None:
    server = zmtp.Connection(socket_type="ROUTER", as_server=True, accepts=frozenset({"REQ"}), max_message=100)
    server.send_error("revoked")
    assert server.data_to_send()[64:] == b"\x04\x0e\x05ERROR\x07revoked"
    client = zmtp.Connection(socket_type="REQ", as_server=False, accepts=frozenset({"ROUTER"}), max_message=100)
    server.send_error("why " * 200)
    with pytest.raises(zmtp.RemoteProtocolError, match="why why"):
        client.receive_data(
            zmtp.Connection(
                socket_type="ROUTER", as_server=True, accepts=frozenset({"REQ"}), max_message=100
            ).data_to_send()[:64]
            + server.data_to_send()
        )
