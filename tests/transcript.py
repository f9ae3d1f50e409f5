"""Transcripts of the wire: what was asked of a broker of version 0.1.0, and what it answered.

A version of the protocol is a promise. `python -m tests.transcript FILE` records `SCENARIO` once, when the protocol
gets a new version; test_transcripts.py then asks every later broker the same. It may say more, never less.

In a transcript, `$NAME` stands for something that each broker makes up, such as a revision or the id of a change: an
answer that has it for the first time says what it is, and later requests and answers must have the same. `~text`,
`~number` and `~time` stand for what differs each time and depends on nothing.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.desk import MANAGER, READER, Desk, open_desk

_PEERS = {"manager": MANAGER, "reader": READER}

SCENARIO: list[tuple[str, str, dict[str, Any]]] = [
    ("reader", "hello", {}),
    ("manager", "hello", {}),
    ("reader", "pools.list", {}),
    ("reader", "hosts.list", {}),
    ("reader", "hosts.list", {"limit": 2}),
    ("reader", "hosts.list", {"limit": 2, "after": "pc-02"}),
    # Pools come and change.
    ("manager", "pools.create", {"pool": "fx", "hosts": ["pc-[01-02]", "pc-04"], "description": "Simulation"}),
    ("manager", "pools.create", {"pool": "empty"}),
    ("manager", "pools.create", {"pool": "night", "hosts": ["pc-05"], "colour": "#ff8800"}),
    ("reader", "pools.list", {}),
    ("reader", "pools.get", {"pool": "fx"}),
    ("manager", "pools.add_hosts", {"pool": "fx", "hosts": ["pc-03"]}),
    ("manager", "pools.remove_hosts", {"pool": "fx", "hosts": ["pc-04"]}),
    ("manager", "pools.update", {"pool": "fx", "description": "Fire and water", "colour": "#00ff88"}),
    ("manager", "pools.rename", {"pool": "night", "new_name": "nights"}),
    ("manager", "pools.delete", {"pool": "nights"}),
    ("reader", "pools.get", {"pool": "fx"}),
    # Masks in every style, alone and joined with a job's own.
    ("reader", "mask", {"pool": "fx"}),
    ("reader", "mask", {"pool": "fx", "style": "list"}),
    ("reader", "mask", {"pool": "fx", "style": "compact"}),
    ("reader", "mask", {"pool": "fx", "style": "complement"}),
    ("reader", "mask", {"pool": "fx", "style": "complement", "future_hosts": "required", "max_bytes": 65536}),
    ("reader", "mask", {"pool": "fx", "exclude": "pc-01", "exclude_type": "find"}),
    ("reader", "mask", {"pool": "fx", "exclude": "pc-0[12]", "exclude_type": "regex", "style": "complement"}),
    # Hosts that afserver does not know yet.
    ("manager", "hosts.register", {"hosts": ["pc-[07-08]"]}),
    ("manager", "hosts.forget", {"hosts": ["pc-08"]}),
    ("reader", "mask", {"pool": "fx"}),
    ("reader", "mask", {"pool": "fx", "style": "complement"}),
    # History, and a way back.
    ("manager", "history.list", {}),
    ("manager", "history.list", {"pool": "fx", "limit": 1}),
    ("manager", "history.undo", {"entry": "$change5"}),
    ("reader", "pools.get", {"pool": "fx"}),
    # Refusals.
    ("reader", "pools.create", {"pool": "mine"}),
    ("manager", "pools.create", {"pool": "fx"}),
    ("manager", "pools.create", {"pool": "FX"}),
    ("manager", "pools.create", {"pool": "odd", "hosts": ["nowhere"]}),
    ("manager", "pools.update", {"pool": "fx", "if_revision": "0000000000000000", "description": "late"}),
    ("reader", "pools.get", {"pool": "gone"}),
    ("reader", "mask", {"pool": "gone"}),
    ("reader", "mask", {"pool": "empty"}),
    ("reader", "mask", {"pool": "fx", "accept": ["find"], "future_hosts": "required"}),
    ("reader", "mask", {"pool": "fx", "stile": "list"}),
    ("reader", "no.such.operation", {}),
    ("reader", "jobs.list", {}),
]

# Fields that differ each time, whatever is asked.
_VARIES = {"age": "~number", "farm_age": "~number", "when": "~time", "version": "~text", "why_not": "~text"}
_MADE_UP = ("revision", "change")
_WRITES = re.compile(
    r"pools\.(create|add_hosts|remove_hosts|update|rename|delete)|hosts\.(register|forget)|history\.undo"
)


def replay(desk: Desk, lines: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Asks a broker what a transcript says; yields each line, and what is different or missing in the answer."""
    known: dict[str, Any] = {}
    for line in lines:
        request = _filled(line["request"], known)
        answer = desk.raw(json.dumps(request).encode(), _PEERS[line["peer"]])
        yield line, {"answer": answer, "differences": list(_differences(line["answer"], answer, known, ""))}


