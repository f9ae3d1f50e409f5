"""TLS: who may connect, and what refused peers leave in the log."""

from __future__ import annotations

import datetime as dt
import shutil
import ssl
from pathlib import Path
from typing import Any

import pytest
import zmq
import zmq.auth
from tests.broker.listeners.peers import closed, silent, still_answers
from tests.studio import Studio

from afpools import BrokerUnreachable, Client
from afpools.profile import Profile
from afpools_broker.protocol import Role
from afpools_tools.credentials.authority import Authority


def test_tls_with_a_revoked_certificate(place: Studio, refusals: Any) -> None:
    kept = place.folder / "kept"
    shutil.copytree(place.profile("leaver"), kept)
    place.authority.revoke("leaver")
    place.broker.credentials.refresh()
    with Client(Profile.load(str(kept))) as client, pytest.raises(BrokerUnreachable) as refused:
        client.hello()
    # Both the refused client and the broker's operator are told why.
    assert "certificate of 'leaver' was revoked" in str(refused.value)
    assert "certificate of 'leaver' was revoked" in refusals()[0]
    still_answers(place)


def test_tls_with_an_expired_certificate(place: Studio, refusals: Any) -> None:
    past = Authority.open(
        place.folder / "certs", clock=lambda: dt.datetime.now(dt.UTC) - dt.timedelta(days=800)
    ).issue_profile("old", Role.READER)
    with place.tls_socket(past) as connection:
        assert closed(connection)
    assert "certificate has expired" in refusals()[0]
    still_answers(place)


def test_tls_with_a_certificate_of_another_studio(place: Studio, refusals: Any, tmp_path: Path) -> None:
    foreign = Authority.create(tmp_path / "foreign")
    foreign.issue_broker("broker", ["127.0.0.1"])
    with place.tls_socket(foreign.issue_profile("anna", Role.MANAGER)) as connection:
        assert closed(connection)
    assert "its certificate is not accepted" in refusals()[0]
    still_answers(place)


def test_tls_without_a_certificate(place: Studio, refusals: Any) -> None:
    with place.tls_socket() as connection:
        assert closed(connection)
    assert "showed no client certificate" in refusals()[0]
    still_answers(place)


def test_tls_1_2_is_not_spoken(place: Studio, refusals: Any) -> None:
    with pytest.raises(ssl.SSLError):
        place.tls_socket(place.profile("b"), maximum_version=ssl.TLSVersion.TLSv1_2)
    assert "does not offer TLS 1.3" in refusals()[0]
    still_answers(place)


def test_plain_zeromq_on_the_tls_port(place: Studio, refusals: Any) -> None:
    sock = zmq.Context.instance().socket(zmq.REQ)
    sock.linger = 0
    sock.connect(f"tcp://127.0.0.1:{place.tls_port}")
    assert silent(sock)
    assert "does not speak TLS" in refusals()[0]
    still_answers(place)
