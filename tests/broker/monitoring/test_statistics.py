"""What was asked and answered is counted, whichever thread counts it."""

from __future__ import annotations

import threading

from afpools_broker.monitoring.statistics import Statistics
from afpools_broker.protocol import Code


def test_errors_are_counted_by_operation_and_code_and_those_without_an_operation_as_unreadable() -> None:
    statistics = Statistics()
    statistics.error("mask", Code.UNKNOWN_POOL)
    statistics.error("mask", Code.UNKNOWN_POOL)
    statistics.error("", Code.BAD_REQUEST)
    assert statistics.errors_now() == {"mask": {"unknown_pool": 2}, "unreadable": {"bad_request": 1}}


def test_counts_from_many_threads_are_all_counted() -> None:
    statistics = Statistics()

    def work() -> None:
        for _ in range(2000):
            statistics.request("hello")
            statistics.connection("TLS", 1)
            statistics.connection("TLS", -1)
            statistics.refused()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (statistics.requests["hello"], statistics.connections["TLS"]) == (8000, 0)
    assert statistics.refused_connections == 8000
