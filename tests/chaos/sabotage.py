"""A broker whose store lies, to show that the judge notices: `python -m tests.chaos.sabotage -c broker.toml`.

Everything else about it is the real broker. Of the changes that add hosts, every third one is acknowledged and dropped,
or applied again some changes later, or made and reported as not made; and what was read first is shown ever after, with
the age that the store's own silence confirms.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

from afpools_broker import broker
from afpools_broker.pools import Change, Contents, Entry
from afpools_broker.protocol import Code, RequestRefused
from afpools_broker.store import PoolStore, open_store
from afpools_broker.store.records import settle
from afpools_tools.cli import main

# Changes that pass before one is applied again: long enough that its host may have been taken out.
_AGAIN_AFTER = 25


class LyingStore:
    """A store that does not keep its word.

    Args:
        store: the one that does.
    """

    def __init__(self, store: PoolStore) -> None:
        self._store = store
        self._lies = itertools.cycle(("drop", "again", "deny"))
        self._turns = itertools.count()
        self._again: list[tuple[int, Change]] = []
        self._first: Contents | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def load(self) -> Contents:
        """What it held when it had the pools that stay."""
        contents = self._store.load()
        if self._first is None and len(contents.pools) >= 3:
            self._first = contents
        return self._first or contents

    def apply(self, change: Change) -> Entry:
        """Applies one change, or says so."""
        turn = next(self._turns)
        while self._again and self._again[0][0] < turn:
            _, old = self._again.pop(0)
            self._store.apply(replace(old, request_id=f"{old.request_id}-again"))
        if change.op != "pools.add_hosts" or turn % 3:
            return self._store.apply(change)
        match next(self._lies):
            case "drop":
                return settle(change, self._store.load().pools.get(change.pool)).entry
            case "again":
                self._again.append((turn + _AGAIN_AFTER, change))
                return self._store.apply(change)
            case _:
                self._store.apply(change)
                raise RequestRefused(Code.STORE_UNAVAILABLE, "The change was not made: no.", made=False)


def _open(*arguments: Any, **options: Any) -> Any:
    return LyingStore(open_store(*arguments, **options))


if __name__ == "__main__":
    broker.open_store = _open  # type: ignore[attr-defined]
    main()
