"""The certificate authority: what it writes, what it refuses to replace, and what it takes back."""

import datetime as dt
import json
import os
import shutil
import ssl
import stat
import subprocess

import pytest
import zmq.auth
from cryptography import x509
from tests.handshake import client_context, shake_hands

from afpools_broker.credentials import utcnow
from afpools_broker.protocol import Role
from afpools_tools.credentials import inspection
from afpools_tools.credentials.authority import Authority
from afpools_tools.credentials.endpoints import default_endpoints
from afpools_tools.credentials.files import AuthorityError
from afpools_tools.credentials.listing import credentials


@pytest.fixture
def authority(tmp_path):
    made = Authority.create(tmp_path / "certs", name="Studio X")
    made.issue_broker("broker", ["render-broker", "10.0.0.5", "fe80::1"])
    return made


def certificate(path):
    return x509.load_pem_x509_certificate(path.read_bytes())


def revoked(authority):
    return set(authority.crl.read()[authority.signer.id].revoked)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def sentences(authority):
    return [problem.sentence for problem in inspection.check(authority)]


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


# --- what is written ------------------------------------------------------------------------------------------------


def test_secrets_are_for_their_owner_only_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        authority = Authority.create(tmp_path / "certs")
        authority.issue_broker("broker", ["localhost"])
        profile = authority.issue_profile("anna", Role.READER)
        authority.issue_profile("tom", Role.READER)
        authority.revoke("tom")
    finally:
        os.umask(before)
    pem, _, curve_secret = authority.broker_paths("broker")
    ca_key = authority.folder / "ca" / "ca-key.pem"
    for path in (ca_key, pem, curve_secret, profile / "client.pem", profile / "client.key_secret"):
        assert mode(path) == 0o600, path
    for path in [authority.folder, *(path for path in authority.folder.rglob("*") if path.is_dir())]:
        assert mode(path) == 0o700, path


def test_a_profile_is_all_that_a_workstation_needs(authority):
    profile = authority.issue_profile("anna", Role.READER)
    assert {path.name for path in profile.iterdir()} == {"profile.json", "ca.pem", "client.pem", "client.key_secret"}
    server_key = zmq.auth.load_certificate(authority.broker_paths("broker")[1])[0].decode()
    assert json.loads((profile / "profile.json").read_text()) == {
        "name": "anna",
        "role": "reader",
        "endpoints": [
            {"url": "tls://render-broker:5571", "broker": "broker"},
            {"url": "curve://render-broker:5570", "broker": "broker", "server_key": server_key},
        ],
    }


def test_tls_endpoints_come_first_and_each_curve_endpoint_has_its_brokers_key(authority):
    authority.issue_broker("second", ["backup"], tls_port=6571, curve_port=6570)
    profile = authority.issue_profile(
        "anna", Role.READER, ["curve://backup:6570", "curve://[fe80::1]:5570", "tls://10.0.0.5:5571"]
    )
    keys = {
        name: zmq.auth.load_certificate(authority.broker_paths(name)[1])[0].decode() for name in ("broker", "second")
    }
    assert json.loads((profile / "profile.json").read_text())["endpoints"] == [
        {"url": "tls://10.0.0.5:5571", "broker": "broker"},
        {"url": "curve://backup:6570", "broker": "second", "server_key": keys["second"]},
        {"url": "curve://[fe80::1]:5570", "broker": "broker", "server_key": keys["broker"]},
    ]


def test_a_profile_without_endpoints_leads_to_all_brokers_at_their_ports(authority):
    authority.issue_broker("second", ["::1"], tls_port=6571, curve_port=6570)
    assert default_endpoints(authority.brokers()) == [
        "tls://render-broker:5571",
        "tls://[::1]:6571",
        "curve://render-broker:5570",
        "curve://[::1]:6570",
    ]


def test_brokers_at_one_address_are_told_apart_by_their_ports(authority):
    authority.issue_broker("second", ["render-broker"], curve_port=6570)
    authority.issue_profile("anna", Role.READER, ["curve://render-broker:6570"])
    with pytest.raises(AuthorityError, match="may be any of the brokers broker, second"):
        authority.issue_profile("tom", Role.READER, ["curve://render-broker:7000"])


