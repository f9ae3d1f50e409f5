"""Where pools are kept: the contract, and how a store is opened.

mongo/          in MongoDB
sqlite.py       in one SQLite file
sqlite_file.py  the file: transactions, and what people do to files
turns.py        whose turn it is to write the file
settling.py     the decision about one change, the same in every store
rows.py         what a store reads, a pool at a time
archive.py      the file that `afpools backup` writes
"""

from __future__ import annotations

import datetime as dt
import re
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

from ..pools.changes import Change
from ..pools.history import Entry, Step
from ..pools.pool import Contents
from .archive import Record
from .rows import Key, Piece, Row


class StoreUnavailable(Exception):
    """The store did not answer. Nothing is known about a write that was in progress.

    The message says which store, without its password, and what to look at.
    """


class RestoreUnfinished(StoreUnavailable):
    """A restore is in progress, or was interrupted. Which one is not known."""


class Irreconcilable(Exception):
    """A backup holds what this kind of store cannot. The message says what."""


class Sign(NamedTuple):
    """What `PoolStore.watch` has found.

    Args:
        changed: there may be something new. False: everything is as it was at the last sign.
        asked: when the store was asked, as `time.monotonic` counts: whatever was acknowledged before, by whichever
            broker, counts in.
        keys: what may have changed; None where that may be anything. With each key stands the last change of it: what
            was read as made by that very change, has it already. Empty where the change is not known.
    """

    changed: bool
    asked: float
    keys: Mapping[Key, str] | None = None


class Lease(NamedTuple):
    """Which broker keeps the fences of running jobs.

    Args:
        holder: whoever has it; empty for nobody.
        token: grows each time that it is taken again, also by the same holder after it had run out. What one holder was
            about to do under an earlier token must not be done any more.
        beat: grows each time that it is taken or renewed.
    """

    holder: str
    token: int
    beat: int


class PoolStore(Protocol):
    """Keeps pools, hosts registered by hand, history, and the last known list of renders.

    Every method may be called from any thread, and returns or raises within the store's configured timeout
    (`watch` excepted, which is a stream). Every method may raise `StoreUnavailable`.
    """

    kind: str
    """`mongodb` or `sqlite`."""

    def load(self) -> Contents:
        """Everything reads are answered from."""

    def scan(self) -> Iterator[Piece]:
        """The same as rows, in pieces; each is read within the timeout, however much there is.

        What is changed meanwhile may be in it or not, and a pool that is made meanwhile as well.
        """

    def read(self, keys: Collection[Key], names: Collection[str] = ()) -> dict[Key, Row]:
        """What is there now under these keys, and the pools that have these names now."""

    def apply(self, change: Change) -> Entry:
        """Applies one change, durably, and records it.

        The same change (same `key`) applied twice, by whichever broker, is applied once and returns the same entry.
        Two changes of one pool at the same moment are applied one after the other.

        Raises:
            RequestRefused: what `Change.apply` and `Change.recall` raise, `pool_exists` for a name that is taken, and
                `too_large` for a pool that the store cannot hold.
            PlanOutdated: what `Change.apply` raises; the change was not made.
        """

    def record(self, entry: Entry) -> Entry:
        """Adds a line to history, durably, about something that changed no pool.

        Returns:
            The line that there is of this request (same `key`), by whichever broker: an earlier one where there is one.
        """

    def history(self, *, pool: str | None = None, limit: int = 50, before: str | None = None) -> list[Entry]:
        """The newest entries first, those that changed nothing left out.

        Args:
            pool: only entries of the pool that had this name before or after the change.
            limit: at most this many.
            before: only entries older than the one with this id.
        """

    def entry(self, entry_id: str) -> Entry | None:
        """The entry of this id; None if there is none, or where it changed nothing."""

    def trail(self, *, since: str, limit: int) -> list[Step]:
        """The newest `limit` entries, newest first, from the one with the id `since` on, without their hosts."""

    def watch(self, stop: threading.Event) -> Iterator[Sign]:
        """Tells when something may have changed, whoever changed it and however.

        Yields a change of anything at once, and a change whenever there may be something new; otherwise at least every
        two seconds that the store has confirmed what there was. Its silence is no such sign. Ends within a second once
        `stop` is set.
        """

    def ping(self) -> float:
        """Asks the store for a sign of life, and returns how many seconds it took."""

    def probe(self) -> float:
        """Writes something of no account, as durably as a change, and returns how many seconds it took: proof that
        changes can be written. Neither history nor `watch` tells of it."""

    def save_farm(self, data: bytes, seen: dt.datetime) -> None:
        """Keeps the last known list of renders (`data`, up to 16 MB, is the farm client's own) and when it was true,
        to the millisecond. A list older than the kept one is ignored."""

    def load_farm(self) -> tuple[bytes, dt.datetime] | None:
        """What `save_farm` kept last, None where nothing was."""

    def take_lease(self, holder: str, instead_of: int | None = None) -> Lease:
        """Takes the lease where nobody has it, or renews it where `holder` has it.

        No clock counts here: those of two machines differ, and a replica set's jumps when another member is elected.

        Args:
            holder: a name that no other process has.
            instead_of: the beat that has stood for so long, by the caller's own clock, that the lease has run out. If
                it still stands, `holder` takes the lease, with a new token.

        Returns:
            The lease as it stands now, whoever has it. Renewed, it counts from before the call.
        """

    def give_up_lease(self, holder: str) -> None:
        """Lets another take the lease at once, where `holder` has it."""

    def export(self) -> Iterator[Record]:
        """Everything, as it is at one moment, for a backup. Others may change what they like meanwhile."""

    def restore(self, records: Iterable[Record], *, writes_end: float) -> None:
        """Puts `records` in the place of everything there is.

        It happens at one moment, or not at all; where the store cannot do that, a restore that was not finished is
        recognised: `load` and `apply` raise `RestoreUnfinished` until it was begun again and finished.

        Args:
            records: what `export` gave, of whatever kind of store. Ends with an exception where that is not complete.
            writes_end: seconds within which a change that a broker has begun is made or given up.

        Raises:
            Irreconcilable: the records are not what this kind of store can hold. Nothing was changed.
        """

    def close(self) -> None:
        """Lets go of connections and files. Nothing may be called after it."""


