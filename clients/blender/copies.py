"""Decides which copy works if two are enabled: the extension, and the one that a studio keeps in CGRU.

Only the first of them works. The other waits, and takes over when the first is disabled.

Strategy: the copies share no code and may have different versions, but they run in one Python: each adds itself to a
list in `sys.modules`, under a name that no file has.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, Callable, List, Tuple

_SHARED = "afanasy_pools_copies"


def _copies() -> List[Tuple[str, Callable[[], None]]]:
    """Every enabled copy: the name of its package, and the function that starts it. The first one works."""
    shared: Any = sys.modules.setdefault(_SHARED, ModuleType(_SHARED))
    copies: List[Tuple[str, Callable[[], None]]] = shared.__dict__.setdefault("copies", [])
    return copies


def enter(package: str, start: Callable[[], None]) -> None:
    """Starts a copy, now or when those before it have been disabled.

    Args:
        package: the copy's.
        start: starts it.
    """
    copies = _copies()
    copies.append((package, start))
    if len(copies) == 1:
        start()


def leave(package: str, stop: Callable[[], None]) -> None:
    """Stops a copy, if it is the one that works, and starts the next one.

    Args:
        package: the copy's.
        stop: stops it.
    """
    copies = _copies()
    worked = working() == package
    copies[:] = [copy for copy in copies if copy[0] != package]
    if worked:
        stop()
        if copies:
            copies[0][1]()


def working() -> str:
    """The package of the copy that works, empty if none does."""
    copies = _copies()
    return copies[0][0] if copies else ""
