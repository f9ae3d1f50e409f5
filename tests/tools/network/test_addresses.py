"""Which addresses a scan may try."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from afpools_tools.network.addresses import (
    ScanError,
    ThisMachine,
    is_loopback,
    own_target,
    parse_target,
    sorted_names,
    this_machine,
)

addresses = st.integers(0x0A000000, 0xDFFFFFFF).map(IPv4Address)  # 10.0.0.0 to 223.255.255.255


@settings(deadline=None)
@given(addresses, st.integers(20, 32))
def test_any_address_names_its_network_and_none_outside_is_tried(address, prefix):
    target = parse_target(f"{address}/{prefix}")
    assert address in target.network
    assert target.network.prefixlen == prefix
    assert all(tried in target.network for tried in target.addresses)
    assert 1 <= len(target.addresses) <= 4094
    if prefix <= 30:
        assert target.network.network_address not in target.addresses
        assert target.network.broadcast_address not in target.addresses


@settings(deadline=None)
@given(addresses, st.integers(0, 19))
def test_a_network_wider_than_a_20_is_refused_with_what_is_allowed(address, prefix):
    with pytest.raises(ScanError, match=r"At most a /20 .* 4,096"):
        parse_target(f"{address}/{prefix}")


@settings(deadline=None)
@given(st.text())
def test_any_text_is_a_network_or_an_error_that_says_so(text):
    try:
        target = parse_target(text)
    except ScanError as error:
        assert str(error)
    else:
        assert target.network.prefixlen >= 20


def test_one_address_is_a_network_of_one():
    assert parse_target("10.0.0.5").addresses == (IPv4Address("10.0.0.5"),)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("fd00::/64", "IPv6"),
        ("::1", "IPv6"),
        ("224.0.0.0/24", "No machine"),
        ("255.255.255.255", "No machine"),
        ("0.0.0.0/24", "No machine"),
        ("pc-01", "not an IPv4 network"),
        ("10.0.0.0/33", "not an IPv4 network"),
    ],
)
def test_a_network_without_machines_is_refused(text, why):
    with pytest.raises(ScanError, match=why):
        parse_target(text)


def machine(*interfaces, way_out=None):
    return ThisMachine("pc", tuple(map(IPv4Interface, interfaces)), IPv4Address(way_out) if way_out else None)


def test_the_own_network_is_the_one_with_the_default_route():
    own = machine("127.0.0.1/8", "172.17.0.1/16", "10.1.2.3/24", way_out="10.1.2.3")
    assert own_target(own).network == IPv4Network("10.1.2.0/24")
    assert own_target(own).narrowed_from is None


@settings(deadline=None)
@given(addresses, st.integers(1, 19))
def test_a_wide_own_network_is_reduced_to_the_24_around_the_own_address(address, prefix):
    assume(not address.is_loopback and not address.is_link_local)
    target = own_target(machine(f"{address}/{prefix}"))
    assert address in target.network
    assert target.network.prefixlen == 24
    assert target.narrowed_from == IPv4Interface(f"{address}/{prefix}").network


def test_without_a_default_route_the_only_network_is_used():
    assert own_target(machine("127.0.0.1/8", "169.254.7.7/16", "10.1.0.9/20")).network == IPv4Network("10.1.0.0/20")


@pytest.mark.parametrize(
    ("interfaces", "why"),
    [
        (["127.0.0.1/8", "10.8.0.2/32"], "in no IPv4 network"),
        (["10.1.2.3/24", "10.1.3.3/24"], r"10\.1\.2\.0/24, 10\.1\.3\.0/24"),
    ],
)
def test_if_the_network_is_ambiguous_nothing_is_scanned(interfaces, why):
    with pytest.raises(ScanError, match=why):
        own_target(machine(*interfaces))


def test_this_machine_has_its_loopback_address():
    assert IPv4Interface("127.0.0.1/8") in this_machine().interfaces


# --- what this machine is called ------------------------------------------------------------------------------------

HOSTS_FILE = {"vm": ["127.0.1.1"], "vm.studio.lan": ["10.1.2.3"], "odd": ["127.0.0.1", "10.1.2.3"]}


@pytest.mark.parametrize(
    ("names", "addresses", "sorted_for_others"),
    [
        (["vm.studio.lan", "vm"], ["10.1.2.3"], ["vm.studio.lan", "10.1.2.3", "vm", "localhost", "127.0.0.1"]),
        (["localhost", "vm"], ["127.0.0.1", "10.1.2.3"], ["10.1.2.3", "vm", "localhost", "127.0.0.1"]),
        (["unknown", "odd"], ["10.1.2.3"], ["10.1.2.3", "unknown", "odd", "localhost", "127.0.0.1"]),
        (["localhost.localdomain"], ["127.0.0.1"], ["localhost", "127.0.0.1"]),
    ],
)
def test_addresses_that_reach_this_machine_come_before_those_that_mean_any_machine_itself(
    names, addresses, sorted_for_others
):
    assert sorted_names(names, addresses, lambda name: HOSTS_FILE.get(name, [])) == sorted_for_others


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.1.1", True),
        ("[::1]", True),
        ("LOCALHOST", True),
        ("10.1.2.3", False),
        ("vm", False),
        ("localhosted", False),
    ],
)
def test_addresses_that_mean_the_machine_itself_are_recognised(host, loopback):
    assert is_loopback(host) == loopback
