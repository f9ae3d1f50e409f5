"""A mapping that never changes, and whose successors cost what is different in them.

Strategy: readers hold a mapping for as long as they like, and each change of a pool makes another one. The entries are
in a hash array mapped trie (`immutables`), of which a successor shares everything but the path to what changed. Each
mapping remembers its last few predecessors, and by which keys it differs from them, so that whoever derives something
from a mapping need not look for the difference either.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TypeVar

import immutables

V = TypeVar("V")

# Whoever follows a mapping sees each successor, or passes over one or two that were replaced before they were shown.
_REMEMBERED = 4


class PersistentMap(Mapping[str, V]):
    """An immutable mapping. Safe to use from any thread.

    Args:
        values: what is in it; none of them is None.
    """

    __slots__ = ("_itself", "_map", "_predecessors")

    def __init__(self, values: Mapping[str, V] | None = None) -> None:
        self._map: immutables.Map[str, V] = immutables.Map(values or {})
        self._itself = object()  # what successors know it by, without keeping it
        self._predecessors: tuple[tuple[object, frozenset[str]], ...] = ()

    def evolve(self, changes: Mapping[str, V | None]) -> PersistentMap[V]:
        """Its successor.

        Args:
            changes: the new values; None for a key that is to be absent.
        """
        with self._map.mutate() as changing:
            for key, value in changes.items():
                if value is not None:
                    changing[key] = value
                elif key in changing:
                    del changing[key]
            now: PersistentMap[V] = PersistentMap.__new__(PersistentMap)
            now._map = changing.finish()
        now._itself = object()
        now._predecessors = ((self._itself, frozenset(changes)), *self._predecessors[: _REMEMBERED - 1])
        return now

    def differing(self, last: Mapping[str, V]) -> Collection[str]:
        """The keys whose values are other objects than in `last`, or that only one of both has. A few more may be
        among them."""
        if last is self:
            return ()
        if isinstance(last, PersistentMap):
            found: set[str] = set()
            for itself, keys in self._predecessors:
                found |= keys
                if itself is last._itself:
                    return found
        return {key for key, value in self.items() if last.get(key) is not value} | (last.keys() - self.keys())

    def values_of(self, keys: Iterable[str]) -> list[V]:
        """The values of these keys, all of which are in it, in their order: for many of them, the quickest way."""
        map_ = self._map
        return [map_[key] for key in keys]

    def __getitem__(self, key: str) -> V:
        return self._map[key]

    def __contains__(self, key: object) -> bool:
        return key in self._map

    def __iter__(self) -> Iterator[str]:
        return iter(self._map)

    def __len__(self) -> int:
        return len(self._map)

    def __repr__(self) -> str:
        return f"PersistentMap({dict(self._map)!r})"


def persistent(values: Mapping[str, V]) -> PersistentMap[V]:
    """The same values, as they are or put into a `PersistentMap`."""
    return values if isinstance(values, PersistentMap) else PersistentMap(values)
