"""The picture of pools and farm that reads are answered from, and the thread that keeps it up to date.

Strategy: a `Snapshot` never changes; a new one replaces it in one assignment, so that a reader needs no lock, and no
reader ever waits for the store. Pools are read by `following`, which makes sure that an older picture never replaces a
newer one. What is costly to derive (the farm's spelling of each pool, masks) lives in `Fences`, which outlives a
snapshot as long as neither the pools nor the names and versions on the farm change: renders become busy and free every
second, and masks do not depend on that.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

from ..config import Names
from ..farm.engines import ANY_ENGINE, engines_of
from ..farm.farm import Farm
from ..memory import set_aside
from ..pools.changes import Change
from ..pools.history import Entry
from ..pools.pool import Contents, Pool, unknown_pool
from ..protocol import Code, RequestRefused
from ..store import PoolStore, StoreUnavailable
from .fences import Fences
from .following import Following
from .host_list import HostList
from .tally import Listing, Tally

log = logging.getLogger("afpools.store")


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Pools and farm at one moment.

    Args:
        contents: what the store held.
        farm: the renders, None for a farm never seen.
        fences: what is derived from both.
    """

    contents: Contents
    farm: Farm | None
    fences: Fences

    @classmethod
    def of(
        cls, contents: Contents, farm: Farm | None, last: Snapshot | None, *, by_hand: bool, names: Names = "auto"
    ) -> Snapshot:
        """A snapshot that reuses what it can of the last one.

        Args:
            contents: what the store held.
            farm: the renders, None for a farm never seen.
            last: the previous snapshot.
            by_hand: there is no afserver: the registered hosts, as they are spelled, are the farm.
            names: whether renders here cut their names, as `Spelling`.
        """
        if by_hand and last is not None and contents.registered is last.contents.registered:
            hosts = last.fences.farm
        elif by_hand:
            hosts = frozenset(contents.registered.hosts)
        elif last is not None and _same_renders(farm, last.farm):
            hosts = last.fences.farm
        else:
            hosts = frozenset(render.name for render in farm.renders) if farm else frozenset[str]()
        # For a farm that is kept by hand no version is known, so callers accept what they know that the farm can read.
        engines = ANY_ENGINE
        if farm is not None and not by_hand:
            if last is not None and _same_renders(farm, last.farm):
                engines = last.fences.engines
            else:
                engines = engines_of(farm.renders)
        # Comparing sets goes name by name, even for a set and itself.
        if last is not None and (hosts is last.fences.farm or hosts == last.fences.farm):
            # Keeps equal names once, and what is derived from them if the pools are equal, too.
            hosts = last.fences.farm
            if contents is last.contents and (engines, names) == (last.fences.engines, last.fences.names):
                return cls(contents, farm, last.fences)
        return cls(contents, farm, Fences(contents, hosts, engines, names, last.fences if last else None))

    def pool(self, name: str) -> Pool:
        """The pool with this name.

        Raises:
            RequestRefused: `unknown_pool`.
        """
        try:
            return self.contents.pools[name]
        except KeyError:
            raise unknown_pool(name, self.contents.pools) from None

    @property
    def listing(self) -> Listing:
        """The list of pools without counts of renders."""
        return self.fences.listing

    @property
    def tally(self) -> Tally | None:
        """How many hosts of each pool are renders, and online, made now if necessary. None if there is no list of
        renders."""
        return None if self.farm is None else self.fences.tally(self.farm)

    @property
    def tally_at_hand(self) -> Tally | None:
        """The same, if it has been made already."""
        return None if self.farm is None else self.fences.tally_at_hand(self.farm)

    @cached_property
    def hosts(self) -> HostList:
        """Every known host."""
        return HostList(self.contents, self.farm, self.fences)


def _same_renders(farm: Farm | None, last: Farm | None) -> bool:
    """Whether these are the same renders: if nothing has changed, a newer `Farm` has the last one's tuple."""
    return farm is last or (farm is not None and last is not None and farm.renders is last.renders)


