"""`afpools backup` and `restore`: everything comes back, in either kind of database, while brokers run."""

from __future__ import annotations

import datetime as dt
import gzip
import io
import json
import secrets
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bson
import pymongo
import pytest
from bson.raw_bson import RawBSONDocument
from tests.broker.store.places import (
    PATIENT,
    add,
    change,
    create,
    delete,
    following,
    mirroring,
    register,
    rename,
    replayed,
    wait_until,
)
from tests.command import Result
from tests.mongod import with_database

from afpools_broker.pools.pool import Contents, Pool
from afpools_broker.store import Irreconcilable, PoolStore, RestoreUnfinished, StoreUnavailable, archive, open_store
from afpools_broker.store.mongo import MongoStore

KINDS = ("sqlite", "mongod", "replica_set")
NOON = dt.datetime(2026, 8, 1, 12, tzinfo=dt.UTC)


@dataclass
class Studio:
    """A database, and the configuration of a broker that uses it."""

    uri: str
    config: Path
    store: PoolStore

    @property
    def everything(self) -> object:
        history = self.store.history(limit=10_000)
        return self.store.load(), history, self.store.load_farm()


@pytest.fixture
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], Studio]]:
    made: list[Studio] = []

    def make(kind: str) -> Studio:
        name = f"test_{secrets.token_hex(6)}"
        folder = tmp_path / name
        folder.mkdir()
        if kind == "sqlite":
            uri = f"sqlite:///{folder}/pools.sqlite"
        else:
            server = request.getfixturevalue(kind)
            uri = with_database(getattr(server, "uri", server), name)
        config = folder / "broker.toml"
        config.write_text(f'[store]\nuri = "{uri}"\ntimeout = 0.2\n[farm]\nserver = ""\n')
        made.append(Studio(uri, config, open_store(uri, timeout=PATIENT)))
        return made[-1]

    yield make
    for studio in made:
        studio.store.close()


def fill(store: PoolStore) -> None:
    for asked in (
        create("fx", "pc-01", "pc-02", description="Effects ö 日本", colour="#ff8800", request="first"),
        create("gpu"),
        add("gpu", "gpu-01"),
        add("gpu", "gpu-01", request="found done"),
        rename("gpu", "gpu/new"),
        change("pools.follow", "farm", path="/local/farm"),
        mirroring(Pool("farm", follows="/local/farm"), "pc-03"),
        change("pools.update", "farm", spill_to="fx", spill_after=3600),
        create("gone", "pc-03"),
        delete("gone"),
        register("pc-01", "pc-09"),
    ):
        store.apply(asked)
    store.save_farm(b'["renders"]', NOON)


@pytest.mark.parametrize("target", KINDS)
@pytest.mark.parametrize("source", KINDS)
def test_everything_comes_back_in_either_kind_of_database(
    afpools: Callable[..., Result], make: Callable[[str], Studio], tmp_path: Path, source: str, target: str
) -> None:
    here, there = make(source), make(target)
    fill(here.store)
    file = tmp_path / "backup.gz"
    done = afpools("backup", file, "-c", here.config)
    assert (done.status, done.out) == (0, f"Wrote 3 pools, 2 registered hosts and 11 changes to {file}.\n")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    # Into an empty database, without asking.
    done = afpools("restore", file, "-c", there.config)
    assert done.status == 0, done.err
    assert done.out.endswith("Restored 3 pools, 2 registered hosts and 11 changes.\n")
    assert there.everything == here.everything
    # An earlier request is still recognised, and new changes work.
    again = create("fx", "pc-01", "pc-02", description="Effects ö 日本", colour="#ff8800", request="first")
    assert there.store.apply(again) == here.store.apply(again)
    assert not there.store.apply(add("gpu", "gpu-01", request="found done")).changed
    assert there.store.apply(add("fx", "pc-04")).id > there.store.history()[1].id
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_backup_is_of_one_moment_while_pools_are_changed(
    afpools: Callable[..., Result], make: Callable[[str], Studio], tmp_path: Path, kind: str
) -> None:
    here, there = make(kind), make("sqlite")
    here.store.apply(create("fx"))
    stop = threading.Event()

    def work() -> None:
        with closing(open_store(here.uri, timeout=PATIENT)) as store:
            while not stop.wait(0.05):
                store.apply(add("fx", secrets.token_hex(4)))

    writer = threading.Thread(target=work)
    writer.start()
    try:
        for number in range(5):
            assert afpools("backup", tmp_path / f"{number}.gz", "-c", here.config).status == 0
    finally:
        stop.set()
        writer.join()
    for number in range(5):
        assert afpools("restore", tmp_path / f"{number}.gz", "-c", there.config, "--yes").status == 0
        contents = there.store.load()
        told = replayed(there.store.history(limit=10_000)[::-1])
        assert set(told["fx"].hosts) == set(contents.pools["fx"].hosts)


