"""What each client may take from the broker, so that no client takes it from the others.

Strategy: accounting only, no I/O; the listeners ask before they give. A *client* is one credential used from one
address. A credential alone would be too coarse: a studio may give one profile to all its artists, and one broken
plug-in among them must not use up what belongs to the others. An address alone would be too coarse as well: many people
share a terminal server. Above a client's share is one for its credential, so that a thief of a credential gains nothing
by using it from many machines, and above both what the broker has in all, of which some is reserved for managers.

Before a connection has shown its credential there is only its address: see `Strangers`.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from ..config import LimitsSection
from ..credentials.peers import Peer
from ..monitoring.peer_log import network_of
from ..protocol import Role

# A client that was disconnected for flooding may come back after this many seconds. Until then its handshakes are
# refused, which costs far less than a request.
BARRED_SECONDS = 2.0

# How many requests over its share a client is told about, as a multiple of its share. TLS makes a client wait instead;
# libzmq keeps reading, so a client that does not slow down must be stopped.
_PATIENCE = 4

_ADDRESSES_REMEMBERED = 10_000


class Full(Exception):
    """There is no room for one more connection. The message is a clause that says whose share is used up."""

    def __init__(self, message: str, *, own: bool) -> None:
        super().__init__(message)
        self.own = own
        """True if it is the client's own share, so that closing another of its connections makes room."""


class Bucket:
    """A token bucket that holds one second's worth.

    It is refilled only when it is empty, because it is used for each request: what is left of one second and what has
    come in since can be taken at once, two seconds' worth at most.

    Not locked: two threads that take at the same moment may count one token instead of two, which harms nobody.
    """

    __slots__ = ("_at", "_tokens")

    def __init__(self, rate: float, now: float) -> None:
        self._tokens = rate
        self._at = now

    def take(self, rate: float, now: float) -> bool:
        """Takes a token, if there is one.

        Args:
            rate: tokens a second, which is also how many it holds.
            now: seconds, increasing.
        """
        if self._tokens < 1.0:
            if now > self._at:  # a listener reads the clock once for many requests
                self._tokens = min(rate, self._tokens + (now - self._at) * rate)
                self._at = now
            if self._tokens < 1.0:
                return False
        self._tokens -= 1.0
        return True

    def owe(self, tokens: float) -> None:
        """Takes tokens in advance: the next one to take a token waits for them."""
        self._tokens -= tokens

    def wait(self, rate: float, now: float) -> float:
        """Seconds until there is a token, 0 if there is one."""
        if self._tokens >= 1.0:
            return 0.0
        return max(0.0, (1.0 - self._tokens) / rate - (now - self._at))


class Client:
    """One credential used from one address, and what it has taken.

    Attributes:
        peer: who it is.
        address: its address, without the port.
        connections: how many are open.
        waiting_in: bytes of requests that have begun to arrive and are not complete.
        waiting_out: bytes of answers that it has not read yet.
    """

    __slots__ = (
        "_asked",
        "_credential",
        "_refused",
        "address",
        "barred_until",
        "connections",
        "peer",
        "waiting_in",
        "waiting_out",
    )

    def __init__(self, peer: Peer, address: str, credential: _Credential, rate: float, now: float) -> None:
        self.peer = peer
        self.address = address
        self.connections = 0
        self.waiting_in = self.waiting_out = 0
        self.barred_until = float("-inf")
        self._credential = credential
        self._asked = Bucket(rate, now)
        self._refused = Bucket(_PATIENCE * rate, now)


class _Credential:
    __slots__ = ("asked", "clients", "connections")

    def __init__(self, rate: float, now: float) -> None:
        self.connections = 0
        self.clients = 0
        self.asked = Bucket(rate, now)


