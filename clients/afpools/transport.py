"""One connection to one endpoint: sends a request and reads its answer before a deadline.

Strategy: every wait ends at one deadline (`until`, on `time.monotonic`), never after a fresh timeout, so a peer that
sends one byte a second cannot delay a call. Whatever goes wrong becomes a `TransportError` whose text tells whoever
sets up a workstation what to look at; the connection is then closed and not used again.

This module imports `socket` and `ssl`, so the first call imports it, not `import afpools`.
"""

from __future__ import annotations

import os
import socket
import ssl
import sys
import time

from . import zmtp
from .errors import ProfileError
from .process import Uncut, importing
from .profile import Endpoint, Profile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, List, NoReturn, Optional, Tuple

    from .lookup import Address

# 100,000 hosts with their states and pools are about 20 MB of JSON.
MAX_ANSWER = 64 * 1024 * 1024

_SWALLOWED = " (is the address right, does a firewall drop it?)"

# Eleven days, in milliseconds.
_NEVER = 1_000_000_000

# TLS returns records of at most 16 KiB; a larger buffer would stay empty.
_CHUNK = 16384


class TransportError(Exception):
    """An endpoint gave no answer. The message is a clause for `BrokerUnreachable`.

    Attributes:
        sent: whether the whole request had been sent, so that the broker may still act on it.
    """

    sent = False


class ConnectionLost(TransportError):
    """The broker closed the connection or is gone; a new connection may do better."""


class Connection:
    """The interface of both kinds of connection.

    Args:
        endpoint: where it leads.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.used_at = time.monotonic()

    def exchange(self, request: bytes, until: float) -> bytes:
        """Sends a request and returns the answer to it.

        Raises:
            ConnectionLost: the broker hung up.
            TransportError: no answer in time, or not in our protocol.
        """
        self._send_request(request, until)
        try:
            return self._await_answer(until)
        except TransportError as error:
            error.sent = True
            raise

    def _send_request(self, request: bytes, until: float) -> None:
        """Raises an exception unless the whole request has been sent."""
        raise NotImplementedError

    def _await_answer(self, until: float) -> bytes:
        raise NotImplementedError

    def close(self) -> None:
        """Ends the connection at once. An answer on its way is lost."""
        raise NotImplementedError

    def abandon(self) -> None:
        """In a forked child, drops the parent's connection, which the parent keeps using."""
        raise NotImplementedError


def connect(profile: Profile, endpoint: Endpoint, until: float) -> Connection:
    """Opens a connection that is ready for a request.

    Args:
        profile: its credentials are read again each time, so that renewed ones are used without restarting the host
            application.
        endpoint: one for which `unusable` returned None.
        until: when to give up, on `time.monotonic`.

    Raises:
        TransportError: it could not be opened in time; the message says why.
        ProfileError: our credentials cannot be read.
    """
    if endpoint.scheme == "curve":
        return _CurveConnection(profile, endpoint, until)
    return _TlsConnection(profile, endpoint, until)


def unusable(profile: Profile, endpoint: Endpoint) -> Optional[str]:
    """Why an endpoint cannot be used from this program, None if it can."""
    if endpoint.scheme == "tls":
        return None if ssl.HAS_TLSv1_3 else f"skipped, this Python's {ssl.OPENSSL_VERSION} has no TLS 1.3"
    if endpoint.scheme != "curve":
        return f"skipped, this version knows tls:// and curve:// but not {endpoint.scheme}://; update it"
    if not os.path.exists(profile.curve_file):
        return f"skipped, CURVE needs {profile.curve_file}, which is not there"
    # Importing pyzmq takes time, and is not needed if a TLS endpoint answers.
    if not _installed("zmq"):
        return "skipped, CURVE needs pyzmq, which this program does not have"
    return None


def _installed(package: str) -> bool:
    # What importlib.util.find_spec does for a package, without importing importlib.util.
    if package in sys.modules:
        return sys.modules[package] is not None
    return any(finder.find_spec(package, None) for finder in sys.meta_path)


def _left(until: float, doing: str) -> float:
    """Seconds until `until`.

    Raises:
        TransportError: the deadline has passed.
    """
    left = until - time.monotonic()
    if left <= 0:
        raise TransportError(f"timed out while {doing}")
    return left


