"""What history records about a change is enough to go back, and its ids put changes in order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from afpools_broker.pools.history import difference, next_entry_id
from afpools_broker.pools.pool import Pool

POOLS = st.one_of(
    st.none(),
    st.builds(
        Pool,
        st.sampled_from(["fx", "gpu"]),
        st.lists(st.sampled_from(["pc-01", "pc-02", "pc-03"]), unique=True).map(tuple),
        st.sampled_from(["", "Effects"]),
        st.sampled_from(["", "#ff0000"]),
        st.sampled_from(["", "/local"]),
    ),
)


@given(POOLS, POOLS)
def test_a_difference_leads_from_one_state_to_the_other_and_back(before: Pool | None, after: Pool | None) -> None:
    old, new = before or Pool(""), after or Pool("")
    diff = difference(before, after)
    assert (set(old.hosts) | set(diff.added)) - set(diff.removed) == set(new.hosts)
    assert (set(new.hosts) | set(diff.removed)) - set(diff.added) == set(old.hosts)
    for field in ("name", "description", "colour"):
        pair = getattr(diff, field)
        values = getattr(old, field), getattr(new, field)
        assert pair == (None if values[0] == values[1] else values)
    assert diff.turned == (None if old.follows == new.follows else (old.follows, new.follows))


def test_ids_sort_by_time_and_never_repeat() -> None:
    ids = [next_entry_id() for _ in range(2000)]
    assert ids == sorted(set(ids))
    assert {len(each) for each in ids} == {24}


def test_an_id_sorts_after_the_one_it_follows_even_if_that_ones_clock_was_ahead() -> None:
    now = next_entry_id()
    hour_ahead = f"{int(now[:14], 16) + 3_600_000_000:014x}{'0' * 10}"
    assert next_entry_id(hour_ahead) > hour_ahead


def test_foreign_text_in_place_of_an_id_does_not_affect_new_ids() -> None:
    for follows in ("", "rubbish", "f" * 24, "f" * 14, "F" * 24):
        assert int(next_entry_id(follows)[:14], 16) < 2**53
