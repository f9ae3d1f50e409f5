"""The authorities that sign certificates, and what each has revoked.

Strategy: `ca.pem` and `crl.pem` may each hold several blocks, as they do while one authority takes over from another.
Every block of a file counts; a block that cannot be read makes the whole file invalid, since nobody knows what was in
it. Two authorities may have the same name, and will if a studio names both after itself, so they are told apart by
their keys.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from .files import UNREADABLE, CredentialError, Watched, explain, wrong_file

# The command that writes what is missing in crl.pem.
FIX = "afpools certs check --fix"

_BLOCK = re.compile(rb"-----BEGIN ([^-\n]*)-----[^-]*-----END \1-----")


@dataclass(frozen=True, slots=True)
class Issuer:
    """An authority whose certificates are accepted.

    Args:
        certificate: the authority's own.
        id: the same for all certificates of one authority, and different for any two authorities.
    """

    certificate: x509.Certificate
    id: bytes

    @property
    def name(self) -> str:
        """For messages: its name, and what distinguishes it from another authority with that name."""
        return f"{common_name(self.certificate)!r} ({self.id.hex()[:8]})"

    @property
    def expires(self) -> dt.datetime:
        """When its certificate expires."""
        return self.certificate.not_valid_after_utc


@dataclass(frozen=True, slots=True)
class RevocationList:
    """The certificates that one authority has revoked.

    Args:
        number: increases with each list.
        next_update: when its signer promises the next list.
        revoked: when each certificate was revoked, by serial.
    """

    number: int
    next_update: dt.datetime
    revoked: Mapping[int, dt.datetime]


@dataclass(frozen=True, slots=True)
class Trust:
    """The authorities whose certificates are accepted now, and what each has revoked, both by the authority's id."""

    issuers: Mapping[bytes, Issuer]
    lists: Mapping[bytes, RevocationList]


