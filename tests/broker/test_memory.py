"""Long-lived objects are not scanned by every garbage collection."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.broker.store.places import following, wait_until

from afpools_broker.store.sqlite import SqliteStore


@pytest.fixture
def thawed() -> Iterator[None]:
    gc.unfreeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("thawed")
def test_a_picture_is_excluded_from_garbage_collection_once_made(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "pools.db", timeout=60)
    assert gc.get_freeze_count() == 0
    with following(store) as keeper:
        wait_until(lambda: gc.get_freeze_count() > 0)
        assert keeper.is_loaded
    store.close()
