"""A whole studio for a test: certificates, a broker on system-chosen ports, profiles for its people."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zmq
import zmq.auth

from afpools_broker.broker import Broker
from afpools_broker.config import Config, build
from afpools_broker.protocol import Role
from afpools_tools.credentials.authority import Authority


@dataclass
class Studio:
    """One broker and everything around it."""

    folder: Path
    authority: Authority
    broker: Broker

    @property
    def tls_port(self) -> int:
        return self.broker.port("TLS")

    @property
    def curve_port(self) -> int:
        return self.broker.port("CURVE")

    def profile(self, name: str, role: Role = Role.READER) -> Path:
        """The profile of somebody, made on first use, with the broker's real ports."""
        path = self.authority.profile_path(name)
        if not path.exists():
            self.authority.issue_profile(name, role)
            self.broker.credentials.refresh()
        point(path, tls=self.tls_port, curve=self.curve_port)
        return path

    def curve_request(self, profile: Path, timeout: float = 30.0, kind: int = zmq.REQ) -> zmq.SyncSocket:
        """A stock pyzmq socket, REQ by default, connected with the keys of a profile."""
        request = zmq.Context.instance().socket(kind)
        request.linger = 0
        request.rcvtimeo = request.sndtimeo = int(timeout * 1000)
        request.curve_publickey, request.curve_secretkey = zmq.auth.load_certificate(profile / "client.key_secret")
        request.curve_serverkey = self.broker.credentials.curve_public_key
        request.connect(f"tcp://127.0.0.1:{self.curve_port}")
        return request

    def tls_socket(self, profile: Path | None = None, **changes: Any) -> ssl.SSLSocket:
        """A TLS connection with a profile's certificate, as Python's own ssl makes it."""
        context = ssl.create_default_context(cafile=str(self.folder / "certs" / "ca" / "ca.pem"))
        for key, value in changes.items():
            setattr(context, key, value)
        if profile:
            context.load_cert_chain(profile / "client.pem")
        plain = socket.create_connection(("127.0.0.1", self.tls_port), timeout=30)
        return context.wrap_socket(plain, server_hostname="127.0.0.1")


def point(profile: Path, *, tls: int, curve: int) -> None:
    """Points a profile's endpoints to these ports."""
    file = profile / "profile.json"
    document = json.loads(file.read_text())
    for endpoint in document["endpoints"]:
        scheme, _, rest = endpoint["url"].partition("://")
        endpoint["url"] = f"{scheme}://{rest.rpartition(':')[0]}:{tls if scheme == 'tls' else curve}"
    file.write_text(json.dumps(document))


def settings(folder: Path, sections: dict[str, dict[str, Any]]) -> Config:
    """A broker's configuration with the ports left to the system."""
    values: dict[str, dict[str, Any]] = {
        "curve": {"port": 0},
        "tls": {"port": 0},
        "store": {"uri": "sqlite:///pools.sqlite"},
        "farm": {"server": ""},
        # How fast a test asks and connects depends on the machine. These limits have their own tests.
        "limits": {
            "requests_per_second": 1_000_000,
            "requests_per_second_per_credential": 1_000_000,
            "new_connections_per_second": 1_000_000,
        },
    }
    for section, table in sections.items():
        values[section] = {**values.get(section, {}), **table}
    return build(values, folder=folder, where="the test's settings")


@contextmanager
def studio(folder: Path, **sections: dict[str, Any]) -> Iterator[Studio]:
    """A broker that runs until the block ends."""
    certs = folder / "certs"
    if (certs / "ca").exists():
        authority = Authority.open(certs)
    else:
        authority = Authority.create(certs)
        authority.issue_broker("broker", ["127.0.0.1", "localhost"])
    with Broker(settings(folder, sections)) as broker:
        yield Studio(folder, authority, broker)
