"""Keeps what the pages show up to date.

Strategy: one thread asks the broker and replaces one immutable `View`. Each page's stream remembers the view that it
last sent, and sends the difference to the newest: there are no queues that could grow, and a page that was slow or
asleep simply skips the views in between. Unchanged parts stay the same objects.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from afpools import AfpoolsError, Client, HostSummary, Job, PoolSummary
from afpools.pool_menu import pool_machines
from afpools_broker.protocol import DESCRIPTION_CHARACTERS, NATIVE_PATH_CHARACTERS, POOL_NAME_CHARACTERS

from ..hosts import STALE, is_farm_known
from .jobs import NO_JOBS, OPERATION, Jobs, JobsStatus, JobsView, pause_after
from .usage import Counts, Usage, count

log = logging.getLogger("afpools.manager")

# Seconds. A change made elsewhere reaches the broker within two seconds, and this program one second later.
_PAUSE = 1.0
_HEALTH_PAUSE = 5.0
# If the farm is so large that an answer takes long, the broker is asked less often.
_PAUSE_FOR_EACH_SECOND_ASKED = 4.0


_DEFECT = "The Pool Manager cannot use the broker's answer; its terminal says more."


class PoolRow(NamedTuple):
    """A pool as its row shows it.

    `machines` says in words how many of its hosts are renders and online; `renders` is the number of renders, None if
    that is not known. If `is_known` is false, it is not known which are online, and the last numbers mean nothing.
    `follows` is the one of Afanasy's own pools whose renders it has; empty if people choose its hosts.
    """

    name: str
    hosts: int
    revision: str
    description: str
    colour: str
    online: int
    busy: int
    free: int
    machines: str = ""
    renders: int | None = None
    is_known: bool = False
    follows: str = ""
    spill_to: str = ""
    spill_after: int = 0


@dataclass(frozen=True)
class Limits:
    """How many characters a text may have, so that a page takes no more: a pool's name, its description, and a path of
    Afanasy's own pools. The broker checks them."""

    pool: int = POOL_NAME_CHARACTERS
    description: int = DESCRIPTION_CHARACTERS
    native_path: int = NATIVE_PATH_CHARACTERS


@dataclass(frozen=True)
class Status:
    """The state of our connection with the broker.

    Args:
        reachable: whether it answered the last time; if not, what is shown is old.
        error: why not.
        since: when it stopped answering, in seconds since 1970.
        broker: its name.
        name: whom our credential was made for.
        role: what the broker lets us do.
        operations: the operations that it lets us use.
        store_age: whole seconds since the database confirmed the pools, if that is long enough to mention, else 0.
        farm_age: the same for the renders.
        farm_known: whether afserver has recently confirmed its renders.
        problems: the broker's own sentences.
        limits: how long texts may be.
    """

    reachable: bool = False
    error: str = ""
    since: float = 0.0
    broker: str = ""
    name: str = ""
    role: str = ""
    operations: tuple[str, ...] = ()
    store_age: int = 0
    farm_age: int = 0
    farm_known: bool = False
    problems: tuple[str, ...] = ()
    limits: Limits = Limits()


@dataclass(frozen=True)
class View:
    """Everything that pages show without a request, at one moment."""

    pools: Mapping[str, PoolRow] = field(default_factory=dict)
    hosts: Mapping[str, HostSummary] = field(default_factory=dict)
    status: Status = Status()
    jobs: Mapping[str, Job] = field(default_factory=lambda: NO_JOBS)
    jobs_status: JobsStatus = field(default_factory=JobsStatus)


def difference(shown: View | None, now: View) -> dict[str, Any]:
    """The difference between two views: rows that are new or changed, names of rows that are gone, the status if it
    changed. From None, everything."""
    before = shown or View()
    found: dict[str, Any] = {"whole": shown is None}
    parts: tuple[tuple[str, Mapping[str, Any], Mapping[str, Any]], ...] = (
        ("pools", before.pools, now.pools),
        ("hosts", before.hosts, now.hosts),
        ("jobs", before.jobs, now.jobs),
    )
    for name, old, new in parts:
        if old is new and shown is not None:
            continue
        found[name] = [row for key, row in new.items() if old.get(key) != row]
        found[f"{name}_gone"] = [key for key in old if key not in new]
    if shown is None or before.status != now.status:
        found["status"] = now.status
    if shown is None or before.jobs_status != now.jobs_status:
        found["jobs_status"] = now.jobs_status._asdict()
    return found


