"""The file that `afpools backup` writes: everything a store of either kind holds.

Strategy: JSON, one object per line, compressed with gzip: `zcat FILE | less` shows it even without this program. The
first line says what the file is and in which version of the format. The last line counts the lines between and has the
SHA-256 of everything before it, so that a truncated or damaged file is recognised before anything is restored from it.
Pools are written as every store knows them. What only MongoDB has (documents with foreign fields, or that cannot be
read as pools) is written as MongoDB keeps it (BSON), for a restore into MongoDB.
"""

from __future__ import annotations

import datetime as dt
import gzip
import hashlib
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO

import msgspec
from msgspec import Struct

from .. import __version__
from ..pools.history import Entry
from ..pools.pool import Pool

FORMAT = "afpools backup"

VERSION = 1
"""Version of the format. A format that an older version of this program would misread gets the next number."""


class Header(Struct, frozen=True, kw_only=True):
    """The first line. `store` is the kind of store that was backed up."""

    format: str
    version: int
    made: dt.datetime
    by: str
    store: str


class PoolRecord(Struct, frozen=True, kw_only=True, tag="pool", tag_field="is", omit_defaults=True):
    """A pool; the list of hosts registered by hand is the pool without a name. `document` is its document in MongoDB,
    if that has more in it than this record."""

    name: str
    hosts: tuple[str, ...] = ()
    description: str = ""
    colour: str = ""
    follows: str = ""
    spill: str = ""
    document: bytes = b""

    @classmethod
    def of(cls, pool: Pool, document: bytes = b"") -> PoolRecord:
        """The record of a pool."""
        return cls(
            name=pool.name,
            hosts=pool.hosts,
            description=pool.description,
            colour=pool.colour,
            follows=pool.follows,
            spill=pool.spill,
            document=document,
        )

    @property
    def pool(self) -> Pool:
        """The pool itself."""
        return Pool(self.name, self.hosts, self.description, self.colour, self.follows, self.spill)


class DocumentRecord(Struct, frozen=True, kw_only=True, tag="document", tag_field="is"):
    """A document of MongoDB that cannot be read as what its collection holds."""

    collection: str
    document: bytes


class EntryRecord(Struct, frozen=True, kw_only=True, tag="entry", tag_field="is"):
    """A line of history."""

    entry: Entry


class FarmRecord(Struct, frozen=True, kw_only=True, tag="farm", tag_field="is"):
    """The last known list of renders."""

    data: bytes
    seen: dt.datetime


Record = PoolRecord | DocumentRecord | EntryRecord | FarmRecord


class _End(Struct, frozen=True, kw_only=True, tag="end", tag_field="is"):
    """The last line."""

    counts: dict[str, int]
    sha256: str


class ArchiveError(Exception):
    """A file cannot be restored. The message names it and says why."""


@dataclass(frozen=True)
class Summary:
    """What a backup contains, after all of it has been checked.

    Args:
        header: the backup's first line.
        counts: how many records there are of each kind: `pool`, `document`, `entry`, `farm`, and `host` for the hosts
            that were registered by hand.
        twice: names that several pools have. Only MongoDB can hold those.
    """

    header: Header
    counts: dict[str, int]
    twice: tuple[str, ...]


def write(file: IO[bytes], store: str, records: Iterable[Record]) -> None:
    """Writes a backup.

    Args:
        file: the file to write to.
        store: the kind of store that the records come from.
        records: everything that the store holds.
    """
    digest = hashlib.sha256()
    counts: Counter[str] = Counter()
    encoder = msgspec.json.Encoder()
    header = Header(
        format=FORMAT,
        version=VERSION,
        made=dt.datetime.now(dt.UTC),
        by=f"afpools {__version__}",
        store=store,
    )
    # No time in the gzip header: our own header has it.
    with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=6, mtime=0) as packed:

        def put(line: object) -> None:
            text = encoder.encode(line) + b"\n"
            digest.update(text)
            packed.write(text)

        put(header)
        for record in records:
            counts[_kind(record)] += 1
            put(record)
        put(_End(counts=dict(counts), sha256=digest.hexdigest()))


def check(file: IO[bytes], name: str) -> Summary:
    """Reads a whole backup and checks everything in it.

    Args:
        file: the backup, at its beginning.
        name: the file's name, for messages.

    Raises:
        ArchiveError: it cannot be restored.
    """
    header = read_header(file, name)
    file.seek(0)
    counts: Counter[str] = Counter()
    names: Counter[str] = Counter()
    for record in records(file, name):
        counts[_kind(record)] += 1
        if isinstance(record, PoolRecord):
            if record.name:
                names[record.name] += 1
            else:
                counts["pool"] -= 1
                counts["host"] += len(record.hosts)
    return Summary(header, dict(counts), tuple(name for name, count in names.items() if count > 1))


def read_header(file: IO[bytes], name: str) -> Header:
    """The first line of a backup, `file`, whose name is `name`.

    Raises:
        ArchiveError: it is not a backup, or it is from a newer version.
    """
    foreign = ArchiveError(f"{name} is not a backup made by `afpools backup`.")
    try:
        line = gzip.GzipFile(fileobj=file).readline()
    except (OSError, EOFError, zlib.error):
        raise foreign from None
    try:
        said = msgspec.json.decode(line)
    except ValueError:
        raise foreign from None
    if not isinstance(said, dict) or said.get("format") != FORMAT:
        raise foreign
    version = said.get("version")
    if isinstance(version, int) and version > VERSION:
        raise ArchiveError(
            f"{name} was made by a newer version of Afanasy Pools ({said.get('by')}; format {version}, this version "
            f"reads {VERSION}). Restore it with that version."
        )
    try:
        return msgspec.convert(said, Header, strict=False)
    except msgspec.ValidationError as error:
        raise ArchiveError(f"{name} is damaged: its first line cannot be read ({error}).") from None


def records(file: IO[bytes], name: str) -> Iterator[Record]:
    """The records of a backup. The iteration ends without an error only if nothing is missing.

    Args:
        file: the backup, at its beginning.
        name: the file's name, for messages.

    Raises:
        ArchiveError: it is damaged or truncated.
    """
    digest = hashlib.sha256()
    counts: Counter[str] = Counter()
    decoder = msgspec.json.Decoder(PoolRecord | DocumentRecord | EntryRecord | FarmRecord | _End)
    with gzip.GzipFile(fileobj=file) as packed:
        try:
            digest.update(packed.readline())
            for line in packed:
                record = decoder.decode(line)
                if isinstance(record, _End):
                    if record.sha256 != digest.hexdigest() or record.counts != counts or packed.read(1):
                        raise ArchiveError(f"{name} is damaged: its checksum does not match its contents.")
                    return
                digest.update(line)
                counts[_kind(record)] += 1
                yield record
        except EOFError:
            pass
        except (OSError, zlib.error, ValueError) as error:
            raise ArchiveError(f"{name} is damaged: {error}.") from None
    raise ArchiveError(f"{name} is truncated: its end is missing. Copy it again, or use another backup.")


def _kind(record: Record) -> str:
    return str(record.__struct_config__.tag)