def test_curve_files_are_zmq_auths(authority):
    profile = authority.issue_profile("anna", Role.MANAGER)
    public, secret = zmq.auth.load_certificate(profile / "client.key_secret")
    assert zmq.curve_public(secret) == public
    assert zmq.auth.load_certificate(authority.client_paths("anna")[1]) == (public, None)


def test_clients_do_not_outlive_the_authority(tmp_path):
    authority = Authority.create(tmp_path / "certs", lifetime=dt.timedelta(days=10))
    path = authority.issue_broker("broker", ["localhost"])
    assert certificate(path).not_valid_after_utc == authority.certificate.not_valid_after_utc


def test_a_clock_that_is_a_little_behind_accepts_a_new_certificate(authority):
    assert utcnow() - certificate(authority.broker_paths("broker")[0]).not_valid_before_utc > dt.timedelta(minutes=4)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl program")
def test_openssl_accepts_all_of_it_strictly(authority):
    authority.issue_profile("anna", Role.READER)
    authority.issue_profile("tom", Role.MANAGER)
    stolen = shutil.copy(authority.client_paths("tom")[0], authority.folder / "stolen.pem")
    authority.revoke("tom")
    ca = authority.folder / "ca"

    def verify(purpose, path):
        command = [
            "openssl",
            "verify",
            "-x509_strict",
            "-crl_check",
            "-CAfile",
            ca / "ca.pem",
            "-CRLfile",
            ca / "crl.pem",
        ]
        return subprocess.run([*command, "-purpose", purpose, path], capture_output=True, text=True, check=False)

    assert verify("sslserver", authority.broker_paths("broker")[0]).returncode == 0
    assert verify("sslclient", authority.client_paths("anna")[0]).returncode == 0
    assert verify("sslserver", authority.client_paths("anna")[0]).returncode != 0
    assert "revoked" in verify("sslclient", stolen).stderr


def test_a_client_does_not_take_a_client_for_a_broker(authority):
    profile = authority.issue_profile("anna", Role.READER)
    impostor = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    impostor.load_cert_chain(profile / "client.pem")
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(impostor, client_context(profile / "ca.pem"), "render-broker")


# --- what is not replaced -------------------------------------------------------------------------------------------


def test_an_authority_is_never_replaced(authority):
    before = contents(authority.folder)
    with pytest.raises(AuthorityError, match="has an authority"):
        Authority.create(authority.folder)
    assert contents(authority.folder) == before


def test_keys_are_not_replaced_unless_asked_to(authority):
    authority.issue_profile("anna", Role.READER)
    before = contents(authority.folder)
    with pytest.raises(AuthorityError, match=r"exists.*renew anna"):
        authority.issue_profile("anna", Role.MANAGER)
    with pytest.raises(AuthorityError, match=r"exists.*renew broker"):
        authority.issue_broker("broker", ["localhost"])
    assert contents(authority.folder) == before


def test_a_replaced_client_has_its_old_certificates_revoked(authority):
    authority.issue_profile("anna", Role.MANAGER)
    old = certificate(authority.client_paths("anna")[0]).serial_number
    authority.issue_profile("anna", Role.READER, force=True)
    new = certificate(authority.client_paths("anna")[0]).serial_number
    assert revoked(authority) == {old}
    assert old != new
    assert sentences(authority) == []


def test_nothing_is_revoked_when_the_replacement_cannot_be_made(authority):
    authority.issue_profile("anna", Role.MANAGER)
    before = contents(authority.folder)
    with pytest.raises(AuthorityError, match="no broker's certificate names 'elsewhere'"):
        authority.issue_profile("anna", Role.READER, ["tls://elsewhere:5571"], force=True)
    (authority.folder / "ca" / "ca-key.pem").rename(authority.folder.parent / "key")
    with pytest.raises(AuthorityError, match="nothing can be signed"):
        authority.issue_profile("anna", Role.READER, force=True)
    (authority.folder.parent / "key").rename(authority.folder / "ca" / "ca-key.pem")
    assert contents(authority.folder) == before


