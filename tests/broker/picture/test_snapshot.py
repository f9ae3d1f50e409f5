"""The picture of pools and farm, and the thread that keeps it up to date."""

from __future__ import annotations

import datetime as dt
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from tests.broker.store.places import PATIENT, add, create, following, wait_until

from afpools_broker.farm.farm import Farm, Render
from afpools_broker.picture.snapshot import Snapshot, SnapshotKeeper
from afpools_broker.pools.pool import Contents, Pool
from afpools_broker.protocol import Code, RequestRefused
from afpools_broker.store import PoolStore, Sign, StoreUnavailable, open_store

NOW = dt.datetime(2026, 12, 1, tzinfo=dt.UTC)
CONTENTS = Contents({"fx": Pool("fx", ("pc-01",))}, Pool("", ("lt-01",)))


def farm(*names: str, state: str = "online") -> Farm:
    return Farm(tuple(Render(name, (state,), engine="3.4.1") for name in names), NOW)


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[SnapshotKeeper]:
    store = open_store(f"sqlite:///{tmp_path}/pools.sqlite", timeout=PATIENT)
    with following(store) as keeper:
        yield keeper
    store.close()


def test_renders_that_become_busy_and_free_need_no_new_mask() -> None:
    first = Snapshot.of(CONTENTS, farm("pc-01", "pc-02"), None, by_hand=False)
    busy = Snapshot.of(CONTENTS, farm("pc-01", "pc-02", state="busy"), first, by_hand=False)
    assert busy.farm is not first.farm
    assert busy.fences is first.fences
    assert Snapshot.of(CONTENTS, farm("pc-01"), busy, by_hand=False).fences is not first.fences


def test_without_afserver_the_registered_hosts_are_the_farm() -> None:
    assert Snapshot.of(CONTENTS, None, None, by_hand=True).fences.farm == {"lt-01"}
    assert Snapshot.of(CONTENTS, None, None, by_hand=False).fences.farm == frozenset()


def test_counts_wait_for_a_list_of_renders() -> None:
    unseen = Snapshot.of(CONTENTS, None, None, by_hand=False)
    assert (unseen.tally, unseen.tally_at_hand) == (None, None)
    seen = Snapshot.of(CONTENTS, farm("pc-01"), unseen, by_hand=False)
    assert seen.tally_at_hand is None
    assert seen.tally is seen.tally_at_hand is not None


def test_a_missing_pool_is_refused_by_name() -> None:
    with pytest.raises(RequestRefused, match="Did you mean 'fx'") as refused:
        Snapshot.of(CONTENTS, None, None, by_hand=False).pool("fz")
    assert refused.value.code is Code.UNKNOWN_POOL


def test_a_change_is_in_the_picture_before_its_author_gets_an_answer(keeper: SnapshotKeeper) -> None:
    before = keeper.current
    keeper.apply(create("fx", "pc-01"))
    assert keeper.current.pool("fx").hosts == ("pc-01",)
    assert "fx" not in before.contents.pools


def test_changes_by_another_broker_are_noticed(keeper: SnapshotKeeper, tmp_path: Path) -> None:
    keeper.apply(create("fx", "pc-01"))
    other = open_store(f"sqlite:///{tmp_path}/pools.sqlite", timeout=PATIENT)
    other.apply(add("fx", "pc-02"))
    wait_until(lambda: keeper.current.pool("fx").hosts == ("pc-01", "pc-02"))
    other.close()


def test_a_broker_that_stops_makes_no_change(keeper: SnapshotKeeper) -> None:
    keeper.refuse_writes("It is stopping.")
    with pytest.raises(RequestRefused, match="It is stopping") as refused:
        keeper.apply(create("fx"))
    assert (refused.value.code, refused.value.made) == (Code.STORE_UNAVAILABLE, False)


class Away:
    """A store that is unreachable, and available again later."""

    kind = "away"

    def __init__(self) -> None:
        self.is_there = threading.Event()

    def watch(self, stop: threading.Event) -> Iterator[Sign]:
        if not self.is_there.is_set():
            raise StoreUnavailable("It has gone away.")
        while not stop.wait(0.01):
            yield Sign(False, 0.0)


def test_trouble_with_the_store_is_logged_once_and_cleared_when_it_is_over(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SnapshotKeeper, "_RETRY_SECONDS", 0.01)
    caplog.set_level(logging.INFO)
    store = Away()
    keeper = SnapshotKeeper(cast(PoolStore, store), by_hand=False)
    keeper.start(wait=0)
    wait_until(lambda: keeper.trouble == "It has gone away.")
    with pytest.raises(RequestRefused, match="It has gone away") as refused:
        _ = keeper.current
    assert refused.value.code is Code.STORE_UNAVAILABLE
    store.is_there.set()
    wait_until(lambda: not keeper.trouble)
    keeper.stop(wait=PATIENT)
    assert [record.getMessage() for record in caplog.records if record.name == "afpools.store"] == [
        "It has gone away.",
        "The database (away) answers again.",
    ]
