"""What each client may use: pure accounting, with a clock that the test moves."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afpools_broker.config import ConfigError, LimitsSection, build
from afpools_broker.credentials.peers import Peer
from afpools_broker.listeners.curve_connections import Connections
from afpools_broker.listeners.shares import BARRED_SECONDS, Bucket, Full, Shares, Strangers
from afpools_broker.monitoring.peer_log import host_of, network_of
from afpools_broker.protocol import Role

BLENDER = Peer("blender", Role.READER)
NATRON = Peer("natron", Role.READER)
ANNA = Peer("anna", Role.MANAGER)


def shares(**limits: int) -> tuple[Shares, list[float]]:
    now = [0.0]
    return Shares(LimitsSection(**limits), clock=lambda: now[0]), now


# --- connections ----------------------------------------------------------------------------------------------------


def test_one_client_that_opens_connections_without_end_leaves_room_for_all_others() -> None:
    made, _ = shares(connections=100, connections_for_managers=10, connections_per_client=8)
    for _ in range(8):
        made.enter(BLENDER, "10.0.0.7")
    with pytest.raises(Full, match=r"'blender' has 8 connections from this address.*connections_per_client") as full:
        made.enter(BLENDER, "10.0.0.7")
    assert full.value.own
    made.enter(BLENDER, "10.0.0.8")  # the same profile on another workstation
    made.enter(NATRON, "10.0.0.7")  # another one on the same


def test_using_a_stolen_credential_from_many_machines_gains_nothing() -> None:
    made, _ = shares(connections_per_credential=20, connections_per_client=8)
    for number in range(20):
        made.enter(BLENDER, f"10.0.0.{number}")
    with pytest.raises(Full, match="connections_per_credential"):
        made.enter(BLENDER, "10.0.0.99")
    made.enter(NATRON, "10.0.0.99")


def test_readers_cannot_take_the_room_that_is_kept_for_managers() -> None:
    made, _ = shares(connections=20, connections_for_managers=5)
    for number in range(15):
        made.enter(Peer(f"reader-{number}", Role.READER), "10.0.0.7")
    with pytest.raises(Full, match="the broker is full, with 15 of 20 connections; 5 are kept for managers"):
        made.enter(NATRON, "10.0.0.8")
    for number in range(5):
        made.enter(Peer(f"manager-{number}", Role.MANAGER), "10.0.0.9")
    with pytest.raises(Full, match="the broker is full, with 20 connections"):
        made.enter(ANNA, "10.0.0.9")


def test_a_connection_that_is_closed_makes_room() -> None:
    made, _ = shares(connections_per_client=1)
    client = made.enter(BLENDER, "10.0.0.7")
    made.leave(client)
    made.enter(BLENDER, "10.0.0.7")
    assert made.connections == 1


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.integers(0, 3)), max_size=200))
def test_no_limit_is_exceeded_and_every_place_is_returned_whatever_comes_and_goes(
    steps: list[tuple[bool, int, int]],
) -> None:
    made, _ = shares(connections=12, connections_for_managers=3, connections_per_credential=6, connections_per_client=3)
    inside = []
    for enters, who, where in steps:
        if enters:
            peer = Peer(f"p{who}", Role.MANAGER if who == 0 else Role.READER)
            try:
                inside.append(made.enter(peer, f"10.0.0.{where}"))
            except Full:
                continue
        elif inside:
            made.leave(inside.pop(who % len(inside)))
        by_client = Counter(inside)
        by_name = Counter(client.peer.name for client in inside)
        assert made.connections == len(inside) <= 12
        assert all(client.connections == count <= 3 for client, count in by_client.items())
        assert all(count <= 6 for count in by_name.values())
        assert sum(client.peer.role is Role.READER for client in inside) <= 12
    for client in inside:
        made.leave(client)
    assert made.connections == 0


def test_new_connections_of_an_address_are_limited_and_those_of_others_are_not() -> None:
    made, now = shares(new_connections_per_second=10)
    assert [made.arrives("10.0.0.7") for _ in range(11)] == [True] * 10 + [False]
    assert made.arrives("10.0.0.8")
    now[0] = 0.1
    assert [made.arrives("10.0.0.7") for _ in range(2)] == [True, False]


def test_a_machine_with_a_network_of_ipv6_addresses_is_one_machine() -> None:
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:2%eth0") != network_of("2001:db8:0:1::1")
    assert network_of("::ffff:10.0.0.7") == network_of("10.0.0.7") == "10.0.0.7"
    assert network_of("an unknown address") == "an unknown address"


def test_an_address_is_recognised_whatever_its_port() -> None:
    assert host_of("10.0.0.7:51234") == host_of("10.0.0.7") == "10.0.0.7"
    assert host_of("[fe80::1]:51234") == "[fe80::1]"
    assert host_of("fe80::1") == "fe80::1"


# --- before a credential is shown -----------------------------------------------------------------------------------


def test_over_curve_each_new_connection_closes_a_different_one_although_libzmq_reports_it_later() -> None:
    made, _ = shares(handshakes_per_address=3)
    connections = Connections(made)
    surplus = [connections.add(descriptor, None, 0.0) for descriptor in range(10)]
    assert surplus[:3] == [None] * 3
    assert len(set(surplus[3:])) == 7


def test_a_silent_connection_makes_room_for_a_later_one() -> None:
    made, _ = shares(handshakes_per_address=3)
    strangers: Strangers[str] = Strangers(made)
    assert [strangers.add("10.0.0.7", name) for name in "abc"] == [None, None, None]
    assert strangers.add("10.0.0.7", "d") == "a"
    strangers.remove("10.0.0.7", "a")
    strangers.remove("10.0.0.7", "b")  # has shown its credential
    assert strangers.add("10.0.0.7", "e") is None
    assert strangers.add("10.0.0.8", "f") is None
    assert len(strangers) == 4


def test_among_many_silent_addresses_the_one_with_the_most_connections_gives_way() -> None:
    made, _ = shares(handshakes_per_address=4, connections=40)
    strangers: Strangers[str] = Strangers(made)
    for name in ("a1", "a2", "a3", "a4"):
        assert strangers.add("10.0.0.1", name) is None
    for number in range(6):
        assert strangers.add(f"10.0.1.{number}", f"b{number}") is None
    assert strangers.add("10.0.2.1", "new") == "a1"


# --- requests -------------------------------------------------------------------------------------------------------


@given(st.floats(1, 1000), st.lists(st.floats(0, 2), max_size=100))
def test_a_bucket_never_gives_more_than_its_rate_and_one_seconds_worth(rate: float, pauses: list[float]) -> None:
    bucket, now, taken = Bucket(rate, 0.0), 0.0, 0
    for pause in pauses:
        now += pause
        assert (bucket.wait(rate, now) == 0.0) == bucket.take(rate, now) or bucket.wait(rate, now) < 1e-6
        taken += 1
        while bucket.take(rate, now):
            taken += 1
        assert taken <= rate * now + rate + len(pauses) + 1
        assert bucket.wait(rate, now) <= 1.0 / rate + 1e-9


def test_requests_are_limited_for_each_client_and_for_a_credential_as_a_whole() -> None:
    made, now = shares(requests_per_second=10, requests_per_second_per_credential=25)
    clients = [made.enter(BLENDER, f"10.0.0.{number}") for number in range(3)]
    answered = [sum(made.may_ask(client, now[0]) for _ in range(50)) for client in clients]
    assert answered == [10, 10, 5]
    assert made.wait(clients[0], now[0]) > 0
    other = made.enter(NATRON, "10.0.0.0")
    assert made.wait(other, now[0]) == 0
    assert made.may_ask(other, now[0])


def test_reconnecting_gives_no_new_share() -> None:
    made, now = shares(requests_per_second=10)
    client = made.enter(BLENDER, "10.0.0.7")
    assert sum(made.may_ask(client, now[0]) for _ in range(50)) == 10
    made.leave(client)
    again = made.enter(BLENDER, "10.0.0.7")
    assert not made.may_ask(again, now[0])


def test_a_flooding_client_is_barred_briefly() -> None:
    made, now = shares(requests_per_second=10)
    client = made.enter(BLENDER, "10.0.0.7")
    refused = 0
    while not made.floods(client, now[0]):
        refused += 1
    assert refused == 40
    with pytest.raises(Full, match="far too many requests"):
        made.enter(BLENDER, "10.0.0.7")
    made.enter(BLENDER, "10.0.0.8")
    now[0] = BARRED_SECONDS
    made.enter(BLENDER, "10.0.0.7")


def test_new_limits_take_effect_at_once() -> None:
    made, now = shares(requests_per_second=10)
    client = made.enter(BLENDER, "10.0.0.7")
    assert sum(made.may_ask(client, now[0]) for _ in range(50)) == 10
    made.limits = LimitsSection(requests_per_second=100, connections_per_client=1)
    now[0] = 1.0
    assert sum(made.may_ask(client, now[0]) for _ in range(500)) == 100
    with pytest.raises(Full):
        made.enter(BLENDER, "10.0.0.7")


# --- bytes ----------------------------------------------------------------------------------------------------------


def test_waiting_bytes_are_limited_for_a_client_and_in_all() -> None:
    made, _ = shares(message_bytes=4096, waiting_bytes=10_000, waiting_bytes_in_all=15_000)
    one, two = made.enter(BLENDER, "10.0.0.7"), made.enter(NATRON, "10.0.0.7")
    assert made.hold_in(one, 10_000) is None
    assert "waiting_bytes)" in str(made.hold_in(one, 1))
    made.hold_in(one, -1)
    assert "waiting_bytes_in_all)" in str(made.hold_in(two, 6000))
    made.hold_in(one, -10_000)
    made.hold_in(two, -6000)
    assert (made.waiting_in, one.waiting_in, two.waiting_in) == (0, 0, 0)


def test_an_answer_of_any_size_may_be_kept_for_a_client_that_has_read_all_others() -> None:
    made, _ = shares(waiting_bytes=10_000_000)
    client = made.enter(BLENDER, "10.0.0.7")
    assert made.may_hold_out(client, 50_000_000)
    made.hold_out(client, 1_000_000)
    assert made.may_hold_out(client, 9_000_000)
    assert not made.may_hold_out(client, 9_000_001)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"message_bytes": 16 * 1024 * 1024}, r"\[limits\] waiting_bytes = 16777216: it must be at least 33554432"),
        ({"waiting_bytes_in_all": 8192}, r"\[limits\] waiting_bytes_in_all = 8192: it must be at least 16777216"),
    ],
)
def test_limits_that_contradict_one_another_are_refused(section: dict[str, int], message: str, tmp_path) -> None:
    with pytest.raises(ConfigError, match=message):
        build(
            {"store": {"uri": "sqlite:///a"}, "farm": {"server": ""}, "limits": section}, folder=tmp_path, where="test"
        )
