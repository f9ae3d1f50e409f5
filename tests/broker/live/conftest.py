"""A farm with jobs on it, and a keeper of fences that looks when a test says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.broker.store.places import change, create, following
from tests.working_afserver import WorkingAfServer, working_afserver

from afpools.fence_note import Note, SpillNote, fingerprint, parse_note, with_note
from afpools_broker.farm.afserver import ask
from afpools_broker.farm.farm import FarmWatch
from afpools_broker.live.keeper import FenceKeeper, Settings
from afpools_broker.live.lease import LeaseKeeper
from afpools_broker.picture.job_mask import job_mask
from afpools_broker.pools.history import Entry
from afpools_broker.protocol import MASK_BYTES, MaskParams
from afpools_broker.store import PoolStore, open_store

# The fence of fx after pc-04 has joined.
WIDER = "(?!pc-0[134]$).*"


def put_job(
    server: WorkingAfServer,
    mask: str,
    pool: str,
    revision: str,
    name: str = "shot",
    *,
    exclude: str = "",
    custom_data: str = "",
    spill: SpillNote | None = None,
    **more: Any,
) -> int:
    """A job with a mask and a note, as our clients send it."""
    note = Note(pool, revision, exclude, "either", fingerprint(mask, "regex"), spill=spill)
    data = with_note(custom_data, note)
    return server.send(name, hosts_mask_exclude=mask, hosts_mask_type="regex", custom_data=data, **more)


class Studio:
    """A store, a farm, and the part of one broker that keeps fences.

    Args:
        server: the afserver.
        store: where pools are kept.
        stack: what to close at the end.
    """

    def __init__(self, server: WorkingAfServer, store: PoolStore, stack: ExitStack) -> None:
        self.server, self.store = server, store
        self.settings = Settings(timeout=20.0)
        self.now = 0.0
        """The clock of waiting jobs; see `wait`."""
        self.keeper = stack.enter_context(following(store))
        self.farm = FarmWatch(server.address, interval=60, timeout=20, store=store, changed=self.keeper.see_farm)
        self.farm.poll()
        self.fences = self.another("broker-1")

    def another(self, name: str) -> FenceKeeper:
        """Another keeper, as another broker would have."""
        return FenceKeeper(
            lambda request: ask(self.server.address, request, timeout=20),
            self.server.address,
            keeper=self.keeper,
            store=self.store,
            name=name,
            settings=lambda: self.settings,
            lease=LeaseKeeper(self.store, name, seconds=3600, margin=1),
            monotonic=lambda: self.now,
        )

    def wait(self, seconds: float, *keepers: FenceKeeper) -> None:
        """Lets time pass, with the keepers looking every five seconds."""
        until = self.now + seconds
        while self.now < until:
            self.now = min(until, self.now + 5.0)
            for keeper in keepers or (self.fences,):
                self.look(keeper)

    def to(self, pool: str, after: int = 1800) -> SpillNote:
        """The note of a job that names a second pool."""
        return SpillNote(pool, self.keeper.current.pool(pool).revision, after)

    def apply(self, op: str, pool: str = "", *hosts: str, **more: Any) -> Entry:
        return self.keeper.apply(change(op, pool, *hosts, **more))

    def pool(self, name: str, *hosts: str) -> None:
        self.keeper.apply(create(name, *hosts))

    def send(self, pool: str, name: str = "shot", *, exclude: str = "", **more: Any) -> int:
        """A job with the mask that our clients would set."""
        snapshot = self.keeper.current
        params = MaskParams(
            pool=pool, style="complement", exclude=exclude, future_hosts="required", max_bytes=MASK_BYTES
        )
        mask = job_mask(snapshot.fences, params, "find")
        revision = snapshot.pool(pool).revision
        return put_job(self.server, mask.text, pool, revision, name, exclude=exclude, **more)

    def look(self, keeper: FenceKeeper | None = None) -> FenceKeeper:
        """Looks until nothing more can be done now."""
        keeper = keeper or self.fences
        keeper.lease.ask()
        keeper.look(at_once=True)
        for _ in range(50):
            if not keeper.look(at_once=True):
                return keeper
        raise AssertionError("there is always more to do")

    def fence(self, number: int) -> str:
        return self.fences.view.verdicts[number].fence

    def why(self, number: int) -> str:
        return self.fences.view.verdicts[number].why

    def mask(self, number: int) -> str:
        return self.server.fence(number)[0]

    def note(self, number: int) -> Note:
        note = parse_note(self.server.job(number).get("custom_data"))
        assert note is not None
        return note


@pytest.fixture
def make_studio(tmp_path: Path) -> Iterator[Callable[..., Studio]]:
    with ExitStack() as stack:

        def make(*renders: str, **how: Any) -> Studio:
            server = stack.enter_context(working_afserver(*renders, **how))
            store = open_store(f"sqlite:///{tmp_path}/pools.db", timeout=20)
            stack.callback(store.close)
            return Studio(server, store, stack)

        yield make


@pytest.fixture
def studio(make_studio: Callable[..., Studio]) -> Studio:
    """Five renders, and the pool fx of two of them."""
    made = make_studio("pc-01", "pc-02", "pc-03", "pc-04", "pc-05")
    made.pool("fx", "pc-01", "pc-03")
    return made
