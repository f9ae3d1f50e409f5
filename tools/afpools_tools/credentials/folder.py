"""A folder of credentials (see certs/README.md): its layout and its contents."""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509

from afpools_broker.credentials.authorities import Issuer
from afpools_broker.credentials.files import explain
from afpools_broker.credentials.keys import CurveKey, check_name, parse_curve_key, parse_key_file

from ..written import not_written
from .certificates import addresses_in
from .endpoints import CURVE_PORT, TLS_PORT, BrokerEndpoints
from .files import MAKE_ANEW, AuthorityError, files_in, read, read_certificate, role_and_name


class CredentialFolder:
    """The folder with everything that the studio's authorities have issued.

    Args:
        folder: its place.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    # --- what is where --------------------------------------------------------------------------------------------

    @property
    def ca_key_path(self) -> Path:
        return self.folder / "ca" / "ca-key.pem"

    def former_key_path(self, issuer: Issuer) -> Path:
        """Where the key of a former authority is kept."""
        return self.folder / "ca" / "former" / f"{issuer.id.hex()[:8]}-key.pem"

    def next_key_path(self, issuer: Issuer) -> Path:
        """Where the key of the next authority waits until it signs."""
        return self.folder / "ca" / "next" / f"{issuer.id.hex()[:8]}-key.pem"

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

    def check_name(self, name: str) -> None:
        """
        Raises:
            AuthorityError: a broker or client cannot have this name.
        """
        try:
            check_name(name)
        except ValueError as error:
            raise AuthorityError(f"{error}.") from None

    def check_new_name(self, name: str, folder: str, kind: str) -> None:
        """
        Raises:
            AuthorityError: a broker or client cannot have this name, or a `kind`, whose files are in `folder`, already
                has it.
        """
        self.check_name(name)
        if (self.folder / folder / f"{name}.pem").exists():
            raise AuthorityError(f"There is a {kind} {name!r} already; brokers and clients cannot share a name.")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """A lock: if two people revoke at the same time, neither may undo the other's change."""
        path = self.folder / "ca" / ".lock"
        try:
            lock = path.open("w")
        except OSError as error:
            raise AuthorityError(str(not_written(path, error))) from None
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    # --- what is in it --------------------------------------------------------------------------------------------

    def urls(self, profile: Path) -> list[str]:
        """The endpoints in a profile's folder."""
        path = profile / "profile.json"
        try:
            return [str(entry["url"]) for entry in json.loads(read(path))["endpoints"]]
        except (ValueError, TypeError, KeyError):
            raise AuthorityError(f"{path}: it is not a profile. {MAKE_ANEW}") from None

    def default_pool(self, profile: Path) -> dict[str, object]:
        """What a profile says about jobs without a chosen pool."""
        described = json.loads(read(profile / "profile.json"))
        return {key: described[key] for key in ("pool", "required") if key in described}

    def brokers(self) -> list[BrokerEndpoints]:
        """Where to find the brokers whose credentials are here.

        Raises:
            AuthorityError: a file of theirs cannot be read.
        """
        found = []
        for path in files_in(self.folder / "brokers", ".pem"):
            _, public_path, _ = self.broker_paths(path.stem)
            try:
                sections = parse_key_file(read(public_path).decode())
                metadata, server_key = sections.get("metadata", {}), sections["curve"]["public-key"]
                ports = int(metadata.get("tls-port", TLS_PORT)), int(metadata.get("curve-port", CURVE_PORT))
                addresses = addresses_in(read_certificate(path))
            except (ValueError, KeyError, x509.ExtensionNotFound) as error:
                raise AuthorityError(f"{public_path}: {explain(error)}. `afpools certs check` tells more.") from None
            found.append(BrokerEndpoints(path.stem, addresses, *ports, server_key))
        return found

    def read_curve_key(self, path: Path) -> CurveKey:
        """A public CURVE key, or an `AuthorityError` that names its file."""
        try:
            return parse_curve_key(read(path), path.stem)
        except ValueError as error:
            raise AuthorityError(f"{path}: {explain(error)}. {MAKE_ANEW}") from None

    def issued(self) -> list[tuple[Path, x509.Certificate]]:
        """Every certificate that is known to have been issued, with its file."""
        return [(path, read_certificate(path)) for path in files_in(self.folder / "ca" / "issued", ".pem")]

    def issued_to(self, name: str) -> list[x509.Certificate]:
        """Every certificate known to have been issued to a name."""
        found = [certificate for path, certificate in self.issued() if role_and_name(certificate, path)[1] == name]
        registered = self.client_paths(name)[0]
        return [*found, read_certificate(registered)] if registered.exists() else found
