"""What a line of the log looks like: text for people, or one JSON object for programs.

Every time carries its zone. Where the journal reads, each line begins with its level as systemd writes it
(sd-daemon(3)), and text has no time, because the journal adds its own.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
from collections.abc import Mapping
from typing import Any

from ..config import LogFormat

FIELDS = "fields"
"""The attribute of a record (`logging`'s `extra`) with further keys and values for its JSON object."""

# syslog's numbers, from the least level on that has them.
_SYSLOG = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (logging.NOTSET, 7))


class Lines(logging.Formatter):
    """Makes lines.

    Args:
        as_json: one JSON object a line.
        for_journal: begin each line with its level.
        with_time: begin text with the time.
    """

    def __init__(self, *, as_json: bool = False, for_journal: bool = False, with_time: bool = True) -> None:
        super().__init__()
        self.as_json = as_json
        self._for_journal = for_journal
        self._with_time = with_time and not for_journal

    def format(self, record: logging.LogRecord) -> str:
        """One record, which is several lines if it has a traceback and is text."""
        return self._levelled(record.levelno, self._json(record) if self.as_json else self._text(record))

    def of(self, level: int, message: str) -> str:
        """A line of our own, without a record from a logger."""
        return self.format(logging.LogRecord("afpools", level, "", 0, message, None, None))

    def _text(self, record: logging.LogRecord) -> str:
        time = f"{_moment(record).isoformat(' ', 'seconds')} " if self._with_time else ""
        level = "" if self._for_journal else f"{record.levelname:7} "
        return "\n".join(filter(None, [f"{time}{level}{record.getMessage()}", self._trace(record)]))

    def _json(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _moment(record).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, FIELDS, {}),
        }
        if trace := self._trace(record):
            line["traceback"] = trace
        return json.dumps(line, ensure_ascii=False, default=str)

    def _trace(self, record: logging.LogRecord) -> str:
        return self.formatException(record.exc_info) if record.exc_info else ""

    def _levelled(self, level: int, text: str) -> str:
        if not self._for_journal:
            return text
        number = next(number for least, number in _SYSLOG if level >= least)
        # The journal takes each line for a message of its own.
        return "\n".join(f"<{number}>{line}" for line in text.split("\n"))


def lines_for(
    log_format: LogFormat, descriptor: int, environment: Mapping[str, str] | None = None, *, with_time: bool = True
) -> Lines:
    """The lines for an output.

    Args:
        log_format: as in `[broker] log_format`. `auto` is text for a terminal and for the journal, else JSON.
        descriptor: the output.
        environment: the process's own if None.
        with_time: begin lines of text with the time.
    """
    journal = _is_journal(descriptor, os.environ if environment is None else environment)
    as_json = log_format == "json" or (log_format == "auto" and not journal and not os.isatty(descriptor))
    return Lines(as_json=as_json, for_journal=journal, with_time=with_time)


def _is_journal(descriptor: int, environment: Mapping[str, str]) -> bool:
    """Whether the journal reads this output: systemd says which device and inode it has given us, and a program that
    redirects its output inherits the variable (systemd.exec(5))."""
    found = os.fstat(descriptor)
    return environment.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def _moment(record: logging.LogRecord) -> dt.datetime:
    return dt.datetime.fromtimestamp(record.created, dt.UTC).astimezone()
