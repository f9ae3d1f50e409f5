"""An SQLite file, and what people, other programs and disks do to it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from tests.broker.store.files import HOLD_LOCK, hosts, opened, process
from tests.broker.store.places import PATIENT, add, create, following, wait_until

from afpools_broker.store import StoreUnavailable
from afpools_broker.store.sqlite import SqliteStore


@pytest.mark.parametrize("call", ["load", "ping", "watch"])
def test_a_file_that_is_not_a_database_is_named(path: Path, call: str) -> None:
    path.parent.mkdir(parents=True)
    path.write_text("These are not the pools you are looking for. " * 100)
    with opened(path) as store, pytest.raises(StoreUnavailable, match="is not an SQLite database") as caught:
        next(store.watch(threading.Event())) if call == "watch" else getattr(store, call)()
    assert str(path) in str(caught.value)


def test_a_folder_in_place_of_the_file_is_named(path: Path) -> None:
    path.mkdir(parents=True)
    with opened(path) as store, pytest.raises(StoreUnavailable, match="Is a directory"):
        store.load()


def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    # Root may write everywhere, so another user has to try.
    with opened(tmp_path / "pools.db") as store:
        store.apply(create("fx"))
    for file in tmp_path.iterdir():
        file.chmod(0o444)
    tmp_path.chmod(0o555)
    # The parent folders are accessible to the owner only; from inside they do not matter.
    said = _as_nobody(tmp_path, lambda: SqliteStore(Path("pools.db"), timeout=1).load())
    assert "Check that its folder exists and that this user may write there" in said
    said = _as_nobody(tmp_path, lambda: SqliteStore(Path("new.db"), timeout=1).load())
    assert "Permission denied" in said
    tmp_path.chmod(0o755)


def _as_nobody(folder: Path, call: object) -> str:
    """The message of the error that `call` raises in `folder` as a user other than root."""
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.chdir(folder)
            if os.geteuid() == 0:
                os.setuid(65534)
            call()  # type: ignore[operator]
        except Exception as error:  # noqa: BLE001 - whatever it is, the parent says whether it was right
            os.write(send, str(error).encode())
        finally:
            os._exit(0)
    os.close(send)
    with os.fdopen(receive) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said


def test_a_file_locked_by_another_process_is_named_in_time(path: Path) -> None:
    with opened(path, timeout=0.5) as store:
        store.apply(create("fx", "a"))
        with process(HOLD_LOCK, path):
            start = time.monotonic()
            with pytest.raises(StoreUnavailable, match="another process holds its lock"):
                store.apply(add("fx", "b"))
            assert 0.4 < time.monotonic() - start < 30
            # Reads do not wait.
            assert store.load().pools["fx"].hosts == ("a",)
        store.apply(add("fx", "c"))
        assert store.load().pools["fx"].hosts == ("a", "c")


def test_a_full_disk_is_named_and_loses_nothing(path: Path) -> None:
    with opened(path) as store:
        store.apply(create("fx", "a"))
        assert store._opened is not None
        # SQLite reports the same when the disk has no room.
        (pages,) = store._opened.db.execute("PRAGMA page_count").fetchone()
        store._opened.db.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StoreUnavailable, match="the disk is full"):
            store.apply(add("fx", *(f"host-{number}" for number in range(10_000))))
        store._opened.db.execute("PRAGMA max_page_count = 1000000")
        store.apply(add("fx", "b"))
        assert store.load().pools["fx"].hosts == ("a", "b")


def test_nothing_is_written_to_a_deleted_file(path: Path) -> None:
    with opened(path) as store:
        store.apply(create("fx"))
        path.rename(path.with_suffix(".away"))
        with pytest.raises(StoreUnavailable, match="deleted or replaced"):
            store.apply(add("fx", "a"))
        with pytest.raises(StoreUnavailable, match="deleted or replaced"):
            next(store.watch(threading.Event()))
        path.with_suffix(".away").rename(path)
        store.apply(add("fx", "a"))


def test_a_replaced_file_is_noticed_and_the_old_picture_ages(path: Path) -> None:
    with opened(path) as store:
        store.apply(create("fx", "a"))
        with opened(path.with_name("other.db")) as other:
            other.apply(create("gx"))
        with following(store) as keeper:
            path.with_name("other.db").replace(path)
            replaced = time.monotonic()
            wait_until(lambda: "deleted or replaced" in keeper.trouble)
            assert keeper._confirmed <= replaced
            for call in (store.load, store.probe, lambda: store.apply(create("hx"))):
                with pytest.raises(StoreUnavailable, match="deleted or replaced"):
                    call()
    with opened(path) as restarted:
        assert set(restarted.load().pools) == {"gx"}


@pytest.mark.parametrize("size", [3, 3_000], ids=["smaller", "larger"])
def test_a_file_copied_over_the_open_one_is_noticed_and_its_contents_shown(path: Path, size: int) -> None:
    with opened(path) as store:
        store.apply(create("fx", *(f"host-{number}" for number in range(1_000))))
        with opened(path.with_name("other.db")) as other:
            # As many writes as the other file has, so that its own count tells nothing.
            other.apply(create("gx", *(f"host-{number}" for number in range(size))))
        with following(store) as keeper:
            assert set(keeper.current.contents.pools) == {"fx"}
            path.write_bytes(path.with_name("other.db").read_bytes())
            wait_until(lambda: set(keeper.current.contents.pools) == {"gx"})
            wait_until(lambda: not keeper.trouble)
            keeper.apply(add("gx", "new"))
        assert len(store.load().pools["gx"].hosts) == size + 1
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    db.close()


@pytest.mark.parametrize("suffix", ["wal", "shm"])
def test_a_deleted_side_file_is_noticed_and_no_change_is_lost(path: Path, suffix: str) -> None:
    with opened(path) as store, following(store) as keeper:
        keeper.apply(create("fx", "a"))
        path.with_name(f"{path.name}-{suffix}").unlink()
        wait_until(lambda: path.with_name(f"{path.name}-{suffix}").exists() and not keeper.trouble)
        keeper.apply(add("fx", "b"))
        with opened(path) as other:
            assert other.load().pools["fx"].hosts == ("a", "b")


def test_the_main_file_alone_has_every_acknowledged_change(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    with opened(path) as store, following(store) as keeper:
        for number in range(5):
            keeper.apply(create(f"pool-{number}", "a"))
            # As a file server's backup copies it: one file, while the broker has it open.
            subprocess.run(["cp", path, copy], check=True)
            with opened(copy) as copied:
                assert len(copied.load().pools) == number + 1
                assert len(copied.history()) == number + 1


def test_a_change_that_is_not_in_the_main_file_yet_is_written_there_soon(
    path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy = tmp_path / "copy.db"
    with opened(path) as store, opened(path) as other, following(store) as keeper, following(other) as others:
        keeper.apply(create("fx", "a"))
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM pools").fetchall()
            keeper.apply(add("fx", "b"))
            for each in (keeper, others):
                wait_until(lambda each=each: hosts(each) == ("a", "b"))  # type: ignore[misc]
        wait_until(lambda: path.with_name(f"{path.name}-wal").stat().st_size == 0)
        subprocess.run(["cp", path, copy], check=True)
        with opened(copy) as copied:
            assert copied.load().pools["fx"].hosts == ("a", "b")
        # Whichever broker wrote it there, the other does not mistake it for foreign interference.
        now = time.monotonic()
        wait_until(lambda: min(keeper._confirmed, others._confirmed) > now)
        assert not caplog.records


def test_the_log_of_another_program_may_be_written_into_the_main_file_at_any_time(path: Path) -> None:
    with opened(path) as store:
        store.apply(create("fx", "a"))
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("PRAGMA wal_autocheckpoint = 0")
            other.execute("UPDATE pools SET description = 'x'")
            assert store.load().pools["fx"].description == "x"
            other.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            assert store.load().pools["fx"].description == "x"


CHANGE = """
import pathlib, sys
from tests.broker.store.places import add
from afpools_broker.store.sqlite import SqliteStore
store = SqliteStore(pathlib.Path(sys.argv[1]), timeout=20)
store.apply(add("fx", "theirs"))
store.close()
print("ready", flush=True)
"""


def test_another_process_that_comes_and_goes_leaves_the_open_files_alone(path: Path) -> None:
    # If this process had given up its locks, the other would think it is the last one and delete the files.
    with opened(path) as store, following(store) as keeper:
        keeper.apply(create("fx", "ours"))
        store.probe()
        files = {file: file.stat().st_ino for file in path.parent.iterdir()}
        assert len(files) == 3
        with process(CHANGE, path):
            assert {file: file.stat().st_ino for file in path.parent.iterdir()} == files
            wait_until(lambda: keeper.current.contents.pools["fx"].hosts == ("ours", "theirs"))
            assert not keeper.trouble


class Interleaved(SqliteStore):
    """A store that lets another process act just before it looks at the files or asks SQLite for news."""

    def __init__(self, path: Path, before_look: Callable[[int], None]) -> None:
        super().__init__(path, timeout=PATIENT)
        self._looks = 0
        self._before_look = before_look

    @property
    def looks(self) -> int:
        return self._looks

    def _count(self) -> None:
        self._looks += 1
        self._before_look(self._looks)

    def _log_size(self) -> int:
        self._count()
        return super()._log_size()

    def _when_written(self) -> tuple[int, int]:
        self._count()
        return super()._when_written()

    def _side_files(self) -> tuple[tuple[int, int] | None, ...]:
        self._count()
        return super()._side_files()


# As in SQLite: first the pages are written, and only then the log is emptied, which others see as news.
@pytest.mark.parametrize("how", ["PASSIVE", "TRUNCATE"])
def test_a_commit_and_checkpoint_by_another_program_is_never_mistaken_for_a_foreign_write(path: Path, how: str) -> None:
    with opened(path) as first:
        first.apply(create("fx"))

    def run(commit_at: int, write_at: int, number: int) -> int:
        # Not one of ours, which would wait for its turn.
        other = sqlite3.connect(path, isolation_level=None)

        def act(look: int) -> None:
            if look == commit_at:
                other.execute("UPDATE pools SET description = ? WHERE name = 'fx'", (f"{number}",))
            if look == write_at:
                other.execute(f"PRAGMA wal_checkpoint({how})").fetchone()

        store = Interleaved(path, act)
        try:
            store.load()
            store.apply(add("fx", f"gpu-{number}"))
            store.load()
            store.load()
            return store.looks
        finally:
            store.close()
            other.close()

    looks = run(0, 0, 0)
    moments = [(commit, write) for commit in range(1, looks + 1) for write in range(commit, looks + 1)]
    assert len(moments) > 50
    for number, (commit_at, write_at) in enumerate(moments, 1):
        run(commit_at, write_at, number)
