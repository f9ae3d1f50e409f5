"""Pools in files: our own JSON, CSV for spreadsheets, and the earlier pool server's documents.

Strategy: pure functions from text to pools, from pools to text, and from what is wanted and what is there to the steps
between; only a step that is applied asks the broker. Reading checks everything, so that a file is imported as a whole
or not at all.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from afpools import Client, Pool, UnknownPool, WriteResult

from .output import CommandError, plural, ranges

COLOUR = re.compile(r"(#[0-9a-fA-F]{6})?")

_TEXTS = ("description", "colour")
_CSV_COLUMNS = ("pool", "host", *_TEXTS)


# --- from and to text -----------------------------------------------------------------------------------------------


def read_pools(text: str, where: str) -> list[Pool]:
    """The pools in a file's text, their hosts expanded.

    Args:
        text: JSON of ours, CSV of ours, or documents of the earlier pool server as mongoexport writes them (one a
            line, or all in a list).
        where: the file's name, for messages.

    Raises:
        CommandError: it is none of these, or something in it makes no sense.
    """
    text = text.removeprefix("\ufeff")
    entries = _json_entries(text, where) if text.lstrip()[:1] in ("{", "[", "") else _csv_entries(text, where)
    wanted: dict[str, Pool] = {}
    for number, entry in enumerate(entries, 1):
        pool = _read_pool(entry, number, where)
        if pool.name in wanted:
            raise CommandError(f"{where}: the pool {pool.name!r} is there twice.")
        wanted[pool.name] = pool
    return list(wanted.values())


def as_json(pools: Iterable[Pool]) -> str:
    """All there is to know of pools, to be kept or imported."""
    document = {
        "pools": [
            {"name": pool.name, "hosts": list(pool.hosts), "description": pool.description, "colour": pool.colour}
            for pool in pools
        ]
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def as_csv(pools: Iterable[Pool]) -> str:
    """A row for each host of a pool; one without a host for a pool that has none."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(_CSV_COLUMNS)
    for pool in pools:
        rows.writerows((pool.name, host, pool.description, pool.colour) for host in pool.hosts or ("",))
    return text.getvalue()


