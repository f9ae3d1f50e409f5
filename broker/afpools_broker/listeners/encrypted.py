"""TLS over a non-blocking socket, a bounded piece at a time.

Strategy: the methods are those of `ssl.SSLSocket` and raise the same errors, but the socket is read here and the data
is handed to OpenSSL. If OpenSSL reads by itself, it does not return until it has data for us or the network has nothing
more: a peer that sends nothing but KeyUpdates (RFC 8446, 4.6.3) would occupy the thread for as long as it likes.
"""

from __future__ import annotations

import contextlib
import socket
import ssl

# How many bytes are read from the network before other connections get a turn.
_READ_AT_ONCE = 16384

# A TLS record carries at most this many bytes of ours, and about 256 of its own.
_RECORD = 16384
_LARGEST_RECORD = _RECORD + 256


class Encrypted:
    """The broker's side of one TLS connection.

    Args:
        plain: connected and non-blocking; belongs to this object from now on.
        context: the broker's TLS context.
    """

    def __init__(self, plain: socket.socket, context: ssl.SSLContext) -> None:
        self._plain = plain
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._unsent: bytes | memoryview = b""
        self._half_sent = 0
        self._carried_nothing = 0

    def fileno(self) -> int:
        return self._plain.fileno()

    def close(self) -> None:
        self._plain.close()

    def getpeercert(self) -> bytes | None:
        """The peer's certificate, DER."""
        return self._tls.getpeercert(binary_form=True)

    def shutdown(self, how: int) -> None:
        self._plain.shutdown(how)

    def do_handshake(self) -> None:
        """As `SSLSocket.do_handshake`. Data may have come with its last message: call `recv` afterwards."""
        self._send_all()
        self._receive()
        try:
            self._tls.do_handshake()
        except ssl.SSLError:
            self._try_to_send()  # tell the peer why it failed
            raise
        self._try_to_send()

    def recv(self) -> bytes:
        """As `SSLSocket.recv`, but returns everything that came with one read of the network."""
        if self._has_unsent:
            self._send_all()
        is_open = self._receive()
        data = b""
        try:
            while chunk := self._tls.read(_RECORD):
                data = data + chunk if data else chunk
                # Most reads of the network are one record, and a record is read as a whole. Asking for another one that
                # has not arrived raises an exception, which takes as long as everything else.
                if not self._incoming.pending:
                    break
            else:
                is_open = False
        except ssl.SSLWantReadError:
            pass
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            is_open = False
        if self._has_unsent:
            self._try_to_send()
        left = self._carried_nothing - 2 * len(data)
        self._carried_nothing = left if left > 0 else 0
        if not data and is_open:
            raise ssl.SSLWantReadError
        return data

    def send(self, data: memoryview | bytes) -> int:
        """As `SSLSocket.send`: after `SSLWantWriteError` it needs the same bytes again."""
        sent = 0
        if len(data) <= _RECORD and not self._half_sent and not self._has_unsent:
            # A shortcut for the code below: most answers are one record, and the peer takes it at once.
            written = self._tls.write(data)
            if self._sends(self._outgoing.read()):
                return written
            self._half_sent = written
        while True:
            try:
                self._send_all()
            except ssl.SSLWantWriteError:
                if sent:
                    return sent
                raise
            sent, self._half_sent = sent + self._half_sent, 0
            if sent == len(data):
                return sent
            self._half_sent = self._tls.write(data[sent : sent + _RECORD])

    @property
    def has_carried_nothing(self) -> bool:
        """Whether `take_carried_nothing` would return something."""
        return self._carried_nothing > _LARGEST_RECORD

    def take_carried_nothing(self) -> int:
        """Bytes received since the last call beyond what they carried, and beyond one incomplete record."""
        surplus = max(0, self._carried_nothing - _LARGEST_RECORD)
        self._carried_nothing -= surplus
        return surplus

    @property
    def _has_unsent(self) -> bool:
        return bool(self._outgoing.pending or self._unsent)

    def _receive(self) -> bool:
        try:
            data = self._plain.recv(_READ_AT_ONCE)
        except BlockingIOError:
            return True
        if not data:
            self._incoming.write_eof()
            return False
        self._carried_nothing += len(data)
        self._incoming.write(data)
        return True

    def _try_to_send(self) -> None:
        with contextlib.suppress(OSError):  # the next send or receive finds out
            self._send_all()

    def _send_all(self) -> None:
        while self._unsent or self._outgoing.pending:
            if not self._sends(self._unsent or self._outgoing.read()):
                raise ssl.SSLWantWriteError

    def _sends(self, data: bytes | memoryview) -> bool:
        """Whether the network takes all of it; what it does not take is kept."""
        try:
            sent = self._plain.send(data)
        except BlockingIOError:
            self._unsent = data
            return False
        self._unsent = b"" if sent == len(data) else memoryview(data)[sent:]
        return not self._unsent
