"""Writes many names as one short expression, by their common beginnings: pure functions.

Strategy: there is no tree of nodes. In a sorted list, names with a common beginning are adjacent, so a node is a range
of the list, and bisection finds its end. Twenty thousand names take milliseconds.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from string import ascii_lowercase, ascii_uppercase, digits

MAX_LEVELS = 60
"""How deeply the groups of an expression may nest. The names of a farm need three to six levels; a chain of names that
are prefixes of one another (a, aa, aaa …) would need one for each, and both our stack and that of std::regex are
finite."""

# ECMAScript's SyntaxCharacter: any other character stands for itself; `-` is special within [ ] only.
_SPECIAL = frozenset(r"^$\.*+?()[]{}|")
_SPECIAL_IN_CLASS = frozenset(r"^\[]-")

# Ranges are written only within these: nobody should have to know what comes between Z and a.
_RANGES = f"{digits}…{ascii_lowercase}…{ascii_uppercase}"

_LAST_CHARACTER = chr(0x10FFFF)

# Up to this many names it is worth checking whether they differ only in their last character, as pc-01 to pc-09 do.
_ROW = 64

# From this many members on, a range like 0-3 is shorter than the list.
_SHORTEST_RANGE = 4


@dataclass(frozen=True)
class Clash:
    """No prefix excludes `outside` without excluding `inside` too: `outside` is a prefix of `inside`, or the same
    name."""

    outside: str
    inside: str


def prefix_cover(outside: Sequence[str], inside: Sequence[str]) -> list[str] | Clash:
    """The smallest set of prefixes such that every name outside begins with one of them and no name inside does.

    The shortest prefix that works for one name is what it has in common with its neighbours among the names inside,
    plus one character. Any other prefix that works is longer and covers no more. So these prefixes, each once, are the
    smallest set, and no other set of that size is shorter.

    Args:
        outside: sorted names.
        inside: sorted names.
    """
    cover: list[str] = []
    at = 0
    while at < len(outside):
        name = outside[at]
        following = bisect_left(inside, name)
        shared = _shared(name, inside[following - 1]) if following else 0
        if following < len(inside):
            shared = max(shared, _shared(name, inside[following]))
            if shared == len(name):
                return Clash(name, inside[following])
        prefix = name[: shared + 1]
        cover.append(prefix)
        at = _end(outside, prefix, at, len(outside))
    return cover


def _shared(one: str, other: str) -> int:
    """How many characters two names have in common at their beginning."""
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count


def _end(names: Sequence[str], prefix: str, low: int, high: int) -> int:
    """The index after the last name with this prefix; the first such name is at `low`."""
    if high - low == 1 or not names[low + 1].startswith(prefix):
        return low + 1
    if prefix[-1] < _LAST_CHARACTER:
        return bisect_left(names, prefix[:-1] + chr(ord(prefix[-1]) + 1), low + 1, high)
    return bisect_left(names, True, low + 1, high, key=lambda name: not name.startswith(prefix))


def escape(text: str) -> str:
    """The text as an ECMAScript expression that matches it and nothing else, in one line of printable characters."""
    if text.isalnum():
        return text
    return "".join("\\" + c if c in _SPECIAL else c if c.isprintable() or c > "\x7f" else _as_hex(c) for c in text)


def expression(names: Sequence[str]) -> str:
    """An ECMAScript expression that matches these names and nothing else.

    Args:
        names: sorted, each once, at least one.
    """
    branches, optional = _branches(names, 0, len(names), 0, 0)
    return _optional(branches) if optional else "|".join(branches)


def enclosed(names: Sequence[str]) -> str:
    """The same as `expression`, but safe to put before or after other text: `a|b` becomes a group."""
    branches, optional = _branches(names, 0, len(names), 0, 0)
    return _optional(branches) if optional else _grouped(branches)


def _grouped(branches: list[str]) -> str:
    return branches[0] if len(branches) == 1 else f"(?:{'|'.join(branches)})"


def _optional(branches: list[str]) -> str:
    text = "|".join(branches)
    # A character or a class; for anything longer, only its last character would become optional.
    if (len(text) == 1 and text.isascii()) or (text[:1] == "[" and text.index("]") == len(text) - 1):
        return text + "?"
    return f"(?:{text})?" if text else "(?:)"


def _branches(names: Sequence[str], low: int, high: int, depth: int, level: int) -> tuple[list[str], bool]:
    """The branches for what follows the first `depth` characters, which the names from `low` to `high` have in common,
    and whether the branch may be empty."""
    optional = len(names[low]) == depth
    if optional:
        low += 1
    if level == MAX_LEVELS:
        return [escape(name[depth:]) for name in names[low:high]], optional
    if low < high <= low + _ROW:
        row = "".join([name[depth:] for name in names[low:high]])
        if len(row) == high - low and row.isascii():
            return [_class(row)], optional
    # Each continuation, and all the labels that lead to it. Equal texts stand for equal sets, often of neighbouring
    # digits: that is how 00 to 99 becomes [0-9][0-9].
    heads: dict[str, list[str]] = {}
    while low < high:
        name = names[low]
        end = _end(names, name[: depth + 1], low, high)
        if end - low == 1:
            heads.setdefault("", []).append(name[depth:])
        else:
            split = _shared(name, names[end - 1])
            tails, may_end = _branches(names, low, end, split, level + 1)
            tail = _optional(tails) if may_end else _grouped(tails)
            heads.setdefault(tail, []).append(name[depth:split])
        low = end
    return [branch for tail, labels in heads.items() for branch in _joined(labels, tail)], optional


def _joined(labels: list[str], tail: str) -> list[str]:
    """Branches for each label followed by the same tail."""
    if len(labels) == 1:
        return [escape(labels[0]) + tail]
    ending = _common_ending(labels)
    if ending:
        labels = [label[: len(label) - len(ending)] for label in labels]
        tail = escape(ending) + tail
    # A class would match any one byte of a multi-byte character.
    singles = [label for label in labels if len(label) == 1 and label.isascii()]
    heads = [_class("".join(singles))] if singles else []
    heads += [escape(label) for label in labels if label and label not in singles]
    if "" in labels:
        return [_optional(heads) + tail]
    if not tail:
        return heads
    return [_grouped(heads) + tail]


def _common_ending(labels: list[str]) -> str:
    """What all labels end with."""
    backwards = [label[::-1] for label in labels]
    low, high = min(backwards), max(backwards)
    return low[: _shared(low, high)][::-1]


@lru_cache(maxsize=4096)
def _class(characters: str) -> str:
    """A class of ASCII characters, written as an expression."""
    if len(characters) == 1:
        return escape(characters)
    characters = "".join(sorted(characters))
    text, at = "", 0
    while at < len(characters):
        first = characters[at]
        end = at + 1
        while end < len(characters) and characters[at : end + 1] in _RANGES:
            end += 1
        if end - at >= _SHORTEST_RANGE and first.isalnum():
            text += f"{first}-{characters[end - 1]}"
        else:
            text += "".join(map(_in_class, characters[at:end]))
        at = end
    return f"[{text}]"


def _in_class(char: str) -> str:
    return "\\" + char if char in _SPECIAL_IN_CLASS else char if char.isprintable() else _as_hex(char)


def _as_hex(char: str) -> str:
    return f"\\x{ord(char):02x}"
