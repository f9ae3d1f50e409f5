"""The port that Prometheus scrapes: whatever scrapers do, the broker serves."""

from __future__ import annotations

import socket
import urllib.error
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.broker.listeners.peers import only_over
from tests.broker.monitoring.scraping import text_of
from tests.broker.store.places import wait_until
from tests.studio import Studio, studio

from afpools import Client
from afpools_broker.listeners import ListenError


def test_scrapers_that_hang_hold_up_neither_clients_nor_other_scrapers(place: Studio) -> None:
    with ExitStack() as hanging, Client(only_over(place, "TLS")) as client:
        for _ in range(50):
            scraper = hanging.enter_context(socket.create_connection(("127.0.0.1", place.broker.port("Metrics"))))
            scraper.sendall(b"GET /metr")
        assert client.list_pools() is not None
        assert "afpools_healthy" in text_of(place)


def test_a_failure_of_a_scrape_is_logged_and_the_next_one_answered(
    place: Studio, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(place.broker._statistics, "timings", lambda: 1 / 0)
        with pytest.raises(OSError):
            text_of(place)
        wait_until(lambda: "A scrape of /metrics failed" in caplog.text)
    assert "afpools_healthy" in text_of(place)


def test_other_paths_lead_to_the_metrics(place: Studio) -> None:
    with pytest.raises(urllib.error.HTTPError, match="The metrics are at /metrics"):
        text_of(place, "/")


def test_a_port_in_use_is_a_clear_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ListenError) as refused, studio(tmp_path, metrics={"enabled": True, "port": port}):
            pass
    assert str(refused.value) == (
        f"Metrics: cannot listen on 127.0.0.1 port {port}: the port is in use. Is another broker running? Stop it, or "
        "set [metrics] port."
    )


def test_without_the_section_no_port_is_opened(tmp_path: Path) -> None:
    with studio(tmp_path) as place:
        assert place.broker._scrapes is None
