"""Whether hosts may join a pool: each must be a machine on the farm that is not yet in the pool.

Strategy: pure functions of the names on the farm. Names are compared through `Spelling`, as masks compare them, so that
what is refused here is what a mask would get wrong. The likeliest mistakes (leading zeros, an extra dash, the wrong
case) are looked for first, with one table for all names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from itertools import islice

from ..protocol import Code, RequestRefused
from .folding import fold
from .hosts import Spelling
from .nearest import nearest
from .pool import has_domain, unique

# At most this many names, and this many characters of them, go into a message.
_NAMES_SHOWN = 1000
_SHOWN = 300
# The store waits meanwhile, so no more names are folded than fit into a message; 50 without a range fill one.
_FOLDED_FIRST = 50
# For at most this many names, the whole farm is searched for similar ones.
_SEARCHED = 3

_ZEROS = re.compile(r"(?<![0-9])0+(?=[0-9])")
_NUMBER = re.compile(r"[0-9]+")

Vet = Callable[[str, Sequence[str], Sequence[str]], None]
"""Refuses hosts that are to join a pool. Takes the pool's name (empty for the list of hosts registered by hand), the
hosts that it has, and the hosts to add, all as they were entered."""


def vetting(
    spelling: Spelling, farm: frozenset[str] | None, *, registered: Collection[str] = (), stale: float = 0.0
) -> Vet:
    """Makes the check for hosts that are to join a pool.

    Args:
        spelling: the farm's spelling.
        farm: the names of its renders; None if nothing can be checked, or the caller says that the machines are new.
        registered: hosts registered by hand, as the farm spells them.
        stale: age of the list of renders in seconds, if it is so old that machines may have been added since.
    """

    def vet(pool: str, present: Sequence[str], joining: Sequence[str]) -> None:
        """
        Raises:
            RequestRefused: `bad_request` for a machine that is already in the pool under another name, or that is named
                twice;
                `unknown_host` for one that is not on the farm.
        """
        here = spelling.besides(joining)
        spelled = {name: here.of(name) for name in joining}
        # Most members are spelled as the farm spells them, and cannot be meant by another name.
        meant = set(spelled.values())
        suspects = [name for name in present if name in meant or not here.has(name)]
        _refuse_twins(pool, {here.of(name): name for name in suspects}, spelled)
        if farm is None:
            return
        missing = [name for name, as_farm in spelled.items() if as_farm not in farm and as_farm not in registered]
        if missing:
            raise RequestRefused(Code.UNKNOWN_HOST, _not_there(missing, spelled, farm, stale))

    return vet


def _refuse_twins(pool: str, present: dict[str, str], spelled: dict[str, str]) -> None:
    """
    Args:
        pool: its name.
        present: the hosts in the pool as they were entered, by the farm's spelling of each.
        spelled: the farm's spelling of the hosts that are to join it.
    """
    twins = [(name, present[as_farm]) for name, as_farm in spelled.items() if as_farm in present]
    if twins:
        where = f"in the pool {pool!r}" if pool else "registered"
        names, others = _several([name for name, _ in twins]), _several([other for _, other in twins])
        raise RequestRefused(
            Code.BAD_REQUEST,
            f"{names} {_are(twins)} {where} already, as {others}: the farm takes both for one machine. "
            f"Leave {'it' if len(twins) == 1 else 'them'} out.",
        )
    first: dict[str, str] = {}
    for name, as_farm in spelled.items():
        if (other := first.setdefault(as_farm, name)) != name:
            raise RequestRefused(
                Code.BAD_REQUEST, f"{other} and {name} are one machine to the farm, named twice. Name it once."
            )


def _not_there(missing: Sequence[str], spelled: dict[str, str], farm: frozenset[str], stale: float) -> str:
    """The message about names that no machine has: what the farm has instead, and what may have been meant."""
    likely: dict[str, str | None] = {}
    for name in farm:
        for key in _likely_keys(name):
            likely[key] = None if key in likely else name
    series = _series_of(spelled[missing[0]])
    alike = sorted(name for name in farm if _series_of(name) == series) if "#" in series else []
    meant = list(unique(found for name in missing for key in _likely_keys(spelled[name]) if (found := likely.get(key))))
    if not meant and not alike:
        meant = list(unique(filter(None, (nearest(spelled[name], farm) for name in missing[:_SEARCHED]))))
    old = f", as afserver listed it {stale / 60:,.0f} minutes ago" if stale else ""
    has = f", which has {_several(alike)}" if alike else ""
    return f"{_several(missing)} {_are(missing)} not on the farm{old}{has}" + (
        f": did you mean {_several(meant)}?" if meant else "."
    )


def _likely_keys(name: str) -> tuple[str, ...]:
    """Keys that two names share if one is a likely typo of the other: with its domain and without."""
    whole = _ZEROS.sub("", name.casefold()).replace("-", "").replace("_", "")
    return (whole, whole.partition(".")[0]) if has_domain(name) else (whole,)


def _series_of(name: str) -> str:
    """The key shared by names that differ only in their numbers."""
    return _NUMBER.sub("#", name.casefold())


def _are(names: Sequence[object]) -> str:
    return "is" if len(names) == 1 else "are"


def _several(names: Sequence[str]) -> str:
    """Names as people read them, as many as fit."""
    room = min(len(names), _NAMES_SHOWN)
    folded = _FOLDED_FIRST
    while len(shown := fold(islice(names, folded))) <= _SHOWN and folded < room:
        folded = min(2 * folded, room)
    more = len(names) - room
    if len(shown) > _SHOWN:
        return f"{shown[:_SHOWN]}… ({len(names):,} hosts)"
    return f"{shown} and {more:,} more" if more > 0 else shown
