"""Keys, certificates and revocation lists: whatever they contain, nobody is admitted who should not be."""

from __future__ import annotations

import base64
import contextlib
import functools
import re
import shutil
import ssl
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random

import zmq.auth
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from tests.fuzz.mutations import changed_text, damaged
from tests.fuzz.target import Check, Target

from afpools import ProfileError, transport
from afpools.profile import Profile
from afpools_broker.credentials.keys import parse_key_file
from afpools_broker.credentials.live import Credentials
from afpools_broker.credentials.peers import CredentialRefused
from afpools_broker.protocol import Role
from afpools_tools.credentials.authority import Authority

_BLOCK = re.compile(rb"(-----BEGIN [^-]+-----\n)(.*?)(-----END [^-]+-----\n?)", re.DOTALL)


@functools.cache
def _kept() -> tempfile.TemporaryDirectory[str]:
    """A studio's keys, made once in this process: one of each kind is revoked."""
    kept = tempfile.TemporaryDirectory()
    authority = Authority.create(Path(kept.name, "certs"))
    authority.issue_broker("broker", ["localhost"])
    for name, role in (("anna", Role.READER), ("tom", Role.MANAGER), ("gone", Role.MANAGER)):
        authority.issue_profile(name, role)
    # A revoked client keeps a copy; the studio does not.
    shutil.copytree(Path(kept.name, "certs", "profiles"), Path(kept.name, "copies"))
    authority.revoke("gone")
    return kept


def _file(*parts: str) -> bytes:
    return Path(_kept().name, "certs", *parts).read_bytes()


@functools.cache
def _der(name: str) -> bytes:
    """Somebody's certificate."""
    pem = Path(_kept().name, "copies", name, "client.pem").read_bytes()
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


class _Studio:
    """A broker's credentials in a separate folder, and who may connect."""

    def __init__(self, folder: Path) -> None:
        certs = folder / "certs"
        shutil.copytree(Path(_kept().name, "certs"), certs)
        self.certs = certs
        self.credentials = Credentials(
            ca=certs / "ca" / "ca.pem",
            crl=certs / "ca" / "crl.pem",
            clients=certs / "clients",
            certificate=certs / "brokers" / "broker.pem",
            curve_secret=certs / "brokers" / "broker.key_secret",
        )
        self._right = self._let_in()
        assert self._right == (True, True, False)

    def check_the_door(self) -> None:
        """After reading files of which one is invalid, the same clients are admitted as before."""
        self.credentials.refresh()
        for problem in self.credentials.problems:
            assert problem.endswith("."), problem
        assert self._let_in() == self._right

    def _let_in(self) -> tuple[bool, ...]:
        return tuple(self._is_let_in(name) for name in ("anna", "tom", "gone"))

    def _is_let_in(self, name: str) -> bool:
        try:
            self.credentials.tls_peer(_der(name))
        except CredentialRefused:
            return False
        return True


def _with(part: tuple[str, ...]) -> Callable[[Path], contextlib.AbstractContextManager[Check]]:
    """A check that writes its input into one of the broker's files."""

    @contextlib.contextmanager
    def opened(folder: Path) -> Iterator[Check]:
        studio = _Studio(folder)

        def check(data: bytes) -> None:
            studio.certs.joinpath(*part).write_bytes(data)
            studio.check_the_door()

        yield check

    return opened


@contextlib.contextmanager
def _key_file(folder: Path) -> Iterator[Check]:
    studio = _Studio(folder)
    key_file = studio.certs / "clients" / "anna.key"

    def check(data: bytes) -> None:
        key_file.write_bytes(data)
        studio.check_the_door()
        try:
            sections = parse_key_file(data.decode())
        except ValueError:
            return
        key = sections.get("curve", {}).get("public-key", "")
        try:
            peer = studio.credentials.curve_peer(key)
        except CredentialRefused:
            return
        if peer.name != "anna":
            return  # it has become somebody else's key, who is listed as well
        assert peer.role == sections["metadata"]["role"]
        assert "secret-key" not in sections["curve"]
        # What pyzmq reads in the same file is the same key. pyzmq does not support comments after a value.
        if b"#" not in data:
            assert zmq.auth.load_certificate(key_file)[0] == key.encode()

    yield check


@contextlib.contextmanager
def _certificate(folder: Path) -> Iterator[Check]:
    credentials = _Studio(folder).credentials

    def check(der: bytes) -> None:
        try:
            found = credentials.tls_peer(der)
        except CredentialRefused as error:
            assert str(error)
            return
        assert f"urn:afpools:{found.peer.role}:{found.peer.name}".encode() in der

    yield check


@contextlib.contextmanager
def _profile_pem(folder: Path) -> Iterator[Check]:
    """The input is a profile's client.pem, and then its ca.pem."""
    shutil.copytree(Path(_kept().name, "certs", "profiles", "anna"), folder / "anna")
    profile = Profile.load(str(folder / "anna"))
    files = {Path(name): Path(name).read_bytes() for name in (profile.client_file, profile.ca_file)}

    def check(data: bytes) -> None:
        for file, right in files.items():
            file.write_bytes(data)
            try:
                context = transport._tls_context(profile)
            except ProfileError as error:
                assert str(error).startswith((str(file), f"The key in {file}")), error
            else:
                assert context.verify_mode is ssl.CERT_REQUIRED
            file.write_bytes(right)

    yield check


def _changed_pem(data: bytes, random: Random) -> bytes:
    """What is between BEGIN and END with a byte changed, or a block more, less, or in another order."""
    blocks = list(_BLOCK.finditer(data))
    if not blocks or not random.randint(0, 4):
        return damaged(data, random)
    match random.randint(0, 3):
        case 0:
            block = random.choice(blocks)
            try:
                inner = base64.b64decode(block[2])
            except ValueError:
                return damaged(data, random)
            changed = base64.encodebytes(damaged(inner, random))
            return data[: block.start(2)] + changed + data[block.end(2) :]
        case 1:
            return data + random.choice(blocks)[0]
        case 2:
            return data[: blocks[-1].start()] + data[blocks[-1].end() :]
        case _:
            return b"".join(block[0] for block in random.sample(blocks, len(blocks)))


def _pem_seeds() -> Sequence[bytes]:
    return (
        _file("profiles", "anna", "client.pem"),
        _file("profiles", "anna", "ca.pem"),
        _file("ca", "crl.pem"),
        _file("brokers", "broker.pem"),
        b"",
    )


TARGETS = (
    Target("revocation-list", _with(("ca", "crl.pem")), lambda: (_file("ca", "crl.pem"),), _changed_pem),
    Target("broker-pem", _with(("brokers", "broker.pem")), lambda: (_file("brokers", "broker.pem"),), _changed_pem),
    Target("client-pem", _with(("clients", "anna.pem")), lambda: (_file("clients", "anna.pem"),), _changed_pem),
    Target("key-file", _key_file, lambda: (_file("clients", "anna.key"), _file("clients", "tom.key")), changed_text),
    Target(
        "certificate",
        _certificate,
        lambda: (_der("anna"), _der("tom")),
        damaged,
    ),
    Target("profile-pem", _profile_pem, _pem_seeds, _changed_pem),
)
