"""Which changes can be undone, and what undoing does: as a manager sees it, and over random histories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.broker.conftest import manager
from tests.broker.store.places import change, mirroring, planned
from tests.studio import studio

import afpools
from afpools import Client
from afpools_broker.pools.changes import Change
from afpools_broker.pools.history import MIRROR, Entry, Step
from afpools_broker.pools.pool import Contents, Pool
from afpools_broker.pools.undo import Undoing
from afpools_broker.protocol import RequestRefused
from afpools_broker.store.settling import settle


def newest(client: Client) -> afpools.HistoryEntry:
    return client.history(limit=1)[0]


def hosts(client: Client, pool: str) -> set[str]:
    return set(client.get_pool(pool).hosts)


def test_an_undo_takes_back_its_change_and_leaves_what_was_done_since(anna: Client) -> None:
    anna.create_pool("fx", ["pc-01", "pc-02"])
    removed = anna.remove_hosts("fx", ["pc-01"])
    anna.add_hosts("fx", ["pc-09"], new_hosts=True)
    anna.update_pool("fx", description="for effects")
    undone = anna.undo(removed.change)
    assert undone.added == ("pc-01",)
    assert hosts(anna, "fx") == {"pc-01", "pc-02", "pc-09"}
    assert anna.get_pool("fx").description == "for effects"
    entry = newest(anna)
    assert (entry.op, entry.undoes, entry.undoable) == ("history.undo", removed.change, True)


def test_only_hosts_that_the_change_really_added_are_taken_out_again(anna: Client) -> None:
    anna.create_pool("fx", ["pc-01"])
    added = anna.add_hosts("fx", ["pc-01", "pc-02"])
    anna.undo(added.change)
    assert hosts(anna, "fx") == {"pc-01"}


def test_a_deleted_pool_comes_back_whole(anna: Client) -> None:
    anna.create_pool("fx", ["pc-01"], "effects", "#ff0000")
    revision = anna.get_pool("fx").revision
    deleted = anna.delete_pool("fx")
    anna.undo(deleted.change)
    pool = anna.get_pool("fx")
    assert (pool.hosts, pool.description, pool.colour, pool.revision) == (("pc-01",), "effects", "#ff0000", revision)


def test_a_renamed_pool_is_followed(anna: Client) -> None:
    anna.create_pool("fx", ["pc-01"])
    added = anna.add_hosts("fx", ["pc-02"])
    renamed = anna.rename_pool("fx", "vfx")
    anna.undo(added.change)
    assert hosts(anna, "vfx") == {"pc-01"}
    anna.undo(renamed.change)
    assert hosts(anna, "fx") == {"pc-01"}


def test_an_undo_can_be_undone_and_the_same_change_not_twice(anna: Client) -> None:
    created = anna.create_pool("fx", ["pc-01"])
    undo = anna.undo(created.change)
    with pytest.raises(afpools.Conflict, match="already been undone by 'anna'"):
        anna.undo(created.change)
    anna.undo(undo.change)
    assert hosts(anna, "fx") == {"pc-01"}


def test_an_obstacle_is_named_before_and_at_the_undo(anna: Client) -> None:
    created = anna.create_pool("fx", ["pc-01"])
    anna.add_hosts("fx", ["pc-02"])
    (why_not,) = [entry.why_not for entry in anna.history() if entry.id == created.change]
    assert "is not as it was created" in why_not
    with pytest.raises(afpools.Conflict) as caught:
        anna.undo(created.change)
    assert str(caught.value) == why_not
    deleted = anna.delete_pool("fx")
    anna.create_pool("fx", ["pc-07"], new_hosts=True)
    with pytest.raises(afpools.PoolExists):
        anna.undo(deleted.change)
    assert hosts(anna, "fx") == {"pc-07"}


def test_a_new_pool_with_an_old_name_is_a_different_pool(anna: Client) -> None:
    anna.create_pool("fx", ["pc-01"])
    added = anna.add_hosts("fx", ["pc-02"])
    anna.delete_pool("fx")
    anna.create_pool("fx", ["pc-02", "pc-03"])
    with pytest.raises(afpools.Conflict, match="was deleted"):
        anna.undo(added.change)


def test_the_same_request_is_one_undo(anna: Client) -> None:
    created = anna.create_pool("fx", ["pc-01"])
    assert anna.undo(created.change, request_id="r") == anna.undo(created.change, request_id="r")
    assert len(anna.history()) == 2


def test_registered_hosts_can_be_taken_back_as_well(anna: Client) -> None:
    registered = anna.register_hosts(["new-1"])
    anna.undo(registered.change)
    assert "new-1" not in {host.name for host in anna.list_hosts().hosts}


def test_a_missing_entry_is_named(anna: Client) -> None:
    with pytest.raises(afpools.BadRequest, match="'nothing'"):
        anna.undo("nothing")


def test_a_host_removed_by_an_undo_stays_known_without_afserver(tmp_path: Path) -> None:
    with studio(tmp_path) as place, manager(place) as client:
        client.create_pool("fx", ["pc-01"])
        added = client.add_hosts("fx", ["pc-02"])
        client.undo(added.change)
        assert client.exclude_mask("fx", style="list").mask == "pc-02"


def test_undoing_following_removes_the_pool_unless_people_have_changed_it() -> None:
    studio = play([{"op": "pools.follow", "pool": "a", "path": "/local"}])
    for hosts in (["h1"], ["h1", "h2"]):
        studio.apply(MIRROR, "a", hosts=hosts)
    assert [studio.undoing.why_not(entry) for entry in studio.entries[1:]] == [
        "The pool 'a' follows Afanasy's pool '/local', so its hosts are changed in Afanasy. To change them here, first "
        "run `afpools pool unfollow a`."
    ] * 2
    assert studio.undoing.why_not(studio.entries[0]) == ""
    studio.undo(studio.entries[0])
    assert studio.pools == {}
    studio.undo(studio.entries[-1])
    assert studio.pools["a"].follows == "/local"
    studio.apply("pools.update", "a", description="x")
    assert "is not as it was created" in studio.undoing.why_not(studio.entries[0])


def test_undoing_the_end_of_following_resumes_it() -> None:
    studio = play([{"op": "pools.follow", "pool": "a", "path": "/local"}])
    studio.apply(MIRROR, "a", hosts=["h1"])
    studio.apply("pools.unfollow", "a")
    ended = studio.entries[-1]
    studio.undo(studio.entries[1])  # of hosts that nobody else changes now
    assert studio.pools["a"] == Pool("a")
    studio.undo(ended)
    assert studio.pools["a"] == Pool("a", follows="/local")
    assert studio.undoing.why_not(ended).startswith("It has already been undone")


# --- random histories -------------------------------------------------------------------------------------------------

POOLS, HOSTS = ["a", "b", "c"], ["h1", "h2", "h3", "h4"]
CHANGES = st.one_of(
    st.builds(
        lambda pool, names: {"op": "pools.create", "pool": pool, "hosts": tuple(names)},
        st.sampled_from(POOLS),
        st.lists(st.sampled_from(HOSTS), unique=True),
    ),
    st.builds(
        lambda op, pool, names: {"op": op, "pool": pool, "hosts": tuple(names)},
        st.sampled_from(["pools.add_hosts", "pools.remove_hosts"]),
        st.sampled_from(POOLS),
        st.lists(st.sampled_from(HOSTS), unique=True, min_size=1),
    ),
    st.builds(
        lambda pool, name: {"op": "pools.rename", "pool": pool, "new_name": name},
        st.sampled_from(POOLS),
        st.sampled_from(POOLS),
    ),
    st.builds(
        lambda pool, text: {"op": "pools.update", "pool": pool, "description": text},
        st.sampled_from(POOLS),
        st.sampled_from(["", "x", "y"]),
    ),
    st.builds(
        lambda pool, to: {"op": "pools.update", "pool": pool, "spill_to": to, "spill_after": 60},
        st.sampled_from(POOLS),
        st.sampled_from(["", "all", "night"]),
    ),
    st.builds(lambda pool: {"op": "pools.delete", "pool": pool}, st.sampled_from(POOLS)),
    st.builds(lambda pool: {"op": "pools.follow", "pool": pool, "path": "/local"}, st.sampled_from(POOLS)),
    st.builds(lambda pool: {"op": "pools.unfollow", "pool": pool}, st.sampled_from(POOLS)),
    st.builds(
        lambda pool, names: {"op": MIRROR, "pool": pool, "hosts": tuple(names)},
        st.sampled_from(POOLS),
        st.lists(st.sampled_from(HOSTS), unique=True),
    ),
)


class Pools:
    """Pools and their history, kept as a store keeps them."""

    def __init__(self) -> None:
        self.pools: dict[str, Pool] = {}
        self.entries: list[Entry] = []

    def apply(self, op: str, pool: str, *, hosts: Sequence[str] = (), **asked: object) -> None:
        if op == MIRROR:
            if (present := self.pools.get(pool, Pool(""))).follows:
                self._make(mirroring(present, *hosts))
            return
        self._make(change(op, pool, *hosts, **asked))

    def _make(self, change: Change) -> None:
        last = self.entries[-1].id if self.entries else ""
        settled = settle(change, self.pools.get(change.pool), follows=last)
        after = settled.after
        if after is not None and after.name != change.pool and after.name in self.pools:
            raise RequestRefused("pool_exists", "taken")  # type: ignore[arg-type]
        if not settled.entry.changed:
            return
        self.pools.pop(change.pool, None)
        if after is not None:
            self.pools[after.name] = after
        self.entries.append(settled.entry)

    def undo(self, entry: Entry) -> None:
        undoing = self.undoing
        self._make(planned(entry.id, undoing.pool_of(entry), undoing.plan(entry)))

    @property
    def undoing(self) -> Undoing:
        trail = [msgspec.json.decode(msgspec.json.encode(entry), type=Step) for entry in reversed(self.entries)]
        return Undoing(trail, Contents(pools=dict(self.pools), registered=Pool("", ())))


def play(changes: list[dict[str, object]]) -> Pools:
    studio = Pools()
    for asked in changes:
        try:
            studio.apply(**asked)  # type: ignore[arg-type]
        except RequestRefused:
            continue
    return studio


@settings(deadline=None)
@given(st.lists(CHANGES, min_size=1, max_size=12))
def test_undoing_the_last_change_restores_the_previous_state_and_undoing_that_the_present_one(
    changes: list[dict[str, object]],
) -> None:
    studio = play(changes)
    if not studio.entries:
        return
    now, last = dict(studio.pools), studio.entries[-1]
    before = Pools()
    replayed: list[dict[str, object]] = []
    for asked in changes:
        trial = play([*replayed, asked])
        if len(trial.entries) < len(studio.entries):
            before = trial
        replayed.append(asked)
    if last.op == MIRROR:
        with pytest.raises(RequestRefused, match="follows"):
            studio.undo(last)
        return
    studio.undo(last)
    assert same(studio.pools, before.pools)
    studio.undo(studio.entries[-1])
    assert same(studio.pools, now)


def same(one: dict[str, Pool], other: dict[str, Pool]) -> bool:
    """Hosts in another order are the same pool."""

    def plain(pools: dict[str, Pool]) -> object:
        return {name: (set(pool.hosts), replace(pool, hosts=())) for name, pool in pools.items()}

    return plain(one) == plain(other)


@settings(deadline=None)
@given(st.lists(CHANGES, min_size=2, max_size=12), st.data())
def test_a_change_shown_as_undoable_can_be_undone_and_touches_only_one_pool(
    changes: list[dict[str, object]], data: st.DataObject
) -> None:
    studio = play(changes)
    if not studio.entries:
        return
    entry = data.draw(st.sampled_from(studio.entries))
    before = dict(studio.pools)
    why_not = studio.undoing.why_not(entry)
    try:
        studio.undo(entry)
    except RequestRefused as refusal:
        assert refusal.message == why_not
        assert studio.pools == before
    else:
        assert why_not == ""
        touched = [name for name in {*before, *studio.pools} if before.get(name) != studio.pools.get(name)]
        assert 1 <= len(touched) <= 2
        assert studio.undoing.why_not(entry) != ""
