"""Two copies of this add-on can be enabled at once: the extension, and the one that a studio keeps in CGRU.

Only the first of them works. The other waits, and takes over when the first is disabled.

Strategy: the copies share no code, and may be of different versions, but they run in one Python: each enters itself in
a list there, under a name that no file has.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, Callable, List, Tuple

_SHARED = "afanasy_pools_copies"


def _copies() -> List[Tuple[str, Callable[[], None]]]:
    """Every enabled copy: the name of its package, and what makes it work. The first one works."""
    shared: Any = sys.modules.setdefault(_SHARED, ModuleType(_SHARED))
    copies: List[Tuple[str, Callable[[], None]]] = shared.__dict__.setdefault("copies", [])
    return copies


def enter(package: str, start: Callable[[], None]) -> None:
    """Has a copy work, now or when those before it have been disabled.

    Args:
        package: the copy's.
        start: has it work.
    """
    copies = _copies()
    copies.append((package, start))
    if len(copies) == 1:
        start()


def leave(package: str, stop: Callable[[], None]) -> None:
    """Has a copy stop, if it works, and the next one begin.

    Args:
        package: the copy's.
        stop: has it stop working.
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