def common_name(certificate: x509.Certificate) -> str:
    """The name in a certificate's subject."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else certificate.subject.rfc4514_string()


def issuer_id(certificate: x509.Certificate) -> bytes:
    """What identifies an authority, which may have more than one certificate: its name and its key."""
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(certificate.subject.public_bytes() + key).digest()


def issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Whether an authority signed a certificate itself."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def issuer_of(certificate: x509.Certificate, issuers: Iterable[Issuer]) -> Issuer | None:
    """Which of these authorities signed a certificate itself; None if none of them did."""
    return next((issuer for issuer in issuers if issued_by(certificate, issuer.certificate)), None)


def parse_issuers(data: bytes) -> tuple[Issuer, ...]:
    """Reads the authorities of a `ca.pem`, each once, in the order of the file.

    Raises:
        ValueError: there is none, or one of the certificates is not an authority's. (Anything else in
            `files.UNREADABLE` may be raised, too.)
    """
    found: dict[bytes, Issuer] = {}
    for block in pem_blocks(data, b"CERTIFICATE"):
        certificate = x509.load_pem_x509_certificate(block)
        name = common_name(certificate)
        if not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            raise ValueError(f"the certificate of {name!r} in it is not that of an authority")
        if not issued_by(certificate, certificate):
            raise ValueError(f"the certificate of {name!r} in it is damaged, or was signed by another authority")
        issuer = Issuer(certificate, issuer_id(certificate))
        known = found.get(issuer.id)
        if known is None or known.expires < issuer.expires:
            found[issuer.id] = issuer
    if not found:
        raise ValueError("there is no certificate in it")
    return tuple(found.values())


def parse_revocation_lists(data: bytes) -> tuple[x509.CertificateRevocationList, ...]:
    """Reads the lists of a `crl.pem`, whoever signed them.

    Raises:
        ValueError: there is none, or one of them is not a complete list of what its signer has revoked.
    """
    found = tuple(x509.load_pem_x509_crl(block) for block in pem_blocks(data, b"X509 CRL"))
    if not found:
        raise ValueError("there is no list in it")
    for crl in found:
        _check_complete(crl)
    return found


def match_revocation_lists(
    lists: Iterable[x509.CertificateRevocationList], issuers: Iterable[Issuer]
) -> dict[bytes, RevocationList]:
    """What each authority has revoked, by the authority's id. Lists of other authorities are ignored. If one authority
    signed two lists, the one with the higher number counts.

    Raises:
        ValueError: a list names one of these authorities but was not signed by it.
    """
    found: dict[bytes, RevocationList] = {}
    for crl in lists:
        issuer = _signer(crl, issuers)
        if issuer is None:
            continue
        assert crl.next_update_utc is not None
        read = RevocationList(
            crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number,
            crl.next_update_utc,
            {entry.serial_number: entry.revocation_date_utc for entry in crl},
        )
        other = found.get(issuer.id)
        if other is not None and other.number == read.number:
            # Nothing says which of the two is right, and a guess may admit a revoked client.
            read = RevocationList(read.number, read.next_update, {**read.revoked, **other.revoked})
        if other is None or other.number <= read.number:
            found[issuer.id] = read
    return found


def pem_blocks(data: bytes, label: bytes, *, damaged: bool = False) -> list[bytes]:
    """The blocks of a PEM file (RFC 7468), without the text between them.

    Args:
        data: the file.
        label: the label of the blocks, as in their first lines.
        damaged: return the intact blocks of a damaged file.

    Raises:
        ValueError: one of them has no end, or is of another kind.
    """
    found = list(_BLOCK.finditer(data))
    if not damaged:
        if len(found) != data.count(b"-----BEGIN"):
            raise ValueError("it is damaged: it has a -----BEGIN line without its -----END line")
        for block in found:
            if block[1] != label:
                kind = block[1].decode(errors="replace")
                raise ValueError(f"it holds a block {kind!r}, and only {label.decode()} may be in it")
    return [block[0] for block in found if block[1] == label]


def _signer(crl: x509.CertificateRevocationList, issuers: Iterable[Issuer]) -> Issuer | None:
    try:
        key = crl.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except x509.ExtensionNotFound:
        key = None
    named = [
        issuer
        for issuer in issuers
        if issuer.certificate.subject == crl.issuer and key in (None, _key_identifier(issuer.certificate) or key)
    ]
    for issuer in named:
        if crl.is_signature_valid(issuer.certificate.public_key()):  # type: ignore[arg-type]
            return issuer
    if named:
        raise ValueError(f"the list of the authority {named[0].name} in it was not signed by that authority")
    return None


def _key_identifier(authority: x509.Certificate) -> bytes | None:
    try:
        return authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.key_identifier
    except x509.ExtensionNotFound:
        return None


def _check_complete(crl: x509.CertificateRevocationList) -> None:
    """Refuses lists that are complete only together with other lists (RFC 5280, 5.2.4 and 5.2.5)."""
    kinds = {type(extension.value) for extension in crl.extensions}
    if x509.DeltaCRLIndicator in kinds:
        raise ValueError("a list in it has only changes to another list (a delta CRL); a complete one is needed")
    if x509.IssuingDistributionPoint in kinds:
        raise ValueError(
            "a list in it covers only some certificates, or those of other authorities (an indirect CRL); a "
            "complete one is needed"
        )
    if any(extension.critical for extension in crl.extensions):
        raise ValueError("a list in it has extensions that are not known here")
    if any(extension.critical for entry in crl for extension in entry.extensions):
        raise ValueError("a list in it has entries with extensions that are not known here")
    if crl.next_update_utc is None:
        raise ValueError("a list in it does not say until when it is valid")
    crl.extensions.get_extension_for_class(x509.CRLNumber)


class Authorities:
    """The authorities of a broker, as in their files now. Only one thread may call `look`; any may read `trust`.

    Args:
        ca: their certificates, PEM.
        crl: what each has revoked, PEM.
        clock: the time, with its zone.

    Raises:
        CredentialError: one of the files is missing or invalid, or an authority has no list.

    Attributes:
        trust: whose certificates are accepted; always replaced as a whole.
    """

    def __init__(self, ca: Path, crl: Path, clock: Callable[[], dt.datetime]) -> None:
        self._clock = clock
        self._ca = Watched(ca, parse_issuers)
        self._crl = Watched(crl, parse_revocation_lists)
        self._matched: tuple[object, object] = (None, None)
        # For every authority that ever had a list, even if the authority was removed and comes back.
        self._newest: dict[bytes, RevocationList] = {}
        self._match_problems: tuple[str, ...] = ()
        self.trust = Trust({}, {})
        self._ca.look_or_raise("afpools certs ca")
        self._crl.look_or_raise(FIX)
        self._check()

    @property
    def listed(self) -> tuple[Issuer, ...]:
        """All authorities in ca.pem, trusted or not."""
        return self._ca.value or ()

    def look(self, *, anew: bool = False) -> list[str]:
        """Reads what has changed, or everything, again; returns what is wrong, one sentence each."""
        if anew:
            self._ca.forget()
            self._crl.forget()
        self._ca.look()
        self._crl.look()
        problems = self._find()
        for path, error in ((self._ca.path, self._ca.error), (self._crl.path, self._crl.error)):
            if error is not None:
                problems.append(f"{path}: {explain(error)}. What it held before still counts.")
        return problems

    @property
    def overdue(self) -> list[str]:
        """The lists that should have been replaced by now, one sentence each."""
        trust, now = self.trust, self._clock()
        return [
            f"{self._crl.path}: the list of the authority {issuer.name} should have been replaced by "
            f"{trust.lists[key].next_update:%Y-%m-%d}. It still counts; `{FIX}` writes a new one."
            for key, issuer in trust.issuers.items()
            if trust.lists[key].next_update <= now
        ]

    def _check(self) -> None:
        """Makes sure at the start that every authority has its list, and that one of them is valid.

        Raises:
            CredentialError: the message says which has none, or that all have expired.
        """
        issuers = self._ca.value or ()
        try:
            lists = match_revocation_lists(self._crl.value or (), issuers)
        except UNREADABLE as error:
            raise wrong_file(self._crl.path, error, FIX) from None
        now = self._clock()
        good = [issuer for issuer in issuers if issuer.expires > now]
        if not good:
            latest = max(issuer.expires for issuer in issuers)
            raise CredentialError(f"{self._ca.path}: it expired on {latest:%Y-%m-%d}. Make a new authority.")
        for issuer in good:
            if issuer.id not in lists:
                raise CredentialError(self._without_list(issuer))
        self._find()

    def _without_list(self, issuer: Issuer) -> str:
        return (
            f"{self._crl.path}: the authority {issuer.name} of {self._ca.path} has no list of revoked certificates in "
            f"it, and is not trusted without one. Run `{FIX}` where the authority's key is, and copy the file from "
            "there."
        )

    def _find(self) -> list[str]:
        """Works out whose certificates are accepted; returns what is wrong with the authorities, one sentence each."""
        issuers = self._ca.value or ()
        lists = self._crl.value or ()
        if self._matched != (issuers, lists):
            # Signatures are checked only when a file has changed, not every second.
            self._match_problems = tuple(self._match(issuers, lists))
            self._matched = (issuers, lists)
        problems = list(self._match_problems)
        now = self._clock()
        trusted: dict[bytes, Issuer] = {}
        for issuer in issuers:
            if issuer.expires <= now:
                problems.append(
                    f"{self._ca.path}: the authority {issuer.name} expired on {issuer.expires:%Y-%m-%d}. Nobody can "
                    "connect over TLS with a certificate that it issued."
                )
            elif issuer.id not in self._newest:
                problems.append(self._without_list(issuer))
            else:
                trusted[issuer.id] = issuer
        trust = Trust(trusted, {key: self._newest[key] for key in trusted})
        if trust != self.trust:
            self.trust = trust
        return problems

    def _match(self, issuers: tuple[Issuer, ...], lists: tuple[x509.CertificateRevocationList, ...]) -> Iterator[str]:
        """Stores the lists of these authorities; yields what is wrong with them, one sentence each."""
        try:
            found = match_revocation_lists(lists, issuers)
        except UNREADABLE as error:
            yield f"{self._crl.path}: {explain(error)}. What it held before still counts."
            return
        for issuer in issuers:
            known, new = self._newest.get(issuer.id), found.get(issuer.id)
            if new is None:
                if known is not None:
                    yield (
                        f"{self._crl.path}: the list of the authority {issuer.name} is no longer in it. The last "
                        "one still counts."
                    )
            elif known is not None and new.number < known.number:
                # A restored backup or a slow copy must not admit a revoked client again.
                yield (
                    f"{self._crl.path}: the list of the authority {issuer.name} is older (number {new.number}) than "
                    f"the one before it (number {known.number}), which still counts."
                )
            else:
                self._newest[issuer.id] = new
