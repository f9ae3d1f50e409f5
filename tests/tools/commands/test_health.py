"""`afpools health` as monitoring systems and people use it."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import socket
import time
from pathlib import Path

import pytest
from tests.afserver import afserver
from tests.studio import point, studio

from afpools import Client
from afpools_broker.protocol import Role
from afpools_tools.credentials.authority import Authority


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


def test_monitoring_gets_json(reader):
    health = reader("health", "--json")
    report = json.loads(health.out)
    assert (health.status, report["status"], report["problems"]) == (0, "healthy", [])
    assert {"version", "uptime", "store", "farm", "credentials", "requests", "errors"} <= report.keys()


def test_a_broker_whose_afserver_is_unreachable_is_degraded_with_exit_status_1(afpools, tmp_path):
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


@pytest.mark.parametrize("command", [("health",), ("pool", "list"), ("pool", "list", "--json")])
def test_every_command_warns_on_standard_error_a_month_before_the_profiles_certificate_expires(place, afpools, command):
    place.authority.issue_profile("soon", Role.READER, lifetime=dt.timedelta(days=9, minutes=5))
    place.broker.credentials.refresh()
    done = afpools(*command, "--profile", place.profile("soon"))
    assert "Your certificate expires in 9 days" in done.err
    assert "Your certificate" not in done.out
    assert "Your certificate" not in afpools(*command, "--profile", place.profile("late")).err


def test_a_broker_that_is_down_has_exit_status_2(place, reader):
    place.broker.stop()
    health = reader("health")
    assert (health.status, health.out) == (2, "")
    assert health.err.startswith("afpools: No broker answered.")
    health = reader("health", "--json")
    assert (health.status, health.err) == (2, "")
    assert json.loads(health.out)["status"] == "down"


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_without_a_profile_nobody_could_be_asked(afpools, tmp_path, options):
    health = afpools("health", "--profile", tmp_path / "nix", *options)
    assert health.status == 3
    if options:
        assert json.loads(health.out)["status"] == "unknown"


def test_a_revoked_profile_counts_as_down(place, afpools, tmp_path):
    copy = shutil.copytree(place.profile("bert"), tmp_path / "copy")  # revoking removes the authority's own
    place.authority.revoke("bert")
    place.broker.credentials.refresh()
    health = afpools("health", "--profile", copy)
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
def test_errors_are_shown_whatever_the_brokers_version(reader, monkeypatch, errors, shown):
    report = Client.health
    monkeypatch.setattr(Client, "health", lambda client: {**report(client), "errors": errors})
    assert facts(reader("health").out)["Errors"] == shown


def test_users_errors_do_not_make_the_broker_degraded(reader):
    reader("mask", "nix")
    health = reader("health")
    assert health.status == 0
    assert "unknown_pool 1" in facts(health.out)["Errors"]


# --- every endpoint of the profile


def endpoints(profile: Path, **ports: int) -> None:
    """Points the endpoints of these kinds elsewhere."""
    file = profile / "profile.json"
    document = json.loads(file.read_text())
    for endpoint in document["endpoints"]:
        scheme, _, rest = endpoint["url"].partition("://")
        endpoint["url"] = f"{scheme}://{rest.rpartition(':')[0]}:{ports.get(scheme, rest.rpartition(':')[2])}"
    file.write_text(json.dumps(document))


def states(text: str) -> list[tuple[str, str]]:
    return [(found["url"].partition(":")[0], found["status"]) for found in json.loads(text)["endpoints"]]


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
    return port


def test_every_endpoint_is_tried_and_reported_as_working(place, reader):
    health = reader("health")
    assert f"tls://127.0.0.1:{place.tls_port} works: " in health.out
    assert f"curve://127.0.0.1:{place.curve_port} works: " in health.out
    found = json.loads(reader("health", "--json").out)["endpoints"]
    assert {(one["status"], one["health"]["status"]) for one in found} == {("healthy", "healthy")}
    assert all(one["milliseconds"] > 0 for one in found)


def test_an_address_that_the_certificate_lacks_is_a_problem_though_curve_works(afpools, tmp_path):
    Authority.create(tmp_path / "certs").issue_broker("broker", ["localhost"])
    with studio(tmp_path) as place:
        profile = place.profile("bert")
        file = profile / "profile.json"
        file.write_text(file.read_text().replace("localhost", "127.0.0.1"))
        health = afpools("health", "--profile", profile)
    assert health.status == 1
    assert (
        f"tls://127.0.0.1:{place.tls_port} does not work: the broker's certificate is not for '127.0.0.1'" in health.out
    )
    assert "No endpoint works over TLS, which is the only way in for plug-ins." in health.out


@pytest.mark.parametrize(("broken", "locked_out"), [("tls", True), ("curve", False)])
def test_one_broken_endpoint_makes_it_degraded(place, afpools, closed_port, broken, locked_out):
    profile = place.profile("bert")
    endpoints(profile, **{broken: closed_port})
    health = afpools("health", "--profile", profile)
    assert health.status == 1
    assert f"{broken}://127.0.0.1:{closed_port} does not work: the connection was refused" in health.out
    assert ("the only way in for plug-ins" in health.out) is locked_out
    report = afpools("health", "--profile", profile, "--json")
    assert (report.status, json.loads(report.out)["status"]) == (1, "degraded")
    assert sorted(state for _, state in states(report.out)) == ["down", "healthy"]
    assert dict(states(report.out))[broken] == "down"


def test_curve_without_pyzmq_is_reported_but_is_not_a_failure(place, reader, monkeypatch):
    monkeypatch.setattr("afpools.transport._installed", lambda package: False)
    health = reader("health")
    assert health.status == 0
    assert f"curve://127.0.0.1:{place.curve_port} was skipped, CURVE needs pyzmq" in health.out
    assert dict(states(reader("health", "--json").out)) == {"tls": "healthy", "curve": "skipped"}


def test_with_only_curve_left_and_without_pyzmq_it_is_down(reader, place, monkeypatch, closed_port):
    monkeypatch.setattr("afpools.transport._installed", lambda package: False)
    profile = place.profile("bert")
    endpoints(profile, tls=closed_port)
    monkeypatch.setattr(type(place), "profile", lambda *_: profile)
    assert reader("health").status == 2


def test_silent_endpoints_cost_one_timeout_altogether(place, afpools):
    profile = place.profile("bert")
    with socket.create_server(("127.0.0.1", 0)) as swallowing:
        port = swallowing.getsockname()[1]
        document = json.loads((profile / "profile.json").read_text())
        hole = {**document["endpoints"][0], "url": f"tls://127.0.0.1:{port}"}
        document["endpoints"] += [{**hole, "broker": f"b{number}"} for number in range(6)]
        (profile / "profile.json").write_text(json.dumps(document))
        began = time.monotonic()
        health = afpools("health", "--profile", profile, "--timeout", 3)
        assert time.monotonic() - began < 3 + 5
    assert health.status == 1
    assert health.out.count("does not work: timed out") == 6


def test_each_of_several_brokers_is_shown_with_its_problems(place, afpools, tmp_path):
    with afserver() as server:
        address = "{}:{}".format(*server.address)
    other_folder = tmp_path / "other"
    other_folder.mkdir()
    (other_folder / "certs").symlink_to(place.folder / "certs")
    profile = place.profile("bert")
    with studio(other_folder, farm={"server": address, "timeout": 0.5}) as other:
        document = json.loads((profile / "profile.json").read_text())
        here = [{**endpoint, "broker": "here"} for endpoint in document["endpoints"]]
        point(profile, tls=other.tls_port, curve=other.curve_port)
        there = [
            {**endpoint, "broker": "there"}
            for endpoint in json.loads((profile / "profile.json").read_text())["endpoints"]
        ]
        (profile / "profile.json").write_text(json.dumps({**document, "endpoints": here + there}))
        health = afpools("health", "--profile", profile)
        assert health.status == 1
        assert [line.rpartition(": ")[2] for line in health.out.splitlines() if line.startswith("Broker ")] == [
            "healthy",
            "degraded",
        ]
        [problem] = json.loads(afpools("health", "--profile", profile, "--json").out)["problems"]
        assert problem.startswith("there: ")


# --- one line for Nagios


@pytest.mark.parametrize(
    "options", [("--profile", "nix"), ("--timeout", "soon"), ("--nix",), ("--json", "--nagios")], ids=" ".join
)
def test_what_could_not_be_asked_is_unknown_not_down(afpools, options):
    assert afpools("health", *options).status == 3
    # Without a profile the format's reader gets its line; with a wrong option nobody knows that it is wanted.
    if options[0] == "--profile":
        line = afpools("health", *options, "--nagios")
        assert line.status == 3
        assert line.out.startswith("AFPOOLS UNKNOWN - ")
        assert "nix" in line.out


def test_nagios_gets_one_line_with_numbers_of_every_endpoint(place, reader):
    health = reader("health", "--nagios")
    assert (health.status, health.err, len(health.out.splitlines())) == (0, "", 1)
    text, _, numbers = health.out.partition(" | ")
    assert text == "AFPOOLS OK - 2 of 2 endpoints answer"
    for scheme, port in (("tls", place.tls_port), ("curve", place.curve_port)):
        assert f"'{scheme}://127.0.0.1:{port}'=" in numbers
    assert "'broker pools'=0;;;0" in numbers


def test_nagios_is_told_that_no_endpoint_answers(place, reader):
    place.broker.stop()
    health = reader("health", "--nagios")
    assert (health.status, health.err) == (2, "")
    assert health.out.startswith("AFPOOLS CRITICAL - No broker answered.")


def test_brokers_none_of_which_could_be_asked_are_unknown(reader, place, monkeypatch):
    monkeypatch.setattr("afpools.transport._installed", lambda package: False)
    profile = place.profile("bert")
    file = profile / "profile.json"
    document = json.loads(file.read_text())
    document["endpoints"] = [one for one in document["endpoints"] if one["url"].startswith("curve")]
    file.write_text(json.dumps(document))
    monkeypatch.setattr(type(place), "profile", lambda *_: profile)
    assert reader("health").status == 3
    assert json.loads(reader("health", "--json").out)["status"] == "unknown"
