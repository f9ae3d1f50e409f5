"""Folds host names into ranges for people. A separate module, because commands that ask a broker need nothing else.

Strategy: names with the same text around their numbers form a table with one column per number. Rows that differ in
only one column become one row, which has both numbers there. Each column is merged in turn, by looking rows up, so
twice as many names take twice as long. The result is not always the shortest spelling.

The syntax is ClusterShell's. ClusterShell itself compares every row with every other: 3,000 names with two numbers that
share no range took 16 seconds. It also refuses numbers of more than 100 digits, which a name may have.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

LONGEST_NAME = 253

# `afrender -hostname` allows any name, but one with white space, a comma or a bracket in it is far more often a
# mistyped list or range.
NAME = re.compile(rf"[^\s\[\],\x00-\x1f\x7f]{{1,{LONGEST_NAME}}}")

_NUMBER = re.compile(r"([0-9]+)")

# The most columns a name may have. With more, there are practically no ranges left to find.
_COLUMNS = 8

_Row = tuple[frozenset[str], ...]


def fold(names: Iterable[str]) -> str:
    """Names as people read them: `gpu-[1-8],pc-[01-40]`. The opposite of `hosts.expand`."""
    tables: dict[tuple[str, ...], set[_Row]] = {}
    odd: list[str] = []
    for name in dict.fromkeys(names):
        if NAME.fullmatch(name) and not set(name) & set("!&^@*?%"):
            # Text and numbers alternate; the last piece is text.
            pieces = _NUMBER.split(name, maxsplit=_COLUMNS)
            tables.setdefault(tuple(pieces[::2]), set()).add(tuple(frozenset((number,)) for number in pieces[1::2]))
        else:
            odd.append(name)
    shown = [_shown(texts, row) for texts, rows in sorted(tables.items()) for row in _sorted(_merged(rows))]
    return ",".join([*shown, *sorted(odd)])


def _merged(rows: set[_Row]) -> Iterable[_Row]:
    """The same names in fewer rows."""
    columns = len(next(iter(rows)))
    # Twice: rows may turn out to differ in one column only after another column has been merged.
    for column in [*reversed(range(columns)), *reversed(range(columns - 1))]:
        joined: dict[_Row, list[frozenset[str]]] = {}
        for row in rows:
            joined.setdefault(row[:column] + row[column + 1 :], []).append(row[column])
        rows = {(*rest[:column], frozenset().union(*numbers), *rest[column:]) for rest, numbers in joined.items()}
    return rows


def _sorted(rows: Iterable[_Row]) -> list[_Row]:
    return sorted(rows, key=lambda row: [min((int(number), number) for number in numbers) for numbers in row])


def _shown(texts: tuple[str, ...], row: _Row) -> str:
    pieces = [texts[0]]
    for numbers, text in zip(row, texts[1:], strict=True):
        if len(numbers) == 1:
            pieces += numbers
        else:
            pieces.append(f"[{_ranges(numbers)}]")
        pieces.append(text)
    return "".join(pieces)


def _ranges(numbers: Iterable[str]) -> str:
    """Numbers as written in brackets: `1-8,10`. With leading zeros, all numbers of a range have the same length."""
    runs: list[list[str]] = []
    for number in sorted(numbers, key=lambda number: (len(number), number)):
        if runs and _goes_on(runs[-1], number):
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ",".join(map("-".join, runs))


def _goes_on(run: list[str], number: str) -> bool:
    """Whether a range may continue with this number: `9-10` and `09-10` may; `9-010` would be read differently."""
    first, last = run[0], run[-1]
    alike = len(number) == len(first) or "0" not in (first[0], number[0])
    return alike and int(number) == int(last) + 1
