"""Pools in files: our own JSON, CSV for spreadsheets, and the earlier pool server's documents.

Strategy: pure functions from text to pools, from pools to text, and from the wanted and the current pools to the steps
between; only applying a step asks the broker. Reading checks everything, so that a file with an error changes nothing.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple, get_args

from afpools import (
    AfpoolsError,
    BadRequest,
    Client,
    Conflict,
    Pool,
    PoolExists,
    UnknownHost,
    UnknownOp,
    UnknownPool,
    WriteResult,
)

from .errors import ToolError
from .words import plural, ranges

_TEXTS = ("description", "colour")
_CSV_COLUMNS = ("pool", "host", *_TEXTS)

MAX_HOSTS_FROM_RANGES = 500_000
"""How many hosts all ranges of one file may expand to: five times the largest farm we measure with. Expanding them
takes about a second. Names that are written out are not counted: the file's size limits them."""


class ExchangeError(ToolError):
    """A file of pools cannot be used."""


# --- from and to text -----------------------------------------------------------------------------------------------


def read_pools(text: str, where: str, known: frozenset[str] = frozenset()) -> list[Pool]:
    """The pools in a file's text, their hosts expanded.

    Args:
        text: our JSON, our CSV, or documents of the earlier pool server as mongoexport writes them (one on each line,
            or all in a list).
        where: the file's name, for messages.
        known: the broker's hosts, which are accepted as they are, whatever characters they contain: a render can have
            any name, and an export must be importable.

    Raises:
        ExchangeError: the text is none of these, or something in it makes no sense.
    """
    text = text.removeprefix("\ufeff")
    if text.lstrip()[:1] not in ("{", "[", ""):
        return _expanded(_csv_pools(text, where), known)
    wanted: dict[str, _Wanted] = {}
    for number, entry in enumerate(_json_entries(text, where), 1):
        pool = _read_pool(entry, number, where)
        if pool.name in wanted:
            raise ExchangeError(f"{where}: the pool {pool.name!r} is there twice.")
        wanted[pool.name] = pool
    return _expanded(wanted.values(), known)


class _Wanted:
    """A pool as a file has it. Its hosts have not been expanded yet; each has its place in the file, and so do the
    texts, with their line if the format has lines."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.hosts: list[tuple[str, str]] = []
        self.texts: dict[str, tuple[str, int]] = {}

    def text(self, key: str) -> str:
        return self.texts[key][0] if key in self.texts else ""


def _expanded(pools: Collection[_Wanted], known: frozenset[str]) -> list[Pool]:
    """The pools with all their hosts. Ranges are counted before any is expanded: each alone, all of a pool (which is
    one change), and all of the file."""
    from afpools_broker.pools.hosts import MAX_HOSTS_PER_CHANGE, how_many

    in_file = 0
    for pool in pools:
        in_pool = 0
        for pattern, at in pool.hosts:
            made = 0 if pattern in known else how_many(pattern)
            if made < 2:
                continue
            in_pool += made
            in_file += made
            if in_pool > MAX_HOSTS_PER_CHANGE:
                raise ExchangeError(
                    f"{at}: with {pattern!r} the ranges of the pool {pool.name!r} make more than "
                    f"{MAX_HOSTS_PER_CHANGE:,} hosts. Look for a mistyped digit."
                )
            if in_file > MAX_HOSTS_FROM_RANGES:
                raise ExchangeError(
                    f"{at}: with {pattern!r} the ranges of this file make more than {MAX_HOSTS_FROM_RANGES:,} hosts. "
                    "Split the file, or look for a mistyped digit."
                )
    return [
        Pool(pool.name, _members(pool.hosts, known), "", pool.text("description"), pool.text("colour"))
        for pool in pools
    ]


def as_json(pools: Iterable[Pool]) -> str:
    """Everything about pools, as JSON to keep or import."""
    document = {
        "pools": [
            {"name": pool.name, "hosts": list(pool.hosts), "description": pool.description, "colour": pool.colour}
            for pool in pools
        ]
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def as_csv(pools: Iterable[Pool]) -> str:
    """CSV with one row for each host of a pool; a pool without hosts has one row without a host."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(_CSV_COLUMNS)
    for pool in pools:
        for host in pool.hosts or ("",):
            rows.writerow(_no_formula(cell) for cell in (pool.name, host, pool.description, pool.colour))
    return text.getvalue()


