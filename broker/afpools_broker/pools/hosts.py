"""Host names: ranges as people write them, and the farm's spelling.

Strategy: people write `LT-PC-[01-40]`, DNS says `lt-pc-01.studio.lan`, the farm says `lt-pc-01`. Ranges are expanded
where a request comes in; a name is turned into the farm's spelling where a mask is made, and only there, so that what
was entered is what is stored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from copy import copy
from itertools import chain, product

from ..config import Names
from ..protocol import Code, RequestRefused
from .folding import LONGEST_NAME, NAME
from .pool import as_afrender_would, has_domain, unique

MAX_HOSTS_PER_CHANGE = 100_000
"""As many hosts as the largest farm we measure with. Without it `pc-[1-9999999999]` would fill the memory. Names that
are written one by one are limited by what they are written in."""

# A range is N, N-M or N-M/S, and lists of them, as ClusterShell writes them. It is not asked to expand them, because it
# takes digits beside a bracket for a part of its numbers, so that 1[9-10] are the 92 names from 19 to 110 there.
_DIGITS = rf"[0-9]{{1,{LONGEST_NAME}}}"
_NUMBERS = rf"{_DIGITS}(?:-{_DIGITS}(?:/{_DIGITS})?)?"
_PLAIN = r"[^\s\[\],\x00-\x1f\x7f!&^@]*"
_RANGE = re.compile(rf"{_PLAIN}(?:\[{_NUMBERS}(?:,{_NUMBERS})*\]{_PLAIN})+")
_BRACKETS = re.compile(r"\[([^\]]*)\]")
# As much of a pattern, in characters, goes into an error.
_SHOWN = 300
_WILDCARDS = re.compile(r"[*?]")


def expand(patterns: Iterable[str], known: frozenset[str] = frozenset(), *, leaving: bool = False) -> tuple[str, ...]:
    """Host names from names and ranges (`pc-[01-40]`, `gpu-[1-8,12]`, `r[1-2]n[1-4]`), each once, in their order.

    Args:
        patterns: names or ranges.
        known: names to be taken as they are, whatever characters they hold.
        leaving: the hosts are to be taken out: their names may be what could be entered once, and no longer can.

    Raises:
        RequestRefused: `bad_request` for something that is neither, `too_large` for too many hosts.
    """
    names: list[str] = []
    for pattern in patterns:
        if pattern in known:
            names.append(pattern)
            continue
        if not leaving and _WILDCARDS.search(pattern):
            raise RequestRefused(
                Code.BAD_REQUEST,
                f"{_shown(pattern)} is not a host name: * and ? are not allowed in one. To take every host that "
                f"fits of today's farm, write: afpools pool add POOL --match {_shown(pattern)}",
            )
        if NAME.fullmatch(pattern):
            names.append(pattern)
            continue
        if not _RANGE.fullmatch(pattern):
            raise RequestRefused(
                Code.BAD_REQUEST,
                f"{_shown(pattern)} is neither a host name nor a range of hosts. Give one host an item, "
                "or a range like pc-[01-40]; names hold no spaces, commas or brackets.",
            )
        if len(names) + how_many(pattern) > MAX_HOSTS_PER_CHANGE:
            raise RequestRefused(
                Code.TOO_LARGE,
                f"{_shown(pattern)} would make more than {MAX_HOSTS_PER_CHANGE:,} hosts in one change. "
                "Split it, or look for a mistyped digit.",
            )
        names += _expanded(pattern)
    return unique(names)


def _expanded(pattern: str) -> list[str]:
    """
    Args:
        pattern: fits `_RANGE`.

    Raises:
        RequestRefused: `bad_request` for a range that cannot be right, or that makes too long names.
    """
    if "][" in pattern:
        raise _bad_range(pattern, "there must be something between two brackets")
    # The pieces outside of brackets and those inside, in turns.
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
    """The numbers of `N`, `N-M` or `N-M/S`, with the zeros in front that N has."""
    first, last, numbers = _range_of(part)
    if not numbers:
        why = "the steps must be 1 or more" if int(first) <= int(last) else f"{first} is more than {last}"
        raise _bad_range(pattern, f"in {_shown(part)}, {why}")
    if len(first) != len(last) and any(end[0] == "0" and len(end) > 1 for end in (first, last)):
        raise _bad_range(
            pattern, f"in {_shown(part)}, numbers with zeros in front must have as many digits on both sides"
        )
    return [f"{number:0{len(first)}}" for number in numbers]


def _range_of(part: str) -> tuple[str, str, range]:
    """Both ends of `N`, `N-M` or `N-M/S`, and its numbers; none where it cannot be right."""
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
    """How many names a name or a range makes at most, without making them. Of what is neither, one."""
    if not _RANGE.fullmatch(pattern):
        return 1
    total = 1
    for inside in _BRACKETS.findall(pattern):
        # Not len(): it counts no further than the machine's word. At least one: a range that ends before it begins is
        # refused when its turn comes to be made, and until then the others would have counted as none.
        counts = (
            max(1, (numbers.stop - numbers.start + numbers.step - 1) // numbers.step)
            for _, _, numbers in map(_range_of, inside.split(","))
        )
        total *= sum(counts)
    return total


class Spelling:
    """Turns a host name as somebody entered it into the farm's spelling of the same host.

    Args:
        farm: the renders' names, as the farm has them.
        entered: all that was entered. Of two names with a domain that would become one without, neither is cut.
        names: whether this farm's renders cut their names at the first dot. `auto`: as its own names show, which must
            all be without a domain.
    """

    def __init__(self, farm: Iterable[str], entered: Iterable[str] = (), names: Names = "auto") -> None:
        self._exact = frozenset(farm)
        shown = _shown_by(self._exact) if names == "auto" else names
        self._cuts = shown == "cut"
        self._undecided = shown == "auto"
        # Cut, these would be one host; which one it is that the farm has, nobody knows.
        self._unsure: frozenset[str] = frozenset()
        self._whole: dict[str, str] = {}
        self._unsure = self._becoming_one(entered, self._whole)
        # Without those that are their own: on most farms all are, and there are many.
        by_fold: dict[str, str | None] = {}
        for name in self._exact:
            fold = name.casefold()
            if fold != name:
                # Two renders that differ only in case: which one was meant cannot be known, so neither is.
                by_fold[fold] = None if fold in by_fold or fold in self._exact else name
        self._by_fold = by_fold

    def _becoming_one(self, entered: Iterable[str], whole: dict[str, str]) -> frozenset[str]:
        """What several of these names would become without their domains, or one of these and one of `whole`, which
        they are added to."""
        unsure: set[str] = set()
        for name in entered if self._cuts else ():
            if has_domain(name):
                short, fold = as_afrender_would(name), name.casefold().rstrip(".")
                if whole.setdefault(short, self._whole.get(short, fold)) != fold:
                    unsure.add(short)
        return frozenset(unsure)

    def among(self, entered: Iterable[str]) -> Spelling:
        """The spelling of the same farm where these names, and no others, were entered."""
        made = copy(self)
        made._whole, made._unsure = {}, frozenset()
        made._unsure = made._becoming_one(entered, made._whole)
        return made

    @property
    def unsure(self) -> frozenset[str]:
        """What several of the names that were entered would become without their domains."""
        return self._unsure

    def is_like(self, other: Spelling) -> bool:
        """Whether both take renders to cut their names, or not, or neither knows."""
        return (self._cuts, self._undecided) == (other._cuts, other._undecided)

    def besides(self, entered: Iterable[str]) -> Spelling:
        """The spelling where these names were entered, too."""
        made = copy(self)
        made._unsure = self._unsure | self._becoming_one(entered, {})
        return made

    def also(self, names: Iterable[str]) -> frozenset[str]:
        """What these hosts may call themselves besides, where nothing shows whether renders cut their names. To be kept
        out with them, and never let in for them."""
        if not self._undecided:
            return frozenset()
        return frozenset(as_afrender_would(name) for name in names if has_domain(name))

    def of(self, entered: str) -> str:
        """The farm's spelling: the very same name, else the same in another case, else the same without its domain
        where renders here are cut.

        For a host that the farm does not know: the name it would register with. Two renders that differ only in
        case are only ever meant by their exact names: a host is never let into a pool on a guess.
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
    """Whether a farm's names, addresses apart, show that renders cut theirs: all are without a dot. `auto` where there
    is not a name to show it."""
    shown: Names = "auto"
    for name in farm:
        if ":" not in name and not name.replace(".", "").isdecimal():
            if "." in name:
                return "whole"
            shown = "cut"
    return shown
