"""A reader's process: pools, hosts and masks, repeatedly, as plug-ins ask for them."""

from __future__ import annotations

import random
import time
from typing import Any

from afpools import HostList, Mask, Pool, PoolList

from .asking import Asker, asker, lets_in, members

# A mask is tried on this many hosts that were in its pool, those seen last: removed ones are among them.
_TRIED = 32


class Reader:
    """Asks what plug-ins ask.

    Args:
        asker: how.
    """

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self._dice = random.Random(asker.spec.seed)
        self._seen: dict[str, dict[str, None]] = {pool: {} for pool in asker.spec.pools}

    def step(self) -> None:
        """Asks once, and rests."""
        pool = self._dice.choice(self._asker.spec.pools)
        self._dice.choices((self._pools, self._pool, self._mask, self._hosts), (4, 8, 8, 0.2))[0](pool)
        time.sleep(self._dice.expovariate(1 / self._asker.spec.pause))

    def _pools(self, _pool: str) -> None:
        def shows(found: PoolList) -> dict[str, Any]:
            return {"shows": {"pools": members(pool.name for pool in found.pools)}, "age": found.age}

        self._asker.read("pools.list", self._asker.client.list_pools, shows)

    def _pool(self, pool: str) -> None:
        def shows(found: Pool) -> dict[str, Any]:
            seen = self._seen[pool]
            for host in found.hosts:
                seen.pop(host, None)
                seen[host] = None
            while len(seen) > _TRIED:
                del seen[next(iter(seen))]
            described = {"": found.description} if found.description else {}
            return {
                "shows": {f"hosts:{pool}": members(found.hosts), f"description:{pool}": described},
                "age": found.age,
            }

        self._asker.read("pools.get", lambda: self._asker.client.get_pool(pool), shows)

    def _mask(self, pool: str) -> None:
        def shows(found: Mask) -> dict[str, Any]:
            return {"tells": {f"hosts:{pool}": lets_in(found, self._seen[pool])}, "age": found.age}

        self._asker.read("mask", lambda: self._asker.client.exclude_mask(pool, accept=("regex",)), shows)

    def _hosts(self, _pool: str) -> None:
        def shows(found: HostList) -> dict[str, Any]:
            registered = members(host.name for host in found.hosts if host.registered)
            return {"shows": {"registered": registered}, "age": found.age}

        self._asker.read("hosts.list", self._asker.client.list_hosts, shows)


def main() -> None:
    """Reads until it is told to stop."""
    with asker() as (made, wanted):
        reader = Reader(made)
        while wanted():
            reader.step()


if __name__ == "__main__":
    main()
