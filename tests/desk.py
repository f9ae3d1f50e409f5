"""A service with everything behind it, asked as a listener asks it: bytes in, bytes out, without a socket."""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from afpools_broker import protocol
from afpools_broker.config import FarmSection, LimitsSection
from afpools_broker.credentials.peers import Peer
from afpools_broker.farm.afserver import Ask
from afpools_broker.farm.farm import Farm, Render
from afpools_broker.farm.system_job import SystemJobKeeper
from afpools_broker.monitoring.peer_log import PeerLog
from afpools_broker.monitoring.statistics import Statistics
from afpools_broker.operations import OPERATIONS, Sender, Write
from afpools_broker.picture.snapshot import SnapshotKeeper
from afpools_broker.protocol import Role
from afpools_broker.service import Service
from afpools_broker.store import PoolStore, open_store

MANAGER = Peer("anna", Role.MANAGER)
READER = Peer("blender", Role.READER)
FARM = [f"pc-0{n}" for n in range(1, 6)]
NOW = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)
_requests = count()


class NoHealth:
    def report(self) -> protocol.HealthResult:
        raise NotImplementedError


@dataclass
class Desk:
    service: Service
    keeper: SnapshotKeeper
    store: PoolStore
    statistics: Statistics
    now: list[dt.datetime] = field(default_factory=lambda: [NOW])
    system_job: SystemJobKeeper | None = None

    def answer(self, data: bytes, peer: Peer = MANAGER) -> bytes:
        answer = self.service.answer(Sender(peer, "127.0.0.1:40000"), data)
        return answer if isinstance(answer, bytes) else answer.work()

    def raw(self, data: bytes, peer: Peer = MANAGER) -> dict[str, Any]:
        return json.loads(self.answer(data, peer))

    def see(self, *names: str, engine: str = "3.4.1", regex_users: frozenset[str] | None = None) -> None:
        """Sets the farm's renders."""
        renders = (Render(name, ("online",), engine=engine) for name in names)
        self.see_renders(*renders, regex_users=regex_users)

    def see_renders(self, *renders: Render, regex_users: frozenset[str] | None = None) -> None:
        """Sets the farm."""
        self.keeper.see_farm(Farm(renders, self.now[0], time.monotonic() + 3600, regex_users))

    def ask(self, op: str, peer: Peer = MANAGER, **params: Any) -> dict[str, Any]:
        if issubclass(OPERATIONS[op], Write):
            params.setdefault("request_id", f"r{next(_requests)}")
        answer = self.raw(json.dumps({"v": 1, "id": "7", "op": op, "params": params}).encode(), peer)
        assert (answer["v"], answer["id"]) == (1, "7")
        return answer

    def ok(self, op: str, **params: Any) -> dict[str, Any]:
        answer = self.ask(op, **params)
        assert answer["ok"], answer
        return answer["result"]

    def code(self, op: str, **params: Any) -> str:
        answer = self.ask(op, **params)
        assert not answer["ok"], answer
        return answer["error"]["code"]


@contextmanager
def open_desk(file: Path, *, by_hand: bool = False, seen: bool = True, afserver: Ask | None = None) -> Iterator[Desk]:
    """A service on an SQLite file.

    Args:
        file: need not exist.
        by_hand: there is no afserver.
        seen: afserver has named its renders, `FARM`.
        afserver: answers what is asked about its system job. Nobody looks after that by himself.
    """
    store = open_store(f"sqlite:///{file}", timeout=20)
    keeper, statistics = SnapshotKeeper(store, by_hand=by_hand), Statistics()
    now = [NOW]
    system_job = afserver and SystemJobKeeper(afserver, keeper, clock=lambda: now[0])
    service = Service(
        name="test",
        keeper=keeper,
        store=store,
        health=NoHealth(),
        limits=LimitsSection,
        peer_log=PeerLog(),
        statistics=statistics,
        farm=FarmSection("" if by_hand else "afserver"),
        system_job=system_job,
        clock=lambda: now[0],
    )
    keeper.start(wait=30)
    try:
        made = Desk(service, keeper, store, statistics, now, system_job)
        if seen and not by_hand:
            made.see(*FARM)
        yield made
    finally:
        keeper.stop(wait=2)
        store.close()
