"""Where pools are kept: the contract of a store, and how one is opened.

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
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

from ..pools.changes import Change
from ..pools.history import Entry, Step
from ..pools.pool import Contents, Pool
from .archive import Record
from .rows import Key, Piece, Row


class StoreUnavailable(Exception):
    """The store did not answer. It is not known whether a write in progress was made.

    The message says which store, without its password, and what to check.
    """


class RestoreUnfinished(StoreUnavailable):
    """A restore is in progress, or was interrupted. Which of the two is not known."""


class Irreconcilable(Exception):
    """A backup contains something that this kind of store cannot hold. The message says what."""


class Sign(NamedTuple):
    """What `PoolStore.watch` yields.

    Args:
        changed: there may be something new. False: everything is as it was at the last sign.
        asked: when the store was asked, as `time.monotonic` counts: everything acknowledged before, by any broker, is
            covered.
        keys: what may have changed; None if that may be anything. Each key has the id of its last change: a row that
            was read as the result of that very change is up to date. Empty if the change is not known.
    """

    changed: bool
    asked: float
    keys: Mapping[Key, str] | None = None


class Lease(NamedTuple):
    """Which broker keeps the fences of running jobs.

    Args:
        holder: who has it; empty if nobody has.
        token: grows each time the lease is taken again, also by the same holder after it had run out. A holder must no
            longer do what it was about to do under an earlier token.
        beat: grows each time the lease is taken or renewed.
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

    known: Callable[[str], Pool | None]
    """A pool, by its name, as it was last read; None if unknown. The owner of the picture sets this: if the store finds
    that a pool is still the same, it need not read it again to change it."""

    def load(self) -> Contents:
        """Everything that reads are answered from."""

    def scan(self) -> Iterator[Piece]:
        """The same as rows, in pieces, each read within the timeout however much there is.

        Changes made meanwhile may or may not be in it, and so may pools made meanwhile.
        """

    def read(self, keys: Collection[Key], names: Collection[str] = ()) -> dict[Key, Row]:
        """The rows that these keys have now, and those of the pools that have these names now."""

    def apply(self, change: Change) -> Entry:
        """Applies one change, durably, and records it.

        The same change (same `key`) applied twice, by any broker, is applied once and returns the same entry.
        Two changes of one pool at the same moment are applied in turn.

        Raises:
            RequestRefused: what `Change.apply` and `Change.recall` raise, `pool_exists` for a name that is taken,
                `too_large` for a pool that the store cannot hold.
            PlanOutdated: what `Change.apply` raises; the change was not made.
        """

    def record(self, entry: Entry) -> Entry:
        """Durably adds an entry to history about something that changed no pool.

        Returns:
            The entry of this request (same `key`): an earlier one if any broker has recorded one.
        """

    def history(self, *, pool: str | None = None, limit: int = 50, before: str | None = None) -> list[Entry]:
        """The entries that changed something, newest first.

        Args:
            pool: only entries of the pool that had this name before or after the change.
            limit: at most this many.
            before: only entries older than the one with this id.
        """

    def entry(self, entry_id: str) -> Entry | None:
        """The entry with this id; None if there is none, or if it changed nothing."""

    def trail(self, *, since: str, limit: int) -> list[Step]:
        """The newest `limit` entries, newest first, from the one with the id `since` on, without their hosts."""

    def watch(self, stop: threading.Event) -> Iterator[Sign]:
        """Reports when something may have changed, whoever changed it and however.

        The first sign says that anything may have changed. Then there is a sign with `changed` whenever there may be
        something new, and otherwise, at least every two seconds, a sign that the store has confirmed that nothing is.
        Silence confirms nothing. Ends within a second after `stop` is set.
        """

    def ping(self) -> float:
        """Asks the store for an answer, and returns how many seconds it took."""

    def probe(self) -> float:
        """Writes something that does not matter, as durably as a change, and returns how many seconds it took: proof
        that changes can be written. Neither history nor `watch` reports it."""

    def save_farm(self, data: bytes, seen: dt.datetime) -> None:
        """Keeps the last known list of renders (`data`, at most 16 MB, in the farm client's own format) and when it was
        true, to the millisecond. A list older than the kept one is ignored."""

    def load_farm(self) -> tuple[bytes, dt.datetime] | None:
        """What `save_farm` kept last, None if it never did."""

    def take_lease(self, holder: str, instead_of: int | None = None) -> Lease:
        """Takes the lease if nobody has it, or renews it if `holder` has it.

        No clock decides this: the clocks of two machines differ, and a replica set's clock jumps when another member is
        elected.

        Args:
            holder: a name that no other process has.
            instead_of: the beat that has stood for so long, by the caller's own clock, that the lease has run out. If
                that is still the beat, `holder` takes the lease with a new token.

        Returns:
            The lease as it stands now, whoever has it. A renewed lease counts from before the call.
        """

    def give_up_lease(self, holder: str) -> None:
        """Lets another broker take the lease at once, if `holder` has it."""

    def export(self) -> Iterator[Record]:
        """Everything as it is at one moment, for a backup. Others may make changes meanwhile."""

    def restore(self, records: Iterable[Record], *, writes_end: float) -> None:
        """Replaces everything with `records`.

        It happens at one moment, or not at all. If the store cannot do that, an unfinished restore is recognised:
        `load` and `apply` raise `RestoreUnfinished` until a restore has been begun again and finished.

        Args:
            records: what `export` yielded, from any kind of store. The iterator raises if it is incomplete.
            writes_end: seconds within which a change that a broker has begun is either made or abandoned.

        Raises:
            Irreconcilable: this kind of store cannot hold the records. Nothing was changed.
        """

    def close(self) -> None:
        """Closes connections and files. Nothing may be called afterwards."""


