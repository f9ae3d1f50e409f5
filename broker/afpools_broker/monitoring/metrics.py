"""A running broker in Prometheus' terms: what `/metrics` answers.

Strategy: nothing is kept here. Counters are read from `Statistics` at each scrape; what must be asked for or computed
comes from one report of `Health`, which any number of scrapes share for some seconds, so that they do not put more load
on the database than `health` may. A metric whose value is not known has no sample: zero would be a guess.
"""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from .health import PROBE_SECONDS
from .statistics import BOUNDS

if TYPE_CHECKING:
    from ..protocol import FarmHealth, HealthResult, LiveHealth, StoreHealth
    from .health import Health
    from .statistics import Statistics

# Further in the future than any credential's end.
_EVER = dt.timedelta(days=365_000)

_DAY = 86400.0


def registry_of(health: Health, statistics: Statistics) -> CollectorRegistry:
    """Everything that `/metrics` of a broker shows, `process_…` included.

    Args:
        health: the broker's.
        statistics: the broker's.
    """
    registry = CollectorRegistry()
    registry.register(BrokerCollector(health, statistics))
    ProcessCollector(registry=registry)
    return registry


class BrokerCollector(Collector):
    """Makes the broker's metrics; safe to use from any thread.

    Args:
        health: the broker's.
        statistics: the broker's.
        clock: seconds, increasing.
    """

    def __init__(self, health: Health, statistics: Statistics, clock: Callable[[], float] = time.monotonic) -> None:
        self._health = health
        self._statistics = statistics
        self._clock = clock
        self._lock = threading.Lock()
        self._reported = float("-inf")
        self._report: HealthResult | None = None
        self._without: int | None = None

    def describe(self) -> Iterable[Metric]:
        """Nothing: these names are ours alone, so the registry need not compare them."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All metrics, also those without a sample at the moment."""
        with self._lock:
            if self._report is None or self._clock() >= self._reported + PROBE_SECONDS:
                self._report = self._health.report()
                self._without = self._health.pools_without_living_host()
                # After the report, which may have waited for the database.
                self._reported = self._clock()
            report, without = self._report, self._without
        yield from self._counted()
        yield from self._about_broker(report, without)
        yield from self._about_store(report.store)
        yield from self._about_farm(report.farm)
        yield from self._about_live(report.live)
        yield self._expiries()

    def _counted(self) -> Iterator[Metric]:
        requests = CounterMetricFamily("afpools_requests", "Requests.", labels=["operation", "transport"])
        took = HistogramMetricFamily(
            "afpools_request_seconds",
            "From reading a request until its answer is ready to be sent.",
            labels=["operation", "transport"],
        )
        for key, timings in sorted(self._statistics.timings().items()):
            requests.add_metric(key, timings.requests)
            took.add_metric(key, _cumulative(timings.buckets), timings.seconds)
        errors = CounterMetricFamily(
            "afpools_errors", "Requests answered with an error.", labels=["operation", "transport", "code"]
        )
        for labels, count in sorted(self._statistics.errors().items()):
            errors.add_metric(labels, count)
        refused = CounterMetricFamily(
            "afpools_refused_connections", "Connections that were refused.", labels=["transport", "reason"]
        )
        for where, count in sorted(self._statistics.refusals().items()):
            refused.add_metric(where, count)
        connections = GaugeMetricFamily("afpools_connections", "Open connections.", labels=["transport"])
        for transport, count in sorted(self._statistics.connections.copy().items()):
            connections.add_metric([transport], count)
        yield from (requests, took, errors, refused, connections)

    def _about_broker(self, report: HealthResult, without: int | None) -> Iterator[Metric]:
        build = GaugeMetricFamily("afpools_broker_info", "Always 1.", labels=["broker", "version"])
        build.add_metric([report.broker, report.version], 1)
        yield build
        yield _gauge("afpools_uptime_seconds", "Since the broker started.", self._health.uptime)
        yield _gauge("afpools_healthy", "1 if `health` has nothing to report.", report.status == "healthy")
        yield _gauge("afpools_problems", "Sentences that `health` reports as problems.", len(report.problems))
        yield _gauge("afpools_pools", "Pools.", report.pools)
        yield _gauge(
            "afpools_pools_without_living_host",
            "Pools that have hosts, none of which is an online render; no sample if that is not known.",
            without,
        )

    def _about_store(self, store: StoreHealth) -> Iterator[Metric]:
        latency = None if store.latency_ms is None else store.latency_ms / 1000
        yield _gauge("afpools_store_reachable", "1 if the database answers.", store.reachable)
        yield _gauge("afpools_store_writable", "1 if the database confirms changes.", store.writable)
        yield _gauge("afpools_store_latency_seconds", "How long the database took to answer.", latency)
        yield _gauge(
            "afpools_store_age_seconds", "Since the database last confirmed the pools.", self._health.store_age()
        )

    def _about_farm(self, farm: FarmHealth) -> Iterator[Metric]:
        asked = farm.source == "afserver"
        yield _gauge("afpools_farm_reachable", "1 if afserver answers.", farm.reachable if asked else None)
        yield _gauge("afpools_farm_renders", "Render nodes that afserver knows.", farm.renders if asked else None)
        yield _gauge("afpools_farm_age_seconds", "Since afserver last confirmed its renders.", self._health.farm_age())

    def _about_live(self, live: LiveHealth | None) -> Iterator[Metric]:
        for name, text, value in (
            ("live_keeping", "1 if this broker keeps the fences.", live.keeping if live else None),
            ("live_jobs", "Unfinished jobs that name a pool.", live.jobs if live else None),
            ("live_jobs_spilled", "Of these, jobs that may use their second pool.", live.spilled if live else None),
            ("live_age_seconds", "Since afserver last confirmed these jobs.", live.age if live else None),
            ("fences_behind", "Fences that have yet to move.", self._health.fences_behind()),
            ("fences_behind_seconds", "How long the oldest of them has waited.", live.behind if live else None),
        ):
            yield _gauge(f"afpools_{name}", text, value)
        moved = CounterMetricFamily("afpools_fences_moved", "Fences that were moved.")
        refused = CounterMetricFamily("afpools_fences_refused", "Fences that could not be moved.")
        if live is not None:
            moved.add_metric([], live.moved)
            refused.add_metric([], live.refused)
        yield from (moved, refused)

    def _expiries(self) -> Metric:
        """Two credentials of one kind may have the same name, but two samples may not: the one that ends first counts,
        since they are sorted by that."""
        days = GaugeMetricFamily(
            "afpools_credential_expires_days", "Until a credential expires, in days.", labels=["kind", "name"]
        )
        now = dt.datetime.now(dt.UTC)
        seen = set()
        for credential in self._health.expiring(_EVER):
            labels = (credential.kind, credential.name)
            if labels not in seen:
                seen.add(labels)
                days.add_metric(labels, (credential.expires - now).total_seconds() / _DAY)
        return days


def _gauge(name: str, text: str, value: float | None) -> GaugeMetricFamily:
    gauge = GaugeMetricFamily(name, text)
    if value is not None:
        gauge.add_metric([], value)
    return gauge


def _cumulative(buckets: Iterable[int]) -> list[tuple[str, float]]:
    found, total = [], 0
    for bound, count in zip((*map(str, BOUNDS), "+Inf"), buckets, strict=True):
        total += count
        found.append((bound, float(total)))
    return found