def as_documents(pools: Iterable[Pool]) -> str:
    """Documents of the earlier pool server, one on each line, for `mongoimport -d afpools -c pools`."""
    lines = []
    for pool in pools:
        clients = [{"hostname": host, "engine": "", "ip": "", "port": ""} for host in pool.hosts]
        texts = {key: getattr(pool, key) for key in _TEXTS if getattr(pool, key)}
        lines.append(json.dumps({"name": pool.name, "clients": clients, **texts}, ensure_ascii=False) + "\n")
    return "".join(lines)


# A spreadsheet runs a text that begins with one of these as a formula, and names and descriptions come from other
# people. The remedy is OWASP's ("CSV injection"): an apostrophe in front. Reading removes an apostrophe before any of
# these, or before another apostrophe.
_FORMULA = "=+-@\t\r"


def _no_formula(cell: str) -> str:
    marked = cell[:1] == "'" and cell[1:2] and cell[1:2] in f"{_FORMULA}'"
    return f"'{cell}" if marked or (cell and cell[0] in _FORMULA) else cell


def _read_cell(cell: str) -> str:
    return cell[1:] if cell[:1] == "'" and cell[1:2] and cell[1:2] in f"{_FORMULA}'" else cell


FORMATS: dict[str, Callable[[Iterable[Pool]], str]] = {"json": as_json, "csv": as_csv, "jsonl": as_documents}
"""The format, from the suffix of the file's name."""


