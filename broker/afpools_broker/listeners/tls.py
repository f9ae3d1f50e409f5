"""TLS: ZMTP inside TLS 1.3 with client certificates, for plug-ins that have nothing but Python's standard library.

Strategy: one thread with an event loop that reports which sockets can be read or written. Each connection is a small
state machine (tls_connection.py) over TLS (encrypted.py) and ZMTP (`afpools.zmtp`). It continues to read only after it
has answered what it has read and sent the answers. So a peer that asks faster than its share, or does not read, is
slowed down by TCP itself and costs nobody anything. asyncio's own TLS is not used: it reserves 256 KiB per connection
from the first byte on, and reads ahead whether or not anybody wants more.

A peer that fails to connect leaves a log line that says why: failed handshakes are what people who set up a workstation
need to know about.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import selectors
import socket
import threading

from ..credentials.peers import Peer
from ..memory import give_back
from ..monitoring.peer_log import network_of
from . import Listener, Shared, address_text
from .encrypted import Encrypted
from .shares import Client, Full, Strangers
from .tls_connection import TlsConnection

# How often connections are checked: deadlines, heartbeats, revoked certificates. A revocation must take effect within
# five seconds; the list itself is checked once a second.
_SWEEP_SECONDS = 0.5

# Connections are served for this long before timers, workers and new connections get a turn.
_BATCH_SECONDS = 0.005

# How many connections are accepted before the open ones get a turn.
_ACCEPTS_AT_ONCE = 16

# A connection unused for this long makes room for a new one of the same client: our own clients no longer use it
# (`_TRUSTED_IDLE` in afpools/calls.py).
_REPLACEABLE_SECONDS = 15.0

# Roughly what OpenSSL keeps for one connection, and after how many bytes of closed ones memory is returned.
_BYTES_OF_A_CONNECTION = 32 * 1024
_WORTH_GIVING_BACK = 8 * 1024 * 1024


class TlsListener(Listener):
    """Answers clients over TLS."""

    name = "TLS"

    def __init__(self, address: str, port: int, shared: Shared) -> None:
        super().__init__(address, port, shared)
        self._socket: socket.socket | None = None
        self._patience = 0.0
        self._connections: set[TlsConnection] = set()
        self._freed = 0
        self._strangers: Strangers[TlsConnection] = Strangers(shared.shares)
        self._thread = threading.Thread(target=self._run, name="afpools-tls", daemon=True)

    def bind(self) -> None:
        self._context = self._credentials.server_context()
        self._socket, self._doorkeeper = self._listen(dualstack=False)
        self._readiness = selectors.DefaultSelector()
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._all_gone = asyncio.Event()

    def start(self) -> None:
        self._thread.start()

    def comes_round(self, wait: float) -> bool:
        came = threading.Event()
        with contextlib.suppress(RuntimeError):  # the loop has ended by itself
            self._loop.call_soon_threadsafe(came.set)
        return came.wait(wait)

    def stop(self, *, wait: float) -> None:
        if self._thread.is_alive():
            self._patience = wait
            with contextlib.suppress(RuntimeError):  # the loop has already ended
                self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(wait + 0.1)
        elif self._socket is not None:
            self._doorkeeper.close()
            self._socket.close()
            self._readiness.close()
            self._loop.close()

    def _run(self) -> None:
        with contextlib.closing(self._loop), self._readiness:
            self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        assert self._socket is not None
        self._loop.add_reader(self._socket, self._accept)
        self._loop.add_reader(self._readiness, self._serve_ready)
        sweeping = self._loop.create_task(self._sweep())
        await self._stopping.wait()
        self._loop.remove_reader(self._socket)
        self._doorkeeper.close()
        self._socket.close()
        for connection in list(self._connections):
            connection.stop()
        if self._connections:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._patience):
                    await self._all_gone.wait()
        sweeping.cancel()
        for connection in list(self._connections):
            connection.close()
        await asyncio.gather(sweeping, return_exceptions=True)
        self._loop.remove_reader(self._readiness)

    def _serve_ready(self) -> None:
        """Serves the connections that can be read or written. To the event loop all of them are one descriptor: its
        work for each ready descriptor takes a tenth of the time of a request."""
        until = self._loop.time() + _BATCH_SECONDS
        while ready := self._readiness.select(0):
            for key, events in ready:
                key.data.serve(events)
            if self._loop.time() > until:
                return

    def _accept(self) -> None:
        assert self._socket is not None
        for _ in range(_ACCEPTS_AT_ONCE):
            try:
                plain, address = self._socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                # Most likely there are no file descriptors left; the connection stays queued until there is one.
                self._peer_log.say(
                    "", "TLS accept", "TLS: cannot accept connections: %s", error.strerror or error, level=logging.ERROR
                )
                self._loop.remove_reader(self._socket)
                self._loop.call_later(0.2, self._accept_again)
                return
            self._welcome(plain, *address[:2])

    def _accept_again(self) -> None:
        if not self._stopping.is_set():
            assert self._socket is not None
            self._loop.add_reader(self._socket, self._accept)

    def _welcome(self, plain: socket.socket, host: str, port: int) -> None:
        where = address_text(host, port)
        if not self._shares.arrives(host):
            plain.close()
            self._doorkeeper.note_closed(network_of(host), self._loop.time())
            self._refusals.refuse(
                self.name,
                where,
                "arrivals",
                f"more than {self._shares.limits.new_connections_per_second:,} new connections in a second from this "
                "address ([limits] new_connections_per_second)",
            )
            return
        try:
            plain.setblocking(False)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            encrypted = Encrypted(plain, self._context)
        except OSError as error:  # already gone
            plain.close()
            self._refusals.refuse(self.name, where, "gone", f"it hung up ({error.strerror or error})")
            return
        connection = TlsConnection(self, self._loop, encrypted, host, where)
        self._connections.add(connection)
        self._statistics.connection(self.name, 1)
        surplus = self._strangers.add(host, connection)
        if surplus is not None:
            surplus.refuse(
                "strangers", "too many connections have not finished their handshake ([limits] handshakes_per_address)"
            )
        connection.begin()

    def _forget(self, connection: TlsConnection) -> None:
        self._connections.discard(connection)
        self._strangers.remove(connection.host, connection)
        self._statistics.connection(self.name, -1)
        self._freed += _BYTES_OF_A_CONNECTION + connection.held
        if not self._connections and self._stopping.is_set():
            self._all_gone.set()

    def _enter(self, connection: TlsConnection, peer: Peer) -> Client:
        """Counts a connection as a client's. If the client has too many, one that it does not use makes room.

        Raises:
            Full: the client has too many in use, or the broker is full.
        """
        self._strangers.remove(connection.host, connection)
        try:
            return self._shares.enter(peer, connection.host)
        except Full as full:
            unused = self._longest_unused(connection.host, peer) if full.own else None
            if unused is None:
                raise
            unused.close()
            return self._shares.enter(peer, connection.host)

    def _longest_unused(self, host: str, peer: Peer) -> TlsConnection | None:
        before = self._loop.time() - _REPLACEABLE_SECONDS
        unused = [
            connection
            for connection in self._connections
            if connection.host == host and connection.peer == peer and connection.unused_since < before
        ]
        return min(unused, key=lambda connection: connection.unused_since, default=None)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            now = self._loop.time()
            self._doorkeeper.look(now)
            for connection in list(self._connections):
                try:
                    connection.look(now)
                except Exception:  # noqa: BLE001 - logged with its traceback, but not once for each look
                    # A bug in one connection must not end the checks of all others.
                    self._peer_log.bug(connection.host, "TLS look", "TLS: looking over a connection failed")
                    connection.close()
            if self._freed > _WORTH_GIVING_BACK:
                self._freed = 0
                give_back()
