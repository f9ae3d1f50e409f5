"""The files of a folder of credentials."""

from __future__ import annotations

import os

import zmq.auth

from afpools_broker.protocol import Role
from afpools_tools.credentials.authority import Authority

from .conftest import mode


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


def test_curve_files_are_zmq_auths(authority):
    profile = authority.issue_profile("anna", Role.MANAGER)
    public, secret = zmq.auth.load_certificate(profile / "client.key_secret")
    assert zmq.curve_public(secret) == public
    assert zmq.auth.load_certificate(authority.client_paths("anna")[1]) == (public, None)
