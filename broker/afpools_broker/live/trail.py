"""The part of history that says what pools were called, read again only as far as it is new.

Strategy: entries sort by the clock of the broker that made them, so an entry of a broker whose clock is slow is older
than others that were there before. An overlap finds it if few changes lie between. If the present state of a pool that
has changed is still missing, everything is read again: without that entry, a new pool could be mistaken for the pool
that had its name before, and jobs would be let into it.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..pools.history import Step
from ..pools.persistent import persistent
from ..pools.pool import Pool
from ..pools.undo import REACH
from ..store import PoolStore, StoreUnavailable

# This many steps are read again with the newest, because brokers' clocks may disagree about their order.
_OVERLAP = 50


class Trail:
    """What happened to pools, newest first.

    Args:
        store: provides history.
    """

    def __init__(self, store: PoolStore) -> None:
        self._store = store
        self._pools: Mapping[str, Pool] = {}
        self.steps: list[Step] = []

    def read(self, pools: Mapping[str, Pool]) -> bool:
        """Reads what is new; False if the store does not answer.

        Args:
            pools: the present pools, by name, read before this.
        """
        since = self.steps[min(_OVERLAP, len(self.steps) - 1)].id if self.steps else ""
        try:
            newer = self._store.trail(since=since, limit=REACH)
            seen = {step.id for step in newer}
            self.steps = [*newer, *(step for step in self.steps if step.id not in seen)][:REACH]
            if since and self._lacks(pools):
                self.steps = self._store.trail(since="", limit=REACH)
        except StoreUnavailable:
            return False
        self._pools = pools
        return True

    def _lacks(self, pools: Mapping[str, Pool]) -> bool:
        """Whether the last change of a pool is missing."""
        changed = [pools[name] for name in persistent(pools).differing(self._pools) if name in pools]
        if not changed:
            return False
        made = {(step.pool, step.after) for step in self.steps}
        return any((pool.name, pool.revision) not in made for pool in changed)
