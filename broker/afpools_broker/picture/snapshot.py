"""The picture of pools and farm that reads are answered from, and the thread that keeps it true.

Strategy: a `Snapshot` never changes; a new one replaces it in one assignment, so that a reader needs no lock, and no
reader ever waits for the store. Pools are read by `following`, which sees to it that an older picture never replaces a
newer one. What is costly to derive (the farm's spelling of each pool, masks) lives in `Fences`, which outlives a
snapshot as long as neither the pools nor the names and versions on the farm change: renders go busy and free every
second, and masks do not care.
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
        fences: what follows from both.
    """

    contents: Contents
    farm: Farm | None
    fences: Fences

    @classmethod
    def of(
        cls, contents: Contents, farm: Farm | None, last: Snapshot | None, *, by_hand: bool, names: Names = "auto"
    ) -> Snapshot:
        """A snapshot that keeps what can be kept of the last one.

        Args:
            contents: what the store held.
            farm: the renders, None for a farm never seen.
            last: the snapshot before.
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
        # Of a farm that is kept by hand, no version is known: what the callers accept is what they know of it.
        engines = ANY_ENGINE
        if farm is not None and not by_hand:
            if last is not None and _same_renders(farm, last.farm):
                engines = last.fences.engines
            else:
                engines = engines_of(farm.renders)
        # Sets are compared name by name, also a set with itself.
        if last is not None and (hosts is last.fences.farm or hosts == last.fences.farm):
            # The same names, kept once; and what follows from them, where it follows from the same pools.
            hosts = last.fences.farm
            if contents is last.contents and (engines, names) == (last.fences.engines, last.fences.names):
                return cls(contents, farm, last.fences)
        return cls(contents, farm, Fences(contents, hosts, engines, names, last.fences if last else None))

    def pool(self, name: str) -> Pool:
        """The pool of that name.

        Raises:
            RequestRefused: `unknown_pool`.
        """
        try:
            return self.contents.pools[name]
        except KeyError:
            raise unknown_pool(name, self.contents.pools) from None

    @property
    def listing(self) -> Listing:
        """The list of pools, with nothing said about renders."""
        return self.fences.listing

    @property
    def tally(self) -> Tally | None:
        """How many hosts of each pool are renders, and online, made now if need be. None if there is no list of
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
    """Whether these are the same renders: where nothing has changed, a newer `Farm` holds the last one's tuple."""
    return farm is last or (farm is not None and last is not None and farm.renders is last.renders)


class SnapshotKeeper:
    """Holds the current snapshot, and makes a new one whenever the store or the farm has something new.

    Args:
        store: where pools are kept; closed by its owner, not here.
        by_hand: there is no afserver: the hosts registered by hand are the farm.
        names: whether renders here cut their names, as `Spelling`.
    """

    # After the store went away, try again this often; well within the second that a change may take to be seen.
    _RETRY_SECONDS = 0.5

    # How often all that is kept is taken out of garbage collection, at most.
    _SET_ASIDE_SECONDS = 3600.0

    def __init__(self, store: PoolStore, *, by_hand: bool, names: Names = "auto") -> None:
        self._store = store
        self._by_hand = by_hand
        self._names: Names = names
        self._following = Following(store, self._see_pools)
        self._lock = threading.Lock()  # never held while the store is asked
        self._stop = threading.Event()
        self._loaded = threading.Event()
        self._snapshot: Snapshot | None = None
        self._farm: Farm | None = None
        self._confirmed = float("-inf")
        self._closed = ""
        self._set_aside_next = float("-inf")
        self.trouble = "The database has not answered yet."
        """Why the store is not there; empty while it is."""
        self._thread = threading.Thread(target=self._run, name="afpools-snapshot", daemon=True)

    def start(self, *, wait: float) -> None:
        """Begins to follow the store, and waits at most `wait` seconds for the first picture of it."""
        self._thread.start()
        self._loaded.wait(wait)

    def refuse_writes(self, why: str) -> None:
        """Makes no change any more; those in progress are finished."""
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
        """How far the first reading of the store has come, a sentence; empty when there is nothing to say."""
        return self._following.progress

    @property
    def is_loaded(self) -> bool:
        """Whether there is a snapshot."""
        return self._snapshot is not None

    def reload(self, pools: Collection[str]) -> Snapshot:
        """A snapshot with the pools of these names as they are in the store now.

        Raises:
            StoreUnavailable: it does not answer.
        """
        self._following.read(pools)
        return self.current

    @property
    def age(self) -> float:
        """Seconds since the store was last asked, and has confirmed the current snapshot; below two while it does."""
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
            # The store looks at one pool; what else there is, is known here.
            raise unknown_pool(change.pool, self.current.contents.pools) from None
        except StoreUnavailable as error:
            raise RequestRefused(
                Code.STORE_UNAVAILABLE,
                f"Whether the change was made is not known: {error} Sending it again with the same request_id is safe.",
            ) from None
        try:
            # Even for a change that the store recalls as made before: it may have been undone since.
            self._following.read({change.pool, entry.pool, *(entry.diff.name or ())})
        except Exception as error:
            # The change is safe in the store, and that is what is answered; the watch will bring it.
            log.warning("Could not read back a change: %s", error, exc_info=not isinstance(error, StoreUnavailable))
        return entry

    def see_farm(self, farm: Farm) -> None:
        """Takes in a new list of renders."""
        with self._lock:
            self._farm = farm
            if self._snapshot is not None:
                self._show(self._snapshot.contents)

    def set_names(self, names: Names) -> None:
        """Changes whether renders are taken to cut their names."""
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
        # Made now, or the listener's thread would have to. What nobody has asked for yet is made by a worker.
        if snapshot.farm is not None:
            _ = snapshot.farm.online
        if snapshot.fences.counted:
            _ = snapshot.tally
        self._snapshot = snapshot

    def _set_aside(self) -> None:
        """Takes what has been read out of garbage collection; rarely, since a slow store may be read whole often."""
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
                # Not even a defect may end the only thread that keeps the picture true: say so, and go on.
                trouble = str(error)
                if not isinstance(error, StoreUnavailable):
                    log.exception("Following the database failed")
                    trouble = "The broker failed to read the database; its log says why."
                elif trouble != said:
                    log.error("%s", trouble)
                self.trouble = said = trouble
            self._stop.wait(self._RETRY_SECONDS)
