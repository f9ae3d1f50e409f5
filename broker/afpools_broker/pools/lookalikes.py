"""Names of pools that people confuse: they differ in case, in normal form, or in letters that cannot be seen.

Strategy: each name has an appearance, and two names look alike if their appearances are equal. Letters that merely
resemble one another, such as the Latin and the Cyrillic a, count as different: there is no well-kept list of those that
is free of pairs that nobody confuses.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import lru_cache

_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Letters, marks and symbols that are drawn as nothing or as a space: Default_Ignorable_Code_Point from Unicode's
DerivedCoreProperties.txt, as far as `str.isprintable` calls it printable, and the empty braille pattern."""


def unseen(name: str) -> bool:
    """Whether a name contains a character that cannot be seen. Spaces can be seen. A character that only chooses the
    form of the letter before it, as in emoji, does not count as a letter of its own."""
    return not name.isprintable() or not _BLANK.isdisjoint(name)


# Whoever makes a pool is compared with all others, and whoever makes one often makes many.
@lru_cache(maxsize=20_000)
def appearance(name: str) -> str:
    """What a name has in common with all names that look like it."""
    if not name.isascii():
        # Each step may produce what another removes; Unicode's NFKC_Casefold does them in this order, too.
        name = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
        name = unicodedata.normalize("NFKC", "".join(letter for letter in name if not _is_nothing(letter)))
    return " ".join(name.casefold().split())


def _is_nothing(letter: str) -> bool:
    selects_form = (
        "\ufe00" <= letter <= "\ufe0f" or "\u180b" <= letter <= "\u180f" or "\U000e0100" <= letter <= "\U000e01ef"
    )
    return letter in _BLANK or selects_form or unicodedata.category(letter) == "Cf"


def lookalike(name: str, others: Iterable[str]) -> str:
    """The first of the other names that looks like `name`; empty if none does."""
    looks = appearance(name)
    return next((other for other in others if appearance(other) == looks), "")


def groups(names: Iterable[str]) -> list[tuple[str, ...]]:
    """The names that look alike, in groups; names that look like no other are left out."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(appearance(name), []).append(name)
    return [tuple(sorted(alike)) for _, alike in sorted(found.items()) if len(alike) > 1]


def spelled_out(name: str) -> str:
    """A name in quotes: characters that cannot be seen are given by their number, and marks are apart from their
    letters if another name may have them together."""
    return "'" + "".join(letter if _is_plain(letter) else f"\\u{ord(letter):04x}" for letter in name) + "'"


def _is_plain(letter: str) -> bool:
    return letter.isprintable() and not _is_nothing(letter) and not unicodedata.combining(letter)
