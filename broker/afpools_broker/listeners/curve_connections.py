"""CURVE's connections, followed from outside libzmq.

Strategy: libzmq reports the descriptor of each socket that it accepts and closes. A duplicate of that descriptor is
enough to count a connection's bytes in the kernel (tcp_info.py) and to disconnect that one peer and no other
(`shutdown`). The first request identifies a connection: the message has the descriptor it came through (`SRCFD`) and
the key that ZAP had admitted.

Until then nobody can say whose connection it is: ZAP knows key and address, the events know descriptor and address.
Such connections have not sent a request, so any of them may be closed without loss: libzmq reconnects by itself.

Only the listener's thread uses this module.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections import OrderedDict
from collections.abc import Callable, Iterator

from ..config import LimitsSection
from ..credentials.peers import Peer
from ..monitoring.peer_log import network_of
from ..operations import Sender
from . import address_text
from .shares import Client, Full, Shares, Strangers
from .tcp_info import TcpInfo, tcp_info

# A connection that has shown a valid key and sends no request is closed after this many seconds. Our clients ask right
# away.
_FIRST_REQUEST_SECONDS = 30.0

# As in `tls`.
_REPLACEABLE_SECONDS = 15.0

# What encryption and framing add to a frame: a header of 2 bytes and, in a MESSAGE command, the name, the nonce, the
# authenticator and the flags (ZeroMQ RFC 26). A frame longer than 255 bytes with these has a header of 9.
_OVERHEAD = 2 + 8 + 8 + 16 + 1
_LONG_HEADER, _SHORT = 7, 255 - (_OVERHEAD - 2)

# A last answer has this many seconds to reach its peer before the connection is closed.
_LAST_ANSWER_SECONDS = 1.0

# How many bytes between two counts may be uncounted ones.
_FORGOTTEN = 64 * 1024

# How many connections are counted in one round at least, and in how many rounds all of them: with thousands, most of
# them idle, counting all each time would take a tenth of a processor.
_COUNTED_AT_ONCE, _GOES = 200, 5

_UNKNOWN = "an unknown address"
_KEYS_REMEMBERED = 10_000


def own_routing_id() -> bytes:
    """ZMTP metadata (ZeroMQ RFC 37) with a routing id that nobody can guess. Those of libzmq itself begin with NUL."""
    routing_id = b"\1" + os.urandom(12)
    return b"\x08Identity" + len(routing_id).to_bytes(4, "big") + routing_id


class Watch:
    """A duplicate of libzmq's descriptor of a connection.

    Attributes:
        host: the peer's address, without the port, as it counts for shares (`network_of`).
        where: with the port, for log lines.
    """

    __slots__ = ("_socket", "host", "where")

    def __init__(self, duplicate: socket.socket) -> None:
        host, port = duplicate.getpeername()[:2]
        self._socket = duplicate
        self.host, self.where = network_of(host), address_text(host, port)

    @classmethod
    def of(cls, descriptor: int, port: int) -> Watch | None:
        """A watch on a connection.

        Args:
            descriptor: libzmq's. By the time of this call it may be closed, or be something else in this process.
            port: the listener's, which distinguishes its connections from whatever else has the number now.

        Returns:
            None if the connection is gone.

        Raises:
            OSError: there are no descriptors left.
        """
        try:
            if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                return None
            duplicate = os.dup(descriptor)
        except OSError as error:
            if error.errno == errno.EBADF:
                return None
            raise
        try:
            connection = socket.socket(fileno=duplicate)
        except OSError:
            # A file has just got this number. Closing a duplicate would release all locks that SQLite has on it
            # (fcntl(2)), so it stays open.
            return None
        try:
            if _is_of(connection, port):
                return cls(connection)
        except OSError:
            pass
        connection.close()
        return None

    def counts(self) -> TcpInfo | None:
        """As `tcp_info`."""
        return tcp_info(self._socket)

    def shut(self) -> None:
        """Disconnects the peer; libzmq notices, and reports when it has closed its own descriptor."""
        with contextlib.suppress(OSError):  # the peer was quicker
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Closes the duplicate, which would otherwise keep the connection open for the peer."""
        self._socket.close()


