"""An authority with a broker and a client."""

from __future__ import annotations

import stat

import pytest
from cryptography import x509

from afpools_tools.credentials import inspection
from afpools_tools.credentials.authority import Authority


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
