"""Who may connect: real certificates, real handshakes, and files that become invalid while the broker runs."""

from __future__ import annotations

import datetime as dt
import errno
import os
import shutil
import ssl
from pathlib import Path

import pytest
import zmq
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import NameOID
from tests.handshake import client_context, shake_hands

from afpools_broker.credentials.files import CredentialError
from afpools_broker.credentials.live import Credentials
from afpools_broker.credentials.peers import CredentialRefused, Peer, utcnow
from afpools_broker.protocol import Role
from afpools_tools.credentials.authority import Authority


class Clock:
    """A clock that a test can advance."""

    def __init__(self):
        self.ahead = dt.timedelta()

    def __call__(self):
        return utcnow() + self.ahead


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def authority(tmp_path):
    made = Authority.create(tmp_path / "certs")
    made.issue_broker("broker", ["localhost", "127.0.0.1", "::1"])
    made.issue_profile("anna", Role.READER)
    made.issue_profile("tom", Role.MANAGER)
    return made


def load(folder: Path, clock=utcnow) -> Credentials:
    return Credentials(
        ca=folder / "ca" / "ca.pem",
        crl=folder / "ca" / "crl.pem",
        clients=folder / "clients",
        certificate=folder / "brokers" / "broker.pem",
        curve_secret=folder / "brokers" / "broker.key_secret",
        clock=clock,
    )


@pytest.fixture
def credentials(authority, clock):
    return load(authority.folder, clock)


def curve_key(authority: Authority, name: str) -> str:
    return zmq.auth.load_certificate(authority.client_paths(name)[1])[0].decode()


def der(path: Path) -> bytes:
    return x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(Encoding.DER)


def connect(credentials: Credentials, authority: Authority, certificate: Path | None, host: str = "localhost"):
    """What the TLS listener does: shake hands, ask who it is."""
    server, client = shake_hands(
        credentials.server_context(), client_context(authority.folder / "ca" / "ca.pem", certificate), host
    )
    return credentials.tls_peer(server.getpeercert(binary_form=True)), client


