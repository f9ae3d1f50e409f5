"""Numbers, time spans and hosts as people read them."""

from __future__ import annotations

import pytest

from afpools_tools.words import duration, plural, ranges


def test_one_is_not_plural_and_thousands_have_their_comma() -> None:
    assert (plural(0, "host"), plural(1, "host"), plural(1200, "host")) == ("0 hosts", "1 host", "1,200 hosts")


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0 s"), (119, "119 s"), (120, "2 minutes"), (7200, "2 hours"), (200_000, "2 days")]
)
def test_a_time_span_uses_the_largest_unit_of_which_it_has_two(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_hosts_are_folded_into_ranges() -> None:
    assert ranges(["pc-02", "pc-01", "desk"]) == "desk,pc-[01-02]"
