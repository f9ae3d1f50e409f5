"""Who may connect: the studio's authority, what it has revoked, the CURVE keys it has listed, the broker's own keys.

Strategy: everything is read from files that `afpools certs` writes, checked while it is read, and kept as values that
are swapped whole, so that the listeners' threads ask without a lock. A file that goes wrong while the broker runs never
admits anybody: the authorities and what each has revoked stay as they last were, an authority without a list of what
it has revoked counts for nothing, a CURVE key whose file is missing or wrong is out.
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import re
import ssl
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import zmq
import zmq.auth
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from zmq.utils import z85

from .authorities import Authorities, Issuer, common_name, issuer_of
from .files import UNREADABLE, CredentialError, Watched, explain, wrong_file
from .protocol import ExpiringCredential, Role

log = logging.getLogger("afpools.credentials")

# The role of a certificate stands in its subject alternative name, as a URI: urn:afpools:<role>:<name>.
ROLE_URN = "urn:afpools:"

# Names become file names, URIs and log lines.
NAME_PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")

# How long the list of keys counts when its folder cannot be read. Five seconds are promised for revoking.
_LISTING_LASTS = dt.timedelta(seconds=4)


class CredentialRefused(Exception):
    """A peer that may not connect. The message is a clause for the end of a log line."""


@dataclass(frozen=True, slots=True)
class Peer:
    """An authenticated sender.

    Args:
        name: in its credential.
        role: what it may do.
    """

    name: str
    role: Role


@dataclass(frozen=True, slots=True)
class TlsPeer:
    """An authenticated sender with what is needed to see whether its certificate is still good.

    Args:
        peer: who it is.
        issuer: the id of the authority that has signed its certificate.
        serial: of its certificate; two authorities may have given the same.
        not_after: when its certificate expires.
    """

    peer: Peer
    issuer: bytes
    serial: int
    not_after: dt.datetime


@dataclass(frozen=True, slots=True)
class CurveKey:
    """A client's public CURVE key, as its file in `clients/` has it.

    Args:
        peer: who it is.
        public_key: Z85, 40 characters.
        expires: None for a key that does not.
    """

    peer: Peer
    public_key: str
    expires: dt.datetime | None


def utcnow() -> dt.datetime:
    """The time, with its zone."""
    return dt.datetime.now(dt.UTC)


# --- files ----------------------------------------------------------------------------------------------------------


def parse_key_file(text: str) -> dict[str, dict[str, str]]:
    """Reads `zmq.auth`'s file format (ZPL, ZeroMQ RFC 4): its sections, each with its keys and values.

    Raises:
        ValueError: a key stands there twice or outside of a section, or there is more behind a value than a comment.
    """
    sections: dict[str, dict[str, str]] = {}
    section: dict[str, str] | None = None
    # Not `splitlines`, which sees lines where ZPL and pyzmq see none.
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip(" \t\r")
        if not line or line.startswith("#"):
            continue
        key, equals, value = (part.strip(" \t") for part in line.partition("="))
        if not equals:
            section = sections.setdefault(line, {})
            continue
        if section is None:
            raise ValueError(f"line {number} is outside of a section")
        if key in section:
            # Which of two roles would be meant is nothing to guess at.
            raise ValueError(f"{key} is given twice")
        quote = value[:1]
        if quote and quote in "\"'" and quote in value[1:]:
            value, _, rest = value[1:].partition(quote)
            if rest.lstrip(" \t")[:1] not in ("", "#"):
                raise ValueError(f"in line {number}, there is more behind the value of {key} than a comment")
        else:
            value = re.split(r"\s#", value, maxsplit=1)[0].rstrip()
        section[key] = value
    return sections


def parse_curve_key(data: bytes, name: str) -> CurveKey:
    """Reads a client's public key file.

    Args:
        data: the file's contents.
        name: the file's name without its extension, which must be the client's.

    Raises:
        ValueError: something in it is missing or wrong; says what.
    """
    sections = parse_key_file(data.decode())
    metadata, curve = sections.get("metadata", {}), sections.get("curve", {})
    if "secret-key" in curve:
        raise ValueError("it holds a secret key, which belongs in the client's profile and nowhere else")
    check_name(name)
    if metadata.get("name", name) != name:
        raise ValueError(f"it is the key of {metadata['name']!r} by its metadata, and of {name!r} by its file's name")
    if "role" not in metadata:
        raise ValueError("its metadata has no role")
    if metadata["role"] not in list(Role):
        raise ValueError(f"its role {metadata['role']!r} is not one of {', '.join(Role)}")
    expires = None
    if "expires" in metadata:
        try:
            expires = dt.datetime.fromisoformat(metadata["expires"])
        except ValueError:
            raise ValueError(
                f"it expires at {metadata['expires']!r}, which is not a date like 2027-12-24T00:00:00+00:00"
            ) from None
        if expires.tzinfo is None:
            expires = expires.replace(tzinfo=dt.UTC)
    public_key = curve.get("public-key", "")
    if not _is_z85_key(public_key):
        raise ValueError("its public-key is not 40 characters of Z85")
    return CurveKey(Peer(name, Role(metadata["role"])), public_key, expires)


def _is_z85_key(text: str) -> bool:
    try:
        return len(text) == 40 and z85.encode(z85.decode(text.encode("ascii"))) == text.encode()
    except Exception:  # noqa: BLE001 - whatever the decoder trips over, it is not a key
        return False


def check_name(name: str) -> None:
    """Refuses what cannot be the name of a client or broker.

    Raises:
        ValueError: says what a name may be.
    """
    if not NAME_PATTERN.fullmatch(name):
        raise ValueError(f"{name!r} is not a valid name (use 1 to 64 of A-Z a-z 0-9 . _ -, not starting with . or -)")


def certificate_role(certificate: x509.Certificate) -> tuple[str, str]:
    """Role and name in a certificate, as the studio signed them; the role of a broker is `broker`.

    Raises:
        ValueError: there is none, or more than one.
    """
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise ValueError("its certificate names no role") from None
    uris = [uri for uri in names.get_values_for_type(x509.UniformResourceIdentifier) if uri.startswith(ROLE_URN)]
    if not uris:
        raise ValueError("its certificate names no role")
    if len(uris) > 1:
        raise ValueError(f"its certificate names more than one role: {', '.join(uris)}")
    role, _, name = uris[0].removeprefix(ROLE_URN).partition(":")
    check_name(name)
    return role, name


def same_key(certificate: x509.Certificate, key: PrivateKeyTypes) -> bool:
    """Whether a certificate and a private key belong together."""
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    return certificate.public_key().public_bytes(*form) == key.public_key().public_bytes(*form)


def read_curve_secret(path: Path) -> tuple[bytes, bytes]:
    """Public and secret key of a `zmq.auth` file `*.key_secret`, both Z85.

    Raises:
        CredentialError: missing, or not such a file.
    """
    try:
        path.read_bytes()  # for the system's own word on what is wrong, which zmq.auth keeps to itself
        public, secret = zmq.auth.load_certificate(path)
        if secret is None:
            raise ValueError("it holds no secret key")
        if not _is_z85_key(secret.decode("ascii")) or zmq.curve_public(secret) != public:
            raise ValueError("its public and its secret key do not match")
    except UNREADABLE as error:
        raise wrong_file(path, error, "afpools certs broker") from None
    return public, secret


def too_open(path: Path) -> str | None:
    """The sentence for a secret file that others than its owner may open, None where it is well or not there."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return None
    if not mode & 0o077:
        return None
    return (
        f"{path} holds a private key and is open to others than its owner (mode {mode:04o}). "
        "Run `afpools certs check --fix`, or chmod it to 0600."
    )


