"""Turns to write an SQLite file or to empty its log, among all our threads and processes.

Strategy: SQLite lets one connection write while another empties the log. Up to version 3.51.2 that may damage the
database: a checkpoint that begins just as a commit restarts the log takes frames as written that are not ("WAL-reset
bug", https://sqlite.org/wal.html#walresetbug). Debian 12 has 3.40.1, and here every change is followed by a checkpoint.
So the two take turns: whoever does either holds a lock on the folder. The lock ends with its process, and needs no file
that could be left behind.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Time between two attempts. A change takes ten milliseconds, most of them for the disk.
_RETRY_SECONDS = 0.002


@contextmanager
def turn(folder: Path, timeout: float) -> Iterator[bool]:
    """Holds the turn to write files in this folder, or to empty their logs, until the context ends.

    Args:
        folder: where the file is.
        timeout: seconds to wait for others to finish; 0 not to wait.

    Returns:
        Whether it is our turn.

    Raises:
        OSError: the folder cannot be opened or locked.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield _locked(descriptor, time.monotonic() + timeout)
    finally:
        os.close(descriptor)


def _locked(descriptor: int, deadline: float) -> bool:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_RETRY_SECONDS)
        else:
            return True
