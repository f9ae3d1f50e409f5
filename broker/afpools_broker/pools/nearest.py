"""Suggests what somebody may have meant by a name that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import islice

# Two-letter names that share one letter, such as fz for fx, are half alike.
_ALIKE = 0.5
# Comparing takes some 10 µs per name, and a farm can have 100,000.
_MOST_COMPARED = 1000
_LENGTHS_APART = 3


def nearest(name: str, names: Iterable[str]) -> str:
    """The one of `names` that is most like `name`, ignoring case; empty if none is similar enough.

    If there are very many names, only the first thousand of about the same length and with the same beginning are
    compared.
    """
    folded = name.casefold()
    alike = (
        (there.casefold(), there)
        for there in names
        if abs(len(there) - len(name)) <= _LENGTHS_APART and (len(name) < 4 or there.casefold()[:2] == folded[:2])
    )
    by_fold = dict(islice(alike, _MOST_COMPARED))
    found = difflib.get_close_matches(folded, by_fold, 1, _ALIKE)
    return by_fold[found[0]] if found else ""


def listed(names: Iterable[str], most: int = 5) -> str:
    """The first few of some names, and how many more there are: `a, b and 3 more`."""
    shown = list(names)
    more = len(shown) - most
    return ", ".join(shown[:most]) + (f" and {more:,} more" if more > 0 else "")
