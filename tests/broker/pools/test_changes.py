"""Which hosts a name means that are to leave a pool, and how two pools differ."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afpools_broker.operations.pools import PoolsRemoveHosts
from afpools_broker.pools.pool import Pool, as_afrender_would, came_and_gone
from afpools_broker.protocol import RequestRefused

_names = st.lists(
    st.sampled_from(["pc-01", "PC-01", "pc-01.a.lan", "PC-01.A.lan", "pc-01.b.lan", "pc-02", "10.0.0.1"]),
    unique=True,
    max_size=4,
).map(tuple)


def means(name: str, host: str, present: tuple[str, ...]) -> bool:
    """Whether a name means a host of a pool: the same name in another case, or the same name with a domain on one side
    only."""
    if name.casefold() in map(str.casefold, present):
        return name.casefold() == host.casefold()
    return name.casefold() == as_afrender_would(host) or as_afrender_would(name) == host.casefold()


@given(_names, _names)
def test_the_hosts_that_are_meant_leave_and_none_do_if_a_name_means_nothing(
    present: tuple[str, ...], named: tuple[str, ...]
) -> None:
    pool = Pool("fx", present)
    change = PoolsRemoveHosts(request_id="1", pool="fx", hosts=list(named)).change("anna")
    if all(any(means(name, host, present) for host in present) for name in named):
        stays = tuple(host for host in present if not any(means(name, host, present) for name in named))
        assert change.apply(pool) == Pool("fx", stays)
    else:
        with pytest.raises(RequestRefused):
            change.apply(pool)


_orders = st.lists(st.integers(0, 9), unique=True)


@settings(deadline=None, max_examples=60)
@given(_orders, _orders, st.sampled_from([0, 1, 255, 512, 600]))
def test_additions_and_removals_are_what_only_one_side_has_in_order(
    before: list[int], after: list[int], steady: int
) -> None:
    """Whatever the two have in common at the beginning, in the middle or at the end."""
    same = [f"same-{number}" for number in range(steady)]
    for cut in {0, steady // 2, steady}:
        old = (*same[:cut], *map(str, before), *same[cut:])
        new = (*same[:cut], *map(str, after), *same[cut:])
        came, gone = came_and_gone(old, new)
        had, has = set(old), set(new)
        assert came == tuple(name for name in new if name not in had)
        assert gone == tuple(name for name in old if name not in has)
