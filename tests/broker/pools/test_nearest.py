"""What somebody may have meant by a name that does not exist."""

from __future__ import annotations

import pytest

from afpools_broker.pools.nearest import listed, nearest


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("fz", "fx"), ("FX", "fx"), ("pc-001", "pc-01"), ("gpu-07", "gpu-70"), ("night", ""), ("", "")],
)
def test_a_mistyped_name_leads_to_the_one_that_is_most_like_it(typed: str, meant: str) -> None:
    assert nearest(typed, ["fx", "pc-01", "pc-17", "gpu-70", "a"]) == meant


def test_among_very_many_names_only_those_that_begin_alike_are_compared() -> None:
    names = [f"{letter}-{number:05}" for letter in "abcdefgh" for number in range(20_000)]
    assert nearest("h-0001", names) in names
    assert nearest("z-00017", names) == ""


def test_long_lists_of_names_are_shortened() -> None:
    assert listed(["a", "b"]) == "a, b"
    assert listed(map(str, range(1, 8)), 5) == "1, 2, 3, 4, 5 and 2 more"
    assert listed(map(str, range(5_001)), 1) == "0 and 5,000 more"
    assert listed([]) == ""