class SnapshotKeeper:
    """Holds the current snapshot, and makes a new one whenever the store or the farm has changed.

    Args:
        store: where pools are kept; closed by its owner, not here.
        by_hand: there is no afserver: the hosts registered by hand are the farm.
        names: whether renders here cut their names, as `Spelling`.
    """

    # How often to try an unreachable store again; well within the second that a change may take to become visible.
    _RETRY_SECONDS = 0.5

    # The least number of seconds between two exclusions of everything kept from garbage collection.
    _SET_ASIDE_SECONDS = 3600.0

    def __init__(self, store: PoolStore, *, by_hand: bool, names: Names = "auto") -> None:
        self._store = store
        self._by_hand = by_hand
        self._names: Names = names
        store.known = self._known
        self._following = Following(store, self._see_pools)
        self._lock = threading.Lock()  # never held during a request to the store
        self._stop = threading.Event()
        self._loaded = threading.Event()
        self._snapshot: Snapshot | None = None
        self._farm: Farm | None = None
        self._confirmed = float("-inf")
        self._closed = ""
        self._set_aside_next = float("-inf")
        self.trouble = "The database has not answered yet."
        """Why the store is unreachable; empty while it is not."""
        self._thread = threading.Thread(target=self._run, name="afpools-snapshot", daemon=True)

    def start(self, *, wait: float) -> None:
        """Begins to follow the store, and waits at most `wait` seconds for the first picture."""
        self._thread.start()
        self._loaded.wait(wait)

    def refuse_writes(self, why: str) -> None:
        """Refuses further changes; those in progress are finished."""
        self._closed = why

    def stop(self, *, wait: float) -> None:
        """Ends the thread; waits at most `wait` seconds."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(wait)

    @property
    def current(self) -> Snapshot:
        """The newest snapshot.

        Raises:
            RequestRefused: `store_unavailable`: this broker has not seen its store since it started.
        """
        if self._snapshot is None:
            why = self.progress or self.trouble
            raise RequestRefused(
                Code.STORE_UNAVAILABLE, f"This broker does not know the pools yet: {why} Try again shortly."
            )
        return self._snapshot

    @property
    def progress(self) -> str:
        """A sentence about the progress of the first read of the store; empty if there is nothing to report."""
        return self._following.progress

    @property
    def is_loaded(self) -> bool:
        """Whether there is a snapshot."""
        return self._snapshot is not None

    def reload(self, pools: Collection[str]) -> Snapshot:
        """A snapshot in which the pools with these names are as in the store now.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        self._following.read(pools)
        return self.current

    @property
    def age(self) -> float:
        """Seconds since the last request with which the store confirmed the current snapshot; below two while it
        does."""
        return max(0.0, time.monotonic() - self._confirmed)

    def apply(self, change: Change) -> Entry:
        """Writes a change to the store, and reads that pool again, so that its author finds it at once.

        Raises:
            RequestRefused: what `PoolStore.apply` raises, and `store_unavailable`.
            PlanOutdated: what `PoolStore.apply` raises.
        """
        if why := self._closed or self.trouble:
            raise RequestRefused(Code.STORE_UNAVAILABLE, f"This broker cannot make changes now: {why}", made=False)
        try:
            entry = self._store.apply(change)
        except RequestRefused as refusal:
            if refusal.code is not Code.UNKNOWN_POOL or not change.pool:
                raise
            # The store looks at one pool only; the others are known here.
            raise unknown_pool(change.pool, self.current.contents.pools) from None
        except StoreUnavailable as error:
            raise RequestRefused(
                Code.STORE_UNAVAILABLE,
                f"Whether the change was made is not known: {error} Sending it again with the same request_id is safe.",
            ) from None
        try:
            # Even for a change that the store recognises as already made: it may have been undone since.
            self._following.read({change.pool, entry.pool, *(entry.diff.name or ())})
        except Exception as error:
            # The change is safe in the store, so the answer is success; the watch will pick it up.
            log.warning("Could not read back a change: %s", error, exc_info=not isinstance(error, StoreUnavailable))
        return entry

    def _known(self, pool: str) -> Pool | None:
        if self._snapshot is None:
            return None
        contents = self._snapshot.contents
        return contents.pools.get(pool) if pool else contents.registered

    def see_farm(self, farm: Farm) -> None:
        """Stores a new list of renders."""
        with self._lock:
            self._farm = farm
            if self._snapshot is not None:
                self._show(self._snapshot.contents)

    def set_names(self, names: Names) -> None:
        """Changes whether renders are assumed to cut their names."""
        with self._lock:
            self._names = names
            if self._snapshot is not None:
                self._show(self._snapshot.contents)

    def _see_pools(self, contents: Contents) -> None:
        with self._lock:
            if self._snapshot is None or contents.problems != self._snapshot.contents.problems:
                for problem in contents.problems:
                    log.warning("%s", problem)
            self._show(contents)

    def _show(self, contents: Contents) -> None:
        snapshot = Snapshot.of(contents, self._farm, self._snapshot, by_hand=self._by_hand, names=self._names)
        # Made now, or the listener's thread would have to do it. What nobody has asked for yet is made by a worker.
        if snapshot.farm is not None:
            _ = snapshot.farm.online
        if snapshot.fences.counted:
            _ = snapshot.tally
        self._snapshot = snapshot

    def _set_aside(self) -> None:
        """Excludes what has been read from garbage collection; rarely, since a slow store may often be read as a
        whole."""
        if self._snapshot is not None and time.monotonic() >= self._set_aside_next:
            self._set_aside_next = time.monotonic() + self._SET_ASIDE_SECONDS
            set_aside()

    def _run(self) -> None:
        said = ""
        while not self._stop.is_set():
            try:
                for sign in self._store.watch(self._stop):
                    if sign.changed and sign.keys is None:
                        self._following.read_all(self._stop)
                        self._set_aside()
                    elif sign.keys:
                        self._following.read_changed(sign.keys)
                    if self._stop.is_set():
                        return
                    self._confirmed = sign.asked
                    if said:
                        log.info("The database (%s) answers again.", self._store.kind)
                        said = ""
                    self.trouble = ""
                    self._loaded.set()
            except Exception as error:
                # Not even a bug may end the only thread that keeps the picture up to date: log it and continue.
                trouble = str(error)
                if not isinstance(error, StoreUnavailable):
                    log.exception("Following the database failed")
                    trouble = "The broker failed to read the database; its log says why."
                elif trouble != said:
                    log.error("%s", trouble)
                self.trouble = said = trouble
            self._stop.wait(self._RETRY_SECONDS)
