"""`afpools health` as monitoring systems and people use it."""

from __future__ import annotations

import datetime as dt
import json

import pytest
from tests.afserver import afserver
from tests.studio import studio

from afpools import Client
from afpools_broker.protocol import Role


def facts(text: str) -> dict[str, str]:
    return {name: " ".join(value.split()) for name, _, value in (line.partition("  ") for line in text.splitlines())}


def test_a_healthy_broker_has_exit_status_0(reader):
    health = reader("health")
    assert health.status == 0
    said = facts(health.out)
    assert said["Broker"].endswith(": healthy")
    assert said["Farm"] == "no afserver: hosts are registered by hand"
    assert said["Store"].startswith("sqlite, answers in ")
    assert "Problems" not in said


def test_for_monitoring_there_is_json(reader):
    health = reader("health", "--json")
    report = json.loads(health.out)
    assert (health.status, report["status"], report["problems"]) == (0, "healthy", [])
    assert {"version", "uptime", "store", "farm", "credentials", "requests", "errors"} <= report.keys()


def test_a_broker_whose_afserver_is_away_is_degraded_with_exit_status_1(afpools, tmp_path):
    with afserver() as server:
        address = "{}:{}".format(*server.address)
    with studio(tmp_path, farm={"server": address, "timeout": 0.5}) as place:
        profile = place.profile("bert")
        health = afpools("health", "--profile", profile)
        assert health.status == 1
        said = facts(health.out)
        assert said["Broker"].endswith(": degraded")
        assert said["Farm"] == f"{address} does not answer; 0 renders, never seen"
        assert address in said["Problems"]
        assert json.loads(afpools("health", "--profile", profile, "--json").out)["status"] == "degraded"


def test_a_credential_that_expires_soon_is_a_problem(place, afpools):
    place.authority.issue_profile("soon", Role.READER, lifetime=dt.timedelta(days=9))
    place.broker.credentials.refresh()
    health = afpools("health", "--profile", place.profile("soon"))
    assert health.status == 1
    assert "'soon' expires in" in health.out


def test_a_broker_that_is_down_has_exit_status_2(place, reader):
    place.broker.stop()
    health = reader("health")
    assert (health.status, health.out) == (2, "")
    assert health.err.startswith("afpools: No broker answered.")
    health = reader("health", "--json")
    assert (health.status, health.err) == (2, "")
    assert json.loads(health.out)["status"] == "down"


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_who_has_no_profile_cannot_be_told_more_than_down(afpools, tmp_path, options):
    assert afpools("health", "--profile", tmp_path / "nix", *options).status == 2


def test_a_revoked_profile_counts_as_down(place, reader):
    place.authority.revoke("bert")
    place.broker.credentials.refresh()
    health = reader("health")
    assert health.status == 2
    assert health.err.startswith("afpools: ")
    assert "Traceback" not in health.err


@pytest.mark.parametrize(
    ("errors", "shown"),
    [
        ({"mask": {"unknown_pool": 2, "empty_pool": 1}}, "mask: empty_pool 1, unknown_pool 2"),
        ({"unknown_pool": 2}, "unknown_pool 2"),
    ],
)
def test_errors_are_shown_however_the_broker_s_version_counts_them(reader, monkeypatch, errors, shown):
    report = Client.health
    monkeypatch.setattr(Client, "health", lambda client: {**report(client), "errors": errors})
    assert facts(reader("health").out)["Errors"] == shown


def test_errors_that_people_made_do_not_make_the_broker_ill(reader):
    reader("mask", "nix")
    health = reader("health")
    assert health.status == 0
    assert "unknown_pool 1" in facts(health.out)["Errors"]
