"""A backup says what it contains, and is rejected if a byte of it is missing or changed."""

from __future__ import annotations

import gzip
import io
import json

import pytest
from tests.broker.store.places import create

from afpools_broker.pools.pool import Pool
from afpools_broker.store import archive
from afpools_broker.store.archive import ArchiveError, EntryRecord, PoolRecord, Record
from afpools_broker.store.settling import settle

RECORDS: list[Record] = [
    PoolRecord.of(Pool("fx", ("pc-01", "pc-02"), "Effects", "#ff0000", "/local")),
    PoolRecord.of(Pool("", ("lt-01",))),
    EntryRecord(entry=settle(create("fx"), None).entry),
]


def backup(*records: Record) -> io.BytesIO:
    file = io.BytesIO()
    archive.write(file, "sqlite", records)
    file.seek(0)
    return file


def lines(file: io.BytesIO) -> list[bytes]:
    return gzip.decompress(file.getvalue()).splitlines(keepends=True)


def test_written_records_are_read_back() -> None:
    file = backup(*RECORDS)
    summary = archive.check(file, "pools.backup")
    assert summary.header.store == "sqlite"
    assert summary.counts == {"pool": 1, "host": 1, "entry": 1}
    file.seek(0)
    assert list(archive.records(file, "pools.backup")) == RECORDS


def test_names_that_two_pools_share_are_reported() -> None:
    pool = PoolRecord.of(Pool("fx"))
    assert archive.check(backup(pool, pool), "pools.backup").twice == ("fx",)


def test_people_can_read_it_without_this_program() -> None:
    first, pool, *_ = map(json.loads, lines(backup(*RECORDS)))
    assert (first["format"], first["version"]) == ("afpools backup", 1)
    assert (pool["is"], pool["name"], pool["hosts"]) == ("pool", "fx", ["pc-01", "pc-02"])


def test_a_missing_or_changed_line_is_noticed() -> None:
    whole = lines(backup(*RECORDS))
    changed = [*whole[:1], whole[1].replace(b"pc-01", b"pc-09"), *whole[2:]]
    for damaged in (whole[:-1], whole[:1] + whole[2:], changed):
        with pytest.raises(ArchiveError, match=r"truncated|cut off|damaged"):
            archive.check(io.BytesIO(gzip.compress(b"".join(damaged))), "pools.backup")


@pytest.mark.parametrize("packed", [None, b"rubbish\n", b'{"format": "x"}\n', b"[]\n"])
def test_another_file_is_not_a_backup(packed: bytes | None) -> None:
    data = b"rubbish" if packed is None else gzip.compress(packed)
    with pytest.raises(ArchiveError, match="is not a backup"):
        archive.check(io.BytesIO(data), "pools.backup")


def test_a_backup_of_a_newer_version_is_refused() -> None:
    first, *rest = lines(backup(*RECORDS))
    newer = first.replace(b'"version":1', b'"version":2')
    with pytest.raises(ArchiveError, match="newer version"):
        archive.check(io.BytesIO(gzip.compress(b"".join([newer, *rest]))), "pools.backup")
