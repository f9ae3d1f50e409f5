"""Pools that follow Afanasy's own, through everything that happens to a farm and to brokers."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.broker.live.conftest import put_job
from tests.broker.store.places import change, following, wait_until
from tests.live_office import live_manager, live_office
from tests.studio import Studio, studio
from tests.working_afserver import WorkingAfServer, working_afserver

import afpools
from afpools import Client
from afpools_broker.farm.afserver import FarmError, ask
from afpools_broker.farm.farm import Farm, FarmWatch, Render
from afpools_broker.farm.native_mirror import GONE_SECONDS, NativeMirror
from afpools_broker.picture.snapshot import Snapshot
from afpools_broker.pools.changes import Change
from afpools_broker.pools.history import Entry
from afpools_broker.pools.mirror import is_within
from afpools_broker.pools.persistent import PersistentMap
from afpools_broker.pools.pool import Contents, Pool
from afpools_broker.store import open_store
from afpools_broker.store.settling import settle

PATH = "/local/farm"
HOSTS = ("a", "b", "c", "d")
PLACES = (PATH, f"{PATH}/gpu", "/local", "/")


# --- any sequence of events, with two brokers -------------------------------------------------------------------------


@dataclass
class Farmland:
    """An afserver, a store with one following pool, and the time."""

    where: dict[str, str] = field(default_factory=lambda: {"a": PATH, "b": PATH, "c": "/"})
    exists: bool = True
    answers: bool = True
    pool: Pool = field(default_factory=lambda: Pool("farm", ("a", "b"), follows=PATH))
    seconds: float = 1000.0
    written: list[float] = field(default_factory=list)  # when afserver sent the lists that changes were based on

    @property
    def within(self) -> set[str]:
        return {name for name, path in self.where.items() if is_within(path, PATH)}

    def now(self) -> dt.datetime:
        return dt.datetime(2026, 8, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=self.seconds)

    def ask(self, _request: dict[str, Any]) -> memoryview:
        if not self.answers:
            raise FarmError("afserver does not answer.")
        found = [{"name": "/", "renders_total": len(self.where)}]
        found += [{"name": PATH, "renders_total": len(self.within)}] * self.exists
        return memoryview(json.dumps({"pools": found}).encode())


class Broker:
    """One broker, whose data about pools and renders may be old."""

    def __init__(self, land: Farmland) -> None:
        self.land = land
        self.farm: Farm | None = None
        self.replaces = 0.0  # when afserver sent the newest list that the pool is based on, as far as this broker knows
        self.pools = PersistentMap({"farm": land.pool})
        self.mirror = NativeMirror(
            land.ask,
            self,  # type: ignore[arg-type]
            name="one",
            clock=lambda: land.seconds,
            now=land.now,
        )

    @property
    def current(self) -> Snapshot:
        return Snapshot(Contents(self.pools), self.farm, None)  # type: ignore[arg-type]

    def apply(self, wanted: Change) -> Entry:
        assert self.farm is not None
        settled = settle(wanted, self.land.pool)
        assert settled.after is not None
        # Nothing that this broker has read is replaced with anything older.
        listed = (self.farm.seen - Farmland(seconds=0).now()).total_seconds()
        assert listed >= self.replaces
        self.land.written.append(listed)
        self.land.pool = settled.after
        self.read()
        return settled.entry

    def read(self) -> None:
        self.replaces = max(self.land.written, default=0.0)
        self.pools = self.pools.evolve({"farm": self.land.pool})

    def poll(self) -> None:
        if self.land.answers and self.land.where:
            listed = tuple(Render(name, native_pool=path) for name, path in sorted(self.land.where.items()))
            self.farm = Farm(listed, self.land.now())

    def look(self) -> None:
        self.mirror.look()


EVENTS = st.one_of(
    st.tuples(st.just("move"), st.sampled_from(HOSTS), st.sampled_from(PLACES)),
    st.tuples(st.just("delete"), st.sampled_from(HOSTS)),
    st.tuples(st.sampled_from(["poll", "read", "look"]), st.integers(0, 1)),
    st.tuples(st.sampled_from(["silent", "answers", "loses everything", "pool is deleted", "minute"])),
)


def happen(land: Farmland, brokers: list[Broker], event: tuple[Any, ...]) -> None:
    land.seconds += 1
    match event:
        case ("move", host, path):
            land.where[host] = path
            land.exists = land.exists or is_within(path, PATH)
        case ("delete", host):
            land.where.pop(host, None)
        case (("poll" | "read" | "look") as what, number):
            getattr(brokers[number], what)()
        case ("silent" | "answers",):
            land.answers = event[0] == "answers"
        case ("loses everything",):
            land.where, land.exists = {}, False
        case ("pool is deleted",):
            land.exists = bool(land.within)  # afserver refuses to delete one that has renders
        case ("minute",):
            land.seconds += 60


@settings(deadline=None, max_examples=400)
@given(st.lists(EVENTS, max_size=40))
# One broker writes, the other writes the pool back as it was, and the first still has its old list.
@example([("move", "c", PATH), ("look", 1), ("poll", 1), ("move", "c", "/local")])
# Both happen before a broker reads the pool again.
@example(
    [
        ("move", "c", PATH),
        ("look", 1),
        ("poll", 1),
        ("look", 0),
        ("poll", 0),
        ("look", 0),
        ("move", "c", "/local"),
        ("look", 0),
        ("poll", 0),
        ("look", 0),
        ("read", 1),
        ("look", 1),
    ]
)
def test_the_mirror_shows_the_last_known_state_whatever_happens(events: list[tuple[Any, ...]]) -> None:
    land = Farmland()
    brokers = [Broker(land), Broker(land)]
    for event in events:
        before = land.pool
        happen(land, brokers, event)
        # Without an answer from afserver nothing changes.
        assert land.pool == before or (land.pool.hosts != () or land.exists or not land.answers)
    land.answers = True
    for broker in brokers:
        broker.read()
        broker.look()
    last = set(land.pool.hosts)
    for _ in range(4):
        for broker in brokers:
            land.seconds += GONE_SECONDS
            for step in ("read", "look", "poll", "look"):
                land.seconds += 1
                getattr(broker, step)()
    now = set(land.pool.hosts)
    if land.within:
        assert now == land.within
    elif not land.where or not land.exists:
        assert now == last
    else:
        # It is empty, unless it had renders that are not listed: of these, the ones missing last stay.
        missing = {host for host in last if host not in land.where}
        assert now <= missing
        assert bool(now) == bool(missing)
    if land.where:
        is_kept = not land.within and (bool(now) or not land.exists)
        assert bool(brokers[0].mirror.problems(is_stale=False)) == is_kept


def test_time_in_which_afserver_was_off_does_not_count_against_renders_that_it_has_lost() -> None:
    land = Farmland()
    broker = Broker(land)

    def listed(after: float) -> tuple[str, ...]:
        land.seconds += after
        broker.poll()
        broker.look()
        return land.pool.hosts

    broker.look()
    assert listed(1) == ("a", "b")
    # It has lost its renders, of which one has come back, and goes off again at once.
    del land.where["b"]
    assert listed(1) == ("a", "b")
    assert listed(60) == ("a", "b")
    assert listed(5) == ("a", "b")
    assert listed(11) == ("a",)  # the list is older than this moment by what the test itself takes


def test_of_two_brokers_the_late_one_writes_nothing() -> None:
    land = Farmland()
    quick, late = Broker(land), Broker(land)
    for broker in (quick, late):
        broker.look()
        land.seconds += 1
        broker.poll()
    land.where["c"] = PATH
    for step in (quick.poll, quick.look):
        land.seconds += 1
        step()
    assert land.pool.hosts == ("a", "b", "c")
    # It has a list without c, and learns about the change before it gets another list.
    late.read()
    land.seconds += 1
    late.look()
    assert land.pool.hosts == ("a", "b", "c")
    land.seconds += 1
    late.poll()
    late.look()
    assert land.written == [1003.0]


def test_a_pool_changed_meanwhile_is_left_for_the_next_look() -> None:
    land = Farmland()
    broker = Broker(land)
    broker.look()
    land.where["c"] = PATH
    land.seconds += 1
    broker.poll()
    land.pool = change("pools.update", "farm", description="x").apply(land.pool) or land.pool
    broker.look()
    assert land.pool.hosts == ("a", "b")
    broker.read()
    broker.look()
    land.seconds += 1
    broker.poll()
    broker.look()
    assert land.pool.hosts == ("a", "b", "c")


def test_two_brokers_with_one_database_write_each_change_once(tmp_path: Path) -> None:
    with working_afserver("pc-01", "pc-02", "pc-03") as server, ExitStack() as stack:
        server.set_pool(PATH, "pc-01")
        keepers = []
        for name in ("one", "two"):
            store = open_store(f"sqlite:///{tmp_path}/pools.db", timeout=20)
            stack.callback(store.close)
            keeper = stack.enter_context(following(store))
            keepers.append(keeper)
            if name == "one":
                keeper.apply(change("pools.follow", "farm", path=PATH))
            watch = FarmWatch(server.address, interval=0.05, timeout=20, store=store, changed=keeper.see_farm)
            mirror = NativeMirror(partial(ask, server.address, timeout=20), keeper, name=name)
            for part in (watch, mirror):
                part.start()
                stack.callback(part.stop, wait=20)

        def reached(*hosts: str) -> bool:
            return all(set(keeper.current.pool("farm").hosts) == set(hosts) for keeper in keepers)

        wait_until(lambda: reached("pc-01"))
        for joined in ("pc-02", "pc-03"):
            server.set_pool(PATH, joined)
            wait_until(lambda joined=joined: joined in keepers[0].current.pool("farm").hosts)  # type: ignore[misc]
        server.set_pool("/", "pc-01")
        wait_until(lambda: reached("pc-02", "pc-03"))
        said = [(*entry.diff.added, *(f"-{host}" for host in entry.diff.removed)) for entry in store.history()]
        assert said[:-1] == [("-pc-01",), ("pc-03",), ("pc-02",), ("pc-01",)]


# --- a whole broker before an afserver that works ---------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[WorkingAfServer]:
    with working_afserver("pc-01", "pc-02", "pc-03", "pc-04", "pc-05") as made:
        made.set_pool(PATH, "pc-01", "pc-02")
        made.set_pool("/local/farm/gpu", "pc-03")
        yield made


@pytest.fixture
def office(tmp_path: Path, server: WorkingAfServer) -> Iterator[Studio]:
    with live_office(tmp_path, server) as made:
        yield made


@pytest.fixture
def anna(office: Studio) -> Iterator[Client]:
    with live_manager(office, "anna", 5) as client:
        yield client


def hosts(client: Client, pool: str = "farm") -> set[str]:
    return set(client.get_pool(pool).hosts)


def test_renders_join_and_leave_with_afanasys_pool(anna: Client, server: WorkingAfServer) -> None:
    anna.follow_pool("/local/farm", "farm")
    assert hosts(anna) == {"pc-01", "pc-02", "pc-03"}
    assert (anna.get_pool("farm").follows, anna.list_pools().pools[0].follows) == (PATH, PATH)
    server.set_pool(PATH, "pc-04")
    wait_until(lambda: "pc-04" in hosts(anna))
    server.set_pool("/", "pc-01")
    wait_until(lambda: "pc-01" not in hosts(anna))
    newest = anna.history(limit=1)[0]
    assert (newest.who, newest.op, newest.diff) == (
        "broker broker",
        "pools.mirror",
        {"removed": ["pc-01"], "follows": [PATH, PATH]},
    )
    assert newest.why_not.startswith("The pool 'farm' follows Afanasy's pool '/local/farm'")


def test_renders_that_are_offline_stay_and_a_restart_changes_nothing(anna: Client, server: WorkingAfServer) -> None:
    anna.follow_pool(PATH, "farm")
    server.set_render("pc-01", " OFF")
    server.restart()
    # A render that joins afterwards shows that the broker has seen it.
    server.set_pool(PATH, "pc-05")
    wait_until(lambda: "pc-05" in hosts(anna))
    assert hosts(anna) == {"pc-01", "pc-02", "pc-03", "pc-05"}


def test_a_server_that_has_lost_everything_empties_no_pool_and_health_says_so(
    anna: Client, server: WorkingAfServer
) -> None:
    anna.follow_pool(PATH, "farm")
    server.lose_everything()
    wait_until(lambda: any("lists no renders" in text for text in anna.health()["problems"]))
    for name in ("pc-01", "pc-02"):
        server.set_render(name)
    kept = (
        "afserver has no pool '/local/farm' any more. The pool 'farm', which follows it, keeps its last 3 hosts. Make "
        "that pool again in Afanasy, or run `afpools pool unfollow farm`."
    )
    wait_until(lambda: kept in anna.health()["problems"])
    assert hosts(anna) == {"pc-01", "pc-02", "pc-03"}
    server.set_pool(PATH, "pc-01")
    wait_until(lambda: hosts(anna) == {"pc-01", "pc-03"})
    assert not any("follows" in text for text in anna.health()["problems"])


def test_a_pool_that_all_renders_have_left_is_empty(anna: Client, server: WorkingAfServer) -> None:
    anna.follow_pool(PATH, "farm")
    server.set_pool("/", "pc-01", "pc-02", "pc-03")
    wait_until(lambda: not hosts(anna))


def test_jobs_move_with_a_pool_that_follows(anna: Client, server: WorkingAfServer) -> None:
    anna.follow_pool(PATH, "farm")
    mask = anna.exclude_mask("farm")
    job = put_job(server, mask.mask, "farm", mask.revision, offline=True)
    wait_until(lambda: [each.fence for each in anna.jobs().jobs] == ["current"])
    server.set_pool(PATH, "pc-05")
    wait_until(lambda: "pc-05" in hosts(anna) and server.fence(job)[0] != mask.mask)
    assert anna.exclude_mask("farm").mask == server.fence(job)[0]


def test_people_can_change_its_name_and_looks_and_nothing_else(anna: Client) -> None:
    anna.follow_pool(PATH, "farm", "all of it", "#ff0000")
    for attempt in (
        lambda: anna.add_hosts("farm", ["pc-05"]),
        lambda: anna.remove_hosts("farm", ["pc-01"]),
    ):
        with pytest.raises(afpools.Conflict, match="first run `afpools pool unfollow farm`"):
            attempt()
    with pytest.raises(afpools.Conflict, match="first run"):
        anna.check_hosts("farm", ["pc-05"])
    anna.update_pool("farm", description="new")
    anna.rename_pool("farm", "all farm")
    assert anna.get_pool("all farm").follows == PATH
    with pytest.raises(afpools.Conflict, match="unfollow 'all farm'`"):
        anna.add_hosts("all farm", ["pc-05"])
    anna.unfollow_pool("all farm")
    assert anna.unfollow_pool("all farm").change == ""
    anna.remove_hosts("all farm", ["pc-01"])
    assert hosts(anna, "all farm") == {"pc-02", "pc-03"}


def test_undo_of_following(anna: Client, server: WorkingAfServer) -> None:
    followed = anna.follow_pool(PATH, "farm")
    server.set_pool(PATH, "pc-05")
    wait_until(lambda: "pc-05" in hosts(anna))
    ended = anna.unfollow_pool("farm")
    server.set_pool("/", "pc-05")
    anna.undo(ended.change)
    wait_until(lambda: "pc-05" not in hosts(anna))
    anna.undo(followed.change)
    assert anna.list_pools().pools == ()


def test_a_pool_that_cannot_be_followed_is_reported(anna: Client) -> None:
    anna.create_pool("fx", ["pc-01"])
    with pytest.raises(afpools.BadRequest, match="Did you mean /local/farm"):
        anna.follow_pool("/local/fram", "farm")
    with pytest.raises(afpools.PoolExists, match="--as"):
        anna.follow_pool(PATH, "fx")
    anna.follow_pool("/local/farm/", "farm")
    with pytest.raises(afpools.PoolExists, match="follows Afanasy's pool '/local/farm' already"):
        anna.follow_pool(PATH, "farm")
    with pytest.raises(afpools.BadRequest, match="cannot be seen"):
        anna.follow_pool(PATH, "fa\u200brm")


def test_a_repeated_request_gets_the_answer_it_got_before(anna: Client, server: WorkingAfServer) -> None:
    first = anna.follow_pool(PATH, "farm", request_id="one")
    server.set_pool("/", "pc-01", "pc-02", "pc-03")
    wait_until(lambda: not hosts(anna))
    assert anna.follow_pool(PATH, "farm", request_id="one") == first


def test_importing_leaves_a_following_pool_alone(anna: Client, server: WorkingAfServer) -> None:
    anna.follow_pool(PATH, "local/farm")
    server.set_pool("/other", "pc-05")
    wait_until(lambda: len(anna.import_native(dry_run=True)) == 4)
    done = {each.path: (each.pool, each.change != "") for each in anna.import_native()}
    assert done[PATH] == ("local/farm", False)
    assert done["/other"] == ("other", True)


def test_following_pools_are_named_if_the_farm_is_not_seen(tmp_path: Path, server: WorkingAfServer) -> None:
    with ExitStack() as stack:
        office = stack.enter_context(live_office(tmp_path, server))
        stack.enter_context(live_manager(office, "anna", 5)).follow_pool(PATH, "farm")
    with studio(tmp_path) as office:
        assert office.broker._health.report().problems == [
            "The pool 'farm' cannot follow Afanasy's pool now and keeps the hosts that it has: this broker has no "
            "afserver."
        ]
