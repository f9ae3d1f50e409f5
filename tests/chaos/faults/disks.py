"""Full disks: small file systems in memory, visible only to the processes of the run."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pymongo
from pymongo.errors import PyMongoError

from ..stores import Member, SqliteFile
from . import Fault

_CLONE_NEWNS = 0x00020000

# Room for a mongod's first files (two journal files of 100 MB) and a run's changes, or for an SQLite file of some
# minutes.
MEMBER_BYTES = 700_000_000
FILE_BYTES = 64_000_000


_own_mounts = False


def own_mounts() -> None:
    """Gives this process and its children a separate mount namespace, so that what they mount ends with them. Only root
    may do this; for all others, nothing happens."""
    global _own_mounts
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() == 0 and libc.unshare(_CLONE_NEWNS) == 0:
        made = subprocess.run(["mount", "--make-rprivate", "/"], check=False, capture_output=True)
        _own_mounts = made.returncode == 0


@contextmanager
def small_disks() -> Iterator[Callable[[Path, int], None]]:
    """Makes a folder a separate disk of this many bytes until the block ends; does nothing if this process is not
    allowed to."""
    made: list[Path] = []

    def make(folder: Path, size: int) -> None:
        if _own_mounts:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
            made.append(folder)

    try:
        yield make
    finally:
        for folder in made:
            # Lazily: a process that has just been killed may not have released it.
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


class FullDisk(Fault):
    name = "disk-full"
    about = "the disk under the SQLite file, or under one member of the replica set, is full"

    @classmethod
    def unavailable(cls) -> str:
        return "" if _own_mounts else "it needs root, and `make chaos`, for a small disk of its own"

    def begin(self) -> str:
        store = self.world.store
        if isinstance(store, SqliteFile):
            self._fill(store.folder)
            return "the file's"
        member = store.members[0]
        was = "primary" if store.replica_set.primary is member else "secondary"
        self.undo.callback(_start_again, member)
        self._fill(member.folder)
        # Preallocated journal files would last for minutes, but a checkpoint needs room at once.
        with (
            contextlib.suppress(PyMongoError),
            pymongo.MongoClient[dict[str, Any]](member.uri) as client,
            pymongo.timeout(5),
        ):
            client.admin.command("fsync")
        return f"a member's, {was}{'' if member.running else ', which ended'}"

    def _fill(self, folder: Path) -> None:
        ballast = folder / "ballast"
        self.undo.callback(ballast.unlink, missing_ok=True)
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(b"\0" * 4096)


def _start_again(member: Member) -> None:
    """A mongod that cannot write its journal ends itself, as its manual says."""
    if not member.running:
        member.kill()
        member.start()


FAULTS: list[type[Fault]] = [FullDisk]
