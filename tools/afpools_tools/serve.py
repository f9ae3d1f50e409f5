"""`afpools serve`: run a broker."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from afpools_broker.broker import Broker
from afpools_broker.config import load

log = logging.getLogger("afpools")


def serve(
    config: Annotated[
        Path, typer.Option("-c", "--config", metavar="FILE", help="The broker's configuration.", dir_okay=False)
    ] = Path("broker.toml"),
) -> None:
    """Run a broker until SIGTERM or Ctrl-C."""
    settings = load(config)
    log_to_stderr(settings.broker.log_level)
    run(Broker(settings))


def log_to_stderr(level: str) -> None:
    """Shows the broker's log. Libraries only get to say what is worth a warning: at `debug`, the database's driver
    would write down whole documents and commands."""
    logging.basicConfig(
        level=logging.WARNING,
        format="%(asctime)s %(levelname)-7s %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
        force=True,
    )
    log.setLevel(level.upper())


def run(broker: Broker, ready: Callable[[], None] = lambda: None) -> None:
    """Serves until a signal says otherwise.

    Args:
        broker: not started yet.
        ready: called once it answers.
    """
    stop = threading.Event()

    def asked_to_stop(*_: object) -> None:
        # A second Ctrl-C means it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, asked_to_stop)
    with broker:
        if not stop.is_set():
            ready()
        stop.wait()
        log.info("Stopping")
