"""The certificate authority: what it writes, what it refuses to replace, and what it revokes."""

import datetime as dt
import json
import shutil

import pytest
import zmq.auth
from cryptography import x509

from afpools_broker.protocol import Role
from afpools_tools.credentials.authority import Authority
from afpools_tools.credentials.files import AuthorityError

from .conftest import certificate, contents, revoked, sentences

# --- what is written ------------------------------------------------------------------------------------------------


def test_a_profile_is_everything_a_workstation_needs(authority):
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


def test_a_client_whose_profile_was_moved_away_can_be_renewed(authority):
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
    assert any("does not belong to a broker here" in sentence for sentence in sentences(authority))
    authority.renew("anna")
    assert sentences(authority) == []
    assert "curve://render-broker:5570" in (profile / "profile.json").read_text()


def test_renewing_does_not_sign_a_role_that_was_edited(authority):
    authority.issue_profile("anna", Role.READER)
    path = authority.client_paths("anna")[1]
    path.write_text(path.read_text().replace("reader", "manager"))
    with pytest.raises(AuthorityError, match="do not agree on role"):
        authority.renew("anna")


def test_an_unknown_name_is_not_renewed(authority):
    with pytest.raises(AuthorityError, match="no broker or client 'eve'"):
        authority.renew("eve")


# --- revoking -------------------------------------------------------------------------------------------------------


def test_a_name_can_be_used_again_after_it_was_revoked(authority):
    authority.issue_profile("anna", Role.READER)
    authority.revoke("anna")
    authority.issue_profile("anna", Role.READER)
    assert certificate(authority.client_paths("anna")[0]).serial_number not in revoked(authority)
    authority.revoke("anna")
    assert len(revoked(authority)) == 2


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