def _resolve(endpoint: Endpoint, until: float) -> List[Address]:
    host, port = endpoint.host, endpoint.port
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return [(family, socket.SOCK_STREAM, 0, "", (host, port))]
    with importing:
        from .lookup import Lookup

    lookup = Lookup.start(host, port)
    doing = f"looking up the name {host!r} (is a name server unreachable?)"
    if not lookup.done.wait(_left(until, doing)):
        raise TransportError(f"timed out while {doing}")
    if not lookup.addresses:
        raise TransportError(f"the name {host!r} cannot be looked up: {lookup.error or 'it has no address'}")
    return lookup.addresses


# --- TLS --------------------------------------------------------------------------------------------------------------


class _TlsConnection(Connection):
    """ZMTP inside TLS 1.3."""

    def __init__(self, profile: Profile, endpoint: Endpoint, until: float) -> None:
        super().__init__(endpoint)
        with Uncut():
            context = _tls_context(profile)
        self._profile = profile
        self._zmtp = zmtp.Connection(
            socket_type="REQ", as_server=False, accepts=frozenset({"REP", "ROUTER"}), max_message=MAX_ANSWER
        )
        plain = _connect_tcp(_resolve(endpoint, until), until)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            doing = "shaking hands in TLS"
            try:
                plain.settimeout(_left(until, doing))
                # Bytes if possible: for a string, ssl imports the tables of international names.
                host = endpoint.host
                with Uncut():
                    self._socket = context.wrap_socket(plain, server_hostname=host.encode() if host.isascii() else host)
            except (OSError, ValueError) as error:
                raise self._or_expired(_explain(error, doing, endpoint)) from None
        except BaseException:
            plain.close()
            raise
        try:
            self._greet(until)
        except BaseException:
            self.close()
            raise

    def _greet(self, until: float) -> None:
        """Exchanges greetings. The broker's is read before ours is sent: in TLS 1.3, a refused client certificate is
        only noticed at the first read, and the system drops that alert once something has been sent on a closed
        connection."""
        doing = "waiting for the broker's greeting"
        try:
            data = self._receive(until, doing)
        except ConnectionLost:
            raise self._or_expired(
                ConnectionLost(
                    "the broker closed the connection right after the TLS handshake: it may not accept our "
                    "certificate (revoked?), or be full or stopping; its log says why"
                )
            ) from None
        except TransportError as error:
            raise self._or_expired(error) from None
        self._parse(data)
        while not self._zmtp.ready:
            self._send(until, doing)
            self._parse(self._receive(until, doing))

    def _or_expired(self, error: TransportError) -> TransportError:
        """The error, or the likelier reason if a broker has rejected us and our certificate has expired."""
        with importing:
            from .certificate import expired
        turned_away = isinstance(error, ConnectionLost) or "our certificate" in str(error)
        why = expired(self._profile.client_file, time.time()) if turned_away else ""
        return type(error)(f"the broker rejected us, and {why}") if why else error

    def _send_request(self, request: bytes, until: float) -> None:
        self._read_waiting()
        # REQ's envelope is one empty frame (ZeroMQ RFC 28).
        self._zmtp.send_message((b"", request))
        # With its size, because a broker closes the connection if a request is far too large.
        self._send(until, f"sending the request ({len(request):,} bytes)")

    def _await_answer(self, until: float) -> bytes:
        doing = "waiting for the answer"
        while True:
            frames = self._parse(self._receive(until, doing))
            if frames is not None:
                if len(frames) != 2 or frames[0]:
                    sizes = " and ".join(f"{len(frame):,}" for frame in frames)
                    raise TransportError(
                        f"it sent an answer in frames of {sizes} bytes instead of an empty one and the body"
                    )
                self.used_at = time.monotonic()
                return frames[1]
            self._send(until, doing)

    def close(self) -> None:
        # Without close_notify: the broker accepts that, and waiting for its own would cost time.
        try:
            # Closing the socket would not end the connection while a forked child has a copy.
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the broker closed it first
        self._socket.close()

    def abandon(self) -> None:
        # Closes only our copy, and sends nothing: the TLS session stays the parent's.
        self._socket.close()

    def _read_waiting(self) -> None:
        """Reads what has arrived since the last answer: pings, or the end of the connection."""
        self._socket.settimeout(0)
        while True:
            try:
                data = self._socket.recv(_CHUNK)
            except (ssl.SSLWantReadError, BlockingIOError):
                return
            except OSError as error:
                raise ConnectionLost(f"the connection broke while idle: {error.strerror or error}") from None
            if not data:
                raise ConnectionLost("the broker closed the connection")
            if self._parse(data) is not None:
                raise TransportError("it sent an answer before it was asked")

    def _parse(self, data: bytes) -> Optional[Tuple[bytes, ...]]:
        """The message in what has arrived, if it is complete."""
        frames = None
        try:
            for event in self._zmtp.receive_data(data):
                if isinstance(event, zmtp.Message):
                    if frames is not None:
                        raise TransportError("it sent two answers to one request")
                    frames = event.frames
        except zmtp.PeerRefused as error:
            raise ConnectionLost(f"the broker refused the connection: {error.reason}") from None
        except zmtp.RemoteProtocolError as error:
            raise TransportError(f"it does not speak our protocol: {error}") from None
        return frames

    def _receive(self, until: float, doing: str) -> bytes:
        try:
            self._socket.settimeout(_left(until, doing))
            data = self._socket.recv(_CHUNK)
        except OSError as error:
            raise _explain(error, doing, self.endpoint) from None
        if not data:
            raise ConnectionLost(f"the broker closed the connection while we were {doing}")
        return data

    def _send(self, until: float, doing: str) -> None:
        # Not `sendall`: on a TLS socket it gives each part of the data the whole timeout.
        data = memoryview(self._zmtp.data_to_send())
        while data:
            try:
                self._socket.settimeout(_left(until, doing))
                data = data[self._socket.send(data) :]
            except OSError as error:
                raise _explain(error, doing, self.endpoint) from None


