"""The list of credentials, and how long each is valid."""

from __future__ import annotations

import datetime as dt

from afpools_broker.credentials.peers import utcnow
from afpools_broker.protocol import Role
from afpools_tools.credentials.authority import Authority
from afpools_tools.credentials.listing import credentials


def test_the_list_of_credentials_shows_state_and_role(authority):
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
