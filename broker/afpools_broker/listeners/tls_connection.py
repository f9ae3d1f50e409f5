"""One TLS connection, from the moment it is accepted: a small state machine over TLS (encrypted.py) and the ZMTP core
(`afpools.zmtp`), neither of which ever blocks.
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import socket
import ssl
from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from typing import TYPE_CHECKING

from afpools import zmtp

from ..config import LimitsSection
from ..credentials.peers import CredentialRefused, Peer, TlsPeer
from ..operations import Sender
from ..service import Later
from .encrypted import Encrypted
from .shares import Client, Full

if TYPE_CHECKING:
    from .tls import TlsListener

# After this many requests from one peer, the others get a turn.
_REQUESTS_AT_ONCE = 20

# A request is an empty frame and its body. Data with more frames than that counts as more requests.
_FRAMES_OF_A_REQUEST = 2

# Memory of a connection that waits for its turn, besides its own bytes, which are at most those of one read.
_BYTES_OF_A_REQUEST = 512

# How a short request begins: an empty frame with more to come, and a frame; the fourth byte is the size. A short answer
# begins the same way; in a long one the size has eight bytes.
_REQUEST, _LONG_ANSWER = b"\x01\x00\x00", b"\x01\x00\x02"

# This many bytes that carry nothing, such as KeyUpdates or the overhead of one-byte records, take as long as one
# request.
_BYTES_OF_NOTHING = 64

# Bytes encrypted in one go. A large farm's list of hosts has millions, and nobody else is served meanwhile.
_SENT_AT_ONCE = 256 * 1024

# A small answer is sent even to a client with too many unread ones: it says why there is no large one.
_SMALL_ANSWER = 4096

# How long a peer has to read why it is refused.
_FAREWELL_SECONDS = 1.0


class _Stage(Enum):
    SHAKING_HANDS = auto()  # TLS's handshake
    GREETING = auto()  # ZMTP's; the client is known
    OPEN = auto()
    LEAVING = auto()  # it is being told why it is refused


class TlsConnection:
    """One connection, from the moment it is accepted."""

    def __init__(
        self, listener: TlsListener, loop: asyncio.AbstractEventLoop, encrypted: Encrypted, host: str, address: str
    ) -> None:
        self.host = host
        self.address = address
        self.peer: Peer | None = None
        self._sender: Sender | None = None
        self._listener = listener
        self._loop = loop
        self._socket = encrypted
        self._descriptor = encrypted.fileno()
        self._stage = _Stage.SHAKING_HANDS
        self._began = self._heard_at = self._asked_at = self._pinged_at = loop.time()
        self._credential: TlsPeer | None = None
        self._client: Client | None = None
        self._zmtp: zmtp.Connection | None = None
        self._requests: deque[tuple[bytes, ...]] = deque()
        self._outgoing: bytes | memoryview = b""
        self._stuck_since = float("inf")
        self._held_in = self._held_out = self._frames_read = 0
        self._waits = False  # for a worker
        self._scheduled: asyncio.Handle | None = None
        self._at_rest = False  # nothing is in progress in either direction
        self._reading = self._writing = self._closed = self._stopping = False

    @property
    def _limits(self) -> LimitsSection:
        return self._listener._shares.limits

    @property
    def unused_since(self) -> float:
        """When its last request came; the present time while it waits for an answer."""
        return self._loop.time() if self._busy else self._asked_at

    @property
    def held(self) -> int:
        """Bytes kept for it in both directions."""
        return self._held_in + self._held_out

    @property
    def _busy(self) -> bool:
        return bool(self._waits or self._requests or self._outgoing)

    # --- beginning and end ----------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Waits for the peer's first bytes."""
        if not self._closed:
            self._wait_for(read=True, write=False)

    def stop(self) -> None:
        """Ends the connection after the answers in progress, if there are any."""
        self._stopping, self._at_rest = True, False
        if not self._busy:
            self.close()

    def close(self) -> None:
        """Ends the connection at once, an answer in progress included."""
        if self._closed:
            return
        self._closed = True
        self._wait_for(read=False, write=False)
        if self._scheduled is not None:
            self._scheduled.cancel()
        self._socket.close()
        shares, client = self._listener._shares, self._client
        if client is not None:
            shares.hold_in(client, -self._held_in)
            shares.hold_out(client, -self._held_out)
            shares.leave(client)
        # Frees its memory now, rather than when the garbage collector finds this reference cycle.
        self._zmtp, self._outgoing = None, b""
        self._requests.clear()
        self._listener._forget(self)

    def refuse(self, what: str, reason: str) -> None:
        """Closes a connection that has not been admitted yet; arguments as for `Refusals.refuse`."""
        self._listener._refusals.refuse(self._listener.name, self.address, what, reason)
        self.close()

    def _end(self, what: str, reason: str) -> None:
        """Closes a connection that had been admitted, and logs it."""
        self._listener._refusals.close(self._listener.name, self.address, what, reason)
        self.close()

    def _dismiss(self, what: str, reason: str, *, farewell: str) -> None:
        """Tells an identified peer why it is refused, in place of our READY."""
        self._listener._refusals.refuse(self._listener.name, self.address, what, reason)
        self._stage = _Stage.LEAVING
        self._began = self._loop.time()
        framing = self._framing()
        framing.send_error(farewell)
        try:
            self._socket.send(framing.data_to_send())
            # Until the peer hangs up, whatever it sends is read and dropped: closing a socket with unread data in it
            # would destroy the message.
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()

    def look(self, now: float) -> None:
        """Checks whether the peer is still there, is still allowed, and still sends requests."""
        limits = self._limits
        if self._stage is _Stage.LEAVING:
            if now > self._began + _FAREWELL_SECONDS:
                self.close()
            return
        late = now > self._began + limits.handshake_seconds
        within = f"within {limits.handshake_seconds:g} seconds"
        if self._stage is _Stage.SHAKING_HANDS:
            if late:
                self.refuse("slow handshake", f"it did not finish its handshake {within}")
            return
        assert self._credential is not None
        reason = self._listener._credentials.still_valid(self._credential)
        if reason is not None:
            self._end("credential", reason)
        elif self._stage is _Stage.GREETING:
            if late:
                self.refuse("slow greeting", f"{self._credential.peer.name!r} sent no ZeroMQ greeting {within}")
        elif now > self._stuck_since + 3 * limits.heartbeat_seconds:
            self._end("unread", f"{self._credential.peer.name!r} does not read its answers")
        elif self._busy:
            pass
        elif now > self._heard_at + 3 * limits.heartbeat_seconds or now > self._asked_at + limits.idle_seconds:
            self.close()
        elif now > max(self._heard_at, self._pinged_at) + limits.heartbeat_seconds:
            assert self._zmtp is not None
            self._pinged_at = now
            self._zmtp.send_ping(ttl=min(3 * limits.heartbeat_seconds, 6553.5))
            self._flush()

    def serve(self, events: int) -> None:
        """Continues: its socket can be read or written.

        Args:
            events: as in `selectors`. They may have been reported before another connection's turn.
        """
        try:
            if events & selectors.EVENT_READ and self._reading:
                self._readable()
            if events & selectors.EVENT_WRITE and self._writing:
                self._writable()
        except Exception:  # noqa: BLE001 - as below
            self._fail()

    def _guard(self, step: Callable[[], None]) -> None:
        """Does one step; a bug in it ends this connection and no other."""
        try:
            step()
        except Exception:  # noqa: BLE001 - logged with its traceback, but not as often as the peer likes
            self._fail()

    def _fail(self) -> None:
        name = self.peer.name if self.peer else self.host
        self._listener._peer_log.bug(name, "TLS connection", "TLS: handling a connection failed")
        self.close()

    # --- bytes in -------------------------------------------------------------------------------------------------

    def _readable(self) -> None:
        try:
            if self._stage is _Stage.SHAKING_HANDS:
                self._shake_hands()
                return
            data = self._socket.recv()
        except ssl.SSLWantReadError:
            self._charge_for_nothing()
            return
        except ssl.SSLWantWriteError:
            # It asked for KeyUpdates and does not read them: continue once it does.
            if self._stage is _Stage.LEAVING:
                self.close()
            else:
                self._wait_for(read=False, write=True)
            return
        except OSError:  # the peer is gone; nobody is left to tell
            self.close()
            return
        if not data:
            self.close()
            return
        if self._stage is not _Stage.LEAVING:
            if not (self._at_rest and self._take_one(data)):
                self._take(data)
            if self._socket.has_carried_nothing:
                self._charge_for_nothing()

    def _charge_for_nothing(self) -> None:
        surplus = self._socket.take_carried_nothing()
        if surplus and self._client is not None and not self._closed:
            self._listener._shares.owe(self._client, surplus / _BYTES_OF_NOTHING)
            self._work()

    def _shake_hands(self) -> None:
        try:
            self._socket.do_handshake()
        except ssl.SSLWantReadError:
            self._wait_for(read=True, write=False)
            return
        except ssl.SSLWantWriteError:
            self._wait_for(read=True, write=True)
            return
        except OSError as error:
            self.refuse(*_explain(error))
            return
        self._wait_for(read=True, write=False)
        self._stage = _Stage.GREETING
        certificate = self._socket.getpeercert()
        assert certificate is not None  # CERT_REQUIRED
        try:
            self._credential = self._listener._credentials.tls_peer(certificate)
        except CredentialRefused as refused:
            self._dismiss("credential", str(refused), farewell=f"{refused}. Ask for a new profile.")
            return
        try:
            self._client = self._listener._enter(self, self._credential.peer)
        except Full as full:
            self._dismiss("full", str(full), farewell=f"too many connections: {full}. Try again in a moment.")
            return
        self._listener._credentials.note_seen(self._credential)
        self.peer = self._credential.peer
        self._sender = Sender(self.peer, self.address, self._listener.name)
        self._zmtp = self._framing()
        self._flush()
        # Data that came with the end of the handshake is already here, and no event would report it.
        self._loop.call_soon(self._guard, self._read_rest)

    def _read_rest(self) -> None:
        if self._reading:
            self._readable()

    def _framing(self) -> zmtp.Connection:
        return zmtp.Connection(
            socket_type="ROUTER",
            as_server=True,
            accepts=frozenset({"REQ", "DEALER"}),
            # A request slightly too large gets an answer that says so, one far too large is cut off.
            max_message=2 * self._limits.message_bytes,
        )

    def _take_one(self, data: bytes) -> bool:
        """Takes exactly one whole request, which is what nearly all reads are, and answers it at once. Does the same as
        `_take` and `_work`, without the steps that matter only for everything else.

        Returns:
            False, without doing anything, if the data is anything else or has to wait.
        """
        client, service = self._client, self._listener._service
        assert client is not None
        assert self._sender is not None
        if data[:3] != _REQUEST or len(data) != 4 + data[3] or not self._listener._shares.may_ask_now(client):
            return False
        self._heard_at = self._asked_at = self._loop.time()
        body = data[4:]
        made = service.answer(self._sender, body)
        if not isinstance(made, bytes) or len(made) > _SMALL_ANSWER:
            self._give([b""], made, body)
            self._flush()
            return True
        size = len(made)
        answer = _REQUEST + bytes((size,)) + made if size < 256 else _LONG_ANSWER + size.to_bytes(8, "big") + made
        try:
            sent = self._socket.send(answer)
        except OSError:  # TLS waits for the network, or the network is gone
            sent = 0
        if sent != size + (len(_LONG_ANSWER) + 8 if size > 255 else len(_REQUEST) + 1):
            self._outgoing = memoryview(answer)[sent:]
            self._flush()
        return True

    def _take(self, data: bytes) -> None:
        """Parses bytes from the peer."""
        assert self._zmtp is not None
        assert self._client is not None
        self._heard_at = self._loop.time()
        self._at_rest = False
        try:
            events = self._zmtp.receive_data(data)
        except zmtp.RemoteProtocolError as error:
            self._end("protocol", f"{self._client.peer.name!r} broke the protocol: {error}")
            return
        read, self._frames_read = self._zmtp.frames_read - self._frames_read, self._zmtp.frames_read
        for event in events:
            if isinstance(event, zmtp.Message):
                self._requests.append(event.frames)
                read -= _FRAMES_OF_A_REQUEST
        if read > 0:
            # Commands, and frames that are not a complete request. They ask for nothing, but take time as well.
            self._listener._shares.owe(self._client, read / _FRAMES_OF_A_REQUEST)
        if self._stage is _Stage.GREETING and self._zmtp.ready:
            self._stage = _Stage.OPEN
        self._work()

    # --- requests and answers -------------------------------------------------------------------------------------

    def _work(self) -> None:
        """Answers the requests until none is left or something has to be waited for. Only then does it continue to
        read: what the peer sends meanwhile waits in the network."""
        if self._closed or self._waits or self._scheduled is not None:
            return
        client, shares = self._client, self._listener._shares
        assert client is not None
        now, left = self._loop.time(), _REQUESTS_AT_ONCE
        while not self._outgoing and not self._waits:
            if not self._requests and left < _REQUESTS_AT_ONCE:
                break
            wait = shares.wait(client, now)
            if wait or not left:
                self._scheduled = self._loop.call_later(wait, self._guard, self._work_on)
                break
            if not self._requests:
                break
            left -= 1
            shares.may_ask(client, now)
            self._asked_at = now
            self._answer(self._requests.popleft())
        self._flush()
        self._hold_in(client)

    def _work_on(self) -> None:
        self._scheduled = None
        self._work()

    def _hold_in(self, client: Client) -> None:
        if self._closed:
            return
        assert self._zmtp is not None
        self._at_rest = self._stage is _Stage.OPEN and self._zmtp.at_rest and not (self._busy or self._stopping)
        held = self._zmtp.incomplete + _BYTES_OF_A_REQUEST * len(self._requests)
        if held != self._held_in:
            change, self._held_in = held - self._held_in, held
            too_much = self._listener._shares.hold_in(client, change)
            if too_much is not None:
                self._end("bytes", f"{client.peer.name!r} sends requests that it does not complete: {too_much}")

    def _answer(self, frames: tuple[bytes, ...]) -> None:
        *envelope, data = frames
        assert self._sender is not None
        service = self._listener._service
        if len(data) > self._listener._shares.limits.message_bytes:
            self._queue(envelope, service.too_large(len(data), self._listener.name), b"")
            return
        self._give(envelope, service.answer(self._sender, data), data)

    def _give(self, envelope: list[bytes], made: bytes | Later, data: bytes) -> None:
        """Queues an answer, or hands it to a worker.

        Args:
            envelope: the frames before the request.
            made: the service's answer.
            data: the request.
        """
        if isinstance(made, bytes):
            self._queue(envelope, made, data)
            return

        def hand_over(answer: bytes) -> None:
            self._waits = False
            if not self._closed:  # it may have been cut off meanwhile
                self._queue(envelope, answer, data)
                self._work()

        def done(answer: bytes) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._guard, lambda: hand_over(answer))

        self._waits = True
        if not self._listener._workers.submit(self._client, made, done):
            self._waits = False
            self._queue(envelope, self._listener._service.too_busy(data, self._listener.name), data)

    def _queue(self, envelope: list[bytes], answer: bytes, request: bytes) -> None:
        assert self._zmtp is not None
        assert self._client is not None
        large = len(answer) > _SMALL_ANSWER
        if large and not self._listener._shares.may_hold_out(self._client, len(answer)):
            answer = self._listener._service.unread_answers(request, self._listener.name)
        self._zmtp.send_message([*envelope, answer])
        if large:
            self._flush()

    # --- bytes out ------------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        """Sends what is queued, as far as the peer takes it."""
        if self._closed or self._zmtp is None:
            return
        if not self._outgoing:
            self._outgoing = self._zmtp.data_to_send()
        while self._outgoing:
            try:
                # After a failed write OpenSSL requires exactly the same bytes again.
                sent = self._socket.send(memoryview(self._outgoing)[:_SENT_AT_ONCE])
            except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
                self._hold_out(len(self._outgoing))
                if self._stuck_since == float("inf"):
                    self._stuck_since = self._loop.time()
                self._wait_for(read=False, write=True)
                return
            except OSError:
                self.close()
                return
            self._stuck_since = float("inf")
            if sent == len(self._outgoing):
                self._outgoing = b""
                break
            self._outgoing = memoryview(self._outgoing)[sent:]
            if sent == _SENT_AT_ONCE:
                # Give the others a turn.
                self._hold_out(len(self._outgoing))
                self._wait_for(read=False, write=True)
                return
        if self._held_out:
            self._hold_out(0)
        if self._stopping and not self._busy:
            self.close()
            return
        self._wait_for(read=not (self._waits or self._requests or self._scheduled), write=False)

    def _writable(self) -> None:
        if self._stage is _Stage.SHAKING_HANDS:
            self._shake_hands()
            return
        self._flush()
        if not self._outgoing:
            self._work()

    def _hold_out(self, waiting: int) -> None:
        if waiting != self._held_out:
            assert self._client is not None
            change, self._held_out = waiting - self._held_out, waiting
            self._listener._shares.hold_out(self._client, change)

    def _wait_for(self, *, read: bool, write: bool) -> None:
        if read == self._reading and write == self._writing:
            return
        was = self._reading or self._writing
        self._reading, self._writing = read, write
        readiness = self._listener._readiness
        events = (selectors.EVENT_READ if read else 0) | (selectors.EVENT_WRITE if write else 0)
        if not events:
            readiness.unregister(self._descriptor)
        elif was:
            readiness.modify(self._descriptor, events, self)
        else:
            readiness.register(self._descriptor, events, self)


def _explain(error: OSError) -> tuple[str, str]:
    """Why a handshake failed, for people who set up the workstation at the other end: the kind, and a clause."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate {error.verify_code}", f"its certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or "").replace("_", " ").lower()
        match error.reason:
            case "PEER_DID_NOT_RETURN_A_CERTIFICATE":
                return "no certificate", "it showed no client certificate"
            case "HTTP_REQUEST" | "HTTPS_PROXY_REQUEST":
                return "HTTP", "it speaks plain HTTP (a browser or a scanner)"
            case "WRONG_VERSION_NUMBER" | "UNEXPECTED_MESSAGE" | "RECORD_LAYER_FAILURE" | "PACKET_LENGTH_TOO_LONG":
                return "no TLS", "it does not speak TLS (an unencrypted client?)"
            case "UNSUPPORTED_PROTOCOL" | "NO_PROTOCOLS_AVAILABLE":
                return "version", "it does not offer TLS 1.3"
        if "ALERT" in (error.reason or ""):
            return "alert", f"it does not accept the broker's certificate ({reason})"
        return "handshake", f"the TLS handshake failed ({reason or error})"
    return "hung up", f"it hung up during the handshake ({error.strerror or error})"