def open_store(uri: str, *, timeout: float = 1.5, poll_seconds: float = 1.0) -> PoolStore:
    """The store at an address. Nothing is read or connected to before it is first used, so that a broker starts
    while its store is unreachable.

    Args:
        uri: `sqlite:///relative/path`, `sqlite:////absolute/path`, `mongodb://…` or `mongodb+srv://…`.
        timeout: seconds that any call may take.
        poll_seconds: how often a MongoDB that has no change streams is looked at.

    Raises:
        ValueError: `uri` is none of these. The message says what is wrong with it, without the password.
    """
    scheme, separator, rest = uri.partition("://")
    # Each store is imported when it is asked for: whoever uses SQLite needs no driver for MongoDB.
    if separator and scheme == "sqlite":
        if not rest.startswith("/") or rest in ("/", "/:memory:"):
            raise ValueError(
                f"{uri!r} names no file. Write sqlite:////srv/afpools/pools.db for a full path, "
                "sqlite:///pools.db for one that is relative."
            )
        from .sqlite import SqliteStore

        return SqliteStore(Path(rest[1:]), timeout=timeout)
    if separator and scheme in ("mongodb", "mongodb+srv"):
        from .mongo import MongoStore

        return MongoStore(uri, timeout=timeout, poll_seconds=poll_seconds)
    raise ValueError(
        f"{redacted(uri)!r} is not a database's address. It begins with sqlite:///, mongodb:// or mongodb+srv://."
    )


def redacted(uri: str) -> str:
    """A store's address as messages and logs may show it: without its passwords."""
    scheme, separator, rest = uri.partition("://")
    # Up to the last @: a password with an @ in it is a mistake, and must not be shown for it.
    credential, at, host = rest.rpartition("@")
    if at:
        user, colon, _password = credential.partition(":")
        rest = f"{user}{colon and ':***'}@{host}"
    rest = re.sub(r"(?i)\b(tlsCertificateKeyFilePassword|authMechanismProperties)=[^&]*", r"\1=***", rest)
    return f"{scheme}{separator}{rest}"
