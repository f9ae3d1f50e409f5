"""The members of a pool: a set of host names in as little memory as its size allows.

Strategy: a table that finds names at once takes 32 bytes a name in a pool of 50, and there may be thousands of such
pools. A few names are found as quickly by looking at each, so a small pool's members are the tuple of hosts that the
pool has anyway. Of a large pool, they are the keys of a dictionary, which take 19 to 41 bytes each. In a set it would
be 26 to 107.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set

# Looking through this many names takes a microsecond.
_FEW = 64


class FewNames(Set[str]):
    """A set of a few names.

    Args:
        names: each once.
    """

    __slots__ = ("_names",)

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names

    @classmethod
    def _from_iterable(cls, names: Iterable[str]) -> frozenset[str]:  # type: ignore[override]
        return frozenset(names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    # Of the two sets, this one has fewer names, and lookups in it take longer.

    def __and__(self, other: Set[object]) -> frozenset[str]:
        return frozenset(name for name in self._names if name in other)

    __rand__ = __and__

    def isdisjoint(self, other: Iterable[object]) -> bool:
        """Whether they have no name in common."""
        return other.isdisjoint(self._names) if isinstance(other, set | frozenset) else super().isdisjoint(other)

    def __repr__(self) -> str:
        return f"FewNames({self._names!r})"


def members_of(names: tuple[str, ...]) -> Set[str]:
    """These names, each once, as a set that keeps their order."""
    return FewNames(names) if len(names) <= _FEW else dict.fromkeys(names).keys()