@pytest.mark.parametrize("asked", [add("fx", "b"), delete("fx")], ids=lambda asked: asked.op)
def test_a_change_that_is_not_in_history_yet_is_in_the_backup(
    make: Callable[[str], Studio], monkeypatch: pytest.MonkeyPatch, asked: Any
) -> None:
    here, there = make("replica_set"), make("sqlite")
    here.store.apply(create("fx", "a"))
    records: list[archive.Record] = []

    def backup_meanwhile(*_: object) -> None:
        monkeypatch.undo()
        with closing(open_store(here.uri, timeout=PATIENT)) as other:
            records.extend(other.export())
        raise Died

    monkeypatch.setattr(here.store, "_record", backup_meanwhile)
    with pytest.raises(Died):
        here.store.apply(asked)
    there.store.restore(records, writes_end=0)
    assert there.everything == here.everything


@pytest.mark.parametrize("kind", KINDS)
def test_a_running_broker_shows_what_was_restored(
    afpools: Callable[..., Result], make: Callable[[str], Studio], tmp_path: Path, kind: str
) -> None:
    here = make(kind)
    fill(here.store)
    contents = here.store.load()
    file = tmp_path / "backup.gz"
    assert afpools("backup", file, "-c", here.config).status == 0
    for asked in (delete("fx"), delete("farm"), create("later", "x"), change("hosts.forget", "", "pc-09")):
        here.store.apply(asked)
    with following(here.store) as keeper:
        assert set(keeper.current.contents.pools) == {"gpu/new", "later"}
        refused = afpools("restore", file, "-c", here.config, given="n\n")
        assert refused.status == 1
        assert "In the database: 2 pools, 1 registered host, history until" in refused.out
        assert "All of it is replaced." in afpools("restore", file, "-c", here.config, "--dry-run").out
        assert set(here.store.load().pools) == {"gpu/new", "later"}
        assert afpools("restore", file, "-c", here.config, given="y\n").status == 0
        wait_until(lambda: keeper.current.contents == contents and not keeper.trouble)
        keeper.apply(add("fx", "pc-07"))


# --- files that cannot be restored from -----------------------------------------------------------------------------


@pytest.fixture
def backup(afpools: Callable[..., Result], make: Callable[[str], Studio], tmp_path: Path) -> Path:
    here = make("sqlite")
    fill(here.store)
    file = tmp_path / "backup.gz"
    assert afpools("backup", file, "-c", here.config).status == 0
    return file


def lines(backup: Path) -> list[bytes]:
    return gzip.decompress(backup.read_bytes()).splitlines(keepends=True)


def newer(backup: Path) -> bytes:
    header, *rest = lines(backup)
    return gzip.compress(
        json.dumps({**json.loads(header), "version": 2, "by": "afpools 9"}).encode() + b"\n" + b"".join(rest)
    )


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (newer, "made by a newer version of Afanasy Pools (afpools 9; format 2"),
        (lambda backup: b"", "is not a backup"),
        (lambda backup: b"[store]\n", "is not a backup"),
        (lambda backup: gzip.compress(b"{}\n"), "is not a backup"),
        (lambda backup: gzip.compress(b"\n"), "is not a backup"),
        (lambda backup: backup.read_bytes()[:-20], "is truncated"),
        (lambda backup: gzip.compress(b"".join(lines(backup)[:-1])), "is truncated"),
        (lambda backup: gzip.compress(b"".join(lines(backup)[:3] + lines(backup)[4:])), "is damaged"),
        (lambda backup: gzip.compress(b"".join(lines(backup)).replace(b"pc-01", b"pc-77")), "is damaged"),
        (lambda backup: gzip.compress(b"".join([*lines(backup), lines(backup)[1]])), "is damaged"),
    ],
    ids=["newer", "empty", "text", "json", "blank", "cut", "no end", "line lost", "changed", "more after the end"],
)
def test_an_unusable_file_is_refused_before_anything_is_changed(
    afpools: Callable[..., Result],
    make: Callable[[str], Studio],
    backup: Path,
    spoil: Callable[[Path], bytes],
    said: str,
) -> None:
    there = make("sqlite")
    there.store.apply(create("mine"))
    before = there.everything
    backup.write_bytes(spoil(backup))
    refused = afpools("restore", backup, "-c", there.config, "--yes")
    assert refused.status == 1
    assert said in refused.err
    assert there.everything == before


