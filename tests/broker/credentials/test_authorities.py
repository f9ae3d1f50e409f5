"""Several authorities in one ca.pem, several lists in one crl.pem: every one of them counts."""

from __future__ import annotations

import datetime as dt
import shutil
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import NameOID
from tests.handshake import client_context, shake_hands

from afpools_broker.credentials.authorities import parse_issuers
from afpools_broker.credentials.files import CredentialError
from afpools_broker.credentials.live import Credentials
from afpools_broker.credentials.peers import CredentialRefused, TlsPeer, utcnow
from afpools_broker.protocol import Role
from afpools_tools.credentials.authority import Authority
from afpools_tools.credentials.files import key_to_pem, to_pem

JUNK = b"\nSubject: CN = Studio\n\xff\xfe # a remark\n\n"


class Studios(NamedTuple):
    """Two authorities with one name, each with a valid and a revoked client, and a broker's folder."""

    folder: Path
    old: Authority
    new: Authority
    load: Callable[[], Credentials]
    ahead: list[dt.timedelta]

    @property
    def ca(self) -> Path:
        return self.folder / "ca" / "ca.pem"

    @property
    def crl(self) -> Path:
        return self.folder / "ca" / "crl.pem"

    def write(self, *authorities: Authority, lists: tuple[Authority, ...] | None = None) -> None:
        self.ca.write_bytes(JUNK.join(to_pem(one.certificate) for one in authorities))
        lists = authorities if lists is None else lists
        self.crl.write_bytes(JUNK.join(crl(one) for one in lists))


def crl(authority: Authority) -> bytes:
    return (authority.folder / "ca" / "crl.pem").read_bytes()


@pytest.fixture
def studios(tmp_path: Path) -> Studios:
    made = []
    for name in ("old", "new"):
        authority = Authority.create(tmp_path / name)
        authority.issue_broker("broker", ["localhost"])
        for client in ("good", "gone"):
            authority.issue_profile(client, Role.READER)
        shutil.copytree(authority.profile_path("gone"), tmp_path / f"{name}-gone")
        authority.revoke("gone")
        made.append(authority)
    old, new = made
    folder = tmp_path / "broker"
    shutil.copytree(old.folder, folder)
    ahead = [dt.timedelta()]

    def load() -> Credentials:
        return Credentials(
            ca=folder / "ca" / "ca.pem",
            crl=folder / "ca" / "crl.pem",
            clients=folder / "clients",
            certificate=folder / "brokers" / "broker.pem",
            curve_secret=folder / "brokers" / "broker.key_secret",
            clock=lambda: utcnow() + ahead[0],
        )

    return Studios(folder, old, new, load, ahead)


def good(authority: Authority) -> Path:
    return authority.profile_path("good") / "client.pem"


def gone(authority: Authority) -> Path:
    return authority.folder.with_name(f"{authority.folder.name}-gone") / "client.pem"


def connect(studios: Studios, context: ssl.SSLContext, credentials: Credentials, certificate: Path) -> TlsPeer:
    """What the TLS listener does; the client knows the authority of the broker."""
    client = client_context(studios.old.folder / "ca" / "ca.pem", certificate)
    server, _ = shake_hands(context, client)
    der = server.getpeercert(binary_form=True)
    assert der is not None
    return credentials.tls_peer(der)


def refused(studios: Studios, context: ssl.SSLContext, credentials: Credentials, certificate: Path) -> str:
    with pytest.raises((CredentialRefused, ssl.SSLError)) as error:
        connect(studios, context, credentials, certificate)
    return str(error.value)


# --- at the start ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["old first", "new first", "lists the other way round", "everything twice"])
def test_the_revoked_certificates_of_every_authority_are_refused_and_no_others(studios, order):
    both = (studios.old, studios.new)
    match order:
        case "old first":
            studios.write(*both)
        case "new first":
            studios.write(*reversed(both))
        case "lists the other way round":
            studios.write(*both, lists=(studios.new, studios.old))
        case _:
            studios.write(*both, *both)
    credentials = studios.load()
    context = credentials.server_context()
    for authority in both:
        assert connect(studios, context, credentials, good(authority)).peer.name == "good"
        assert "certificate of 'gone' was revoked on" in refused(studios, context, credentials, gone(authority))
    assert credentials.problems == ()


