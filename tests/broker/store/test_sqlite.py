"""What only an SQLite file has: permissions, locks, versions, damage, full disks."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from tests.broker.store.files import WRITE_ON_AND_ON, opened, process
from tests.broker.store.places import PATIENT, add, create, delete, register

from afpools_broker.pools.pool import Pool
from afpools_broker.store import StoreUnavailable, open_store, redacted
from afpools_broker.store.sqlite import SqliteStore


def test_the_file_and_its_folder_are_made_on_first_use_for_the_owner_only(path: Path) -> None:
    before = os.umask(0)
    try:
        with opened(path) as store:
            assert not path.exists()
            store.apply(create("fx"))
            files = list(path.parent.iterdir())
            assert path in files
            assert len(files) > 1  # the write-ahead log is beside it
            assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    finally:
        os.umask(before)


def test_an_address_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for uri in (f"sqlite:///{tmp_path}/with space?.db", "sqlite:///with space?.db"):
        store = open_store(uri)
        assert store.kind == "sqlite"
        store.load()
        store.close()
    assert (tmp_path / "with space?.db").is_file()


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("sqlite:////srv/pools.db", "sqlite:////srv/pools.db"),
        ("mongodb://host/afpools", "mongodb://host/afpools"),
        ("mongodb://ann:secret@host:27017/afpools?w=1", "mongodb://ann:***@host:27017/afpools?w=1"),
        ("mongodb://ann@host/", "mongodb://ann@host/"),
        ("mongodb+srv://ann:s@cret@host", "mongodb+srv://ann:***@host"),
        (
            "mongodb://host/?tlsCertificateKeyFilePassword=x&w=1",
            "mongodb://host/?tlsCertificateKeyFilePassword=***&w=1",
        ),
    ],
)
def test_addresses_are_shown_without_passwords(uri: str, shown: str) -> None:
    assert redacted(uri) == shown


def test_users_of_sqlite_need_no_driver_for_mongodb(path: Path) -> None:
    code = (
        "import sys; from afpools_broker.store import open_store; open_store(sys.argv[1]).load(); "
        "sys.exit('pymongo' in sys.modules or 'bson' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, f"sqlite:///{path}"], check=True)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_file_of_an_earlier_version_is_brought_up_to_date_with_everything_in_it(path: Path, version: int) -> None:
    with opened(path) as store:
        store.apply(create("fx", "a"))
        contents, history = store.load(), store.history()
    with sqlite3.connect(path) as db:
        for event in ("insert", "update", "delete") if version < 3 else ():
            db.execute(f"DROP TRIGGER pools_{event}")
        db.execute("ALTER TABLE pools DROP COLUMN settings")
        if version < 3:
            db.execute("DROP TABLE touched")
        if version == 1:
            db.execute("DROP TABLE counts")
        elif version == 2:
            for event in ("insert", "update", "delete"):
                count = "UPDATE counts SET count = count + 1 WHERE name = 'pools'"
                db.execute(f"CREATE TRIGGER pools_{event} AFTER {event} ON pools BEGIN {count}; END")
        db.execute(f"PRAGMA user_version = {version}")
    db.close()
    with opened(path) as store, opened(path) as other:
        assert (store.load(), other.history()) == (contents, history)
        signs = other.watch(threading.Event())
        next(signs)
        store.apply(add("fx", "b"))
        assert set(next(signs).keys or ()) == {"fx"}


def test_a_hand_edit_is_noticed_in_time(path: Path) -> None:
    with opened(path) as store:
        store.apply(create("fx", "a"))
        signs = store.watch(threading.Event())
        next(signs)
        with sqlite3.connect(path) as db:
            db.execute("UPDATE pools SET hosts = '[]'")
        db.close()
        assert next(signs).changed
        assert store.load().pools["fx"].hosts == ()


def test_a_file_of_a_newer_version_is_left_alone(path: Path) -> None:
    with opened(path) as store:
        store.apply(create("fx"))
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    before = path.read_bytes()
    with opened(path) as store, pytest.raises(StoreUnavailable, match=r"newer version .*schema 99"):
        store.load()
    assert path.read_bytes() == before


def test_another_programs_database_is_left_alone(path: Path) -> None:
    path.parent.mkdir(parents=True)
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE pools (anything)")
    db.close()
    before = path.read_bytes()
    with opened(path) as store, pytest.raises(StoreUnavailable, match="another program's database"):
        store.apply(create("fx"))
    assert path.read_bytes() == before


def test_a_process_killed_while_it_writes_leaves_an_intact_file(path: Path) -> None:
    with opened(path) as store:
        store.apply(create("fx"))
    with process(WRITE_ON_AND_ON, path) as writer:
        assert writer.stdout is not None
        for _ in range(50):
            acknowledged = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    with opened(path) as store:
        hosts = store.load().pools["fx"].hosts
        assert hosts == tuple(f"host-{number}" for number in range(len(hosts)))
        assert len(hosts) > acknowledged
        assert len(store.history(limit=100_000)) == len(hosts) + 1
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    db.close()


def test_a_known_pool_is_read_again_only_if_the_file_says_otherwise(path: Path) -> None:
    with opened(path) as store:
        store.apply(create("fx", "pc-1", "pc-2"))
        fx = store.load().pools["fx"]
        store.known = {"fx": replace(fx, hosts=("pc-1", "gone"))}.get
        store.apply(add("fx", "pc-3"))
        assert store.load().pools["fx"].hosts == ("pc-1", "pc-2", "pc-3")
        store.known = {"fx": replace(fx, hosts=("pc-1", "pc-2", "pc-3"), description="not this one")}.get
        store.apply(add("fx", "pc-4"))
        now = store.load().pools["fx"]
        assert (now.hosts, now.description) == (("pc-1", "pc-2", "pc-3", "pc-4"), "")
        # What was written is read back, with its fingerprint, until somebody else writes.
        assert store.read(["fx"])["fx"].pool is store.read(["fx"])["fx"].pool
        with closing(sqlite3.connect(path)) as db, db:
            db.execute("""UPDATE pools SET hosts = '["pc-9"]' WHERE name = 'fx'""")
        row = store.read(["fx"])["fx"].pool
        assert row is not None
        assert row.hosts == ("pc-9",)


def test_an_unreadable_row_does_not_affect_others(path: Path) -> None:
    with opened(path) as store:
        for name in ("fx", "gx"):
            store.apply(create(name, "a"))
        with sqlite3.connect(path) as db:
            db.execute("UPDATE pools SET hosts = 'a,b' WHERE name = 'fx'")
        db.close()
        contents = store.load()
        assert contents.pools == {"gx": Pool("gx", ("a",))}
        assert "'fx'" in contents.problems[0]
        with pytest.raises(StoreUnavailable, match="'fx'"):
            store.apply(add("fx", "b"))


def test_many_threads_share_one_store(path: Path) -> None:
    with opened(path) as store:
        store.apply(create("fx"))
        threads = [
            threading.Thread(target=lambda n=n: [store.apply(add("fx", f"{n}-{k}")) for k in range(20)])  # type: ignore[misc]
            for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(store.load().pools["fx"].hosts) == 160


def test_brokers_that_make_the_file_at_the_same_moment_agree(path: Path) -> None:
    stores = [SqliteStore(path, timeout=PATIENT) for _ in range(6)]
    threads = [threading.Thread(target=store.apply, args=(register(str(n)),)) for n, store in enumerate(stores)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(stores[0].load().registered.hosts) == 6
    stores[0].apply(create("fx"))
    stores[1].apply(delete("fx"))
    for store in stores:
        store.close()
