"""Pools in one SQLite file: the embedded store, for a newcomer or a small studio."""

from __future__ import annotations

import datetime as dt
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from sys import intern
from typing import TypeVar

import msgspec

from ..pools.changes import Change
from ..pools.history import Entry, Step
from ..pools.pool import Contents, Pool, refuse_lookalike
from . import Irreconcilable, Lease, Sign, StoreUnavailable
from .archive import DocumentRecord, EntryRecord, FarmRecord, PoolRecord, Record
from .rows import Key, Piece, Row, gathered
from .settling import names, settle, to_milliseconds
from .sqlite_file import RESTORE, SqliteFile
from .turns import turn

log = logging.getLogger("afpools.store")

_LEASE = (
    "CREATE TABLE IF NOT EXISTS keeper "
    "(only INTEGER PRIMARY KEY CHECK (only = 1), holder TEXT NOT NULL, token INTEGER NOT NULL, beat INTEGER NOT NULL)"
)

_COLUMNS = "name, hosts, description, colour, settings"


class _Settings(msgspec.Struct, frozen=True, omit_defaults=True):
    """Settings that few pools have, in the column `settings`."""

    follows: str = ""
    spill: str = ""


_NO_SETTINGS = _Settings()

# How many pools are read at a time. With ten thousand hosts in each, this takes a second.
_AT_A_TIME = 200

# While this many names are interned, no other thread can run; it takes 0.1 ms.
_INTERNED_AT_ONCE = 500

# How many of the pools written last are kept until they are read back.
_WRITTEN_KEPT = 4

