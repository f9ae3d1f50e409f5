"""A broker whose store lies, to show that the judge notices: `python -m tests.chaos.sabotage -c broker.toml`.

Everything else about it is the real broker. Of the changes that add hosts, one in four is acknowledged and dropped, one
is made and reported as not made, and one is made again as soon as somebody has taken it back. What was read first is
shown ever after, with the age that the store itself confirms.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

from afpools_broker import broker
from afpools_broker.operations.pools import PoolsAddHosts, PoolsRemoveHosts
from afpools_broker.pools.changes import Change
from afpools_broker.pools.history import Entry
from afpools_broker.protocol import Code, RequestRefused
from afpools_broker.store import PoolStore, open_store
from afpools_broker.store.rows import Key, Piece, Row
from afpools_broker.store.settling import settle
from afpools_tools.cli import main


class LyingStore:
    """A store that breaks its contract.

    Args:
        store: the one that does.
    """

    def __init__(self, store: PoolStore) -> None:
        self._store = store
        self._lies = itertools.cycle(("drop", "keep", "deny", "again"))
        self._again: dict[tuple[str, ...], Change] = {}
        self._first: dict[Key, Row] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def scan(self) -> Iterator[Piece]:
        """What it held when it had the permanent pools."""
        rows = self._read_first() or self._everything()
        yield Piece(rows, len(rows), len(rows))

    def read(self, keys: Collection[Key], names: Collection[str] = ()) -> Mapping[Key, Row]:
        """The same."""
        first = self._read_first()
        if first is None:
            return self._store.read(keys, names)
        return {key: row for key, row in first.items() if key in keys or (row.pool and row.pool.name in names)}

    def _read_first(self) -> dict[Key, Row] | None:
        if self._first is None and len(self._store.load().pools) >= 3:
            self._first = self._everything()
        return self._first

    def _everything(self) -> dict[Key, Row]:
        return {key: row for piece in self._store.scan() for key, row in piece.rows.items()}

    def apply(self, change: Change) -> Entry:
        """Applies one change, or only says so."""
        asked = change.deed
        hosts = tuple(asked.hosts) if isinstance(asked, PoolsAddHosts | PoolsRemoveHosts) else ()
        lie = next(self._lies) if isinstance(asked, PoolsAddHosts) else "keep"
        if lie == "drop":
            return settle(change, self._store.load().pools.get(change.pool)).entry
        entry = self._store.apply(change)
        if lie == "deny":
            raise RequestRefused(Code.STORE_UNAVAILABLE, "The change was not made: no.", made=False)
        if lie == "again":
            self._again[hosts] = change
        elif isinstance(asked, PoolsRemoveHosts) and hosts in self._again:
            old = self._again.pop(hosts)
            self._store.apply(replace(old, request_id=f"{old.request_id}-again"))
        return entry


def _open(*arguments: Any, **options: Any) -> Any:
    return LyingStore(open_store(*arguments, **options))


if __name__ == "__main__":
    broker.open_store = _open  # type: ignore[attr-defined]
    main()