@pytest.mark.parametrize("name", ["", ".hidden", "-x", "a/b", "../a", "anna smith", "ä", "a:b", "a" * 65, "anna\n"])
def test_a_name_that_is_no_file_name_is_refused(authority, name):
    for act in (lambda: authority.issue_profile(name, Role.READER), lambda: authority.issue_broker(name)):
        with pytest.raises(AuthorityError, match="is no name"):
            act()
    for act in (authority.revoke, authority.renew):
        with pytest.raises(AuthorityError, match="is no name"):
            act(name)


def test_a_broker_and_a_client_cannot_share_a_name(authority):
    with pytest.raises(AuthorityError, match="There is a broker 'broker' already"):
        authority.issue_profile("broker", Role.MANAGER)


@pytest.mark.parametrize("address", ["http://broker", "broker:5571", "a b", "*.studio", "", "ä.example"])
def test_an_address_that_is_none_is_refused(authority, address):
    with pytest.raises(AuthorityError, match="neither a host's name nor an IP address"):
        authority.issue_broker("second", [address])


@pytest.mark.parametrize(
    "url",
    [
        "render-broker",
        "tls://render-broker",
        "https://render-broker:1",
        "tls://:1",
        "tls://render-broker:x",
        "tls://render-broker:1/x",
    ],
)
def test_an_endpoint_that_is_none_is_refused(authority, url):
    with pytest.raises(AuthorityError, match="is no endpoint"):
        authority.issue_profile("anna", Role.READER, [url])


# --- renewing -------------------------------------------------------------------------------------------------------


def test_a_renewed_client_keeps_its_keys_and_has_more_time(authority):
    profile = authority.issue_profile("anna", Role.MANAGER, lifetime=dt.timedelta(days=5))
    curve = (profile / "client.key_secret").read_bytes()
    old = certificate(profile / "client.pem")
    authority.renew("anna")
    new = certificate(profile / "client.pem")
    assert new.public_key() == old.public_key()
    assert new.not_valid_after_utc > old.not_valid_after_utc + dt.timedelta(days=300)
    assert (profile / "client.key_secret").read_bytes() == curve
    assert revoked(authority) == set()
    assert sentences(authority) == []


def test_a_client_whose_profile_was_carried_away_can_be_renewed(authority):
    profile = authority.issue_profile("anna", Role.READER)
    old = certificate(profile / "client.pem")
    shutil.rmtree(profile)
    path = authority.renew("anna")
    assert path == authority.client_paths("anna")[0]
    assert certificate(path).public_key() == old.public_key()


def test_a_renewed_broker_keeps_its_keys_and_addresses(authority):
    pem, public, secret = authority.broker_paths("broker")
    old, curve = certificate(pem), (public.read_bytes(), secret.read_bytes())
    authority.renew("broker")
    new = certificate(pem)
    assert new.serial_number != old.serial_number
    assert new.public_key() == old.public_key()
    for extension in (x509.SubjectAlternativeName, x509.ExtendedKeyUsage):
        assert new.extensions.get_extension_for_class(extension) == old.extensions.get_extension_for_class(extension)
    assert (public.read_bytes(), secret.read_bytes()) == curve


def test_renewing_a_profile_brings_it_the_new_keys_of_a_broker(authority):
    profile = authority.issue_profile("anna", Role.READER)
    authority.issue_broker("broker", ["render-broker"], force=True)
    assert any("is no broker's here" in sentence for sentence in sentences(authority))
    authority.renew("anna")
    assert sentences(authority) == []
    assert "curve://render-broker:5570" in (profile / "profile.json").read_text()


def test_renewing_does_not_sign_a_role_that_was_edited(authority):
    authority.issue_profile("anna", Role.READER)
    path = authority.client_paths("anna")[1]
    path.write_text(path.read_text().replace("reader", "manager"))
    with pytest.raises(AuthorityError, match="do not agree on role"):
        authority.renew("anna")


def test_nobody_unknown_is_renewed(authority):
    with pytest.raises(AuthorityError, match="no broker or client 'eve'"):
        authority.renew("eve")


# --- revoking -------------------------------------------------------------------------------------------------------