def test_no_byte_of_a_backup_can_be_changed_unnoticed(backup: Path) -> None:
    good = backup.read_bytes()
    whole = archive.check(io.BytesIO(good), "backup")
    for position in range(len(good)):
        spoilt = bytearray(good)
        spoilt[position] ^= 0x10
        with suppress(archive.ArchiveError):
            # Bytes of the gzip header that do not affect the contents may have any value.
            assert archive.check(io.BytesIO(spoilt), "backup") == whole
    for end in range(len(good) - 8):
        with pytest.raises(archive.ArchiveError):
            archive.check(io.BytesIO(good[:end]), "backup")


def test_a_file_that_is_not_a_backup_is_not_overwritten(
    afpools: Callable[..., Result], make: Callable[[str], Studio], backup: Path, tmp_path: Path
) -> None:
    here = make("sqlite")
    here.store.apply(create("fx"))
    text = here.config.read_text()
    refused = afpools("backup", here.config, "-c", here.config)
    assert refused.status == 1
    assert "is not a backup" in refused.err
    assert here.config.read_text() == text
    # An older backup is overwritten.
    assert afpools("backup", backup, "-c", here.config).status == 0
    with backup.open("rb") as file:
        assert archive.check(file, "backup").counts == {"pool": 1, "entry": 1}
    assert "cannot be written" in afpools("backup", tmp_path / "no" / "folder.gz", "-c", here.config).err
    assert "cannot be read" in afpools("restore", tmp_path / "nothing.gz", "-c", here.config).err


# --- restores that end half-way -------------------------------------------------------------------------------------


class Died(Exception):
    """The command died here."""


def dies_after(records: list[archive.Record], count: int) -> Iterator[archive.Record]:
    yield from records[:count]
    raise Died


