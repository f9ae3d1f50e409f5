"""A broker that does what a test tells it to, behind real TLS, and the certificates for it.

The real broker has tests of its own; this one can misbehave.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import json
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from afpools import Endpoint, Profile
from afpools.zmtp import Connection, Message

_SIGNS_CERTIFICATES = x509.KeyUsage(
    key_cert_sign=True,
    crl_sign=True,
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)


class Studio:
    """A certificate authority that issues whatever a test asks for."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Studio {folder.name}")])
        builder = self._builder(self._name, self._key.public_key(), days=1)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(
            x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False
        )
        builder = builder.add_extension(_SIGNS_CERTIFICATES, critical=True)
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))

    def issue(self, name: str, *addresses: str, days: float = 1, names_key: bool = True) -> Path:
        """A certificate with its key. It expires `days` from now, and began two days before that or before now.
        `names_key`: whether it says which key signed it, as RFC 5280 requires."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key.public_key(), days=days)
        if names_key:
            identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
            builder = builder.add_extension(identifier, critical=False)
        if addresses:
            names = [_general_name(address) for address in addresses]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        path = self.folder / f"{name}.pem"
        path.write_bytes(
            builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)
            + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        return path

    def profile(self, *endpoints: str | Endpoint, client: Path | None = None) -> Profile:
        """A complete profile folder, loaded."""
        folder = self.folder / "profile"
        folder.mkdir(exist_ok=True)
        (folder / "ca.pem").write_bytes(self.ca.read_bytes())
        (folder / "client.pem").write_bytes((client or self.issue("anna", days=60)).read_bytes())
        entries = [Endpoint(endpoint) if isinstance(endpoint, str) else endpoint for endpoint in endpoints]
        described = {"name": "anna", "role": "reader", "endpoints": [entry._asdict() for entry in entries]}
        (folder / "profile.json").write_text(json.dumps(described))
        return Profile.load(str(folder))

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *, days: float) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        expires = now + dt.timedelta(days=days)
        return x509.CertificateBuilder(
            issuer_name=self._name,
            subject_name=subject,
            public_key=key,
            serial_number=x509.random_serial_number(),
            not_valid_before=min(now, expires) - dt.timedelta(days=2),
            not_valid_after=expires,
        )


def _general_name(address: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(address))
    except ValueError:
        return x509.DNSName(address)


class Talk:
    """The broker's end of one connection, for a script to act on."""

    def __init__(self, connection: ssl.SSLSocket) -> None:
        self.socket = connection
        self._envelope = b""
        self.zmtp = Connection(
            socket_type="ROUTER", as_server=True, accepts=frozenset({"REQ"}), max_message=64 * 1024 * 1024
        )
        self.flush()

    def envelope(self, frame: bytes) -> None:
        """Puts this in front of all answers, where an empty frame belongs."""
        self._envelope = frame

    def flush(self) -> None:
        self.socket.sendall(self.zmtp.data_to_send())

    def send(self, *frames: bytes) -> None:
        self.zmtp.send_message(frames)
        self.flush()

    def answer(self, request: dict[str, Any], result: Any, **changes: Any) -> None:
        """A correct answer, except for the keys in `changes`."""
        self.send(
            self._envelope, json.dumps({"v": 1, "id": request["id"], "ok": True, "result": result, **changes}).encode()
        )

    def refuse(self, request: dict[str, Any], code: str, message: str = "No.", **more: Any) -> None:
        error = {"code": code, "message": message, **more}
        self.send(self._envelope, json.dumps({"v": 1, "id": request["id"], "ok": False, "error": error}).encode())

    def close(self) -> None:
        self.socket.close()


Script = Callable[[Talk, dict[str, Any]], None]

HELLO = {
    "broker": "scripted",
    "version": "1",
    "protocol": 1,
    "name": "anna",
    "role": "reader",
    "operations": ["hello"],
    "message_bytes": 1000,
}

MASK: dict[str, Any] = {
    "pool": "fx",
    "revision": "r1",
    "mask": "(?!(?:pc-01|pc-03)$).*",
    "mask_type": "regex",
    "style": "complement",
    "pool_hosts": 2,
    "excluded_hosts": 3,
    "known_hosts": 5,
    "covers_future_hosts": True,
    "age": 0.1,
    "farm_age": 1.5,
}


def say_hello(talk: Talk, request: dict[str, Any]) -> None:
    talk.answer(request, HELLO)


def result(value: Any) -> Script:
    """A script that answers every request with this."""
    return lambda talk, request: talk.answer(request, value)


class ScriptedBroker:
    """Listens on 127.0.0.1 and hands each request to `script`.

    Args:
        studio: whose clients may connect.
        script: what to do with a request.
        certificate: the broker's; a good one of the studio's if none is given.
        port: to come back after a restart.
        newest_tls: the only version it speaks.
    """

    def __init__(
        self,
        studio: Studio,
        script: Script = say_hello,
        *,
        certificate: Path | None = None,
        port: int = 0,
        newest_tls: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    ) -> None:
        self.script = script
        self.requests: list[dict[str, Any]] = []
        self.accepted = 0
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.minimum_version = self._context.maximum_version = newest_tls
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._context.load_verify_locations(studio.ca)
        self._context.load_cert_chain(certificate or studio.issue("broker", "127.0.0.1", "localhost"))
        self._listening = socket.create_server(("127.0.0.1", port))
        self.port = self._listening.getsockname()[1]
        self.url = f"tls://127.0.0.1:{self.port}"
        self._open: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> ScriptedBroker:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def stop(self) -> None:
        with contextlib.suppress(OSError):  # stopped already
            # Closing alone would not wake the thread that accepts.
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.hang_up()
        for thread in self._threads:
            thread.join(10)

    def hang_up(self) -> None:
        """Closes every connection, as a broker does to idle ones."""
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                plain, _ = self._listening.accept()
                self.accepted += 1
                self._threads.append(threading.Thread(target=self._serve, args=(plain,), daemon=True))
                self._threads[-1].start()

    def _serve(self, plain: socket.socket) -> None:
        # A client that rejects us may hang up at any time.
        with contextlib.suppress(OSError), self._context.wrap_socket(plain, server_side=True) as connection:
            self._open.add(connection)
            try:
                self._talk(connection)
            finally:
                self._open.discard(connection)

    def _talk(self, connection: ssl.SSLSocket) -> None:
        talk = Talk(connection)
        while data := connection.recv(65536):
            for event in talk.zmtp.receive_data(data):
                if isinstance(event, Message):
                    request = json.loads(event.frames[-1])
                    self.requests.append(request)
                    self.script(talk, request)
            talk.flush()