def test_every_certificate_ever_issued_to_a_client_is_revoked(authority):
    profile = authority.issue_profile("anna", Role.READER)
    serials = {certificate(profile / "client.pem").serial_number}
    authority.renew("anna")
    serials.add(certificate(profile / "client.pem").serial_number)
    authority.issue_profile("tom", Role.READER)
    kept = authority.revoke("anna")
    assert len(serials) == 2
    assert revoked(authority) == serials
    assert not profile.exists()
    assert not any(path.exists() for path in authority.client_paths("anna"))
    assert {path.name for path in kept.iterdir()} == {"anna.key", "anna.pem", "profile"}


def test_revoking_twice_changes_nothing(authority):
    authority.issue_profile("anna", Role.READER)
    authority.revoke("anna")
    before = contents(authority.folder)
    authority.revoke("anna")
    assert contents(authority.folder) == before


def test_a_name_can_be_given_again_after_it_was_revoked(authority):
    authority.issue_profile("anna", Role.READER)
    authority.revoke("anna")
    authority.issue_profile("anna", Role.READER)
    assert certificate(authority.client_paths("anna")[0]).serial_number not in revoked(authority)
    authority.revoke("anna")
    assert len(revoked(authority)) == 2


@pytest.mark.parametrize("trouble", ["no key", "damaged list"])
def test_where_certificates_cannot_be_revoked_the_curve_key_is_out_and_the_error_says_so(authority, trouble):
    authority.issue_profile("anna", Role.READER)
    ca_key, crl = authority.folder / "ca" / "ca-key.pem", authority.folder / "ca" / "crl.pem"
    if trouble == "no key":
        ca_key.rename(authority.folder.parent / "key")
    else:
        crl.write_text("nonsense")
    with pytest.raises(AuthorityError, match=r"CURVE key of 'anna' is out, but its certificate is NOT revoked"):
        authority.revoke("anna")
    assert not authority.client_paths("anna")[1].exists()
    assert any("there is no such file, but the certificate beside it is accepted" in s for s in sentences(authority))
    if trouble == "no key":
        (authority.folder.parent / "key").rename(ca_key)
    else:
        for problem in inspection.check(authority):
            if problem.fix:
                problem.fix()
    authority.revoke("anna")
    assert len(revoked(authority)) == 1
    assert sentences(authority) == []