def _watched_key(path: Path) -> Watched[CurveKey]:
    return Watched(path, lambda data: parse_curve_key(data, path.stem))


# --- the broker's view ----------------------------------------------------------------------------------------------


class Credentials:
    """What the broker knows about who may connect.

    `refresh` belongs to one thread; everything else may be called from any.

    Args:
        ca: the studio's authority, PEM.
        crl: what it has revoked, PEM.
        clients: folder of public CURVE keys (`NAME.key`) and, for their dates only, certificates (`NAME.pem`).
        certificate: the broker's certificate and private key, PEM.
        curve_secret: the broker's CURVE keys, a `zmq.auth` file `*.key_secret`.
        clock: the time, with its zone.

    Raises:
        CredentialError: one of them is missing or wrong. A broker that does not know who was revoked must not start.
    """

    def __init__(
        self,
        *,
        ca: Path,
        crl: Path,
        clients: Path,
        certificate: Path,
        curve_secret: Path,
        clock: Callable[[], dt.datetime] = utcnow,
    ) -> None:
        self._clock = clock
        self._secrets = (certificate, curve_secret, ca.with_name("ca-key.pem"))
        self._clients = clients
        self._ca_path = ca
        self.curve_public_key, self.curve_secret_key = read_curve_secret(curve_secret)

        self._authorities = Authorities(ca, crl, clock)
        self._own = Watched(certificate, self._read_own)
        self._own.look_or_raise("afpools certs broker")
        if self._own_certificate.not_valid_after_utc <= clock():
            raise CredentialError(
                f"{certificate}: it expired on {self._own_certificate.not_valid_after_utc:%Y-%m-%d}. "
                "Run `afpools certs renew`."
            )
        if not clients.is_dir():
            raise CredentialError(f"{clients}: there is no such folder. `afpools certs profile` makes it.")
        self._context, self._shown = self._make_context(), self._to_show

        self._listed_at = clock()
        self._key_files: dict[Path, Watched[CurveKey]] = {}
        self._certificate_files: dict[Path, Watched[x509.Certificate]] = {}
        self._curve_keys: dict[str, CurveKey] = {}
        self._problems: tuple[str, ...] = ()
        self._look()

    # --- who is it? -----------------------------------------------------------------------------------------------

    def curve_peer(self, public_key: str) -> Peer:
        """Who sends with this CURVE key. Cheap: it is asked for each request.

        Args:
            public_key: Z85.

        Raises:
            CredentialRefused: not listed, or expired.
        """
        key = self._curve_keys.get(public_key)
        if key is None:
            raise CredentialRefused("its CURVE key is not one of those in clients/ (revoked, or from another studio)")
        if key.expires is not None and key.expires <= self._clock():
            raise CredentialRefused(f"CURVE key of {key.peer.name!r} expired on {key.expires:%Y-%m-%d}")
        return key.peer

    def tls_peer(self, der: bytes) -> TlsPeer:
        """Who shows this certificate.

        Args:
            der: the certificate, whose signature TLS has verified.

        Raises:
            CredentialRefused: no role or more than one, revoked, or expired.
        """
        try:
            certificate = x509.load_der_x509_certificate(der)
            role, name = certificate_role(certificate)
        except UNREADABLE as error:
            raise CredentialRefused(explain(error)) from None
        if role not in list(Role):
            raise CredentialRefused(f"certificate of {name!r} has the role {role!r}, not one of {', '.join(Role)}")
        issuer = issuer_of(certificate, self._authorities.trust.issuers.values())
        if issuer is None:
            raise CredentialRefused(f"certificate of {name!r} was not issued by an authority that is trusted here")
        peer = TlsPeer(Peer(name, Role(role)), issuer.id, certificate.serial_number, certificate.not_valid_after_utc)
        reason = self.still_valid(peer)
        if reason is not None:
            raise CredentialRefused(reason)
        return peer

    def still_valid(self, peer: TlsPeer) -> str | None:
        """Why a certificate that was good is good no more, as a clause; None while it is."""
        trust = self._authorities.trust
        if peer.issuer not in trust.issuers:
            return f"the authority that issued the certificate of {peer.peer.name!r} is no longer trusted"
        revoked = trust.lists[peer.issuer].revoked.get(peer.serial)
        if revoked is not None:
            return f"certificate of {peer.peer.name!r} was revoked on {revoked:%Y-%m-%d}"
        if peer.not_after <= self._clock():
            return f"certificate of {peer.peer.name!r} expired on {peer.not_after:%Y-%m-%d}"
        return None

    # --- what serves TLS ------------------------------------------------------------------------------------------

    def server_context(self) -> ssl.SSLContext:
        """For TLS 1.3 with client certificates of the studio's authorities, and of no other. Connections that begin
        after the broker's certificate was renewed show the new one, and those that begin after an authority came or
        went accept accordingly."""
        context = self._make_context()

        def show_newest(connection: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _: ssl.SSLContext) -> None:
            # Changing a context that other threads shake hands with is not safe in OpenSSL; exchanging it is.
            connection.context = self._context

        context.sni_callback = show_newest
        return context

    def _make_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        # A resumed session would never show its certificate again: revoking must bite at the next connection.
        context.num_tickets = 0
        try:
            # From memory: what is trusted is what was checked, not what the file holds by now.
            authorities = [issuer.certificate for issuer in self._authorities.trust.issuers.values()]
            if authorities:
                context.load_verify_locations(cadata=b"".join(one.public_bytes(Encoding.DER) for one in authorities))
            context.load_cert_chain(self._own.path)
        except OSError as error:  # ssl.SSLError is one
            raise CredentialError(f"{self._own.path}: TLS does not take it: {error}.") from None
        return context

    # --- files that change ----------------------------------------------------------------------------------------

    def refresh(self, *, anew: bool = False) -> bool:
        """Reads again what has changed. Cheap where nothing has: one `stat` for each file.

        Args:
            anew: read every file, whether it looks changed or not.

        Returns:
            Whether something changed.
        """
        if anew:
            self._own.forget()
            for key in self._key_files.values():
                key.forget()
            for certificate in self._certificate_files.values():
                certificate.forget()
        before = self._authorities.trust, self._curve_keys, self._own.value, self._problems
        self._look(anew=anew)
        if self._to_show != self._shown:
            try:
                self._context, self._shown = self._make_context(), self._to_show
            except CredentialError as error:
                log.warning("%s The one before stays in use.", error)
        for problem in self._problems:
            if problem not in before[3]:
                log.warning("%s", problem)
        return before != (self._authorities.trust, self._curve_keys, self._own.value, self._problems)

    @property
    def outdated(self) -> list[str]:
        """The broker's own files that are read at its start only, and have changed since."""
        path = self._secrets[1]
        try:
            changed = read_curve_secret(path) != (self.curve_public_key, self.curve_secret_key)
        except CredentialError as error:
            return [str(error)]
        return [f"the CURVE keys in {path}"] if changed else []

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with the files now, a sentence each."""
        return (*self._problems, *self._authorities.overdue)

    def expiring(self, within: dt.timedelta) -> list[ExpiringCredential]:
        """What expires soon or has expired, the soonest first.

        Args:
            within: how soon.
        """
        own = self._own_certificate
        found: list[ExpiringCredential] = []
        now = self._clock()

        def note(name: str, kind: str, expires: dt.datetime) -> None:
            if expires <= now + within:
                found.append(
                    ExpiringCredential(name=name, kind=kind, expires=expires, days_left=(expires - now).days)  # type: ignore[arg-type]
                )

        trust = self._authorities.trust
        for issuer in self._authorities.listed:
            note(common_name(issuer.certificate), "ca", issuer.expires)
            if issuer.id in trust.issuers:
                note(common_name(issuer.certificate), "crl", trust.lists[issuer.id].next_update)
        note(common_name(own), "broker", own.not_valid_after_utc)
        for path, file in list(self._certificate_files.items()):
            if file.value is not None:
                note(path.stem, "client", file.value.not_valid_after_utc)
        for key in self._curve_keys.values():
            if key.expires is not None:
                note(key.peer.name, "curve", key.expires)
        return sorted(found, key=lambda credential: credential.expires)

    @property
    def _own_certificate(self) -> x509.Certificate:
        assert self._own.value is not None
        return self._own.value

    @property
    def _to_show(self) -> tuple[x509.Certificate, list[Issuer]]:
        """What a TLS context is made of."""
        return self._own_certificate, list(self._authorities.trust.issuers.values())

    def _read_own(self, data: bytes) -> x509.Certificate:
        certificate = x509.load_pem_x509_certificate(data)
        # One that is in use stays in use when its authority goes; `_look` says so.
        if certificate != self._own.value and issuer_of(certificate, self._authorities.listed) is None:
            raise ValueError(f"it was not issued by an authority in {self._ca_path}")
        try:
            key = load_pem_private_key(data, None)
        except TypeError:
            raise ValueError("its private key has a passphrase; a broker's must have none") from None
        if not same_key(certificate, key):
            raise ValueError("its certificate and its private key do not match")
        return certificate

    def _look(self, *, anew: bool = False) -> None:
        problems = self._authorities.look(anew=anew)
        self._own.look()
        if self._own.error is not None:
            problems.append(f"{self._own.path}: {explain(self._own.error)}. What it held before still counts.")
        elif issuer_of(self._own_certificate, self._authorities.listed) is None:
            problems.append(
                f"{self._own.path}: it was not issued by an authority in {self._ca_path}, and clients that have that "
                f"file refuse it. Run `afpools certs renew {self._own.path.stem}`."
            )
        try:
            names = sorted(entry.name for entry in os.scandir(self._clients) if not entry.name.startswith("."))
            self._listed_at = self._clock()
        except OSError as error:
            # A network share that is away for a moment, or too few file descriptors, takes nobody's key away at once.
            names = [path.name for path in (*self._key_files, *self._certificate_files)]
            consequence = f"The keys that were in it count for {_LISTING_LASTS.total_seconds():g} seconds more"
            if isinstance(error, FileNotFoundError) or self._clock() > self._listed_at + _LISTING_LASTS:
                names = []
                consequence = "Nobody can connect over CURVE"
            problems.append(f"{self._clients}: {explain(error)}. {consequence}.")
        keys = [self._clients / name for name in names if name.endswith(".key")]
        self._key_files = {path: self._key_files.get(path) or _watched_key(path) for path in keys}
        certificates = [self._clients / name for name in names if name.endswith(".pem")]
        self._certificate_files = {
            path: self._certificate_files.get(path) or Watched(path, x509.load_pem_x509_certificate)
            for path in certificates
        }
        listed: dict[str, CurveKey] = {}
        for path, file in self._key_files.items():
            file.look()
            if file.error is not None:
                if not isinstance(file.error, FileNotFoundError):  # taken away since the folder was read
                    problems.append(f"{path}: {explain(file.error)}. This client cannot connect over CURVE.")
                continue
            assert file.value is not None
            key = file.value
            other = listed.get(key.public_key)
            if other is not None:
                lesser = min((other, key), key=lambda one: one.peer.role is Role.MANAGER)
                problems.append(
                    f"{path}: it holds the same key as {other.peer.name}.key. Whoever has that key counts as "
                    f"{lesser.peer.name!r}, a {lesser.peer.role}. Remove one of the two files."
                )
                key = lesser
            listed[key.public_key] = key
        for path, certificate in self._certificate_files.items():
            certificate.look()
            if certificate.error is not None and not isinstance(certificate.error, FileNotFoundError):
                problems.append(f"{path}: {explain(certificate.error)}. Nobody is warned before that one expires.")
        problems += [problem for problem in map(too_open, self._secrets) if problem]
        self._problems = tuple(problems)
        self._curve_keys = listed
