"""The wall clock of a process, to be stepped while it runs; clock.cpp is what does it.

Time namespaces have no CLOCK_REALTIME, and stepping the machine's own clock would hit everybody on it.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("clock.cpp")


def compiler() -> str:
    """What can make it; empty for nothing."""
    return shutil.which("g++") or ""


class Clock:
    """A clock that is right at first.

    Args:
        folder: for its files; has to exist.
    """

    def __init__(self, folder: Path) -> None:
        self._file, library = folder / "clock", folder / "clock.so"
        self.step(0)
        subprocess.run([compiler(), "-shared", "-fPIC", "-O2", "-o", library, SOURCE, "-ldl"], check=True)
        self.variables = {"LD_PRELOAD": str(library), "AFPOOLS_CLOCK": str(self._file)}
        """For the environment of processes that go by it."""

    def step(self, seconds: int) -> None:
        """Sets it so many seconds forward from the machine's, or back."""
        # In place: the processes share the memory of this very file.
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(struct.pack("=q", seconds))
