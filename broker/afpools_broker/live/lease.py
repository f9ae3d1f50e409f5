"""Which of several brokers keeps the fences: one at a time.

Strategy: the lease stands in the store, and no clock is compared with another machine's. Each renewal changes the
lease's beat; who sees one beat stand for as long as a lease lasts, by its own clock, takes it. That is later than the
holder's own time is up, which counts from before it asked. A holder asks again long before that, and stops acting well
before: afserver cannot be told which token is the newest, so what was sent has to be carried out by the time another
may act. A process that was paused finds its time up by its own clock, which keeps running meanwhile.
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
"""How long the lease lasts without its holder. Another takes over within this time and twice `RENEW_SECONDS`."""

RENEW_SECONDS = 2.0
"""Seconds between two questions for it."""

MARGIN_SECONDS = 4.0
"""Before it runs out, its holder does nothing any more. afserver carries out what it has got within about a second."""


# Counts while the machine sleeps as well, where there is such a clock.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", None)


def _now() -> float:
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)


class NotOurs(Exception):
    """This broker may not act: it does not hold the lease, or not for long enough."""


class LeaseKeeper:
    """Takes the lease where nobody has it, and renews it, on a thread of its own.

    Args:
        store: where it stands.
        name: this broker's name, for people.
        seconds: how long it lasts; brokers of one studio need the same.
        renew: seconds between two questions.
        margin: seconds before its end from which on nothing is done under it.
        clock: seconds that have passed since some moment.
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
        # Two brokers may have one name by mistake.
        self._holder = f"{name} {uuid.uuid4().hex[:12]}"
        self._until = float("-inf")
        self._clock = clock
        self._beat: int | None = None
        self._since = 0.0  # when this beat was first seen
        self.token = 0
        """That of the lease as it was last seen."""
        self.keeper = ""
        """The name of the broker that has it, as far as is known."""
        self.taken: Callable[[], None] = lambda: None
        """Called when this broker has got it again."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="afpools-lease", daemon=True)

    def start(self) -> None:
        """Begins to ask."""
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
            token: under which what is about to be done was begun.

        Raises:
            NotOurs: it must not be done.
        """
        if not self.is_ours or token != self.token:
            raise NotOurs

    def ask(self) -> None:
        """Asks once.

        Raises:
            StoreUnavailable: it does not answer; what is known of the lease counts until it runs out.
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
                pass  # the snapshot's own thread says so
            except Exception:
                log.exception("Asking for the lease failed")
            self._stop.wait(self._renew)
        try:
            self._store.give_up_lease(self._holder)
        except Exception as error:  # noqa: BLE001 - it runs out by itself
            log.debug("The lease could not be given up: %s", error)
