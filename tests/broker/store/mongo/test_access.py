"""A MongoDB as studios run it: users with passwords or certificates who may use one database, TLS with the studio's own
authority, a replica set."""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pymongo
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from tests.broker.store.places import PATIENT, add, create, wait_until
from tests.conftest import need_mongod
from tests.mongod import Server

from afpools_broker.store import StoreUnavailable, open_store
from afpools_tools.credentials.certificates import make_authority
from afpools_tools.credentials.files import key_to_pem, to_pem

PASSWORD = "p@ss:w/ö%d?#[]"


@dataclass
class Guarded:
    """A server that asks who is there.

    Args:
        server: a replica set of one.
        ca: the file of the authority that has signed its certificate.
        certificate: the file of a client's certificate and key, with the subject CN=pools.
    """

    server: Server
    ca: Path
    certificate: Path

    def root(self) -> pymongo.MongoClient[dict[str, Any]]:
        return pymongo.MongoClient(self.server.uri, username="root", password="root", tls=True, tlsCAFile=str(self.ca))

    def address(self, user: str, options: str = "") -> str:
        """For `[store] uri`."""
        tls = f"replicaSet=one&tls=true&tlsCAFile={self.ca}"
        return f"mongodb://{user}{self.server.address}/afpools?{tls}{options}"


def certificate(path: Path, name: str, ca: x509.Certificate, ca_key: ec.EllipticCurvePrivateKey) -> Path:
    """A certificate and its key. Members of a replica set are servers and, to each other, clients."""
    key = ec.generate_private_key(ec.SECP256R1())
    usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    alternatives = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(ca.subject, x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(ca.not_valid_before_utc)
        .not_valid_after(ca.not_valid_after_utc)
        .add_extension(usages, critical=False)
        .add_extension(alternatives, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    path.write_bytes(to_pem(made) + key_to_pem(key))
    return path


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    need_mongod()
    folder = tmp_path_factory.mktemp("guarded")
    key, root_certificate = make_authority("Studio", dt.timedelta(days=1), dt.datetime.now(dt.UTC))
    ca = folder / "ca.pem"
    ca.write_bytes(to_pem(root_certificate))
    pem, client_pem = (certificate(folder / f"{name}.pem", name, root_certificate, key) for name in ("mongod", "pools"))
    shared = folder / "key"
    shared.write_text(base64.b64encode(os.urandom(90)).decode())
    shared.chmod(0o600)
    (folder / "db").mkdir()
    server = Server(
        folder / "db",
        *("--auth", "--replSet", "one", "--keyFile", str(shared)),
        *("--tlsMode", "requireTLS", "--tlsCertificateKeyFile", str(pem), "--tlsCAFile", str(ca)),
        "--tlsAllowConnectionsWithoutCertificates",
        tls=True,
        tlsCAFile=str(ca),
    )
    server.start()
    made = Guarded(server, ca, client_pem)
    try:
        with pymongo.MongoClient[Any](server.uri, tls=True, tlsCAFile=str(ca)) as client:
            client.admin.command("replSetInitiate", {"_id": "one", "members": [{"_id": 0, "host": server.address}]})
            wait_until(lambda: bool(client.admin.command("hello")["isWritablePrimary"]))
            client.admin.command("createUser", "root", pwd="root", roles=["root"])
        with made.root() as root:
            # As docs/operating.md has it.
            root["afpools"].command("createUser", "pools", pwd=PASSWORD, roles=[{"role": "readWrite", "db": "afpools"}])
            root["$external"].command("createUser", "CN=pools", roles=[{"role": "readWrite", "db": "afpools"}])
            root["afpools"].command("createUser", "looker", pwd="x", roles=[{"role": "read", "db": "afpools"}])
        yield made
    finally:
        server.kill()


def everything_that_a_broker_does(address: str, name: str) -> None:
    """Asks a store for everything; raises what it raises."""
    store = open_store(address, timeout=PATIENT)
    stop = threading.Event()
    try:
        store.load()
        store.apply(create(name, "pc-01"))
        signs = store.watch(stop)
        next(signs)
        store.apply(add(name, "pc-02"))
        assert store.history(pool=name)
        store.save_farm(b"[]", dt.datetime.now(dt.UTC))
        assert store.load_farm()
        store.take_lease("broker")
        store.give_up_lease("broker")
        store.probe()
        store.ping()
        records = list(store.export())
        store.restore(records, writes_end=0.0)
        assert store.load().pools[name].hosts == ("pc-01", "pc-02")
    finally:
        stop.set()
        store.close()


def test_a_user_who_may_read_and_write_one_database_is_enough(guarded: Guarded) -> None:
    """Whatever signs the password has."""
    everything_that_a_broker_does(guarded.address(f"pools:{quote_plus(PASSWORD)}@"), "by-password")


def test_a_certificate_of_the_studios_authority_takes_the_place_of_a_password(guarded: Guarded) -> None:
    options = f"&authMechanism=MONGODB-X509&authSource=%24external&tlsCertificateKeyFile={guarded.certificate}"
    everything_that_a_broker_does(guarded.address("", options), "by-certificate")


@pytest.mark.parametrize(
    ("user", "said"),
    [
        ("pools:wrong@", "password"),
        ("nobody:x@", "password"),
        ("looker:x@", "does not allow the broker to use"),
        ("", "does not allow the broker to use"),
    ],
)
def test_what_is_refused_is_said_in_words(guarded: Guarded, user: str, said: str) -> None:
    store = open_store(guarded.address(user), timeout=PATIENT)
    try:
        with pytest.raises(StoreUnavailable) as caught:
            store.apply(create("fx", "pc-01"))
    finally:
        store.close()
    assert said in str(caught.value)
    assert "wrong@" not in str(caught.value)


def test_a_server_of_another_authority_is_not_trusted(guarded: Guarded, tmp_path: Path) -> None:
    _, other = make_authority("Another", dt.timedelta(days=1), dt.datetime.now(dt.UTC))
    (tmp_path / "ca.pem").write_bytes(to_pem(other))
    address = guarded.address(f"pools:{quote_plus(PASSWORD)}@").replace(str(guarded.ca), str(tmp_path / "ca.pem"))
    store = open_store(address, timeout=3.0)
    try:
        with pytest.raises(StoreUnavailable) as caught:
            store.load()
    finally:
        store.close()
    assert "certificate" in str(caught.value)
