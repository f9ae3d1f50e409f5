"""TLS: ZMTP inside TLS 1.3 with client certificates, for plug-ins that have nothing but Python's standard library.

Strategy: one thread with an asyncio loop. Each connection is a coroutine that moves bytes between the socket and the
ZMTP core (`afpools.zmtp`, which does no I/O); requests of one connection are answered in order, those of different
ones do not wait for each other. Connections are accepted by hand rather than with `asyncio.start_server`, because
that one keeps failed handshakes to itself, and they are what somebody who sets up a workstation has to be told about.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
import ssl
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from afpools import zmtp

from ..credentials import CredentialRefused, Peer, TlsPeer
from ..service import Later, Service
from . import ConnectionLimits, Listener, ListenError, Shared, Workers, address_text, cannot_listen

log = logging.getLogger("afpools.connections")

# How often open connections are held against the list of revoked certificates. Five seconds are promised; the list
# itself is looked at once a second.
_SWEEP_SECONDS = 1.0


# A peer that sends many requests at once lets others pass after this many.
_EVENTS_AT_ONCE = 20

# Bytes. The list of a large farm's hosts has millions; given all at once, asyncio would keep four copies of it, and
# nobody else would be served while it is encrypted.
_SENT_AT_ONCE = 256 * 1024


@dataclass(frozen=True, slots=True)
class _Sender:
    peer: Peer
    connection: int
    address: str


class TlsListener(Listener):
    """Answers clients over TLS."""

    name = "TLS"

    def __init__(self, address: str, port: int, shared: Shared) -> None:
        super().__init__(address, port, shared)
        self._socket: socket.socket | None = None
        self._patience = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections: set[_Connection] = set()
        self._thread = threading.Thread(target=self._run, name="afpools-tls", daemon=True)

    def bind(self) -> None:
        self._context = self._credentials.server_context()
        ipv6 = ipaddress.ip_address(self.address).version == 6
        family = socket.AF_INET6 if ipv6 else socket.AF_INET
        try:
            listening = socket.create_server((self.address, self.port), family=family, backlog=512)
        except OSError as error:
            raise ListenError(cannot_listen(self.name, self.address, self.port, error.errno or 0)) from None
        listening.setblocking(False)
        self._socket = listening
        self.port = listening.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()

    def start(self) -> None:
        self._thread.start()

    def stop(self, *, wait: float) -> None:
        if self._thread.is_alive():
            self._patience = wait
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(wait + 0.1)
        elif self._socket is not None:
            self._socket.close()
            self._loop.close()

    def _run(self) -> None:
        with contextlib.closing(self._loop):
            self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        assert self._socket is not None
        accepting = self._loop.create_task(self._accept(self._socket))
        sweeping = self._loop.create_task(self._sweep())
        await self._stopping.wait()
        accepting.cancel()
        sweeping.cancel()
        self._socket.close()
        for connection in self._connections:
            connection.stop()
        if self._tasks:
            _, unfinished = await asyncio.wait(self._tasks, timeout=self._patience)
            for task in unfinished:
                task.cancel()
        await asyncio.gather(accepting, sweeping, *self._tasks, return_exceptions=True)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, address = await self._loop.sock_accept(listening)
            except OSError as error:
                # Out of file descriptors, most likely; the connection stays in the queue until there is one.
                log.error("TLS: cannot accept connections: %s", error.strerror or error)
                await asyncio.sleep(0.2)
                continue
            where = address_text(*address[:2])
            if self._statistics.connections[self.name] >= self._limits.connections:
                connection.close()
                self._refusals.refuse(
                    self.name, where, f"there are {self._limits.connections} connections already ([limits] connections)"
                )
                continue
            connection.setblocking(False)
            self._statistics.connection(self.name, 1)
            self._spawn(self._welcome(connection, where))

    async def _welcome(self, connection: socket.socket, where: str) -> None:
        try:
            reader = asyncio.StreamReader(limit=self._limits.message_bytes)
            protocol = asyncio.StreamReaderProtocol(reader)
            try:
                transport, _ = await self._loop.connect_accepted_socket(
                    lambda: protocol,
                    connection,
                    ssl=self._context,
                    ssl_handshake_timeout=self._limits.handshake_seconds,
                    ssl_shutdown_timeout=1.0,
                )
            except (OSError, ssl.SSLError) as error:
                connection.close()
                self._refusals.refuse(self.name, where, self._explain(error))
                return
            writer = asyncio.StreamWriter(transport, protocol, reader, self._loop)
            try:
                await self._converse(reader, writer, where)
            finally:
                writer.transport.abort()
        finally:
            self._statistics.connection(self.name, -1)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, where: str) -> None:
        certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        try:
            peer = self._credentials.tls_peer(certificate)
        except CredentialRefused as refused:
            self._refusals.refuse(self.name, where, str(refused))
            farewell = _framing(self._limits)
            farewell.send_error(f"{refused}. Ask for a new profile.")
            writer.write(farewell.data_to_send())
            return
        connection = _Connection(reader, writer, peer, where, self._service, self._workers, self._limits)
        self._connections.add(connection)
        try:
            await connection.run()
        except zmtp.RemoteProtocolError as error:
            self._refusals.close(self.name, where, f"{peer.peer.name!r} broke the protocol: {error}")
        except TimeoutError:
            if not connection.ready:
                self._refusals.refuse(
                    self.name,
                    where,
                    f"{peer.peer.name!r} sent no ZeroMQ greeting within {self._limits.handshake_seconds:g} seconds",
                )
        except OSError:
            pass  # the peer is gone; nobody is left to be told
        finally:
            self._connections.discard(connection)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            for connection in list(self._connections):
                reason = self._credentials.still_valid(connection.peer)
                if reason is not None:
                    self._refusals.close(self.name, connection.address, reason)
                    connection.abort()

    def _explain(self, error: OSError) -> str:
        """Why a handshake failed, for whoever sets up the workstation at the other end."""
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"its certificate is not accepted: {error.verify_message}"
        if isinstance(error, ssl.SSLError):
            reason = (error.reason or "").replace("_", " ").lower()
            match error.reason:
                case "PEER_DID_NOT_RETURN_A_CERTIFICATE":
                    return "it showed no client certificate"
                case "HTTP_REQUEST" | "HTTPS_PROXY_REQUEST":
                    return "it speaks plain HTTP (a browser or a scanner)"
                case "WRONG_VERSION_NUMBER" | "UNEXPECTED_MESSAGE" | "RECORD_LAYER_FAILURE" | "PACKET_LENGTH_TOO_LONG":
                    return "it does not speak TLS (an unencrypted client?)"
                case "UNSUPPORTED_PROTOCOL" | "NO_PROTOCOLS_AVAILABLE":
                    return "it offers no TLS 1.3"
            if "ALERT" in (error.reason or ""):
                return f"it does not accept the broker's certificate ({reason})"
            return f"the TLS handshake failed ({reason or error})"
        if isinstance(error, TimeoutError | ConnectionAbortedError):
            return f"it did not finish its handshake within {self._limits.handshake_seconds:g} seconds"
        return f"it hung up during the handshake ({error.strerror or error})"


def _framing(limits: ConnectionLimits) -> zmtp.Connection:
    return zmtp.Connection(
        socket_type="ROUTER",
        as_server=True,
        accepts=frozenset({"REQ", "DEALER"}),
        # What is a little too large gets an answer that says so, what is far too large is cut off.
        max_message=2 * limits.message_bytes,
    )


class _Connection:
    """One authenticated connection."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        peer: TlsPeer,
        address: str,
        service: Service,
        workers: Workers,
        limits: ConnectionLimits,
    ) -> None:
        self.peer = peer
        self.address = address
        self._reader = reader
        self._writer = writer
        self._service = service
        self._workers = workers
        self._limits = limits
        self._sender = _Sender(peer.peer, id(self), address)
        self._loop = asyncio.get_running_loop()
        self._stopping = False
        self._busy = False
        self._zmtp = _framing(limits)

    @property
    def ready(self) -> bool:
        """Whether the peer has introduced itself as a ZeroMQ socket."""
        return bool(self._zmtp.ready)

    def abort(self) -> None:
        """Cuts the connection off, an answer under way included."""
        self._writer.transport.abort()

    def stop(self) -> None:
        """Ends the connection after the answer under way, if there is one."""
        self._stopping = True
        if not self._busy:
            self._writer.transport.abort()

    async def run(self) -> None:
        """Answers until the peer leaves, is silent for too long, or asks for nothing any more.

        Raises:
            zmtp.RemoteProtocolError: what the peer sent is not ZMTP.
            TimeoutError: nothing came, or nothing could be sent.
            OSError: the connection broke.
        """
        await self._flush()
        heartbeat = self._limits.heartbeat_seconds
        asked_at = heard_at = self._loop.time()
        deadline = heard_at + self._limits.handshake_seconds
        while not self._stopping:
            try:
                async with asyncio.timeout_at(deadline):
                    data = await self._reader.read(65536)
            except TimeoutError:
                now = self._loop.time()
                if not self.ready:
                    raise
                if now > heard_at + 3 * heartbeat or now > asked_at + self._limits.idle_seconds:
                    return
                self._zmtp.send_ping(ttl=3 * heartbeat)
                await self._flush()
                deadline = now + heartbeat
                continue
            if not data:
                return
            asked = await self._handle(data)
            heard_at = self._loop.time()
            if asked:
                asked_at = heard_at
            elif heard_at > asked_at + self._limits.idle_seconds:
                return
            if self.ready:
                deadline = heard_at + heartbeat

    async def _handle(self, data: bytes) -> bool:
        """Answers what is in the bytes that came.

        Returns:
            Whether there was a request among them.
        """
        asked = False
        self._busy = True
        try:
            for number, event in enumerate(self._zmtp.receive_data(data), 1):
                if isinstance(event, zmtp.Message):
                    asked = True
                    await self._answer(event.frames)
                if number % _EVENTS_AT_ONCE == 0:
                    await self._flush()
                    await asyncio.sleep(0)
            await self._flush()
        finally:
            self._busy = False
        return asked

    async def _answer(self, frames: tuple[bytes, ...]) -> None:
        *envelope, data = frames
        if len(data) > self._limits.message_bytes:
            answer: bytes = self._service.too_large(len(data))
        else:
            made = self._service.answer(self._sender, data)
            answer = made if isinstance(made, bytes) else await self._later(made, data)
        self._zmtp.send_message([*envelope, answer])

    async def _later(self, work: Later, data: bytes) -> bytes:
        result: asyncio.Future[bytes] = self._loop.create_future()

        def hand_over(answer: bytes) -> None:
            if not result.done():  # the connection may have been cut off meanwhile
                result.set_result(answer)

        def done(answer: bytes) -> None:
            self._loop.call_soon_threadsafe(hand_over, answer)

        if not self._workers.submit(work, done):
            return self._service.too_busy(data)
        return await result

    async def _flush(self) -> None:
        data = self._zmtp.data_to_send()
        if data:
            # A peer that does not read its answers is as good as gone.
            async with asyncio.timeout(3 * self._limits.heartbeat_seconds):
                for start in range(0, len(data), _SENT_AT_ONCE):
                    self._writer.write(data[start : start + _SENT_AT_ONCE])
                    await self._writer.drain()
