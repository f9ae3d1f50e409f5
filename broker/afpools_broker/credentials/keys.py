"""Reads and checks CURVE key files, and what a certificate says about its owner."""

from __future__ import annotations

import datetime as dt
import re
import stat
from dataclasses import dataclass
from pathlib import Path

import zmq
import zmq.auth
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from zmq.utils import z85

from ..protocol import Role
from .files import UNREADABLE, wrong_file
from .peers import Peer

# A certificate carries its role in its subject alternative name, as a URI: urn:afpools:<role>:<name>.
ROLE_URN = "urn:afpools:"

# Names become file names, URIs and log lines.
NAME_PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class CurveKey:
    """A client's public CURVE key, as in its file in `clients/`.

    Args:
        peer: who it is.
        public_key: Z85, 40 characters.
        expires: None for a key that does not expire.
    """

    peer: Peer
    public_key: str
    expires: dt.datetime | None


def parse_key_file(text: str) -> dict[str, dict[str, str]]:
    """Reads `zmq.auth`'s file format (ZPL, ZeroMQ RFC 4): its sections, each with its keys and values.

    Raises:
        ValueError: a key is given twice or outside a section, or something other than a comment follows a value.
    """
    sections: dict[str, dict[str, str]] = {}
    section: dict[str, str] | None = None
    # Not `splitlines`, which splits at characters that do not end a line in ZPL and pyzmq.
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip(" \t\r")
        if not line or line.startswith("#"):
            continue
        key, equals, value = (part.strip(" \t") for part in line.partition("="))
        if not equals:
            section = sections.setdefault(line, {})
            continue
        if section is None:
            raise ValueError(f"line {number} is outside a section")
        if key in section:
            # Nothing says which of two roles would be meant.
            raise ValueError(f"{key} is given twice")
        quote = value[:1]
        if quote and quote in "\"'" and quote in value[1:]:
            value, _, rest = value[1:].partition(quote)
            if rest.lstrip(" \t")[:1] not in ("", "#"):
                raise ValueError(f"in line {number}, something other than a comment follows the value of {key}")
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
        ValueError: something in it is missing or invalid; the message says what.
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
    """Refuses an invalid name of a client or broker.

    Raises:
        ValueError: the message says which names are allowed.
    """
    if not NAME_PATTERN.fullmatch(name):
        raise ValueError(f"{name!r} is not a valid name (use 1 to 64 of A-Z a-z 0-9 . _ -, not starting with . or -)")


def certificate_role(certificate: x509.Certificate) -> tuple[str, str]:
    """Role and name in a certificate, as the studio signed it; the role of a broker is `broker`.

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
    """Public and secret key of a `zmq.auth` file `*.key_secret` as Z85.

    Raises:
        CredentialError: it is missing, or is not such a file.
    """
    try:
        path.read_bytes()  # to get the system's own error, which zmq.auth does not pass on
        public, secret = zmq.auth.load_certificate(path)
        if secret is None:
            raise ValueError("it holds no secret key")
        if not _is_z85_key(secret.decode("ascii")) or zmq.curve_public(secret) != public:
            raise ValueError("its public and its secret key do not match")
    except UNREADABLE as error:
        raise wrong_file(path, error, "afpools certs broker") from None
    return public, secret


def too_open(path: Path) -> str | None:
    """The sentence for a secret file that users other than its owner may open; None if there is none or it is safe."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return None
    if not mode & 0o077:
        return None
    return (
        f"{path} holds a private key and is open to users other than its owner (mode {mode:04o}). "
        "Run `afpools certs check --fix`, or chmod it to 0600."
    )
