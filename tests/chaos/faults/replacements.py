"""What an operator does to the database behind the brokers' backs: collections replaced, dropped and filled again,
indexes dropped.

Strategy: every replacement takes one host out of each pool that stays and puts another in, so that a broker which goes
on showing the old collection shows what is not so. It is recorded as a write of the operator's that overwrites: other
writes in progress at that time may be lost, and the checker knows.
"""

from __future__ import annotations

import time
from typing import Any, ClassVar

from ..history import MEMBER, NOTHING, Cell, Operation, Outcome
from ..stores import MAJORITY
from ..world import POOLS
from . import Fault

_REPLICA_SET = frozenset({"replica-set"})

# A call's deadline and a margin: a writer's requests have normally ended by then.
_LAST_CHANGE_SECONDS = 3.0

Documents = list[dict[str, Any]]


class _Replace(Fault):
    """Replaces the collection `pools` with the same contents, but one host of each pool exchanged."""

    stores = _REPLICA_SET
    quiet: ClassVar[bool]
    """Whether nobody changes anything afterwards: any other change would make a broker read the collection again."""

    def put(self, database: Any, documents: Documents) -> None:
        """Replaces the collection's contents with `documents`."""
        raise NotImplementedError

    def begin(self) -> str:
        mark = f"operator-{time.monotonic_ns()}"
        sets: list[Cell] = []
        if self.quiet:
            self.undo.callback(self.world.quiet.unlink, missing_ok=True)
            self.world.quiet.touch()
            time.sleep(_LAST_CHANGE_SECONDS)
        start = time.monotonic()
        with self.world.store.database() as database:  # type: ignore[union-attr]
            documents: Documents = list(database.with_options(read_concern=MAJORITY).pools.find())
            for document in documents:
                if document["name"] in POOLS:
                    sets += _exchange(document, mark)
            self._record(mark, start, None, Outcome.UNKNOWN, sets)
            self.put(database, documents)
        self._record(mark, start, time.monotonic(), Outcome.OK, sets)
        return f"{len(documents)} pools"

    def _record(self, mark: str, start: float, end: float | None, outcome: Outcome, sets: list[Cell]) -> None:
        scopes = ("pools", *(f"{scope}:{pool}" for pool in POOLS for scope in ("hosts", "description")))
        self.world.recorder.record(
            Operation(
                actor="operator",
                op=self.name,
                start=start,
                end=end,
                outcome=outcome,
                request_id=mark,
                sets=tuple(sets),
                overwrites=scopes,
            )
        )


def _exchange(document: dict[str, Any], mark: str) -> list[Cell]:
    scope = f"hosts:{document['name']}"
    old = [c["hostname"] for c in document["clients"] if c["hostname"].startswith("operator-")]
    document["clients"] = [c for c in document["clients"] if c["hostname"] not in old] + [{"hostname": mark}]
    return [*(Cell(scope, host, NOTHING) for host in old), Cell(scope, mark, MEMBER)]


class Swap(_Replace):
    name = "swap"
    about = "pools is replaced by another collection (rename with dropTarget), while nobody changes anything"
    quiet = True
    least = 6.0

    def put(self, database: Any, documents: Documents) -> None:
        database.drop_collection("pools_new")
        database.pools_new.insert_many(documents)
        database.pools_new.rename("pools", dropTarget=True)


class Out(_Replace):
    name = "out"
    about = "pools is replaced by the result of an aggregation ($out), while nobody changes anything"
    quiet = True
    least = 6.0

    def put(self, database: Any, documents: Documents) -> None:
        database.drop_collection("pools_new")
        database.pools_new.insert_many(documents)
        database.pools_new.aggregate([{"$out": "pools"}])
        database.drop_collection("pools_new")


class DropAndFill(_Replace):
    name = "drop-and-fill"
    about = "pools is dropped and filled again, without its indexes (mongoimport --drop)"
    quiet = False

    def put(self, database: Any, documents: Documents) -> None:
        database.drop_collection("pools")
        database.pools.insert_many(documents)


class DropIndexes(Fault):
    name = "drop-indexes"
    about = "all indexes of pools and history are dropped"
    stores = _REPLICA_SET

    def begin(self) -> str:
        with self.world.store.database() as database:  # type: ignore[union-attr]
            for name in ("pools", "history"):
                database[name].drop_indexes()
        return ""


FAULTS: list[type[Fault]] = [Swap, Out, DropAndFill, DropIndexes]
