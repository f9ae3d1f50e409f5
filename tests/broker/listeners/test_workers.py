"""Threads that answer: clients take turns, and reads do not wait for writes."""

from __future__ import annotations

import threading
from collections import Counter

import pytest

from afpools_broker.listeners.workers import Workers
from afpools_broker.service import Later


@pytest.fixture
def workers():
    made = Workers()
    yield made
    made.stop()


@pytest.mark.parametrize("writes", [False, True])
def test_one_clients_work_does_not_delay_anothers(workers: Workers, writes: bool) -> None:
    release, answered = threading.Event(), threading.Event()

    def held() -> bytes:
        release.wait(60)
        return b""

    accepted = 0
    while workers.submit("greedy", Later(held, writes=writes), lambda _: None):
        accepted += 1
    assert 1 < accepted < 200
    assert workers.submit("modest", Later(lambda: b"", writes=writes), lambda _: answered.set())
    assert answered.wait(60)
    release.set()


def test_clients_take_turns(workers: Workers) -> None:
    release, done = threading.Event(), threading.Semaphore(0)
    order: list[str] = []

    def held() -> bytes:
        release.wait(60)
        return b""

    def work(name: str) -> Later:
        return Later(lambda: name.encode(), writes=True)

    def finish(answer: bytes) -> None:
        order.append(answer.decode())
        done.release()

    # One writer is left, which makes the order of the rest deterministic.
    workers.submit("holder", Later(held, writes=True), lambda _: None)
    blocked = threading.Event()
    workers.submit("first", Later(lambda: (blocked.set(), release.wait(60), b"")[2], writes=True), lambda _: None)
    assert blocked.wait(60)
    for _ in range(4):
        workers.submit("a", work("a"), finish)
    workers.submit("b", work("b"), finish)
    workers.submit("c", work("c"), finish)
    release.set()
    for _ in range(6):
        assert done.acquire(timeout=60)
    assert order.index("b") < 4
    assert order.index("c") < 5
    assert Counter(order) == {"a": 4, "b": 1, "c": 1}


def test_stopped_workers_accept_no_more_work(workers: Workers) -> None:
    workers.stop()
    assert not workers.submit("a", Later(lambda: b"", writes=False), lambda _: None)