def test_two_authorities_may_use_the_same_serial(studios, monkeypatch):
    monkeypatch.setattr(x509, "random_serial_number", lambda: 4711)
    for authority in (studios.old, studios.new):
        authority.issue_profile("same", Role.READER)
    shutil.copytree(studios.old.profile_path("same"), studios.folder / "same")
    studios.old.revoke("same")
    studios.write(studios.old, studios.new)
    credentials = studios.load()
    context = credentials.server_context()
    assert "revoked" in refused(studios, context, credentials, studios.folder / "same" / "client.pem")
    assert connect(studios, context, credentials, studios.new.profile_path("same") / "client.pem").serial == 4711


def test_a_broker_does_not_start_with_an_authority_without_a_list(studios):
    studios.write(studios.old, studios.new, lists=(studios.old,))
    with pytest.raises(CredentialError) as error:
        studios.load()
    assert studios.new.signer.name in str(error.value)
    assert studios.old.signer.name not in str(error.value)
    assert "has no list of revoked certificates" in str(error.value)
    assert "`afpools certs check --fix`" in str(error.value)


def extended(authority: Authority, extension: x509.ExtensionType, *, critical: bool) -> bytes:
    """A list of an authority that revokes nobody, with one extension more than usual."""
    key = load_pem_private_key((authority.folder / "ca" / "ca-key.pem").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(utcnow())
        .next_update(utcnow() + dt.timedelta(days=1))
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .add_extension(x509.CRLNumber(2**40), critical=False)
        .add_extension(extension, critical=critical)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )


def distribution(**changes: bool) -> x509.IssuingDistributionPoint:
    settings = dict.fromkeys(
        ("only_contains_user_certs", "only_contains_ca_certs", "indirect_crl", "only_contains_attribute_certs"), False
    )
    name = [x509.UniformResourceIdentifier("http://studio/crl")]
    return x509.IssuingDistributionPoint(name, None, only_some_reasons=None, **{**settings, **changes})


INCOMPLETE = {
    "delta": (x509.DeltaCRLIndicator(1), "a delta CRL"),
    "indirect": (distribution(indirect_crl=True), "an indirect CRL"),
    "for some certificates": (distribution(only_contains_user_certs=True), "covers only some certificates"),
    "unknown": (
        x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00"),
        "not known here",
    ),
}


@pytest.mark.parametrize("kind", INCOMPLETE)
@pytest.mark.parametrize("whose", ["old", "new"])
def test_an_incomplete_revocation_list_does_not_count(studios, kind, whose):
    extension, said = INCOMPLETE[kind]
    studios.write(studios.old, studios.new)
    credentials = studios.load()
    context = credentials.server_context()
    authority = getattr(studios, whose)
    # Beside the complete one, too: it has the higher number.
    for text in (studios.crl.read_bytes(), b""):
        studios.crl.write_bytes(text + extended(authority, extension, critical=True))
        with pytest.raises(CredentialError, match=said):
            studios.load()
        credentials.refresh()
        assert any(said in problem for problem in credentials.problems)
        assert "revoked" in refused(studios, context, credentials, gone(authority))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: data + b"-----BEGIN X509 CRL-----\nMIIB", "without its -----END line"),
        (lambda data: data + b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", "holds a block"),
        (lambda _: b"nothing here\n", "no list in it"),
        (lambda data: data.replace(b"-----\nMI", b"-----\nMJ", 1), r"crl\.pem: "),
    ],
)
def test_an_unreadable_block_makes_the_file_invalid(studios, damage, said):
    studios.write(studios.old, studios.new)
    credentials = studios.load()
    studios.crl.write_bytes(damage(studios.crl.read_bytes()))
    with pytest.raises(CredentialError, match=said):
        studios.load()
    credentials.refresh()
    (problem,) = credentials.problems
    assert "still counts" in problem
    context = credentials.server_context()
    for authority in (studios.old, studios.new):
        assert "revoked" in refused(studios, context, credentials, gone(authority))
        connect(studios, context, credentials, good(authority))


def test_a_list_not_signed_by_its_authority_makes_the_file_invalid(studios):
    studios.write(studios.old, studios.new)
    first, second = (x509.load_pem_x509_crl(crl(one)) for one in (studios.old, studios.new))
    key = load_pem_private_key((studios.new.folder / "ca" / "ca-key.pem").read_bytes(), None)
    builder = x509.CertificateRevocationListBuilder(first.issuer, second.last_update_utc, second.next_update_utc)
    for extension in first.extensions:  # the number, and the key that it claims to be signed with
        builder = builder.add_extension(extension.value, critical=extension.critical)
    studios.crl.write_bytes(
        studios.crl.read_bytes() + builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)  # type: ignore[arg-type]
    )
    with pytest.raises(CredentialError, match="was not signed by that authority"):
        studios.load()


