"""A process's wall clock that can be stepped while it runs; clock.cpp does it.

Time namespaces have no CLOCK_REALTIME, and stepping the machine's own clock would hit everybody on it.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("clock.cpp")


def compiler() -> str:
    """The compiler for it; empty if there is none."""
    return shutil.which("g++") or ""


class Clock:
    """A clock that is correct at first.

    Args:
        folder: for its files; has to exist.
    """

    def __init__(self, folder: Path) -> None:
        self._file, library = folder / "clock", folder / "clock.so"
        self.step(0)
        subprocess.run([compiler(), "-shared", "-fPIC", "-O2", "-o", library, SOURCE, "-ldl"], check=True)
        self.variables = {"LD_PRELOAD": str(library), "AFPOOLS_CLOCK": str(self._file)}
        """The environment variables of processes that use it."""

    def step(self, seconds: int) -> None:
        """Sets it this many seconds ahead of the machine's clock, or behind."""
        # In place: the processes share the memory of this very file.
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(struct.pack("=q", seconds))
