"""`afpools serve`: run a broker."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from types import FrameType
from typing import Annotated

import typer

from afpools_broker.broker import Broker
from afpools_broker.config import load
from afpools_broker.logs import flush_log, open_log

log = logging.getLogger("afpools")

# Two seconds are promised; the rest is for Python to shut down.
_STOP_SECONDS = 1.9


def serve(
    config: Annotated[
        Path, typer.Option("-c", "--config", metavar="FILE", help="The broker's configuration.", dir_okay=False)
    ] = Path("broker.toml"),
) -> None:
    """Run a broker until SIGTERM or Ctrl-C."""
    settings = load(config)
    open_log(settings.broker.log_level)
    run(Broker(settings))


def run(broker: Broker, ready: Callable[[], None] = lambda: None) -> None:
    """Serves until a signal says otherwise, and ends within two seconds of it.

    Args:
        broker: not started yet.
        ready: called once it answers.
    """
    # Not an event: setting one is not safe in a handler that may interrupt the very thread that waits for it.
    asked: SimpleQueue[int] = SimpleQueue()

    def note(number: int, _frame: FrameType | None) -> None:
        # A second Ctrl-C means it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        asked.put(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, note)
    with broker:
        if asked.empty():
            ready()
        asked.get()
        began = time.monotonic()
        log.info("Stopping")
    flush_log(max(0.1, _STOP_SECONDS - (time.monotonic() - began)))