class Shares:
    """Everybody's share. Safe to use from any thread.

    Args:
        limits: `[limits]`; may be replaced at any time, and counts from then on.
        clock: seconds, increasing.
    """

    def __init__(self, limits: LimitsSection, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits
        self._clock = clock
        self._lock = threading.Lock()
        self._clients: dict[tuple[Peer, str], Client] = {}
        self._credentials: dict[Peer, _Credential] = {}
        self._arrivals: OrderedDict[str, Bucket] = OrderedDict()
        self.connections = 0
        """Of clients, over both ways in."""
        self.waiting_in = self.waiting_out = 0

    # --- connections ----------------------------------------------------------------------------------------------

    def arrives(self, address: str) -> bool:
        """Counts a connection that has just been opened; False if its address opens too many too quickly.

        Args:
            address: without the port.
        """
        rate, now = float(self.limits.new_connections_per_second), self._clock()
        where = network_of(address)
        with self._lock:
            bucket = self._arrivals.get(where)
            if bucket is None:
                bucket = self._arrivals[where] = Bucket(rate, now)
                if len(self._arrivals) > _ADDRESSES_REMEMBERED:
                    self._arrivals.popitem(last=False)
            else:
                self._arrivals.move_to_end(where)
            return bucket.take(rate, now)

    def enter(self, peer: Peer, address: str) -> Client:
        """Counts a client's connection; every one is followed by a `leave`.

        Args:
            peer: who it is.
            address: from where, without the port.

        Raises:
            Full: there is no room for it; the message says why.
        """
        where = network_of(address)
        with self._lock:
            self._check(peer, where)
            now = self._clock()
            credential = self._credentials.get(peer)
            if credential is None:
                rate = float(self.limits.requests_per_second_per_credential)
                credential = self._credentials[peer] = _Credential(rate, now)
            client = self._clients.get((peer, where))
            if client is None:
                client = Client(peer, where, credential, float(self.limits.requests_per_second), now)
                self._clients[peer, where] = client
                credential.clients += 1
            client.connections += 1
            credential.connections += 1
            self.connections += 1
            return client

    def is_barred(self, peer: Peer, address: str) -> bool:
        """Whether a client has just been disconnected for flooding; arguments as for `enter`."""
        with self._lock:
            client = self._clients.get((peer, network_of(address)))
            return client is not None and self._clock() < client.barred_until

    def leave(self, client: Client) -> None:
        """Counts a connection of a client as closed."""
        with self._lock:
            client.connections -= 1
            client._credential.connections -= 1
            self.connections -= 1
            self._forget_absent()

    def _forget_absent(self) -> None:
        # A new connection must not give a client a new share: what it may still ask in this second is remembered for as
        # long as it takes to fill up again.
        if len(self._clients) < 2 * self.limits.connections:
            return
        for key, other in [(key, other) for key, other in self._clients.items() if not other.connections]:
            del self._clients[key]
            other._credential.clients -= 1
            if not other._credential.clients:
                self._credentials.pop(other.peer, None)

    def _check(self, peer: Peer, where: str) -> None:
        limits = self.limits
        client, credential = self._clients.get((peer, where)), self._credentials.get(peer)
        if client is not None and client.connections >= limits.connections_per_client:
            raise Full(
                f"{peer.name!r} has {client.connections:,} connections from this address "
                "([limits] connections_per_client)",
                own=True,
            )
        if client is not None and self._clock() < client.barred_until:
            raise Full(f"{peer.name!r} has just been disconnected for sending far too many requests", own=False)
        if credential is not None and credential.connections >= limits.connections_per_credential:
            raise Full(
                f"{peer.name!r} has {credential.connections:,} connections ([limits] connections_per_credential)",
                own=False,
            )
        if peer.role is Role.MANAGER:
            if self.connections >= limits.connections:
                raise Full(f"the broker is full, with {limits.connections:,} connections", own=False)
            return
        kept = min(limits.connections_for_managers, limits.connections // 2)
        if self.connections >= limits.connections - kept:
            raise Full(
                f"the broker is full, with {self.connections:,} of {limits.connections:,} connections; "
                f"{kept:,} are kept for managers",
                own=False,
            )

    # --- requests -------------------------------------------------------------------------------------------------

    def may_ask(self, client: Client, now: float) -> bool:
        """Counts a request of a client; False if it asks too often.

        Args:
            client: who asks.
            now: seconds, on the clock of these shares.
        """
        limits = self.limits
        return client._asked.take(limits.requests_per_second, now) and client._credential.asked.take(
            limits.requests_per_second_per_credential, now
        )

    def may_ask_now(self, client: Client) -> bool:
        """As `may_ask`, without refilling: True only for a client with tokens left from the last refill. False counts
        nothing and proves nothing: see `wait`."""
        mine, of_all = client._asked, client._credential.asked
        if mine._tokens < 1.0 or of_all._tokens < 1.0:
            return False
        mine._tokens -= 1.0
        of_all._tokens -= 1.0
        return True

    def owe(self, client: Client, requests: float) -> None:
        """Counts work already done for a client, as this many requests."""
        client._asked.owe(requests)

    def floods(self, client: Client, now: float) -> bool:
        """Counts a request that `may_ask` refused. True if there are so many that telling the client each time would
        itself be a burden; its new connections are then refused for a while."""
        if client._refused.take(_PATIENCE * self.limits.requests_per_second, now):
            return False
        client.barred_until = now + BARRED_SECONDS
        return True

    def wait(self, client: Client, now: float) -> float:
        """Seconds until a client may ask again, 0 if it may now. Counts nothing."""
        limits = self.limits
        return client._asked.wait(limits.requests_per_second, now) or client._credential.asked.wait(
            limits.requests_per_second_per_credential, now
        )

    # --- bytes ----------------------------------------------------------------------------------------------------

    def hold_in(self, client: Client, change: int) -> str | None:
        """Counts bytes of incomplete requests.

        Args:
            client: whose.
            change: how many more, or fewer.

        Returns:
            A clause if there are too many now, and the connection must be closed; otherwise None.
        """
        with self._lock:
            client.waiting_in += change
            self.waiting_in += change
            return self._too_much(client.waiting_in, self.waiting_in) if change > 0 else None

    def hold_out(self, client: Client, change: int) -> None:
        """Counts bytes of answers that have not been read yet; arguments as for `hold_in`."""
        with self._lock:
            client.waiting_out += change
            self.waiting_out += change

    def may_hold_out(self, client: Client, size: int) -> bool:
        """Whether an answer of this size may be kept for a client until it reads it. One may always be kept."""
        if not client.waiting_out:
            return True
        return self._too_much(client.waiting_out + size, self.waiting_out + size) is None

    def _too_much(self, of_client: int, of_all: int) -> str | None:
        limits = self.limits
        if of_client > limits.waiting_bytes:
            return f"more than {limits.waiting_bytes:,} bytes wait for it ([limits] waiting_bytes)"
        if of_all > limits.waiting_bytes_in_all:
            return f"more than {limits.waiting_bytes_in_all:,} bytes wait in all ([limits] waiting_bytes_in_all)"
        return None


T = TypeVar("T")


class Strangers(Generic[T]):
    """The connections of one listener that have not shown a credential yet. Only the listener's thread uses them.

    If an address, or all together, have too many, the oldest is dropped rather than the newest refused: a peer that
    opens connections and stays silent must not block those that come later, whose handshake takes milliseconds.

    Args:
        shares: provides the limits.
    """

    def __init__(self, shares: Shares) -> None:
        self._shares = shares
        self._by_address: dict[str, dict[T, None]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, address: str, connection: T) -> T | None:
        """Notes a new connection, and returns the one that must make room for it, if any."""
        where = network_of(address)
        mine = self._by_address.setdefault(where, {})
        mine[connection] = None
        self._count += 1
        limits = self._shares.limits
        if len(mine) > limits.handshakes_per_address:
            return next(iter(mine))
        if self._count > max(limits.handshakes_per_address, limits.connections // 4):
            most: dict[T, None] = max(self._by_address.values(), key=len)
            return next(iter(most))
        return None

    def remove(self, address: str, connection: T) -> None:
        """Notes that a connection has shown its credential, or is gone. Calling it twice does no harm."""
        where = network_of(address)
        mine = self._by_address.get(where)
        if mine is None or connection not in mine:
            return
        del mine[connection]
        self._count -= 1
        if not mine:
            del self._by_address[where]
