"""Keeps pools that follow Afanasy's own up to date with those.

Strategy: every broker does this, independently of the others. A change is based only on a list of renders that afserver
has sent after this broker knew the pool as it is, and is made only if the pool is still as it was then. So what a
broker writes is never older than what it knows of: a broker that was late, paused, or has an old list writes nothing.
One case is left, because a pool's revision is a fingerprint: others have changed the pool and changed it back, and this
broker has not read either yet. Its next list corrects what it writes then.
`pools.mirror` decides what becomes of a pool; this module decides when, and what else to ask afserver.
"""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec

from ..picture.snapshot import Snapshot, SnapshotKeeper
from ..pools.changes import PlanOutdated
from ..pools.mirror import Existence, Mirrored, branches, mirror_change, mirrored
from ..pools.persistent import persistent
from ..pools.pool import Pool
from ..protocol import RequestRefused
from .afserver import Ask, FarmError
from .farm import Farm

log = logging.getLogger("afpools.farm")

# Seconds between two checks for anything new; a check that finds nothing costs nothing.
_LOOK_SECONDS = 0.1
# A render that afserver has not listed for this many seconds counts as deleted. By then, running renders have
# registered again with a server that has lost its list.
GONE_SECONDS = 30.0
# The most seconds between two lists that count towards this: afserver may have been off, and all renders with it.
_COUNTED_SECONDS = 15.0
# At most this many pools that cannot be followed are described in full.
_SAID = 5


class _NativePool(msgspec.Struct, gc=False):
    name: str
    renders_total: int


class _NativePools(msgspec.Struct):
    pools: list[_NativePool]


_decode_pools = msgspec.json.Decoder(_NativePools, strict=False).decode


@dataclass
class _Followed:
    """A pool that follows one of Afanasy's.

    Args:
        pool: the pool as it is.
        known: when this broker learned of this state, by the clock.
        problem: why it keeps its hosts, as of the last look; otherwise empty.
        settled: what afserver listed when nothing had to be done; None if that may change with time alone.
    """

    pool: Pool
    known: float
    problem: str = ""
    settled: Mapping[str, str] | None = None


@dataclass
class _Renders:
    """What afserver lists.

    Args:
        where: the native pool of each render.
        missing: hosts of following pools that are not listed, and for how many seconds afserver has listed renders
            without them.
        asked_at: when afserver was asked, by the clock.
    """

    where: Mapping[str, str] = field(default_factory=dict)
    missing: dict[str, float] = field(default_factory=dict)
    asked_at: float = float("-inf")


