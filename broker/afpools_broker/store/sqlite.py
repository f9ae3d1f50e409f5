"""Pools in one SQLite file: the embedded store, for a newcomer or a small studio.

Strategy: SQLite's own transactions do the work. Every call is one transaction of one connection, which the threads of
this process take in turns; other processes are kept apart by SQLite's locks. Write-ahead logging lets readers go on
while somebody writes, `synchronous=FULL` makes an acknowledged change survive a power cut.

After every change the log is written into the main file and emptied, so that a copy of the main file has everything,
and no old log is left to spoil a file that is put in its place. This costs a change a few milliseconds.

People copy, move and delete files while a broker has them open, which SQLite does not expect. Whenever the main file
was written, and not by a commit that SQLite knows of, all connections are closed and what is there is opened again.
"""

from __future__ import annotations

import datetime as dt
import errno
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
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
from .turns import turn

log = logging.getLogger("afpools.store")

SCHEMA_VERSION = 3
"""Kept in the file as `PRAGMA user_version`; 0 is a file that SQLite has just made."""

_SCHEMA = """
CREATE TABLE pools (
    name TEXT PRIMARY KEY,  -- the hosts registered by hand are the pool whose name is empty
    hosts TEXT NOT NULL,  -- a JSON array of names, in the order of entry
    description TEXT NOT NULL,
    colour TEXT NOT NULL
);
CREATE TABLE history (
    id TEXT PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    changed INTEGER NOT NULL,
    entry TEXT NOT NULL  -- JSON
);
CREATE TABLE history_names (
    name TEXT NOT NULL,
    id TEXT NOT NULL REFERENCES history (id),
    PRIMARY KEY (name, id)
) WITHOUT ROWID;
CREATE TABLE farm (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    data BLOB NOT NULL,
    seen INTEGER NOT NULL  -- milliseconds since 1970
);
"""

_LEASE = (
    "CREATE TABLE IF NOT EXISTS lease "
    "(only INTEGER PRIMARY KEY CHECK (only = 1), holder TEXT NOT NULL, token INTEGER NOT NULL, until REAL NOT NULL)"
)

# Since version 2, whoever writes pools is counted, brokers and people alike: SQLite itself only counts commits, and
# most of those are the list of renders, or a probe. Since version 3, the count is also kept with each name.
_COUNTS = (
    "CREATE TABLE counts (name TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID",
    "INSERT INTO counts (name, count) VALUES ('pools', 0), ('probes', 0)",
)


def _trigger(event: str, *touched: str) -> str:
    """What counts one kind of statement; `touched` are the names in it."""
    note = (
        "INSERT INTO touched SELECT {}, count FROM counts WHERE name = 'pools' "
        "ON CONFLICT (name) DO UPDATE SET count = excluded.count; "
    )
    return "".join(
        (
            f"CREATE TRIGGER pools_{event.lower()} AFTER {event} ON pools BEGIN ",
            "UPDATE counts SET count = count + 1 WHERE name = 'pools'; ",
            *map(note.format, touched),
            "END",
        )
    )


_TOUCHED = (
    "CREATE TABLE touched (name TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE INDEX touched_count ON touched (count)",
    _trigger("INSERT", "NEW.name"),
    _trigger("UPDATE", "OLD.name", "NEW.name"),
    _trigger("DELETE", "OLD.name"),
)
_OLD_TRIGGERS = tuple(f"DROP TRIGGER pools_{event}" for event in ("insert", "update", "delete"))
_UPGRADES = {0: (*_SCHEMA.split(";"), *_COUNTS, *_TOUCHED), 1: (*_COUNTS, *_TOUCHED), 2: (*_OLD_TRIGGERS, *_TOUCHED)}

# As many pools are read at a time. Ten thousand hosts in each are a second.
_AT_A_TIME = 200

# Two a second: a change of another process is promised to be seen within two seconds, and looking costs microseconds.
_WATCH_SECONDS = 0.5

_making_a_file = threading.Lock()

T = TypeVar("T", Entry, Step)

# Where a file is, to tell whether it is still the same one.
_Identity = tuple[int, int]

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

_RESTORE = "Move it away, and restore a backup with `afpools restore`"

# SQLite's primary result codes, and what to do about them.
_ADVICE = {
    sqlite3.SQLITE_BUSY: "another process holds its lock. Try again; if it stays, see which program has it open",
    sqlite3.SQLITE_LOCKED: "another process holds its lock. Try again; if it stays, see which program has it open",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened. See that its folder exists and that this user may write there",
    sqlite3.SQLITE_READONLY: "it cannot be written. See that this user may write the file and its folder",
    sqlite3.SQLITE_PERM: "it cannot be written. See that this user may write the file and its folder",
    sqlite3.SQLITE_NOTADB: "it is not an SQLite database. Name another file in [store] uri, or restore this one",
    sqlite3.SQLITE_CORRUPT: f"it is damaged. {_RESTORE}",
    sqlite3.SQLITE_FULL: "the disk is full. Make room on it",
    sqlite3.SQLITE_IOERR: "the disk does not read or write it. See the system's log",
}


