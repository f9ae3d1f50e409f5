"""Is everything behind this broker well? Answers `health`, in words for people and numbers for monitoring."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from .. import __version__, protocol
from ..credentials.live import Credentials
from ..farm.farm import FarmWatch
from ..farm.native_mirror import NativeMirror, cannot_follow
from ..farm.system_job import SystemJobKeeper
from ..live.keeper import FenceKeeper
from ..picture.snapshot import SnapshotKeeper
from ..pools.lookalikes import groups, spelled_out
from ..protocol import RequestRefused
from ..store import PoolStore, StoreUnavailable
from .statistics import Statistics

WARN_BEFORE_EXPIRY = dt.timedelta(days=30)

# A report is read by people: it names at most this many pools of one kind, and counts the rest.
_NAMED_POOLS = 10

# A report must be ready well before its reader's deadline, whatever the store's own timeout.
_ANSWER_SECONDS = 0.5

# A client that asks for health in a loop causes at most one write in this many seconds; each is a flush on a majority's
# disks.
PROBE_SECONDS = 5.0


class _Question:
    """Sends the store one kind of request on its own thread, and not again before it has been answered.

    Args:
        ask: returns how many seconds the store took; raises `StoreUnavailable`.
        keep: how many seconds the answer stays valid.
        clock: seconds, increasing.
    """

    def __init__(self, ask: Callable[[], float], keep: float, clock: Callable[[], float]) -> None:
        self._ask = ask
        self._keep = keep
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"afpools-{ask.__name__}")
        self._lock = threading.Lock()
        self._asked = float("-inf")
        self._answer: Future[float] | None = None

    def begin(self) -> Future[float]:
        """The answer, which may be in progress."""
        with self._lock:
            if self._answer is None or (self._answer.done() and self._clock() - self._asked >= self._keep):
                self._asked = self._clock()
                self._answer = self._thread.submit(self._ask)
            return self._answer

    def stop(self) -> None:
        """Ends the thread, once a request in progress has ended; does not wait for it."""
        self._thread.shutdown(wait=False, cancel_futures=True)


class Health:
    """Assembles the report.

    Args:
        name: this broker's own.
        store: pinged for each report.
        keeper: knows since when the store is unreachable.
        credentials: know what expires.
        statistics: counts of requests and answers.
        farm: None if the studio keeps its list of hosts by hand.
        system_job: knows where post commands run; None as above.
        mirror: follows Afanasy's own pools; None as above.
        live: keeps the fences of running jobs; None if that is not enabled.
        flag_after: age in seconds from which the list of renders is old, from `[farm]`.
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
        system_job: SystemJobKeeper | None = None,
        mirror: NativeMirror | None = None,
        live: FenceKeeper | None = None,
        flag_after: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._store = store
        self._keeper = keeper
        self._credentials = credentials
        self._statistics = statistics
        self._farm = farm
        self._system_job = system_job
        self._mirror = mirror
        self._live = live
        self._flag_after = flag_after
        self._clock = clock
        self._started = clock()
        self._ping = _Question(store.ping, 0.0, clock)
        self._probe = _Question(store.probe, PROBE_SECONDS, clock)

    def stop(self) -> None:
        """Ends the threads that ask the store, once the requests in progress have ended; does not wait for it."""
        self._ping.stop()
        self._probe.stop()

    def set_flag_after(self, seconds: float) -> None:
        """Changes the age from which the list of renders is old."""
        self._flag_after = seconds

    def farm_age(self) -> float | None:
        """Seconds since the list of renders was true; None for a farm never seen or not asked for."""
        if self._farm is None or self._farm.farm is None:
            return None
        return self._farm.farm.age(dt.datetime.now(dt.UTC))

    def store_age(self) -> float | None:
        """Seconds since the database confirmed the pools; None if it never has."""
        return self._keeper.age if self._keeper.is_loaded else None

    def fences_behind(self) -> int | None:
        """How many fences of running jobs have yet to move; None if they are not kept."""
        return None if self._live is None else len(self._live.view.due)

    def expiring(self, within: dt.timedelta) -> list[protocol.ExpiringCredential]:
        """What expires soon or has expired, soonest first."""
        return self._credentials.expiring(within)

    def pools_without_living_host(self) -> int | None:
        """How many pools have hosts, but none that is online; None if that is not known."""
        age = self.farm_age()
        if age is None or age > self._flag_after or not self._keeper.is_loaded:
            return None
        tally = self._keeper.current.tally
        return None if tally is None else tally.without_online()

    @property
    def uptime(self) -> float:
        """Seconds since the broker started."""
        return self._clock() - self._started

    def report(self) -> protocol.HealthResult:
        """The whole report, within a second even if the store does not answer."""
        store = self._store_health()
        farm = self._farm_health()
        expiring = self._credentials.expiring(WARN_BEFORE_EXPIRY)
        problems = list(store.problems)
        if farm.error:
            problems.append(farm.error)
        if farm.age is not None and farm.age > self._flag_after:
            problems.append(f"The list of renders is {farm.age:.0f} seconds old.")
        if self._system_job and (system := self._system_job.state).problem:
            problems.append(system.state)
        problems += self._pools_not_followed(farm)
        live = self._live.health() if self._live else None
        if live:
            problems += live.problems
        problems += self._pools_that_look_alike()
        problems += self._pools_without_renders(farm)
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
            uptime=round(self.uptime, 1),
            pools=self._pools(),
            store=store,
            farm=farm,
            credentials=expiring,
            connections=dict(statistics.connections),
            requests=dict(statistics.requests),
            errors=statistics.errors_now(),
            refused_connections=statistics.refused_connections,
            live=live,
            authorities=self._credentials.trusted(),
        )

    def _pools(self) -> int:
        try:
            return len(self._keeper.current.contents.pools)
        except RequestRefused:
            return 0

    def _pools_that_look_alike(self) -> list[str]:
        """Such pools can no longer be made, but may have been made by hand or by an earlier version."""
        try:
            alike = groups(self._keeper.current.contents.pools)
        except RequestRefused:
            return []
        said = [
            f"The pools {' and '.join(map(spelled_out, names))} look alike, so a job may be sent to the wrong one. "
            "Rename all but one of them."
            for names in alike[:_NAMED_POOLS]
        ]
        if len(alike) > _NAMED_POOLS:
            said.append(f"There are {len(alike) - _NAMED_POOLS:,} more groups of pools that look alike.")
        return said

    def _pools_not_followed(self, farm: protocol.FarmHealth) -> list[str]:
        """Problems of pools that follow one of Afanasy's own."""
        if self._mirror is not None:
            return self._mirror.problems(is_stale=farm.age is None or farm.age > self._flag_after)
        try:
            pools = self._keeper.current.contents.pools
        except RequestRefused:
            return []
        followed = [name for name, pool in pools.items() if pool.follows]
        return [cannot_follow(followed, "this broker has no afserver")] if followed else []

    def _pools_without_renders(self, farm: protocol.FarmHealth) -> list[str]:
        """A pool whose renders are all offline is not named here, because that is normal at night. Nor is a pool with a
        registered host: registering is how a manager says that a host is not set up yet."""
        if farm.age is None or farm.age > self._flag_after:
            return []
        try:
            snapshot = self._keeper.current
        except RequestRefused:
            return []
        tally = snapshot.tally
        pools = [] if tally is None else tally.without_renders(snapshot.fences.registered)
        if not pools:
            return []
        more = f" and {len(pools) - _NAMED_POOLS:,} more" if len(pools) > _NAMED_POOLS else ""
        whose = "of the pool" if len(pools) == 1 else "of each of the pools"
        return [
            f"No host {whose} {', '.join(map(repr, pools[:_NAMED_POOLS]))}{more} is a render of this farm, so a job "
            "there waits forever. Check how its hosts are spelled, or register those that are not set up yet."
        ]

    def _store_health(self) -> protocol.StoreHealth:
        trouble = self._keeper.trouble
        problems = [self._keeper.progress or trouble] if trouble else []
        latency, written = None, None
        if not trouble:
            # Both at once, so that a store that hangs does not take twice as long.
            deadline = time.monotonic() + _ANSWER_SECONDS
            probe, ping = self._probe.begin(), self._ping.begin()
            latency = self._wait(ping, deadline, "did not answer", problems)
            written = self._wait(probe, deadline, "did not confirm a change", problems)
        try:
            problems += self._keeper.current.contents.problems
            age = round(self._keeper.age, 1)
        except RequestRefused:
            age = -1.0
        return protocol.StoreHealth(
            kind=self._store.kind,
            reachable=latency is not None,
            latency_ms=None if latency is None else round(latency * 1000, 2),
            writable=written is not None,
            snapshot_age=age,
            problems=problems,
        )

    def _wait(self, answer: Future[float], deadline: float, otherwise: str, problems: list[str]) -> float | None:
        """How many seconds the store took; otherwise None, and a problem that says why."""
        try:
            return answer.result(max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            problem = f"The database ({self._store.kind}) {otherwise} within {_ANSWER_SECONDS:g} seconds."
        except StoreUnavailable as error:
            problem = str(error)
        if problem not in problems:
            problems.append(problem)
        return None

    def _farm_health(self) -> protocol.FarmHealth:
        age = self.farm_age()
        system = None if self._system_job is None else self._system_job.state
        return protocol.FarmHealth(
            source="registered" if self._farm is None else "afserver",
            server="" if self._farm is None else self._farm.server,
            reachable=self._farm is not None and not self._farm.error,
            age=None if age is None else round(age, 1),
            renders=len(self._farm.farm.renders) if self._farm and self._farm.farm else 0,
            error="" if self._farm is None else self._farm.error,
            post_commands="" if system is None or system.pool is None else system.state,
        )
