"""An SQLite file that others may have open, too: transactions, turns to write, and what people do to files.

Strategy: SQLite's own transactions do the work. Every call is one transaction on one connection, which the threads of
this process take in turns; SQLite's locks keep other processes apart. Write-ahead logging lets readers continue while
somebody writes, and `synchronous=FULL` makes an acknowledged change survive a power cut.

After every change the log is written into the main file and emptied, so that a copy of the main file has everything,
and no old log is left to corrupt a file that is put in its place. This adds a few milliseconds to a change.

People copy, move and delete files while a broker has them open, which SQLite does not expect. If the main file was
written other than by a commit that SQLite knows of, all connections are closed and the present file is opened afresh.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from . import StoreUnavailable
from .turns import turn

SCHEMA_VERSION = 4
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

# Since version 2, changes of pools are counted, by brokers and people alike: SQLite itself only counts commits, most of
# which are for the list of renders or a probe. Since version 3, the count is also kept with each name. Since version 4,
# a pool may have settings beside its hosts: a JSON object.
_COUNTS = (
    "CREATE TABLE counts (name TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID",
    "INSERT INTO counts (name, count) VALUES ('pools', 0), ('probes', 0)",
)


def _trigger(event: str, *touched: str) -> str:
    """The trigger that counts one kind of statement; `touched` are the names in it."""
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

_SETTINGS = ("ALTER TABLE pools ADD COLUMN settings TEXT NOT NULL DEFAULT '{}'",)
_OLD_TRIGGERS = tuple(f"DROP TRIGGER pools_{event}" for event in ("insert", "update", "delete"))
_UPGRADES = {
    0: (*_SCHEMA.split(";"), *_SETTINGS, *_COUNTS, *_TOUCHED),
    1: (*_SETTINGS, *_COUNTS, *_TOUCHED),
    2: (*_SETTINGS, *_OLD_TRIGGERS, *_TOUCHED),
    3: _SETTINGS,
}

_making_a_file = threading.Lock()

# Device and inode of a file, to tell whether it is still the same one.
_Identity = tuple[int, int]

RESTORE = "Move it away, and restore a backup with `afpools restore`"

# SQLite's primary result codes, and what to do about them.
_ADVICE = {
    sqlite3.SQLITE_BUSY: "another process holds its lock. Try again; if this persists, check what has it open",
    sqlite3.SQLITE_LOCKED: "another process holds its lock. Try again; if this persists, check what has it open",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened. Check that its folder exists and that this user may write there",
    sqlite3.SQLITE_READONLY: "it cannot be written. Check that this user may write the file and its folder",
    sqlite3.SQLITE_PERM: "it cannot be written. Check that this user may write the file and its folder",
    sqlite3.SQLITE_NOTADB: "it is not an SQLite database. Name another file in [store] uri, or restore this one",
    sqlite3.SQLITE_CORRUPT: f"it is damaged. {RESTORE}",
    sqlite3.SQLITE_FULL: "the disk is full. Make room on it",
    sqlite3.SQLITE_IOERR: "the disk does not read or write it. See the system's log",
}


class SqliteFile:
    """An SQLite file with the tables of pools. Arguments as for `SqliteStore`."""

    def __init__(self, path: Path, *, timeout: float = 1.5) -> None:
        self._path = path
        self._timeout = timeout
        self._lock = threading.Lock()
        self._opened: _Opened | None = None
        self._identity: _Identity | None = None
        self._files = threading.Lock()  # guards everything below
        self._all_opened: set[_Opened] = set()
        self._suspect = ""  # why the files are not what SQLite expects: everyone who has them open must close them
        self._written = (0, 0)  # size and time of the last known write to the main file
        self._log_has_commits = False

    def close(self) -> None:
        with self._lock:
            if self._opened is not None:
                self._let_go(self._opened)
                self._opened = None

    @contextmanager
    def _transaction(self, *, write: bool = False) -> Iterator[sqlite3.Connection]:
        """One transaction: committed at the end, rolled back if anything is raised."""
        deadline = time.monotonic() + self._timeout
        if not self._lock.acquire(timeout=self._timeout):
            raise StoreUnavailable(
                f"The database {self._path} is busy: no turn within {self._timeout:g} s. Try again in a moment."
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
                    # IMMEDIATE takes the right to write before anything is read, so that nothing changes between read
                    # and write.
                    db.execute("BEGIN IMMEDIATE" if write else "BEGIN")
                    try:
                        yield db
                        db.execute("COMMIT")
                    except BaseException:
                        # SQLite ends the transaction by itself after some errors, such as a full disk.
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
                    f"The database {self._path} is busy: another broker or command writes there. Try again in a moment."
                )
            yield

    def _open(self) -> _Opened:
        """A new connection, which the caller must close.

        Raises:
            StoreUnavailable: the file is not the one that was opened first, or others are still closing it.
        """
        self._check_identity()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # Made here and not by SQLite, which would make it readable by everybody; its side files inherit these
        # permissions. Never opened again: closing any descriptor of a file gives up all locks that SQLite has on it. So
        # another thread's SQLite, which finds the file, must not have locked it before we have closed it.
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
            # Its first look counts as news: another connection's last look may be older than this one.
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
        """Closes the connection for changes if it must no longer be used and no caller would notice."""
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
        """Writes the log into the main file, as far as nobody is reading older pages at the moment. We must have the
        turn, so that no other thread or process of ours writes meanwhile.

        Errors here are ignored: the commits are safe in the log, and the next call tries again.
        """
        with self._files, suppress(sqlite3.Error, OSError):
            # Writes of the log into the main file by others, also at this moment, are explained by this.
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
        # The one statement for which SQLite does not wait by itself if another connection is doing the same.
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
        # In this order: both are committed together, so tables that can be seen already have their version.
        (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise StoreUnavailable(
                f"The database {self._path} was written by a newer version of Afanasy Pools (schema {version}, this "
                f"version knows {SCHEMA_VERSION}). Update this broker, or name another file in [store] uri."
            )
        if version == 0 and tables:
            raise StoreUnavailable(
                f"The database {self._path} is another program's database. Name another file in [store] uri."
            )
        return int(version)

    def _check_identity(self) -> None:
        """Checks that the file is still the one that was opened: writes to a deleted file are lost."""
        if self._identity is not None and _identity(self._path) != self._identity:
            raise StoreUnavailable(
                f"The database {self._path} was deleted or replaced while the broker was running. "
                "Put it back, or restart the broker to continue with what is there now."
            )

    def _check_files(self, opened: _Opened) -> None:
        """Checks that nobody has changed the files of a connection behind SQLite's back.

        Raises:
            StoreUnavailable: somebody has. The connection must be closed.
        """
        self._check_identity()
        with self._files:
            last_written, explained = self._written, self._log_has_commits
            self._note_files()
            # The main file is written after a commit that SQLite reports, or after one that was still in the log. A
            # commit that it reports now may be written after we looked at the file, so it also explains the next look.
            if opened.has_news():
                explained = self._log_has_commits = True
            if self._side_files() != opened.side_files:
                self._suspect = "its -wal or -shm file has been replaced"
            elif self._written != last_written and not explained:
                self._suspect = "the file was written, and SQLite does not know of it"
            if self._suspect:
                raise StoreUnavailable(self._overwritten())

    def _note_files(self) -> None:
        """Notes the state of the files, in this order: what is no longer in the log is already in the main file."""
        self._log_has_commits = self._log_size() > 0
        self._written = self._when_written()

    def _overwritten(self) -> str:
        return (
            f"The files of the database {self._path} were changed by something other than SQLite while the broker had "
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
            # The low byte is the primary code, the rest is detail; errors of the module itself have no code.
            code = getattr(error, "sqlite_errorcode", None)
            advice = _ADVICE.get(code & 0xFF) if code is not None else None
            detail = f"{advice} (SQLite: {error})" if advice else f"SQLite reports: {error}"
            raise StoreUnavailable(f"The database {self._path} is not available: {detail}.") from error
        except OSError as error:
            raise StoreUnavailable(
                f"The database {self._path} is not available: {error.strerror or error}. "
                "Check that its folder exists and that this user may write there."
            ) from error


@dataclass(eq=False)
class _Opened:
    """A connection, and the files that it has open beside the main one."""

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