def shut_unwatched(descriptor: int, port: int) -> None:
    """Disconnects a peer through libzmq's own descriptor; arguments as for `Watch.of`."""
    with contextlib.suppress(OSError):
        borrowed = socket.socket(fileno=descriptor)
        try:
            if _is_of(borrowed, port):
                borrowed.shutdown(socket.SHUT_RDWR)
        finally:
            borrowed.detach()


def _on_the_wire(size: int, frames: int) -> int:
    """Bytes that a message takes on the wire; arguments as for `CurveConnection.note_request`."""
    return size + frames * _OVERHEAD + (_LONG_HEADER if size > _SHORT else 0)


def _is_of(connection: socket.socket, port: int) -> bool:
    return connection.family in (socket.AF_INET, socket.AF_INET6) and connection.getsockname()[1] == port


class CurveConnection:
    """One connection.

    Attributes:
        host: the peer's address, without the port, as it counts for shares (`network_of`).
        where: with the port, for log lines.
        began: when it was accepted.
        routing_id: the id in its first request, None before.
        key: the key that ZAP admitted, as Z85; empty before the first request.
        client: the client whose share it counts towards; None before that, and if there was no room.
        no_room: why there was no room, as a clause.
        sender: the client, as the service needs it.
        sure_until: when its key has to be looked up again.
        shakes_hands: its handshake has not been reported as successful yet.
        asked_at: when its last request came.
        pending: how many requests are being worked on.
        cut: it is to be closed, and what it still sends is dropped.
        is_shut: it has been closed.
        shut_at: when it is closed at the latest if a last answer is under way; None if none is.
        is_closed: libzmq has closed it.
        waiting_in: bytes that it has sent and that do not make a complete request yet.
        waiting_out: bytes of answers that it has not taken.
        stuck_since: when it last took something of what waits for it; infinite while nothing waits.
    """

    def __init__(self, watch: Watch | None, now: float) -> None:
        self.is_shut = self.is_closed = False
        self.shut_at: float | None = None
        self._last_answer_ends = 0
        self.host, self.where = (watch.host, watch.where) if watch else (_UNKNOWN, _UNKNOWN)
        self._watch = watch
        self.cut = False
        self.began = self.asked_at = now
        self.routing_id: bytes | None = None
        self.key = ""
        self.client: Client | None = None
        self.no_room = ""
        self.sender: Sender | None = None
        self.sure_until = float("-inf")
        self.shakes_hands = True
        self.pending = 0
        self.waiting_in = self.waiting_out = 0
        self.stuck_since = float("inf")
        self._requests = 0
        self._bytes_in = 0
        self._received = 0
        self._bytes_out = 0
        self._acknowledged = 0

    def note_request(self, size: int, frames: int, now: float) -> None:
        """Counts a request that came through.

        Args:
            size: bytes of the request itself. The frames before it are small, and their exact size is not known.
            frames: how many it had; the routing id, which is not sent, counts in place of the request itself.
            now: seconds, increasing.
        """
        self.asked_at = now
        self._requests += 1
        self._bytes_in += _on_the_wire(size, frames)

    def note_answer(self, size: int, frames: int) -> None:
        """Counts an answer that was sent; arguments as for `note_request`."""
        self._bytes_out += _on_the_wire(size, frames)

    def count(self, now: float, *, drained: bool) -> int:
        """Asks the kernel what has been received and acknowledged; sets `waiting_out`.

        Args:
            now: seconds, increasing.
            drained: no complete request is left in libzmq.

        Returns:
            The new `waiting_in`: bytes that libzmq has and that do not make a complete request yet. It is briefly more
            than a few bytes if requests come faster than they are answered.
        """
        info = self._watch.counts() if self._watch else None
        if info is None:
            self._bytes_out = 0  # unknown bytes are not held against anybody
            return 0
        waiting = max(0, info.received - self._received - self._bytes_in)
        if drained and self._requests:
            # Everything before the last request has been answered. Uncounted bytes (PINGs, the frames before requests)
            # are written off as far as they can be such; the beginning of a message that never ends is larger.
            waiting = max(0, waiting - _FORGOTTEN)
            self._received, self._bytes_in, self._requests = info.received - waiting, 0, 0
        taken, self._acknowledged = info.acknowledged - self._acknowledged, info.acknowledged
        # What libzmq sends by itself (PONGs, the handshake) is also acknowledged, but was not counted. The peer has
        # everything if nothing is left in the kernel and libzmq has not written more since the last count.
        self._bytes_out = 0 if info.all_sent and not taken else max(0, self._bytes_out - taken)
        if not self._bytes_out:
            self.stuck_since = float("inf")
        elif taken or self.stuck_since == float("inf"):
            self.stuck_since = now
        return waiting

    def note_last_answer(self, size: int, frames: int, now: float) -> None:
        """Notes that this answer is about to be sent as the last one; arguments as for `note_request`."""
        self.count(now, drained=False)
        self._last_answer_ends = self._acknowledged + self._bytes_out + _on_the_wire(size, frames)
        self.shut_at = now + _LAST_ANSWER_SECONDS

    def has_last_answer(self, now: float) -> bool:
        """Whether the peer has the last answer, or has had enough time for it. libzmq does not report what it has
        written; a connection that is closed before that loses the answer."""
        info = self._watch.counts() if self._watch else None
        has_it = info is not None and info.all_sent and info.acknowledged >= self._last_answer_ends
        return has_it or (self.shut_at is not None and now >= self.shut_at)

    def forget_peer(self) -> None:
        """Resets it to a connection that has not sent a request."""
        self.routing_id, self.key, self.no_room, self.sender = None, "", "", None
        self.asked_at = self.began
        self.sure_until = float("-inf")
        self.cut, self.shut_at = self.is_shut, None
        self.stuck_since = float("inf")
        self.waiting_in = self.waiting_out = 0
        self._requests = self._bytes_in = self._bytes_out = 0

    @property
    def unread(self) -> int:
        """Bytes of answers that the peer had not taken when they were last counted, and of those sent since."""
        return self._bytes_out

    def is_idle(self, now: float, limits: LimitsSection) -> bool:
        """Whether the peer has asked for nothing for too long."""
        if self.pending:
            return False
        if not self.key:
            return now > self.began + max(_FIRST_REQUEST_SECONDS, limits.handshake_seconds)
        return now > self.asked_at + limits.idle_seconds

    def shut(self) -> None:
        """Disconnects the peer; libzmq notices, and reports when it has closed its own descriptor."""
        self.is_shut = True
        if self._watch is not None:
            self._watch.shut()

    def close(self) -> None:
        """Closes the duplicate."""
        self.is_closed = True
        if self._watch is not None:
            self._watch.close()


