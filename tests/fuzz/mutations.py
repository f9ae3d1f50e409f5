"""Turns valid input into invalid: bytes, texts, and the values of JSON, TOML and BSON.

Each function takes the randomness it uses, so that hypothesis and libFuzzer, which have their own, can both drive it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

TEXTS = (
    "",
    " ",
    "a",
    "\0",
    "\n",
    "\r\n",
    "\x1b[2J",
    "\x7f",
    "é",
    "日本",
    "😀",
    "ß",
    "İ",
    "ſ",
    "\u200b",
    "\u2028",
    "\u202e",
    "\ufeff",
    "\ud800",  # half a character, which JSON can express and UTF-8 cannot
    "\udcff",
    "%s%n",
    "../../etc/passwd",
    "=1+1",
    "0",
    "-1",
    "1e999",
    "9" * 20,
    "9" * 5000,  # int() refuses so many digits
    "pc-[1-3]",
    "pc-[1-99999999999]",
    "(a+)+b",
    "a" * 300,
)

NUMBERS = (0, 1, -1, 2, 255, 256, 65535, 65536, 2**31, 2**32, 2**53, 2**63, 2**64, -(2**63), 10**25, 0.5, 1e308, -1e-9)
STRANGE_NUMBERS = (*NUMBERS, float("inf"), float("-inf"), float("nan"))

Value = Any


def damaged(data: bytes, random: Random) -> bytes:
    """Bytes with a few of them changed, taken out, put in or repeated."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 4))):
        at = random.randint(0, len(changed))
        to = min(len(changed), at + random.choice((1, 1, 2, 4, 16)))
        match random.randint(0, 5):
            case 0:
                del changed[at:to]
            case 1:
                changed[at:at] = random.randbytes(random.choice((1, 2, 9)))
            case 2:
                changed[at:at] = changed[at:to] * random.choice((1, 2, 50))
            case 3:
                changed[at:to] = bytes([random.choice((0, 1, 0x7F, 0x80, 0xFF))]) * (to - at)
            case 4:
                del changed[at:]
            case _ if at < to:
                changed[at] ^= 1 << random.randint(0, 7)
    return bytes(changed)


def edited(text: str, random: Random, words: tuple[str, ...] = TEXTS) -> str:
    """A text with something taken out, put in, repeated, or replaced by a word that means something to its reader."""
    for _ in range(random.choice((1, 1, 2, 3))):
        at = random.randint(0, len(text))
        to = min(len(text), at + random.choice((0, 0, 1, 2, 8)))
        put = random.choice(
            (random.choice(words), random.choice(words), text[at:to] * 2, chr(random.randint(0, 0x2FF)))
        )
        text = text[:at] + put + text[to:]
    return text


def changed(value: Value, random: Random, leaf: Callable[[Random], Value] | None = None) -> Value:
    """A value of dictionaries, lists and leaves with one thing in it changed.

    Args:
        value: is not itself changed.
        leaf: makes a new leaf; those of JSON if None.
    """
    new = leaf or json_leaf
    # Mostly down to a leaf: errors further up are soon found.
    if isinstance(value, dict) and value and random.randint(0, 15):
        key = random.choice(list(value))
        match random.randint(0, 15):
            case 0:
                return {name: item for name, item in value.items() if name != key}
            case 1:
                return {**value, random.choice((*TEXTS, key.upper(), key + "s")): new(random)}
            case 2:
                other = random.choice(list(value))
                return {**value, key: value[other]}
            case _:
                return {**value, key: changed(value[key], random, leaf)}
    if isinstance(value, list) and value and random.randint(0, 15):
        at = random.randint(0, len(value) - 1)
        match random.randint(0, 15):
            case 0:
                return value[:at] + value[at + 1 :]
            case 1:
                return value[: at + 1] * random.choice((2, 3, 40))
            case 2:
                return [*value[:at], new(random), *value[at:]]
            case _:
                return [*value[:at], changed(value[at], random, leaf), *value[at + 1 :]]
    if isinstance(value, str) and random.randint(0, 3):
        return edited(value, random) if random.randint(0, 1) else value + random.choice(TEXTS)
    match random.randint(0, 5):
        case 0:
            return [value] * random.randint(0, 3)
        case 1:
            return {"name": value}
        case _:
            return new(random)


def json_leaf(random: Random) -> Value:
    return random.choice((None, True, False, random.choice(STRANGE_NUMBERS), random.choice(TEXTS), [], {}))


def as_json(value: Value) -> bytes:
    """JSON as Python writes it, including half characters and values such as NaN."""
    return json.dumps(value).encode()


def changed_json(data: bytes, random: Random) -> bytes:
    """A JSON text with something changed in what it says, or in how it is written."""
    if random.randint(0, 4):
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            return damaged(data, random)
        for _ in range(random.choice((1, 1, 1, 2))):
            value = changed(value, random)
        return as_json(value)
    return random.choice((damaged, _nested, _said_twice))(data, random)


def _nested(data: bytes, random: Random) -> bytes:
    """Brackets deeper than a stack, around or within."""
    depth, opening, closing = random.choice((50, 1500, 100_000)), *random.choice(((b"[", b"]"), (b'{"a":', b"}")))
    inner = opening * depth + (data if random.randint(0, 1) else b"1") + closing * depth * random.randint(0, 1)
    at = data.find(b":", random.randint(0, len(data))) + 1
    return inner if not at else data[:at] + inner + data[at:]


def _said_twice(data: bytes, random: Random) -> bytes:
    """An object with all its keys twice."""
    text = data.strip()
    return text[:-1] + b"," + changed_json(text, random).strip()[1:] if text.endswith(b"}") else data


def changed_text(data: bytes, random: Random) -> bytes:
    """UTF-8 with something changed."""
    if not random.randint(0, 5):
        return damaged(data, random)
    return edited(data.decode("utf-8", "replace"), random).encode("utf-8", "surrogatepass")
