"""Writes files completely or not at all, and explains why a file cannot be written.

Strategy: a file is written under another name in the same folder, flushed to the disk, and renamed. Until then, and if
anything goes wrong, the old file stays.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from .errors import ToolError

# Readable by the owner only, readable by everybody, executable by everybody; the umask can remove permissions.
PRIVATE, PUBLIC, PROGRAM = 0o600, 0o644, 0o755


class NotWritten(ToolError):
    """A file or folder cannot be written. The message names it, says why, and what to do."""


@contextlib.contextmanager
def replacing(path: Path, mode: int = PUBLIC, *, whatever_umask: bool = False) -> Iterator[BinaryIO]:
    """A new file, empty and open for writing and reading, that replaces `path` when the block ends without an error. It
    gets the owner of the file that it replaces, if this process may set it: if root renews a broker's key, the broker
    must still be able to read it.

    Args:
        path: the file to replace. Its folder must exist.
        mode: its permissions, from the start.
        whatever_umask: it gets exactly these permissions, for a file that all users of a machine need.

    Raises:
        NotWritten: the file cannot be written. An `OSError` in the block also raises this; other errors pass through.
    """
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    try:
        descriptor = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "w+b") as file:
            _give_to_owner_of(path, descriptor)
            yield file
            file.flush()
            os.fsync(descriptor)
        if whatever_umask:
            new.chmod(mode)
        new.replace(path)
    except OSError as error:
        raise not_written(path, error) from None
    finally:
        with contextlib.suppress(OSError):
            new.unlink()


def _give_to_owner_of(path: Path, descriptor: int) -> None:
    # On Windows, a file gets its permissions from its folder.
    if hasattr(os, "fchown"):
        with contextlib.suppress(OSError):
            before = path.lstat()
            os.fchown(descriptor, before.st_uid, before.st_gid)


def write(path: Path, data: bytes | str, mode: int = PUBLIC) -> None:
    """Writes a file; a string is written as UTF-8. Arguments and errors as for `replacing`."""
    with replacing(path, mode) as file:
        file.write(data.encode() if isinstance(data, str) else data)


def not_written(path: Path, error: OSError) -> NotWritten:
    """The error for a file or folder that cannot be written.

    Args:
        path: the file or folder that should have been written.
        error: the operating system's error.
    """
    folder = path.parent
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        advice = f"Make room on the disk of {folder}, or choose another place."
    elif error.errno == errno.ENOENT:
        advice = f"Make the folder {folder}, or choose another place."
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        advice = f"Get the right to write into {folder}, or choose another place."
    else:
        advice = "Choose another place."
    return NotWritten(f"{path} cannot be written: {error.strerror or error}. {advice}")
