"""Which of several brokers keeps the fences: one at a time.

Strategy: the lease is kept in the store, and no clock is compared with another machine's. Each renewal changes the
lease's beat; a broker that sees one beat unchanged for as long as a lease lasts, by its own clock, takes the lease.
That is later than the end of the holder's own time, which counts from before it asked. A holder renews long before
that, and stops acting well before its time is up: afserver cannot be told which token is the newest, so an action must
have been carried out by the time another broker may act. A process that was paused finds its time up by its own clock,
which keeps running meanwhile.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable

from ..store import PoolStore, StoreUnavailable

log = logging.getLogger("afpools.live")

LEASE_SECONDS = 10.0
"""How long the lease lasts without its holder. Another broker takes over within this time plus twice
`RENEW_SECONDS`."""

RENEW_SECONDS = 2.0
"""Seconds between two renewals."""

MARGIN_SECONDS = 4.0
"""The holder does nothing more in this many seconds before the lease ends. afserver carries out an action within about
a second."""


# A clock that also counts while the machine sleeps, if there is one.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", None)


def _now() -> float:
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)


class NotOurs(Exception):
    """This broker may not act: it does not hold the lease, or not for long enough."""


class LeaseKeeper:
    """Takes the lease if nobody has it, and renews it, on its own thread.

    Args:
        store: where the lease is kept.
        name: this broker's name, for people.
        seconds: how long it lasts; brokers of one studio need the same.
        renew: seconds between two renewals.
        margin: seconds before its end in which nothing is done under it.
        clock: seconds since a fixed moment.
    """

    def __init__(
        self,
        store: PoolStore,
        name: str,
        *,
        seconds: float = LEASE_SECONDS,
        renew: float = RENEW_SECONDS,
        margin: float = MARGIN_SECONDS,
        clock: Callable[[], float] = _now,
    ) -> None:
        self._store, self._seconds, self._renew, self._margin = store, seconds, renew, margin
        # Two brokers may have the same name by mistake.
        self._holder = f"{name} {uuid.uuid4().hex[:12]}"
        self._until = float("-inf")
        self._clock = clock
        self._beat: int | None = None
        self._since = 0.0  # when this beat was first seen
        self.token = 0
        """The token of the lease as it was last seen."""
        self.keeper = ""
        """The name of the broker that holds it, as far as known."""
        self.taken: Callable[[], None] = lambda: None
        """Called when this broker has taken it."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="afpools-lease", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self, *, wait: float) -> None:
        """Gives the lease up, so that another broker need not wait."""
        self._stop.set()
        self._until = float("-inf")
        if self._thread.is_alive():
            self._thread.join(wait)

    @property
    def is_ours(self) -> bool:
        """Whether this broker may act now."""
        return self._clock() < self._until - self._margin

    def check(self, token: int) -> None:
        """
        Args:
            token: the token under which the action was begun.

        Raises:
            NotOurs: the action must not be done.
        """
        if not self.is_ours or token != self.token:
            raise NotOurs

    def ask(self) -> None:
        """Asks for the lease once.

        Raises:
            StoreUnavailable: it does not answer; the last known lease counts until it runs out.
        """
        began = self._clock()
        ran_out = self._beat is not None and began >= self._since + self._seconds
        lease = self._store.take_lease(self._holder, self._beat if ran_out else None)
        ours = lease.holder == self._holder
        if lease.beat != self._beat:
            self._beat, self._since = lease.beat, began if ours else self._clock()
        anew = ours and lease.token != self.token
        self.token = lease.token
        self._until = began + self._seconds if ours else float("-inf")
        keeper = lease.holder.rpartition(" ")[0]
        if keeper != self.keeper:
            log.info("The fences of running jobs are kept by the broker %r.", keeper)
        self.keeper = keeper
        if anew:
            self.taken()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.ask()
            except StoreUnavailable:
                pass  # the snapshot's thread reports that
            except Exception:
                log.exception("Asking for the lease failed")
            self._stop.wait(self._renew)
        try:
            self._store.give_up_lease(self._holder)
        except Exception as error:  # noqa: BLE001 - it runs out by itself
            log.debug("The lease could not be given up: %s", error)
