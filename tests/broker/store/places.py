"""Places where a store can be, and shorthand for operations on it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from afpools_broker.operations import OPERATIONS, Write
from afpools_broker.picture.snapshot import SnapshotKeeper
from afpools_broker.pools.changes import Change, Deed, Swap
from afpools_broker.pools.mirror import mirror_change
from afpools_broker.pools.pool import Pool
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
