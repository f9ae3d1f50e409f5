"""What belongs to one process, and is made again in a child that is forked from it.

Strategy: a forked child has a copy of everything, but of all threads only the one that forked. A lock that another
thread held stays locked forever, a thread that was to answer never will, and a TLS session or a libzmq socket that is
used on both sides is of use to neither. So such things are asked for with the number of the process. That takes no
look at the others: whatever thread comes first in a child, it is the child's own.
"""

from __future__ import annotations

import os
import time
from _thread import RLock, get_ident

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Optional


importing = RLock()
"""Held while one of our modules imports another in the middle of a call; a fork waits for it. Of an import that is cut
in two, the child would wait for the end forever, because the thread that was doing it does not exist there."""

# Seconds. Shaking hands takes some milliseconds; one that waits for the network for longer holds no lock meanwhile.
_LONGEST_WAIT = 0.25

_uncut: Dict[int, int] = {}


class Uncut:
    """For `with`: what a fork of another thread should not cut in two, since libraries hold locks of their own in it
    (OpenSSL while it makes a context and shakes hands, libzmq while it starts its threads). A fork waits for it, for a
    moment; nobody else does."""

    def __enter__(self) -> None:
        with importing:  # held by a fork, which nothing new begins in
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
    """Something that each process has one of.

    Args:
        make: makes it; where two threads come first at the same moment, one of two is thrown away unused.
        leave: called in a child with what its parent had; must not do anything that the parent would notice.
    """

    def __init__(self, make: Callable[[], Any], leave: Optional[Callable[[Any], None]] = None) -> None:
        self._make = make
        self._leave = leave
        self._made: Dict[int, Any] = {}

    def get(self) -> Any:
        """This process's own."""
        process = os.getpid()
        made = self._made.get(process)
        if made is None:
            # Each of these is one step to other threads. A lock would be one more thing that a fork could break.
            made = self._made.setdefault(process, self._make())
            for other in list(self._made):
                left = None if other == process else self._made.pop(other, None)
                if left is not None and self._leave is not None:
                    self._leave(left)
        return made
