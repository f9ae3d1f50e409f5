"""The output of all commands: tables for people, JSON for programs, one line for an error.

Strategy: names and descriptions come from other people and are printed literally. Nothing is ever read as rich's markup
or as an emoji, and control characters are replaced; colour is only applied with a style. If standard output is not a
terminal, each row of a table is one line, however long.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from afpools import HostList

from ..hosts import STALE
from ..words import duration

console = Console(highlight=False, markup=False, emoji=False)
errors = Console(stderr=True, highlight=False, markup=False, emoji=False)

# The gap between two columns of a table.
_BETWEEN = "   "


def print_json(value: Any) -> None:
    """Prints a value as JSON on standard output."""
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False, default=str)
    sys.stdout.write("\n")
    # Flush here, where a closed pipe is an error that can be handled, instead of when Python shuts down.
    sys.stdout.flush()


def say(text: str, style: str = "") -> None:
    """Prints one line for people."""
    console.print(printable(text), style=style or None, soft_wrap=True)


def remark(text: str, style: str = "dim") -> None:
    """Prints one line for people on standard error, separate from what programs read."""
    errors.print(printable(text), style=style, soft_wrap=not errors.is_terminal)


def warn(text: str) -> None:
    """Prints a warning on standard error."""
    remark(text, "yellow")


def fail(text: str) -> None:
    """Prints why a command failed."""
    # The client library lists what it has tried on several lines.
    lines = "\n".join(printable(line) for line in text.split("\n"))
    errors.print(Text.assemble(("afpools:", "bold red"), " ", lines), soft_wrap=not errors.is_terminal)


def printable(text: str) -> str:
    """A text without line breaks and control characters."""
    return "".join(letter if letter.isprintable() else " " if letter.isspace() else "·" for letter in text)


def table(*columns: str, right: tuple[str, ...] = (), whole: tuple[str, ...] = ()) -> Table:
    """A table in the one style that all commands use. Print it with `print_table`.

    Args:
        columns: headings. If there are none, each row is a fact: a name and a value.
        right: columns that hold numbers.
        whole: columns that are never wrapped, however narrow the terminal is.
    """
    made = Table(
        box=None, header_style="bold", pad_edge=False, padding=(0, len(_BETWEEN), 0, 0), show_header=bool(columns)
    )
    for column in columns or ("", ""):
        made.add_column(
            column,
            justify="right" if column in right else "left",
            overflow="fold",
            no_wrap=column in whole or (not columns and not made.columns),
        )
    return made


def print_table(rows: Table) -> None:
    """Prints a table: for people, as wide as the terminal; for programs, one line for each row."""
    if console.is_terminal:
        console.print(rows)
        return
    sys.stdout.write("".join(f"{line}\n" for line in _unwrapped(rows)))
    sys.stdout.flush()


def _unwrapped(rows: Table) -> list[str]:
    """The lines of a table, one for each row, however long. rich would take a third of a millisecond for each."""
    columns = []
    for column in rows.columns:
        cells = [str(cell) for cell in ([column.header] if rows.show_header else []) + list(column.cells)]
        widths = [cell_len(cell) for cell in cells]
        width = max(widths, default=0)
        blanks = [" " * (width - own) for own in widths]
        if column.justify == "right":
            columns.append([blank + cell for blank, cell in zip(blanks, cells, strict=True)])
        else:
            columns.append([cell + blank for blank, cell in zip(blanks, cells, strict=True)])
    return [_BETWEEN.join(row).rstrip() for row in zip(*columns, strict=True)]


def say_preview(preview: dict[str, Any]) -> None:
    """Prints what a change would do to the jobs on the farm, in the broker's sentences."""
    for sentence in preview["sentences"]:
        say(sentence)


UNSEEN = "The broker has never seen the farm, so only hosts in pools and registered ones are known here."


def stale(age: float, farm_age: float | None = None) -> None:
    """Warns if an answer is older than it should be.

    Args:
        age: seconds since the broker's database confirmed it.
        farm_age: seconds since afserver confirmed it, if the broker says that this is too long; else None.
    """
    if age > STALE:
        warn(f"The broker's database has been unreachable for {duration(age)}. Showing the last known state.")
    if farm_age is not None:
        warn(f"afserver has been unreachable for {duration(farm_age)}. Showing the farm as it was then.")


def stale_hosts(hosts: HostList) -> None:
    """Warns if the hosts are not those of the farm as it is now."""
    stale(hosts.age, hosts.farm_age if hosts.farm_is_stale else None)
    if hosts.farm_unseen:
        warn(UNSEEN)
