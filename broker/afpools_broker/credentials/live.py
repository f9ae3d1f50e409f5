"""Who may connect: the studio's authority, what it has revoked, the CURVE keys it has listed, the broker's own keys.

Strategy: everything is read from files that `afpools certs` writes, checked while it is read, and kept as values that
are swapped as a whole, so that the listeners' threads need no lock. A file that becomes invalid while the broker runs
never admits anybody: the authorities and their revocation lists stay as they last were, an authority without a
revocation list is not trusted, and a CURVE key whose file is missing or invalid is rejected.
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import ssl
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from ..protocol import ExpiringCredential, Role, SeenClient, TrustedAuthority
from .authorities import Authorities, Issuer, common_name, issuer_of
from .files import UNREADABLE, CredentialError, Watched, explain
from .keys import CurveKey, certificate_role, parse_curve_key, read_curve_secret, same_key, too_open
from .peers import CredentialRefused, Peer, TlsPeer, utcnow

log = logging.getLogger("afpools.credentials")

# How long the list of keys stays valid if its folder cannot be read. A revocation must take effect within five seconds.
_LISTING_LASTS = dt.timedelta(seconds=4)

# How many certificates are remembered with their owners.
_MOST_REMEMBERED = 1000


def _watched_key(path: Path) -> Watched[CurveKey]:
    return Watched(path, lambda data: parse_curve_key(data, path.stem))


class Credentials:
    """Decides who may connect.

    Only one thread may call `refresh`; everything else may be called from any thread.

    Args:
        ca: the studio's authority, PEM.
        crl: the authority's revocation list, PEM.
        clients: folder of public CURVE keys (`NAME.key`) and of certificates (`NAME.pem`), of which only the dates are
            read.
        certificate: the broker's certificate and private key, PEM.
        curve_secret: the broker's CURVE keys, a `zmq.auth` file `*.key_secret`.
        clock: the time, with its zone.

    Raises:
        CredentialError: one of them is missing or invalid. A broker that does not know who was revoked must not start.
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
        self._tls_peers: dict[bytes, TlsPeer] = {}
        # First and last time, by the issuer of the certificate and the client's name.
        self._seen: dict[tuple[bytes, str], tuple[dt.datetime, dt.datetime]] = {}
        self._problems: tuple[str, ...] = ()
        self._look()

    # --- who connects -----------------------------------------------------------------------------------------------

    def curve_peer(self, public_key: str) -> Peer:
        """Whose CURVE key this is. Cheap: called for each request.

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
        """Whose certificate this is.

        Args:
            der: the certificate, whose signature TLS has verified.

        Raises:
            CredentialRefused: no role or more than one, revoked, or expired.
        """
        # A client that opens a connection for each request shows the same certificate each time. Who signed it does not
        # change, but it may become invalid.
        remembered = self._tls_peers.get(der)
        if remembered is not None and self.still_valid(remembered) is None:
            return remembered
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
        if len(self._tls_peers) >= _MOST_REMEMBERED:
            self._tls_peers = {}
        self._tls_peers[der] = peer
        return peer

    def still_valid(self, peer: TlsPeer) -> str | None:
        """Why a certificate that was valid no longer is, as a clause; None while it is."""
        trust = self._authorities.trust
        if peer.issuer not in trust.issuers:
            return f"the authority that issued the certificate of {peer.peer.name!r} is no longer trusted"
        revoked = trust.lists[peer.issuer].revoked.get(peer.serial)
        if revoked is not None:
            return f"certificate of {peer.peer.name!r} was revoked on {revoked:%Y-%m-%d}"
        if peer.not_after <= self._clock():
            return f"certificate of {peer.peer.name!r} expired on {peer.not_after:%Y-%m-%d}"
        return None

    def note_seen(self, peer: TlsPeer) -> None:
        """Notes that a client has just connected. Only the TLS listener's thread may call it.

        An open connection says nothing later on: its client reads the profile again for the next one.
        """
        now = self._clock()
        key = peer.issuer, peer.peer.name
        first, _ = self._seen.get(key, (now, now))
        self._seen[key] = first, now

    def trusted(self) -> list[TrustedAuthority]:
        """The authorities whose certificates are accepted, and while there are several, who has used which: so that an
        authority is not retired while somebody depends on it."""
        # What new handshakes go by: a file that has been read counts only once it is in the context.
        own, accepted = self._shown
        issuers = {issuer.id: issuer for issuer in accepted if issuer.id in self._authorities.trust.issuers}
        shown = issuer_of(own, issuers.values())
        seen: dict[bytes, list[SeenClient]] = {}
        if len(issuers) > 1:
            for (issuer, name), (first, last) in sorted(self._seen.copy().items()):
                seen.setdefault(issuer, []).append(SeenClient(name=name, first=first, last=last))
        return [
            TrustedAuthority(
                id=key.hex(),
                name=common_name(issuer.certificate),
                expires=issuer.expires,
                shown=issuer == shown,
                clients=seen.get(key, []),
            )
            for key, issuer in issuers.items()
        ]

    # --- the TLS context ------------------------------------------------------------------------------------------

    def server_context(self) -> ssl.SSLContext:
        """A context for TLS 1.3 that accepts client certificates of the studio's authorities only. Connections that
        begin after the broker's certificate was renewed show the new one, and those that begin after an authority was
        added or removed accept accordingly."""
        context = self._make_context()

        def show_newest(connection: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _: ssl.SSLContext) -> None:
            # In OpenSSL, changing a context while other threads shake hands with it is not safe; replacing it is.
            connection.context = self._context

        context.sni_callback = show_newest
        return context

    def _make_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        # A resumed session would never show its certificate again, but a revocation must apply to the next connection.
        context.num_tickets = 0
        try:
            # From memory: the file may have changed since it was checked.
            authorities = [issuer.certificate for issuer in self._authorities.trust.issuers.values()]
            if authorities:
                context.load_verify_locations(cadata=b"".join(one.public_bytes(Encoding.DER) for one in authorities))
            context.load_cert_chain(self._own.path)
        except OSError as error:  # ssl.SSLError is one
            raise CredentialError(f"{self._own.path}: OpenSSL rejects it: {error}.") from None
        return context

    # --- files that change ----------------------------------------------------------------------------------------

    def refresh(self, *, anew: bool = False) -> bool:
        """Reads again what has changed. Cheap if nothing has: one `stat` per file.

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
                log.warning("%s The previous one stays in use.", error)
        for problem in self._problems:
            if problem not in before[3]:
                log.warning("%s", problem)
        return before != (self._authorities.trust, self._curve_keys, self._own.value, self._problems)

    @property
    def outdated(self) -> list[str]:
        """The broker's own files that are read only when it starts and have changed since."""
        path = self._secrets[1]
        try:
            changed = read_curve_secret(path) != (self.curve_public_key, self.curve_secret_key)
        except CredentialError as error:
            return [str(error)]
        return [f"the CURVE keys in {path}"] if changed else []

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with the files now, one sentence each."""
        return (*self._problems, *self._authorities.overdue)

    def expiring(self, within: dt.timedelta) -> list[ExpiringCredential]:
        """What expires soon or has expired, soonest first.

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
        """What the TLS context depends on."""
        return self._own_certificate, list(self._authorities.trust.issuers.values())

    def _read_own(self, data: bytes) -> x509.Certificate:
        certificate = x509.load_pem_x509_certificate(data)
        # A certificate in use stays in use if its authority is removed; `_look` reports that.
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
                f"{self._own.path}: it was not issued by an authority in {self._ca_path}, so clients that have that "
                f"file reject it. Run `afpools certs renew {self._own.path.stem}`."
            )
        try:
            names = sorted(entry.name for entry in os.scandir(self._clients) if not entry.name.startswith("."))
            self._listed_at = self._clock()
        except OSError as error:
            # A network share that is briefly unreachable, or a lack of file descriptors, does not invalidate all keys
            # at once.
            names = [path.name for path in (*self._key_files, *self._certificate_files)]
            consequence = f"The keys that were in it stay valid for {_LISTING_LASTS.total_seconds():g} seconds more"
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
                if not isinstance(file.error, FileNotFoundError):  # removed since the folder was read
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
                problems.append(
                    f"{path}: {explain(certificate.error)}. Nobody is warned before the certificate expires."
                )
        problems += [problem for problem in map(too_open, self._secrets) if problem]
        self._problems = tuple(problems)
        self._curve_keys = listed