def open_store(uri: str, *, timeout: float = 1.5, poll_seconds: float = 1.0) -> PoolStore:
    """The store at an address. Nothing is read and no connection is made before the first use, so that a broker starts
    even while its store is unreachable.

    Args:
        uri: `sqlite:///relative/path`, `sqlite:////absolute/path`, `mongodb://…` or `mongodb+srv://…`.
        timeout: seconds that any call may take.
        poll_seconds: how often a MongoDB without change streams is polled.

    Raises:
        ValueError: `uri` is none of these. The message says what is wrong with it, without the password.
    """
    scheme, separator, rest = uri.partition("://")
    # Each store is imported on demand: a site with SQLite needs no driver for MongoDB.
    if separator and scheme == "sqlite":
        if not rest.startswith("/") or rest in ("/", "/:memory:"):
            raise ValueError(
                f"{uri!r} names no file. Write sqlite:////srv/afpools/pools.db for an absolute path, "
                "sqlite:///pools.db for a relative one."
            )
        from .sqlite import SqliteStore

        return SqliteStore(Path(rest[1:]), timeout=timeout)
    if separator and scheme in ("mongodb", "mongodb+srv"):
        from .mongo import MongoStore

        return MongoStore(uri, timeout=timeout, poll_seconds=poll_seconds)
    raise ValueError(
        f"{redacted(uri)!r} is not the address of a database. Use sqlite:///, mongodb:// or mongodb+srv://."
    )


def redacted(uri: str) -> str:
    """A store's address for messages and logs, without its password."""
    scheme, separator, rest = uri.partition("://")
    # Up to the last @: a password with an unescaped @ is a mistake, but must not be shown either.
    credential, at, host = rest.rpartition("@")
    if at:
        user, colon, _password = credential.partition(":")
        rest = f"{user}{colon and ':***'}@{host}"
    rest = re.sub(r"(?i)\b(tlsCertificateKeyFilePassword|authMechanismProperties)=[^&]*", r"\1=***", rest)
    return f"{scheme}{separator}{rest}"