def _tls_context(profile: Profile) -> ssl.SSLContext:
    """A context for TLS 1.3 with brokers that the studio's authority, and no other, has certified."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks the certificate and the host's name in it
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # The rules of RFC 5280, as Python 3.13 and the brokers apply them.
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    # Names count in the subject alternative name only (RFC 6125): a common name is a person's or a broker's.
    if ssl.HAS_NEVER_CHECK_COMMON_NAME:
        context.hostname_checks_common_name = False

    def refuse_passphrase() -> NoReturn:
        # Without this, OpenSSL would ask on the terminal that started the host application, and wait forever.
        raise ProfileError(f"The key in {profile.client_file} has a passphrase. Profiles need a key without one.")

    _load(profile.ca_file, "a certificate", lambda: context.load_verify_locations(cafile=profile.ca_file))
    _load(
        profile.client_file,
        "a certificate with its own key",
        lambda: context.load_cert_chain(profile.client_file, password=refuse_passphrase),
    )
    return context


def _load(path: str, wanted: str, load: Callable[[], None]) -> None:
    try:
        load()
    except ssl.SSLError as error:
        raise ProfileError(f"{path} does not hold {wanted} in PEM ({error.reason or error}).") from None
    except OSError as error:
        raise ProfileError(f"{path} cannot be read: {error.strerror or error}.") from None


def _connect_tcp(addresses: List[Address], until: float) -> socket.socket:
    """Connects to the first address that accepts; each gets a share of the time that is left."""
    failed: Optional[TransportError] = None
    for number, (family, kind, protocol, _, address) in enumerate(addresses):
        connection = None
        doing = f"connecting to {address[0]}"
        try:
            left = _left(until, doing)
            connection = socket.socket(family, kind, protocol)
            connection.settimeout(left / (len(addresses) - number))
            connection.connect(address)
        except OSError as error:
            if connection is not None:
                connection.close()
            failed = _connect_error(error, doing)
        except TransportError as error:
            failed = failed or error
            break
        else:
            return connection
    assert failed is not None
    raise failed


def _connect_error(error: OSError, doing: str) -> TransportError:
    if isinstance(error, socket.timeout):
        return TransportError(f"timed out while {doing}{_SWALLOWED}")
    if isinstance(error, ConnectionRefusedError):
        return TransportError("the connection was refused (is the broker running, is the port right?)")
    return TransportError(f"{doing} failed: {error.strerror or error}")


# An end without close_notify, in OpenSSL 3. Pythons before 3.10 only know OpenSSL 1.1's names, in which that number had
# another meaning.
_END = ("UNEXPECTED_EOF_WHILE_READING", "KRB5_S_TKT_NYV")

# Why a broker's certificate is not accepted, by OpenSSL's X509_V_ERR number.
_DISTRUST = {
    9: "the broker's certificate is not valid yet (are both clocks right?)",
    10: "the broker's certificate has expired",
    18: "the broker's certificate is not from the authority in our ca.pem",
    19: "the broker's certificate is not from the authority in our ca.pem",
    20: "the broker's certificate is not from the authority in our ca.pem",
    21: "the broker's certificate is not from the authority in our ca.pem",
    7: "the broker's certificate is not from the authority in our ca.pem, though it has the same name",
    23: "the broker's certificate was revoked",
}
_NAME_MISMATCH = (62, 64)  # of a name, of an address


def _explain(error: Exception, doing: str, endpoint: Endpoint) -> TransportError:
    """The error for an exception of a TLS socket."""
    if isinstance(error, socket.timeout):
        return TransportError(f"timed out while {doing}")
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _NAME_MISMATCH:
            return TransportError(
                f"the broker's certificate is not for {endpoint.host!r}: use one of its names, or ask for one with this"
            )
        why = _DISTRUST.get(error.verify_code) or f"the broker's certificate is not accepted: {error.verify_message}"
        return TransportError(why)
    if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionError)):
        return ConnectionLost(f"the broker closed the connection while we were {doing}")
    if isinstance(error, ssl.SSLError):
        reason = error.reason or str(error)
        if reason in _END:
            return ConnectionLost(f"the broker closed the connection while we were {doing}")
        # OpenSSL 1.1 says TLSV13_ALERT_CERTIFICATE_REQUIRED and SSLV3_ALERT_…, OpenSSL 3.2 SSL/TLS_ALERT_….
        alert = reason.partition("ALERT_")[2].replace("_", " ").lower()
        if alert in ("protocol version", "handshake failure"):
            return TransportError(f"it does not speak TLS 1.3 ({alert})")
        if alert:
            return TransportError(f"the broker does not accept our certificate client.pem: {alert}")
        if reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "UNEXPECTED_MESSAGE"):
            return TransportError("it does not speak TLS (is it the port for CURVE?)")
        if reason == "UNSUPPORTED_PROTOCOL":
            return TransportError("it does not speak TLS 1.3")
        return TransportError(f"{doing} failed: {reason.replace('_', ' ').lower()}")
    return TransportError(f"{doing} failed: {getattr(error, 'strerror', None) or error}")


# --- CURVE ------------------------------------------------------------------------------------------------------------


class _CurveConnection(Connection):
    """CurveZMQ through libzmq, whose own thread connects in the background; its events report the outcome."""

    def __init__(self, profile: Profile, endpoint: Endpoint, until: float) -> None:
        super().__init__(endpoint)
        try:
            with importing:
                import zmq
                import zmq.auth
                from zmq.utils.monitor import recv_monitor_message
        except (ImportError, OSError) as error:
            raise TransportError(f"this program's pyzmq cannot be imported: {error}") from None
        if not zmq.has("curve"):
            raise TransportError("this program's pyzmq was built without CURVE")
        self._zmq = zmq
        self._read_event: Callable[[Any], Any] = recv_monitor_message
        public, secret = self._own_keys(profile)
        # Looked up here, because libzmq would do it without a time limit, and closing the socket would wait for it.
        family, _, _, _, address = _resolve(endpoint, until)[0]
        host = f"[{address[0]}]" if family == socket.AF_INET6 else str(address[0])
        with Uncut():
            self._context = zmq.Context()
            self._socket = self._context.socket(zmq.REQ)  # which starts libzmq's threads
        try:
            self._socket.linger = 0
            self._socket.ipv6 = family == socket.AF_INET6
            self._socket.maxmsgsize = MAX_ANSWER
            self._socket.curve_publickey = public
            self._socket.curve_secretkey = secret
            self._socket.curve_serverkey = (endpoint.server_key or "").encode("ascii")
            # One connection with a known outcome: the caller makes the next one. libzmq has no value for "never".
            self._socket.reconnect_ivl = _NEVER
            self._events = self._socket.get_monitor_socket(
                zmq.EVENT_CONNECTED
                | zmq.EVENT_HANDSHAKE_SUCCEEDED
                | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
                | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
                | zmq.EVENT_HANDSHAKE_FAILED_AUTH
                | zmq.EVENT_CONNECT_RETRIED
                | zmq.EVENT_DISCONNECTED
            )
            self._socket.connect(f"tcp://{host}:{endpoint.port}")
        except zmq.ZMQError as error:
            self.close()
            raise ProfileError(
                f"The keys in {profile.curve_file} and the server_key of {endpoint.url} cannot be used: {error}."
            ) from None
        try:
            self._await_handshake(host, until)
        except BaseException:
            self.close()
            raise

    def _own_keys(self, profile: Profile) -> Tuple[bytes, bytes]:
        try:
            public, secret = self._zmq.auth.load_certificate(profile.curve_file)
        except (OSError, ValueError) as error:
            raise ProfileError(f"{profile.curve_file} cannot be read: {error}") from None
        if secret is None:
            raise ProfileError(f"{profile.curve_file} holds no secret key.")
        return public, secret

    def _await_handshake(self, host: str, until: float) -> None:
        """libzmq would queue a request at once, and nobody could tell later whether it had been sent."""
        zmq, doing, event = self._zmq, f"connecting to {host}{_SWALLOWED}", 0
        while event != zmq.EVENT_HANDSHAKE_SUCCEEDED:
            if event == zmq.EVENT_CONNECTED:
                # If the broker's ZAP answers 300 (try again later), libzmq says nothing, and we wait.
                doing = "shaking hands in CURVE (is the broker full or stopping? Over CURVE it does not say so)"
            if not event:
                self._events.poll(int(_left(until, doing) * 1000) + 1)
            event = self._check_event()

    def _send_request(self, request: bytes, until: float) -> None:
        while self._events.poll(0):
            self._check_event()
        _left(until, "sending the request")
        try:
            self._socket.send(request, self._zmq.DONTWAIT)
        except self._zmq.Again:
            raise ConnectionLost("the broker closed the connection") from None

    def _await_answer(self, until: float) -> bytes:
        zmq = self._zmq
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._events, zmq.POLLIN)
        while True:
            left = _left(until, "waiting for the answer")
            ready = dict(poller.poll(int(left * 1000) + 1))
            if self._socket in ready:
                frames: List[bytes] = self._socket.recv_multipart()
                if len(frames) != 1:
                    raise TransportError(f"it sent an answer of {len(frames)} frames instead of one")
                self.used_at = time.monotonic()
                return frames[0]
            if self._events in ready:
                try:
                    self._check_event()
                except ConnectionLost:
                    # The answer may have arrived just before the end, after this poll had looked for it.
                    if not self._socket.poll(0):
                        raise

    def close(self) -> None:
        # Sockets first: closing the context waits for them.
        self._context.destroy(linger=0)

    def abandon(self) -> None:
        # libzmq's threads stayed in the parent, and closing anything here would wait for them. pyzmq does not close
        # what another process has made.
        pass

    def _check_event(self) -> int:
        """The next event of libzmq, 0 for none.

        Raises:
            ConnectionLost: the connection has ended.
            TransportError: there will be none.
        """
        zmq = self._zmq
        if not self._events.poll(0):
            return 0
        event = self._read_event(self._events)
        kind = event["event"]
        if kind == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            raise TransportError(_refused_key(int(event["value"])))
        if kind == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
            # libzmq ends a connection silently in both cases: if it cannot decrypt what we sent, and for 300.
            raise ConnectionLost(
                "the broker closed the connection during the CURVE handshake (is server_key the broker's, is it the "
                "port for CURVE? If both are right, the broker may be full or stopping; try again shortly)"
            )
        if kind == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
            raise TransportError("the CURVE handshake failed (is server_key the broker's, is it the port for CURVE?)")
        if kind == zmq.EVENT_CONNECT_RETRIED:
            raise TransportError("the connection was refused (is the broker running, is the port right?)")
        if kind == zmq.EVENT_DISCONNECTED:
            raise ConnectionLost("the broker closed the connection")
        return int(kind)


def _refused_key(status: int) -> str:
    """What to say about a status code of ZAP (ZeroMQ RFC 27) other than 200."""
    if status == 300:
        return "the broker is full or stopping (answer 300); try again shortly"
    if status == 400:
        return "the broker does not accept our CURVE key (answer 400); is it listed there?"
    return f"the broker could not check our CURVE key (answer {status}); its log says why"
