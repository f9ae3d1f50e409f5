"""MongoDB documents: how pools and history are written, and how documents by others are read.

Strategy: pure functions, no server. The earlier project's documents are valid as they are; our fields stand beside its
own. People edit documents by hand, so reading never fails: what cannot be used is left out, and one sentence says so.
Leaving a host out of a pool only narrows where jobs run, but a wrong guess would widen it, so nothing is guessed.

    {"name": "fx", "clients": [{"hostname": "pc-01", "engine": "", "ip": "", "port": ""}],
     "description": "", "colour": "", "change": {...the history entry that made this...}}

A pool that follows one of Afanasy's has `"follows": "/local/farm"` as well; one whose jobs may use a second pool,
`"spill": "1800 night"`.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Collection, Mapping
from dataclasses import replace
from sys import intern
from typing import Any, TypeVar

import bson
import msgspec
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.raw_bson import RawBSONDocument

from ...pools.history import Entry, Step
from ...pools.pool import Pool
from ...protocol import Colour, Description, Follows, PoolName, SpillText
from .. import StoreUnavailable
from ..archive import DocumentRecord, EntryRecord, PoolRecord, Record
from ..rows import Key, Row
from ..settling import names

REGISTERED_ID = "registered"
"""`_id` of the one document in `hosts`: the list of hosts registered by hand, in the shape of a pool without a name."""

# Dates outside Python's range must not make a document unreadable.
_OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(
    tz_aware=True, tzinfo=dt.UTC, datetime_conversion=DatetimeConversion.DATETIME_AUTO
)
_RAW_OPTIONS: CodecOptions[RawBSONDocument] = CodecOptions(
    document_class=RawBSONDocument, tz_aware=True, tzinfo=dt.UTC, datetime_conversion=DatetimeConversion.DATETIME_AUTO
)
_POSITIONS_SHOWN = 5

# What few pools have.
_SETTINGS = ("follows", "spill")

SHORT: Mapping[str, Any] = {
    **dict.fromkeys(("name", "description", "colour", *_SETTINGS, "deleted", "change.id", "change.after"), True),
    "hosts": "$clients.hostname",
    "clients": {"$cond": [{"$isArray": "$clients"}, {"$size": "$clients"}, None]},
}
"""What is read first of a document of the collection `pools`, a projection: names without the fields around them are a
third of the bytes, and are decoded in a tenth of the time."""

T = TypeVar("T", Entry, Step)


def key_of(document_id: object) -> Key:
    """The key of the document with this `_id`."""
    return bson.encode({"_id": document_id})


def id_of(key: Key) -> object:
    """The opposite of `key_of`."""
    assert isinstance(key, bytes)
    return RawBSONDocument(key, _RAW_OPTIONS)["_id"]


def read_row(document: RawBSONDocument) -> tuple[Key, Row | None]:
    """A document of the collection `pools`, and its key. None for one that is being deleted."""
    problems: list[str] = []
    try:
        fields = _decode(document)
    except ValueError as error:
        return _raw_key(document), Row(None, (str(error),))
    key = key_of(fields.get("_id"))
    if is_tombstone(fields):
        return key, None
    try:
        pool = _read_pool(fields, problems)
    except ValueError as error:
        return key, Row(None, (str(error),), _change_id(fields))
    return key, Row(pool, tuple(problems), _change_id(fields))


def read_short_row(document: RawBSONDocument) -> tuple[Key, Row | None] | None:
    """The same from the part of a document that `SHORT` returns; None if only the whole document tells what it is."""
    problems: list[str] = []
    try:
        fields = _decode(document)
        key = key_of(fields["_id"])
        if is_tombstone(fields):
            return key, None
        hosts = _names(fields.get("hosts"))
        # The projection drops a client without a name and leaves no gap.
        if hosts is None or len(hosts) != fields.get("clients"):
            return None
        fields["clients"] = []
        pool = replace(_read_pool(fields, problems), hosts=_once(hosts))
    except (ValueError, KeyError):
        return None
    return None if problems else (key, Row(pool, (), _change_id(fields)))


def read_registered_row(document: RawBSONDocument) -> Row:
    """The document of the hosts registered by hand."""
    problems: list[str] = []
    try:
        pool = read_registered(document, problems)
    except ValueError as error:
        return Row(None, (str(error),))
    return Row(pool, tuple(problems))


def _raw_key(document: RawBSONDocument) -> Key:
    try:
        return key_of(document["_id"])
    except (bson.errors.BSONError, ValueError, KeyError):
        # Not even the `_id` can be read: use the contents instead, since a change of those makes it another document.
        return hashlib.blake2b(document.raw).digest()


def _change_id(fields: Mapping[str, Any]) -> str:
    change = fields.get("change")
    found = change.get("id") if isinstance(change, Mapping) else None
    return found if isinstance(found, str) else ""


def read_pool(document: RawBSONDocument, problems: list[str]) -> Pool:
    """A document of the collection `pools`.

    Args:
        document: as it was read.
        problems: receives a sentence for everything that is left out.

    Raises:
        ValueError: it cannot be read as a pool. The message is a sentence for `problems`.
    """
    return _read_pool(_decode(document), problems)


def _read_pool(fields: Mapping[str, Any], problems: list[str]) -> Pool:
    label = f"The document {fields.get('_id')!r} in the collection pools"
    try:
        name = msgspec.convert(_plain(fields.get("name")), PoolName)
    except msgspec.ValidationError as error:
        raise ValueError(
            f"{label} counts as absent: its name {fields.get('name')!r} is not a valid name for a pool ({error}). "
            "Rename or delete it in the database."
        ) from None
    return _read(fields, name, f"The pool {name!r}", problems)


def read_registered(document: RawBSONDocument, problems: list[str]) -> Pool:
    """The document of the hosts registered by hand; otherwise like `read_pool`."""
    return _read(_decode(document), "", "The list of hosts registered by hand", problems)


def _decode(document: RawBSONDocument) -> dict[str, Any]:
    try:
        return bson.decode(document.raw, _OPTIONS)
    # The decoder raises its own errors, and Python's for text that is not UTF-8.
    except (bson.errors.BSONError, ValueError) as error:
        raise ValueError(
            f"A document of {len(document.raw):,} bytes cannot be read and counts as absent: {error}. "
            "Fix or delete it in the database."
        ) from None


def _read(fields: Mapping[str, Any], name: str, label: str, problems: list[str]) -> Pool:
    return Pool(
        name,
        _hosts(fields.get("clients"), label, problems),
        _text(fields, "description", Description, label, problems),
        _text(fields, "colour", Colour, label, problems),
        _text(fields, "follows", Follows, label, problems),
        _text(fields, "spill", SpillText, label, problems),
    )


def _hosts(clients: object, label: str, problems: list[str]) -> tuple[str, ...]:
    if not isinstance(clients, list):
        problems.append(f"{label} counts as empty: its clients are {_short(clients)}, not a list.")
        return ()
    try:
        names = _names([client["hostname"] for client in clients])
    except (TypeError, KeyError):
        names = None
    if names is not None:
        return _once(names)
    hosts: dict[str, None] = {}
    unusable: list[int] = []
    for position, client in enumerate(clients):
        host = _hostname(client)
        if isinstance(host, str) and host:
            # Each client's name is stored once in memory, however many pools it is in.
            hosts[intern(host)] = None
        else:
            unusable.append(position)
    if unusable:
        shown = ", ".join(map(str, unusable[:_POSITIONS_SHOWN])) + (", …" if len(unusable) > _POSITIONS_SHOWN else "")
        problems.append(
            f"{label} is read without {len(unusable)} of its {len(clients)} clients (number {shown}, counted from 0), "
            f"which have no hostname; the first of them is {_short(clients[unusable[0]])}."
        )
    return tuple(hosts)


def _names(found: object) -> list[str] | None:
    """The list that was found, if it has nothing but host names."""
    # Exactly this class: pymongo has subclasses of str.
    return found if isinstance(found, list) and set(map(type, found)) <= {str} and "" not in found else None


def _once(hosts: list[str]) -> tuple[str, ...]:
    # Each name is stored once in memory, however many pools it is in.
    return tuple(dict.fromkeys(map(intern, hosts)))


def _plain(value: Any) -> Any:
    """None for JavaScript code: pymongo returns it as a text with a scope, which cannot be a key of a dictionary."""
    return None if isinstance(value, bson.Code) else value


def _text(fields: Mapping[str, Any], key: str, kind: Any, label: str, problems: list[str]) -> str:
    value = fields.get(key, "")
    try:
        return str(msgspec.convert(value, kind))
    except msgspec.ValidationError as error:
        problems.append(f"{label} is read without its {key}, because that is {_short(value)}: {error}.")
        return ""


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


# --- writing --------------------------------------------------------------------------------------------------------


def new_document(pool: Pool, entry: Entry) -> dict[str, Any]:
    """The document of a new pool."""
    return {**pool_document(pool), "change": entry_document(entry)}


def pool_document(pool: Pool) -> dict[str, Any]:
    """The document of a pool, without the change that made it."""
    return {
        **({"name": pool.name} if pool.name else {"_id": REGISTERED_ID}),
        "clients": [_client(host) for host in pool.hosts],
        "description": pool.description,
        "colour": pool.colour,
        **{key: value for key in _SETTINGS if (value := getattr(pool, key))},
    }


def update(document: RawBSONDocument, before: Pool, after: Pool, entry: Entry) -> dict[str, Any]:
    """The update that turns `document`, which was read as `before`, into `after`. It names only what changes, so that
    foreign fields stay as they are, inside the clients as well."""
    fields: dict[str, Any] = {"change": entry_document(entry)}
    for key in ("name", "description", "colour"):
        if getattr(after, key) != getattr(before, key):
            fields[key] = getattr(after, key)
    settings: dict[str, Any] = {"$set": fields}
    for key in _SETTINGS:
        value = getattr(after, key)
        if value and value != getattr(before, key):
            fields[key] = value
        elif getattr(before, key) and not value:
            settings.setdefault("$unset", {})[key] = ""
    had, have = set(before.hosts), set(after.hosts)
    added, gone = [_client(host) for host in after.hosts if host not in had], had - have
    clients = document.get("clients")
    if (added or gone) and clients is not None and not isinstance(clients, list):
        raise StoreUnavailable(
            f"The clients of {before.name or 'the registered hosts'!r} in the database are {_short(clients)}, not a "
            "list. Fix the document first: a change would throw away what is in it."
        )
    if added and clients is None:
        return {**settings, "$set": {**fields, "clients": added}}
    if added and gone:
        # MongoDB cannot add to a list and remove from it in one update.
        kept = [client for client in clients or () if not _is_one_of(client, gone)]
        return {**settings, "$set": {**fields, "clients": [*kept, *added]}}
    # Most changes only add or only remove hosts; such an update does not repeat the others, which may be many.
    if added:
        return {**settings, "$push": {"clients": {"$each": added}}}
    if gone:
        return {**settings, "$pull": {"clients": {"hostname": {"$in": sorted(gone)}}}}
    return settings


def _is_one_of(client: object, names: Collection[str]) -> bool:
    """Whether a client is one of these hosts. Others may have written anything in place of a name."""
    name = _hostname(client)
    return isinstance(name, str) and name in names


def _hostname(client: object) -> object:
    if isinstance(client, bson.DBRef):
        # The driver returns another class for a document that begins with certain keys.
        client = client.as_doc()
    return _plain(client.get("hostname")) if isinstance(client, Mapping) else None


def tombstone(entry: Entry) -> dict[str, Any]:
    """The update that marks a pool as being deleted."""
    return {"$set": {"deleted": True, "change": entry_document(entry)}}


def is_tombstone(document: Mapping[str, Any]) -> bool:
    """True for a pool that is being deleted. `deleted` alone may be a foreign field."""
    if isinstance(document, RawBSONDocument) and b"deleted" not in document.raw:
        # True of nearly all documents: decoding a long list of hosts takes a hundred times as long as searching for a
        # word.
        return False
    change = document.get("change")
    return document.get("deleted") is True and isinstance(change, Mapping) and change.get("after") == ""


def exactly(document: RawBSONDocument) -> dict[str, Any]:
    """The filter that matches a document only as long as it is exactly what was read: neither another broker nor a
    person has touched it since."""
    return {"_id": {"$eq": document["_id"]}, "$expr": {"$eq": ["$$ROOT", {"$literal": document}]}}


def entry_document(entry: Entry) -> dict[str, Any]:
    """An entry as it is kept in a pool's document."""
    kept: dict[str, Any] = msgspec.to_builtins(entry, builtin_types=(dt.datetime,))
    return kept


