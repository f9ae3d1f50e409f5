"""Log lines that a peer can cause are few, whoever causes them."""

from __future__ import annotations

import logging

import pytest

from afpools_broker.listeners.refusals import Refusals
from afpools_broker.monitoring.peer_log import PeerLog
from afpools_broker.monitoring.statistics import Statistics


def test_a_peer_that_keeps_retrying_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    statistics = Statistics()
    refusals = Refusals(statistics, PeerLog(clock=lambda: now[0]))
    for number in range(100):
        # What a peer sends may be in the reason, and be new each time.
        refusals.refuse("TLS", f"10.0.0.7:{40000 + number}", "protocol", f"it broke the protocol: {number}")
    refusals.refuse("TLS", "10.0.0.7:1", "no certificate", "it showed no client certificate")
    refusals.refuse("TLS", "10.0.0.8:1", "protocol", "it broke the protocol: x")
    now[0] = 61.0
    refusals.refuse("TLS", "10.0.0.7:2", "protocol", "it broke the protocol: y")
    assert [record.getMessage() for record in caplog.records] == [
        "TLS: connection from 10.0.0.7:40000 refused: it broke the protocol: 0",
        "TLS: connection from 10.0.0.7:1 refused: it showed no client certificate",
        "TLS: connection from 10.0.0.8:1 refused: it broke the protocol: x",
        "TLS: connection from 10.0.0.7:2 refused: it broke the protocol: y"
        " (and 99 more times since the last such line)",
    ]
    assert statistics.refused_connections == 103


def test_many_addresses_together_do_not_fill_the_log_either(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    peer_log = PeerLog(clock=lambda: now[0])
    for number in range(5000):
        peer_log.say(f"10.0.{number // 256}.{number % 256}", "protocol", "line %d", number)
    assert len(caplog.records) == 100
    now[0] = 1.0
    peer_log.say("10.1.0.0", "protocol", "line")
    assert "4900 log lines about other peers were left out" in caplog.records[100].getMessage()


def test_lines_below_the_log_level_do_not_count(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="afpools.connections")
    peer_log = PeerLog(clock=lambda: 0.0)
    for number in range(1000):
        peer_log.say(f"10.0.0.{number}", "idle", "line", level=logging.DEBUG)
    peer_log.say("10.0.0.1", "idle", "line")
    assert len(caplog.records) == 1