def _json_entries(text: str, where: str) -> list[Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        # mongoexport writes a document a line.
        lines = [line for line in text.splitlines() if line.strip()]
        try:
            document = [json.loads(line) for line in lines] if len(lines) > 1 else None
        except (ValueError, RecursionError):
            document = None
        if document is None:
            raise CommandError(f"{where} is not JSON: {error}.") from None
    earlier = document if isinstance(document, list) else [document]
    if earlier and all(isinstance(entry, dict) and isinstance(entry.get("clients"), list) for entry in earlier):
        return [_from_earlier(entry) for entry in earlier]
    entries = document.get("pools") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise CommandError(f"{where} has no list of pools. It must look like what `afpools pool export` writes.")
    return entries


def _from_earlier(document: Mapping[str, Any]) -> dict[str, Any]:
    """A document of the earlier pool server; ours have description and colour beside its fields."""
    hosts = [client.get("hostname") if isinstance(client, dict) else None for client in document["clients"]]
    return {"name": document.get("name"), "hosts": hosts, **{key: document.get(key) or "" for key in _TEXTS}}


def _csv_entries(text: str, where: str) -> list[dict[str, Any]]:
    first = text.partition("\n")[0]
    # Spreadsheets write semicolons where the comma is the decimal sign.
    rows = csv.DictReader(io.StringIO(text), delimiter=max(",;\t", key=first.count), strict=True)
    try:
        columns = [name.strip().lower() for name in rows.fieldnames or ()]
        rows.fieldnames = columns
        if not {"pool", "host"} <= set(columns) <= set(_CSV_COLUMNS):
            raise CommandError(
                f"{where} is neither JSON nor CSV with the columns {', '.join(_CSV_COLUMNS)}; its first line is "
                f"{first[:60]!r}."
            )
        entries: dict[str, dict[str, Any]] = {}
        for row in rows:
            values = {key: row.get(key) or "" for key in columns}
            values |= {key: values[key].strip() for key in ("pool", "host", "colour") if key in values}
            if not any(values.values()):
                continue
            entry = entries.setdefault(values["pool"], {"name": values["pool"], "hosts": []})
            if values["host"]:
                entry["hosts"].append(values["host"])
            for key in _TEXTS:
                if values.get(key):
                    entry[key] = values[key]
    except csv.Error as error:
        raise CommandError(f"{where} is not CSV: {error}, in line {rows.line_num}.") from None
    return list(entries.values())


def _read_pool(entry: Any, number: int, where: str) -> Pool:
    from afpools_broker.hosts import expand
    from afpools_broker.protocol import RequestRefused

    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or not entry["name"]:
        raise CommandError(f"{where}: pool number {number} has no name.")
    name = entry["name"]
    if unknown := entry.keys() - {"name", "hosts", *_TEXTS}:
        raise CommandError(f"{where}: the pool {name!r} has {unknown.pop()!r}, which no pool has.")
    hosts = entry.get("hosts", [])
    texts = [entry.get(key, "") for key in _TEXTS]
    if not isinstance(hosts, list) or not all(isinstance(value, str) for value in (*hosts, *texts)):
        raise CommandError(f"{where}: the pool {name!r} must have a list of names as hosts, and texts beside it.")
    if not COLOUR.fullmatch(texts[1]):
        raise CommandError(f"{where}: the pool {name!r}: {texts[1]!r} is not a colour: write it like '#3a7bd5'.")
    try:
        members = expand(hosts)
    except RequestRefused as error:
        raise CommandError(f"{where}: the pool {name!r}: {error.message}") from None
    return Pool(name, members, "", *texts)


# --- from and to the broker -----------------------------------------------------------------------------------------


def present_pools(client: Client, only: Collection[str] | None = None) -> Iterator[Pool]:
    """Pools as the broker has them, with their hosts.

    Args:
        client: asks.
        only: those with these names; else all.
    """
    for summary in client.list_pools().pools:
        if only is not None and summary.name not in only:
            continue
        try:
            yield client.get_pool(summary.name)
        except UnknownPool:
            continue  # deleted a moment ago


class Step(NamedTuple):
    """One change that brings a pool to what a file has."""

    text: str
    apply: Callable[[], WriteResult]


def steps(client: Client, wanted: Iterable[Pool], *, replace: bool) -> list[Step]:
    """What has to be done to make pools as a file has them; nothing, where they are.

    Args:
        client: does it.
        wanted: the pools as the file has them. Others stay as they are.
        replace: take away what the file does not have in a pool.
    """
    wanted = list(wanted)
    present = {pool.name: pool for pool in present_pools(client, {pool.name for pool in wanted})}
    return [step for pool in wanted for step in _steps(client, pool, present.get(pool.name), replace=replace)]


def _steps(client: Client, wanted: Pool, now: Pool | None, *, replace: bool) -> Iterator[Step]:
    name, texts = wanted.name, {"description": wanted.description, "colour": wanted.colour}
    if now is None:
        yield Step(
            f"{name}: create with {plural(len(wanted.hosts), 'host')}",
            lambda: client.create_pool(name, wanted.hosts, **texts),
        )
        return
    have, want = set(now.hosts), set(wanted.hosts)
    missing = [host for host in wanted.hosts if host not in have]
    if missing:
        yield Step(f"{name}: + {ranges(missing)}", lambda: client.add_hosts(name, missing))
    extra = [host for host in now.hosts if host not in want]
    if extra and replace:
        yield Step(f"{name}: - {ranges(extra)}", lambda: client.remove_hosts(name, extra))
    changed = {key: value for key, value in texts.items() if value != getattr(now, key) and (value or replace)}
    if changed:
        yield Step(
            f"{name}: " + ", ".join(f"{key} {value!r}" for key, value in changed.items()),
            lambda: client.update_pool(name, **changed),
        )
