"""The studio's certificate authority: issues, renews and revokes the credentials of brokers and clients.

Strategy: a folder (see certs/README.md) is all the state there is. A client is registered as long as its two public
halves are in `clients/`; every certificate ever issued is kept in `ca/issued/`. Of these, the ones with another key
than the registered one must stand in `crl.pem`: renewing keeps the key, everything else revokes.

While one authority takes over from another (`succession.py`), `ca.pem` and `crl.pem` hold both. The one whose key is
`ca-key.pem` signs; what another has issued is revoked with the key kept in `ca/former/`.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import ipaddress
import json
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import zmq
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from afpools_broker.authorities import (
    Issuer,
    common_name,
    issuer_of,
    parse_issuers,
)
from afpools_broker.credentials import (
    ROLE_URN,
    CurveKey,
    check_name,
    parse_curve_key,
    parse_key_file,
    same_key,
    utcnow,
)
from afpools_broker.files import UNREADABLE, explain
from afpools_broker.protocol import Role

from ..network.addresses import own_names
from .files import (
    MAKE_ANEW,
    PASSPHRASE_VARIABLE,
    AuthorityError,
    curve_file,
    files_in,
    key_to_pem,
    load_key,
    make_folder,
    move,
    public_bytes,
    read,
    read_certificate,
    role_and_name,
    to_pem,
    write,
)
from .revocation import RevocationFile

__all__ = [
    "CA_LIFETIME",
    "CURVE_PORT",
    "LIFETIME",
    "TLS_PORT",
    "Authority",
    "AuthorityError",
    "Credential",
    "check_address",
]

# Replacing the authority means a visit to every workstation.
CA_LIFETIME = dt.timedelta(days=3650)

# A year, and a month in which `health` warns: whoever renews on a fixed date each year is never late. It is also the
# longest that any TLS library accepts of a public authority (CA/Browser Forum, Baseline Requirements 6.3.2, 2020).
LIFETIME = dt.timedelta(days=397)

# A workstation whose clock is a little behind must accept a certificate that was made just now.
_BACKDATE = dt.timedelta(minutes=5)

TLS_PORT = 5571
CURVE_PORT = 5570

_HOST_NAME = re.compile(
    r"(?=.{1,253}\Z)[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*"
)

_KEY_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


@dataclass(frozen=True)
class Credential:
    """One line of the list of what there is.

    Args:
        name: the client's, the broker's, or the authority's.
        kind: what it is for.
        role: `reader`, `manager`, `broker` or `ca`.
        expires: None for a key that does not.
        state: at the time of asking.
        authority: who has issued a certificate; empty for a CURVE key.
    """

    name: str
    kind: Literal["TLS", "CURVE"]
    role: str
    expires: dt.datetime | None
    state: Literal["valid", "expired", "revoked"]
    authority: str = ""


# --- addresses ------------------------------------------------------------------------------------------------------


def check_address(address: str) -> None:
    """
    Raises:
        AuthorityError: it is neither a host's name nor an IP address.
    """
    _general_name(address)


def _general_name(address: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(address.strip("[]")))
    except ValueError:
        pass
    if not _HOST_NAME.fullmatch(address):
        raise AuthorityError(f"{address!r} is neither a host's name nor an IP address; no port and no scheme here.")
    return x509.DNSName(address)


def _addresses(certificate: x509.Certificate) -> list[str]:
    """Host names and IP addresses in a broker's certificate, in the order they were given."""
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(name.value) for name in names if isinstance(name, x509.DNSName | x509.IPAddress)]