def _filled(value: Any, known: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(inner, known) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, known) for inner in value]
    return known.get(value, value) if isinstance(value, str) else value


def _differences(recorded: Any, now: Any, known: dict[str, Any], where: str) -> Iterator[str]:
    if isinstance(recorded, dict) and isinstance(now, dict):
        for key, value in recorded.items():
            if key in now:
                yield from _differences(value, now[key], known, f"{where}.{key}")
            else:
                yield f"{where}.{key} is missing"
    elif isinstance(recorded, list) and isinstance(now, list) and where.endswith(".operations"):
        yield from (f"{where} has no {op!r}" for op in recorded if op not in now)
    elif isinstance(recorded, list) and isinstance(now, list):
        if len(recorded) != len(now):
            yield f"{where} has {len(now)} entries, not {len(recorded)}"
        for number, (value, other) in enumerate(zip(recorded, now, strict=False)):
            yield from _differences(value, other, known, f"{where}[{number}]")
    elif isinstance(recorded, str) and recorded.startswith("$"):
        if known.setdefault(recorded, now) != now or not isinstance(now, str):
            yield f"{where} is {now!r}, not the {recorded} of before, {known[recorded]!r}"
    elif isinstance(recorded, str) and recorded.startswith("~"):
        kinds = {"~number": (int, float), "~text": (str,), "~time": (str,)}
        if not isinstance(now, kinds[recorded]) or isinstance(now, bool):
            yield f"{where} is {now!r}, not a {recorded[1:]}"
    elif type(recorded) is not type(now) or recorded != now:
        yield f"{where} is {now!r}, not {recorded!r}"


def record(desk: Desk) -> list[dict[str, Any]]:
    """Asks a broker the whole scenario, and writes down what it answers."""
    lines = []
    known: dict[str, Any] = {}
    for number, (peer, op, params) in enumerate(SCENARIO):
        if _WRITES.fullmatch(op):
            params = {**params, "request_id": f"request {number}"}
        request = {"v": 1, "id": str(number), "op": op, "params": params}
        answer = desk.raw(json.dumps(_filled(request, known)).encode(), _PEERS[peer])
        lines.append({"peer": peer, "request": request, "answer": _kept(answer, known, "")})
    return lines


def _kept(value: Any, known: dict[str, Any], key: str) -> Any:
    """An answer as it stands in a transcript."""
    if isinstance(value, dict):
        if {"code", "message"} <= set(value):
            value = {**value, "message": "~"}
        return {inner: _kept(what, known, inner) for inner, what in value.items()}
    if isinstance(value, list):
        return [_kept(inner, known, key) for inner in value]
    if value is not None and key in _VARIES:
        return _VARIES[key]
    if key == "message" and value == "~":
        return "~text"
    names = {made: name for name, made in known.items()}
    if isinstance(value, str) and value in names and len(value) > 8:
        return names[value]
    if isinstance(value, str) and value and key in _MADE_UP:
        name = f"${key}{sum(other.startswith(f'${key}') for other in known)}"
        known[name] = value
        return name
    return value


def read(file: Path) -> list[dict[str, Any]]:
    """A transcript's lines."""
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def main() -> None:
    file = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder, open_desk(Path(folder, "pools.sqlite")) as desk:
        lines = record(desk)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), "utf-8")


if __name__ == "__main__":
    main()