class SqliteStore:
    """A `PoolStore` in one file.

    Args:
        path: the file; made on first use, with its folder, readable by its owner only.
        timeout: seconds to wait for other threads and processes.
    """

    kind = "sqlite"

    def __init__(self, path: Path, *, timeout: float = 1.5) -> None:
        self._path = path
        self._timeout = timeout
        self._lock = threading.Lock()
        self._opened: _Opened | None = None
        self._identity: _Identity | None = None
        self._files = threading.Lock()  # of everything below
        self._all_opened: set[_Opened] = set()
        self._suspect = ""  # why the files are not what SQLite takes them for: whoever has them open must let go
        self._written = (0, 0)  # the main file as somebody was last seen to have written it
        self._log_has_commits = False

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
                "SELECT pools.name, hosts, description, colour, count FROM pools LEFT JOIN touched USING (name) "
                "WHERE pools.name IN (SELECT value FROM json_each(?))",
                (msgspec.json.encode(names).decode(),),
            ).fetchall()
        rows: dict[Key, Row] = {}
        for name, *rest, count in found:
            change = "" if count is None else str(count)
            try:
                rows[name] = Row(_pool(name, *rest), (), change)
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
        # A connection of its own, so that a change in progress need not be waited for.
        with self._explained():
            self._let_suspect_go()
            opened = self._open()
        try:
            with self._explained():
                (state,) = opened.db.execute("PRAGMA quick_check(1)").fetchone()
            if state != "ok":
                raise StoreUnavailable(f"The store {self._path} is damaged ({state}). {_RESTORE}.")
            count = -1
            while not stop.is_set():
                asked, last = time.monotonic(), count
                keys: dict[Key, str] = {}
                with self._explained():
                    self._check_files(opened)
                    (count,) = opened.db.execute("SELECT count FROM counts WHERE name = 'pools'").fetchone()
                    if count != last:
                        # Whatever came in between has a greater count, and is found once more at the next turn.
                        touched = opened.db.execute("SELECT name, count FROM touched WHERE count > ?", (last,))
                        keys = {name: str(its) for name, its in touched}
                    # Whoever has the turn empties it as well.
                    with turn(self._path.parent, 0) as ours:
                        if ours:
                            self._empty_log(opened.db)
                # A count that is smaller than before is another file's.
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
        # A connection of its own: where the file is locked, only this one waits, and nobody behind it.
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

    def take_lease(self, holder: str, seconds: float) -> Lease:
        now = time.time()
        with self._transaction(write=True) as db:
            # Made when it is first needed: no other version of a broker minds a table that it does not know.
            db.execute(_LEASE)
            row = db.execute("SELECT holder, token, until FROM lease").fetchone()
            has, token, until = row or ("", 0, 0.0)
            # One that ends later than it may was taken under a clock that has been set back since.
            if not now < until <= now + 2 * seconds:
                has, token = holder, token + 1
            if has == holder:
                db.execute("INSERT OR REPLACE INTO lease VALUES (1, ?, ?, ?)", (holder, token, now + seconds))
        return Lease(has, token)

    def give_up_lease(self, holder: str) -> None:
        with self._transaction(write=True) as db:
            db.execute(_LEASE)
            db.execute("UPDATE lease SET until = 0 WHERE holder = ?", (holder,))

    def export(self) -> Iterator[Record]:
        with self._transaction() as db:
            for name, *rest in db.execute("SELECT name, hosts, description, colour FROM pools ORDER BY name"):
                try:
                    pool = _pool(name, *rest)
                except msgspec.MsgspecError as error:
                    raise self._unreadable(name, error) from None
                yield PoolRecord(name=pool.name, hosts=pool.hosts, description=pool.description, colour=pool.colour)
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
                self._insert_pool(db, Pool(record.name, record.hosts, record.description, record.colour))
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

    def close(self) -> None:
        with self._lock:
            if self._opened is not None:
                self._let_go(self._opened)
                self._opened = None

    # --- rows -----------------------------------------------------------------------------------------------------

    def _read(self, db: sqlite3.Connection, name: str) -> Pool | None:
        row = db.execute("SELECT name, hosts, description, colour FROM pools WHERE name = ?", (name,)).fetchone()
        if row is None:
            return None if name else Pool("")
        try:
            return _pool(*row)
        except msgspec.MsgspecError as error:
            raise self._unreadable(name, error) from None

    def _unreadable(self, name: str, error: msgspec.MsgspecError) -> StoreUnavailable:
        return StoreUnavailable(
            f"The pool {name!r} in {self._path} cannot be read: {error}. Restore a backup, or fix or delete that row."
        )

    def _insert_pool(self, db: sqlite3.Connection, pool: Pool) -> None:
        db.execute(
            "INSERT INTO pools (name, hosts, description, colour) VALUES (?, ?, ?, ?)",
            (pool.name, msgspec.json.encode(pool.hosts).decode(), pool.description, pool.colour),
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

    # --- the file -------------------------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self, *, write: bool = False) -> Iterator[sqlite3.Connection]:
        """One transaction: committed at the end, taken back when anything is raised."""
        deadline = time.monotonic() + self._timeout
        if not self._lock.acquire(timeout=self._timeout):
            raise StoreUnavailable(
                f"The store {self._path} is busy: no turn within {self._timeout:g} s. Try again in a moment."
            )
        try:
            with self._explained():
                if self._opened is None:
                    self._opened = self._open()
                try:
                    self._check_files(self._opened)
                except StoreUnavailable:
                    self._let_go(self._opened)
                    self._opened = None
                    raise
                db = self._opened.db
                with self._turn_to_write(deadline) if write else nullcontext():
                    wait = max(0.0, deadline - time.monotonic())
                    db.execute(f"PRAGMA busy_timeout = {int(wait * 1000)}")
                    # IMMEDIATE takes the right to write before anything is read: what was read is what is changed.
                    db.execute("BEGIN IMMEDIATE" if write else "BEGIN")
                    try:
                        yield db
                        db.execute("COMMIT")
                    except BaseException:
                        # SQLite has ended the transaction by itself after some errors, a full disk among them.
                        if db.in_transaction:
                            db.execute("ROLLBACK")
                        raise
                    if write:
                        self._empty_log(db)
        finally:
            self._lock.release()

    @contextmanager
    def _turn_to_write(self, deadline: float) -> Iterator[None]:
        """
        Raises:
            StoreUnavailable: others wrote until the deadline.
        """
        with turn(self._path.parent, max(0.0, deadline - time.monotonic())) as ours:
            if not ours:
                raise StoreUnavailable(
                    f"The store {self._path} is busy: another broker or command writes there. Try again in a moment."
                )
            yield

    def _open(self) -> _Opened:
        """A connection of its own, to be let go by whoever asked for it.

        Raises:
            StoreUnavailable: the file is not the one that was opened first, or is still being let go by others.
        """
        self._check_identity()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # Made here and not by SQLite, which would let everybody read it; its side files take over these permissions.
        # Never opened once it is there: closing any descriptor of a file gives up all locks that SQLite has on it.
        # Another thread's SQLite, which finds it, must not have locked it before we have closed it.
        try:
            with _making_a_file:
                os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            if self._path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)) from None
        with self._files:
            if self._suspect and self._all_opened:
                raise StoreUnavailable(self._overwritten())
        db = sqlite3.connect(self._path, timeout=self._timeout, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(db)
            # Its first look counts as news: what another connection saw last may be older than this one.
            opened = _Opened(db, self._side_files())
            with self._files:
                if self._identity is None:
                    self._identity = _identity(self._path)
                if not self._all_opened:
                    self._suspect = ""
                    self._note_files()
                self._all_opened.add(opened)
        except BaseException:
            db.close()
            raise
        return opened

    def _let_suspect_go(self) -> None:
        """Lets the connection for changes go, where it must not be used any more and nobody comes to notice."""
        if self._suspect and self._lock.acquire(timeout=self._timeout):
            try:
                if self._opened is not None:
                    self._let_go(self._opened)
                    self._opened = None
            finally:
                self._lock.release()

    def _let_go(self, opened: _Opened) -> None:
        with self._files:
            opened.db.close()
            self._all_opened.discard(opened)

    def _empty_log(self, db: sqlite3.Connection) -> None:
        """Writes what is in the log into the main file, as far as nobody reads older pages at the moment. It must be
        our turn: nothing of ours is written meanwhile.

        The commits are safe in the log, and the next one who passes tries again: no trouble here is anybody's.
        """
        with self._files, suppress(sqlite3.Error, OSError):
            # Whoever else writes what is in the log into the main file, also at this moment: it is explained by this.
            self._log_has_commits = True
            if self._log_size() > 0:
                db.execute("PRAGMA busy_timeout = 0")
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                db.execute(f"PRAGMA busy_timeout = {int(self._timeout * 1000)}")
                self._note_files()

    def _prepare(self, db: sqlite3.Connection) -> None:
        self._check_version(db)
        self._write_ahead(db)
        db.execute("PRAGMA synchronous = FULL")
        if self._check_version(db) != SCHEMA_VERSION:
            with self._turn_to_write(time.monotonic() + self._timeout):
                db.execute("BEGIN IMMEDIATE")
                # Another process may have made the tables while this one waited for its turn.
                version = self._check_version(db)
                if version != SCHEMA_VERSION:
                    for statement in _UPGRADES[version]:
                        db.execute(statement)
                    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
                db.execute("COMMIT")

    def _write_ahead(self, db: sqlite3.Connection) -> None:
        # The one statement for which SQLite does not wait by itself when somebody else, doing the same, is in the way.
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                db.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                    raise
                time.sleep(0.01)
            else:
                return

    def _check_version(self, db: sqlite3.Connection) -> int:
        """The version of the file's tables, 0 for a file without any."""
        # In this order: both are committed together, so tables that are seen have their version by now.
        (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise StoreUnavailable(
                f"The store {self._path} was written by a newer version of Afanasy Pools (schema {version}, this "
                f"version knows {SCHEMA_VERSION}). Update this broker, or name another file in [store] uri."
            )
        if version == 0 and tables:
            raise StoreUnavailable(
                f"The store {self._path} is another program's database. Name another file in [store] uri."
            )
        return int(version)

    def _check_identity(self) -> None:
        """Sees that the file is still the one that was opened: what is written to one that was deleted is lost."""
        if self._identity is not None and _identity(self._path) != self._identity:
            raise StoreUnavailable(
                f"The store {self._path} was deleted or replaced while the broker was running. "
                "Put it back, or restart the broker to continue with what is there now."
            )

    def _check_files(self, opened: _Opened) -> None:
        """Sees that nobody has done anything to the files of a connection behind SQLite's back.

        Raises:
            StoreUnavailable: somebody has. The connection must be let go.
        """
        self._check_identity()
        with self._files:
            last_written, explained = self._written, self._log_has_commits
            self._note_files()
            # The main file is written after a commit that SQLite tells of, or after one that was still in the log. What
            # it tells of now may be written after the file was looked at: it explains the next look as well.
            if opened.has_news():
                explained = self._log_has_commits = True
            if self._side_files() != opened.side_files:
                self._suspect = "its -wal or -shm file is another one than before"
            elif self._written != last_written and not explained:
                self._suspect = "the file was written, and SQLite does not know of it"
            if self._suspect:
                raise StoreUnavailable(self._overwritten())

    def _note_files(self) -> None:
        """Notes how the files are, in this order: what is not in the log any more is in the main file by now."""
        self._log_has_commits = self._log_size() > 0
        self._written = self._when_written()

    def _overwritten(self) -> str:
        return (
            f"The files of the store {self._path} were changed by something other than SQLite while the broker had "
            f"them open ({self._suspect}). It opens them again. To replace what is in them, use `afpools restore`."
        )

    def _side_files(self) -> tuple[_Identity | None, ...]:
        return tuple(_identity(self._path.with_name(f"{self._path.name}-{suffix}")) for suffix in ("wal", "shm"))

    def _log_size(self) -> int:
        return self._path.with_name(f"{self._path.name}-wal").stat().st_size

    def _when_written(self) -> tuple[int, int]:
        found = self._path.stat()
        return found.st_mtime_ns, found.st_size

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turns SQLite's errors into sentences."""
        try:
            yield
        except sqlite3.Error as error:
            # The low byte is the primary code, the rest details; errors of the module itself have none.
            code = getattr(error, "sqlite_errorcode", None)
            advice = _ADVICE.get(code & 0xFF) if code is not None else None
            detail = f"{advice} (SQLite: {error})" if advice else f"SQLite says: {error}"
            raise StoreUnavailable(f"The store {self._path} is not available: {detail}.") from error
        except OSError as error:
            raise StoreUnavailable(
                f"The store {self._path} is not available: {error.strerror or error}. "
                "See that its folder exists and that this user may write there."
            ) from error


def _when(milliseconds: int) -> dt.datetime:
    return _EPOCH + dt.timedelta(milliseconds=milliseconds)


def _label(record: Record) -> str:
    match record:
        case PoolRecord():
            return f"the pool {record.name!r}"
        case EntryRecord():
            return f"the request {record.entry.key!r}"
    return "a record"


def _pool(name: str, hosts: str, description: str, colour: str) -> Pool:
    # Each name is kept once, however many pools it is in.
    return Pool(name, tuple(map(intern, msgspec.json.decode(hosts, type=tuple[str, ...]))), description, colour)


@dataclass(eq=False)
class _Opened:
    """A connection, and which files it has open beside the main one."""

    db: sqlite3.Connection
    side_files: tuple[_Identity | None, ...]
    _commits: int = -1

    def has_news(self) -> bool:
        """Whether another connection has committed anything since this was last asked."""
        last = self._commits
        (self._commits,) = self.db.execute("PRAGMA data_version").fetchone()
        return self._commits != last


def _identity(path: Path) -> _Identity | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
