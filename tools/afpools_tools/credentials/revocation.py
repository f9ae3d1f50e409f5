"""The file of revoked certificates: one list for each authority, signed with its key.

Strategy: replacing one list keeps the others byte for byte, because their keys may be elsewhere.
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
        clock: returns the time, with its zone.
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
        """The error message for an authority that has no list in the file."""
        return (
            f"{self.path}: it has no list of the authority {issuer.name}, and brokers trust none that has no list. "
            "`afpools certs check --fix` writes it where that authority's key is."
        )

    def put(self, issuer: Issuer, revoked: Mapping[int, dt.datetime], key: ec.EllipticCurvePrivateKey) -> None:
        """Signs an authority's list, and replaces its previous one.

        The list is valid as long as the authority. A shorter term, which public authorities use, would make the studio
        sign a new list every few days for no benefit: brokers read the file itself, not an old copy of it.

        Args:
            issuer: the authority.
            revoked: when each certificate was revoked, by serial.
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
        """Removes every list that does not belong to one of these authorities."""
        write(self.path, b"".join(self._lists_of(issuers)))

    def holds_others(self) -> bool:
        """Whether it holds a list of an authority that is not in `ca.pem`.

        Raises:
            AuthorityError: there is no such file. (Anything in `UNREADABLE` may also be raised.)
        """
        return len(parse_revocation_lists(read(self.path))) != len(self._lists_of(self._issuers))

    def _lists_of(self, issuers: Iterable[Issuer]) -> list[bytes]:
        """The lists of these authorities, unchanged; those that cannot be read are left out."""
        wanted = tuple(issuers)
        found: list[bytes] = []
        with contextlib.suppress(AuthorityError):
            for block in pem_blocks(read(self.path), b"X509 CRL", damaged=True):
                with contextlib.suppress(*UNREADABLE):
                    if match_revocation_lists(parse_revocation_lists(block), wanted):
                        found.append(block + b"\n")
        return found

    def _next_number(self, issuer: Issuer) -> int:
        """A number larger than all before, even if the file with the last one is lost: seconds since 1970, or the last
        plus one."""
        seconds = int(self._clock().timestamp())
        try:
            return max(seconds, self.read()[issuer.id].number + 1)
        except (AuthorityError, KeyError):
            return seconds
