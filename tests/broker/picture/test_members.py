"""A pool's members are a set, however they are kept."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from afpools_broker.picture.members import FewNames, members_of
from afpools_broker.pools.pool import unique

_names = st.lists(st.integers(0, 90).map(str), max_size=80).map(unique)


@given(_names, _names, _names)
def test_members_are_an_ordered_set(names: tuple[str, ...], others: tuple[str, ...], more: tuple[str, ...]) -> None:
    members = members_of(names)
    assert isinstance(members, FewNames) == (len(names) <= 64)
    assert tuple(members) == names
    assert len(members) == len(names)
    for other in (set(others), frozenset(others), members_of(others), dict.fromkeys(others).keys()):
        assert members & other == set(names) & set(others) == other & members
        assert members - other == set(names) - set(others)
        assert other - members == set(others) - set(names)
        assert members | other == set(names) | set(others)
        assert members.isdisjoint(other) == set(names).isdisjoint(others)
        assert (members == other) == (set(names) == set(others))
        assert {*members, *more} == set(names) | set(more)
    for name in more:
        assert (name in members) == (name in names)