def test_a_list_of_an_untrusted_authority_is_ignored(studios):
    studios.write(studios.old, lists=(studios.old, studios.new))
    credentials = studios.load()
    assert credentials.problems == ()
    context = credentials.server_context()
    connect(studios, context, credentials, good(studios.old))
    refused(studios, context, credentials, good(studios.new))


def test_a_client_certificate_in_ca_pem_does_not_make_it_an_authority(studios):
    client = x509.load_pem_x509_certificate(good(studios.old).read_bytes())
    with pytest.raises(ValueError, match="the certificate of 'good' in it is not that of an authority"):
        parse_issuers(to_pem(studios.old.certificate) + to_pem(client))


def test_a_certificate_from_an_intermediate_authority_is_refused(studios, tmp_path):
    # A foreign authority may have intermediate ones, whose lists nobody has.
    now, names = utcnow(), {}
    keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("root", "below", "client")}

    def issue(name: str, by: str, *, ca: bool) -> None:
        own = keys[name].public_key()
        names[name] = (
            x509.CertificateBuilder(
                *(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, one)]) for one in (by, name)), own
            )
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(minutes=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(own), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(keys[by].public_key()), critical=False)
            .add_extension(
                x509.SubjectAlternativeName([x509.UniformResourceIdentifier("urn:afpools:manager:eve")]), critical=False
            )
            .add_extension(
                x509.KeyUsage(not ca, False, False, False, False, ca, ca, False, False),
                critical=True,
            )
            .sign(keys[by], hashes.SHA256())
        )

    issue("root", "root", ca=True)
    issue("below", "root", ca=True)
    issue("client", "below", ca=False)
    root_list = (
        x509.CertificateRevocationListBuilder(names["root"].subject, now, now + dt.timedelta(days=1))
        .add_extension(x509.CRLNumber(1), critical=False)
        .sign(keys["root"], hashes.SHA256())
    )
    studios.ca.write_bytes(studios.ca.read_bytes() + to_pem(names["root"]))
    studios.crl.write_bytes(studios.crl.read_bytes() + root_list.public_bytes(Encoding.PEM))
    chain = tmp_path / "chain.pem"
    chain.write_bytes(to_pem(names["client"]) + to_pem(names["below"]) + key_to_pem(keys["client"]))
    credentials = studios.load()
    said = refused(studios, credentials.server_context(), credentials, chain)
    assert said == "certificate of 'eve' was not issued by an authority that is trusted here"


# --- while it runs --------------------------------------------------------------------------------------------------


def test_an_authority_counts_once_it_has_its_list_and_its_removal_ends_open_connections(studios):
    credentials = studios.load()
    context = credentials.server_context()
    old = connect(studios, context, credentials, good(studios.old))
    refused(studios, context, credentials, good(studios.new))
    studios.write(studios.old, studios.new, lists=(studios.old,))
    assert credentials.refresh()
    refused(studios, context, credentials, good(studios.new))
    (problem,) = credentials.problems
    assert f"{studios.new.signer.name} of {studios.ca} has no list of revoked certificates" in problem
    studios.write(studios.old, studios.new)
    assert credentials.refresh()
    assert credentials.problems == ()
    new = connect(studios, context, credentials, good(studios.new))
    assert "revoked" in refused(studios, context, credentials, gone(studios.new))
    assert (credentials.still_valid(old), credentials.still_valid(new)) == (None, None)
    studios.write(studios.old)
    assert credentials.refresh()
    refused(studios, context, credentials, good(studios.new))
    assert credentials.still_valid(old) is None
    assert credentials.still_valid(new) == ("the authority that issued the certificate of 'good' is no longer trusted")


def test_a_list_that_arrives_before_its_authority_does_no_harm(studios):
    credentials = studios.load()
    context = credentials.server_context()
    studios.write(studios.old, lists=(studios.new, studios.old))
    credentials.refresh()
    assert credentials.problems == ()
    studios.write(studios.old, studios.new)
    credentials.refresh()
    assert "revoked" in refused(studios, context, credentials, gone(studios.new))
    connect(studios, context, credentials, good(studios.new))


