"""`/metrics` of a real broker, as Prometheus reads it; and the dashboard and the alerts that are made for it."""

from __future__ import annotations

import datetime as dt
import json
import re
import shutil
import socket
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.broker.listeners.peers import only_over
from tests.broker.monitoring.scraping import ON, text_of
from tests.broker.store.places import wait_until
from tests.live_office import live_manager, live_office
from tests.studio import Studio
from tests.working_afserver import WorkingAfServer

from afpools import AfpoolsError, Client
from afpools.profile import Profile
from afpools_broker import __version__
from afpools_broker.monitoring.metrics import BrokerCollector
from afpools_broker.monitoring.statistics import Statistics

TOOLS = Path(__file__).parents[3] / "tools"
RULES = TOOLS / "prometheus" / "afpools.rules.yml"
DASHBOARD = TOOLS / "grafana" / "afpools.json"

# What Prometheus adds to every target.
OF_PROMETHEUS = {"instance", "job"}


def samples(place: Studio) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text_of(place))
        for sample in family.samples
    }


def of(found: dict[Any, float], name: str, /, **labels: str) -> float | None:
    return found.get((name, frozenset(labels.items())))


def test_requests_errors_and_times_are_counted_by_operation_and_transport(place: Studio) -> None:
    for transport in ("TLS", "CURVE"):
        with Client(only_over(place, transport)) as client:
            client.list_pools()
            with pytest.raises(AfpoolsError):
                client.get_pool("none")
    found = samples(place)
    for transport in ("TLS", "CURVE"):
        assert of(found, "afpools_requests_total", operation="pools.get", transport=transport) == 1
        assert of(found, "afpools_request_seconds_count", operation="pools.get", transport=transport) == 1
        assert (of(found, "afpools_request_seconds_sum", operation="pools.get", transport=transport) or 0) > 0
        labels = {"operation": "pools.get", "transport": transport, "code": "unknown_pool"}
        assert of(found, "afpools_errors_total", **labels) == 1
        assert of(found, "afpools_connections", transport=transport) is not None


def test_refused_connections_are_counted_by_reason(place: Studio) -> None:
    with socket.create_connection(("127.0.0.1", place.tls_port), timeout=30) as plain:
        plain.sendall(b"GET / HTTP/1.0\r\n\r\n")
        while plain.recv(4096):
            pass
    wait_until(lambda: place.broker._statistics.refused_connections == 1)
    refused = {key: value for key, value in samples(place).items() if key[0] == "afpools_refused_connections_total"}
    ((_, labels), count), *more = refused.items()
    assert (dict(labels)["transport"], count, more) == ("TLS", 1, [])


def test_a_broker_shows_its_state_expiries_and_memory(place: Studio) -> None:
    place.profile("anna")
    found = samples(place)
    assert of(found, "afpools_broker_info", broker="broker", version=__version__) == 1
    assert of(found, "afpools_store_reachable") == 1
    assert 0 <= (of(found, "afpools_store_age_seconds") or 0) < 60
    assert 300 < (of(found, "afpools_credential_expires_days", kind="client", name="anna") or 0) < 3660
    assert (of(found, "process_resident_memory_bytes") or 0) > 10_000_000
    # There is no afserver: nothing is known of a farm, and zero would be a lie.
    assert of(found, "afpools_farm_renders") is None
    assert of(found, "afpools_pools_without_living_host") is None


def test_the_farm_its_fences_and_pools_without_a_living_host_are_shown(tmp_path: Path, server: WorkingAfServer) -> None:
    with live_office(tmp_path, server, metrics=ON) as place:
        with live_manager(place, "boss", 5, fx=["pc-01"]) as boss:
            boss.create_pool("ghosts", ["gone-01"], new_hosts=True)
        found = samples(place)
    assert of(found, "afpools_pools") == 2
    assert of(found, "afpools_pools_without_living_host") == 1
    assert of(found, "afpools_farm_renders") == 5
    assert (of(found, "afpools_farm_age_seconds") or 0) < 60
    assert of(found, "afpools_fences_behind") == 0
    assert of(found, "afpools_live_keeping") == 1


def test_scrapes_ask_the_database_no_more_often_than_health_may(place: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    report = place.broker._health.report
    monkeypatch.setattr(place.broker._health, "report", lambda: asked.append(1) or report())
    now = [1000.0]
    collector = BrokerCollector(place.broker._health, Statistics(), lambda: now[0])
    for _ in range(20):
        list(collector.collect())
    assert len(asked) == 1
    now[0] += 5.0
    list(collector.collect())
    assert len(asked) == 2


def test_two_credentials_with_one_name_are_one_sample(place: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    soon, later = (dt.datetime.now(dt.UTC) + dt.timedelta(days=days) for days in (10, 400))
    twins = [SimpleNamespace(kind="ca", name="Studio", expires=expires) for expires in (soon, later)]
    monkeypatch.setattr(place.broker._health, "expiring", lambda within: twins)
    (days,) = [value for key, value in samples(place).items() if key[0] == "afpools_credential_expires_days"]
    assert 9.9 < days <= 10


def expressions() -> dict[str, list[str]]:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return {
        "rules": re.findall(r"(?m)^ +expr: (?:>-\n +)?(.+)$", RULES.read_text()),
        "dashboard": [target["expr"] for panel in panels for target in panel["targets"]],
    }


@pytest.mark.parametrize("where", ["rules", "dashboard"])
def test_rules_and_dashboard_name_only_metrics_and_labels_that_there_are(place: Studio, where: str) -> None:
    with Client(only_over(place, "TLS")) as client, pytest.raises(AfpoolsError):
        client.get_pool("none")
    place.broker._statistics.refused("TLS", "no TLS")
    place.profile("anna")
    names, labels = {"up"}, set(OF_PROMETHEUS)
    for family in text_string_to_metric_families(text_of(place)):
        # Those without a sample now have one in other brokers.
        names |= {sample.name for sample in family.samples} or {
            family.name + ("_total" if family.type == "counter" else "")
        }
        labels |= {label for sample in family.samples for label in sample.labels}
    found = expressions()[where]
    assert len(found) > 10
    for expression in found:
        plain = re.sub(r'"[^"]*"', "", expression)
        used = set(re.findall(r"\b(?:afpools|process)_\w+|\bup\b", plain))
        assert used
        assert used <= names
        by = {word for group in re.findall(r"by \(([^)]*)\)", plain) for word in group.split(", ")}
        assert by | set(re.findall(r"(\w+)=~?", plain.replace("==", ""))) <= labels


@pytest.mark.skipif(shutil.which("promtool") is None, reason="Prometheus is not installed")
def test_prometheus_accepts_the_rules() -> None:
    done = subprocess.run(["promtool", "check", "rules", RULES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_profile_is_not_needed_to_read_metrics(place: Studio) -> None:
    """The page holds no host, no pool and no mask: names of credentials are all that it gives away."""
    profile = place.profile("anna")
    with Client(Profile.load(str(profile))) as client:
        client.list_pools()
    assert "127.0.0.1" not in text_of(place)
