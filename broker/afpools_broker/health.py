"""Is everything behind this broker well? Answers `health`, in words for people and numbers for monitoring."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from . import __version__, protocol
from .credentials import Credentials
from .farm import FarmWatch
from .protocol import RequestRefused
from .service import Statistics
from .snapshot import SnapshotKeeper
from .store import PoolStore, StoreUnavailable

WARN_BEFORE_EXPIRY = dt.timedelta(days=30)

# Renders come and go within seconds; a list older than this is worth a word.
_FARM_IS_OLD = 60.0

# A report must be there well before its reader's deadline, the store's own timeout notwithstanding.
_PING_SECONDS = 0.5


class Health:
    """Puts the report together.

    Args:
        name: this broker's own.
        store: asked for a sign of life at each report.
        keeper: knows since when the store is away.
        credentials: know what expires.
        statistics: what was asked and answered.
        farm: None where the studio keeps its list of hosts by hand.
        clock: seconds, increasing.
    """

    def __init__(
        self,
        *,
        name: str,
        store: PoolStore,
        keeper: SnapshotKeeper,
        credentials: Credentials,
        statistics: Statistics,
        farm: FarmWatch | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._store = store
        self._keeper = keeper
        self._credentials = credentials
        self._statistics = statistics
        self._farm = farm
        self._clock = clock
        self._started = clock()
        self._pings = ThreadPoolExecutor(1, thread_name_prefix="afpools-ping")
        self._pending: Future[float] | None = None

    def stop(self) -> None:
        """Ends the thread that asks the store, once a question under way has ended; does not wait for it."""
        self._pings.shutdown(wait=False, cancel_futures=True)

    def farm_age(self) -> float | None:
        """Seconds since the list of renders was true; None for a farm never seen or not asked for."""
        if self._farm is None or self._farm.farm is None:
            return None
        return self._farm.farm.age(dt.datetime.now(dt.UTC))

    def report(self) -> protocol.HealthResult:
        """Everything at once, within a second even where the store does not answer."""
        store = self._store_health()
        farm = self._farm_health()
        expiring = self._credentials.expiring(WARN_BEFORE_EXPIRY)
        problems = list(store.problems)
        if farm.error:
            problems.append(farm.error)
        if farm.age is not None and farm.age > _FARM_IS_OLD:
            problems.append(f"The list of renders is {farm.age:.0f} seconds old.")
        problems += self._credentials.problems
        problems += [
            f"The {credential.kind} credential of {credential.name!r} "
            + ("has expired." if credential.days_left < 0 else f"expires in {credential.days_left} days.")
            for credential in expiring
        ]
        statistics = self._statistics
        return protocol.HealthResult(
            status="degraded" if problems else "healthy",
            problems=problems,
            broker=self._name,
            version=__version__,
            uptime=round(self._clock() - self._started, 1),
            pools=self._pools(),
            store=store,
            farm=farm,
            credentials=expiring,
            connections=dict(statistics.connections),
            requests=dict(statistics.requests),
            errors=statistics.errors_now(),
            refused_connections=statistics.refused_connections,
        )

    def _ping(self) -> float:
        """Seconds that the store took to answer.

        Raises:
            TimeoutError: it takes too long; one question stays under way, and the next report waits for the same.
            StoreUnavailable: it is away.
        """
        if self._pending is None or self._pending.done():
            self._pending = self._pings.submit(self._store.ping)
        return self._pending.result(_PING_SECONDS)

    def _pools(self) -> int:
        try:
            return len(self._keeper.current.contents.pools)
        except RequestRefused:
            return 0

    def _store_health(self) -> protocol.StoreHealth:
        problems = []
        latency = None
        trouble = self._keeper.trouble
        try:
            if not trouble:
                latency = round(self._ping() * 1000, 2)
        except TimeoutError:
            problems.append(f"The store ({self._store.kind}) did not answer within {_PING_SECONDS:g} seconds.")
        except StoreUnavailable as error:
            problems.append(str(error))
        if trouble and trouble not in problems:
            problems.append(trouble)
        try:
            problems += self._keeper.current.contents.problems
            age = round(self._keeper.age, 1)
        except RequestRefused:
            age = -1.0
        return protocol.StoreHealth(
            kind=self._store.kind,
            reachable=latency is not None,
            latency_ms=latency,
            snapshot_age=age,
            problems=problems,
        )

    def _farm_health(self) -> protocol.FarmHealth:
        age = self.farm_age()
        return protocol.FarmHealth(
            source="registered" if self._farm is None else "afserver",
            server="" if self._farm is None else self._farm.server,
            reachable=self._farm is not None and not self._farm.error,
            age=None if age is None else round(age, 1),
            renders=len(self._farm.farm.renders) if self._farm and self._farm.farm else 0,
            error="" if self._farm is None else self._farm.error,
        )
