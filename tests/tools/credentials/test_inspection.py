"""`afpools certs check`, as a library."""

from __future__ import annotations

import datetime as dt
import shutil

import pytest

from afpools_broker.credentials.peers import utcnow
from afpools_broker.protocol import Role
from afpools_tools.credentials import inspection
from afpools_tools.credentials.authority import Authority

from .conftest import mode, sentences


def test_a_folder_as_made_has_no_problems(authority):
    authority.issue_profile("anna", Role.READER)
    authority.issue_profile("tom", Role.MANAGER)
    authority.renew("anna")
    authority.revoke("tom")
    assert sentences(authority) == []


def test_open_permissions_are_found_and_fixed(authority):
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


def test_expired_credentials_are_found(authority):
    authority.issue_profile("anna", Role.READER)
    later = Authority.open(authority.folder, clock=lambda: utcnow() + dt.timedelta(days=398))
    found = "\n".join(sentences(later))
    assert "broker.pem: it expired" in found
    assert "anna.key: it expired" in found
    assert "anna.pem: it expired" in found
