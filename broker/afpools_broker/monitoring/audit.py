"""Who did what, and who was refused: part of the log, or a file of its own (`[broker] audit_log`).

Such a record has `fields` with an `outcome`: `done` for a change, `refused` for a request or a connection, `closed` for
a connection that ended because of a refusal later on. That is how the file finds them; in the log they are lines like
all others. What is refused again and again is written once a minute, as in the log (peer_log.py).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

from .lines import FIELDS, Lines
from .logs import Handler, Outlet, flush_too

log = logging.getLogger("afpools.audit")

# Characters of a request's id that people see: enough to find it in a day's log, and short enough for a panel.
_SHOWN = 8

# What has an outcome is logged by these two; the second is `peer_log`'s.
_LOGGERS = ("afpools.audit", "afpools.connections")


def shown(request_id: str) -> str:
    """A request's id as the log and the error that its sender sees both show it: its beginning, without anything that
    could break a line."""
    return "".join(letter for letter in request_id[:_SHOWN] if letter.isalnum() or letter in "-_.") or "without an id"


def did(who: str, address: str, op: str, request_id: str, what: str) -> None:
    """Notes a change.

    Args:
        who: the name in the credential.
        address: the peer's, `host:port`.
        op: the operation.
        request_id: the request's `id`.
        what: what it did, in a few words.
    """
    fields = {"outcome": "done", "who": who, "address": address, "op": op, "request": request_id, "what": what}
    log.info("%s by %r at %s: %s (request %s)", op, who, address, what, shown(request_id), extra={FIELDS: fields})


def open_audit(path: Path) -> Callable[[], None]:
    """From here on these records go to a file, one JSON object a line, and changes no longer to the log. Refusals go to
    both. Call it after `open_log`, once per process.

    Returns:
        Opens the file anew, for programs that rotate it; raises OSError, and then everything stays.

    Raises:
        OSError: the file cannot be opened.
    """
    descriptor = _open(path)
    try:
        lines = Lines(as_json=True)
        outlet = Outlet(descriptor, lines=lines)
    finally:
        os.close(descriptor)
    flush_too(outlet)
    handler = Handler(outlet)
    handler.setFormatter(lines)
    handler.addFilter(lambda record: "outcome" in getattr(record, FIELDS, {}))
    for name in _LOGGERS:
        logging.getLogger(name).addHandler(handler)
    log.propagate = False
    # Whatever `[broker] log_level` is.
    log.setLevel(logging.INFO)

    def again() -> None:
        opened = _open(path)
        try:
            outlet.write_to(opened)
        finally:
            os.close(opened)

    return again


def _open(path: Path) -> int:
    # Not waiting: it may be a pipe that nobody reads.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY
    return os.open(path, flags, 0o600)
