"""Brokers whose clocks agree only on how fast time passes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from afpools_broker.live.lease import LeaseKeeper, NotOurs
from afpools_broker.store import PoolStore, open_store


class Time:
    """The time on each broker's machine, since it was started."""

    def __init__(self) -> None:
        self.now = 0.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[PoolStore]:
    made = open_store(f"sqlite:///{tmp_path}/pools.db", timeout=20)
    yield made
    made.close()


def test_nobody_takes_a_lease_before_its_holder_has_stopped_acting(
    store: PoolStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The wall clock jumps by an hour each time it is read, which must not matter.
    hours = iter(range(10**6))
    monkeypatch.setattr("time.time", lambda: 3600.0 * next(hours))
    time = Time()
    first = LeaseKeeper(store, "first", clock=lambda: time.now + 1e6)
    second = LeaseKeeper(store, "second", clock=lambda: time.now)
    first.ask()
    acted_last = 0.0
    for step in range(1, 200):
        time.now = step / 10
        second.ask()
        assert not (first.is_ours and second.is_ours)
        if first.is_ours:
            acted_last = time.now
        if second.is_ours:
            break
    assert (round(acted_last, 1), round(time.now, 1), second.token) == (5.9, 10.1, 2)
    first.ask()
    assert (first.is_ours, first.keeper) == (False, "second")


def test_a_holder_that_renews_keeps_it(store: PoolStore) -> None:
    time = Time()
    first, second = (LeaseKeeper(store, name, clock=lambda: time.now) for name in ("first", "second"))
    for _ in range(20):
        first.ask()
        second.ask()
        assert (first.is_ours, second.is_ours, first.token) == (True, False, 1)
        time.now += 2


def test_an_action_begun_before_a_lease_ran_out_is_not_done_after_it_was_taken_again(store: PoolStore) -> None:
    time = Time()
    only = LeaseKeeper(store, "only", clock=lambda: time.now)
    only.ask()
    token = only.token
    time.now = 60
    only.ask()
    assert only.is_ours
    with pytest.raises(NotOurs):
        only.check(token)
