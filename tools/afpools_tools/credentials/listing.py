"""Everything that a studio's authority has issued, and how long it is valid."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal

from cryptography import x509

from afpools_broker.credentials.authorities import Issuer, common_name, issuer_of

from .authority import Authority
from .files import files_in, read_certificate, role_and_name


@dataclass(frozen=True)
class Credential:
    """One line of the list of credentials.

    Args:
        name: the client's, the broker's, or the authority's.
        kind: the kind of credential, such as `TLS`.
        role: `reader`, `manager`, `broker` or `ca`.
        expires: None for a key that does not expire.
        state: its current state.
        authority: the issuer of a certificate; empty for a CURVE key.
    """

    name: str
    kind: Literal["TLS", "CURVE"]
    role: str
    expires: dt.datetime | None
    state: Literal["valid", "expired", "revoked"]
    authority: str = ""


def credentials(authority: Authority) -> list[Credential]:
    """All credentials: the authority's, the brokers', the clients', and those that are revoked but have not expired."""
    now = authority.now()
    lists = authority.crl.read()
    found = []

    def is_revoked(certificate: x509.Certificate, issuer: Issuer | None) -> bool:
        return issuer is not None and issuer.id in lists and certificate.serial_number in lists[issuer.id].revoked

    def tls(certificate: x509.Certificate, name: str, role: str) -> None:
        expires = certificate.not_valid_after_utc
        state: Literal["valid", "expired", "revoked"] = "expired" if expires <= now else "valid"
        issuer = issuer_of(certificate, authority.issuers)
        if is_revoked(certificate, issuer):
            state = "revoked"
        found.append(Credential(name, "TLS", role, expires, state, issuer.name if issuer else "not in ca.pem"))

    for issuer in authority.issuers:
        tls(issuer.certificate, common_name(issuer.certificate), "ca")
    for broker in authority.brokers():
        tls(read_certificate(authority.broker_paths(broker.name)[0]), broker.name, "broker")
        found.append(Credential(broker.name, "CURVE", "broker", None, "valid"))
    # Sorted by name, and a client's certificate before its CURVE key.
    folder = authority.folder / "clients"
    for path in sorted(files_in(folder, ".pem") + files_in(folder, ".key"), key=lambda path: path.stem):
        if path.suffix == ".pem":
            certificate = read_certificate(path)
            tls(certificate, path.stem, role_and_name(certificate, path)[0])
        else:
            key = authority.read_curve_key(path)
            expired = key.expires is not None and key.expires <= now
            found.append(
                Credential(key.peer.name, "CURVE", key.peer.role, key.expires, "expired" if expired else "valid")
            )
    for path, certificate in authority.issued():
        if certificate.not_valid_after_utc > now and is_revoked(certificate, issuer_of(certificate, authority.issuers)):
            role, name = role_and_name(certificate, path)
            tls(certificate, name, role)
    return found
