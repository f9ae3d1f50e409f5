"""How busy pools are and have been."""

from __future__ import annotations

from afpools import HostSummary
from afpools_tools.manager.usage import SAMPLES_KEPT, SECONDS_BETWEEN, Counts, Usage, count


def host(name: str, *states: str, pools: tuple[str, ...] = ("fx",)) -> HostSummary:
    return HostSummary(name, states, pools=pools)


def test_busy_and_free_count_online_hosts_only() -> None:
    hosts = [
        host("a", "online"),
        host("b", "online", "busy"),
        host("c", "online", "nimby"),
        host("d", "online", "busy", "nimby"),
        host("e", "offline"),
        host("f"),
    ]
    assert count(hosts) == {"fx": Counts(online=4, busy=2, free=1)}


def test_a_host_counts_in_each_of_its_pools() -> None:
    hosts = [
        host("a", "online", pools=("fx", "night")),
        host("b", "online", "busy", pools=("night",)),
        host("c", pools=()),
    ]
    assert count(hosts) == {"fx": Counts(1, 0, 1), "night": Counts(2, 1, 1)}


def test_samples_are_some_time_apart() -> None:
    usage = Usage()
    for second in range(int(SECONDS_BETWEEN * 2) + 1):
        usage.note(float(second), {"fx": Counts(second, 0, 0)})
    assert usage.series().pools["fx"].online == [0, int(SECONDS_BETWEEN), int(SECONDS_BETWEEN * 2)]


def test_a_pool_that_did_not_exist_has_no_counts() -> None:
    usage = Usage()
    usage.note(0, {"old": Counts(1, 1, 0)})
    usage.note(100, {"old": Counts(1, 0, 1), "new": Counts(5, 2, 3)})
    usage.note(200, {"new": Counts(6, 2, 4)})
    found = usage.series()
    assert found.when == [0, 100, 200]
    assert list(found.pools) == ["new"]
    assert found.pools["new"].online == [None, 5, 6]
    assert usage.series("old").pools["old"].busy == [1, 0, None]


def test_without_samples_there_is_nothing_to_show() -> None:
    assert Usage().series().when == []
    assert Usage().series("fx").pools["fx"].online == []


def test_the_ring_forgets_the_oldest_and_charts_end_with_the_newest() -> None:
    usage = Usage()
    last = 0.0
    for number in range(SAMPLES_KEPT + 100):
        last = number * SECONDS_BETWEEN
        usage.note(last, {"fx": Counts(number, 0, 0)})
    found = usage.series("fx")
    assert found.when[-1] == last
    assert found.pools["fx"].online[-1] == SAMPLES_KEPT + 99
    assert found.when[0] >= 100 * SECONDS_BETWEEN
    assert len(found.when) <= 200


def test_a_clock_that_is_set_back_does_not_stop_the_counting() -> None:
    usage = Usage()
    usage.note(1000, {"fx": Counts(1, 0, 1)})
    usage.note(10, {"fx": Counts(2, 0, 2)})
    assert usage.series().pools["fx"].online == [1, 2]
