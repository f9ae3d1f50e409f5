"""CURVE: the REP side of REQ/REP as a libzmq ROUTER socket, so that no request waits behind a slow one.

Strategy: one thread owns every ZeroMQ socket (they must not be shared) and does no slow work: it answers from memory,
hands the rest to workers, and is woken through a socket pair when they are done. It is also the ZAP handler (ZeroMQ RFC
27), so that the very next handshake sees a changed key list. And it reads libzmq's own events, because a peer that
never got as far as ZAP deserves a log line, too.

libzmq does not say which credential a connection has before its first request, cannot close one peer of a ROUTER, and
counts messages rather than bytes. So each connection is followed from outside (curve_connections.py).

Every connection gets a routing id from us, in ZAP's answer, which libzmq uses as the peer's own. If two peers chose the
same id, libzmq would ignore the second and collect what it sends; and a peer that guessed the number that libzmq will
assign next could abort the process (`Assertion failed: ok (src/socket_base.cpp)`). libzmq keeps the id that it reads
last, so the answer must not come before libzmq has read what the peer itself says: see `_hold_until_read`.

Three options of the ROUTER keep peers away from libzmq's assertions and memory (tested by
tests/broker/listeners/test_hostile_peers.py; sources of libzmq 4.3.5):

- No high-water mark for incoming messages. At the mark libzmq stops reading the peer; if that peer then hangs up,
  the next PING aborts the process (`Assertion failed: !_io_error`), be it our own heartbeat's or one that the peer
  sent earlier. Without a mark the peer is always read, and this listener limits what it may send.
- No heartbeats from us. TCP keep-alive finds dead peers.
- ROUTER_MANDATORY. Without it an answer for a peer that does not read is dropped silently; with it we get an error.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import os
import select
import socket
import tempfile
import threading
import time
from collections.abc import Sequence
from queue import Empty, SimpleQueue

import zmq
from zmq.utils import z85
from zmq.utils.monitor import recv_monitor_message

from ..credentials.peers import CredentialRefused
from ..memory import give_back
from ..monitoring.peer_log import network_of
from ..operations import Sender
from ..protocol import Code, encode_error
from . import Listener, Shared
from .curve_connections import Connections, CurveConnection, Watch, own_routing_id, shut_unwatched
from .curve_failures import HANDSHAKE_FAILURES, NOT_ZEROMQ, unfinished
from .shares import Full

_ZAP_ENDPOINT = "inproc://zeromq.zap.01"
_ZAP_DOMAIN = b"afpools"
_MONITOR_ENDPOINT = "inproc://afpools-curve-events"

# Requests are answered for this long between two looks at the other sockets: long enough to pay for the look, short
# enough not to hold up anybody's handshake or worker's answer.
_BATCH_SECONDS = 0.005

# How often the bytes of each connection are counted. Until the next count a peer can send what the network carries:
# 12 MB over a gigabit.
_WATCH_SECONDS = 0.1
# How often each connection is checked for whether it is still allowed and still sends requests. A revocation must take
# effect within five seconds; the list of keys itself is checked once a second.
_SWEEP_SECONDS = 1.0

# A key that asks often is looked up in that list this often, and not for each request.
_SURE_SECONDS = 0.1

# How many connection events are handled before the other sockets get a turn: thousands at once are an attack.
_EVENTS_AT_ONCE, _ALL_EVENTS = 50, 1_000_000

# The frames before a request: routing id and an empty frame, and one more for each proxy on its way.
_MAX_ENVELOPE = 8

# How many answers libzmq keeps for one connection. A peer with more unread answers is disconnected.
_UNREAD_ANSWERS = 1000

# As plain numbers: combining pyzmq's flags for each frame takes longer than sending it.
_NOT_WAITING, _MORE = int(zmq.NOBLOCK), int(zmq.NOBLOCK | zmq.SNDMORE)

# As in `tls_connection`.
_SMALL_ANSWER = 4096

# After peers that held this many bytes have left, the C library is asked to return memory.
_WORTH_GIVING_BACK = 8 * 1024 * 1024

_EVENTS = (
    zmq.EVENT_ACCEPTED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)


class CurveListener(Listener):
    """Answers ZeroMQ clients over CURVE."""

    name = "CURVE"

    def __init__(self, address: str, port: int, shared: Shared) -> None:
        super().__init__(address, port, shared)
        self._done: SimpleQueue[tuple[CurveConnection, Sequence[bytes], bytes, bytes]] = SimpleQueue()
        self._wake_out, self._wake_in = socket.socketpair()
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._listening: socket.socket | None = None
        self._stopping = False
        self._pending = 0
        self._connections = Connections(shared.shares)
        self._failure: tuple[str, str] | None = None
        self._held: list[list[bytes]] = []
        self._echoes = 0
        self._freed = 0
        self._came_round = threading.Event()
        self._thread = threading.Thread(target=self._run, name="afpools-curve", daemon=True)

    def bind(self) -> None:
        self._context = context = zmq.Context()
        # The ZAP handler must exist before the first handshake: without one libzmq admits every key.
        self._zap = context.socket(zmq.ROUTER)
        self._zap.linger = 0
        self._zap.bind(_ZAP_ENDPOINT)
        self._echo_folder = tempfile.TemporaryDirectory(prefix="afpools-")
        self._echo, self._echoed = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
        self._echo.linger = self._echoed.linger = 0
        # In this order: a message sent at the connecting end waits for the other end.
        self._echoed.bind(f"ipc://{self._echo_folder.name}/echo")
        self._echo.connect(f"ipc://{self._echo_folder.name}/echo")
        router = self._router = context.socket(zmq.ROUTER)
        # pyzmq's `Socket.send` checks options for other socket types first, which takes longer than sending.
        self._send_frame = super(zmq.Socket, router).send
        router.linger = 200
        router.curve_server = True
        router.curve_secretkey = self._credentials.curve_secret_key
        router.curve_publickey = self._credentials.curve_public_key
        router.zap_domain = _ZAP_DOMAIN
        limits = self._shares.limits
        # Twice the limit: a request slightly too large gets an answer that says so, one far too large is cut off.
        router.maxmsgsize = 2 * limits.message_bytes
        router.handshake_ivl = int(limits.handshake_seconds * 1000)
        # These three: see the strategy above.
        router.rcvhwm = 0
        router.sndhwm = _UNREAD_ANSWERS
        router.router_mandatory = True
        seconds = max(1, math.ceil(limits.heartbeat_seconds))
        router.tcp_keepalive, router.tcp_keepalive_cnt = 1, 2
        router.tcp_keepalive_idle = router.tcp_keepalive_intvl = seconds
        router.monitor(_MONITOR_ENDPOINT, _EVENTS)
        self._monitor = context.socket(zmq.PAIR)
        self._monitor.linger = 0
        # With a mark, libzmq's own thread would wait here for us, and all peers for it.
        self._monitor.rcvhwm = 0
        self._monitor.connect(_MONITOR_ENDPOINT)
        # Opened here, so that the kernel can be told which addresses to block; libzmq accepts from it, and closes its
        # own copy.
        listening, self._doorkeeper = self._listen(dualstack=True)
        self._listening = listening
        router.setsockopt(zmq.USE_FD, os.dup(listening.fileno()))
        router.bind(f"tcp://127.0.0.1:{self.port}")  # the address is ignored then

    def start(self) -> None:
        self._thread.start()

    def comes_round(self, wait: float) -> bool:
        self._came_round.clear()
        self._wake()
        return self._came_round.wait(wait)

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
        # Not `zmq.Poller`, which takes as long as some requests. A libzmq descriptor reports something new only after
        # everything earlier has been read, so each socket is read until it is empty, also at the start.
        poller = select.poll()
        router, zap, echoed, monitor = (
            source.fileno() for source in (self._router, self._zap, self._echoed, self._monitor)
        )
        for descriptor in (router, zap, echoed, monitor, self._wake_out.fileno()):
            poller.register(descriptor, select.POLLIN)
        reading = True
        told_all = drained = False
        ready, missed = [zap, echoed], list[int]()
        watch_at = sweep_at = time.monotonic()
        while True:
            try:
                if self._wake_out.fileno() in ready:
                    self._wake_out.recv(4096)
                    self._send_done()
                    if not self._came_round.is_set():
                        self._came_round.set()
                if not told_all or monitor in ready:
                    told_all = self._read_events()
                if zap in ready:
                    self._hold_until_read()
                if echoed in ready:
                    self._authenticate()
                # Always: sending may have consumed the notice of what came in.
                drained = not reading or self._answer_some()
                now = time.monotonic()
                if now >= watch_at:
                    watch_at = now + _WATCH_SECONDS
                    self._doorkeeper.look(now)
                    self._watch(now, drained=drained)
                if now >= sweep_at:
                    sweep_at = now + _SWEEP_SECONDS
                    self._sweep(now)
            except Exception:  # noqa: BLE001 - logged with its traceback, but not as often as a peer likes
                # A bug must not take the listener down.
                self._peer_log.bug("", "CURVE", "CURVE: handling a message failed")
                told_all = drained = False
                missed = [zap, echoed]
            if self._stopping:
                if reading:
                    # Not `unbind`: libzmq would end the open connections, and answers in progress would be lost.
                    poller.unregister(router)
                    reading = False
                if not self._pending:
                    break
            is_busy = self._connections or self._doorkeeper.kept_out
            timeout = int(_WATCH_SECONDS * 1000) if is_busy else None
            ready = [*missed, *(one for one, _ in poller.poll(timeout if told_all and drained else 0))]
            missed = []
        self._close()

    def _close(self) -> None:
        if self._context is not None:
            self._router.disable_monitor()
            for source in (self._router, self._zap, self._echo, self._echoed, self._monitor):
                source.close()
            if self._listening is not None:
                self._doorkeeper.close()
                self._listening.close()
            self._context.term()
            self._context = None
            self._echo_folder.cleanup()
            self._connections.close()
        self._wake_out.close()
        self._wake_in.close()

    # --- requests -------------------------------------------------------------------------------------------------

    def _answer_some(self) -> bool:
        """Answers the requests that have come in.

        Returns:
            Whether that was all.
        """
        receive, clock = self._router.recv, time.monotonic
        enough = clock() + _BATCH_SECONDS
        while (now := clock()) < enough:
            try:
                envelope = [receive(_NOT_WAITING)]
            except zmq.Again:
                return True
            # Not `recv_multipart`: asking the last frame whether there are more is much cheaper than asking the socket.
            body = receive(0, False)
            while body.more:
                envelope.append(body.bytes)
                body = receive(0, False)
            self._answer_one(envelope, body, now)
        return False

    def _renew(self, connection: CurveConnection, envelope: Sequence[bytes], data: bytes, now: float) -> bool:
        """Whether the key of a connection is still valid; if not, the request is answered with a refusal."""
        try:
            peer = self._credentials.curve_peer(connection.key)
        except CredentialRefused as refused:
            said = self._service.not_valid_any_more(data, str(refused), self.name)
            self._send_last(connection, envelope, said, data, ("credential", str(refused)))
            return False
        connection.sure_until = now + _SURE_SECONDS
        if connection.sender is None or connection.sender.peer is not peer:  # its file may have another role now
            connection.sender = Sender(peer, connection.where, self.name)
        return True

    def _answer_one(self, envelope: Sequence[bytes], body: zmq.Frame, now: float) -> None:
        # We assign the routing ids, one for each handshake, so the key behind one does not change.
        connection = self._connections.by_routing_id.get(envelope[0])
        if connection is None:
            connection = self._introduce(envelope[0], str(body.get("User-Id")), body, now)
            if connection is None:
                return
        elif connection.cut:
            return  # as quickly as possible: in a flood there are many
        data = body.bytes
        connection.note_request(len(data), len(envelope), now)
        if connection.cut:
            return
        if now > connection.sure_until and not self._renew(connection, envelope, data, now):
            return
        sender = connection.sender
        assert sender is not None
        client = connection.client
        if client is None:
            said = self._service.full(data, connection.no_room, self.name)
            self._send_last(connection, envelope, said, data, ("full", connection.no_room))
            return
        if not (self._shares.may_ask_now(client) or self._shares.may_ask(client, now)):
            name = sender.peer.name
            if self._shares.floods(client, now):
                self._cut(connection, "flood", f"{name!r} sends far more requests than it may")
                return
            self._peer_log.say(name, "rate", "Rate limited: %r at %s", name, connection.where)
            self._send(connection, envelope, self._service.rate_limited(data, self.name), data)
            return
        if len(data) > self._shares.limits.message_bytes:
            self._send(connection, envelope, self._service.too_large(len(data), self.name), data)
            return
        if len(envelope) > _MAX_ENVELOPE:
            message = f"A request is one frame, not {len(envelope) - 1}. Send one JSON object in one frame."
            self._send(connection, envelope[:2], encode_error("", Code.BAD_REQUEST, message), data)
            return
        answer = self._service.answer(sender, data)
        if isinstance(answer, bytes):
            self._send(connection, envelope, answer, data)
            return
        asked = connection

        def done(result: bytes) -> None:
            self._done.put((asked, envelope, result, data))
            self._wake()

        self._pending += 1
        connection.pending += 1
        if not self._workers.submit(client, answer, done):
            self._pending -= 1
            connection.pending -= 1
            self._send(connection, envelope, self._service.too_busy(data, self.name), data)

    def _introduce(self, routing_id: bytes, key: str, body: zmq.Frame, now: float) -> CurveConnection | None:
        """The connection that a first request came through; None if it is already gone.

        libzmq reports the descriptor of its socket, which may by now belong to another connection. Then the sender can
        no longer be answered and its request is dropped: here if the other connection is known, otherwise when the
        answer cannot be sent.
        """
        descriptor = body.get(zmq.SRCFD)
        connection = self._connections.introduce(routing_id, key, descriptor)
        if connection is None:
            # The connection may be newer than the events read so far.
            self._read_events(_ALL_EVENTS)
            connection = self._connections.introduce(routing_id, key, descriptor)
        if connection is None:
            return None
        with contextlib.suppress(CredentialRefused):  # `_answer_one` will find out
            try:
                connection.client = self._connections.enter(connection, self._credentials.curve_peer(key), now)
            except Full as full:
                connection.no_room = str(full)
        return connection

    def _send(self, connection: CurveConnection, envelope: Sequence[bytes], answer: bytes, request: bytes) -> None:
        if len(answer) > _SMALL_ANSWER and not self._connections.may_send(connection, len(answer), time.monotonic()):
            answer = self._service.unread_answers(request, self.name)
        try:
            for frame in envelope:
                self._send_frame(frame, _MORE)
            self._send_frame(answer, _NOT_WAITING)
        except zmq.Again:
            self._cut(connection, "unread", f"it has not read {_UNREAD_ANSWERS:,} answers")
        except zmq.ZMQError as error:
            if error.errno != errno.EHOSTUNREACH:
                raise
            # The peer has gone: nobody is left to tell. Its descriptor may be another peer's by now.
            self._connections.forget_peer(connection, envelope[0])
        else:
            connection.note_answer(len(answer), len(envelope))

    def _send_last(
        self,
        connection: CurveConnection,
        envelope: Sequence[bytes],
        answer: bytes,
        request: bytes,
        why: tuple[str, str],
    ) -> None:
        """Sends an answer that says why a connection ends (`what` and `reason` of `_cut`), and ends the connection once
        its peer has that answer."""
        self._connections.end_after(connection, len(answer), len(envelope), time.monotonic())
        self._cut(connection, *why, refused=True)
        self._send(connection, envelope, answer, request)

    def _send_done(self) -> None:
        with contextlib.suppress(Empty):
            while True:
                connection, envelope, answer, request = self._done.get_nowait()
                self._pending -= 1
                connection.pending -= 1
                self._send(connection, envelope, answer, request)

    # --- connections ----------------------------------------------------------------------------------------------

    def _cut(self, connection: CurveConnection, what: str, reason: str, *, refused: bool = False) -> None:
        """Ends a connection, at once or after its last answer. Whatever it still sends is dropped.

        Args:
            connection: which.
            what: as for `Refusals`; empty if it is nobody's fault and not worth a line.
            reason: a clause.
            refused: it was never admitted.
        """
        if connection.cut:
            return
        connection.cut = True
        if connection.shut_at is None:
            connection.shut()
        if what:
            note = self._refusals.refuse if refused else self._refusals.close
            note(self.name, connection.where, what, reason)

    def _watch(self, now: float, *, drained: bool) -> None:
        """Counts the bytes that connections have sent and not read, and ends the connections that have too many.

        Args:
            now: seconds, increasing.
            drained: every complete request in libzmq has been answered.
        """
        for connection, what, reason in self._connections.count_bytes(now, drained=drained):
            self._cut(connection, what, reason)
        self._connections.end_answered(now)

    def _sweep(self, now: float) -> None:
        """Checks whether each peer is still allowed, and still sends requests."""
        limits = self._shares.limits
        revoked = self._connections.hosts_of_revoked(self._is_listed)
        for connection in self._connections:
            if connection.cut:
                continue
            if connection.key:
                try:
                    self._credentials.curve_peer(connection.key)
                except CredentialRefused as refused:
                    self._cut(connection, "credential", str(refused))
                    continue
            elif connection.host in revoked:
                # libzmq does not say whose connection it is. It has not sent a request yet, so it loses nothing by
                # reconnecting.
                self._cut(connection, "", "")
                continue
            if now > connection.stuck_since + 3 * limits.heartbeat_seconds:
                self._cut(connection, "unread", "it does not read its answers")
            elif connection.is_idle(now, limits):
                self._cut(connection, "", "")
        if self._freed > _WORTH_GIVING_BACK:
            self._freed = 0
            give_back()

    def _is_listed(self, key: str) -> bool:
        try:
            self._credentials.curve_peer(key)
        except CredentialRefused:
            return False
        return True

    def _hold_until_read(self) -> None:
        """Takes ZAP requests, to be answered after libzmq's own thread has finished with what it had read by then.

        That thread sends the ZAP request, and then reads the rest of what the peer has sent. A message that it has to
        carry from one end of a local connection to the other comes after that.
        """
        with contextlib.suppress(zmq.Again):
            while True:
                self._held.append(self._zap.recv_multipart(_NOT_WAITING))
        if self._held and not self._echoes:
            self._echo.send(b"", _NOT_WAITING)
            self._echoes = len(self._held)

    def _authenticate(self) -> None:
        """Answers ZAP requests: version, request id, domain, address, identity, mechanism, credentials."""
        came = 0
        with contextlib.suppress(zmq.Again):
            while True:
                self._echoed.recv(_NOT_WAITING)
                came += 1
        if not came:
            return
        due, self._held, self._echoes = self._held[: self._echoes], self._held[self._echoes :], 0
        for *envelope, version, request_id, _domain, address, _identity, mechanism, key in due:
            status, text, user = self._judge(address.decode(errors="replace"), mechanism, key)
            metadata = own_routing_id() if user else b""
            self._zap.send_multipart([*envelope, version, request_id, status, text, user, metadata])
        self._hold_until_read()

    def _judge(self, where: str, mechanism: bytes, key: bytes) -> tuple[bytes, bytes, bytes]:
        """Status, its text and the name that libzmq attaches to each message, which is the key."""
        if mechanism != b"CURVE":
            self._refusals.refuse(self.name, where, "no CURVE", "it does not use CURVE")
            return b"400", b"refused", b""
        # To libzmq 300 means "try again later": it says nothing to the peer, and drops it when the time for its
        # handshake is over. Any other refusal makes libzmq's own client give up for good.
        if self._stopping:
            return b"300", b"stopping", b""
        user = z85.encode(key)
        try:
            peer = self._credentials.curve_peer(user.decode())
        except CredentialRefused as refused:
            self._refusals.refuse(self.name, where, "credential", str(refused))
            return b"400", b"refused", b""
        if self._shares.is_barred(peer, where):
            self._refusals.refuse(self.name, where, "flood", f"{peer.name!r} has just sent far too many requests")
            return b"300", b"slow down", b""
        # Whether there is room for it is checked at its first request, which can be answered with an explanation.
        self._connections.note_admitted(network_of(where), user.decode())
        return b"200", b"OK", user

    def _read_events(self, most: int = _EVENTS_AT_ONCE) -> bool:
        """Follows the connections that open and close.

        Returns:
            Whether that was all.

        libzmq's events do not say everything. A failed handshake carries no address, but the event right after it has
        the file descriptor. A peer that does not speak ZeroMQ at all is only seen to leave. A successful handshake does
        not say which connection it was, so the oldest is assumed; at worst that swaps two peers that arrived within the
        same milliseconds.
        """
        with contextlib.suppress(zmq.Again):
            for _ in range(most):
                event = recv_monitor_message(self._monitor, zmq.NOBLOCK)
                value = int(event["value"])
                match event["event"]:
                    case zmq.EVENT_ACCEPTED:
                        self._note_accepted(value)
                    case zmq.EVENT_HANDSHAKE_SUCCEEDED:
                        self._connections.note_handshake()
                    case zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
                        self._failure = HANDSHAKE_FAILURES.get(value, NOT_ZEROMQ)
                    case zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                        self._failure = "", ""  # already reported by the ZAP handler
                    case zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
                        self._failure = unfinished(value, self._shares.limits.handshake_seconds)
                    case zmq.EVENT_DISCONNECTED:
                        self._note_disconnected(value)
            return False
        return True

    def _note_accepted(self, descriptor: int) -> None:
        try:
            watch = Watch.of(descriptor, self.port)
        except OSError as error:
            # Most likely there are no descriptors left. A connection that cannot be watched must be closed.
            self._peer_log.say(
                "", "CURVE accept", "CURVE: cannot watch a connection: %s", error.strerror, level=logging.ERROR
            )
            shut_unwatched(descriptor, self.port)
            return
        if watch is not None and not self._shares.arrives(watch.host):
            # Before anything is allocated for it: if one connection comes too many, thousands do.
            watch.shut()
            watch.close()
            self._doorkeeper.note_closed(watch.host, time.monotonic())
            rate = self._shares.limits.new_connections_per_second
            self._refusals.refuse(
                self.name,
                watch.where,
                "arrivals",
                f"more than {rate:,} new connections in a second from this address "
                "([limits] new_connections_per_second)",
            )
            return
        surplus = self._connections.add(descriptor, watch, time.monotonic())
        self._statistics.connection(self.name, 1)
        if surplus is not None:
            self._cut(
                surplus,
                "strangers",
                "too many connections have not asked for anything yet ([limits] handshakes_per_address)",
                refused=True,
            )

    def _note_disconnected(self, descriptor: int) -> None:
        failure, self._failure = self._failure, None
        connection = self._connections.remove(descriptor)
        if connection is None:
            return
        self._statistics.connection(self.name, -1)
        self._freed += connection.waiting_in + connection.waiting_out
        if connection.cut:
            return  # already reported
        if failure is None and connection.shakes_hands:
            failure = NOT_ZEROMQ
        if failure and failure[0]:
            self._refusals.refuse(self.name, connection.where, *failure)