@pytest.mark.parametrize("whose", ["old", "new"])
def test_neither_a_lost_nor_an_older_list_admits_anybody_again(studios, whose):
    authority = getattr(studios, whose)
    other = studios.new if whose == "old" else studios.old
    before = crl(authority)
    authority.issue_profile("late", Role.READER)
    shutil.copytree(authority.profile_path("late"), studios.folder / "late")
    authority.revoke("late")
    studios.write(studios.old, studios.new)
    credentials = studios.load()
    context = credentials.server_context()
    late = studios.folder / "late" / "client.pem"
    for text, said in (
        (crl(other) + before, "is older (number"),
        (crl(other), "is no longer in it"),
        # It is removed, and comes back with a restored backup.
        (None, None),
        (crl(other) + before, "is older (number"),
    ):
        if text is None:
            studios.write(other)
            credentials.refresh()
            studios.write(studios.old, studios.new)
        studios.crl.write_bytes(crl(studios.old) + crl(studios.new) if text is None else text)
        credentials.refresh()
        if said:
            (problem,) = credentials.problems
            assert said in problem
            assert authority.signer.name in problem
        assert "revoked" in refused(studios, context, credentials, late)
        connect(studios, context, credentials, good(other))


def test_of_two_lists_of_one_authority_the_newer_counts_in_either_order(studios):
    before = crl(studios.old)
    studios.old.revoke("good")
    for text in (before + crl(studios.old), crl(studios.old) + before):
        studios.crl.write_bytes(text)
        credentials = studios.load()
        assert "revoked" in refused(studios, credentials.server_context(), credentials, gone(studios.old))
        assert len(next(iter(credentials._authorities.trust.lists.values())).revoked) == 2


def test_an_unreadable_ca_pem_changes_nothing(studios):
    studios.write(studios.old, studios.new)
    credentials = studios.load()
    context = credentials.server_context()
    whole = studios.ca.read_bytes()
    for text in (whole[:-100], b"", whole + to_pem(x509.load_pem_x509_certificate(good(studios.old).read_bytes()))):
        studios.ca.write_bytes(text)
        credentials.refresh()
        assert any(str(studios.ca) in problem and "still counts" in problem for problem in credentials.problems)
        for authority in (studios.old, studios.new):
            connect(studios, context, credentials, good(authority))
            assert "revoked" in refused(studios, context, credentials, gone(authority))
    studios.ca.write_bytes(whole)
    credentials.refresh()
    assert credentials.problems == ()


def test_a_broker_whose_own_authority_is_no_longer_in_ca_pem_reports_it(studios):
    studios.write(studios.old, studios.new)
    credentials = studios.load()
    studios.write(studios.new)
    credentials.refresh()
    (problem,) = credentials.problems
    assert "broker.pem: it was not issued by an authority in" in problem
    assert "`afpools certs renew broker`" in problem


# --- when one expires -----------------------------------------------------------------------------------------------


def test_one_of_two_authorities_may_have_expired(studios, tmp_path):
    lives = Authority.create(tmp_path / "lives", lifetime=dt.timedelta(days=8000))
    lives.issue_broker("broker", ["localhost"])
    studios.write(studios.old, lives)
    credentials = studios.load()
    peer = connect(studios, credentials.server_context(), credentials, good(studios.old))
    assert credentials.problems == ()
    shutil.copy(lives.broker_paths("broker")[0], studios.folder / "brokers" / "broker.pem")
    credentials.refresh()
    # While it runs.
    studios.ahead[0] = dt.timedelta(days=3651)
    credentials.refresh()
    assert any(f"the authority {studios.old.signer.name} expired on" in problem for problem in credentials.problems)
    assert "is no longer trusted" in (credentials.still_valid(peer) or "")
    assert {one.kind for one in credentials.expiring(dt.timedelta())} >= {"ca"}


def test_a_broker_starts_as_long_as_one_authority_is_valid(studios, tmp_path):
    brief = Authority.create(tmp_path / "brief", lifetime=dt.timedelta(days=1))
    studios.write(brief, studios.old, lists=(studios.old,))
    studios.ahead[0] = dt.timedelta(days=2)
    credentials = studios.load()
    assert any(f"the authority {brief.signer.name} expired on" in problem for problem in credentials.problems)
    studios.ahead[0] = dt.timedelta(days=3651)
    with pytest.raises(CredentialError, match=r"ca\.pem: it expired on .* Make a new authority"):
        studios.load()