@pytest.mark.parametrize("copied", ["*.key", "*"])
def test_a_brokers_copy_of_the_folder_does_not_pretend_to_have_revoked(authority, tmp_path, copied):
    authority.issue_profile("anna", Role.READER)
    for file in ("ca/ca.pem", "ca/crl.pem"):
        (tmp_path / "copy" / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(authority.folder / file, tmp_path / "copy" / file)
    (tmp_path / "copy" / "clients").mkdir()
    for path in (authority.folder / "clients").glob(copied):
        shutil.copy(path, tmp_path / "copy" / "clients")
    with pytest.raises(AuthorityError, match="CURVE key of 'anna' is out, but its certificate is NOT revoked"):
        Authority.open(tmp_path / "copy").revoke("anna")
    assert not (tmp_path / "copy" / "clients" / "anna.key").exists()


def test_nobody_unknown_and_no_broker_is_revoked(authority):
    with pytest.raises(AuthorityError, match="no client 'eve'"):
        authority.revoke("eve")
    with pytest.raises(AuthorityError, match="'broker' is a broker"):
        authority.revoke("broker")


def test_each_list_of_the_revoked_has_a_larger_number(authority):
    def number():
        return authority.crl.read()[authority.signer.id].number

    numbers = [number()]
    for name in ("anna", "tom"):
        authority.issue_profile(name, Role.READER)
        authority.revoke(name)
        numbers.append(number())
    assert numbers == sorted(set(numbers))


# --- the passphrase -------------------------------------------------------------------------------------------------


def test_the_authoritys_key_can_be_encrypted(tmp_path):
    folder = tmp_path / "certs"
    Authority.create(folder, passphrase="correct horse")
    assert b"ENCRYPTED" in (folder / "ca" / "ca-key.pem").read_bytes()
    assert Authority.open(folder).needs_passphrase
    with pytest.raises(AuthorityError, match="has a passphrase"):
        Authority.open(folder).issue_broker("broker", ["localhost"])
    with pytest.raises(AuthorityError, match="the passphrase is wrong"):
        Authority.open(folder, passphrase="battery staple").issue_broker("broker", ["localhost"])
    assert list((folder / "brokers").iterdir()) == []
    Authority.open(folder, passphrase="correct horse").issue_broker("broker", ["localhost"])


def test_a_passphrase_that_is_not_needed_does_no_harm(authority):
    Authority.open(authority.folder, passphrase="anything").issue_profile("anna", Role.READER)


# --- checking -------------------------------------------------------------------------------------------------------


def test_a_folder_as_made_has_no_problems(authority):
    authority.issue_profile("anna", Role.READER)
    authority.issue_profile("tom", Role.MANAGER)
    authority.renew("anna")
    authority.revoke("tom")
    assert sentences(authority) == []


def test_a_lost_list_of_the_revoked_can_be_made_again(authority):
    authority.issue_profile("anna", Role.READER)
    authority.issue_profile("tom", Role.READER)
    authority.renew("tom")
    authority.revoke("anna")
    before = revoked(authority)
    (authority.folder / "ca" / "crl.pem").unlink()
    (problem,) = inspection.check(authority)
    assert "crl.pem" in problem.sentence
    problem.fix()
    assert revoked(authority) == before
    assert sentences(authority) == []


def test_open_permissions_are_found_and_put_right(authority):
    profile = authority.issue_profile("anna", Role.READER)
    (profile / "client.pem").chmod(0o644)
    (authority.folder / "clients").chmod(0o777)
    problems = inspection.check(authority)
    assert len(problems) == 2
    for problem in problems:
        problem.fix()
    assert sentences(authority) == []
    assert mode(profile / "client.pem") == 0o600


@pytest.mark.parametrize(
    ("file", "complaint"),
    [
        ("profiles/anna/client.pem", "no such file"),
        ("profiles/anna/client.key_secret", "no such file"),
        ("brokers/broker.key", "no such file"),
        ("clients/anna.key", "the certificate beside it is accepted"),
        ("clients/anna.pem", "still accepted"),
    ],
)
def test_a_missing_file_is_found(authority, file, complaint):
    authority.issue_profile("anna", Role.READER)
    (authority.folder / file).unlink()
    assert any(complaint in sentence for sentence in sentences(authority))


def test_files_that_do_not_belong_together_are_found(authority):
    anna, tom = (authority.issue_profile(name, Role.READER) for name in ("anna", "tom"))
    shutil.copy(tom / "client.pem", anna / "client.pem")
    shutil.copy(tom / "client.key_secret", anna / "client.key_secret")
    found = "\n".join(sentences(authority))
    assert "it is that of the reader 'tom'" in found
    assert "it is not the key in" in found


def test_what_has_expired_is_found(authority):
    authority.issue_profile("anna", Role.READER)
    later = Authority.open(authority.folder, clock=lambda: utcnow() + dt.timedelta(days=398))
    found = "\n".join(sentences(later))
    assert "broker.pem: it has expired" in found
    assert "anna.key: it has expired" in found
    assert "anna.pem: it has expired" in found


def test_the_list_of_credentials_tells_state_and_role(authority):
    authority.issue_profile("anna", Role.READER)
    authority.issue_profile("tom", Role.MANAGER, lifetime=dt.timedelta(days=1))
    authority.issue_profile("eve", Role.READER)
    authority.revoke("eve")
    later = Authority.open(authority.folder, clock=lambda: utcnow() + dt.timedelta(days=2))
    assert [(row.name, row.kind, row.role, row.state) for row in credentials(later)] == [
        ("Studio X", "TLS", "ca", "valid"),
        ("broker", "TLS", "broker", "valid"),
        ("broker", "CURVE", "broker", "valid"),
        ("anna", "TLS", "reader", "valid"),
        ("anna", "CURVE", "reader", "valid"),
        ("tom", "TLS", "manager", "expired"),
        ("tom", "CURVE", "manager", "expired"),
        ("eve", "TLS", "reader", "revoked"),
    ]
