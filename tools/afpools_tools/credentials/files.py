"""The files of a folder of credentials: read with clear errors, written so that nobody ever sees half of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from afpools_broker.credentials.files import UNREADABLE, explain
from afpools_broker.credentials.keys import certificate_role

from .. import written
from ..errors import ToolError

PASSPHRASE_VARIABLE = "AFPOOLS_CA_PASSPHRASE"  # noqa: S105 - a variable's name, not a password

MAKE_ANEW = "Make new keys for the client: `afpools certs profile NAME --role ROLE --force`."


class AuthorityError(ToolError):
    """A file of keys or certificates cannot be made, read or used."""


def write(path: Path, data: bytes | str, *, secret: bool = False) -> None:
    """Writes a file so that nobody ever sees half of it, or a secret with the wrong permissions.

    Args:
        path: the file; its folder is made if it does not exist.
        data: a string is written as UTF-8.
        secret: readable by its owner only.

    Raises:
        AuthorityError: it cannot be written. What was there before stays.
    """
    make_folder(path.parent)
    try:
        written.write(path, data, written.PRIVATE if secret else written.PUBLIC)
    except written.NotWritten as error:
        raise AuthorityError(str(error)) from None


def make_folder(path: Path) -> None:
    """Makes a folder and its parents, accessible to their owner only."""
    try:
        if not path.parent.exists():
            make_folder(path.parent)  # mkdir's own `parents` would not apply the mode to them
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise AuthorityError(str(written.not_written(path, error))) from None


def move(path: Path, place: Path) -> None:
    """Moves a file or folder within the folder of credentials, or raises an `AuthorityError` that names it."""
    make_folder(place.parent)
    try:
        path.rename(place)
    except OSError as error:
        raise AuthorityError(f"{path}: cannot be moved to {place}: {error.strerror or error}.") from None


def read(path: Path) -> bytes:
    """A file's contents, or an `AuthorityError` that names it."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise AuthorityError(f"{path}: {explain(error)}.") from None


def read_certificate(path: Path) -> x509.Certificate:
    """The first certificate of a PEM file, or an `AuthorityError` that names it."""
    try:
        return x509.load_pem_x509_certificate(read(path))
    except ValueError as error:
        raise AuthorityError(f"{path}: it is not a certificate: {error}.") from None


def to_pem(certificate: x509.Certificate) -> bytes:
    """A certificate in PEM."""
    return certificate.public_bytes(Encoding.PEM)


def key_to_pem(key: ec.EllipticCurvePrivateKey, passphrase: str | None = None) -> bytes:
    """A private key in PEM, encrypted if there is a passphrase."""
    encryption = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def public_bytes(key: CertificatePublicKeyTypes) -> bytes:
    """A public key as bytes that can be compared."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def curve_file(comment: str, metadata: dict[str, str], public: bytes, secret: bytes | None = None) -> str:
    """A key file in `zmq.auth`'s format, which has no public function to write one."""
    lines = [f"#   {comment}", "", "metadata"]
    lines += [f'    {key} = "{value}"' for key, value in metadata.items()]
    lines += ["curve", f'    public-key = "{public.decode()}"']
    if secret is not None:
        lines.append(f'    secret-key = "{secret.decode()}"')
    return "\n".join(lines) + "\n"


def load_key(path: Path, passphrase: str | None = None) -> Any:
    """The private key in a PEM file.

    Raises:
        AuthorityError: there is none, or the passphrase is wrong.
    """
    try:
        return load_pem_private_key(read(path), passphrase.encode() if passphrase else None)
    except UNREADABLE as error:
        if passphrase:
            raise AuthorityError(f"{path}: the passphrase is wrong.") from None
        raise AuthorityError(f"{path}: it has no private key that can be read: {explain(error)}.") from None


def role_and_name(certificate: x509.Certificate, path: Path) -> tuple[str, str]:
    """Role and name in a certificate, or an `AuthorityError` that names its file."""
    try:
        return certificate_role(certificate)
    except ValueError as error:
        raise AuthorityError(f"{path}: {error}.") from None


def files_in(folder: Path, ending: str) -> list[Path]:
    """The files in a folder with this suffix, sorted; none if there is no folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix == ending and not path.name.startswith("."))