def history_document(entry: Entry) -> dict[str, Any]:
    """An entry as it is kept in the collection `history`."""
    kept = entry_document(entry)
    return {"_id": kept.pop("id"), **kept, "names": names(entry), "changed": entry.changed}


def read_change(document: RawBSONDocument | None) -> Entry | None:
    """The entry of a pool's last change; None if the document is older than this project, or the entry is invalid."""
    if document is None:
        return None
    try:
        # Not by decoding the whole document: its clients may be many, and nothing else can run meanwhile.
        change = document.get("change")
        if isinstance(change, RawBSONDocument):
            change = bson.decode(change.raw, _OPTIONS)
        return msgspec.convert(change, Entry)
    except (msgspec.ValidationError, bson.errors.BSONError, ValueError):
        return None


def read_history(document: RawBSONDocument) -> Entry | None:
    """An entry of the collection `history`, None for one that cannot be read."""
    return _read_entry(document, Entry)


def read_step(document: RawBSONDocument) -> Step | None:
    """The same without the hosts."""
    return _read_entry(document, Step)


def _read_entry(document: RawBSONDocument, kind: type[T]) -> T | None:
    try:
        fields = _decode(document)
        return msgspec.convert({**fields, "id": fields.get("_id")}, kind)
    except (msgspec.ValidationError, ValueError):
        return None


