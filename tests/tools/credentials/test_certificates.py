"""What a certificate contains, and who accepts it."""

from __future__ import annotations

import datetime as dt
import shutil
import ssl
import subprocess

import pytest
from tests.handshake import client_context, shake_hands

from afpools_broker.credentials.peers import utcnow
from afpools_broker.protocol import Role
from afpools_tools.credentials.authority import Authority
from afpools_tools.credentials.files import AuthorityError

from .conftest import certificate


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


def test_a_client_does_not_accept_a_client_as_a_broker(authority):
    profile = authority.issue_profile("anna", Role.READER)
    impostor = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    impostor.load_cert_chain(profile / "client.pem")
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(impostor, client_context(profile / "ca.pem"), "render-broker")


@pytest.mark.parametrize("address", ["http://broker", "broker:5571", "a b", "*.studio", "", "ä.example"])
def test_an_invalid_address_is_refused(authority, address):
    with pytest.raises(AuthorityError, match="neither a host's name nor an IP address"):
        authority.issue_broker("second", [address])
