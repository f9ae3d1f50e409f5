"""Contents assembled from pieces equal those read at once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from afpools_broker.pools.pool import Pool
from afpools_broker.store.rows import REGISTERED, Key, Piece, Row, StorePicture, gathered

_names = st.sampled_from(["fx", "gx", "night"])
_hosts = st.lists(st.sampled_from("abc"), unique=True, max_size=3).map(tuple)
_rows = st.builds(
    Row,
    pool=st.none() | st.builds(Pool, _names, _hosts, st.sampled_from(["", "x"])),
    problems=st.sampled_from([(), ("This was left out.",)]),
    change=st.sampled_from(["", "1", "2"]),
)
_registered = st.builds(Row, pool=st.none() | st.builds(Pool, st.just(""), _hosts))
_news = st.lists(
    st.tuples(st.sampled_from([b"1", b"2", b"3", b"4"]), st.none() | _rows)
    | st.tuples(st.just(REGISTERED), st.none() | _registered),
    max_size=4,
).map(dict)


@given(st.lists(st.tuples(_news, st.booleans()), max_size=12))
def test_reading_what_changed_gives_the_same_as_reading_everything(
    steps: list[tuple[dict[Key, Row | None], bool]],
) -> None:
    picture = StorePicture()
    there: dict[Key, Row] = {}
    for news, everything in steps:
        for key, row in news.items():
            there.pop(key, None)
            if row is not None:
                there[key] = row
        last = picture.contents
        if everything:
            picture.replace(there)
        else:
            picture.take(news)
        whole = StorePicture(there)
        now = picture.contents
        assert (now.pools, now.registered) == (whole.contents.pools, whole.contents.registered)
        assert sorted(now.problems) == sorted(whole.contents.problems)
        assert picture.claimants == whole.claimants
        assert {key: picture.row(key) for key in there} == there
        # Unchanged parts stay the same object, because what was derived from them stays valid.
        assert now is last or now != last
        for name, pool in last.pools.items():
            assert now.pools.get(name) != pool or now.pools[name] is pool


def test_two_pools_that_claim_one_name_are_both_absent_until_one_gives_it_up() -> None:
    one, other = Row(Pool("fx", ("a",))), Row(Pool("fx", ("b",)))
    picture = StorePicture({b"1": one, b"2": other})
    assert picture.contents.pools == {}
    assert "'fx'" in picture.contents.problems[0]
    assert picture.claimants == picture.keys(["fx"]) == {b"1", b"2"}
    picture.take({b"2": Row(Pool("gx", ("b",)))})
    assert set(picture.contents.pools) == {"fx", "gx"}
    assert picture.contents.problems == ()
    assert not picture.claimants


def test_the_pieces_together_are_everything() -> None:
    pieces = [
        Piece({b"1": Row(Pool("fx"))}, 1, 2),
        Piece({b"2": Row(Pool("gx")), REGISTERED: Row(Pool("", ("a",)))}, 2, 2),
    ]
    contents = gathered(iter(pieces))
    assert set(contents.pools) == {"fx", "gx"}
    assert contents.registered.hosts == ("a",)


def test_a_pool_under_a_new_key_is_the_same_pool() -> None:
    picture = StorePicture({b"1": Row(Pool("fx", ("a",)))})
    last = picture.contents
    picture.take({b"1": None, b"2": Row(Pool("fx", ("a",)))})
    assert picture.contents is last
    assert picture.keys(["fx"]) == {b"2"}
