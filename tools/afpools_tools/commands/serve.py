"""`afpools serve`: run a broker."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from afpools_broker.config import LEVELS, Config, ConfigError, load
from afpools_broker.monitoring.audit import open_audit
from afpools_broker.monitoring.logs import flush_log, open_log, set_level

from ..systemd.supervisor import Supervisor

if TYPE_CHECKING:
    from afpools_broker.broker import Broker

log = logging.getLogger("afpools")

# Seconds that a thread keeps Python to itself while others want it. The listeners hand over with each byte that they
# read or send, and where another thread calculates, Python's own 5 ms each time are what a request takes then. While
# a change is made, four such turns are what readers notice of it.
_SWITCH_SECONDS = 0.0003

# Shutting down takes two seconds at most; the rest of that is for Python itself.
_STOP_SECONDS = 1.9


def serve(
    config: Annotated[
        Path, typer.Option("-c", "--config", metavar="FILE", help="The broker's configuration.", dir_okay=False)
    ] = Path("broker.toml"),
) -> None:
    """Run a broker until SIGTERM or Ctrl-C. SIGHUP makes it read its configuration, keys and certificates again."""
    # Not imported at the top: it would take half of the time that `--help` may take.
    from afpools_broker.broker import Broker

    settings = load(config)
    open_log(settings.broker.log_level, settings.broker.log_format)
    rotate = open_audit_of(settings)
    broker = Broker(settings)
    supervisor = Supervisor()

    def ready() -> None:
        supervisor.ready()
        supervisor.watch(broker.is_alive, broker.status)

    run(broker, ready=ready, hang_up=_Reloader(broker, config, supervisor, rotate).ask, stopping=supervisor.stopping)


def _nothing() -> None:
    pass


def open_audit_of(settings: Config) -> Callable[[], None]:
    """Opens `[broker] audit_log`, if there is one. Call it after `open_log`.

    Returns:
        Opens the file anew; raises OSError.

    Raises:
        ConfigError: the file cannot be opened.
    """
    name = settings.broker.audit_log
    if not name:
        return _nothing
    try:
        return open_audit(settings.path(name))
    except (OSError, ValueError) as error:
        why = (isinstance(error, OSError) and error.strerror) or str(error)
        raise ConfigError(f"[broker] audit_log = {name!r}: {settings.path(name)} cannot be opened: {why}.") from None


def run(
    broker: Broker,
    *,
    ready: Callable[[], None] = _nothing,
    hang_up: Callable[[], None] | None = None,
    stopping: Callable[[], None] = _nothing,
) -> None:
    """Serves until a signal, and ends within two seconds after it.

    Args:
        broker: not started yet.
        ready: called once it answers.
        hang_up: called on SIGHUP; must return at once. Without it, SIGHUP also stops the broker, unless the parent
            process had the signal ignored (nohup).
        stopping: called when it begins to stop.
    """

    def note(number: int, _frame: FrameType | None) -> None:
        if number != signal.SIGHUP:
            # A second Ctrl-C ends the program at once.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            broker.call_off()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, note)
    if hang_up or signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, note)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
    sys.setswitchinterval(_SWITCH_SECONDS)
    with _signals() as asked, broker:
        if not select.select([asked], [], [], 0)[0]:
            ready()
        while os.read(asked, 1)[0] == signal.SIGHUP and hang_up:
            hang_up()
        began = time.monotonic()
        stopping()
        log.info("Stopping")
    # During Python's shutdown, these signals would end it with a failure status.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    flush_log(max(0.1, _STOP_SECONDS - (time.monotonic() - began)))


@contextlib.contextmanager
def _signals() -> Iterator[int]:
    """A pipe from which the numbers of signals that have a handler can be read.

    Not a queue that handlers fill: Python runs handlers between two steps of the main thread. If a signal arrived while
    that thread waits for the GIL, just before it starts to wait for a queue, its handler would not run until the next
    signal. The system writes into the pipe at once.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    try:
        yield reading
    finally:
        signal.set_wakeup_fd(before)
        os.close(reading)
        os.close(writing)


class _Reloader:
    """Reloads a broker's files on its own thread: if they are on a network share that does not answer, SIGTERM must
    still work.

    Args:
        broker: a running broker.
        file: its broker.toml.
        supervisor: is told.
        rotate: opens the file of the audit anew; raises OSError.
    """

    def __init__(self, broker: Broker, file: Path, supervisor: Supervisor, rotate: Callable[[], None]) -> None:
        self._rotate = rotate
        self._broker = broker
        self._file = file
        self._supervisor = supervisor
        self._asked = threading.Event()
        threading.Thread(target=self._run, name="afpools-reload", daemon=True).start()

    def ask(self) -> None:
        """Requests a reload. Any number of requests during a reload cause one more."""
        self._asked.set()

    def _run(self) -> None:
        while self._asked.wait():
            self._asked.clear()
            self._supervisor.reloading()
            try:
                self._reload()
            except Exception:
                # A bug here must not prevent the next reload.
                log.exception("SIGHUP: reading the configuration again failed")
            finally:
                self._supervisor.ready()

    def _reload(self) -> None:
        try:
            self._rotate()
        except OSError as error:
            log.error("SIGHUP: [broker] audit_log cannot be opened again, and goes to the old file: %s", error)
        level = self._broker.config.broker.log_level
        try:
            reloaded = self._broker.reload(load(self._file))
        except ConfigError as error:
            log.error("SIGHUP: the configuration stays as it is. %s", error)
            reloaded = self._broker.reload()
        new_level = self._broker.config.broker.log_level
        # Log the change even if it makes the log quieter.
        set_level(min(level, new_level, key=LEVELS.index))
        log.info("SIGHUP: changed: %s", "; ".join(reloaded.changed) or "nothing")
        if reloaded.restart:
            log.warning("SIGHUP: the broker must be restarted to take over: %s", "; ".join(reloaded.restart))
        set_level(new_level)
