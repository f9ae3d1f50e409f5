"""Ways in: each turns bytes from an authenticated peer into a call of the service, and knows nothing of pools.

What both have in common: workers for what takes time, and one understandable log line for each peer that was not let
in.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ..credentials import Credentials
from ..service import Later, Service, Statistics

log = logging.getLogger("afpools.connections")


class ListenError(Exception):
    """A listener could not open its port. The message says which, why, and what to do."""


@dataclass(frozen=True)
class ConnectionLimits:
    """What a connection may take from the broker, whoever is at its other end.

    Args:
        message_bytes: the largest request.
        connections: on one listener, those that are still shaking hands among them.
        handshake_seconds: for encryption and the ZeroMQ greeting together.
        heartbeat_seconds: a peer silent for this long is asked for a sign of life, and dropped after three times it.
        idle_seconds: a TLS connection without a request for this long is closed; clients open a new one by themselves.
    """

    message_bytes: int
    connections: int
    handshake_seconds: float
    heartbeat_seconds: float
    idle_seconds: float


class Workers:
    """A few threads for answers that wait for a database or take arithmetic, and a bound on how many may wait."""

    # Reads: masks that are not made yet, mostly. Writes: a store makes one after the other anyway, and one that hangs
    # must not take the readers' threads.
    _READING, _READS_WAITING = 6, 256
    _WRITING, _WRITES_WAITING = 2, 32

    def __init__(self) -> None:
        self._pools = {
            False: ThreadPoolExecutor(self._READING, thread_name_prefix="afpools-reader"),
            True: ThreadPoolExecutor(self._WRITING, thread_name_prefix="afpools-writer"),
        }
        self._free = {
            False: threading.Semaphore(self._READING + self._READS_WAITING),
            True: threading.Semaphore(self._WRITING + self._WRITES_WAITING),
        }

    def submit(self, later: Later, done: Callable[[bytes], None]) -> bool:
        """Makes an answer on a worker, and then calls `done` with it on the same thread.

        Returns:
            False, without doing anything, when too many are waiting already.
        """
        free = self._free[later.writes]
        if not free.acquire(blocking=False):
            return False

        def run() -> None:
            try:
                done(later.work())
            except Exception:  # `work` answers its own defects; this one is in a listener
                log.exception("An answer could not be handed back")
            finally:
                free.release()

        try:
            self._pools[later.writes].submit(run)
        except RuntimeError:  # stopped
            free.release()
            return False
        return True

    def stop(self) -> None:
        """Begins nothing any more. What is under way ends by itself: the store's timeout sees to that."""
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)


class Refusals:
    """Counts peers that were not let in, and logs each once a minute: a plug-in with a revoked key tries ten times a
    second for as long as it is open, and must not bury the log.

    Args:
        statistics: counts every one.
        clock: seconds, increasing.
    """

    _REPEAT_SECONDS = 60.0
    _REMEMBERED = 1000

    def __init__(self, statistics: Statistics, clock: Callable[[], float] = time.monotonic) -> None:
        self._statistics = statistics
        self._clock = clock
        self._lock = threading.Lock()
        self._logged: dict[tuple[str, str, str], tuple[float, int]] = {}

    def refuse(self, listener: str, address: str, reason: str) -> None:
        """Notes one peer that was not let in.

        Args:
            listener: `CURVE` or `TLS`.
            address: the peer's, `host:port`.
            reason: a clause that ends the sentence "connection from … refused:".
        """
        self._statistics.refused()
        self._log(listener, address, "refused", reason)

    def close(self, listener: str, address: str, reason: str) -> None:
        """Notes one peer that had been let in and is so no more; arguments as for `refuse`."""
        self._log(listener, address, "closed", reason)

    def _log(self, listener: str, address: str, what: str, reason: str) -> None:
        # Libzmq tells some addresses with their port and some without; a peer has another port each time it tries.
        host = re.sub(r"(?<=[\]\d]):\d+$", "", address) if "]" in address or address.count(":") == 1 else address
        key = (listener, host, reason)
        with self._lock:
            logged_at, suppressed = self._logged.get(key, (float("-inf"), 0))
            now = self._clock()
            if now < logged_at + self._REPEAT_SECONDS:
                self._logged[key] = (logged_at, suppressed + 1)
                return
            if len(self._logged) >= self._REMEMBERED:
                self._logged.clear()
            self._logged[key] = (now, 0)
        again = f" (and {suppressed} times more since it was last said)" if suppressed else ""
        log.warning("%s: connection from %s %s: %s%s", listener, address, what, reason, again)


def address_text(host: str, port: int) -> str:
    """`10.0.0.7:51234` or `[fe80::1]:51234`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def cannot_listen(listener: str, address: str, port: int, number: int) -> str:
    """The sentence for a port that could not be opened.

    Args:
        listener: `CURVE` or `TLS`, which is also the section of broker.toml.
        address: the address to listen at.
        port: the port.
        number: what the system said, as in `errno`.
    """
    section = f"[{listener.lower()}]"
    reasons = {
        errno.EADDRINUSE: f"the port is in use. Is another broker running? Stop it, or set {section} port",
        errno.EACCES: f"ports below 1024 are for root. Set {section} port to a higher one",
        errno.EADDRNOTAVAIL: f"this machine does not have that address. Set {section} address, 0.0.0.0 for all it has",
        errno.ENODEV: f"this machine does not have that address. Set {section} address, 0.0.0.0 for all it has",
    }
    return f"{listener}: cannot listen at {address} port {port}: {reasons.get(number, os.strerror(number))}."


@dataclass(frozen=True)
class Shared:
    """What all listeners of a broker use.

    Args:
        credentials: who may connect, and the broker's own keys.
        service: answers.
        workers: for what takes time.
        limits: of a connection.
        refusals: logs who was not let in.
        statistics: counts connections.
    """

    credentials: Credentials
    service: Service
    workers: Workers
    limits: ConnectionLimits
    refusals: Refusals
    statistics: Statistics


class Listener(ABC):
    """One way in.

    Args:
        address: to listen at, an IP address.
        port: 0 lets the system choose.
        shared: what all listeners use.
    """

    name: str
    """As log lines and health have it."""

    def __init__(self, address: str, port: int, shared: Shared) -> None:
        self.address = address
        self.port = port
        self._credentials = shared.credentials
        self._service = shared.service
        self._workers = shared.workers
        self._limits = shared.limits
        self._refusals = shared.refusals
        self._statistics = shared.statistics

    @abstractmethod
    def bind(self) -> None:
        """Opens the port; `port` is the real one afterwards.

        Raises:
            ListenError: in use, not allowed, or not an address of this machine.
        """

    @abstractmethod
    def start(self) -> None:
        """Begins to answer."""

    @abstractmethod
    def stop(self, *, wait: float) -> None:
        """Lets nobody new in, and ends once every answer under way is sent, or `wait` seconds later. For a listener
        that was not started or not even bound, lets go of what it has."""