def signed(authority: Authority, uris: list[str], *, names_key: bool = True) -> Path:
    """A client certificate of the studio's with any roles that a test wants; `names_key`: whether it says which of the
    authority's keys signed it, as RFC 5280 requires."""
    ca = authority.certificate
    ca_key = load_pem_private_key((authority.folder / "ca" / "ca-key.pem").read_bytes(), None)
    key = ec.generate_private_key(ec.SECP256R1())
    now = utcnow()
    builder = (
        x509.CertificateBuilder(ca.subject, x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "eve")]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=1))
        .not_valid_after(now + dt.timedelta(days=1))
    )
    if names_key:
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.public_key())
        builder = builder.add_extension(identifier, critical=False)
    names = [x509.UniformResourceIdentifier(uri) for uri in uris] or [x509.DNSName("eve")]
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    path = authority.folder / "eve.pem"
    path.write_bytes(
        builder.sign(ca_key, hashes.SHA256()).public_bytes(Encoding.PEM)
        + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    return path


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_a_client_connects_by_any_of_the_brokers_names(credentials, authority, host):
    peer, client = connect(credentials, authority, authority.profile_path("anna") / "client.pem", host)
    assert peer.peer == Peer("anna", Role.READER)
    assert client.version() == "TLSv1.3"


def test_the_role_is_the_one_the_studio_signed(credentials, authority):
    peer, _ = connect(credentials, authority, authority.profile_path("tom") / "client.pem")
    assert peer.peer == Peer("tom", Role.MANAGER)


def test_a_client_without_a_certificate_is_rejected(credentials, authority):
    with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        connect(credentials, authority, None)


def test_a_certificate_of_another_authority_is_rejected(credentials, authority, tmp_path):
    other = Authority.create(tmp_path / "other")  # with the same name: the key decides
    other.issue_broker("broker", ["localhost"])
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(credentials, authority, other.issue_profile("anna", Role.MANAGER) / "client.pem")


def test_an_expired_certificate_is_rejected(credentials, authority):
    past = Authority.open(authority.folder, clock=lambda: utcnow() - dt.timedelta(days=2))
    profile = past.issue_profile("old", Role.READER, lifetime=dt.timedelta(days=1))

    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        connect(credentials, authority, profile / "client.pem")


def test_a_broker_cannot_connect_as_a_client(credentials, authority):
    with pytest.raises(ssl.SSLCertVerificationError, match="purpose"):
        connect(credentials, authority, authority.broker_paths("broker")[0])


@pytest.mark.parametrize(
    ("uris", "reason"),
    [
        ([], "no role"),
        (["https://example.org/manager"], "no role"),
        (["urn:afpools:reader:eve", "urn:afpools:manager:eve"], "more than one role"),
        (["urn:afpools:admin:eve"], "'admin'"),
        (["urn:afpools:manager"], "not a valid name"),
        (["urn:afpools:manager:../eve"], "not a valid name"),
    ],
)
def test_a_certificate_without_one_known_role_is_refused(credentials, authority, uris, reason):
    with pytest.raises(CredentialRefused, match=reason):
        connect(credentials, authority, signed(authority, uris))


def test_a_certificate_that_breaks_the_rules_for_certificates_is_refused(credentials, authority):
    connect(credentials, authority, signed(authority, ["urn:afpools:reader:eve"]))
    with pytest.raises(ssl.SSLCertVerificationError, match="Authority Key Identifier"):
        connect(credentials, authority, signed(authority, ["urn:afpools:reader:eve"], names_key=False))


def test_a_revoked_certificate_is_refused_and_its_open_connection_detected(credentials, authority):
    certificate = authority.profile_path("anna") / "client.pem"
    stolen = shutil.copy(certificate, authority.folder / "stolen.pem")
    peer, _ = connect(credentials, authority, certificate)
    assert credentials.still_valid(peer) is None
    authority.revoke("anna")
    assert credentials.refresh()
    reason = f"certificate of 'anna' was revoked on {utcnow():%Y-%m-%d}"
    assert credentials.still_valid(peer) == reason
    with pytest.raises(CredentialRefused, match=reason):
        connect(credentials, authority, Path(stolen))


def test_a_known_certificate_is_checked_again_only_if_it_may_no_longer_count(
    credentials, authority, clock, monkeypatch
):
    certificates = [der(authority.profile_path(name) / "client.pem") for name in ("anna", "tom")]
    peers = [credentials.tls_peer(certificate) for certificate in certificates]
    assert [peer.peer.name for peer in peers] == ["anna", "tom"]
    with monkeypatch.context() as broken:
        broken.setattr("afpools_broker.credentials.live.certificate_role", None)
        assert [credentials.tls_peer(certificate) for certificate in certificates] == peers
    authority.revoke("anna")
    credentials.refresh()
    with pytest.raises(CredentialRefused, match="revoked"):
        credentials.tls_peer(certificates[0])
    assert credentials.tls_peer(certificates[1]) == peers[1]
    clock.ahead = peers[1].not_after - utcnow()
    with pytest.raises(CredentialRefused, match="expired"):
        credentials.tls_peer(certificates[1])


def test_a_connection_outlives_its_certificate_only_until_somebody_looks(credentials, authority, clock):
    peer, _ = connect(credentials, authority, authority.profile_path("anna") / "client.pem")
    clock.ahead = dt.timedelta(days=398)
    assert "expired on" in credentials.still_valid(peer)


def test_no_session_can_be_resumed_past_a_revocation(credentials):
    assert credentials.server_context().num_tickets == 0


def test_tls_1_2_is_not_spoken(credentials, authority):
    client = client_context(authority.folder / "ca" / "ca.pem", authority.profile_path("anna") / "client.pem")
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        shake_hands(credentials.server_context(), client)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_renewed_certificate_is_shown_without_a_restart(credentials, authority, host):
    context = credentials.server_context()
    client = client_context(authority.folder / "ca" / "ca.pem", authority.profile_path("anna") / "client.pem")
    before = shake_hands(context, client, host)[1].getpeercert(binary_form=True)
    authority.renew("broker")
    assert credentials.refresh()
    after = shake_hands(context, client, host)[1].getpeercert(binary_form=True)
    assert before != after == der(authority.broker_paths("broker")[0])


def test_a_listed_key_is_its_owner(credentials, authority):
    assert credentials.curve_peer(curve_key(authority, "anna")) == Peer("anna", Role.READER)
    assert credentials.curve_peer(curve_key(authority, "tom")) == Peer("tom", Role.MANAGER)


def test_an_unlisted_key_is_refused(credentials):
    with pytest.raises(CredentialRefused, match="not one of those"):
        credentials.curve_peer(zmq.curve_keypair()[0].decode())


def test_an_expired_key_is_refused(credentials, authority, clock):
    clock.ahead = dt.timedelta(days=398)
    with pytest.raises(CredentialRefused, match="'anna' expired on"):
        credentials.curve_peer(curve_key(authority, "anna"))


def test_a_new_client_is_known_after_a_refresh(credentials, authority):
    authority.issue_profile("eve", Role.READER)
    assert credentials.refresh()
    assert credentials.curve_peer(curve_key(authority, "eve")).name == "eve"
    assert not credentials.refresh()


def test_a_revoked_client_is_rejected_after_a_refresh(credentials, authority):
    key = curve_key(authority, "anna")
    authority.revoke("anna")
    assert credentials.refresh()
    with pytest.raises(CredentialRefused):
        credentials.curve_peer(key)


def test_a_change_within_one_tick_of_the_file_system_is_noticed(credentials, authority):
    path = authority.client_paths("anna")[1]
    key = curve_key(authority, "anna")
    before = path.stat()
    path.write_text(path.read_text().replace('"reader"', "manager "))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (before.st_size, before.st_mtime_ns, before.st_ino)
    assert credentials.refresh()
    assert credentials.curve_peer(key).role is Role.MANAGER


@pytest.mark.parametrize(
    ("replace", "by", "complaint"),
    [
        ('role = "reader"', 'role = "admin"', "its role 'admin' is not one of reader, manager"),
        ('    role = "reader"\n', "", "has no role"),
        ('role = "reader"', 'role = "reader"\n    role = "manager"', "role is given twice"),
        ('name = "anna"', 'name = "tom"', "the key of 'tom' by its metadata"),
        ("public-key", "key", "not 40 characters of Z85"),
        ("created", "expires", "expires is given twice"),
        ("metadata", "    stray = 1\nmetadata", "outside a section"),
        ("curve\n", 'curve\n    secret-key = "x"\n', "holds a secret key"),
    ],
)
def test_an_invalid_key_file_locks_out_its_client_and_no_other(credentials, authority, replace, by, complaint, caplog):
    path = authority.client_paths("anna")[1]
    key = curve_key(authority, "anna")
    text = path.read_text()
    assert replace in text
    path.write_text(text.replace(replace, by))
    assert credentials.refresh()
    with pytest.raises(CredentialRefused):
        credentials.curve_peer(key)
    assert credentials.curve_peer(curve_key(authority, "tom")).name == "tom"
    (problem,) = credentials.problems
    assert str(path) in problem
    assert complaint in problem
    assert caplog.messages == [problem]
    assert not credentials.refresh()
    assert caplog.messages == [problem]


def test_a_key_in_two_files_gets_the_lesser_role(credentials, authority):
    anna, tom = (authority.client_paths(name)[1] for name in ("anna", "tom"))
    key = curve_key(authority, "tom")
    anna.write_text(anna.read_text().replace(curve_key(authority, "anna"), key))
    credentials.refresh()
    assert credentials.curve_peer(key) == Peer("anna", Role.READER)
    (problem,) = credentials.problems
    assert str(tom) in problem
    assert "same key as anna.key" in problem


def test_without_the_folder_of_clients_nobody_connects_over_curve(credentials, authority):
    key = curve_key(authority, "anna")
    (authority.folder / "clients").rename(authority.folder / "elsewhere")
    assert credentials.refresh()
    with pytest.raises(CredentialRefused):
        credentials.curve_peer(key)
    assert "Nobody can connect over CURVE" in credentials.problems[0]


def test_a_folder_that_is_briefly_unreadable_invalidates_no_key(credentials, authority, clock, monkeypatch):
    key = curve_key(authority, "anna")

    def too_many(_path):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("afpools_broker.credentials.live.os.scandir", too_many)
    credentials.refresh()
    assert credentials.curve_peer(key) == Peer("anna", Role.READER)
    assert "stay valid for 4 seconds more" in credentials.problems[0]
    clock.ahead = dt.timedelta(seconds=5)
    credentials.refresh()
    with pytest.raises(CredentialRefused):
        credentials.curve_peer(key)


@pytest.mark.parametrize("damage", ["cut", "removed", "foreign", "garbage"])
def test_a_broken_revocation_list_revokes_as_before(credentials, authority, tmp_path, damage):
    certificate = der(authority.client_paths("anna")[0])
    authority.revoke("anna")
    credentials.refresh()
    path = authority.folder / "ca" / "crl.pem"
    good = path.read_bytes()
    if damage == "removed":
        path.unlink()
    elif damage == "foreign":
        Authority.create(tmp_path / "other")
        shutil.copy(tmp_path / "other" / "ca" / "crl.pem", path)
    else:
        path.write_bytes(good[: len(good) // 2] if damage == "cut" else b"not a list")
    assert credentials.refresh()
    with pytest.raises(CredentialRefused, match="revoked"):
        credentials.tls_peer(certificate)
    (problem,) = credentials.problems
    assert str(path) in problem
    path.write_bytes(good)
    assert credentials.refresh()
    assert credentials.problems == ()


def test_an_older_revocation_list_admits_nobody_again(credentials, authority):
    path = authority.folder / "ca" / "crl.pem"
    backup = path.read_bytes()
    certificate = der(authority.client_paths("anna")[0])
    authority.revoke("anna")
    credentials.refresh()
    path.write_bytes(backup)
    credentials.refresh()
    with pytest.raises(CredentialRefused, match="revoked"):
        credentials.tls_peer(certificate)
    assert "is older" in credentials.problems[0]


def test_an_overdue_revocation_list_still_counts_and_is_a_problem(credentials, authority, clock):
    certificate = der(authority.client_paths("anna")[0])
    authority.revoke("anna")
    credentials.refresh()
    clock.ahead = dt.timedelta(days=3700)
    assert any("should have been replaced" in problem for problem in credentials.problems)
    with pytest.raises(CredentialRefused, match="revoked"):
        credentials.tls_peer(certificate)


@pytest.mark.parametrize(
    "name", ["ca/ca.pem", "ca/crl.pem", "clients", "brokers/broker.pem", "brokers/broker.key_secret"]
)
def test_a_broker_does_not_start_without(authority, name):
    (authority.folder / name).rename(authority.folder / "elsewhere")
    with pytest.raises(CredentialError, match=rf"{name}: there is no such.*`afpools certs"):
        load(authority.folder)


@pytest.mark.parametrize("name", ["ca/ca.pem", "ca/crl.pem", "brokers/broker.pem", "brokers/broker.key_secret"])
def test_a_broker_does_not_start_with_half_of(authority, name):
    path = authority.folder / name
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CredentialError, match=name):
        load(authority.folder)


def test_a_broker_does_not_start_with_the_certificate_of_another_studio(authority, tmp_path):
    other = Authority.create(tmp_path / "other")
    shutil.copy(other.issue_broker("broker", ["localhost"]), authority.broker_paths("broker")[0])
    with pytest.raises(CredentialError, match="not issued by an authority"):
        load(authority.folder)


def test_a_broker_does_not_start_with_a_key_that_is_not_its_certificates(authority):
    path = authority.broker_paths("broker")[0]
    own = path.read_bytes()
    other = authority.issue_broker("other", ["localhost"]).read_bytes()
    end = b"-----END CERTIFICATE-----\n"
    path.write_bytes(own[: own.index(end)] + end + other.partition(end)[2])
    with pytest.raises(CredentialError, match="do not match"):
        load(authority.folder)


def test_a_broker_does_not_start_with_an_expired_certificate(authority, clock):
    clock.ahead = dt.timedelta(days=398)
    with pytest.raises(CredentialError, match=r"broker.pem: it expired on .* Run `afpools certs renew`"):
        load(authority.folder, clock)


def test_a_secret_that_others_may_read_is_a_problem_but_not_an_error(authority):
    path = authority.broker_paths("broker")[2]
    path.chmod(0o640)
    (problem,) = load(authority.folder).problems
    assert str(path) in problem
    assert "0640" in problem


def test_credentials_that_expire_soon_are_listed_with_their_days_left(credentials, clock):
    assert credentials.expiring(dt.timedelta(days=30)) == []
    clock.ahead = dt.timedelta(days=387)
    soon = credentials.expiring(dt.timedelta(days=30))
    assert {(one.name, one.kind) for one in soon} == {
        ("broker", "broker"),
        ("anna", "client"),
        ("tom", "client"),
        ("anna", "curve"),
        ("tom", "curve"),
    }
    assert {one.days_left for one in soon} == {9}
    clock.ahead = dt.timedelta(days=397, minutes=1)
    assert {one.days_left for one in credentials.expiring(dt.timedelta(0))} == {-1}
    clock.ahead = dt.timedelta(days=3640)
    assert {"ca", "crl"} <= {one.kind for one in credentials.expiring(dt.timedelta(days=30))}
