"""What belongs to one process, and is made again in a forked child.

Strategy: a forked child has a copy of everything, but only one thread: the one that forked. A lock that another thread
held stays locked forever, a thread that was going to answer never will, and a TLS session or libzmq socket that both
processes use works in neither. So such things are kept per process id. No thread needs to coordinate with others:
whichever comes first in a child gets the child's own.
"""

from __future__ import annotations

import os
import time
from _thread import RLock, get_ident

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Optional


importing = RLock()
"""Held while one of our modules imports another in the middle of a call; a fork waits for it. If a fork interrupted an
import, the child would wait for its end forever, because the thread that was importing does not exist there."""

# Seconds. A handshake takes a few milliseconds; one that waits longer for the network holds no lock meanwhile.
_LONGEST_WAIT = 0.25

_uncut: Dict[int, int] = {}


class Uncut:
    """A context manager for code that another thread's fork should not interrupt, because libraries hold their own
    locks in it (OpenSSL while it makes a context and shakes hands, libzmq while it starts its threads). A fork waits
    briefly for it to end; nothing else does."""

    def __enter__(self) -> None:
        with importing:  # a fork holds it, so that nothing new begins meanwhile
            thread = get_ident()
            _uncut[thread] = _uncut.get(thread, 0) + 1

    def __exit__(self, *_: object) -> None:
        thread = get_ident()
        left = _uncut.get(thread, 1) - 1
        if left:
            _uncut[thread] = left
        else:
            _uncut.pop(thread, None)


def _before_fork() -> None:
    importing.acquire()
    until, ours = time.monotonic() + _LONGEST_WAIT, get_ident()
    while time.monotonic() < until and any(thread != ours for thread in list(_uncut)):
        time.sleep(0.001)


def _in_child() -> None:
    for thread in list(_uncut):
        if thread != get_ident():
            del _uncut[thread]
    importing.release()


if hasattr(os, "register_at_fork"):  # everywhere but on Windows, which does not fork
    os.register_at_fork(before=_before_fork, after_in_parent=importing.release, after_in_child=_in_child)


class PerProcess:
    """A value of which each process has its own.

    Args:
        make: makes it; if two threads come first at the same time, one of the two values is discarded unused.
        leave: called in a child with what its parent had; must not do anything that the parent would notice.
    """

    def __init__(self, make: Callable[[], Any], leave: Optional[Callable[[Any], None]] = None) -> None:
        self._make = make
        self._leave = leave
        self._made: Dict[int, Any] = {}

    def get(self) -> Any:
        """This process's value."""
        process = os.getpid()
        made = self._made.get(process)
        if made is None:
            # Each of these is atomic for other threads. A lock would be one more thing that a fork could break.
            made = self._made.setdefault(process, self._make())
            for other in list(self._made):
                left = None if other == process else self._made.pop(other, None)
                if left is not None and self._leave is not None:
                    self._leave(left)
        return made
