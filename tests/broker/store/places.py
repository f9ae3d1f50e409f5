"""Places where a store can be, and shorthand for operations on it."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import strategies as st

from afpools_broker.operations import OPERATIONS, Write
from afpools_broker.picture.snapshot import SnapshotKeeper
from afpools_broker.pools.changes import Change, Deed, PlanOutdated, Swap
from afpools_broker.pools.history import Entry
from afpools_broker.pools.lookalikes import lookalike
from afpools_broker.pools.mirror import mirror_change
from afpools_broker.pools.pool import Pool
from afpools_broker.protocol import Code, RequestRefused
from afpools_broker.store import PoolStore, open_store

# Long enough for a busy machine: other tests check how soon a store gives up.
PATIENT = 20.0


@dataclass
class Place:
    """Somewhere to keep pools, at first empty.

    Args:
        kind: what is there.
        uri: its address.
        seconds_to_see: how soon a change by others must be visible.
    """

    kind: str
    uri: str
    seconds_to_see: float
    _opened: ExitStack = field(default_factory=ExitStack)

    def open(self, *, timeout: float = PATIENT) -> PoolStore:
        """A separate store object, as another broker would have; closed with the place."""
        store = open_store(self.uri, timeout=timeout, poll_seconds=1.0)
        self._opened.callback(store.close)
        return store

    def close(self) -> None:
        """Closes every store that was opened here."""
        self._opened.close()


@contextmanager
def opened(place: Place) -> Iterator[Place]:
    """Yields `place`, and closes everything that was opened there at the end."""
    try:
        yield place
    finally:
        place.close()


@contextmanager
def following(store: PoolStore) -> Iterator[SnapshotKeeper]:
    """A broker's picture of a store, until the context ends."""
    keeper = SnapshotKeeper(store, by_hand=False)
    keeper.start(wait=PATIENT)
    try:
        yield keeper
    finally:
        keeper.stop(wait=PATIENT)


def wait_until(reached: Callable[[], bool], seconds: float = 60.0) -> None:
    """Waits for a condition; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def change(op: str, pool: str = "", *hosts: str, by: str = "anna", request: str | None = None, **more: Any) -> Change:
    """A change with a new request id, unless one is given; `more` are parameters of the operation."""
    params = {"pool": pool, "hosts": list(hosts), **more, "request_id": request or secrets.token_hex(8)}
    operation = OPERATIONS[op]
    wanted = {name: params[name] for name in operation.__struct_fields__ if name in params}
    # Names are not checked when they are set here, so a store can be given what no client may send.
    asked = operation(**{name: "x" if name in ("pool", "new_name") else wanted[name] for name in wanted})
    for name in wanted:
        setattr(asked, name, wanted[name])
    assert isinstance(asked, Write)
    return asked.change(by)


def create(pool: str, *hosts: str, **more: Any) -> Change:
    """`pools.create`"""
    return change("pools.create", pool, *hosts, **more)


def add(pool: str, *hosts: str, **more: Any) -> Change:
    """`pools.add_hosts`"""
    return change("pools.add_hosts", pool, *hosts, **more)


def remove(pool: str, *hosts: str, **more: Any) -> Change:
    """`pools.remove_hosts`"""
    return change("pools.remove_hosts", pool, *hosts, **more)


def rename(pool: str, new_name: str, **more: Any) -> Change:
    """`pools.rename`"""
    return change("pools.rename", pool, new_name=new_name, **more)


def delete(pool: str, **more: Any) -> Change:
    """`pools.delete`"""
    return change("pools.delete", pool, **more)


def register(*hosts: str, **more: Any) -> Change:
    """`hosts.register`"""
    return change("hosts.register", "", *hosts, **more)


def mirroring(pool: Pool, *hosts: str, by: str = "broker one") -> Change:
    """What a broker does to a pool that follows one of Afanasy's: it gets these hosts."""
    return mirror_change(pool, hosts, who=by)


def undo(entry: str, before: Pool | None, after: Pool | None, **more: Any) -> Change:
    """`history.undo` of the entry of this id, planned: it makes `after` of `before`; None is not a pool."""
    named = before or after
    assert named is not None
    return planned(entry, named.name, Swap(before.revision if before else "", after), **more)


