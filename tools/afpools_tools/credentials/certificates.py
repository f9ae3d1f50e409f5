"""The contents of a certificate: pure functions from names, keys and dates to what every TLS library accepts."""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
from collections.abc import Iterable

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from afpools_broker.credentials.authorities import Issuer
from afpools_broker.credentials.keys import ROLE_URN

from .files import AuthorityError

# Replacing the authority means visiting every workstation.
CA_LIFETIME = dt.timedelta(days=3650)

# `afpools health` and the clients warn equally early.
WARN_BEFORE_EXPIRY = dt.timedelta(days=30)

# A year, and a month in which `health` warns: renewing on a fixed date each year is never late. It is also the longest
# lifetime that TLS libraries accept from a public authority (CA/Browser Forum, Baseline Requirements 6.3.2, 2020).
LIFETIME = dt.timedelta(days=397)

# A workstation whose clock is slightly slow must accept a certificate that was just made.
_BACKDATE = dt.timedelta(minutes=5)

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


def check_address(address: str) -> None:
    """
    Raises:
        AuthorityError: it is neither a host's name nor an IP address.
    """
    general_name(address)


def general_name(address: str) -> x509.DNSName | x509.IPAddress:
    """A host's name or an IP address in the form that certificates use.

    Raises:
        AuthorityError: it is neither.
    """
    try:
        return x509.IPAddress(ipaddress.ip_address(address.strip("[]")))
    except ValueError:
        pass
    if not _HOST_NAME.fullmatch(address):
        raise AuthorityError(f"{address!r} is neither a host's name nor an IP address; no port and no scheme here.")
    return x509.DNSName(address)


def addresses_in(certificate: x509.Certificate) -> list[str]:
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
        AuthorityError: the name is too long or empty.
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
        # It cannot certify further authorities.
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage("key_cert_sign", "crl_sign"), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return key, certificate


def sign_certificate(
    name: str,
    role: str,
    public_key: CertificatePublicKeyTypes,
    *,
    issuer: Issuer,
    key: ec.EllipticCurvePrivateKey,
    now: dt.datetime,
    lifetime: dt.timedelta,
    addresses: Iterable[x509.GeneralName] = (),
) -> x509.Certificate:
    """The certificate of a broker or a client.

    Args:
        name: the broker's or client's.
        role: `reader`, `manager` or `broker`.
        public_key: the key to certify.
        issuer: the authority that signs.
        key: the issuer's.
        now: the time, with its zone.
        lifetime: the longest; a certificate never outlives its issuer.
        addresses: a broker's, as `general_name` makes them.

    Raises:
        AuthorityError: the issuer has expired.
    """
    authority = issuer.certificate
    purpose = ExtendedKeyUsageOID.SERVER_AUTH if role == "broker" else ExtendedKeyUsageOID.CLIENT_AUTH
    authority_key = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    not_after = min(now + lifetime, authority.not_valid_after_utc)
    if not_after <= now - _BACKDATE:
        raise AuthorityError(
            f"The authority {issuer.name} expired on {authority.not_valid_after_utc:%Y-%m-%d}. Make another with "
            "`afpools certs ca --next`."
        )
    return (
        x509.CertificateBuilder(
            issuer_name=authority.subject,
            subject_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]),
        )
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(not_after)
        # Python 3.13 verifies with X509_STRICT: all of these must be present and correct.
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage("digital_signature"), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([*addresses, x509.UniformResourceIdentifier(f"{ROLE_URN}{role}:{name}")]),
            critical=False,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority_key), critical=False)
        .sign(key, hashes.SHA256())
    )


def cut_short(certificate: x509.Certificate, issuer: Issuer, lifetime: dt.timedelta, now: dt.datetime) -> bool:
    """Whether a certificate ends with its issuer, before it was meant to.

    Args:
        certificate: the certificate.
        issuer: the authority that signed it.
        lifetime: what was asked for.
        now: when it was made, with its zone. A minute more or less does not matter.
    """
    meant = now + lifetime - dt.timedelta(minutes=1)
    return certificate.not_valid_after_utc == issuer.expires and issuer.expires < meant


def _key_usage(*allowed: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{usage: usage in allowed for usage in _KEY_USAGES})
