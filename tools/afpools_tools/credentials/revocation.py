"""The file with what has been revoked: one list of each authority, signed with its key.

Strategy: whoever replaces one list keeps the others as they stand there, since their keys may be elsewhere.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from afpools_broker.credentials.authorities import (
    Issuer,
    RevocationList,
    match_revocation_lists,
    parse_revocation_lists,
    pem_blocks,
)
from afpools_broker.credentials.files import UNREADABLE, explain

from .files import AuthorityError, read, write


class RevocationFile:
    """`crl.pem` in a folder of credentials.

    Args:
        path: the file.
        issuers: the authorities in `ca.pem`.
        clock: the time, with its zone.
    """

    def __init__(self, path: Path, issuers: Sequence[Issuer], clock: Callable[[], dt.datetime]) -> None:
        self.path = path
        self._issuers = tuple(issuers)
        self._clock = clock

    def read(self) -> dict[bytes, RevocationList]:
        """What each authority has revoked, by its id.

        Raises:
            AuthorityError: the file is missing or wrong.
        """
        try:
            return match_revocation_lists(parse_revocation_lists(read(self.path)), self._issuers)
        except UNREADABLE as error:
            raise AuthorityError(
                f"{self.path}: {explain(error)}. `afpools certs check --fix` writes a new one."
            ) from None

    def missing(self, issuer: Issuer) -> str:
        """The sentence for an authority that has no list in it."""
        return (
            f"{self.path}: it has no list of the authority {issuer.name}, and brokers trust none that has no list. "
            "`afpools certs check --fix` writes it where that authority's key is."
        )

    def put(self, issuer: Issuer, revoked: Mapping[int, dt.datetime], key: ec.EllipticCurvePrivateKey) -> None:
        """Signs an authority's list, and puts it in place of its last one.

        It counts for as long as the authority does. A shorter term, as public authorities have, would oblige the
        studio to sign a new list every few days for nothing: brokers read the file itself, not an old copy of it.

        Args:
            issuer: the authority.
            revoked: when each certificate was taken back, by serial.
            key: the authority's.
        """
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(issuer.certificate.subject)
            .last_update(min(self._clock(), issuer.expires - dt.timedelta(seconds=1)))
            .next_update(issuer.expires)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
            .add_extension(x509.CRLNumber(self._next_number(issuer)), critical=False)
        )
        for serial, when in sorted(revoked.items()):
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(when).build()
            )
        signed = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
        others = self._lists_of(other for other in self._issuers if other != issuer)
        write(self.path, signed + b"".join(others))

    def keep(self, issuers: Iterable[Issuer]) -> None:
        """Takes out every list that is not of one of these authorities."""
        write(self.path, b"".join(self._lists_of(issuers)))

    def holds_others(self) -> bool:
        """Whether it holds a list of an authority that is not in `ca.pem`.

        Raises:
            AuthorityError: there is no such file. (So may anything of `UNREADABLE`.)
        """
        return len(parse_revocation_lists(read(self.path))) != len(self._lists_of(self._issuers))

    def _lists_of(self, issuers: Iterable[Issuer]) -> list[bytes]:
        """The lists of these authorities, as they stand there; those that cannot be read are left out."""
        wanted = tuple(issuers)
        found: list[bytes] = []
        with contextlib.suppress(AuthorityError):
            for block in pem_blocks(read(self.path), b"X509 CRL", damaged=True):
                with contextlib.suppress(*UNREADABLE):
                    if match_revocation_lists(parse_revocation_lists(block), wanted):
                        found.append(block + b"\n")
        return found

    def _next_number(self, issuer: Issuer) -> int:
        """Larger than all before, even where the file with the last one is lost: seconds since 1970, or one more."""
        seconds = int(self._clock().timestamp())
        try:
            return max(seconds, self.read()[issuer.id].number + 1)
        except (AuthorityError, KeyError):
            return seconds
