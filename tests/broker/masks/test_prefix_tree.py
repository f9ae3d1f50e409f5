"""Many names as one short text, by their common beginnings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.broker.masks.test_exclude import FUTURE, STYLES, find_can
from tests.made_mask import exclude_mask
from tests.oracle import Oracle


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["pc-02", "pc-04", "pc-05"], "pc-0[245]"),
        ([f"pc-{n:02}" for n in range(100)], "pc-[0-9][0-9]"),
        (["pc-1", "pc-10"], "pc-10?"),
        (["pc-1", "pc-10", "pc-11"], "pc-1[01]?"),
        (["pc-1", "pc-100"], "pc-1(?:00)?"),
        (["pc-01.lan", "pc-02.lan"], r"pc-0[12]\.lan"),
        (["a-x", "bc-x"], "(?:a|bc)-x"),
        (["x", "ax"], "a?x"),
        (["a", "b", "c", "d", "1"], "[1a-d]"),
        (["a^", "a]", "a-", "a\\", "a["], r"a[\-\[\\\]\^]"),
        (["aé", "aü"], "a(?:é|ü)"),
        (["é", "éü"], "é(?:ü)?"),
        (["a", "a\n"], r"a(?:\x0a)?"),
        (["Z", "[", "\\", "]", "^", "_"], r"[Z\[\\\]\^_]"),
        ([" ", "a", "b", "c"], "[ abc]"),
        (["a\x01", "a\x02", "a\x7f"], r"a[\x01\x02\x7f]"),
        (["a\u0085", "a\u200b"], "a(?:\u0085|\u200b)"),
        (["a\U0010ffff", "a\U0010ffffb", "a\U0010ffffc"], "a\U0010ffff[bc]?"),
    ],
)
def test_a_compact_regex_shares_what_names_have_in_common(oracle: Oracle, names: list[str], text: str) -> None:
    mask = exclude_mask(["pool"], [*names, "pool"], accept=["regex"], style="compact")
    assert mask.text == text
    others = [*FUTURE, *(name + "0" for name in names), *(name[:-1] for name in names)]
    assert oracle.excludes(text, "regex", [*names, *others]) == set(names)


def test_a_compact_find_takes_a_prefix_for_a_whole_series() -> None:
    known = [f"{name}-{n:03}" for name in ("gpu", "pc", "ws") for n in range(100)]
    mask = exclude_mask(known[100:200], known, accept=["find"], style="compact")
    assert (mask.text, mask.type) == ("g|w", "find")


def test_a_chain_of_names_that_are_prefixes_of_one_another_works(oracle: Oracle) -> None:
    known = ["a" * n for n in range(1, 400)]
    for style in STYLES:
        mask = exclude_mask(known[::3], known, accept=["regex"], style=style)
        assert oracle.excludes(mask.text, "regex", known) == set(known) - set(known[::3])


@given(
    known=st.lists(st.text(alphabet="ab1", min_size=1, max_size=4), min_size=2, max_size=8, unique=True), data=st.data()
)
def test_no_smaller_set_of_prefixes_works(known: list[str], data: st.DataObject) -> None:
    pool = data.draw(st.sets(st.sampled_from(known), min_size=1))
    outside = set(known) - pool
    if not outside or not find_can(sorted(pool), sorted(outside)):
        return
    parts = exclude_mask(pool, known, accept=["find"], style="compact").text.split("|")
    useful = {name[:end] for name in outside for end in range(1, len(name) + 1)}
    useful = {part for part in useful if not any(host.startswith(part) for host in pool)}
    # Each useful prefix as the set of names it covers; sets that only just grow until everything is covered.
    covers = {frozenset(name for name in outside if name.startswith(part)) for part in useful}
    reached: set[frozenset[str]] = {frozenset()}
    for count in range(len(parts) + 1):
        if frozenset(outside) in reached:
            assert count == len(parts)
            return
        reached = {have | more for have in reached for more in covers}
    pytest.fail("the cover does not cover")
