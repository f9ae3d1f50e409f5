"""Peers that were refused: one line each, but not one for every address of a machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.broker.listeners.peers import READY, only_over
from tests.studio import studio

from afpools import Client
from afpools_broker.listeners.refusals import Refusals
from afpools_broker.monitoring.peer_log import PeerLog
from afpools_broker.monitoring.statistics import Statistics


def test_a_refused_peer_leaves_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with studio(tmp_path, limits=READY) as place:
        for listener in ("TLS", "CURVE"):
            with Client(only_over(place, listener)) as client:
                for number in range(50):
                    with pytest.raises(Exception, match="manager"):
                        client.create_pool(f"pool-{number}")
    lines = [r.getMessage() for r in caplog.records if "asked for pools.create" in r.getMessage()]
    assert len(lines) == 1


def test_a_machine_with_many_addresses_of_one_network_leaves_one_line(caplog: pytest.LogCaptureFixture) -> None:
    refusals = Refusals(Statistics(), PeerLog())
    for number in range(1, 50):
        refusals.refuse("TLS", f"[2001:db8::{number:x}]:40000", "no TLS", "it does not speak TLS")
    assert len(caplog.records) == 1
