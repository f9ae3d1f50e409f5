"""Host names: ranges as people write them, and the farm's spelling.

Strategy: people write `LT-PC-[01-40]`, DNS says `lt-pc-01.studio.lan`, the farm says `lt-pc-01`. Ranges are expanded
when a request comes in; a name is turned into the farm's spelling only when a mask is made, so that what
was entered is what is stored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from copy import copy
from itertools import chain, product
from sys import intern

from ..config import Names
from ..protocol import Code, RequestRefused
from .folding import LONGEST_NAME, NAME
from .pool import as_afrender_would, has_domain, unique

MAX_HOSTS_PER_CHANGE = 100_000
"""The size of the largest farm we measure with. Without this limit `pc-[1-9999999999]` would fill the memory. Names
written one by one are limited by the size of the request or file they are in."""

# A range is N, N-M or N-M/S, and lists of them, as ClusterShell writes them. ClusterShell does not expand them for us,
# because it takes digits beside a bracket as part of its numbers: for it, 1[9-10] means the 92 names from 19 to 110.
_DIGITS = rf"[0-9]{{1,{LONGEST_NAME}}}"
_NUMBERS = rf"{_DIGITS}(?:-{_DIGITS}(?:/{_DIGITS})?)?"
_PLAIN = r"[^\s\[\],\x00-\x1f\x7f!&^@]*"
_RANGE = re.compile(rf"{_PLAIN}(?:\[{_NUMBERS}(?:,{_NUMBERS})*\]{_PLAIN})+")
_BRACKETS = re.compile(r"\[([^\]]*)\]")
# At most this much of a pattern, in characters, goes into an error.
_SHOWN = 300
_WILDCARDS = re.compile(r"[*?]")


def expand(patterns: Iterable[str], known: frozenset[str] = frozenset(), *, leaving: bool = False) -> tuple[str, ...]:
    """Host names from names and ranges (`pc-[01-40]`, `gpu-[1-8,12]`, `r[1-2]n[1-4]`), each once, in their order.

    Args:
        patterns: names or ranges.
        known: names to take as they are, whatever characters they hold.
        leaving: the hosts are to be removed: their names may be ones that can no longer be entered.

    Raises:
        RequestRefused: `bad_request` for a pattern that is neither, `too_large` for too many hosts.
    """
    names: list[str] = []
    for pattern in patterns:
        if pattern in known:
            names.append(pattern)
            continue
        if not leaving and _WILDCARDS.search(pattern):
            raise RequestRefused(
                Code.BAD_REQUEST,
                f"{_shown(pattern)} is not a host name: * and ? are not allowed in one. To add every host of "
                f"today's farm that matches, write: afpools pool add POOL --match {_shown(pattern)}",
            )
        if NAME.fullmatch(pattern):
            names.append(pattern)
            continue
        if not _RANGE.fullmatch(pattern):
            raise RequestRefused(
                Code.BAD_REQUEST,
                f"{_shown(pattern)} is neither a host name nor a range of hosts. Write one host per item, or a "
                "range like pc-[01-40]; names contain no spaces, commas or brackets.",
            )
        if len(names) + how_many(pattern) > MAX_HOSTS_PER_CHANGE:
            raise RequestRefused(
                Code.TOO_LARGE,
                f"{_shown(pattern)} would make more than {MAX_HOSTS_PER_CHANGE:,} hosts in one change. "
                "Split it, or look for a mistyped digit.",
            )
        names += _expanded(pattern)
    # Each name is stored once in memory, however many pools it is in.
    return unique(map(intern, names))


def _expanded(pattern: str) -> list[str]:
    """
    Args:
        pattern: matches `_RANGE`.

    Raises:
        RequestRefused: `bad_request` for a range that cannot be right or makes names that are too long.
    """
    if "][" in pattern:
        raise _bad_range(pattern, "there must be something between two brackets")
    # The pieces outside the brackets and those inside, alternating.
    pieces = _BRACKETS.split(pattern)
    choices = [
        list(chain.from_iterable(_numbers(pattern, part) for part in piece.split(","))) if inside else [piece]
        for inside, piece in ((number % 2, piece) for number, piece in enumerate(pieces))
    ]
    if (longest := sum(max(map(len, choice)) for choice in choices)) > LONGEST_NAME:
        raise RequestRefused(
            Code.BAD_REQUEST,
            f"{_shown(pattern)} makes a name of {longest:,} characters, and {LONGEST_NAME} are allowed.",
        )
    return ["".join(name) for name in product(*choices)]


def _numbers(pattern: str, part: str) -> list[str]:
    """The numbers of `N`, `N-M` or `N-M/S`, with as many leading zeros as N has."""
    first, last, numbers = _range_of(part)
    if not numbers:
        why = "the step must be 1 or more" if int(first) <= int(last) else f"{first} is more than {last}"
        raise _bad_range(pattern, f"in {_shown(part)}, {why}")
    if len(first) != len(last) and any(end[0] == "0" and len(end) > 1 for end in (first, last)):
        raise _bad_range(
            pattern, f"in {_shown(part)}, numbers with leading zeros must have the same number of digits on both sides"
        )
    return [f"{number:0{len(first)}}" for number in numbers]


def _range_of(part: str) -> tuple[str, str, range]:
    """Both ends of `N`, `N-M` or `N-M/S`, and its numbers; no numbers if the range is invalid."""
    ends, _, step = part.partition("/")
    first, _, last = ends.partition("-")
    last = last or first
    every = int(step or 1)
    return first, last, range(int(first), int(last) + 1, every) if every else range(0)


def _bad_range(pattern: str, why: str) -> RequestRefused:
    return RequestRefused(
        Code.BAD_REQUEST, f"{_shown(pattern)} is not a range of hosts: {why}. Write it like pc-[01-40,44]."
    )


def _shown(pattern: str) -> str:
    return repr(pattern if len(pattern) <= _SHOWN else f"{pattern[:_SHOWN]}…")


def how_many(pattern: str) -> int:
    """The most names that a name or a range can make, without making them; one for a pattern that is neither."""
    if not _RANGE.fullmatch(pattern):
        return 1
    total = 1
    for inside in _BRACKETS.findall(pattern):
        # Not len(), which fails beyond the machine's word. At least one: a range that ends before it begins is refused
        # when it is expanded, and until then the other parts must not be multiplied by zero.
        counts = (
            max(1, (numbers.stop - numbers.start + numbers.step - 1) // numbers.step)
            for _, _, numbers in map(_range_of, inside.split(","))
        )
        total *= sum(counts)
    return total


class Spelling:
    """Turns a host name as it was entered into the farm's spelling of the same host.

    Args:
        farm: the renders' names, as the farm has them.
        entered: everything that was entered. If two of these names with a domain would become one without it, neither
            is cut.
        names: whether this farm's renders cut their names at the first dot. `auto`: decided from the farm's own names,
            which must all be without a domain.
    """

    def __init__(self, farm: Iterable[str], entered: Iterable[str] = (), names: Names = "auto") -> None:
        self._exact = frozenset(farm)
        shown = _shown_by(self._exact) if names == "auto" else names
        self._cuts = shown == "cut"
        self._undecided = shown == "auto"
        # Cut, these would be one host, and nobody knows which of them the farm's host is.
        self._unsure: frozenset[str] = frozenset()
        self._whole: dict[str, str] = {}
        self._unsure = self._becoming_one(entered, self._whole)
        # Only names that differ from their folded form: on most farms none do, and there are many names.
        by_fold: dict[str, str | None] = {}
        for name in self._exact:
            fold = name.casefold()
            if fold != name:
                # Two renders that differ only in case: it cannot be known which one was meant, so neither is.
                by_fold[fold] = None if fold in by_fold or fold in self._exact else name
        self._by_fold = by_fold

    def _becoming_one(self, entered: Iterable[str], whole: dict[str, str]) -> frozenset[str]:
        """The short names that several of these names would share without their domains, or one of these and one of
        `whole`, to which they are added."""
        unsure: set[str] = set()
        for name in entered if self._cuts else ():
            if has_domain(name):
                short, fold = as_afrender_would(name), name.casefold().rstrip(".")
                if whole.setdefault(short, self._whole.get(short, fold)) != fold:
                    unsure.add(short)
        return frozenset(unsure)

    def among(self, entered: Iterable[str]) -> Spelling:
        """The spelling for the same farm if only these names had been entered."""
        made = copy(self)
        made._whole, made._unsure = {}, frozenset()
        made._unsure = made._becoming_one(entered, made._whole)
        return made

    @property
    def unsure(self) -> frozenset[str]:
        """The short names that several entered names would share without their domains."""
        return self._unsure

    def is_like(self, other: Spelling) -> bool:
        """Whether both assume the same about renders cutting their names, or neither knows."""
        return (self._cuts, self._undecided) == (other._cuts, other._undecided)

    def besides(self, entered: Iterable[str]) -> Spelling:
        """The spelling if these names were entered as well."""
        made = copy(self)
        made._unsure = self._unsure | self._becoming_one(entered, {})
        return made

    def also(self, names: Iterable[str]) -> frozenset[str]:
        """Other names these hosts may have, if nothing shows whether renders cut their names. They are to be excluded
        with the hosts, but never admitted in their place."""
        if not self._undecided:
            return frozenset()
        return frozenset(as_afrender_would(name) for name in names if has_domain(name))

    def has(self, entered: str) -> bool:
        """Whether the farm has this very name, which is then its spelling."""
        return entered in self._exact

    def of(self, entered: str) -> str:
        """The farm's spelling: the very same name, or else the same name in another case, or else the same name without
        its domain if renders here cut theirs.

        For a host that the farm does not know: the name it would register with. If two renders differ only in case,
        only the exact name means one of them: a host is never admitted to a pool on a guess.
        """
        if entered in self._exact:
            return entered
        registers = as_afrender_would(entered)
        if not self._cuts or registers in self._unsure:
            registers = entered.lower()
        for candidate in (entered.casefold(), registers.casefold()):
            found = self._by_fold.get(candidate, candidate if candidate in self._exact else "")
            if found:
                return found
            if found is None:
                return entered
        return registers


def _shown_by(farm: Iterable[str]) -> Names:
    """Whether a farm's names, addresses apart, show that renders cut theirs: all are without a dot. `auto` if there is
    no name to show it."""
    shown: Names = "auto"
    for name in farm:
        if ":" not in name and not name.replace(".", "").isdecimal():
            if "." in name:
                return "whole"
            shown = "cut"
    return shown
