"""Fixtures of the tests of the listeners: a broker, an impatient one, one with small limits, and its log about
refusals."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.broker.listeners.peers import READY, wait_for
from tests.studio import Studio, studio


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Studio]:
    with studio(tmp_path, limits={"handshake_seconds": 30}) as made:
        yield made


@pytest.fixture
def hasty(tmp_path: Path) -> Iterator[Studio]:
    """A broker that does not wait long for a handshake, but long enough for those that are meant to succeed."""
    with studio(tmp_path, limits={"handshake_seconds": 2}) as made:
        yield made


@pytest.fixture
def refusals(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """The log lines about peers that were refused, after waiting until there is one."""
    caplog.set_level(logging.INFO)

    def lines() -> list[str]:
        wait_for(lambda: [r for r in caplog.records if r.name == "afpools.connections"])
        return [r.getMessage() for r in caplog.records if r.name == "afpools.connections"]

    return lines


@pytest.fixture
def narrow(tmp_path: Path) -> Iterator[Studio]:
    """A broker in which shares are used up quickly."""
    limits = {
        "connections": 20,
        "connections_for_managers": 4,
        "connections_per_client": 6,
        "handshakes_per_address": 5,
        "message_bytes": 64 * 1024,
        "waiting_bytes": 256 * 1024,
        "waiting_bytes_in_all": 1024 * 1024,
    }
    with studio(tmp_path, limits={**READY, **limits}) as made:
        yield made
