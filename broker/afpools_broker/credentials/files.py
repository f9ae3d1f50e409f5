"""Reads the broker's credential files, which may change while it runs, with errors that people understand."""

from __future__ import annotations

import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

# A file changed this recently is read again at the next look even if its time stamp is the same: time stamps count in
# steps of some milliseconds, on a network share of up to two seconds, and two writes may fall into one step.
_SETTLED_SECONDS = 3.0

# What cryptography, zmq and the file system raise for an invalid file.
UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    InvalidSignature,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)

T = TypeVar("T")


class CredentialError(Exception):
    """A file that the broker needs is missing or invalid. The message says which file, what is wrong, and what to
    do."""


def explain(error: BaseException) -> str:
    """What is wrong with a file, as a clause."""
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, OSError):
        return f"it cannot be read: {error.strerror or error}"
    return str(error) or type(error).__name__


def wrong_file(path: Path, error: BaseException, command: str) -> CredentialError:
    """The error for a file that a broker cannot start with; `command` is the one that makes it."""
    what = "makes it" if isinstance(error, FileNotFoundError) else "makes a right one; `afpools certs check` tells more"
    return CredentialError(f"{path}: {explain(error)}. `{command}` {what}.")


class Watched(Generic[T]):
    """One file that may change: its last valid value, and what is wrong with it now.

    Args:
        path: the file.
        read: turns its contents into a value; raises one of `UNREADABLE`.
    """

    def __init__(self, path: Path, read: Callable[[bytes], T]) -> None:
        self.path = path
        self.value: T | None = None
        self.error: Exception | None = None
        self._read = read
        self._stamp: tuple[int, int, int] | None = None

    def forget(self) -> None:
        """Makes the next look read the file whether or not it has changed."""
        self._stamp = None

    def look(self) -> None:
        """Reads the file if it may have changed. An invalid file is tried again at each look."""
        try:
            status = self.path.stat()
            stamp = status.st_mtime_ns, status.st_size, status.st_ino
            if stamp == self._stamp:
                return
            self._stamp = None
            if not stat.S_ISREG(status.st_mode):  # reading a pipe would never end
                raise ValueError("it is not a regular file")
            self.value = self._read(self.path.read_bytes())
        except UNREADABLE as error:
            self._stamp = None
            self.error = error
        else:
            self.error = None
            if time.time_ns() - status.st_mtime_ns > _SETTLED_SECONDS * 1e9:
                self._stamp = stamp

    def look_or_raise(self, command: str) -> None:
        """Reads the file for the first time.

        Raises:
            CredentialError: it is missing or invalid; the message names `command`, which makes it.
        """
        self.look()
        if self.error is not None:
            raise wrong_file(self.path, self.error, command)
