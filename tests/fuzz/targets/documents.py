"""MongoDB documents that somebody edited by hand, or another program wrote."""

from __future__ import annotations

import datetime as dt
from random import Random
from typing import Any

import bson
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.raw_bson import RawBSONDocument
from tests.fuzz.mutations import STRANGE_NUMBERS, TEXTS, changed, damaged
from tests.fuzz.target import Target, stateless

from afpools_broker.pools.history import Diff, Entry
from afpools_broker.pools.pool import Pool
from afpools_broker.store import StoreUnavailable
from afpools_broker.store.mongo import documents
from afpools_broker.store.rows import REGISTERED, StorePicture

_ENTRY = Entry(
    id="e1",
    when=dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC),
    who="anna",
    op="pools.create",
    pool="fx",
    diff=Diff(added=("pc-01", "pc-03")),
    before="",
    after="r1",
    hosts=2,
    key="1",
    digest="d",
)
_POOL: dict[str, Any] = {
    "_id": bson.ObjectId("6745b6d0a1b2c3d4e5f60718"),
    "name": "fx",
    "clients": [{"hostname": name, "engine": "", "ip": "", "port": ""} for name in ("pc-01", "pc-03")],
    "description": "effects",
    "colour": "#ff8800",
    "follows": "/local/farm",
    "spill": "1800 night",
}


_AS_THE_DRIVER: CodecOptions[RawBSONDocument] = CodecOptions(
    RawBSONDocument, tz_aware=True, datetime_conversion=DatetimeConversion.DATETIME_AUTO
)


def check(data: bytes) -> None:
    """Reading never fails: unusable parts are left out, and one sentence says so."""
    document = RawBSONDocument(data, _AS_THE_DRIVER)
    key, row = documents.read_row(document)
    contents = StorePicture(
        {} if row is None else {key: row, REGISTERED: documents.read_registered_row(document)}
    ).contents
    for problem in contents.problems:
        assert problem.endswith(".")
    for name, pool in contents.pools.items():
        assert name == pool.name
        assert 1 <= len(name) <= 64
        assert all(isinstance(host, str) and host for host in pool.hosts)
        assert len(set(pool.hosts)) == len(pool.hosts)
    twice = StorePicture({} if row is None else {key: row, b"another": row}).contents
    assert not twice.pools
    assert bool(contents.pools) == any("More than one document" in problem for problem in twice.problems)
    for read in (documents.read_change, documents.read_history, documents.read_step):
        entry = read(document)
        assert entry is None or entry.id is not None
    for pool in contents.pools.values():
        _changed_and_read(document, pool)


def _changed_and_read(document: RawBSONDocument, pool: Pool) -> None:
    """An update changes exactly what it names."""
    for kept in (pool.hosts, pool.hosts[1:]):
        after = Pool(pool.name, (*kept, "new-host"), "other", "#000000")
        try:
            change = documents.update(document, pool, after, _ENTRY)
        except StoreUnavailable as error:
            assert "not a list" in str(error)
            return
        assert change["$set"]["description"] == "other"
        bson.encode(change)


def _leaf(random: Random) -> Any:
    return random.choice(
        (
            None,
            True,
            random.choice([number for number in STRANGE_NUMBERS if abs(number) < 2**63 or number != number]),
            random.choice([text for text in TEXTS if text.isascii() or text.isprintable()]),
            bson.ObjectId("6745b6d0a1b2c3d4e5f60718"),
            bson.Int64(2**62),
            bson.Regex("^pc", "i"),
            bson.Binary(b"\xff\0", 5),
            bson.Timestamp(1, 1),
            bson.MinKey(),
            bson.Code("f()"),
            bson.Decimal128("NaN"),
            bson.datetime_ms.DatetimeMS(2**62),
            [],
            {},
            {"hostname": "pc-05"},
        )
    )


def _mutated(data: bytes, random: Random) -> bytes:
    if not random.randint(0, 3):
        # The length prefix stays correct: the driver has already checked that.
        inner = damaged(data[4:], random)
        return (len(inner) + 4).to_bytes(4, "little") + inner
    try:
        return bson.encode(changed(bson.decode(data, documents._OPTIONS), random, _leaf))
    except (bson.errors.BSONError, ValueError, TypeError, OverflowError, UnicodeError):
        return data


def _checked(data: bytes) -> None:
    try:
        RawBSONDocument(data)
    except (bson.errors.InvalidBSON, IndexError):
        return  # the driver would not have returned it either
    check(data)


TARGETS = (
    Target(
        "documents",
        stateless(_checked),
        lambda: (
            bson.encode(_POOL),
            bson.encode(documents.new_document(Pool("fx", ("pc-01", "pc-03"), "effects"), _ENTRY)),
            bson.encode({**_POOL, "deleted": True, "change": {**documents.entry_document(_ENTRY), "after": ""}}),
            bson.encode(documents.history_document(_ENTRY)),
            bson.encode({"_id": "registered", "clients": [{"hostname": "lt-1"}]}),
        ),
        _mutated,
    ),
)