def make_authority(
    name: str, lifetime: dt.timedelta, now: dt.datetime
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    """The key and the certificate of a new authority.

    Args:
        name: the studio's; shown wherever a certificate is.
        lifetime: of everything that it will issue, too.
        now: the time, with its zone.

    Raises:
        AuthorityError: the name is too long, or there is none.
    """
    if not 1 <= len(name) <= 64:
        raise AuthorityError(f"The authority's name {name!r} must have 1 to 64 characters.")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder(issuer_name=subject, subject_name=subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(now + lifetime)
        # No authorities below this one.
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage("key_cert_sign", "crl_sign"), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return key, certificate


def _url(scheme: str, host: str, port: int) -> str:
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _parse_url(url: str) -> tuple[str, str, int]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("tls", "curve") or not parts.hostname or not port or parts.netloc == "" or parts.path:
        raise AuthorityError(
            f"{url!r} is no endpoint: write tls://HOST:{TLS_PORT} or curve://HOST:{CURVE_PORT}, an IPv6 address in [ ]."
        )
    return parts.scheme, parts.hostname, port


@dataclass(frozen=True)
class _Broker:
    name: str
    addresses: list[str]
    tls_port: int
    curve_port: int
    server_key: str


# --- the authority --------------------------------------------------------------------------------------------------


class Authority:
    """A studio's certificate authority, and the folder with everything it and those before it have issued.

    Make one with `Authority.create` or `Authority.open`. The private key is read when something must be signed, so
    that everything else works where it is not.

    Args:
        folder: see certs/README.md.
        passphrase: of the authority's private key.
        clock: the time, with its zone. A certificate issued with last year's clock is one that has expired.

    Attributes:
        issuers: all authorities in ca.pem.
        crl: what they have revoked.
        certificate: that of the authority that signs.
    """

    def __init__(self, folder: Path, *, passphrase: str | None, clock: Callable[[], dt.datetime]) -> None:
        self.folder = folder
        self._passphrase = passphrase
        self._clock = clock
        path = folder / "ca" / "ca.pem"
        try:
            self.issuers = parse_issuers(read(path))
        except UNREADABLE as error:
            raise AuthorityError(f"{path}: {explain(error)}. Restore it from a backup.") from None
        self.certificate = self._signer().certificate
        self.crl = RevocationFile(folder / "ca" / "crl.pem", self.issuers, clock)

    @classmethod
    def create(
        cls,
        folder: Path,
        *,
        name: str = "Studio",
        passphrase: str | None = None,
        lifetime: dt.timedelta = CA_LIFETIME,
        clock: Callable[[], dt.datetime] = utcnow,
    ) -> Authority:
        """A new authority, which has revoked nothing.

        Args:
            folder: made if it is not there.
            name: the studio's; shown wherever a certificate is.
            passphrase: for the private key.
            lifetime: of everything that it will issue, too.
            clock: the time, with its zone.

        Raises:
            AuthorityError: there is one already. It is never replaced: everything issued would be worthless.
        """
        ca = folder / "ca"
        for path in (ca / "ca.pem", ca / "ca-key.pem", ca / "crl.pem"):
            if path.exists():
                raise AuthorityError(
                    f"{path} exists: this folder has an authority. `afpools certs new-ca` makes a second one that "
                    "takes over from it. For a studio of its own, name another --dir."
                )
        key, certificate = make_authority(name, lifetime, clock())
        make_folder(folder)
        for sub in ("ca", "brokers", "clients", "profiles"):
            make_folder(folder / sub)
        write(ca / "ca-key.pem", key_to_pem(key, passphrase), secret=True)
        write(ca / "ca.pem", to_pem(certificate))
        made = cls(folder, passphrase=passphrase, clock=clock)
        made.crl.put(made.signer, {}, key)
        return made

    @classmethod
    def open(
        cls, folder: Path, *, passphrase: str | None = None, clock: Callable[[], dt.datetime] = utcnow
    ) -> Authority:
        """The authority in a folder.

        Args:
            folder: where `create` put it.
            passphrase: of the private key, if it has one and something is to be signed.
            clock: the time, with its zone.

        Raises:
            AuthorityError: there is none.
        """
        if not (folder / "ca" / "ca.pem").exists():
            raise AuthorityError(
                f"{folder} has no certificate authority (ca/ca.pem). If your studio has one already, name its folder: "
                "--dir DIR, or $AFPOOLS_CERTS. `afpools init` made it as certs beside broker.toml. Only if there is "
                "none yet: afpools certs ca."
            )
        return cls(folder, passphrase=passphrase, clock=clock)

    @property
    def needs_passphrase(self) -> bool:
        """Whether the private key is here, and encrypted."""
        try:
            return b"ENCRYPTED" in self.ca_key_path.read_bytes()
        except OSError:
            return False

    @property
    def can_sign(self) -> bool:
        """Whether the private key is here, and so is the passphrase if it has one. The passphrase may be wrong."""
        return self.ca_key_path.exists() and (bool(self._passphrase) or not self.needs_passphrase)

    def now(self) -> dt.datetime:
        """The time by this authority's clock."""
        return self._clock()

    # --- issuing --------------------------------------------------------------------------------------------------

    def issue_broker(
        self,
        name: str,
        addresses: Sequence[str] = (),
        *,
        tls_port: int = TLS_PORT,
        curve_port: int = CURVE_PORT,
        lifetime: dt.timedelta = LIFETIME,
        force: bool = False,
    ) -> Path:
        """A broker's certificate and CURVE keys.

        Args:
            name: the broker's.
            addresses: host names and IP addresses that clients use for it, the first for their profiles; those of
                this machine if none is given.
            tls_port: for profiles.
            curve_port: for profiles.
            lifetime: of the certificate.
            force: replace the keys the broker has.

        Returns:
            brokers/NAME.pem; NAME.key and NAME.key_secret are beside it.

        Raises:
            AuthorityError: the name is taken or none, or the authority's key cannot be used.
        """
        self._check_new_name(name, "clients", "client")
        pem, public_path, secret_path = self.broker_paths(name)
        if not force:
            for path in (pem, public_path, secret_path):
                if path.exists():
                    raise AuthorityError(
                        f"{path} exists. Renew the broker's certificate with `afpools certs renew {name}`; --force "
                        "makes new keys, and then every profile must be renewed and copied again."
                    )
        alternatives = [_general_name(address) for address in addresses or own_names()]
        for port in (tls_port, curve_port):
            if not 0 < port < 65536:
                raise AuthorityError(f"{port} is no port: 1 to 65535 are.")
        with self.locked():
            key = ec.generate_private_key(ec.SECP256R1())
            certificate = self._issue(
                name, "broker", key.public_key(), lifetime, alternatives, issuer=self._broker_issuer()
            )
            public, secret = zmq.curve_keypair()
            metadata = {
                "name": name,
                "role": "broker",
                "created": self._clock().isoformat(timespec="seconds"),
                "tls-port": str(tls_port),
                "curve-port": str(curve_port),
            }
            write(pem, to_pem(certificate) + key_to_pem(key), secret=True)
            write(secret_path, curve_file("SECRET CURVE key of a broker", {"name": name}, public, secret), secret=True)
            write(public_path, curve_file("Public CURVE key of a broker", metadata, public))
        return pem

    def issue_profile(
        self,
        name: str,
        role: Role,
        endpoints: Sequence[str] = (),
        *,
        lifetime: dt.timedelta = LIFETIME,
        force: bool = False,
    ) -> Path:
        """Everything a workstation needs, and the registration of its keys.

        Args:
            name: the client's.
            role: what it may do.
            endpoints: `tls://HOST:PORT` and `curve://HOST:PORT`, the preferred first within each kind; those of all
                brokers if none is given.
            lifetime: of certificate and CURVE key.
            force: revoke what the client has, and replace it.

        Returns:
            The folder profiles/NAME.

        Raises:
            AuthorityError: the name is taken or none, an endpoint leads to no broker of this folder, or the
                authority's key cannot be used.
        """
        self._check_new_name(name, "brokers", "broker")
        profile = self.profile_path(name)
        taken = [path for path in (*self.client_paths(name), profile) if path.exists()]
        if taken and not force:
            raise AuthorityError(
                f"{taken[0]} exists. `afpools certs renew {name}` gives the client more time with the keys it has; "
                "--force revokes these and makes new ones."
            )
        entries = self._resolve(endpoints or self.default_endpoints())
        self.ca_key()  # whatever keeps it from signing must show before anything is revoked
        if taken:
            self.revoke(name)
        with self.locked():
            key = ec.generate_private_key(ec.SECP256R1())
            certificate = self._issue(name, role, key.public_key(), lifetime)
            public, secret = zmq.curve_keypair()
            new = profile.with_name(f".{name}.{secrets.token_hex(4)}.new")
            self._write_profile(new, name, role, entries)
            write(new / "client.pem", to_pem(certificate) + key_to_pem(key), secret=True)
            write(
                new / "client.key_secret",
                curve_file("SECRET CURVE key of a client", {"name": name, "role": role}, public, secret),
                secret=True,
            )
            self._register(name, role, certificate, public)
            move(new, profile)
        return profile

    def renew(self, name: str, *, lifetime: dt.timedelta = LIFETIME) -> Path:
        """A new certificate for the keys that a broker or client has. What it has now works until it expires.

        A client's profile is brought up to date with the brokers' CURVE keys, too. Whoever wants other keys, another
        role or other addresses issues anew.

        Args:
            name: the broker's or client's.
            lifetime: from now on.

        Returns:
            The file or folder to put into use: brokers/NAME.pem, or profiles/NAME; where a profile's folder is not
            here any more, clients/NAME.pem, to be put in place of the certificate in the client's client.pem.

        Raises:
            AuthorityError: there is no such broker or client, or the authority's key cannot be used.
        """
        self._check_name(name)
        pem = self.broker_paths(name)[0]
        if pem.exists():
            old = read_certificate(pem)
            alternatives = [_general_name(address) for address in _addresses(old)]
            with self.locked():
                key = load_key(pem)
                certificate = self._issue(
                    name, "broker", old.public_key(), lifetime, alternatives, issuer=self._broker_issuer()
                )
                write(pem, to_pem(certificate) + key_to_pem(key), secret=True)
            return pem
        client_pem, client_key = self.client_paths(name)
        profile = self.profile_path(name)
        if not client_pem.exists() or not client_key.exists():
            raise AuthorityError(
                f"There is no broker or client {name!r} here. `afpools certs list` shows those there are."
            )
        listed = self.read_curve_key(client_key)
        role = listed.peer.role
        old = read_certificate(client_pem)
        public_key = old.public_key()
        if role_and_name(old, client_pem) != (role, name):
            raise AuthorityError(f"{client_pem} and {client_key} do not agree on role and name. {MAKE_ANEW}")
        entries = None
        if profile.exists():
            key = load_key(profile / "client.pem")
            if public_bytes(key.public_key()) != public_bytes(public_key):
                raise AuthorityError(f"{profile / 'client.pem'} holds another key than {client_pem}. {MAKE_ANEW}")
            entries = self._resolve(self.urls(profile))
        with self.locked():
            certificate = self._issue(name, role, public_key, lifetime)
            self._register(name, role, certificate, listed.public_key.encode())
            if entries is None:
                return client_pem
            self._write_profile(profile, name, role, entries)
            write(profile / "client.pem", to_pem(certificate) + key_to_pem(key), secret=True)
        return profile

    # --- revoking -------------------------------------------------------------------------------------------------

    def revoke(self, name: str) -> Path:
        """Takes back all that was ever issued to a client. Brokers notice within a second.

        Its CURVE key goes first, which needs nothing; then every certificate of that name that has not expired goes
        into crl.pem, which needs the authority's key; then the rest of its files follow. Interrupted or refused
        half-way it can be repeated.

        Returns:
            The folder with what was taken back.

        Raises:
            AuthorityError: there is no such client; or the certificates could not be revoked: says so, and that the
                CURVE key is out.
        """
        self._check_name(name)
        if self.broker_paths(name)[0].exists():
            raise AuthorityError(
                f"{name!r} is a broker: clients do not ask whether a broker's certificate was revoked. If its keys "
                "were stolen, make a new authority in another --dir, and hand out new profiles."
            )
        pem, key = self.client_paths(name)
        profile = self.profile_path(name)
        with self.locked():
            if not any(path.exists() for path in (pem, key, profile)) and not self._issued_to(name):
                raise AuthorityError(f"There is no client {name!r} here. `afpools certs list` shows those there are.")
            # The stamp keeps apart what one name was issued and lost more than once.
            attic = self.folder / "revoked" / f"{name}.{self._clock():%Y%m%dT%H%M%S}.{secrets.token_hex(2)}"
            had_key = key.exists()
            if had_key:
                move(key, attic / key.name)
            try:
                issued = self._issued_to(name)
                if not issued and not self.ca_key_path.exists():
                    # A broker's copy of the folder, which does not know what was issued: nothing to rely on.
                    raise AuthorityError(f"{self.ca_key_path.parent} is not where certificates were issued.")
                self._revoke_certificates(issued)
            except AuthorityError as error:
                raise AuthorityError(
                    f"{error} The CURVE key of {name!r} is out"
                    + (", " if had_key else " already, ")
                    + f"but its certificate is NOT revoked: run `afpools certs revoke {name}` again where the "
                    "authority's key is, and copy ca/crl.pem from there to the brokers."
                ) from None
            for path in (pem, profile):
                if path.exists():
                    move(path, attic / ("profile" if path == profile else path.name))
        return attic

    def _revoke_certificates(self, certificates: list[x509.Certificate]) -> None:
        """Puts certificates that have not expired on the lists of those who issued them: on each that can be signed,
        before it says which cannot."""
        now = self._clock()
        lists = self.crl.read()
        missing: dict[bytes, dict[int, dt.datetime]] = {}
        for certificate in certificates:
            issuer = issuer_of(certificate, self.issuers)
            # Nobody accepts what an authority has issued that is not in ca.pem any more.
            if issuer is not None and certificate.not_valid_after_utc > now:
                if issuer.id not in lists:
                    raise AuthorityError(self.crl.missing(issuer))
                if certificate.serial_number not in lists[issuer.id].revoked:
                    missing.setdefault(issuer.id, {})[certificate.serial_number] = now
        failed: list[str] = []
        for issuer in self.issuers:
            if issuer.id in missing:
                try:
                    self.crl.put(issuer, {**lists[issuer.id].revoked, **missing[issuer.id]}, self.ca_key(issuer))
                except AuthorityError as error:
                    failed.append(str(error))
        if failed:
            raise AuthorityError(" ".join(failed))

    def rewrite_crl(self, issuer: Issuer) -> None:
        """Signs an authority's list of revoked certificates anew: what is on it, or if it is lost or damaged, what must
        be.

        Raises:
            AuthorityError: the authority's key cannot be used.
        """
        with self.locked():
            try:
                revoked = dict(self.crl.read()[issuer.id].revoked)
            except (AuthorityError, KeyError):
                revoked = {serial: self._clock() for by, serial in self.superseded() if by == issuer.id}
            self.crl.put(issuer, revoked, self.ca_key(issuer))

    # --- looking --------------------------------------------------------------------------------------------------

    def default_endpoints(self) -> list[str]:
        """The endpoints of all brokers, by their first address."""
        brokers = self.brokers()
        if not brokers:
            raise AuthorityError(
                "There is no broker here to connect to. Make its credentials with `afpools certs broker NAME`, or "
                "name an --endpoint."
            )
        return [_url("tls", broker.addresses[0], broker.tls_port) for broker in brokers] + [
            _url("curve", broker.addresses[0], broker.curve_port) for broker in brokers
        ]

    def credentials(self) -> list[Credential]:
        """Everything there is: the authority's, the brokers', the clients', and what is revoked but not expired."""
        now = self._clock()
        lists = self.crl.read()
        found = []

        def is_revoked(certificate: x509.Certificate, issuer: Issuer | None) -> bool:
            return issuer is not None and issuer.id in lists and certificate.serial_number in lists[issuer.id].revoked

        def tls(certificate: x509.Certificate, name: str, role: str) -> None:
            expires = certificate.not_valid_after_utc
            state: Literal["valid", "expired", "revoked"] = "expired" if expires <= now else "valid"
            issuer = issuer_of(certificate, self.issuers)
            if is_revoked(certificate, issuer):
                state = "revoked"
            found.append(Credential(name, "TLS", role, expires, state, issuer.name if issuer else "not in ca.pem"))

        for issuer in self.issuers:
            tls(issuer.certificate, common_name(issuer.certificate), "ca")
        for broker in self.brokers():
            tls(read_certificate(self.broker_paths(broker.name)[0]), broker.name, "broker")
            found.append(Credential(broker.name, "CURVE", "broker", None, "valid"))
        # Sorted by name, and a client's certificate before its CURVE key.
        folder = self.folder / "clients"
        for path in sorted(files_in(folder, ".pem") + files_in(folder, ".key"), key=lambda path: path.stem):
            if path.suffix == ".pem":
                certificate = read_certificate(path)
                tls(certificate, path.stem, role_and_name(certificate, path)[0])
            else:
                key = self.read_curve_key(path)
                expired = key.expires is not None and key.expires <= now
                found.append(
                    Credential(key.peer.name, "CURVE", key.peer.role, key.expires, "expired" if expired else "valid")
                )
        for path, certificate in self._issued():
            if certificate.not_valid_after_utc > now and is_revoked(certificate, issuer_of(certificate, self.issuers)):
                role, name = role_and_name(certificate, path)
                tls(certificate, name, role)
        return found

    # --- paths and parts ------------------------------------------------------------------------------------------

    @property
    def ca_key_path(self) -> Path:
        return self.folder / "ca" / "ca-key.pem"

    @property
    def signer(self) -> Issuer:
        """The authority that signs."""
        return next(issuer for issuer in self.issuers if issuer.certificate == self.certificate)

    def former_key_path(self, issuer: Issuer) -> Path:
        """Where the key of an authority is kept that another has taken over from."""
        return self.folder / "ca" / "former" / f"{issuer.id.hex()[:8]}-key.pem"

    def _signer(self) -> Issuer:
        if len(self.issuers) == 1:
            return self.issuers[0]
        with contextlib.suppress(AuthorityError, TypeError):
            key = load_key(self.ca_key_path, self._passphrase if self.needs_passphrase else None)
            for issuer in self.issuers:
                if same_key(issuer.certificate, key):
                    return issuer
        # `ca_key` says what is wrong, once something is to be signed.
        return self.issuers[0]

    def broker_paths(self, name: str) -> tuple[Path, Path, Path]:
        """Certificate with key, public CURVE key, secret CURVE key."""
        folder = self.folder / "brokers"
        return folder / f"{name}.pem", folder / f"{name}.key", folder / f"{name}.key_secret"

    def client_paths(self, name: str) -> tuple[Path, Path]:
        """Certificate, public CURVE key."""
        folder = self.folder / "clients"
        return folder / f"{name}.pem", folder / f"{name}.key"

    def profile_path(self, name: str) -> Path:
        return self.folder / "profiles" / name

    def _check_name(self, name: str) -> None:
        try:
            check_name(name)
        except ValueError as error:
            raise AuthorityError(f"{error}.") from None

    def _check_new_name(self, name: str, folder: str, kind: str) -> None:
        self._check_name(name)
        if (self.folder / folder / f"{name}.pem").exists():
            raise AuthorityError(f"There is a {kind} {name!r} already; brokers and clients cannot share a name.")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One at a time: of two people who revoke at the same moment, neither may undo the other's."""
        path = self.folder / "ca" / ".lock"
        try:
            lock = path.open("w")
        except OSError as error:
            raise AuthorityError(f"{path}: cannot be written: {error.strerror or error}.") from None
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def ca_key(self, issuer: Issuer | None = None) -> ec.EllipticCurvePrivateKey:
        """The key of an authority, of the one that signs if no other is named.

        Raises:
            AuthorityError: it is not here, cannot be read, or is another's.
        """
        issuer = issuer or self.signer
        path = self.ca_key_path if issuer == self.signer else self.former_key_path(issuer)
        if not path.exists():
            raise AuthorityError(
                f"{path} is not here, and nothing can be signed by the authority {issuer.name} without it. Do this "
                "where the key is kept, or put it back for a moment."
            )
        encrypted = b"ENCRYPTED" in read(path)
        if encrypted and not self._passphrase:
            raise AuthorityError(f"{path} has a passphrase. Give it with --passphrase-file or {PASSPHRASE_VARIABLE}.")
        key = load_key(path, self._passphrase if encrypted else None)
        if not same_key(issuer.certificate, key):
            raise AuthorityError(
                f"{path} is not the key of the authority {issuer.name} in {self.folder / 'ca' / 'ca.pem'}."
            )
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return key

    def _broker_issuer(self) -> Issuer:
        """Who signs a broker's certificate: an authority that every registered client knows. One that was registered
        before the authority that signs now was made has only the one before in its profile."""
        now = self._clock()
        for path in files_in(self.folder / "clients", ".pem"):
            certificate = read_certificate(path)
            issuer = issuer_of(certificate, self.issuers)
            if (
                issuer is not None
                and issuer != self.signer
                and now < min(certificate.not_valid_after_utc, issuer.expires)
            ):
                return issuer
        return self.signer

    def _issue(
        self,
        name: str,
        role: str,
        public_key: CertificatePublicKeyTypes,
        lifetime: dt.timedelta,
        addresses: Iterable[x509.GeneralName] = (),
        *,
        issuer: Issuer | None = None,
    ) -> x509.Certificate:
        """Signs a certificate, and keeps a copy before anybody gets it: what is not known cannot be revoked."""
        now = self._clock()
        issuer = issuer or self.signer
        authority = issuer.certificate
        purpose = ExtendedKeyUsageOID.SERVER_AUTH if role == "broker" else ExtendedKeyUsageOID.CLIENT_AUTH
        authority_key = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        not_after = min(now + lifetime, authority.not_valid_after_utc)
        if not_after <= now - _BACKDATE:
            raise AuthorityError(
                f"The authority {issuer.name} expired on {authority.not_valid_after_utc:%Y-%m-%d}. Make another with "
                "`afpools certs new-ca`."
            )
        certificate = (
            x509.CertificateBuilder(
                issuer_name=authority.subject,
                subject_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]),
            )
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATE)
            .not_valid_after(not_after)
            # Python 3.13 verifies with X509_STRICT: all of these must be there, and right.
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage("digital_signature"), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(
                x509.SubjectAlternativeName([*addresses, x509.UniformResourceIdentifier(f"{ROLE_URN}{role}:{name}")]),
                critical=False,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority_key), critical=False
            )
            .sign(self.ca_key(issuer), hashes.SHA256())
        )
        write(self.folder / "ca" / "issued" / f"{certificate.serial_number:040x}.pem", to_pem(certificate))
        return certificate

    def _register(self, name: str, role: Role, certificate: x509.Certificate, public: bytes) -> None:
        """Writes the public halves. The CURVE key expires with the certificate: two dates for one profile would be
        one too many to remember."""
        pem, key = self.client_paths(name)
        metadata = {
            "name": name,
            "role": str(role),
            "created": self._clock().isoformat(timespec="seconds"),
            "expires": certificate.not_valid_after_utc.isoformat(timespec="seconds"),
        }
        write(pem, to_pem(certificate))
        write(key, curve_file("Public CURVE key of a client", metadata, public))

    def _write_profile(self, folder: Path, name: str, role: Role, entries: list[dict[str, str]]) -> None:
        write(folder / "ca.pem", self.ca_pem())
        described = {"name": name, "role": str(role), "endpoints": entries}
        write(folder / "profile.json", json.dumps(described, indent=2) + "\n")

    def ca_pem(self) -> bytes:
        """All authorities, as clients and brokers have them."""
        return b"".join(to_pem(issuer.certificate) for issuer in self.issuers)

    def _resolve(self, endpoints: Sequence[str]) -> list[dict[str, str]]:
        """The endpoints as a profile has them: TLS first, which every client can use, and CURVE with the broker's
        key."""
        brokers = self.brokers()
        entries: list[dict[str, str]] = []
        for url in endpoints:
            scheme, host, port = _parse_url(url)
            wanted = _general_name(host).value
            leads_to = [
                broker
                for broker in brokers
                if any(_same_address(_general_name(address).value, wanted) for address in broker.addresses)
            ]
            if not leads_to:
                known = ", ".join(address for broker in brokers for address in broker.addresses) or "none"
                raise AuthorityError(
                    f"{url}: no broker's certificate names {host!r}, and clients would refuse it (there are: {known}). "
                    f"Make one that does: afpools certs broker NAME -a {host}"
                )
            entry = {"url": _url(scheme, host, port)}
            exact = [
                broker for broker in leads_to if (broker.tls_port if scheme == "tls" else broker.curve_port) == port
            ]
            leads_to = exact or leads_to
            if len(leads_to) == 1:
                # Lets clients see which endpoints stand and fall together.
                entry["broker"] = leads_to[0].name
            if scheme == "curve":
                keys = {broker.server_key for broker in leads_to}
                if len(keys) > 1:
                    raise AuthorityError(
                        f"{url} may be any of the brokers {', '.join(broker.name for broker in leads_to)}. Give each "
                        "its own --curve-port when you make it, so that their keys can be told apart."
                    )
                entry["server_key"] = keys.pop()
            entries.append(entry)
        return sorted(entries, key=lambda entry: not entry["url"].startswith("tls:"))

    def urls(self, profile: Path) -> list[str]:
        path = profile / "profile.json"
        try:
            return [str(entry["url"]) for entry in json.loads(read(path))["endpoints"]]
        except (ValueError, TypeError, KeyError):
            raise AuthorityError(f"{path}: it is not what a profile looks like. {MAKE_ANEW}") from None

    def brokers(self) -> list[_Broker]:
        found = []
        for path in files_in(self.folder / "brokers", ".pem"):
            _, public_path, _ = self.broker_paths(path.stem)
            try:
                sections = parse_key_file(read(public_path).decode())
                metadata, server_key = sections.get("metadata", {}), sections["curve"]["public-key"]
                ports = int(metadata.get("tls-port", TLS_PORT)), int(metadata.get("curve-port", CURVE_PORT))
                addresses = _addresses(read_certificate(path))
            except (ValueError, KeyError, x509.ExtensionNotFound) as error:
                raise AuthorityError(f"{public_path}: {explain(error)}. `afpools certs check` tells more.") from None
            found.append(_Broker(path.stem, addresses, *ports, server_key))
        return found

    def read_curve_key(self, path: Path) -> CurveKey:
        try:
            return parse_curve_key(read(path), path.stem)
        except ValueError as error:
            raise AuthorityError(f"{path}: {explain(error)}. {MAKE_ANEW}") from None

    def _issued(self) -> list[tuple[Path, x509.Certificate]]:
        return [(path, read_certificate(path)) for path in files_in(self.folder / "ca" / "issued", ".pem")]

    def _issued_to(self, name: str) -> list[x509.Certificate]:
        """Every certificate known to have been issued to a name."""
        found = [certificate for path, certificate in self._issued() if role_and_name(certificate, path)[1] == name]
        registered = self.client_paths(name)[0]
        return [*found, read_certificate(registered)] if registered.exists() else found

    def superseded(self) -> dict[tuple[bytes, int], str]:
        """Client certificates that must not be accepted any more, by their issuer's id and their serial, with their
        names: see the strategy above."""
        found: dict[tuple[bytes, int], str] = {}
        for path, certificate in self._issued():
            role, name = role_and_name(certificate, path)
            issuer = issuer_of(certificate, self.issuers)
            if role == "broker" or issuer is None or certificate.not_valid_after_utc <= self._clock():
                continue
            registered = self.client_paths(name)[0]
            if not registered.exists() or public_bytes(read_certificate(registered).public_key()) != public_bytes(
                certificate.public_key()
            ):
                found[issuer.id, certificate.serial_number] = name
        return found


def _key_usage(*allowed: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{usage: usage in allowed for usage in _KEY_USAGES})


def _same_address(one: object, other: object) -> bool:
    if isinstance(one, str) and isinstance(other, str):
        return one.casefold() == other.casefold()
    return one == other