class Connections:
    """All connections of the listener.

    Args:
        shares: what each client may take.
    """

    def __init__(self, shares: Shares) -> None:
        self._shares = shares
        self._by_descriptor: dict[int, CurveConnection] = {}
        self._strangers: Strangers[CurveConnection] = Strangers(shares)
        self._shaking_hands: dict[CurveConnection, None] = {}
        self._admitted: OrderedDict[str, dict[str, None]] = OrderedDict()
        self._to_count: list[CurveConnection] = []
        self._answered_last: list[CurveConnection] = []
        self.by_routing_id: dict[bytes, CurveConnection] = {}

    def __len__(self) -> int:
        return len(self._by_descriptor)

    def __iter__(self) -> Iterator[CurveConnection]:
        return iter(list(self._by_descriptor.values()))

    def add(self, descriptor: int, watch: Watch | None, now: float) -> CurveConnection | None:
        """Notes a connection that libzmq has accepted.

        Args:
            descriptor: libzmq's own.
            watch: a watch on the connection; None if it is already gone.
            now: seconds, increasing.

        Returns:
            The connection that has to make room for it, if one has to.
        """
        # A new connection with an old number: the old one's end has not been reported, but it has ended.
        self.remove(descriptor)
        connection = self._by_descriptor[descriptor] = CurveConnection(watch, now)
        self._shaking_hands[connection] = None
        surplus = self._strangers.add(connection.host, connection)
        if surplus is not None:
            # libzmq reports later that it is closed; until then it must not be chosen again to make room.
            self._strangers.remove(surplus.host, surplus)
        return surplus

    def remove(self, descriptor: int) -> CurveConnection | None:
        """Notes that a connection is closed; None if there is none."""
        connection = self._by_descriptor.pop(descriptor, None)
        if connection is None:
            return None
        connection.close()
        self._shaking_hands.pop(connection, None)
        self._strangers.remove(connection.host, connection)
        if connection.routing_id is not None and self.by_routing_id.get(connection.routing_id) is connection:
            del self.by_routing_id[connection.routing_id]
        self._leave(connection)
        return connection

    def close(self) -> None:
        """Closes all."""
        for descriptor in list(self._by_descriptor):
            self.remove(descriptor)

    def note_handshake(self) -> None:
        """Notes that a handshake succeeded. libzmq does not say which; the oldest is the likely one."""
        oldest = next(iter(self._shaking_hands), None)
        if oldest is not None:
            del self._shaking_hands[oldest]
            oldest.shakes_hands = False

    def introduce(self, routing_id: bytes, key: str, descriptor: int) -> CurveConnection | None:
        """The connection that a first request came through.

        Returns:
            None if it is already closed and a known connection has its descriptor now. If the new one is not known yet,
            nothing tells them apart; see `forget_peer`.
        """
        connection = self._by_descriptor.get(descriptor)
        if connection is None or connection.key:
            return None
        connection.routing_id, connection.key = routing_id, key
        connection.shakes_hands = False
        self._shaking_hands.pop(connection, None)
        self._strangers.remove(connection.host, connection)
        self.by_routing_id[routing_id] = connection
        return connection

    def forget_peer(self, connection: CurveConnection, routing_id: bytes) -> None:
        """Takes back an introduction: there is no peer with this routing id.

        What a peer sent before it left may be read long after another connection got its descriptor. That one would
        then count as the old one's, and never be answered.
        """
        if connection.routing_id != routing_id or connection.is_closed:
            return
        if self.by_routing_id.get(routing_id) is connection:
            del self.by_routing_id[routing_id]
        self._leave(connection)
        connection.forget_peer()
        self._strangers.add(connection.host, connection)

    # --- shares ---------------------------------------------------------------------------------------------------

    def enter(self, connection: CurveConnection, peer: Peer, now: float) -> Client:
        """Counts a connection as a client's. If the client has too many, an unused one of them makes room.

        Raises:
            Full: the client has too many in use, or the broker is full.
        """
        try:
            client = self._shares.enter(peer, connection.host)
        except Full as full:
            if not full.own or not self._give_up_unused(peer, connection.host, now):
                raise
            client = self._shares.enter(peer, connection.host)
        self._shares.hold_in(client, connection.waiting_in)
        return client

    def _give_up_unused(self, peer: Peer, host: str, now: float) -> bool:
        before = now - _REPLACEABLE_SECONDS
        unused = [
            other
            for other in self._by_descriptor.values()
            if other.client is not None
            and other.client.peer == peer
            and other.host == host
            and other.asked_at < before
            and not (other.pending or other.cut)
        ]
        if not unused:
            return False
        oldest = min(unused, key=lambda other: other.asked_at)
        oldest.cut = True
        oldest.shut()
        self._leave(oldest)
        return True

    def _leave(self, connection: CurveConnection) -> None:
        client, connection.client = connection.client, None
        if client is not None:
            self._shares.hold_in(client, -connection.waiting_in)
            self._shares.hold_out(client, -connection.waiting_out)
            self._shares.leave(client)

    # --- last answers ---------------------------------------------------------------------------------------------

    def end_after(self, connection: CurveConnection, size: int, frames: int, now: float) -> None:
        """Ends a connection after its peer has received an answer that is about to be sent; arguments as for
        `CurveConnection.note_request`."""
        if connection.shut_at is None:
            connection.note_last_answer(size, frames, now)
            self._answered_last.append(connection)

    def end_answered(self, now: float) -> None:
        """Ends the connections whose peers have their last answer, or have not taken it for too long."""
        waiting = []
        for connection in self._answered_last:
            if connection.shut_at is None or connection.is_closed:
                continue  # by now another connection's (see `forget_peer`), or gone
            if connection.has_last_answer(now):
                connection.shut()
            else:
                waiting.append(connection)
        self._answered_last = waiting

    # --- keys before the first request ----------------------------------------------------------------------------

    def note_admitted(self, host: str, key: str) -> None:
        """Notes that ZAP has admitted this key from this address."""
        keys = self._admitted.setdefault(host, {})
        keys[key] = None
        self._admitted.move_to_end(host)
        while len(self._admitted) > _KEYS_REMEMBERED:
            self._admitted.popitem(last=False)

    def hosts_of_revoked(self, is_listed: Callable[[str], bool]) -> set[str]:
        """The addresses from which keys were admitted that have been removed from the list since the last call.

        Args:
            is_listed: tells whether a key, as Z85, is still valid.
        """
        hosts = set()
        for host, keys in self._admitted.items():
            gone = [key for key in keys if not is_listed(key)]
            if gone:
                hosts.add(host)
                for key in gone:
                    del keys[key]
        return hosts

    # --- bytes ----------------------------------------------------------------------------------------------------

    def may_send(self, connection: CurveConnection, size: int, now: float) -> bool:
        """Whether a large answer may be sent to a client that may not have read the earlier ones."""
        client = connection.client
        if client is None:
            return True
        self._count_one(connection, now, drained=False)
        return self._shares.may_hold_out(client, size)

    def count_bytes(self, now: float, *, drained: bool) -> Iterator[tuple[CurveConnection, str, str]]:
        """Counts what waits in libzmq in both directions: for all connections if there are few, otherwise for some of
        them each time.

        Args:
            now: seconds, increasing.
            drained: no complete request is left in libzmq.

        Returns:
            The connections that have to be closed, each with the kind of reason and the reason.
        """
        if not self._to_count:
            self._to_count = list(self._by_descriptor.values())
        at_once = max(_COUNTED_AT_ONCE, len(self._by_descriptor) // _GOES)
        now_counted, self._to_count = self._to_count[:at_once], self._to_count[at_once:]
        for connection in now_counted:
            if connection.cut or connection.is_closed:
                continue
            too_much = self._count_one(connection, now, drained=drained)
            if too_much is not None:
                yield connection, "bytes", f"it sends more than is read, or what it does not complete: {too_much}"

    def _count_one(self, connection: CurveConnection, now: float, *, drained: bool) -> str | None:
        limits, client = self._shares.limits, connection.client
        waiting = connection.count(now, drained=drained)
        if client is None:
            connection.waiting_in = waiting
            if waiting > 2 * limits.message_bytes:
                return f"{waiting:,} bytes came before its first request"
            return None
        change, connection.waiting_in = waiting - connection.waiting_in, waiting
        too_much = self._shares.hold_in(client, change) if change else None
        change, connection.waiting_out = connection.unread - connection.waiting_out, connection.unread
        if change:
            self._shares.hold_out(client, change)
        # A connection that has just begun to send a request is not to blame.
        return too_much if waiting > limits.message_bytes // 16 else None
