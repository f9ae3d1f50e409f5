"""Which addresses may be scanned: a network that somebody named, or the one this machine is in.

Strategy: only these functions decide what is probed. They are pure; `this_machine` reads the machine's own interfaces
and its default route, which are passed in.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterable, Sequence
from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Network,
    NetmaskValueError,
    ip_address,
)
from typing import NamedTuple

from ..errors import ToolError

WIDEST = 20
"""The shortest prefix that is scanned: a /20 has 4,096 addresses, two or three minutes at the default rate."""

_NARROWED = 24
"""The prefix that is scanned instead if our own network is wider than `WIDEST`: the part around our own address."""

_THIS_NETWORK = IPv4Network("0.0.0.0/8")  # as a destination, it means this machine: RFC 1122, 3.2.1.3

# An address from a documentation range (RFC 5737). Connecting a datagram socket sends nothing; it only looks up the
# route.
_ELSEWHERE = ("203.0.113.1", 9)


class ScanError(ToolError):
    """There is nothing to scan, or no result to show. The message says why, and what to do."""


class NothingScanned(ScanError):
    """There has been no scan yet."""


class ThisMachine(NamedTuple):
    """What a scan must know about the machine it runs on.

    Attributes:
        name: its host name, from the system.
        interfaces: addresses of the interfaces that are up, with their networks; loopback and link-local included.
        way_out: the address that the default route uses, None if there is no default route.
    """

    name: str
    interfaces: tuple[IPv4Interface, ...]
    way_out: IPv4Address | None


class Target(NamedTuple):
    """What to scan.

    Attributes:
        network: at most a /20.
        narrowed_from: our own network, if it is wider than that.
    """

    network: IPv4Network
    narrowed_from: IPv4Network | None = None

    @property
    def addresses(self) -> tuple[IPv4Address, ...]:
        """Every address that a machine can have: without the network's own address and the broadcast address, if it has
        them (a /31 and a single address do not, RFC 3021)."""
        return tuple(self.network.hosts())


def parse_target(text: str) -> Target:
    """A network as people write it: `10.1.2.0/24`, any address in it (`10.1.2.17/24`), or one address.

    Raises:
        ScanError: it is not an IPv4 network, is wider than a /20, or cannot contain machines.
    """
    text = text.strip()
    try:
        network = IPv4Network(text, strict=False)
    except (AddressValueError, NetmaskValueError, ValueError):
        with contextlib.suppress(ValueError):
            IPv6Network(text, strict=False)
            raise ScanError(
                f"{text} is an IPv6 network, and those are too wide to be scanned. Give the IPv4 network of the same "
                "machines, or register them by name: afpools host register."
            ) from None
        raise ScanError(f"{text!r} is not an IPv4 network. Write it like 10.1.2.0/24.") from None
    if network.prefixlen < WIDEST:
        raise ScanError(
            f"{network} has {network.num_addresses:,} addresses. At most a /{WIDEST} is scanned at a time, which has "
            f"{1 << (32 - WIDEST):,}: {network.network_address}/{WIDEST}, for example."
        )
    if network.is_multicast or network.is_reserved or network.overlaps(_THIS_NETWORK):
        raise ScanError(f"No machine can have an address in {network}. Give the network your machines are in.")
    return Target(network)


def own_target(machine: ThisMachine) -> Target:
    """The network that this machine is in; if it is wider than a /20, the /24 around the machine's own address.

    Raises:
        ScanError: there is none, or several and none of them has the default route.
    """
    # A tunnel's /32 leads to no neighbours.
    candidates = [
        interface
        for interface in machine.interfaces
        if not interface.is_loopback and not interface.is_link_local and interface.network.prefixlen <= 30
    ]
    chosen = [interface for interface in candidates if interface.ip == machine.way_out] or candidates
    networks = {interface.network for interface in chosen}
    if not networks:
        raise ScanError("This machine is in no IPv4 network. Say which one to scan, such as 10.1.2.0/24.")
    if len(networks) > 1:
        listed = ", ".join(map(str, sorted(networks)))
        raise ScanError(f"This machine is in several networks: {listed}. Say which one to scan.")
    own = chosen[0]
    if own.network.prefixlen >= WIDEST:
        return Target(own.network)
    return Target(IPv4Network((own.ip, _NARROWED), strict=False), narrowed_from=own.network)


def this_machine() -> ThisMachine:
    """Reads this machine's name, its IPv4 interfaces and its default route."""
    import psutil

    up = {name for name, state in psutil.net_if_stats().items() if state.isup}
    interfaces = [
        IPv4Interface((entry.address, entry.netmask))
        for name, entries in psutil.net_if_addrs().items()
        if name in up
        for entry in entries
        if entry.family == socket.AF_INET and entry.netmask
    ]
    return ThisMachine(socket.gethostname(), _each_once(interfaces), _way_out())


def own_names() -> list[str]:
    """Names for a broker on this machine, the best first: names that lead here from other machines, its addresses, and
    last those that lead here only from itself."""
    machine = this_machine()
    addresses = [interface.ip for interface in machine.interfaces if not interface.ip.is_link_local]
    # The address with the default route first: others may belong to containers.
    addresses.sort(key=lambda address: address != machine.way_out)
    return sorted_names((socket.getfqdn(), machine.name), map(str, addresses), _addresses_of)


def sorted_names(names: Iterable[str], addresses: Iterable[str], resolve: Callable[[str], Sequence[str]]) -> list[str]:
    """Names and addresses of a machine, the best for other machines first.

    Args:
        names: its host names; on many systems, /etc/hosts gives 127.0.1.1 for them.
        addresses: its addresses, with or without loopback.
        resolve: returns the addresses of a name, none for an unknown name.
    """
    own = [name for name in names if not name.casefold().startswith("localhost")]
    good = [name for name in own if (found := resolve(name)) and not any(map(is_loopback, found))]
    reachable = [*good, *(address for address in addresses if not is_loopback(address))]
    return list(dict.fromkeys([*reachable, *own, "localhost", "127.0.0.1"]))


def is_loopback(host: str) -> bool:
    """Whether a name or an address means the local machine on every machine, like localhost."""
    with contextlib.suppress(ValueError):
        return ip_address(host.strip("[]")).is_loopback
    return host.casefold().partition(".")[0] == "localhost"


def _addresses_of(name: str) -> list[str]:
    try:
        return [str(found[4][0]).partition("%")[0] for found in socket.getaddrinfo(name, None)]
    except OSError:
        return []


def _each_once(interfaces: Sequence[IPv4Interface]) -> tuple[IPv4Interface, ...]:
    return tuple(dict.fromkeys(interfaces))


def _way_out() -> IPv4Address | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as route:
        try:
            route.connect(_ELSEWHERE)
            return IPv4Address(route.getsockname()[0])
        except OSError:
            return None