@pytest.mark.parametrize("kind", KINDS)
def test_a_restore_that_fails_before_everything_is_staged_changes_nothing(
    make: Callable[[str], Studio], kind: str
) -> None:
    source, there = make("sqlite"), make(kind)
    fill(source.store)
    there.store.apply(create("mine", "a"))
    before = there.everything
    records = list(source.store.export())
    for count in (0, len(records) // 2, len(records)):
        with pytest.raises(Died):
            there.store.restore(dies_after(records, count), writes_end=0)
        assert there.everything == before
        there.store.apply(add("mine", secrets.token_hex(4)))
        before = there.everything


@pytest.mark.parametrize("renamed", [0, 1, 2, 3])
def test_a_partly_restored_database_is_recognised_until_it_is_fully_restored(
    make: Callable[[str], Studio], monkeypatch: pytest.MonkeyPatch, renamed: int
) -> None:
    source, there = make("sqlite"), make("mongod")
    fill(source.store)
    there.store.apply(create("mine", "a"))
    rename_collection = pymongo.collection.Collection.rename
    left = [renamed]

    def dies(self: Any, *arguments: Any, **options: Any) -> Any:
        if not left[0]:
            raise Died
        left[0] -= 1
        return rename_collection(self, *arguments, **options)

    with following(there.store) as keeper:
        with monkeypatch.context() as patch:
            patch.setattr(pymongo.collection.Collection, "rename", dies)
            with pytest.raises(Died):
                there.store.restore(source.store.export(), writes_end=0)
        for call in (there.store.load, lambda: there.store.apply(add("mine", "b")), lambda: list(there.store.export())):
            with pytest.raises(RestoreUnfinished, match="afpools restore"):
                call()
        # It still shows the old state, not something in between.
        assert set(keeper.current.contents.pools) == {"mine"}
        # Even if the next attempt fails as well.
        with pytest.raises(Died):
            there.store.restore(dies_after([], 0), writes_end=0)
        with pytest.raises(RestoreUnfinished):
            there.store.load()
        there.store.restore(source.store.export(), writes_end=0)
        assert there.everything == source.everything
        wait_until(lambda: keeper.current.contents == there.store.load() and not keeper.trouble)


def test_a_change_in_progress_during_a_restore_is_not_acknowledged(
    make: Callable[[str], Studio], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, there = make("sqlite"), make("mongod")
    fill(source.store)
    assert isinstance(there.store, MongoStore)
    there.store.apply(create("mine", "a"))
    record = there.store._record

    def restored_meanwhile(entry: Any) -> Any:
        monkeypatch.undo()
        with closing(open_store(there.uri, timeout=PATIENT)) as other:
            other.restore(source.store.export(), writes_end=0)
        return record(entry)

    monkeypatch.setattr(there.store, "_record", restored_meanwhile)
    with pytest.raises(StoreUnavailable, match="dropped or replaced"):
        there.store.apply(add("mine", "b"))


# --- what only MongoDB can hold -------------------------------------------------------------------------------------


def test_documents_come_back_with_foreign_fields_and_unreadable_ones_come_back_too(
    afpools: Callable[..., Result], make: Callable[[str], Studio], tmp_path: Path
) -> None:
    here, there, small = make("mongod"), make("mongod"), make("sqlite")
    here.store.apply(create("fx", "a"))
    documents: list[dict[str, Any]] = [
        {"name": "old", "clients": [{"hostname": "b", "engine": "3.3.1", "ip": "10.0.0.1", "port": ""}], "floor": 2},
        {"_id": "nameless", "clients": []},
    ]
    with pymongo.MongoClient[dict[str, Any]](here.uri) as client:
        client.get_default_database().pools.insert_many(documents)
    file = tmp_path / "backup.gz"
    done = afpools("backup", file, "-c", here.config)
    assert done.status == 0
    assert "1 document cannot be read" in done.err
    assert afpools("restore", file, "-c", there.config).status == 0
    assert there.store.load() == here.store.load()
    with pymongo.MongoClient[dict[str, Any]](there.uri) as client:
        found = {str(document.get("name")): document for document in client.get_default_database().pools.find()}
    assert [found["old"], found["None"]] == documents
    assert afpools("restore", file, "-c", small.config).status == 0
    assert small.store.load() == Contents({"fx": Pool("fx", ("a",)), "old": Pool("old", ("b",))})


def test_two_pools_with_one_name_are_backed_up_and_come_back_for_repair(
    afpools: Callable[..., Result], make: Callable[[str], Studio], tmp_path: Path
) -> None:
    here, there, small = make("mongod"), make("replica_set"), make("sqlite")
    with pymongo.MongoClient[dict[str, Any]](here.uri) as client:
        client.get_default_database().pools.insert_many([{"name": "fx", "clients": []}, {"name": "fx", "clients": []}])
    file = tmp_path / "backup.gz"
    done = afpools("backup", file, "-c", here.config)
    assert (done.status, "Several pools are named 'fx'" in done.err) == (0, True)
    assert afpools("restore", file, "-c", there.config).status == 0
    assert "'fx'" in there.store.load().problems[0]
    refused = afpools("restore", file, "-c", small.config)
    assert refused.status == 1
    assert "the pool 'fx' is in it twice" in refused.err
    assert small.store.load() == Contents()


def test_a_request_that_is_twice_in_history_stays_out_of_an_sqlite_file(make: Callable[[str], Studio]) -> None:
    source, small = make("sqlite"), make("sqlite")
    fill(source.store)
    records = list(source.store.export())
    entry = next(record for record in records if isinstance(record, archive.EntryRecord))
    with pytest.raises(Irreconcilable, match="the request 'anna:first' is in it twice"):
        small.store.restore([*records, entry], writes_end=0)
    assert small.store.load() == Contents()


def test_bytes_that_are_not_text_come_back_byte_for_byte(make: Callable[[str], Studio]) -> None:
    here, there = make("mongod"), make("mongod")
    broken = bson.encode({"_id": 1, "name": "bad", "clients": [{"hostname": "XXXX"}]})
    broken = broken.replace(b"XXXX", b"pc-\xff")
    with pymongo.MongoClient(here.uri, document_class=RawBSONDocument) as client:
        client.get_default_database().pools.insert_one(RawBSONDocument(broken))
    file = io.BytesIO()
    archive.write(file, "mongodb", here.store.export())
    file.seek(0)
    there.store.restore(archive.records(file, "it"), writes_end=0)
    with pymongo.MongoClient(there.uri, document_class=RawBSONDocument) as client:
        found = client.get_default_database().pools.find_one()
    assert found is not None
    assert bytes(found.raw) == broken
