"""The client reads from its own certificate until when it is valid, as `cryptography` does."""

from __future__ import annotations

import datetime as dt
import time
from base64 import encodebytes
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from afpools.certificate import _not_after, expired, expires_soon, valid_until

_KEY = ec.generate_private_key(ec.SECP256R1())


def certificate(until: dt.datetime, name: str = "anna") -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return (
        x509.CertificateBuilder(subject, subject, _KEY.public_key(), x509.random_serial_number())
        .not_valid_before(dt.datetime(1960, 1, 1, tzinfo=dt.UTC))
        .not_valid_after(until)
        .sign(_KEY, hashes.SHA256())
    )


def written(folder: Path, until: dt.datetime) -> str:
    file = folder / "client.pem"
    file.write_bytes(certificate(until).public_bytes(Encoding.PEM))
    return str(file)


@settings(deadline=None, max_examples=50)
@given(st.integers(-284_000_000, 7_250_000_000), st.text(min_size=1, max_size=16))
def test_a_certificate_is_read_as_cryptography_reads_it(seconds: int, name: str) -> None:
    """From 1961 to 2199: both encodings of a time, and the previous century."""
    made = certificate(dt.datetime.fromtimestamp(seconds, dt.UTC), name)
    assert _not_after(made.public_bytes(Encoding.DER)) == seconds == made.not_valid_after_utc.timestamp()


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 400), st.binary(max_size=3))
def test_a_damaged_certificate_gives_a_date_or_none(tmp_path_factory, at: int, junk: bytes) -> None:
    der = certificate(dt.datetime(2030, 1, 1, tzinfo=dt.UTC)).public_bytes(Encoding.DER)
    file = tmp_path_factory.getbasetemp() / "damaged.pem"
    damaged = encodebytes(der[:at] + junk + der[at + 5 :])
    file.write_bytes(b"-----BEGIN CERTIFICATE-----\n" + damaged + b"-----END CERTIFICATE-----\n")
    found = valid_until(str(file))
    assert found is None or isinstance(found, float)


@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----"])
def test_without_a_certificate_nothing_is_reported(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "client.pem"
    if content is not None:
        file.write_bytes(content)
    assert valid_until(str(file)) is None
    assert expired(str(file), time.time()) == expires_soon(str(file), time.time()) == ""


def test_expiry_is_reported_afterwards_and_a_month_before(tmp_path: Path) -> None:
    noon = dt.datetime(2026, 11, 30, 12, tzinfo=dt.UTC).timestamp()
    path = written(tmp_path, dt.datetime.fromtimestamp(noon, dt.UTC))
    day = 86400.0
    assert expires_soon(path, noon - 30 * day) == expired(path, noon - 1) == ""
    assert expires_soon(path, noon - 12.5 * day).startswith("Your certificate expires in 12 days, on 2026-11-30:")
    assert "in 1 day," in expires_soon(path, noon - 1.5 * day)
    assert "in less than a day," in expires_soon(path, noon - 60)
    assert expired(path, noon + 1).startswith("our certificate expired on 2026-11-30 by this machine's clock;")
    assert expires_soon(path, noon + 1) == ""
