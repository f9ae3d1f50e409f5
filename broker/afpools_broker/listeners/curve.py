"""CURVE: the REP side of REQ/REP as a libzmq ROUTER socket, so that no request waits behind a slow one.

Strategy: one thread owns every ZeroMQ socket (they may not be shared) and does no work that takes time: it answers from
memory, hands the rest to workers, and is woken through a socket pair when they are done. It is also the ZAP handler
(ZeroMQ RFC 27), so that a key list that changes is seen by the very next handshake, and it reads libzmq's own events,
because a peer that never got as far as ZAP deserves a log line too.

A key that is taken off the list while its connection is open: libzmq cannot close one peer of a ROUTER, so each
request's key is looked up again; from then on it gets nothing but `forbidden`.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import logging
import os
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue

import zmq
from zmq.utils import z85
from zmq.utils.monitor import recv_monitor_message

from ..credentials import CredentialRefused, Peer
from ..protocol import Code, encode_error
from . import Listener, ListenError, Shared, address_text, cannot_listen

log = logging.getLogger("afpools.connections")

_ZAP_ENDPOINT = "inproc://zeromq.zap.01"
_ZAP_DOMAIN = b"afpools"

# Requests are answered for so long between two looks at the other sockets: long enough to pay for the look, short
# enough that nobody's handshake or worker's answer is held up.
_BATCH_SECONDS = 0.005

# What stands before a request: routing id and an empty frame, and one more for each proxy on its way.
_MAX_ENVELOPE = 8

_HANDSHAKE_FAILURES: dict[int, str] = {
    zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH: "it does not encrypt with CURVE; that client lacks the broker's key",
    zmq.PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC: "it was encrypted for another broker; its server key is wrong",
    zmq.PROTOCOL_ERROR_ZMTP_KEY_EXCHANGE: "its CURVE keys do not belong together",
    zmq.PROTOCOL_ERROR_ZMTP_MALFORMED_COMMAND_HELLO: "it does not use CURVE as libzmq does",
}
_NOT_ZEROMQ = "it does not speak ZeroMQ (a browser or a scanner?)"

_EVENTS = (
    zmq.EVENT_ACCEPTED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)


@dataclass(frozen=True, slots=True)
class _Sender:
    peer: Peer
    connection: bytes
    frame: zmq.Frame

    @property
    def address(self) -> str:
        return str(self.frame.get("Peer-Address"))


class CurveListener(Listener):
    """Answers ZeroMQ clients over CURVE."""

    name = "CURVE"

    def __init__(self, address: str, port: int, shared: Shared) -> None:
        super().__init__(address, port, shared)
        self._done: SimpleQueue[tuple[Sequence[bytes], bytes]] = SimpleQueue()
        self._wake_out, self._wake_in = socket.socketpair()
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._stopping = False
        self._pending = 0
        self._peers: dict[int, str] = {}
        self._shaking_hands: dict[int, float] = {}
        self._failure: str | None = None
        self._said_forbidden: set[bytes] = set()
        self._thread = threading.Thread(target=self._run, name="afpools-curve", daemon=True)

    def bind(self) -> None:
        self._context = context = zmq.Context()
        # The ZAP handler must be there before the first handshake: without one libzmq lets every key in.
        self._zap = context.socket(zmq.ROUTER)
        self._zap.linger = 0
        self._zap.bind(_ZAP_ENDPOINT)
        router = self._router = context.socket(zmq.ROUTER)
        router.linger = 200
        router.curve_server = True
        router.curve_secretkey = self._credentials.curve_secret_key
        router.curve_publickey = self._credentials.curve_public_key
        router.zap_domain = _ZAP_DOMAIN
        # Twice the limit: what is a little too large gets an answer that says so, what is far too large is cut off.
        router.maxmsgsize = 2 * self._limits.message_bytes
        router.handshake_ivl = int(self._limits.handshake_seconds * 1000)
        router.heartbeat_ivl = int(self._limits.heartbeat_seconds * 1000)
        router.heartbeat_timeout = router.heartbeat_ttl = int(self._limits.heartbeat_seconds * 3000)
        router.rcvhwm = router.sndhwm = 1000
        router.backlog = 512
        self._monitor = router.get_monitor_socket(_EVENTS)
        ipv6 = ipaddress.ip_address(self.address).version == 6
        router.ipv6 = ipv6
        try:
            router.bind(f"tcp://[{self.address}]:{self.port}" if ipv6 else f"tcp://{self.address}:{self.port}")
        except zmq.ZMQError as error:
            raise ListenError(cannot_listen(self.name, self.address, self.port, error.errno or 0)) from None
        self.port = int(str(router.get_string(zmq.LAST_ENDPOINT)).rstrip("\0").rpartition(":")[2])

    def start(self) -> None:
        self._thread.start()

    def stop(self, *, wait: float) -> None:
        self._stopping = True
        if self._thread.is_alive():
            self._wake()
            self._thread.join(wait)
        else:
            self._close()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            self._wake_in.send(b"\0")

    def _run(self) -> None:
        poller = zmq.Poller()
        for source in (self._router, self._zap, self._monitor, self._wake_out):
            poller.register(source, zmq.POLLIN)
        reading = True
        while True:
            ready = dict(poller.poll())
            try:
                if self._wake_out.fileno() in ready:
                    self._wake_out.recv(4096)
                    self._send_done()
                if self._monitor in ready:
                    self._read_events()
                if self._zap in ready:
                    self._authenticate()
                if self._router in ready:
                    self._answer_some()
            except Exception:
                # A defect must not take the listener down with it.
                log.exception("CURVE: handling a message failed")
            if self._stopping:
                if reading:
                    # Not `unbind`: libzmq would end the connections that are there, and answers under way be lost.
                    poller.unregister(self._router)
                    reading = False
                if not self._pending:
                    break
        self._close()

    def _close(self) -> None:
        if self._context is not None:
            self._router.disable_monitor()
            for source in (self._router, self._zap, self._monitor):
                source.close()
            self._context.term()
            self._context = None
        self._wake_out.close()
        self._wake_in.close()

    # --- requests -------------------------------------------------------------------------------------------------

    def _answer_some(self) -> None:
        enough = time.monotonic() + _BATCH_SECONDS
        while time.monotonic() < enough:
            try:
                envelope = [self._router.recv(zmq.NOBLOCK)]
            except zmq.Again:
                return
            # Not `recv_multipart`: asking the last frame whether there are more is much cheaper than asking the socket.
            body = self._router.recv(copy=False)
            while body.more:
                envelope.append(body.bytes)
                body = self._router.recv(copy=False)
            self._answer_one(envelope, body)

    def _answer_one(self, envelope: Sequence[bytes], body: zmq.Frame) -> None:
        data = body.bytes
        connection = envelope[0]
        try:
            peer = self._credentials.curve_peer(str(body.get("User-Id")))
        except CredentialRefused as refused:
            self._note_forbidden(connection, body, str(refused))
            self._send(envelope, self._service.not_valid_any_more(data, str(refused)))
            return
        if len(data) > self._limits.message_bytes:
            self._send(envelope, self._service.too_large(len(data)))
            return
        if len(envelope) > _MAX_ENVELOPE:
            self._send(
                envelope[:2],
                encode_error(
                    "", Code.BAD_REQUEST, f"A request is one frame, not {len(envelope) - 1}. Send one object."
                ),
            )
            return
        answer = self._service.answer(_Sender(peer, connection, body), data)
        if isinstance(answer, bytes):
            self._send(envelope, answer)
            return

        def done(result: bytes) -> None:
            self._done.put((envelope, result))
            self._wake()

        self._pending += 1
        if not self._workers.submit(answer, done):
            self._pending -= 1
            self._send(envelope, self._service.too_busy(data))

    def _note_forbidden(self, connection: bytes, frame: zmq.Frame, reason: str) -> None:
        if connection not in self._said_forbidden:
            if len(self._said_forbidden) > 1000:
                self._said_forbidden.clear()
            self._said_forbidden.add(connection)
            self._refusals.refuse(self.name, str(frame.get("Peer-Address")), reason)

    def _send(self, envelope: Sequence[bytes], answer: bytes) -> None:
        # A peer that has gone, or that does not read its answers, loses them: ROUTER drops, and never waits.
        for frame in envelope:
            self._router.send(frame, zmq.SNDMORE)
        self._router.send(answer)

    def _send_done(self) -> None:
        with contextlib.suppress(Empty):
            while True:
                envelope, answer = self._done.get_nowait()
                self._pending -= 1
                self._send(envelope, answer)

    # --- connections ----------------------------------------------------------------------------------------------

    def _authenticate(self) -> None:
        """Answers one ZAP request: version, request id, domain, address, identity, mechanism, credentials."""
        *envelope, version, request_id, _domain, address, _identity, mechanism, key = self._zap.recv_multipart()
        where = address.decode(errors="replace")
        status, text, user = b"400", b"refused", b""
        if mechanism != b"CURVE":
            self._refusals.refuse(self.name, where, "it does not use CURVE")
        elif self._stopping:
            status, text = b"300", b"stopping"
        elif self._statistics.connections[self.name] > self._limits.connections:
            # 300 means "try again later" to libzmq.
            status, text = b"300", b"too many connections"
            self._refusals.refuse(
                self.name, where, f"there are {self._limits.connections} connections already ([limits] connections)"
            )
        else:
            user = z85.encode(key)
            try:
                self._credentials.curve_peer(user.decode())
                status, text = b"200", b"OK"
            except CredentialRefused as refused:
                self._refusals.refuse(self.name, where, str(refused))
        self._zap.send_multipart([*envelope, version, request_id, status, text, user, b""])

    def _read_events(self) -> None:
        """Follows who comes and goes.

        libzmq's events do not tell all: a failed handshake carries no address, but the event right after it has the
        file descriptor; a peer that is no ZeroMQ at all is only seen to leave; and a handshake that succeeded does
        not say which, so the oldest is taken, which at worst swaps two peers that arrived within the same milliseconds.
        """
        with contextlib.suppress(zmq.Again):
            while True:
                event = recv_monitor_message(self._monitor, zmq.NOBLOCK)
                value = int(event["value"])
                match event["event"]:
                    case zmq.EVENT_ACCEPTED:
                        self._peers[value] = _peer_address(value)
                        self._shaking_hands[value] = time.monotonic()
                        self._statistics.connection(self.name, 1)
                    case zmq.EVENT_HANDSHAKE_SUCCEEDED:
                        self._shaking_hands.pop(next(iter(self._shaking_hands), -1), None)
                    case zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
                        self._failure = _HANDSHAKE_FAILURES.get(value, _NOT_ZEROMQ)
                    case zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                        self._failure = ""  # said already, by the ZAP handler
                    case zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
                        self._failure = "it hung up during the handshake, as a client without the broker's key may"
                        if value in (errno.ETIMEDOUT, errno.EAGAIN):
                            self._failure = (
                                f"it did not finish its handshake within {self._limits.handshake_seconds:g} seconds"
                            )
                    case zmq.EVENT_DISCONNECTED:
                        self._note_disconnected(value)

    def _note_disconnected(self, descriptor: int) -> None:
        where = self._peers.pop(descriptor, "an unknown address")
        began = self._shaking_hands.pop(descriptor, float("-inf"))
        failure, self._failure = self._failure, None
        self._statistics.connection(self.name, -1)
        if failure is None and time.monotonic() < began + self._limits.handshake_seconds:
            failure = _NOT_ZEROMQ
        if failure:
            self._refusals.refuse(self.name, where, failure)


def _peer_address(descriptor: int) -> str:
    try:
        with socket.socket(fileno=os.dup(descriptor)) as connection:
            return address_text(*connection.getpeername()[:2])
    except OSError:  # gone already
        return "an unknown address"
