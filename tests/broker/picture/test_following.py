"""The order in which readings are shown."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afpools_broker.picture.following import Following
from afpools_broker.pools.pool import Contents, Pool
from afpools_broker.store import PoolStore, StoreUnavailable
from afpools_broker.store.rows import Key, Piece, Row


@dataclass
class Shelf:
    """A store of pools in memory, in pieces of one pool each."""

    kind = "shelf"
    rows: dict[Key, Row] = field(default_factory=dict)
    reads: list[set[Key]] = field(default_factory=list)
    fails: bool = False
    away: set[int] = field(default_factory=set)  # before these pieces

    def put(self, key: bytes, name: str, *hosts: str, change: str = "") -> None:
        self.rows[key] = Row(Pool(name, hosts), (), change)

    def scan(self) -> Iterator[Piece]:
        keys = list(self.rows)
        yield Piece({}, 0, len(keys))
        for done, key in enumerate(keys, 1):
            while done in self.away:
                yield Piece({}, done - 1, len(keys), StoreUnavailable("It has gone away."))
            there = {key: self.rows[key]} if key in self.rows else {}
            yield Piece(there, done, len(keys))

    def read(self, keys: Collection[Key], names: Collection[str] = ()) -> Mapping[Key, Row]:
        if self.fails:
            raise StoreUnavailable("It is not there.")
        self.reads.append(set(keys))
        named = {key for key, row in self.rows.items() if row.pool and row.pool.name in names}
        return {key: self.rows[key] for key in {*keys, *named} if key in self.rows}


class Meanwhile(threading.Event):
    """Does something between any two pieces, when others get their turn."""

    def __init__(self, do: Callable[[int], None]) -> None:
        super().__init__()
        self._do = do
        self._turns = count()

    def is_set(self) -> bool:
        self._do(next(self._turns))
        return super().is_set()


def follow(shelf: Shelf, stop: threading.Event | None = None) -> tuple[Following, list[Contents]]:
    """A follower of a shelf, and everything it has shown so far."""
    shown: list[Contents] = []
    following = Following(cast(PoolStore, shelf), shown.append)
    following.read_all(stop or threading.Event())
    return following, shown


def test_one_change_reads_one_pool() -> None:
    shelf = Shelf()
    for number in range(100):
        shelf.put(b"%d" % number, f"pool-{number}", "a")
    following, shown = follow(shelf)
    untouched = shown[-1].pools["pool-1"]
    shelf.put(b"7", "pool-7", "a", "b")
    following.read_changed({b"7": ""})
    assert shelf.reads == [{b"7"}]
    assert shown[-1].pools["pool-7"].hosts == ("a", "b")
    assert shown[-1].pools["pool-1"] is untouched


def test_a_first_reading_continues_where_the_store_became_unreachable(caplog: pytest.LogCaptureFixture) -> None:
    shelf = Shelf(away={3})
    for number in range(4):
        shelf.put(b"%d" % number, f"pool-{number}")
    shown: list[Contents] = []
    following = Following(cast(PoolStore, shelf), shown.append)
    said: list[str] = []

    class ComesBack(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            said.append(following.progress)
            if len(said) == 2:
                shelf.away.clear()
            return False

    following.read_all(ComesBack())
    assert said == ["2 of 4 pools have been read so far. It has gone away."] * 2
    assert [set(contents.pools) for contents in shown] == [{f"pool-{number}" for number in range(4)}]
    assert caplog.text.count("It has gone away.") == 1
    assert following.progress == ""


def test_a_later_full_reading_does_not_wait_for_the_store() -> None:
    shelf = Shelf()
    for number in range(4):
        shelf.put(b"%d" % number, f"pool-{number}")
    following, shown = follow(shelf)
    shelf.away.add(3)
    with pytest.raises(StoreUnavailable, match="gone away"):
        following.read_all(threading.Event())
    assert len(shown) == 1


def test_a_pool_read_since_the_change_is_not_read_again() -> None:
    shelf = Shelf()
    shelf.put(b"1", "fx", change="1")
    following, shown = follow(shelf)
    shelf.put(b"1", "fx", "a", change="2")
    following.read(["fx"])
    following.read_changed({b"1": "2"})
    assert len(shelf.reads) == 1
    # An event that names no change of ours, or a different one, means that the pool must be read.
    following.read_changed({b"1": ""})
    following.read_changed({b"1": "3"})
    assert len(shelf.reads) == 3
    assert [pools.pools["fx"].hosts for pools in shown] == [(), ("a",)]


def test_a_renamed_and_a_deleted_pool_are_found_by_the_names_they_had() -> None:
    shelf = Shelf()
    shelf.put(b"1", "fx")
    shelf.put(b"2", "gone")
    following, shown = follow(shelf)
    shelf.put(b"1", "effects")
    del shelf.rows[b"2"]
    following.read(["fx", "effects"])
    following.read(["gone"])
    assert set(shown[-1].pools) == {"effects"}


def test_a_reading_that_was_not_shown_is_shown_next() -> None:
    shelf = Shelf()
    shelf.put(b"1", "fx", change="1")
    shelf.put(b"2", "gx")
    following, shown = follow(shelf)
    shelf.put(b"1", "gx", "a", change="2")
    read = shelf.read

    def fails_the_second_time(*asked: Any) -> Mapping[Key, Row]:
        found = read(*asked)
        shelf.fails = True
        return found

    shelf.read = fails_the_second_time  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        following.read(["fx"])
    shelf.read = read  # type: ignore[method-assign]
    shelf.fails = False
    following.read_changed({b"1": "2"})
    assert shown[-1].pools == {}
    assert shown[-1].problems


def test_pools_that_swapped_a_name_while_they_were_read_are_read_together_again() -> None:
    shelf = Shelf()
    shelf.put(b"1", "fx")
    shelf.put(b"2", "gx")

    def swap(turn: int) -> None:
        if turn == 2:
            shelf.put(b"1", "old")
            shelf.put(b"2", "fx", "b")

    _following, shown = follow(shelf, Meanwhile(swap))
    assert {name: pool.hosts for name, pool in shown[-1].pools.items()} == {"old": (), "fx": ("b",)}
    assert not shown[-1].problems


@settings(deadline=None)
@given(data=st.data())
def test_an_older_picture_never_replaces_a_newer_one(data: st.DataObject) -> None:
    """Each pool counts its changes in a host. What is shown never counts backwards, nor less than an author was told,
    however often everything is read meanwhile."""
    shelf = Shelf()
    counts = dict.fromkeys(range(4), 0)
    for number in counts:
        shelf.put(b"%d" % number, f"pool-{number}", "0")
    following, shown = follow(shelf)

    def change(number: int, *, gone: bool) -> None:
        counts[number] += 1
        if gone:
            shelf.rows.pop(b"%d" % number, None)
        else:
            shelf.put(b"%d" % number, f"pool-{number}", str(counts[number]))
        author = data.draw(st.booleans())
        if author:
            following.read([f"pool-{number}"])
            pool = shown[-1].pools.get(f"pool-{number}")
            assert (pool is None) == gone
            assert pool is None or pool.hosts == (str(counts[number]),)

    some_changes = st.lists(st.tuples(st.sampled_from(sorted(counts)), st.booleans()), max_size=3)

    def meanwhile(_turn: int) -> None:
        for number, gone in data.draw(some_changes):
            change(number, gone=gone)

    for _round in range(data.draw(st.integers(1, 3))):
        meanwhile(0)
        before = dict(counts)
        following.read_all(Meanwhile(meanwhile))
        for number, least in before.items():
            pool = shown[-1].pools.get(f"pool-{number}")
            assert pool is None or int(pool.hosts[0]) >= least
    for name in [f"pool-{number}" for number in counts]:
        seen = [int(contents.pools[name].hosts[0]) for contents in shown if name in contents.pools]
        assert seen == sorted(seen)
    following.read_all(threading.Event())
    assert {key: row.pool for key, row in shelf.rows.items()} == {
        b"%d" % number: shown[-1].pools[f"pool-{number}"] for number in counts if f"pool-{number}" in shown[-1].pools
    }


def test_reading_one_pool_gets_a_turn_while_everything_is_read() -> None:
    shelf = Shelf()
    for number in range(50):
        shelf.put(b"%d" % number, f"pool-{number}")
    following, shown = follow(shelf)
    begun = threading.Event()
    stop = Meanwhile(lambda _turn: begun.set())

    def over_and_over() -> None:
        while not stop.is_set():
            following.read_all(stop)

    thread = threading.Thread(target=over_and_over)
    thread.start()
    begun.wait(30)
    try:
        for number in range(20):
            shelf.put(b"7", "pool-7", str(number))
            following.read(["pool-7"])
            assert shown[-1].pools["pool-7"].hosts == (str(number),)
    finally:
        stop.set()
        thread.join(30)
