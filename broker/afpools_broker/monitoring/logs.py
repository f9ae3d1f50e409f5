"""What a serving process writes to standard output and standard error, above all its log.

Strategy: a writer never waits for the reader. A line goes into a queue of limited size, and a separate thread does the
writing. The reader may stop reading (a full pipe, Ctrl-S at a terminal) or be unable to take more (a full disk); then
lines are kept as long as there is room, further ones are dropped, and a line in their place says how many.

`open_log` routes everything through this: the log, `print`, warnings, uncaught exceptions, rich.
"""

from __future__ import annotations

import atexit
import io
import logging
import os
import select
import signal
import stat
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TextIO, cast

from ..config import LogFormat
from .lines import Lines, lines_for

# The most bytes of lines that wait for a reader: a burst of some 20,000 lines.
CAPACITY = 4 * 1024 * 1024

# Bytes that a line takes besides its text: the object's header, and its place in the queue.
_OVERHEAD = 64

# Bytes. A write to a pipe of at most this size is not interleaved with what others write (pipe(7)).
_AT_ONCE = select.PIPE_BUF

# Seconds until the next attempt: a disk that was full may have room again.
_RETRY_SECONDS = 1.0

# At the end, a reader that has taken nothing for this many seconds is assumed not to read.
_PATIENCE_SECONDS = 0.5


@dataclass(slots=True)
class _Gap:
    """Lines that were dropped, at their place in the queue."""

    lines: int
    trouble: str

    def text(self, lines_of: Lines) -> str:
        lines = "1 log line was" if self.lines == 1 else f"{self.lines} log lines were"
        why = f"the log could not be written: {self.trouble}" if self.trouble else "nobody read the log"
        return lines_of.of(logging.WARNING, f"{lines} dropped because {why}.") + "\n"


class Outlet:
    """An output that can be written to without ever waiting for it.

    Args:
        descriptor: the file descriptor to write to. It is duplicated, and the duplicate stays open as long as the
            process runs.
        capacity: how many bytes may wait.
        lines: what a line about dropped lines looks like.
    """

    def __init__(self, descriptor: int, capacity: int = CAPACITY, lines: Lines | None = None) -> None:
        self._lines = lines or Lines()
        self._descriptor = os.dup(descriptor)
        self._capacity = capacity
        # Reentrant, as a condition's lock is by default: a signal handler may write, too.
        self._changed = threading.Condition()
        self._queue: deque[bytes | _Gap] = deque()
        self._held = 0
        self._writing = False
        self._written = 0
        self._trouble = ""
        self._gave_up = False
        threading.Thread(target=self._run, name="afpools-output", daemon=True).start()

    def put(self, data: bytes) -> None:
        """Writes whole lines, sooner or later or not at all. Never waits."""
        cost = len(data) + _OVERHEAD
        with self._changed:
            gap = self._queue[-1] if self._queue else None
            # After lines were dropped, wait for a good amount of room: otherwise every other line would be a count.
            room = self._capacity // 2 if isinstance(gap, _Gap) else self._capacity
            if self._held + cost <= room:
                self._held += cost
                self._queue.append(data)
            elif isinstance(gap, _Gap):
                gap.lines += data.count(b"\n")
            else:
                self._queue.append(_Gap(data.count(b"\n"), self._trouble))
            self._changed.notify_all()

    def write_to(self, descriptor: int) -> None:
        """Writes to another file from now on, including what is still waiting."""
        os.dup2(descriptor, self._descriptor, inheritable=False)

    def flush(self, wait: float) -> None:
        """Waits until everything is written, at most `wait` seconds, or less if nobody reads."""
        deadline = time.monotonic() + (0.0 if self._gave_up else wait)
        with self._changed:
            while self._queue or self._writing:
                written = self._written
                left = deadline - time.monotonic()
                self._changed.wait_for(self._is_idle, min(_PATIENCE_SECONDS, max(0.0, left)))
                if self._written == written or time.monotonic() >= deadline:
                    self._gave_up = True
                    return

    def _is_idle(self) -> bool:
        return not self._queue and not self._writing

    def _run(self) -> None:
        # A background process that writes to its terminal may be stopped for it (stty tostop), and would then not even
        # end at SIGTERM. If the signal is blocked, the terminal accepts the line.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
        while True:
            with self._changed:
                self._writing = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._queue)
                data = self._take()
                self._writing = True
            self._write(data)

    def _take(self) -> bytes:
        taken = bytearray()
        while self._queue:
            first = self._queue[0]
            data = first if isinstance(first, bytes) else first.text(self._lines).encode()
            if taken and len(taken) + len(data) > _AT_ONCE:
                break
            self._queue.popleft()
            if isinstance(first, bytes):
                self._held -= len(first) + _OVERHEAD
            taken += data
        return bytes(taken)

    def _write(self, data: bytes) -> None:
        while data:
            try:
                count = os.write(self._descriptor, data)
            except BlockingIOError:
                # Our parent made the descriptor non-blocking, on purpose or by mistake; we share it.
                waiting = select.poll()
                waiting.register(self._descriptor, select.POLLOUT)
                waiting.poll()
            except OSError as error:
                self._trouble = error.strerror or str(error)
                time.sleep(_RETRY_SECONDS)
            else:
                self._trouble = ""
                data = data[count:]
                with self._changed:
                    self._written += count


