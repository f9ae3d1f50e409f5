"""Fixtures of the tests of the farm: a store, and a watch of many renders."""

from collections.abc import Iterator

import pytest
from tests.afserver import AfServer, afserver, renders_answer

from afpools_broker.store import open_store


@pytest.fixture
def store(tmp_path):
    opened = open_store(f"sqlite:///{tmp_path}/pools.sqlite", timeout=1.5)
    yield opened
    opened.close()


@pytest.fixture
def many() -> Iterator[AfServer]:
    with afserver(renders_answer([f"pc-{number}" for number in range(1, 31)])) as running:
        yield running
