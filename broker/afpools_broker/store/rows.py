"""The rows that stores read, one per pool, and the contents assembled from them: no I/O.

Strategy: a store returns each pool as a `Row` under a `Key`. `StorePicture` keeps them all, and makes new `Contents`
from the few that were read again. What has not changed costs nothing here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..pools.persistent import persistent
from ..pools.pool import Contents, Pool

Key = str | bytes
"""Where a store keeps a pool: the name in SQLite, the `_id` of the document in MongoDB."""

REGISTERED: Key = ""
"""The key of the hosts registered by hand, in every store."""


@dataclass(frozen=True, slots=True)
class Row:
    """What a store holds under one key.

    Args:
        pool: None if it cannot be read as a pool. The list of hosts registered by hand is the pool whose name is empty.
        problems: a sentence for everything that was left out.
        change: which change made it, as `Sign.keys` names it; empty if that is not known.
    """

    pool: Pool | None
    problems: tuple[str, ...] = ()
    change: str = ""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of everything a store holds.

    Args:
        rows: what was read; a key that is in no piece does not exist.
        done: how many keys have been read so far.
        total: how many there are.
        trouble: why nothing more could be read for now. A caller that asks for the next piece gets what would have been
            in this one.
    """

    rows: Mapping[Key, Row]
    done: int
    total: int
    trouble: Exception | None = None


class StorePicture:
    """Everything that was read from a store. Only one thread at a time may use it.

    Args:
        rows: what was read.
    """

    def __init__(self, rows: Mapping[Key, Row] | None = None) -> None:
        self._rows: dict[Key, Row] = {}
        self._claims: dict[str, tuple[Key, ...]] = {}
        self._problems: dict[Key, tuple[str, ...]] = {}
        self._twice: set[str] = set()
        self.contents = Contents()
        """The contents that follow from the rows; the same object as long as they stay equal."""
        self.take(rows or {})

    def row(self, key: Key) -> Row | None:
        """What was last read under a key, None if there was nothing."""
        return self._rows.get(key)

    def keys(self, names: Iterable[str]) -> set[Key]:
        """The keys of the pools that have these names."""
        return {key for name in names for key in self._claims.get(name, ())}

    @property
    def claimants(self) -> set[Key]:
        """The keys of pools that share their name with another."""
        return self.keys(self._twice)

    def replace(self, rows: Mapping[Key, Row]) -> None:
        """Stores a fresh read of everything: what is not in `rows` no longer exists."""
        self.take({**dict.fromkeys(self._rows.keys() - rows.keys()), **rows})

    def take(self, rows: Mapping[Key, Row | None]) -> None:
        """Stores what was read again; None for what no longer exists."""
        names: set[str] = set()
        told = False
        registered = self.contents.registered
        for key, row in rows.items():
            last = self._rows.get(key)
            if row == last:
                # Only the change that made it may be known better now.
                if row is not None and last is not None and row.change != last.change:
                    self._rows[key] = row
                continue
            if row is not None and last is not None and row.pool == last.pool:
                # The same object, so that what was derived from it stays valid.
                row = Row(last.pool, row.problems, row.change)
            if row is None:
                del self._rows[key]
            else:
                self._rows[key] = row
            problems = row.problems if row else ()
            if problems != self._problems.get(key, ()):
                told = True
                self._problems.pop(key, None)
                if problems:
                    self._problems[key] = problems
            if key == REGISTERED:
                registered = (row and row.pool) or Pool("")
                continue
            names |= self._claim(key, last, row)
        told = self._settle_claims(names) or told
        pools = last_pools = self.contents.pools
        now = {name: self._single(name) for name in names}
        # The same pool may be under another key now: it stays the same object anyway.
        if changed := {name: pool for name, pool in now.items() if pool != last_pools.get(name)}:
            pools = persistent(last_pools).evolve(changed)
        problems = self._sentences() if told else self.contents.problems
        if pools is last_pools and (registered, problems) == (self.contents.registered, self.contents.problems):
            return
        self.contents = Contents(pools, registered, problems)

    def _claim(self, key: Key, last: Row | None, row: Row | None) -> set[str]:
        """Notes the name of a key's pool; returns the names for which something has changed."""
        old = last.pool if last else None
        new = row.pool if row else None
        if old is new:
            return set()
        if old is not None and (new is None or new.name != old.name):
            rest = tuple(each for each in self._claims[old.name] if each != key)
            if rest:
                self._claims[old.name] = rest
            else:
                del self._claims[old.name]
        if new is not None and (old is None or new.name != old.name):
            self._claims[new.name] = (*self._claims.get(new.name, ()), key)
        return {pool.name for pool in (old, new) if pool is not None}

    def _settle_claims(self, names: set[str]) -> bool:
        """Whether the set of names with several claimants has changed."""
        twice = {name for name in names if len(self._claims.get(name, ())) > 1}
        if twice == self._twice & names:
            return False
        self._twice = (self._twice - names) | twice
        return True

    def _single(self, name: str) -> Pool | None:
        """The pool with that name; None if there is none, or if several claim the name.

        Nobody knows which of them the artist means, and a job must not run on a guess.
        """
        keys = self._claims.get(name, ())
        return self._rows[keys[0]].pool if len(keys) == 1 else None

    def _sentences(self) -> tuple[str, ...]:
        pools = [sentence for key, problems in self._problems.items() if key != REGISTERED for sentence in problems]
        twice = [
            f"More than one document in the collection pools is named {name!r}; that pool counts as absent, and no "
            "pool can be changed until `afpools pool repair` has resolved it."
            for name in sorted(self._twice)
        ]
        return (*pools, *twice, *self._problems.get(REGISTERED, ()))


def gathered(pieces: Iterable[Piece]) -> Contents:
    """The contents that follow from everything a store holds.

    Raises:
        Exception: a piece's `trouble`.
    """
    rows: dict[Key, Row] = {}
    for piece in pieces:
        if piece.trouble is not None:
            raise piece.trouble
        rows |= piece.rows
    return StorePicture(rows).contents
