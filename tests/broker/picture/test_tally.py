"""Counting what changed gives the same as counting everything."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from afpools_broker.picture.tally import Counts, Tally
from afpools_broker.pools.pool import Pool

HOSTS = [f"pc-{number}" for number in range(8)]
hosts = st.frozensets(st.sampled_from(HOSTS))


@given(
    members=st.dictionaries(st.text("abc", min_size=1), hosts),
    moments=st.lists(st.tuples(hosts, hosts), min_size=2, max_size=4),
    asked=st.lists(st.integers(0, 2)),
)
def test_an_updated_tally_equals_one_counted_from_scratch(
    members: dict[str, frozenset[str]], moments: list[tuple[frozenset[str], frozenset[str]]], asked: list[int]
) -> None:
    pools = {name: Pool(name, tuple(hosts)) for name, hosts in members.items()}
    tally = None
    for renders, online in moments:
        tally = Tally(pools, members, renders, online & renders, tally)
        for name, how in zip(pools, asked, strict=False):
            if how == 1:
                tally.of(name)
            elif how == 2:
                _ = tally.listing
    renders, online = moments[-1]
    anew = Tally(pools, members, renders, online & renders)
    assert {name: tally.of(name) for name in pools} == {name: anew.of(name) for name in pools}
    assert (tally.listing.revision, tally.listing.pools) == (anew.listing.revision, anew.listing.pools)
    for name in pools:
        there = [host for host in members[name] if host in renders & online]
        nobody = not renders & online
        assert tally.of(name) == Counts(
            len([host for host in members[name] if host in renders]), None if nobody else len(there)
        )


@given(
    moments=st.lists(st.tuples(hosts, st.booleans()), min_size=2, max_size=5),
    renders=hosts,
    online=hosts,
    asked=st.booleans(),
)
def test_a_count_updated_for_hosts_that_join_and_leave_equals_one_from_scratch(
    moments: list[tuple[frozenset[str], bool]],
    renders: frozenset[str],
    online: frozenset[str],
    asked: bool,
) -> None:
    tally = None
    for members, lose_renders in moments:
        there = frozenset(HOSTS[:2]) if lose_renders else renders
        pools = {"fx": Pool("fx", tuple(sorted(members)))}
        tally = Tally(pools, {"fx": members}, there, online & there, tally)
        anew = Tally(pools, {"fx": members}, there, online & there)
        if asked:
            assert tally.listing.revision == anew.listing.revision
        assert tally.of("fx") == anew.of("fx")


def test_the_list_has_no_counts_that_are_unknown() -> None:
    pools = {"fx": Pool("fx", ("pc-1",))}
    renders = frozenset({"pc-1", "pc-2"})
    all_off, one_on = (
        Tally(pools, {"fx": frozenset({"pc-1"})}, renders, frozenset(online)) for online in ((), ["pc-2"])
    )
    (listed,) = msgspec.json.decode(all_off.listing.pools)
    assert (listed["renders"], "online" in listed) == (1, False)
    (listed,) = msgspec.json.decode(one_on.listing.pools)
    assert (listed["renders"], listed["online"]) == (1, 0)
    assert all_off.listing.revision != one_on.listing.revision