class Handler(logging.Handler):
    """Writes records to an outlet."""

    def __init__(self, outlet: Outlet) -> None:
        super().__init__()
        self._outlet = outlet

    def emit(self, record: logging.LogRecord) -> None:
        try:
            # Formatted at once, because what it mentions may change later.
            text = self.format(record)
        except Exception:  # noqa: BLE001 - a line that cannot be made is no reason to stop
            self.handleError(record)
        else:
            self._outlet.put(f"{text}\n".encode(errors="backslashreplace"))


class _Stream(io.TextIOBase):
    """A replacement for `sys.stdout` and `sys.stderr`: passes on whole lines, and at `flush` everything."""

    errors = "backslashreplace"
    encoding = ""

    def __init__(self, outlet: Outlet, descriptor: int, encoding: str, lines: Lines | None) -> None:
        self.encoding = encoding
        self._lines = lines
        self._outlet = outlet
        self._descriptor = descriptor
        self._lock = threading.RLock()
        self._begun = ""

    def write(self, text: str) -> int:
        with self._lock:
            lines, end, self._begun = (self._begun + text).rpartition("\n")
            if end:
                self._put(lines + end)
            elif len(self._begun) > _AT_ONCE:
                self.flush()
        return len(text)

    def flush(self) -> None:
        with self._lock:
            begun, self._begun = self._begun, ""
            if begun:
                self._put(begun)

    def _put(self, text: str) -> None:
        if self._lines is not None:
            text = "".join(f"{self._lines.of(logging.WARNING, line)}\n" for line in text.splitlines() if line.strip())
        self._outlet.put(text.encode(self.encoding, "backslashreplace"))

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)


_outlets: list[Outlet] = []


def open_log(level: str, log_format: LogFormat = "text", *, with_time: bool = True) -> None:
    """From here on nothing that this process writes to standard output or standard error waits for a reader; the log
    goes to standard error. Call it once per process; it cannot be undone.

    Args:
        level: as in `[broker] log_level`.
        log_format: as in `[broker] log_format`.
        with_time: begin lines of text with the time.
    """
    for descriptor in (1, 2):
        _keep_open(descriptor)
    lines = lines_for(log_format, 2, with_time=with_time)
    errors = Outlet(2, lines=lines)
    # One output, so one order.
    output = errors if os.path.sameopenfile(1, 2) else Outlet(1)
    # What libraries and Python itself print must not break a reader of JSON.
    wrap = lines if lines.as_json else None
    _outlets[:] = dict.fromkeys((output, errors))
    sys.stdout = _replacement(sys.stdout, output, 1, wrap if output is errors else None)
    sys.stderr = _replacement(sys.stderr, errors, 2, wrap)
    _unblock(2)
    handler = Handler(errors)
    handler.setFormatter(lines)
    # Libraries may only log warnings: at `debug`, the database's driver would log whole documents and commands.
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    set_level(level)
    atexit.register(flush_log, 1.0)


def set_level(level: str) -> None:
    """Sets how much our own code logs; `level` as in `[broker] log_level`."""
    logging.getLogger("afpools").setLevel(level.upper())


def flush_too(outlet: Outlet) -> None:
    """Makes `flush_log` flush this outlet as well."""
    _outlets.append(outlet)


def flush_log(wait: float) -> None:
    """Waits until everything is written, at most `wait` seconds, or less if nobody reads."""
    for name in ("stdout", "stderr"):
        with suppress(OSError, ValueError):
            getattr(sys, name).flush()
    deadline = time.monotonic() + wait
    for outlet in _outlets:
        outlet.flush(max(0.0, deadline - time.monotonic()))


def _keep_open(descriptor: int) -> None:
    """Opens standard descriptors that our parent has closed. Otherwise the next file opened would get such a number,
    and what libraries print would go into it."""
    try:
        os.fstat(descriptor)
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        if null != descriptor:
            os.dup2(null, descriptor)
            os.close(null)


def _replacement(stream: TextIO | None, outlet: Outlet, descriptor: int, lines: Lines | None) -> TextIO:
    encoding = "utf-8"
    if stream is not None:
        encoding = stream.encoding
        with suppress(OSError):
            stream.flush()
    return cast(TextIO, _Stream(outlet, descriptor, encoding, lines))


def _unblock(descriptor: int) -> None:
    """Makes native code never wait when it prints: libzmq says which assertion failed before it aborts, and if nobody
    reads, the process would neither serve nor end.

    Our parent shares the open pipe or terminal, and may rely on writes that wait; so it is opened once more. A file
    never waits, and a socket (the journal's) cannot be opened again.
    """
    if not stat.S_ISFIFO(os.fstat(descriptor).st_mode) and not os.isatty(descriptor):
        return
    try:
        again = os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:  # no /proc, or somebody else's terminal
        return
    os.dup2(again, descriptor)
    os.close(again)
