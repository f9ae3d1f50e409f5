"""What somebody may have meant by a name that is not there."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import islice

# Two letters of which one is right, fz for fx, are half alike.
_ALIKE = 0.5
# Comparing costs some 10 µs a name, and a farm can have 100,000.
_MOST_COMPARED = 1000
_LENGTHS_APART = 3


def nearest(name: str, names: Iterable[str]) -> str:
    """The one of `names` that is most like `name`, whatever the case of either; empty where none is much like it.

    Of very many names, only the first thousand that are about as long and begin alike are looked at.
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
