"""What was asked and answered is counted, whichever thread counts it."""

from __future__ import annotations

import threading

import pytest

from afpools_broker.monitoring.statistics import BOUNDS, Statistics
from afpools_broker.protocol import Code


def test_errors_are_counted_by_operation_and_code_and_those_without_an_operation_as_unreadable() -> None:
    statistics = Statistics()
    statistics.error("mask", "TLS", Code.UNKNOWN_POOL)
    statistics.error("mask", "TLS", Code.UNKNOWN_POOL)
    statistics.error("", "TLS", Code.BAD_REQUEST)
    assert statistics.errors_now() == {"mask": {"unknown_pool": 2}, "unreadable": {"bad_request": 1}}


def test_counts_from_many_threads_are_all_counted() -> None:
    statistics = Statistics()

    def work(transport: str) -> None:
        for _ in range(2000):
            statistics.request("hello", "TLS")
            statistics.took("hello", "TLS", 0.002)
            statistics.answered("hello", transport, 60.0)
            statistics.connection("TLS", 1)
            statistics.connection("TLS", -1)
            statistics.refused("TLS", "no TLS")

    threads = [threading.Thread(target=work, args=(f"CURVE {number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (statistics.requests["hello"], statistics.connections["TLS"]) == (16000, 0)
    assert statistics.refused_connections == 8000
    assert statistics.refusals() == {("TLS", "no TLS"): 8000}
    tls, curve = statistics.timings()["hello", "TLS"], statistics.timings()["hello", "CURVE 0"]
    assert (tls.requests, tls.buckets[BOUNDS.index(0.0025)], sum(tls.buckets)) == (8000, 8000, 8000)
    assert (curve.requests, curve.buckets[-1], sum(curve.buckets)) == (2000, 2000, 2000)


def test_answers_given_at_once_and_by_workers_add_up() -> None:
    statistics = Statistics()
    statistics.request("mask", "TLS")
    statistics.took("mask", "TLS", 0.004)
    statistics.answered("mask", "TLS", 0.00001)
    timings = statistics.timings()["mask", "TLS"]
    assert (timings.requests, timings.seconds) == (2, pytest.approx(0.00401))
    assert (timings.buckets[0], timings.buckets[BOUNDS.index(0.005)], sum(timings.buckets)) == (1, 1, 2)
    assert statistics.requests == {"mask": 2}
