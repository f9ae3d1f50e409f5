"""Which brokers a profile leads to."""

from __future__ import annotations

import json

import pytest
import zmq.auth

from afpools_broker.config import CurveSection, TlsSection
from afpools_broker.protocol import Role
from afpools_tools.credentials.endpoints import CURVE_PORT, TLS_PORT, default_endpoints
from afpools_tools.credentials.files import AuthorityError


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


def test_brokers_at_one_address_are_distinguished_by_their_ports(authority):
    authority.issue_broker("second", ["render-broker"], curve_port=6570)
    authority.issue_profile("anna", Role.READER, ["curve://render-broker:6570"])
    with pytest.raises(AuthorityError, match="may be any of the brokers broker, second"):
        authority.issue_profile("tom", Role.READER, ["curve://render-broker:7000"])


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
def test_an_invalid_endpoint_is_refused(authority, url):
    with pytest.raises(AuthorityError, match="is not an endpoint"):
        authority.issue_profile("anna", Role.READER, [url])


def test_the_ports_of_a_new_profile_are_those_that_a_broker_opens_by_itself() -> None:
    assert (TlsSection().port, CurveSection().port) == (TLS_PORT, CURVE_PORT)
