"""A writer's process: changes pools in every possible way, so that each change can be distinguished from all others.

Strategy: hosts and descriptions carry the writer's name and a number, and are never used again, so what is seen later
can only come from that one request. Pools of a writer's own come and go; for some names all writers race, and only one
may be told "created".
"""

from __future__ import annotations

import random
import time
from pathlib import Path

from afpools import WriteResult

from .asking import Asker, asker
from .history import MEMBER, NOTHING, Cell, Operation, Outcome

# The most hosts of one writer in a pool; usually there are half as many.
_HOSTS = 12
# Every this many seconds there is a new name to race for.
_RACE_SECONDS = 2.0


class Writer:
    """Changes pools.

    Args:
        asker: how.
    """

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self._dice = random.Random(asker.spec.seed)
        self._number = 0
        self._mine: dict[str, dict[str, str]] = {pool: {} for pool in asker.spec.pools}
        self._registered: list[str] = []
        self._made: list[str] = []
        self._raced = 0

    def step(self) -> None:
        """Makes one change, and rests."""
        if Path(self._asker.spec.quiet).exists():
            time.sleep(0.1)
            return
        race = int(time.monotonic() / _RACE_SECONDS)
        if race != self._raced:
            self._raced = race
            self._create(f"race-{race}")
        elif len(self._made) > 2:
            self._end(self._made.pop(0))
        else:
            pool = self._dice.choice(self._asker.spec.pools)
            kinds = (self._hosts, self._describe, self._register, self._undo)
            self._dice.choices(kinds, (10, 3, 1, 1))[0](pool)
        time.sleep(self._dice.expovariate(1 / self._asker.spec.pause))

    def _new(self) -> str:
        self._number += 1
        return f"{self._asker.spec.actor}-{self._number}"

    # --- the pools that stay ---

    def _hosts(self, pool: str) -> None:
        if self._dice.randrange(_HOSTS) < len(self._mine[pool]):
            self._take_out(pool, self._dice.choice(list(self._mine[pool])))
            return
        host = self._new()

        def ask(request_id: str) -> WriteResult:
            return self._asker.client.add_hosts(pool, [host], new_hosts=True, request_id=request_id)

        made = self._asker.write("pools.add_hosts", ask, (_in(pool, host, MEMBER),), there=(_pool(pool, NOTHING),))
        if made.outcome is not Outcome.REFUSED:
            self._mine[pool][host] = made.change

    def _take_out(self, pool: str, host: str) -> None:
        def ask(request_id: str) -> WriteResult:
            return self._asker.client.remove_hosts(pool, [host], request_id=request_id)

        taken = self._asker.write("pools.remove_hosts", ask, (_in(pool, host, NOTHING),), there=(_pool(pool, NOTHING),))
        # Such a refusal means that it was not in the pool: an undo whose outcome was unknown had taken it out.
        if taken.outcome is Outcome.OK or taken.code == "bad_request":
            del self._mine[pool][host]

    def _undo(self, pool: str) -> None:
        known = [(host, change) for host, change in self._mine[pool].items() if change]
        if not known:
            return
        host, change = self._dice.choice(known)

        def ask(request_id: str) -> WriteResult:
            return self._asker.client.undo(change, request_id=request_id)

        undone = self._asker.write("history.undo", ask, (_in(pool, host, NOTHING),))
        if undone.outcome is not Outcome.UNKNOWN:
            # Refused: something prevents it, and always will.
            self._mine[pool].update({host: ""})
        if undone.outcome is Outcome.OK:
            del self._mine[pool][host]

    def _describe(self, pool: str) -> None:
        text = self._new()

        def ask(request_id: str) -> WriteResult:
            return self._asker.client.update_pool(pool, description=text, request_id=request_id)

        self._asker.write("pools.update", ask, (Cell(f"description:{pool}", "", text),), there=(_pool(pool, NOTHING),))

    def _register(self, _pool: str) -> None:
        if self._dice.randrange(_HOSTS) < len(self._registered):
            host = self._registered.pop(0)
            self._asker.write(
                "hosts.forget",
                lambda request_id: self._asker.client.forget_hosts([host], request_id=request_id),
                (Cell("registered", host, NOTHING),),
            )
            return
        host = self._new()
        self._registered.append(host)
        self._asker.write(
            "hosts.register",
            lambda request_id: self._asker.client.register_hosts([host], request_id=request_id),
            (Cell("registered", host, MEMBER),),
        )

    # --- the pools that come and go ---

    def _create(self, name: str) -> None:
        made = self._asker.write(
            "pools.create",
            lambda request_id: self._asker.client.create_pool(name, ["anchor"], new_hosts=True, request_id=request_id),
            (_pool(name, MEMBER),),
            needs=(_pool(name, NOTHING),),
        )
        if made.outcome is not Outcome.REFUSED:
            self._made.append(name)

    def _end(self, name: str) -> None:
        if self._dice.random() < 0.5:
            self._rename(name, self._new())
            return
        deleted = self._asker.write(
            "pools.delete",
            lambda request_id: self._asker.client.delete_pool(name, request_id=request_id),
            (_pool(name, NOTHING),),
            there=(_pool(name, NOTHING),),
        )
        self._keep_if_there(deleted, name)

    def _rename(self, name: str, new_name: str) -> None:
        renamed = self._asker.write(
            "pools.rename",
            lambda request_id: self._asker.client.rename_pool(name, new_name, request_id=request_id),
            (_pool(name, NOTHING), _pool(new_name, MEMBER)),
            needs=(_pool(new_name, NOTHING),),
            there=(_pool(name, NOTHING),),
        )
        self._keep_if_there(renamed, name)
        if renamed.outcome is not Outcome.REFUSED:
            self._made.append(new_name)

    def _keep_if_there(self, operation: Operation, name: str) -> None:
        if operation.outcome is Outcome.REFUSED and operation.code != "unknown_pool":
            self._made.append(name)


def _in(pool: str, host: str, value: str) -> Cell:
    return Cell(f"hosts:{pool}", host, value)


def _pool(name: str, value: str) -> Cell:
    return Cell("pools", name, value)


def main() -> None:
    """Writes until it is told to stop."""
    with asker() as (made, wanted):
        writer = Writer(made)
        while wanted():
            writer.step()


if __name__ == "__main__":
    main()
