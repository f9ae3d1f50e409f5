"""ZMTP 3.1 with the NULL mechanism, as in ZeroMQ RFC 37 (https://rfc.zeromq.org/spec/37/).

Strategy: no I/O at all. Bytes from the peer go into `receive_data` and come out as events; what is to be sent collects
until `data_to_send` takes it. So the same core serves the client's blocking socket and the broker's event loop, and
each test of it is a function call. Every size that the peer announces is checked before a byte is kept for it. NULL
does not encrypt: this runs inside TLS.
"""

from __future__ import annotations

import struct

from .records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, FrozenSet, List, Optional, Sequence, Tuple, Union

    Event = Union["Ready", "Message", "Ping", "Pong"]

# A command is a READY with a few properties, or a PING; libzmq's are below 300 bytes. Web servers (nginx, Apache) allow
# 8 KiB for a request's whole header.
MAX_COMMAND = 8192

# REQ sends two frames (an empty one that ends the addresses, and the body), and each proxy on the way adds one. libzmq
# has no limit; without one, a peer could send empty frames forever, and none would count against the message's size.
MAX_FRAMES = 16

# How many bytes of context the specification allows in a PING.
MAX_PING_CONTEXT = 16

_MORE, _LONG, _COMMAND = 0x01, 0x02, 0x04

_GREETING_SIZE = 64
# The padding ends in 1 as libzmq's does: a ZMTP 1 peer reads it as the length of an identity and keeps listening.
_SIGNATURE = b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f"
_VERSION = b"\x03\x01"

_long_header = struct.Struct(">BQ")
_uint16 = struct.Struct(">H")
_uint32 = struct.Struct(">I")


class ProtocolError(Exception):
    """One side broke the rules of ZMTP. The message is a clause for a log line."""


class LocalProtocolError(ProtocolError):
    """We asked for something that cannot be sent now or at all; the connection is as it was."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol; the connection cannot be used any more."""