class Live:
    """The thread that asks the broker.

    Args:
        client: used by this thread only, so that no click waits for it.
        usage: gets a sample of what the hosts do.
    """

    def __init__(self, client: Client, usage: Usage) -> None:
        self._client = client
        self._usage = usage
        self._jobs = Jobs(client)
        self._view = View(status=Status(name=client.profile.name, role=client.profile.role, error="Connecting"))
        self._pools: tuple[PoolSummary, ...] = ()
        self._revision: str | None = None
        self._problems: tuple[str, ...] = ()
        self._health_due = 0.0
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._watchers: set[Callable[[], None]] = set()
        # Reentrant: a signal handler may call `stop` while the main thread holds it.
        self._watchers_lock = threading.RLock()
        self._thread = threading.Thread(target=self._run, name="afpools-live", daemon=True)

    @property
    def view(self) -> View:
        """The newest view."""
        return self._view

    @property
    def stopped(self) -> bool:
        """Whether there will be no newer view."""
        return self._stop.is_set()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread after the current request, and notifies the watchers. Does not wait."""
        self._stop.set()
        self._wake.set()
        self.tell()

    def look_now(self) -> None:
        """Asks the broker at once, because this program has changed something."""
        self._wake.set()

    @contextmanager
    def watching(self, watcher: Callable[[], None]) -> Iterator[None]:
        """Calls `watcher`, from any thread, whenever there is a newer view, or another reason to check."""
        with self._watchers_lock:
            self._watchers.add(watcher)
        try:
            yield
        finally:
            with self._watchers_lock:
                self._watchers.discard(watcher)

    def tell(self) -> None:
        """Calls all watchers."""
        with self._watchers_lock:
            watchers = tuple(self._watchers)
        for watcher in watchers:
            watcher()

    def _run(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            self._wake.clear()
            try:
                view = self._look()
            except Exception:  # a bug, but without this thread an old state would look current
                log.exception("The broker's answer could not be used")
                status = self._view.status
                since = status.since or time.time()
                view = replace(self._view, status=replace(status, reachable=False, error=_DEFECT, since=since))
            if view != self._view:
                self._view = view
                self.tell()
            took = time.monotonic() - began
            pause = pause_after(took, _PAUSE_FOR_EACH_SECOND_ASKED) if view.status.reachable else _PAUSE
            self._wake.wait(max(_PAUSE, pause))
        self._client.close()

    def _look(self) -> View:
        last = self._view
        try:
            return self._ask()
        except AfpoolsError as error:
            since = last.status.since
            if last.status.reachable or not since:
                log.warning("%s", error)
                since = time.time()
            self._health_due = 0.0
            return replace(last, status=replace(last.status, reachable=False, error=str(error), since=since))

    def _ask(self) -> View:
        last = self._view
        status = last.status
        if not status.reachable:
            # It may be another broker, or our role may have changed.
            hello = self._client.hello()
            status = Status(broker=hello.broker, name=hello.name, role=hello.role, operations=hello.operations)
            self._revision = None
        listed = self._client.list_pools(if_revision=self._revision)
        if not listed.unchanged:
            self._pools, self._revision = listed.pools, listed.revision
        known = self._client.list_hosts()
        jobs = self._jobs.ask(JobsView(last.jobs, last.jobs_status), offered=OPERATION in status.operations)
        if time.monotonic() >= self._health_due:
            self._problems = tuple(str(problem) for problem in self._client.health().get("problems", ()))
            self._health_due = time.monotonic() + _HEALTH_PAUSE
        counts = count(known.hosts)
        pools = {pool.name: _row(pool, counts.get(pool.name, Counts(0, 0, 0))) for pool in self._pools}
        self._usage.note(time.time(), {name: Counts(row.online, row.busy, row.free) for name, row in pools.items()})
        hosts = {host.name: host for host in known.hosts}
        return View(
            pools=last.pools if pools == last.pools else pools,
            hosts=last.hosts if hosts == last.hosts else hosts,
            status=replace(
                status,
                reachable=True,
                error="",
                since=0.0,
                store_age=round(known.age) if known.age > STALE else 0,
                farm_known=is_farm_known(known),
                farm_age=round(known.farm_age or 0.0) if known.farm_is_stale else 0,
                problems=self._problems,
            ),
            jobs=jobs.jobs,
            jobs_status=jobs.status,
        )


def _row(pool: PoolSummary, counts: Counts) -> PoolRow:
    known = pool.online is not None
    machines = "not known" if pool.hosts and pool.renders is None else pool_machines(pool)
    texts = (pool.name, pool.hosts, pool.revision, pool.description, pool.colour)
    more = (pool.follows, pool.spill_to, pool.spill_after)
    return PoolRow(*texts, *counts, machines, pool.renders, known, *more)
