"""Pools to be imported, ranges of hosts, and the small files in which our programs remember something."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from random import Random

from tests.fuzz.mutations import changed_json, changed_text, edited
from tests.fuzz.target import Check, Target, stateless

from afpools import Pool, pool_menu
from afpools_broker.pools import folding, hosts
from afpools_broker.protocol import Code, RequestRefused
from afpools_tools import exchange
from afpools_tools.network import scan

# --- pools ----------------------------------------------------------------------------------------------------------

_POOLS = (
    Pool("fx", ("pc-01", "pc-03"), "", "effects, with 'quotes'", "#ff8800"),
    Pool("night", (), "", "two\nlines", ""),
)
_KNOWN = frozenset({"odd name", "pc [1]", "=cmd"})
_CELLS = ("pool", "host", "description", "colour", "fx", "'=1+1", '"', '""', ",", ";", "\t", "\n", "'", "pc-[1-3]")


def check_import(data: bytes) -> None:
    """A file is understood as a whole or not at all; what was understood can be written and read again."""
    try:
        pools = exchange.read_pools(data.decode("utf-8", "replace"), "pools.csv", _KNOWN)
    except exchange.ExchangeError as error:
        assert str(error).startswith("pools.csv")
        return
    assert len({pool.name for pool in pools}) == len(pools)
    for pool in pools:
        assert 1 <= len(pool.name) <= 64
        assert exchange.is_colour(pool.colour)
        for text in (*pool.hosts, pool.description):
            text.encode()  # on its way to the broker
    for write in exchange.FORMATS.values():
        if pools:
            again = exchange.read_pools(write(pools), "again", _KNOWN | {host for pool in pools for host in pool.hosts})
            assert again == pools, write


def _changed_import(data: bytes, random: Random) -> bytes:
    if data[:1] in (b"{", b"["):
        return changed_json(data, random)
    if not random.randint(0, 3):
        return changed_text(data, random)
    return edited(data.decode("utf-8", "replace"), random, _CELLS).encode("utf-8", "surrogatepass")


# --- ranges ---------------------------------------------------------------------------------------------------------

_RANGES = (
    "[",
    "]",
    "-",
    ",",
    "/",
    "[1-3]",
    "[01-10]",
    "[1-100000]",
    "0" * 30,
    "9" * 5000,
    "/0",
    "/2",
    "%",
    "&",
    "!",
    "@",
)


def check_ranges(data: bytes) -> None:
    """A range is expanded as ClusterShell does, or refused before it takes much time or memory."""
    patterns = data.decode("utf-8", "replace").split("\n")
    try:
        names = hosts.expand(patterns, _KNOWN)
    except RequestRefused as refusal:
        assert refusal.code in (Code.BAD_REQUEST, Code.TOO_LARGE)
        assert len(refusal.message) < 3000  # a NUL takes four characters
        return
    assert len(names) <= hosts.MAX_HOSTS_PER_CHANGE + len(patterns)
    assert len(set(names)) == len(names)
    assert hosts.expand(names, _KNOWN) == names
    if len(names) < 1000:
        folded = folding.fold(names)
        parts = [part for part in _split(folded) if part]
        assert set(hosts.expand(parts, frozenset(names))) == set(names), folded


def _split(folded: str) -> list[str]:
    """Splits at the commas outside brackets."""
    parts, depth = [""], 0
    for character in folded:
        depth += {"[": 1, "]": -1}.get(character, 0)
        if character == "," and depth <= 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _changed_ranges(data: bytes, random: Random) -> bytes:
    if not random.randint(0, 3):
        return changed_text(data, random)
    return edited(data.decode("utf-8", "replace"), random, _RANGES).encode("utf-8", "surrogatepass")


# --- what is remembered ---------------------------------------------------------------------------------------------

_MENU = {
    "profile": "",
    "fetched": 1.7e9,
    "pools": [{"name": "fx", "hosts": 3, "revision": "r", "description": "", "colour": "#ff8800"}],
}
_SCAN = {
    "network": "10.1.2.0/24", "started": "2026-11-23T12:00:00Z", "seconds": 1.5, "addresses": 254, "tried": 254,
    "findings": [
        {"address": "10.1.2.3", "resolved": "pc-01.lan", "port": 22, "accepted": True, "this_machine": False}
    ],
    "trouble": "", "version": 1,
}  # fmt: skip


@contextlib.contextmanager
def _remembered(folder: Path) -> Iterator[Check]:
    file = folder / "pools.json"

    def check(data: bytes) -> None:
        file.write_bytes(data)
        menu = pool_menu._remembered(str(file), "")
        # What every interface does with it each time it is drawn.
        for shown in (menu, pool_menu.Menu(menu.pools, menu.fetched, False, "The broker does not answer.")):
            assert isinstance(shown.status(1.8e9), str)
        for pool in menu.pools:
            assert menu.find(pool.name) is not None
            f"{pool.name} ({pool.hosts:,} hosts)".encode()

    yield check


@contextlib.contextmanager
def _last_scan(folder: Path) -> Iterator[Check]:
    file = folder / "last-scan.json"

    def check(data: bytes) -> None:
        file.write_bytes(data)
        try:
            result = scan.last_result(file)
        except scan.ScanError as error:
            assert str(file) in str(error)
            return
        scan.mark(result.findings, ())
        scan.keep(result, file)
        assert scan.last_result(file) == result

    yield check


TARGETS = (
    Target(
        "imports",
        stateless(check_import),
        lambda: (
            *(write(_POOLS).encode() for write in exchange.FORMATS.values()),
            b"pool;host;colour\nfx;pc-[01-03];#ff8800\nfx;gpu-1;\n",
        ),
        _changed_import,
    ),
    Target(
        "ranges",
        stateless(check_ranges),
        lambda: (b"pc-01\npc-[02-10]\ngpu-[1-8,12].lan\nr[1-2]n[1-4]", b"odd name\npc [1]", b"a[1-9/2]b"),
        _changed_ranges,
    ),
    Target("remembered-pools", _remembered, lambda: (json.dumps(_MENU).encode(),), changed_json),
    Target("last-scan", _last_scan, lambda: (json.dumps(_SCAN).encode(),), changed_json),
)
