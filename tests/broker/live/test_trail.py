"""The keeper's part of history, with brokers whose clocks disagree."""

from __future__ import annotations

import itertools

import pytest
from tests.broker.live.conftest import Studio


def test_a_pool_that_a_broker_with_a_slow_clock_made_again_is_not_mistaken_for_the_one_before(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = studio.send("fx", offline=True)
    studio.look()
    before = studio.mask(job)
    studio.pool("busy", "pc-02")
    for count in range(30):
        studio.apply("pools.add_hosts", "busy", "pc-04")
        studio.apply("pools.remove_hosts", "busy", "pc-04")
        if count % 10 == 0:
            studio.look()
    studio.look()
    oldest = min(step.id for step in studio.fences._trail.steps)
    tick = itertools.count(int(oldest[:14], 16) + 1)
    monkeypatch.setattr("afpools_broker.pools.changes.next_entry_id", lambda *_: f"{next(tick):014x}{'0' * 10}")
    studio.apply("pools.delete", "fx")
    studio.pool("fx", "pc-05")
    studio.look()
    assert (studio.mask(job), studio.fence(job)) == (before, "kept")


def test_history_is_read_again_only_as_far_as_it_is_new(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    studio.look()
    asked: list[str] = []
    trail = studio.store.trail
    monkeypatch.setattr(studio.store, "trail", lambda **what: asked.append(what["since"]) or trail(**what))  # type: ignore[func-returns-value]
    for _ in range(3):
        studio.apply("pools.add_hosts", "fx", "pc-04")
        studio.look()
        studio.apply("pools.remove_hosts", "fx", "pc-04")
        studio.look()
    assert len(asked) == 6
    assert "" not in asked
