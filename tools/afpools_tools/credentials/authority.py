"""The studio's certificate authority: issues, renews and revokes the credentials of brokers and clients.

Strategy: a folder (see certs/README.md) holds all the state. A client is registered as long as its two public halves
are in `clients/`; every certificate ever issued is kept in `ca/issued/`. Those whose key is not the registered one must
be in `crl.pem`: renewing keeps the key, everything else revokes.

While one authority takes over from another (`succession.py`), `ca.pem` and `crl.pem` hold both. The authority whose key
is `ca-key.pem` signs; the key of the next one waits in `ca/next/`, and with the key of the previous one, in
`ca/former/`, its certificates can be revoked.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import secrets
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import zmq
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

from afpools_broker.credentials.authorities import Issuer, issuer_of, parse_issuers
from afpools_broker.credentials.files import UNREADABLE, explain
from afpools_broker.credentials.keys import same_key
from afpools_broker.credentials.peers import utcnow
from afpools_broker.protocol import Role

from ..network.addresses import own_names
from .certificates import CA_LIFETIME, LIFETIME, addresses_in, general_name, make_authority, sign_certificate
from .endpoints import CURVE_PORT, TLS_PORT, default_endpoints, resolve
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
from .folder import CredentialFolder
from .progress import read_progress
from .revocation import RevocationFile


def default(pool: str, *, required: bool) -> dict[str, object]:
    """The part of profile.json about jobs without a chosen pool."""
    return ({"pool": pool} if pool else {}) | ({"required": True} if required else {})


class Authority(CredentialFolder):
    """A studio's certificate authority, and the folder with everything that it and its predecessors have issued.

    Make one with `Authority.create` or `Authority.open`. The private key is only read when something must be signed, so
    that everything else works without it.

    Args:
        folder: see certs/README.md.
        passphrase: of the authority's private key.
        clock: returns the time, with its zone.

    Attributes:
        issuers: all authorities in ca.pem.
        crl: the certificates that they have revoked.
        certificate: the certificate of the authority that signs.
    """

    def __init__(self, folder: Path, *, passphrase: str | None, clock: Callable[[], dt.datetime]) -> None:
        super().__init__(folder)
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
            folder: made if it does not exist.
            name: the studio's; shown wherever a certificate is.
            passphrase: for the private key.
            lifetime: the longest for everything that it will issue, too.
            clock: the time, with its zone.

        Raises:
            AuthorityError: there already is one. It is never replaced: everything issued would become worthless.
        """
        ca = folder / "ca"
        for path in (ca / "ca.pem", ca / "ca-key.pem", ca / "crl.pem"):
            if path.exists():
                raise AuthorityError(
                    f"{path} exists: this folder has an authority. `afpools certs ca --next` makes the one "
                    "that replaces it. For a separate studio, name another --dir."
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
            passphrase: the private key's, if it has one and something will be signed.
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
        """Whether the private key is here, and the passphrase was given if the key has one. The passphrase may be
        wrong."""
        return self.ca_key_path.exists() and (bool(self._passphrase) or not self.needs_passphrase)

    def now(self) -> dt.datetime:
        """The current time, from this authority's clock."""
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
            addresses: host names and IP addresses that clients use for it; profiles get the first. This machine's if
                none is given.
            tls_port: for profiles.
            curve_port: for profiles.
            lifetime: the certificate's.
            force: replace the keys the broker has.

        Returns:
            brokers/NAME.pem; NAME.key and NAME.key_secret are beside it.

        Raises:
            AuthorityError: the name is taken or not valid, or the authority's key cannot be used.
        """
        self.check_new_name(name, "clients", "client")
        pem, public_path, secret_path = self.broker_paths(name)
        if not force:
            for path in (pem, public_path, secret_path):
                if path.exists():
                    raise AuthorityError(
                        f"{path} exists. Renew the broker's certificate with `afpools certs renew {name}`; --force "
                        "makes new keys, and then every profile must be renewed and copied again."
                    )
        alternatives = [general_name(address) for address in addresses or own_names()]
        for port in (tls_port, curve_port):
            if not 0 < port < 65536:
                raise AuthorityError(f"{port} is not a valid port (use 1 to 65535).")
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
        pool: str = "",
        required: bool = False,
    ) -> Path:
        """Makes everything that a workstation needs, and registers its keys.

        Args:
            name: the client's.
            role: what it may do.
            endpoints: `tls://HOST:PORT` and `curve://HOST:PORT`, the preferred one first within each kind; all brokers'
                if none is given.
            lifetime: the certificate's and the CURVE key's.
            force: revoke what the client has, and replace it.
            pool: the default for jobs without a chosen pool; empty for none.
            required: whether jobs without a pool are refused.

        Returns:
            The folder profiles/NAME.

        Raises:
            AuthorityError: the name is taken or not valid, an endpoint does not lead to a broker in this folder, or the
                authority's key cannot be used.
        """
        self.check_new_name(name, "brokers", "broker")
        profile = self.profile_path(name)
        taken = [path for path in (*self.client_paths(name), profile) if path.exists()]
        if taken and not force:
            raise AuthorityError(
                f"{taken[0]} exists. `afpools certs renew {name}` renews its certificate and keeps its keys; "
                "--force revokes these and makes new ones."
            )
        entries = resolve(endpoints or default_endpoints(self.brokers()), self.brokers())
        self.ca_key()  # raises before anything is revoked if the key cannot sign
        if taken:
            self.revoke(name)
        with self.locked():
            key = ec.generate_private_key(ec.SECP256R1())
            certificate = self._issue(name, role, key.public_key(), lifetime)
            public, secret = zmq.curve_keypair()
            new = profile.with_name(f".{name}.{secrets.token_hex(4)}.new")
            self._write_profile(new, name, role, entries, default(pool, required=required))
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
        """Makes a new certificate for the existing keys of a broker or client. The old certificate works until it
        expires.

        A client's profile also gets the brokers' current CURVE keys. To change keys, role or addresses, issue the
        credentials again.

        Args:
            name: the broker's or client's.
            lifetime: counted from now.

        Returns:
            The file or folder to use: brokers/NAME.pem, or profiles/NAME. If the profile's folder is no longer here:
            clients/NAME.pem, which replaces the certificate in the client's client.pem.

        Raises:
            AuthorityError: there is no such broker or client, or the authority's key cannot be used.
        """
        self.check_name(name)
        pem = self.broker_paths(name)[0]
        if pem.exists():
            old = read_certificate(pem)
            alternatives = [general_name(address) for address in addresses_in(old)]
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
            entries = resolve(self.urls(profile), self.brokers())
            kept = self.default_pool(profile)
        with self.locked():
            certificate = self._issue(name, role, public_key, lifetime)
            self._register(name, role, certificate, listed.public_key.encode())
            if entries is None:
                return client_pem
            self._write_profile(profile, name, role, entries, kept)
            write(profile / "client.pem", to_pem(certificate) + key_to_pem(key), secret=True)
        return profile

    # --- revoking -------------------------------------------------------------------------------------------------

    def revoke(self, name: str) -> Path:
        """Revokes everything that was ever issued to a client. Brokers notice within a second.

        First its CURVE key is removed, which needs no key; then every certificate with its name that has not expired
        goes into crl.pem, which needs the authority's key; then the rest of its files are moved. If it is interrupted
        or fails half-way, it can be repeated.

        Returns:
            The folder with what was revoked.

        Raises:
            AuthorityError: there is no such client; or its CURVE key was revoked but its certificates could not be (the
                message says so).
        """
        self.check_name(name)
        if self.broker_paths(name)[0].exists():
            raise AuthorityError(
                f"{name!r} is a broker: clients do not ask whether a broker's certificate was revoked. If its keys "
                "were stolen, make a new authority in another --dir, and hand out new profiles."
            )
        pem, key = self.client_paths(name)
        profile = self.profile_path(name)
        with self.locked():
            if not any(path.exists() for path in (pem, key, profile)) and not self.issued_to(name):
                raise AuthorityError(f"There is no client {name!r} here. `afpools certs list` shows those there are.")
            # The time stamp distinguishes several revocations of the same name.
            attic = self.folder / "revoked" / f"{name}.{self._clock():%Y%m%dT%H%M%S}.{secrets.token_hex(2)}"
            had_key = key.exists()
            if had_key:
                move(key, attic / key.name)
            try:
                issued = self.issued_to(name)
                if not issued and not self.ca_key_path.exists():
                    # A broker's copy of the folder does not know everything that was issued, so it cannot be relied on.
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
        """Puts certificates that have not expired on the lists of their issuers. Does so for every list that can be
        signed before it raises an error about those that cannot."""
        now = self._clock()
        lists = self.crl.read()
        missing: dict[bytes, dict[int, dt.datetime]] = {}
        for certificate in certificates:
            issuer = issuer_of(certificate, self.issuers)
            # Nobody accepts certificates of an authority that is no longer in ca.pem.
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
        """Signs an authority's list of revoked certificates again: with its current contents, or if it is lost or
        damaged, with what must be on it.

        Raises:
            AuthorityError: the authority's key cannot be used.
        """
        with self.locked():
            try:
                revoked = dict(self.crl.read()[issuer.id].revoked)
            except (AuthorityError, KeyError):
                revoked = {serial: self._clock() for by, serial in self.superseded() if by == issuer.id}
            self.crl.put(issuer, revoked, self.ca_key(issuer))

    # --- paths and parts ------------------------------------------------------------------------------------------

    @property
    def signer(self) -> Issuer:
        """The authority that signs."""
        return next(issuer for issuer in self.issuers if issuer.certificate == self.certificate)

    @property
    def successor(self) -> Issuer | None:
        """The authority that is trusted and does not sign yet; None if there is none."""
        to = read_progress(self.folder).to
        others = [issuer for issuer in self.issuers if issuer != self.signer]
        return next(
            (one for one in others if one.id.hex() == to or self.next_key_path(one).exists()),
            None,
        )

    def again(self) -> Authority:
        """The folder as it is now, with the same clock and passphrase."""
        return Authority.open(self.folder, passphrase=self._passphrase, clock=self._clock)

    def _signer(self) -> Issuer:
        if len(self.issuers) == 1:
            return self.issuers[0]
        with contextlib.suppress(AuthorityError):
            # A copy of the key says whose it is, even without its passphrase: there is one while `switch` works.
            key_bytes = read(self.ca_key_path)
            for issuer in self.issuers:
                path = self.next_key_path(issuer)
                if path.exists() and read(path) == key_bytes:
                    return issuer
        with contextlib.suppress(AuthorityError, TypeError):
            key = load_key(self.ca_key_path, self._passphrase if self.needs_passphrase else None)
            for issuer in self.issuers:
                if same_key(issuer.certificate, key):
                    return issuer
        # `ca_key` raises the error when something is to be signed.
        return self.issuers[0]

    def ca_key(self, issuer: Issuer | None = None) -> ec.EllipticCurvePrivateKey:
        """The key of an authority; by default, of the one that signs.

        Raises:
            AuthorityError: it is not here, cannot be read, or belongs to another authority.
        """
        issuer = issuer or self.signer
        path = self.ca_key_path if issuer == self.signer else self.former_key_path(issuer)
        if issuer == self.successor:
            path = self.next_key_path(issuer)
        if not path.exists():
            raise AuthorityError(
                f"{path} is not here, and nothing can be signed by the authority {issuer.name} without it. Do this "
                "where the key is kept, or put it back temporarily."
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
        """The authority that signs a broker's certificate: one that every workstation knows. Until its profile has been
        carried there, a workstation may have only the previous one."""
        progress = read_progress(self.folder)
        carried = set(progress.carried) if progress.to == self.signer.id.hex() else set()
        others = [
            one for one in self.issuers if one not in (self.signer, self.successor) and one.expires > self._clock()
        ]
        if others and self.with_certificates_of_others("clients") - carried:
            return others[0]
        return self.signer

    def with_certificates_of_others(self, folder: str) -> set[str]:
        """The names in `clients` or `brokers` that may still use a certificate that the signer has not issued."""
        found = set()
        now = self._clock()
        keys = {path.stem: read_certificate(path) for path in files_in(self.folder / folder, ".pem")}
        registered = [(self.folder / folder / f"{name}.pem", certificate) for name, certificate in keys.items()]
        for path, certificate in [*self.issued(), *registered]:
            name = role_and_name(certificate, path)[1]
            if name in found or name not in keys or certificate.not_valid_after_utc <= now:
                continue
            issuer = issuer_of(certificate, self.issuers)
            if issuer not in (None, self.signer) and public_bytes(certificate.public_key()) == public_bytes(
                keys[name].public_key()
            ):
                found.add(name)
        return found

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
        """Signs a certificate, and keeps a copy before anybody gets it: an unknown certificate cannot be revoked."""
        issuer = issuer or self.signer
        certificate = sign_certificate(
            name,
            role,
            public_key,
            issuer=issuer,
            key=self.ca_key(issuer),
            now=self._clock(),
            lifetime=lifetime,
            addresses=addresses,
        )
        write(self.folder / "ca" / "issued" / f"{certificate.serial_number:040x}.pem", to_pem(certificate))
        return certificate

    def _register(self, name: str, role: Role, certificate: x509.Certificate, public: bytes) -> None:
        """Writes the public halves. The CURVE key expires with the certificate, so that a profile has only one date."""
        pem, key = self.client_paths(name)
        metadata = {
            "name": name,
            "role": str(role),
            "created": self._clock().isoformat(timespec="seconds"),
            "expires": certificate.not_valid_after_utc.isoformat(timespec="seconds"),
        }
        write(pem, to_pem(certificate))
        write(key, curve_file("Public CURVE key of a client", metadata, public))

    def _write_profile(
        self, folder: Path, name: str, role: Role, entries: list[dict[str, str]], default: dict[str, object]
    ) -> None:
        write(folder / "ca.pem", self.ca_pem())
        described = {"name": name, "role": str(role), "endpoints": entries, **default}
        write(folder / "profile.json", json.dumps(described, indent=2) + "\n")

    def ca_pem(self) -> bytes:
        """The certificates of all authorities, in PEM, as clients and brokers get them."""
        return b"".join(to_pem(issuer.certificate) for issuer in self.issuers)

    def superseded(self) -> dict[tuple[bytes, int], str]:
        """Names of clients whose certificates must no longer be accepted, by issuer id and serial: see the strategy
        above."""
        found: dict[tuple[bytes, int], str] = {}
        for path, certificate in self.issued():
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
