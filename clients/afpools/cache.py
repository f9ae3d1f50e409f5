"""Files that programs can do without: what is kept in the user's cache folder from one start to the next.

Whatever is wrong with such a file or its folder, the program goes on without it.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Optional

_RECENT = "recent-pools.txt"
_MOST_RECENT = 5


def cache_folder() -> str:
    """The user's cache folder on this system."""
    home = os.path.expanduser("~")
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or os.path.join(home, "AppData", "Local")
    elif sys.platform == "darwin":
        base = os.path.join(home, "Library", "Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or ""
        if not os.path.isabs(base):
            base = os.path.join(home, ".cache")
    return os.path.join(base, "afpools")


def keep(file: str, text: str) -> None:
    """Writes a file that only the user can read, and makes its folder. Does nothing if the disk is full or
    read-only."""
    # A temporary file first: another program may be reading or writing this one. (tempfile takes 4 ms to import.)
    written = f"{file}.{os.urandom(8).hex()}"
    try:
        os.makedirs(os.path.dirname(file), mode=0o700, exist_ok=True)
        with open(written, "x", encoding="utf-8", opener=_open_for_us) as out:
            out.write(text)
        os.replace(written, file)
    except (OSError, UnicodeError):
        _remove(written)


def _open_for_us(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _remove(file: str) -> None:
    try:
        os.remove(file)
    except OSError:
        pass


def recent_pools(folder: Optional[str] = None) -> List[str]:
    """The pools that this user has lately sent jobs to, from whichever program, the last one first.

    Args:
        folder: the cache folder, if it is not the usual one.
    """
    try:
        with open(os.path.join(folder or cache_folder(), _RECENT), encoding="utf-8") as lines:
            return [name for name in lines.read(65536).splitlines() if name][:_MOST_RECENT]
    except (OSError, UnicodeError):
        return []


def note_recent_pool(name: str, folder: Optional[str] = None) -> None:
    """Remembers that a job was sent to a pool that somebody had chosen. Arguments as for `recent_pools`."""
    before = recent_pools(folder)
    now = [name, *(other for other in before if other != name)][:_MOST_RECENT]
    if now != before and len(name.splitlines()) == 1:
        keep(os.path.join(folder or cache_folder(), _RECENT), "\n".join(now) + "\n")