# Two polls a second: a change by another process must be seen within two seconds, and a poll costs microseconds.
_WATCH_SECONDS = 0.5
T = TypeVar("T", Entry, Step)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class SqliteStore(SqliteFile):
    """A `PoolStore` in one file.

    Args:
        path: the file; made on first use, with its folder, readable by its owner only.
        timeout: seconds to wait for other threads and processes.
    """

    kind = "sqlite"

    def __init__(self, path: Path, *, timeout: float = 1.5) -> None:
        super().__init__(path, timeout=timeout)
        self.known: Callable[[str], Pool | None] = lambda _name: None
        self._last_written: dict[str, Pool] = {}

    def load(self) -> Contents:
        return gathered(self.scan())

    def scan(self) -> Iterator[Piece]:
        with self._transaction() as db:
            names = [name for (name,) in db.execute("SELECT name FROM pools ORDER BY name")]
        yield Piece({}, 0, len(names))
        for done in range(0, len(names), _AT_A_TIME):
            some = names[done : done + _AT_A_TIME]
            yield Piece(self._read_rows(some), done + len(some), len(names))

    def read(self, keys: Collection[Key], names: Collection[str] = ()) -> dict[Key, Row]:
        wanted = list({*keys, *names})
        found: dict[Key, Row] = {}
        for done in range(0, len(wanted), _AT_A_TIME):
            found |= self._read_rows(wanted[done : done + _AT_A_TIME])
        return found

    def _read_rows(self, names: Sequence[Key]) -> dict[Key, Row]:
        with self._transaction() as db:
            found = db.execute(
                "SELECT pools.name, hosts, description, colour, settings, count "
                "FROM pools LEFT JOIN touched USING (name) "
                "WHERE pools.name IN (SELECT value FROM json_each(?))",
                (msgspec.json.encode(names).decode(),),
            ).fetchall()
        rows: dict[Key, Row] = {}
        for name, *rest, count in found:
            change = "" if count is None else str(count)
            try:
                rows[name] = Row(_pool(self._last_written.get(name), name, *rest), (), change)
            except msgspec.MsgspecError as error:
                problem = (
                    f"The pool {name!r} in {self._path} cannot be read and counts as absent: {error}. "
                    "Restore a backup, or fix or delete that row."
                )
                rows[name] = Row(None, (problem,), change)
        return rows

    def apply(self, change: Change) -> Entry:
        with self._transaction(write=True) as db:
            row = db.execute("SELECT entry FROM history WHERE key = ?", (change.key,)).fetchone()
            if row is not None:
                return change.recall(self._entry(row[0]))
            current = self._read(db, change.pool)
            (newest,) = db.execute("SELECT max(id) FROM history").fetchone()
            settled = settle(change, current, follows=newest or "")
            entry, after = settled.entry, settled.after
            if settled.takes_name and after:
                others = db.execute("SELECT name FROM pools WHERE name NOT IN (?, '')", (change.pool,))
                refuse_lookalike(after.name, (name for (name,) in others))
            if entry.changed:
                db.execute("DELETE FROM pools WHERE name = ?", (change.pool,))
                if after is not None:
                    self._insert_pool(db, after)
            self._insert_entry(db, entry)
        if after is not None:
            # The author of the change reads it back.
            kept = list(self._last_written.items())[1 - _WRITTEN_KEPT :]
            self._last_written = {**dict(kept), after.name: after}
        return entry

    def record(self, entry: Entry) -> Entry:
        with self._transaction(write=True) as db:
            row = db.execute("SELECT entry FROM history WHERE key = ?", (entry.key,)).fetchone()
            if row is not None:
                return self._entry(row[0])
            self._insert_entry(db, entry)
        return entry

    def history(self, *, pool: str | None = None, limit: int = 50, before: str | None = None) -> list[Entry]:
        with self._transaction() as db:
            rows = db.execute(
                "SELECT entry FROM history WHERE changed AND (:before IS NULL OR id < :before) "
                "AND (:pool IS NULL OR id IN (SELECT id FROM history_names WHERE name = :pool)) "
                "ORDER BY id DESC LIMIT :limit",
                {"before": before, "pool": pool, "limit": limit},
            ).fetchall()
        return [self._entry(text) for (text,) in rows]

    def entry(self, entry_id: str) -> Entry | None:
        with self._transaction() as db:
            row = db.execute("SELECT entry FROM history WHERE changed AND id = ?", (entry_id,)).fetchone()
        return None if row is None else self._entry(row[0])

    def trail(self, *, since: str, limit: int) -> list[Step]:
        with self._transaction() as db:
            rows = db.execute(
                "SELECT entry FROM history WHERE changed AND id >= ? ORDER BY id DESC LIMIT ?", (since, limit)
            ).fetchall()
        return [self._decode(text, Step) for (text,) in rows]

    def watch(self, stop: threading.Event) -> Iterator[Sign]:
        # A separate connection, so that this does not wait for a change in progress.
        with self._explained():
            self._let_suspect_go()
            opened = self._open()
        try:
            with self._explained():
                (state,) = opened.db.execute("PRAGMA quick_check(1)").fetchone()
            if state != "ok":
                raise StoreUnavailable(f"The database {self._path} is damaged ({state}). {RESTORE}.")
            count = -1
            while not stop.is_set():
                asked, last = time.monotonic(), count
                keys: dict[Key, str] = {}
                with self._explained():
                    self._check_files(opened)
                    (count,) = opened.db.execute("SELECT count FROM counts WHERE name = 'pools'").fetchone()
                    if count != last:
                        # Whatever came in between has a greater count, and is found again at the next turn.
                        touched = opened.db.execute("SELECT name, count FROM touched WHERE count > ?", (last,))
                        keys = {name: str(its) for name, its in touched}
                    # Whoever has the turn also empties the log.
                    with turn(self._path.parent, 0) as ours:
                        if ours:
                            self._empty_log(opened.db)
                # A smaller count than before means another file.
                yield Sign(count != last, asked, None if last < 0 or count < last else keys)
                stop.wait(_WATCH_SECONDS)
        finally:
            self._let_go(opened)

    def ping(self) -> float:
        start = time.monotonic()
        with self._transaction() as db:
            db.execute("SELECT count(*) FROM farm").fetchone()
        return time.monotonic() - start

    def probe(self) -> float:
        start = time.monotonic()
        # A separate connection: if the file is locked, only this call waits, and no other behind it.
        with self._explained():
            opened = self._open()
            try:
                with self._turn_to_write(start + self._timeout):
                    opened.db.execute("UPDATE counts SET count = count + 1 WHERE name = 'probes'")
                    self._empty_log(opened.db)
            finally:
                self._let_go(opened)
        return time.monotonic() - start

    def save_farm(self, data: bytes, seen: dt.datetime) -> None:
        with self._transaction(write=True) as db:
            self._insert_farm(db, data, seen)

    def load_farm(self) -> tuple[bytes, dt.datetime] | None:
        with self._transaction() as db:
            row = db.execute("SELECT data, seen FROM farm").fetchone()
        return None if row is None else (row[0], _when(row[1]))

    def take_lease(self, holder: str, instead_of: int | None = None) -> Lease:
        with self._transaction(write=True) as db:
            # Made when it is first needed: other versions of the broker ignore tables that they do not know.
            db.execute(_LEASE)
            lease = Lease(*(db.execute("SELECT holder, token, beat FROM keeper").fetchone() or ("", 0, 0)))
            if not lease.holder or lease.beat == instead_of:
                lease = Lease(holder, lease.token + 1, lease.beat)
            if lease.holder == holder:
                lease = lease._replace(beat=lease.beat + 1)
                db.execute("INSERT OR REPLACE INTO keeper VALUES (1, ?, ?, ?)", lease)
        return lease

    def give_up_lease(self, holder: str) -> None:
        with self._transaction(write=True) as db:
            db.execute(_LEASE)
            db.execute("UPDATE keeper SET holder = '', beat = beat + 1 WHERE holder = ?", (holder,))

    def export(self) -> Iterator[Record]:
        with self._transaction() as db:
            for name, *rest in db.execute(f"SELECT {_COLUMNS} FROM pools ORDER BY name"):  # noqa: S608 - these
                try:
                    pool = _pool(None, name, *rest)
                except msgspec.MsgspecError as error:
                    raise self._unreadable(name, error) from None
                yield PoolRecord.of(pool)
            for (text,) in db.execute("SELECT entry FROM history ORDER BY id"):
                yield EntryRecord(entry=self._entry(text))
            for data, seen in db.execute("SELECT data, seen FROM farm"):
                yield FarmRecord(data=data, seen=_when(seen))

    def restore(self, records: Iterable[Record], *, writes_end: float) -> None:  # noqa: ARG002 - one transaction
        with self._transaction(write=True) as db:
            for table in ("history_names", "history", "pools", "farm"):
                db.execute(f"DELETE FROM {table}")  # noqa: S608 - the names are these
            for record in records:
                try:
                    self._restore(db, record)
                except sqlite3.IntegrityError as error:
                    raise Irreconcilable(
                        f"An SQLite file cannot hold this backup: {_label(record)} is in it twice ({error}). Restore "
                        "it into MongoDB, run `afpools pool repair` there, and make another backup."
                    ) from None

    def _restore(self, db: sqlite3.Connection, record: Record) -> None:
        match record:
            case PoolRecord():
                self._insert_pool(db, record.pool)
            case EntryRecord():
                self._insert_entry(db, record.entry)
            case FarmRecord():
                self._insert_farm(db, record.data, record.seen)
            case DocumentRecord():
                log.warning(
                    "A document of the collection %s could not be read when the backup was made. It is left out: only "
                    "MongoDB can hold it.",
                    record.collection,
                )

    def _read(self, db: sqlite3.Connection, name: str) -> Pool | None:
        row = db.execute(f"SELECT {_COLUMNS} FROM pools WHERE name = ?", (name,)).fetchone()  # noqa: S608 - these
        if row is None:
            return None if name else Pool("")
        try:
            return _pool(self.known(name), *row)
        except msgspec.MsgspecError as error:
            raise self._unreadable(name, error) from None

    def _unreadable(self, name: str, error: msgspec.MsgspecError) -> StoreUnavailable:
        return StoreUnavailable(
            f"The pool {name!r} in {self._path} cannot be read: {error}. Restore a backup, or fix or delete that row."
        )

    def _insert_pool(self, db: sqlite3.Connection, pool: Pool) -> None:
        db.execute(
            f"INSERT INTO pools ({_COLUMNS}) VALUES (?, ?, ?, ?, ?)",  # noqa: S608 - these
            (
                pool.name,
                _json(pool.hosts),
                pool.description,
                pool.colour,
                msgspec.json.encode(_Settings(follows=pool.follows, spill=pool.spill)).decode(),
            ),
        )

    def _insert_entry(self, db: sqlite3.Connection, entry: Entry) -> None:
        db.execute(
            "INSERT INTO history (id, key, changed, entry) VALUES (?, ?, ?, ?)",
            (entry.id, entry.key, entry.changed, msgspec.json.encode(entry).decode()),
        )
        db.executemany(
            "INSERT INTO history_names (name, id) VALUES (?, ?)", [(name, entry.id) for name in names(entry)]
        )

    def _insert_farm(self, db: sqlite3.Connection, data: bytes, seen: dt.datetime) -> None:
        db.execute(
            "INSERT INTO farm (only, data, seen) VALUES (1, ?, ?) "
            "ON CONFLICT (only) DO UPDATE SET data = excluded.data, seen = excluded.seen "
            "WHERE excluded.seen >= farm.seen",
            (data, (to_milliseconds(seen) - _EPOCH) // dt.timedelta(milliseconds=1)),
        )

    def _entry(self, text: str) -> Entry:
        return self._decode(text, Entry)

    def _decode(self, text: str, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(text, type=kind)
        except msgspec.MsgspecError as error:
            raise StoreUnavailable(f"The history in {self._path} is damaged: {error}. Restore the file.") from None


def _when(milliseconds: int) -> dt.datetime:
    return _EPOCH + dt.timedelta(milliseconds=milliseconds)


def _label(record: Record) -> str:
    match record:
        case PoolRecord():
            return f"the pool {record.name!r}"
        case EntryRecord():
            return f"the request {record.entry.key!r}"
    return "a record"


def _pool(known: Pool | None, name: str, hosts: str, description: str, colour: str, settings: str) -> Pool:
    """A row of the table `pools`.

    Args:
        known: a pool that it probably is.
        name, hosts, description, colour, settings: its columns.

    Raises:
        msgspec.MsgspecError: it is not what a broker writes.
    """
    if known is not None and hosts == _json(known.hosts):
        members = known.hosts
    else:
        interned: list[str] = []
        names = msgspec.json.decode(hosts, type=list[str])
        for done in range(0, len(names), _INTERNED_AT_ONCE):
            # Each name is stored once in memory, however many pools it is in.
            interned += map(intern, names[done : done + _INTERNED_AT_ONCE])
        members = tuple(interned)
    more = _NO_SETTINGS if settings == "{}" else msgspec.json.decode(settings, type=_Settings)
    pool = Pool(name, members, description, colour, more.follows, more.spill)
    # A known pool already has its revision.
    return known if known is not None and pool == known else pool


def _json(hosts: tuple[str, ...]) -> str:
    return msgspec.json.encode(hosts).decode()