def planned(entry: str, pool: str, deed: Deed, *, by: str = "anna", request: str | None = None) -> Change:
    """`history.undo` of the entry of this id, which does this to a pool."""
    asked = change("history.undo", entry=entry, by=by, request=request)
    return replace(asked, pool=pool, deed=deed, undoes=entry)


KINDS = ("sqlite", "mongomock", "mongod", "replica_set")

REAL = ("sqlite", "mongod", "replica_set")

MakePlace = Callable[[], Place]

on_all = pytest.mark.parametrize("kind", KINDS)

# mongomock cannot show races and timing.
on_real = pytest.mark.parametrize("kind", REAL)


def refusal(store: PoolStore, asked: Change) -> Code:
    with pytest.raises(RequestRefused) as caught:
        store.apply(asked)
    return caught.value.code


def at_once(*calls: Callable[[], object]) -> list[object]:
    """What each call returned or raised, all started at the same moment."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], object]) -> object:
        barrier.wait()
        try:
            return call()
        except RequestRefused as refused:
            return refused.code
        except PlanOutdated:
            return PlanOutdated

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(run, calls))


def replayed(oldest_first: list[Entry]) -> dict[str, Pool]:
    """The pools according to history; also checks that each change begins where the last one ended."""
    pools = {"": Pool("")}
    for entry in oldest_first:
        old_name, new_name = entry.diff.name or (entry.pool, entry.pool)
        pool = pools.pop(old_name) if entry.before else Pool("")
        assert not entry.before or pool.revision == entry.before
        pool = replace(
            pool,
            name=new_name,
            hosts=(*(host for host in pool.hosts if host not in entry.diff.removed), *entry.diff.added),
            description=entry.diff.description[1] if entry.diff.description else pool.description,
            colour=entry.diff.colour[1] if entry.diff.colour else pool.colour,
            follows=entry.diff.follows[1] if entry.diff.follows else pool.follows,
            spill=entry.diff.spill[1] if entry.diff.spill else pool.spill,
        )
        if entry.after:
            assert pool.revision == entry.after
            assert len(pool.hosts) == entry.hosts
            pools[new_name] = pool
    return pools


NAMES = st.sampled_from(["fx", "gpu", "night"])
_hosts = st.lists(st.sampled_from(["a", "b", "c", "A", "pc-1"]), unique=True, max_size=4).map(tuple)

_texts = st.none() | st.sampled_from(["", "x", "y"])

_paths = st.sampled_from(["/", "/local/farm"])

CHANGES = st.one_of(
    st.builds(lambda n, p: change("pools.follow", n, path=p), NAMES, _paths),
    st.builds(lambda n: change("pools.unfollow", n), NAMES),
    st.builds(lambda n, h, d: create(n, *h, description=d or ""), NAMES, _hosts, _texts),
    st.builds(lambda n, h: add(n, *h), NAMES, _hosts),
    st.builds(lambda n, h: remove(n, *h), NAMES, _hosts),
    st.builds(rename, NAMES, NAMES),
    st.builds(delete, NAMES),
    st.builds(lambda n, d: change("pools.update", n, description=d), NAMES, _texts),
    st.builds(lambda n, to: change("pools.update", n, spill_to=to, spill_after=60), NAMES, st.just("") | NAMES),
    st.builds(lambda h: register(*h), _hosts),
    st.builds(lambda h: change("hosts.forget", "", *h), _hosts),
)


def model(pools: dict[str, Pool], asked: Change) -> Code | None:
    """A model of what any store has to do; the registered hosts are the pool without a name."""
    try:
        after = asked.apply(pools.get(asked.pool))
    except RequestRefused as refused:
        return refused.code
    if after is not None and after.name != asked.pool and lookalike(after.name, pools.keys() - {asked.pool, ""}):
        return Code.POOL_EXISTS
    pools.pop(asked.pool, None)
    if after is not None:
        pools[after.name] = after
    return None


class Refused:
    """The conflict of an outdated plan."""

    def becomes(self, present: Pool | None) -> Pool | None:
        raise RequestRefused(Code.CONFLICT, "It was undone already.")

    def takes_hosts(self, present: Pool | None) -> bool:
        return False
