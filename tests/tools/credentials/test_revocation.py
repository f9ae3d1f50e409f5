"""Revoking credentials."""

from __future__ import annotations

import shutil

import pytest

from afpools_broker.protocol import Role
from afpools_tools.credentials import inspection
from afpools_tools.credentials.authority import Authority
from afpools_tools.credentials.files import AuthorityError

from .conftest import certificate, contents, revoked, sentences


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


@pytest.mark.parametrize("trouble", ["no key", "damaged list"])
def test_if_certificates_cannot_be_revoked_the_curve_key_is_removed_and_the_error_says_so(authority, trouble):
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


def test_neither_an_unknown_name_nor_a_broker_is_revoked(authority):
    with pytest.raises(AuthorityError, match="no client 'eve'"):
        authority.revoke("eve")
    with pytest.raises(AuthorityError, match="'broker' is a broker"):
        authority.revoke("broker")


def test_each_revocation_list_has_a_larger_number(authority):
    def number():
        return authority.crl.read()[authority.signer.id].number

    numbers = [number()]
    for name in ("anna", "tom"):
        authority.issue_profile(name, Role.READER)
        authority.revoke(name)
        numbers.append(number())
    assert numbers == sorted(set(numbers))


def test_a_lost_revocation_list_can_be_made_again(authority):
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