class PeerRefused(RemoteProtocolError):
    """The peer says in an ERROR why it rejects us.

    Attributes:
        reason: in its own words, all of them printable.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"the peer refused the connection: {reason}")
        self.reason = reason


class Ready(Record):
    """The peer has introduced itself: messages may be sent from here on.

    `properties` has what the peer said about itself, with names in lower case.
    """

    socket_type: str
    properties: Dict[str, bytes]


class Message(Record):
    """A whole message, however many frames it has."""

    frames: Tuple[bytes, ...]


class Ping(Record):
    """The peer sent a PING; the PONG is queued. The peer may hang up after `ttl` seconds of silence."""

    ttl: float
    context: bytes


class Pong(Record):
    """The peer answered our PING."""

    context: bytes


class Connection:
    """One end of one connection. Our greeting is queued at once, and our READY with it.

    Args:
        socket_type: what we are: `REQ` for a client, `ROUTER` or `REP` for a server.
        as_server: our as-server bit, which NULL ignores.
        accepts: the socket types that the peer may have.
        max_message: the largest total size, in bytes, of all frames of one message from the peer.

    Attributes:
        ready: whether messages can be sent.
        frames_read: how many frames and commands from the peer have been parsed so far.
    """

    def __init__(self, *, socket_type: str, as_server: bool, accepts: FrozenSet[str], max_message: int) -> None:
        self.ready = False
        self.frames_read = 0
        self._socket_type = socket_type
        self._accepts = accepts
        self._max_message = max_message
        self._greeted = False
        self._peer_pings = False
        self._failure: Optional[str] = None
        # Bytes that do not make a whole frame yet, and how many are needed before it is worth looking at them again, so
        # that data that arrives byte by byte costs no more than the bytes themselves.
        self._buffer = bytearray()
        self._needed = 0
        # The frames of a message whose last frame has not arrived yet, and their size.
        self._frames: List[bytes] = []
        self._frames_size = 0
        name = socket_type.encode("ascii")
        ready = b"\x05READY\x0bSocket-Type" + _uint32.pack(len(name)) + name
        # With NULL, READY does not depend on anything that the peer says. Sending it with the greeting saves a round
        # trip.
        self._ready = bytes((_COMMAND, len(ready))) + ready
        self._outgoing: List[bytes] = [
            _SIGNATURE + _VERSION + b"NULL".ljust(20, b"\0") + (b"\1" if as_server else b"\0") + bytes(31),
            self._ready,
        ]

    def receive_data(self, data: bytes) -> List[Event]:
        """Takes bytes from the peer, in chunks of any size, and queues the answers that the protocol itself requires.

        Args:
            data: the bytes received; may be empty.

        Returns:
            The events that these bytes complete, in order.

        Raises:
            RemoteProtocolError: the peer broke the protocol, now or earlier. Valid events in the same chunk are
                dropped.
        """
        if self._failure is not None:
            raise RemoteProtocolError(self._failure)
        source: Union[bytes, bytearray] = data
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._needed:
                return []
            source = self._buffer
        events: List[Event] = []
        try:
            used = self._read(source, events)
        except RemoteProtocolError as error:
            self._failure = str(error)
            self.ready = False
            self._buffer = bytearray()
            self._frames = []
            raise
        if source is self._buffer:
            del self._buffer[:used]
        elif used < len(data):
            self._buffer += data[used:]
        return events

    def send_message(self, frames: Sequence[bytes]) -> None:
        """Queues a message.

        Args:
            frames: at least one.

        Raises:
            LocalProtocolError: the peer has not introduced itself yet or broke the protocol, or there are no frames.
        """
        self._check_sending()
        if not frames:
            raise LocalProtocolError("a message needs at least one frame")
        last = len(frames) - 1
        for number, body in enumerate(frames):
            self._queue(_MORE if number < last else 0, body)

    def send_ping(self, ttl: float, context: bytes = b"") -> None:
        """Queues a PING. Does nothing if the peer speaks ZMTP 3.0, which has no PING.

        Args:
            ttl: seconds of silence after which the peer may take us for dead; 0 for no limit. At most 6553.5, in steps
                of a tenth.
            context: comes back in the `Pong`; at most 16 bytes.

        Raises:
            LocalProtocolError: the peer has not introduced itself yet or broke the protocol, or an argument is out of
                its range.
        """
        self._check_sending()
        tenths = round(ttl * 10)
        if not 0 <= tenths <= 0xFFFF:
            raise LocalProtocolError(f"the ttl of a PING is 0 to 6553.5 seconds, not {ttl!r}")
        if len(context) > MAX_PING_CONTEXT:
            raise LocalProtocolError(f"the context of a PING has at most {MAX_PING_CONTEXT} bytes, not {len(context)}")
        if self._peer_pings:
            self._queue(_COMMAND, b"\x04PING" + _uint16.pack(tenths) + context)

    def send_error(self, reason: str) -> None:
        """Queues an ERROR, which tells a peer during its handshake why it is rejected; hang up after it. It replaces
        our READY if that has not been sent yet.

        Args:
            reason: for people; cut off after 255 bytes.

        Raises:
            LocalProtocolError: the handshake is over.
        """
        if self.ready:
            raise LocalProtocolError("an ERROR belongs to the handshake, which is over")
        if self._ready in self._outgoing:
            self._outgoing.remove(self._ready)
        text = reason.encode("utf-8")[:255]
        self._queue(_COMMAND, b"\x05ERROR" + bytes((len(text),)) + text)

    @property
    def incomplete(self) -> int:
        """Bytes from the peer that are kept because their message is not complete yet."""
        return len(self._buffer) + self._frames_size

    @property
    def at_rest(self) -> bool:
        """Whether a message may be sent and nothing is in progress: no part of a message has arrived, and nothing waits
        to be sent."""
        return self.ready and not (self._buffer or self._frames or self._outgoing)

    def data_to_send(self) -> bytes:
        """Returns and removes all bytes that wait to be sent to the peer."""
        data = b"".join(self._outgoing)
        self._outgoing.clear()
        return data

    def _check_sending(self) -> None:
        if self._failure is not None:
            raise LocalProtocolError(f"nothing can be sent any more, the peer broke the protocol: {self._failure}")
        if not self.ready:
            raise LocalProtocolError("nothing can be sent before the peer has introduced itself (READY)")

    def _queue(self, flags: int, body: bytes) -> None:
        size = len(body)
        self._outgoing.append(bytes((flags, size)) if size < 256 else _long_header.pack(flags | _LONG, size))
        self._outgoing.append(body)

    # --- reading ---

    def _read(self, source: Union[bytes, bytearray], events: List[Event]) -> int:
        """Reads all complete frames; returns how many bytes they had."""
        offset = 0
        if not self._greeted:
            self._read_greeting(source)
            if not self._greeted:
                return 0
            offset = _GREETING_SIZE
        end = len(source)
        while True:
            start = offset + 2
            if start > end:
                self._needed = 2
                return offset
            flags = source[offset]
            if flags & _LONG:
                start = offset + 9
                if start > end:
                    self._needed = 9
                    return offset
                size = int.from_bytes(source[offset + 1 : start], "big")
            else:
                size = source[offset + 1]
            self._check_header(flags, size)
            stop = start + size
            if stop > end:
                self._needed = stop - offset
                return offset
            body = bytes(source[start:stop])
            offset = stop
            self.frames_read += 1
            if flags & _COMMAND:
                self._read_command(body, events)
            elif flags & _MORE:
                self._frames.append(body)
                self._frames_size += size
            elif self._frames:
                self._frames.append(body)
                events.append(Message(tuple(self._frames)))
                self._frames = []
                self._frames_size = 0
            else:
                events.append(Message((body,)))

    def _read_greeting(self, source: Union[bytes, bytearray]) -> None:
        """Checks as much of the greeting as has arrived: a peer of another kind may send less than 64 bytes and
        wait."""
        size = len(source)
        start = bytes(source[:16])
        if start[:2] == b"\x01\x00":
            raise RemoteProtocolError("the peer speaks ZMTP 1 (ZeroMQ 2), ZMTP 3 is needed (ZeroMQ 4)")
        if start[:1] not in (b"", b"\xff") or (size > 9 and start[9] != 0x7F):
            raise RemoteProtocolError(f"not a ZeroMQ peer: got {start!r}")
        if size > 10 and start[10] < 3:
            raise RemoteProtocolError(
                f"the peer speaks ZMTP {2 if start[10] else 1} (ZeroMQ {3 if start[10] else 2}), "
                "ZMTP 3 is needed (ZeroMQ 4)"
            )
        if size >= 32:
            mechanism = bytes(source[12:32]).rstrip(b"\0")
            if mechanism != b"NULL":
                raise RemoteProtocolError(f"the peer wants the mechanism {_text(mechanism)}, only NULL is spoken here")
        if size >= _GREETING_SIZE:
            self._greeted = True
            # Peers with a higher version are valid: they speak our version with us.
            self._peer_pings = (start[10], start[11]) >= (3, 1)

    def _check_header(self, flags: int, size: int) -> None:
        """Refuses a frame by its header, before memory is used for its body."""
        if flags & _COMMAND:
            if flags & ~(_COMMAND | _LONG):
                raise RemoteProtocolError(f"a command with the flags 0x{flags:02x}")
            if size > MAX_COMMAND:
                raise RemoteProtocolError(f"a command of {size} bytes, at most {MAX_COMMAND} are allowed")
            return
        if flags & ~(_MORE | _LONG):
            raise RemoteProtocolError(f"a frame with the flags 0x{flags:02x}")
        if not self.ready:
            raise RemoteProtocolError("a message before READY")
        if self._frames_size + size > self._max_message:
            raise RemoteProtocolError(
                f"a message of {self._frames_size + size} bytes or more, at most {self._max_message} are allowed"
            )
        if len(self._frames) + bool(flags & _MORE) >= MAX_FRAMES:
            raise RemoteProtocolError(f"a message of more than {MAX_FRAMES} frames")

    def _read_command(self, body: bytes, events: List[Event]) -> None:
        start = body[0] + 1 if body else 0
        if start < 2 or start > len(body):
            raise RemoteProtocolError(f"a command without a name: {body[:16]!r}")
        name, rest = body[1:start], body[start:]
        if name == b"ERROR":
            reason = rest[1 : 1 + rest[0]] if rest else b""
            raise PeerRefused(_words(reason))
        if not self.ready:
            if name != b"READY":
                raise RemoteProtocolError(f"the command {_text(name)} before READY")
            events.append(self._read_ready(rest))
        elif name == b"PING":
            if not 2 <= len(rest) <= 2 + MAX_PING_CONTEXT:
                raise RemoteProtocolError(f"a PING of {len(rest)} bytes, it has 2 to {2 + MAX_PING_CONTEXT}")
            context = rest[2:]
            self._queue(_COMMAND, b"\x04PONG" + context)
            events.append(Ping(_uint16.unpack_from(rest)[0] / 10, context))
        elif name == b"PONG":
            events.append(Pong(rest))
        # Other commands (SUBSCRIBE, CANCEL, and those of newer versions) mean nothing to our socket types; libzmq skips
        # them too.

    def _read_ready(self, rest: bytes) -> Ready:
        properties: Dict[str, bytes] = {}
        offset, end = 0, len(rest)
        while offset < end:
            name_end = offset + 1 + rest[offset]
            value_start = name_end + 4
            if name_end == offset + 1 or value_start > end:
                raise RemoteProtocolError("a READY whose properties are cut short")
            value_end = value_start + _uint32.unpack_from(rest, name_end)[0]
            if value_end > end:
                raise RemoteProtocolError("a READY whose properties are cut short")
            # Names are compared without regard to case (RFC 37).
            properties[str(rest[offset + 1 : name_end], "latin-1").lower()] = rest[value_start:value_end]
            offset = value_end
        if "socket-type" not in properties:
            raise RemoteProtocolError("a READY without Socket-Type")
        socket_type = str(properties["socket-type"], "latin-1")
        if socket_type not in self._accepts:
            raise RemoteProtocolError(
                f"the peer is a {_text(properties['socket-type'])} socket, only {' and '.join(sorted(self._accepts))} "
                f"can talk to a {self._socket_type}"
            )
        self.ready = True
        return Ready(socket_type, properties)


def _words(value: bytes) -> str:
    """The peer's text for people, made safe for one of our sentences, without the final period."""
    text = str(value, "utf-8", "replace")
    return "".join(letter if letter.isprintable() else " " for letter in text).strip(" .") or "it gives no reason"


def _text(value: bytes) -> str:
    """Bytes from the peer, made safe for a log line: printable and short."""
    return ascii(str(value[:100], "latin-1"))