# --- backups --------------------------------------------------------------------------------------------------------


def pool_record(document: RawBSONDocument, collection: str) -> Record:
    """A document of the collection `pools` or `hosts` as a backup keeps it."""
    problems: list[str] = []
    as_it_is = DocumentRecord(collection=collection, document=bytes(document.raw))
    try:
        if collection == "hosts" and document["_id"] != REGISTERED_ID:
            return as_it_is
        pool = read_registered(document, problems) if collection == "hosts" else read_pool(document, problems)
    except ValueError:
        return as_it_is
    fields = {"description": "", "colour": "", **_decode(document)}
    fields.pop("change", None)
    plain = pool_document(pool)
    if pool.name and isinstance(fields.get("_id"), bson.ObjectId):
        del fields["_id"]
    whole = not problems and fields == plain
    return PoolRecord.of(pool, b"" if whole else bytes(document.raw))


def history_record(document: RawBSONDocument) -> Record:
    """A document of the collection `history` as a backup keeps it."""
    entry = read_history(document)
    return (
        DocumentRecord(collection="history", document=bytes(document.raw))
        if entry is None
        else EntryRecord(entry=entry)
    )


def restored(record: PoolRecord | DocumentRecord | EntryRecord) -> tuple[str, Mapping[str, Any]]:
    """The collection that a record of a backup belongs to, and its document there."""
    match record:
        case PoolRecord():
            document = record.document and RawBSONDocument(record.document)
            return "pools" if record.name else "hosts", document or pool_document(record.pool)
        case EntryRecord():
            return "history", history_document(record.entry)
        case DocumentRecord():
            return record.collection, RawBSONDocument(record.document)


def _client(host: str) -> dict[str, str]:
    # The shape that the earlier project wrote, and may still read.
    return {"hostname": host, "engine": "", "ip": "", "port": ""}
