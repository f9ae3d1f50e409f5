"""A map that shares unchanged parts behaves like a dictionary, and knows how it differs from others."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from afpools_broker.pools.persistent import PersistentMap

_changes = st.dictionaries(st.sampled_from("abcdef"), st.none() | st.builds(object), max_size=3)


@given(st.lists(st.tuples(st.integers(0, 9), _changes), max_size=10))
def test_a_map_equals_a_dictionary_and_knows_which_keys_differ(
    steps: list[tuple[int, dict[str, object | None]]],
) -> None:
    made: list[tuple[PersistentMap[object], dict[str, object]]] = [(PersistentMap(), {})]
    for of, changes in steps:
        # Also based on one from which another has already been made.
        map_, values = made[-1 - of % len(made)]
        merged = {**values, **changes}
        made.append((map_.evolve(changes), {key: value for key, value in merged.items() if value is not None}))
    for map_, values in made:
        assert map_ == values
        for other, others in made:
            really = {key for key in values.keys() | others.keys() if values.get(key) is not others.get(key)}
            assert really <= set(map_.differing(other))
            assert really == set(map_.differing(others))


def test_differences_from_a_recent_predecessor_are_known_without_comparing() -> None:
    first = PersistentMap({str(number): number for number in range(100)})
    second = first.evolve({"1": 0})
    third = second.evolve({"2": None, "new": 1})
    assert set(third.differing(second)) == {"2", "new"}
    assert set(third.differing(first)) == {"1", "2", "new"}
    assert set(first.differing(first)) == set()