class NativeMirror:
    """Keeps the pools that follow Afanasy's own up to date.

    Args:
        ask: sends one request to afserver; raises `FarmError`.
        keeper: provides the pools and the farm, and makes the changes.
        name: this broker's name.
        clock: seconds, increasing.
        now: the time, with its zone.
    """

    def __init__(
        self,
        ask: Ask,
        keeper: SnapshotKeeper,
        *,
        name: str,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
    ) -> None:
        self._ask, self._keeper, self._clock, self._now = ask, keeper, clock, now
        # The name of a credential cannot contain a space, so nobody else can be called this.
        self._who = f"broker {name}"
        self._looked_at: Snapshot | None = None
        self._pools: Mapping[str, Pool] = {}
        self._followed: dict[str, _Followed] = {}
        self._farm: Farm | None = None
        self._renders = _Renders()
        self._said: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="afpools-native", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self, *, wait: float) -> None:
        """Ends the thread; waits at most `wait` seconds."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(wait)

    def problems(self, *, is_stale: bool) -> list[str]:
        """Sentences about pools that cannot be followed now. Safe to call from any thread.

        Args:
            is_stale: whether the list of renders is older than `[farm] flag_after`.
        """
        followed = list(self._followed.values())
        if followed and (is_stale or self._farm is None):
            names = [each.pool.name for each in followed]
            return [cannot_follow(names, "afserver does not say which renders are where")]
        said = [each.problem for each in followed if each.problem]
        more = len(said) - _SAID
        return said[:_SAID] + ([f"{more:,} more pools cannot be followed either."] if more > 0 else [])

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_SECONDS):
            try:
                self.look()
            except Exception:
                # Not even a bug may end the only thread that follows.
                log.exception("Following Afanasy's own pools failed")

    def look(self) -> None:
        """Looks once, and updates the pools that can be updated."""
        try:
            snapshot = self._keeper.current
        except RequestRefused:
            return
        if snapshot is self._looked_at:
            return
        self._looked_at = snapshot
        self._see_pools(snapshot.contents.pools)
        if not self._followed or snapshot.farm is None:
            return
        asked_at = self._clock() - snapshot.farm.age(self._now())
        self._see_farm(snapshot.farm, asked_at)
        where = self._renders.where
        due = [each for each in self._followed.values() if each.known < asked_at and each.settled is not where]
        if not due:
            return
        existing = self._existing(due)
        for each in due:
            self._bring_up_to_date(each, existing)
        self._say()

    def _see_pools(self, pools: Mapping[str, Pool]) -> None:
        changed, self._pools = persistent(pools).differing(self._pools), pools
        now = self._clock()
        for name in changed:
            pool, last = pools.get(name), self._followed.get(name)
            if pool is None or not pool.follows:
                self._followed.pop(name, None)
            elif last is None or last.pool is not pool:
                # Equal revisions do not mean that nothing happened: it may have been changed, and changed back.
                self._followed[name] = _Followed(pool, now, last.problem if last else "")

    def _see_farm(self, farm: Farm, asked_at: float) -> None:
        if self._farm is None or farm.renders is not self._farm.renders:
            where = {render.name: render.native_pool for render in farm.renders}
            # Renders begin and end tasks every second, and are seldom moved.
            self._renders.where = self._renders.where if where == self._renders.where else where
        self._farm = farm
        last, passed = self._renders.missing, min(max(0.0, asked_at - self._renders.asked_at), _COUNTED_SECONDS)
        self._renders.asked_at = asked_at
        self._renders.missing = {
            host: last[host] + passed if host in last else 0.0
            for each in self._followed.values()
            for host in each.pool.hosts
            if host not in self._renders.where
        }

    def _existing(self, due: list[_Followed]) -> Mapping[str, int] | None:
        """How many renders each of Afanasy's pools has, requested only if one of these pools has none in the list; None
        if afserver does not answer."""
        there = set(branches(filter(None, set(self._renders.where.values()))))
        if all(each.pool.follows in there for each in due):
            return {}
        try:
            found = _decode_pools(self._ask({"get": {"type": "pools"}})).pools
        except (FarmError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return {pool.name: pool.renders_total for pool in found}

    def _bring_up_to_date(self, each: _Followed, existing: Mapping[str, int] | None) -> None:
        path = each.pool.follows
        if existing is None or existing.get(path, 0) > 0:
            # The pool has renders that the list did not have yet; the next list will.
            existence = Existence.UNKNOWN
        else:
            existence = Existence.THERE if path in existing else Existence.GONE
        deleted = {host for host, seconds in self._renders.missing.items() if seconds >= GONE_SECONDS}
        outcome = mirrored(each.pool, self._renders.where, existence, deleted)
        each.problem = outcome.problem
        if set(outcome.hosts) != set(each.pool.hosts):
            self._write(each, outcome)
        elif not outcome.problem and self._renders.missing.keys().isdisjoint(each.pool.hosts):
            each.settled = self._renders.where

    def _write(self, each: _Followed, outcome: Mirrored) -> None:
        # Whatever comes of this, the next change needs a newer list.
        each.known = self._clock()
        try:
            entry = self._keeper.apply(mirror_change(each.pool, outcome.hosts, who=self._who))
        except PlanOutdated:
            return  # somebody else was quicker; the result is compared with the next list
        except RequestRefused as refusal:
            each.problem = f"The pool {each.pool.name!r} cannot follow Afanasy's now: {refusal.message}"
            return
        joined, left = len(entry.diff.added), len(entry.diff.removed)
        log.info("pool %r followed %s: %d joined, %d left", entry.pool, each.pool.follows, joined, left)

    def _say(self) -> None:
        """Logs a problem when it begins, not each time."""
        problems = {each.problem for each in self._followed.values() if each.problem}
        for problem in sorted(problems - self._said):
            log.warning("%s", problem)
        self._said = problems


def cannot_follow(pools: list[str], why: str) -> str:
    """A sentence about pools that cannot be followed, all for the same reason."""
    names = ", ".join(map(repr, sorted(pools)[:_SAID])) + (f" and {len(pools) - _SAID:,} more" * (len(pools) > _SAID))
    if len(pools) == 1:
        return f"The pool {names} cannot follow Afanasy's pool now and keeps the hosts that it has: {why}."
    return f"The pools {names} cannot follow Afanasy's pools now and keep the hosts that they have: {why}."
