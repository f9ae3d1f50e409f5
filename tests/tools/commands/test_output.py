"""Tables for programs: one line per row, in the columns that people see."""

from __future__ import annotations

import contextlib
import io

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from afpools_tools.commands.output import print_table, printable, table

_CELLS = st.text(max_size=12).map(printable)
# Right-aligned cells are numbers; rich strips trailing spaces.
_NUMBERS = _CELLS.map(str.strip)


@given(st.lists(st.tuples(_CELLS, _NUMBERS, _CELLS), max_size=6), st.booleans())
def test_a_table_for_programs_is_what_rich_draws_without_an_edge(rows: list[tuple[str, str, str]], heads: bool) -> None:
    made = table("Host", "Hosts", "Pools", right=("Hosts",)) if heads else table()
    for first, second, third in rows:
        made.add_row(first, Text(second, "bold red"), *([third] if heads else []))
    drawn = io.StringIO()
    Console(file=drawn, width=1000, highlight=False, markup=False, emoji=False, no_color=True).print(made)
    ours = io.StringIO()
    with contextlib.redirect_stdout(ours):
        print_table(made)
    assert ours.getvalue().split("\n") == [line.rstrip() for line in drawn.getvalue().split("\n")]
