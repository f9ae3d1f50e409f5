"""TLS over a scripted network that takes as much as it likes, with a real client's TLS at the other end."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from tests.studio import Authority, settings

from afpools_broker.broker import open_credentials
from afpools_broker.listeners.encrypted import Encrypted
from afpools_broker.protocol import Role


class Network:
    """One end of a connection: takes as many bytes of each piece as it is told to, which may be none."""

    def __init__(self, takes: list[int]) -> None:
        self.takes = takes
        self.arrived = bytearray()
        self.coming = bytearray()

    def send(self, data: bytes | memoryview) -> int:
        taken = self.takes.pop(0) if self.takes else len(data)
        if not taken:
            raise BlockingIOError
        self.arrived += bytes(data[:taken])
        return min(taken, len(data))

    def recv(self, size: int) -> bytes:
        if not self.coming:
            raise BlockingIOError
        data = bytes(self.coming[:size])
        del self.coming[:size]
        return data


class Peer:
    """A client's TLS, in memory."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="127.0.0.1")

    def take(self, data: bytes) -> bytes:
        """Decrypts the server's bytes."""
        self.incoming.write(data)
        said = b""
        try:
            while chunk := self.tls.read(65536):
                said += chunk
        except ssl.SSLWantReadError:
            pass
        return said


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


def _pair(folder: Path, takes: list[int]) -> tuple[Encrypted, Network, Peer]:
    certs = folder / "certs"
    if not (certs / "ca").exists():
        authority = Authority.create(certs)
        authority.issue_broker("broker", ["127.0.0.1"])
        authority.issue_profile("reader", Role.READER)
    profile = certs / "profiles" / "reader"
    context = ssl.create_default_context(cafile=str(profile / "ca.pem"))
    context.load_cert_chain(profile / "client.pem")
    server = open_credentials(settings(folder, {})).server_context()
    network, peer = Network([]), Peer(context)
    encrypted = Encrypted(network, server)  # type: ignore[arg-type]
    shaken = False
    for _ in range(10):
        try:
            peer.tls.do_handshake()
            shaken = True
        except ssl.SSLWantReadError:
            pass
        network.coming += peer.outgoing.read()
        try:
            encrypted.do_handshake()
        except ssl.SSLWantReadError:
            continue
        finally:
            peer.incoming.write(bytes(network.arrived))
            network.arrived.clear()
        if shaken:
            break
    network.takes = takes
    return encrypted, network, peer


@given(
    st.lists(st.integers(0, 20_000), max_size=12),
    st.lists(st.integers(1, 40_000), min_size=1, max_size=4),
)
@hypothesis_settings(max_examples=60, deadline=None)
def test_everything_arrives_however_little_the_network_takes_at_a_time(
    folder: Path, takes: list[int], sizes: list[int]
) -> None:
    encrypted, network, peer = _pair(folder, takes)
    sent, said = b"", b""
    for number, size in enumerate(sizes):
        rest = memoryview(bytes([number]) * size)
        sent += bytes(rest)
        while rest:
            try:
                rest = rest[encrypted.send(rest) :]
            except ssl.SSLWantWriteError:
                # The network gradually takes more, and the sender is told.
                continue
        # Nothing more is sent: what was accepted from us must be on its way.
        said += peer.take(bytes(network.arrived))
        network.arrived.clear()
        assert said == sent