def _json_entries(text: str, where: str) -> list[Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        # mongoexport writes one document on each line. Not `splitlines`: descriptions may contain other characters that
        # it takes for line ends.
        lines = [line for line in text.split("\n") if line.strip()]
        try:
            document = [json.loads(line) for line in lines] if len(lines) > 1 else None
        except (ValueError, RecursionError):
            document = None
        if document is None:
            raise ExchangeError(f"{where} is not JSON: {error}.") from None
    earlier = document if isinstance(document, list) else [document]
    if earlier and all(isinstance(entry, dict) and isinstance(entry.get("clients"), list) for entry in earlier):
        return [_from_earlier(entry) for entry in earlier]
    entries = document.get("pools") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ExchangeError(f"{where} has no list of pools. It must look like what `afpools pool export` writes.")
    return entries


def _from_earlier(document: Mapping[str, Any]) -> dict[str, Any]:
    """A document of the earlier pool server; ours also have description and colour."""
    hosts = [client.get("hostname") if isinstance(client, dict) else None for client in document["clients"]]
    return {"name": document.get("name"), "hosts": hosts, **{key: document.get(key) or "" for key in _TEXTS}}


def _csv_pools(text: str, where: str) -> Collection[_Wanted]:
    first = text.partition("\n")[0]
    # Spreadsheets write semicolons in locales in which the comma is the decimal separator.
    rows = csv.reader(io.StringIO(text), delimiter=max(",;\t", key=first.count), strict=True)
    found: dict[str, _Wanted] = {}
    try:
        columns = [name.strip().lower() for name in next(rows)]
        if not {"pool", "host"} <= set(columns) <= set(_CSV_COLUMNS):
            raise ExchangeError(
                f"{where} is neither JSON nor CSV with the columns {', '.join(_CSV_COLUMNS)}; its first line is "
                f"{first[:60]!r}."
            )
        if len(set(columns)) < len(columns):
            raise ExchangeError(f"{where}, line 1: a column is there twice: {', '.join(columns)}.")
        line = rows.line_num + 1
        for cells in rows:
            _read_row(cells, columns, f"{where}, line {line}", line, found)
            line = rows.line_num + 1
    except csv.Error as error:
        raise ExchangeError(f"{where} is not CSV: {error}, in line {rows.line_num}.") from None
    return found.values()


def _read_row(cells: list[str], columns: list[str], at: str, line: int, found: dict[str, _Wanted]) -> None:
    if any(cell.strip() for cell in cells[len(columns) :]):
        raise ExchangeError(
            f"{at}: {len(cells)} cells under {len(columns)} columns, {cells[len(columns)]!r} is one too many. A text "
            "that holds the separator must stand in quotes."
        )
    values = dict.fromkeys(_CSV_COLUMNS, "") | dict(zip(columns, cells, strict=False))
    values |= {key: values[key].strip() for key in ("pool", "host", "colour")}
    values = {key: _read_cell(value) for key, value in values.items()}
    if not any(values.values()):
        return
    name = _checked_name(values["pool"], at)
    pool = found.setdefault(name, _Wanted(name))
    if values["host"]:
        pool.hosts.append((values["host"], at))
    for key in _TEXTS:
        # An empty cell says nothing: people fill in such a column once for each pool.
        value = _CHECKS[key](values[key], at)
        before, its_line = pool.texts.get(key, ("", 0))
        if value and before and value != before:
            raise ExchangeError(
                f"{at}: the pool {name!r} has the {key} {value!r} here, and {before!r} in line {its_line}. Give it one."
            )
        if value and not before:
            pool.texts[key] = value, line


def _read_pool(entry: Any, number: int, where: str) -> _Wanted:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or not entry["name"]:
        raise ExchangeError(f"{where}: pool number {number} has no name.")
    name = _checked_name(entry["name"], where)
    at = f"{where}: the pool {name!r}"
    if unknown := entry.keys() - {"name", "hosts", *_TEXTS}:
        raise ExchangeError(f"{at} has {unknown.pop()!r}, which no pool has.")
    hosts = entry.get("hosts", [])
    texts = {key: entry.get(key, "") for key in _TEXTS}
    if not isinstance(hosts, list) or not all(isinstance(value, str) for value in (*hosts, *texts.values())):
        raise ExchangeError(f"{at} must have a list of names as hosts, and texts beside it.")
    pool = _Wanted(name)
    pool.hosts = [(host, at) for host in hosts]
    pool.texts = {key: (_CHECKS[key](texts[key], at), 0) for key in _TEXTS}
    return pool


# --- values, checked as the broker does -----------------------------------------------------------------------------
# `at`: where a value is, for messages.


def _checked_name(name: str, at: str) -> str:
    import msgspec

    from afpools_broker.protocol import PoolName

    if not name:
        raise ExchangeError(f"{at}: the pool has no name.")
    _check_characters(name, at)
    try:
        return msgspec.convert(name, PoolName)
    except msgspec.ValidationError:
        raise ExchangeError(
            f"{at}: {name!r} cannot be a pool's name, which has at most 64 characters, none of them invisible, and no "
            "blank at either end."
        ) from None


def _checked_description(description: str, at: str) -> str:
    from afpools_broker.protocol import Description

    _check_characters(description, at)
    most = get_args(Description)[1].max_length
    if len(description) > most:
        raise ExchangeError(f"{at}: a description of {len(description):,} characters; the broker takes {most:,}.")
    return description


def is_colour(text: str) -> bool:
    """Whether the broker accepts this as a pool's colour."""
    import msgspec

    from afpools_broker.protocol import Colour

    try:
        msgspec.convert(text, Colour)
    except msgspec.ValidationError:
        return False
    return True


def _checked_colour(colour: str, at: str) -> str:
    if not is_colour(colour):
        raise ExchangeError(f"{at}: {colour!r} is not a colour: write it like '#3a7bd5'.")
    return colour


_CHECKS = {"description": _checked_description, "colour": _checked_colour}


def _members(hosts: Iterable[tuple[str, str]], known: frozenset[str]) -> tuple[str, ...]:
    from afpools_broker.pools.hosts import expand
    from afpools_broker.protocol import RequestRefused

    found: dict[str, None] = {}
    for at, together in groupby(hosts, itemgetter(1)):
        patterns = [pattern for pattern, _ in together]
        for pattern in patterns:
            _check_characters(pattern, at)
        try:
            found.update(dict.fromkeys(expand(patterns, known)))
        except RequestRefused as error:
            raise ExchangeError(f"{at}: {error.message}") from None
    return tuple(found)


def _check_characters(text: str, at: str) -> None:
    """Refuses lone surrogates. JSON can write them (\\ud800), but UTF-8 cannot: we could neither send nor show them."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ExchangeError(
            f"{at}: {text!r} holds {text[error.start]!r}, which is half of a character. Write the whole character."
        ) from None


# --- from and to the broker -----------------------------------------------------------------------------------------


def present_pools(client: Client, only: Collection[str] | None = None) -> Iterator[Pool]:
    """The broker's pools, with their hosts.

    Args:
        client: the client to ask.
        only: the names of the pools to read; all if not given.
    """
    for summary in client.list_pools().pools:
        if only is not None and summary.name not in only:
            continue
        try:
            yield client.get_pool(summary.name)
        except UnknownPool:
            continue  # deleted a moment ago


def known_hosts(client: Client) -> frozenset[str]:
    """The names that `read_pools` accepts as they are."""
    return frozenset(host.name for host in client.list_hosts().hosts)


class Step(NamedTuple):
    """One change that makes a pool more like the one in a file. `check` changes nothing and raises what `apply` would;
    it returns a sentence if the names of its hosts cannot be checked, else an empty string. `added` and `removed` are
    the hosts that an existing pool gets and loses."""

    pool: str
    text: str
    apply: Callable[[], WriteResult]
    check: Callable[[], str] = str
    added: Sequence[str] = ()
    removed: Sequence[str] = ()


class Preview(NamedTuple):
    """What an import would do now: the steps that would be made, why pools would be refused, and a sentence if the
    names of hosts cannot be checked, else an empty string."""

    steps: tuple[Step, ...]
    refused: dict[str, AfpoolsError]
    unchecked: str


def steps(client: Client, wanted: Iterable[Pool], *, replace: bool, new_hosts: bool = False) -> list[Step]:
    """The steps that make pools as a file has them; none if they already are.

    Args:
        client: applies the steps.
        wanted: the pools as the file has them. Others stay as they are.
        replace: remove hosts from a pool that the file does not list in it.
        new_hosts: also accept machines that the farm has not seen.
    """
    wanted = list(wanted)
    present = {pool.name: pool for pool in present_pools(client, {pool.name for pool in wanted})}
    add = _Adding(client, new_hosts)
    return [step for pool in wanted for step in _steps(add, pool, present.get(pool.name), replace=replace)]


class _Adding(NamedTuple):
    """The step that adds hosts; arguments as for `steps`."""

    client: Client
    new_hosts: bool

    def step(self, pool: str, hosts: list[str], leaving: Collection[str] = ()) -> Step:
        return Step(
            pool,
            f"{pool}: + {ranges(hosts)}",
            lambda: self.client.add_hosts(pool, hosts, new_hosts=self.new_hosts),
            lambda: self.check(pool, hosts, leaving),
            added=hosts,
        )

    def check(self, pool: str, hosts: Collection[str], leaving: Collection[str] = ()) -> str:
        try:
            return self.client.check_hosts(pool, hosts, leaving=leaving, new_hosts=self.new_hosts)
        except UnknownOp:
            return "The names could not be checked: this broker only checks them when they are imported. Update it."


def _steps(add: _Adding, wanted: Pool, now: Pool | None, *, replace: bool) -> Iterator[Step]:
    from afpools_broker.pools.pool import as_afrender_would

    client, name, texts = add.client, wanted.name, {"description": wanted.description, "colour": wanted.colour}
    if now is None:
        yield Step(
            name,
            f"{name}: create with {plural(len(wanted.hosts), 'host')}",
            lambda: client.create_pool(name, wanted.hosts, **texts, new_hosts=add.new_hosts),
            lambda: add.check(name, wanted.hosts),
        )
        return
    have, want = set(now.hosts), set(wanted.hosts)
    missing = [host for host in wanted.hosts if host not in have]
    extra = [host for host in now.hosts if host not in want] if replace else []
    # A machine that is spelled differently in the file is removed before it is added, because a pool cannot have it
    # twice. The others are added first: if one of them is refused, nothing has been removed yet.
    leaving = set(map(as_afrender_would, extra))
    respelled = [host for host in missing if as_afrender_would(host) in leaving]
    if others := [host for host in missing if host not in set(respelled)]:
        yield add.step(name, others)
    if extra:
        yield Step(name, f"{name}: - {ranges(extra)}", lambda: client.remove_hosts(name, extra), removed=extra)
    if respelled:
        coming = set(map(as_afrender_would, respelled))
        yield add.step(name, respelled, [host for host in extra if as_afrender_would(host) in coming])
    changed = {key: value for key, value in texts.items() if value != getattr(now, key) and (value or replace)}
    if changed:
        yield Step(
            name,
            f"{name}: " + ", ".join(f"{key} {value!r}" for key, value in changed.items()),
            lambda: client.update_pool(name, changed.get("description"), changed.get("colour")),
        )


def preview(steps: Iterable[Step]) -> Preview:
    """What an import would do now, without doing it.

    Raises:
        AfpoolsError: something that would end the import.
    """
    would: list[Step] = []
    refused: dict[str, AfpoolsError] = {}
    unchecked = ""
    for step in steps:
        if step.pool in refused:
            continue
        try:
            unchecked = step.check() or unchecked
        except AfpoolsError as error:
            if not refuses_pool(error):
                raise
            refused[step.pool] = error
        else:
            would.append(step)
    return Preview(tuple(would), refused, unchecked)


def refuses_pool(error: AfpoolsError) -> bool:
    """Whether an error is only about one pool of a file and its hosts; the others can still be imported."""
    # The conflict is of a pool that follows one of Afanasy's: an import names no revision.
    return isinstance(error, (UnknownHost, BadRequest, PoolExists, Conflict))
