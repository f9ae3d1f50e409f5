"""Listeners: each turns bytes from an authenticated peer into a call of the service, and knows nothing about pools.

Both have these in common: shares, so that no client takes what belongs to the others; workers for slow answers; and one
understandable log line for each refused peer.

curve.py              CURVE: a libzmq ROUTER
curve_connections.py  its connections, followed from outside
curve_failures.py     why a handshake failed
tls.py                TLS: accepts connections
tls_connection.py     one connection over TLS
encrypted.py          TLS over a non-blocking socket
shares.py             what each client may use
doorkeeper.py         blocks addresses that open connections by the thousand
refusals.py           peers that were refused
tcp_info.py           what the kernel knows about a connection
workers.py            threads for slow answers
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from abc import ABC, abstractmethod
from dataclasses import dataclass

from ..credentials.live import Credentials
from ..monitoring.peer_log import PeerLog
from ..monitoring.statistics import Statistics
from ..service import Service
from .doorkeeper import Doorkeeper
from .refusals import Refusals
from .shares import Shares
from .workers import Workers

# How many connections the kernel queues until they are accepted.
_BACKLOG = 512


class ListenError(Exception):
    """A listener could not open its port. The message says which, why, and what to do."""


def address_text(host: str, port: int) -> str:
    """`10.0.0.7:51234` or `[fe80::1]:51234`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def cannot_listen(listener: str, address: str, port: int, number: int) -> str:
    """The sentence for a port that could not be opened.

    Args:
        listener: `CURVE` or `TLS`, which is also the section of broker.toml.
        address: the address to listen on.
        port: the port.
        number: the system's error, as in `errno`.
    """
    section = f"[{listener.lower()}]"
    reasons = {
        errno.EADDRINUSE: f"the port is in use. Is another broker running? Stop it, or set {section} port",
        errno.EACCES: f"ports below 1024 are for root. Set {section} port to a higher one",
        errno.EADDRNOTAVAIL: f"this machine does not have that address. Set {section} address, 0.0.0.0 for all it has",
        errno.ENODEV: f"this machine does not have that address. Set {section} address, 0.0.0.0 for all it has",
    }
    return f"{listener}: cannot listen on {address} port {port}: {reasons.get(number, os.strerror(number))}."


@dataclass(frozen=True)
class Shared:
    """What all listeners of a broker use.

    Args:
        credentials: who may connect, and the broker's own keys.
        service: answers requests.
        workers: threads for slow answers.
        shares: what each client may take.
        refusals: logs who was refused.
        peer_log: logs other events that peers can cause.
        statistics: counts connections.
    """

    credentials: Credentials
    service: Service
    workers: Workers
    shares: Shares
    refusals: Refusals
    peer_log: PeerLog
    statistics: Statistics


class Listener(ABC):
    """One listener.

    Args:
        address: the IP address to listen on.
        port: 0 lets the system choose.
        shared: what all listeners use.
    """

    name: str
    """The name in log lines and in health."""

    def __init__(self, address: str, port: int, shared: Shared) -> None:
        self.address = address
        self.port = port
        self._credentials = shared.credentials
        self._service = shared.service
        self._workers = shared.workers
        self._shares = shared.shares
        self._refusals = shared.refusals
        self._peer_log = shared.peer_log
        self._statistics = shared.statistics
        self._statistics.connection(self.name, 0)  # report zero, too

    def _listen(self, *, dualstack: bool) -> tuple[socket.socket, Doorkeeper]:
        """Opens the port, and sets `port` to the real one.

        Args:
            dualstack: an IPv6 address also accepts IPv4, if the system can do that.

        Raises:
            ListenError: the port is in use or not allowed, or the address is not this machine's.
        """
        ipv6 = ipaddress.ip_address(self.address).version == 6
        listening = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if ipv6:
                both = dualstack and socket.has_dualstack_ipv6()
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not both)
            listening.setblocking(False)
            listening.bind((self.address, self.port))
            doorkeeper = Doorkeeper(listening, _BACKLOG)
        except OSError as error:
            listening.close()
            raise ListenError(cannot_listen(self.name, self.address, self.port, error.errno or 0)) from None
        self.port = listening.getsockname()[1]
        return listening, doorkeeper

    @abstractmethod
    def bind(self) -> None:
        """Opens the port; `port` is the real one afterwards.

        Raises:
            ListenError: the port is in use or not allowed, or the address is not this machine's.
        """

    @abstractmethod
    def start(self) -> None:
        """Starts answering."""

    @abstractmethod
    def comes_round(self, wait: float) -> bool:
        """Whether the thread that answers still makes progress, checked for at most `wait` seconds: if not, it hangs.
        Only one thread at a time may call it, between `start` and `stop`."""

    @abstractmethod
    def stop(self, *, wait: float) -> None:
        """Accepts nobody new, and ends once every answer in progress has been sent, or after `wait` seconds. A listener
        that was not started, or not even bound, releases what it has."""
