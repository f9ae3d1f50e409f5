"""How far the change to another authority has come: what cannot be told from the certificates in the folder.

The file is `ca/succession.json`. If it is lost, `afpools certs roll` finds out everything again, except what was taken
on somebody's word.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from .files import AuthorityError, read, write


@dataclass(frozen=True)
class Progress:
    """What is known so far. Everything in it is about one change only.

    Args:
        to: the id of the authority that takes over, in hexadecimal; empty if no change is known.
        trusting: brokers that trust it.
        carried: clients whose workstations have a profile with a certificate from it, and since when that is known.
        showing: brokers that show a certificate from it.
    """

    to: str = ""
    trusting: frozenset[str] = frozenset()
    carried: Mapping[str, dt.datetime] = field(default_factory=dict)
    showing: frozenset[str] = frozenset()

    def trust(self, brokers: Iterable[str]) -> Progress:
        """The same, with more brokers that trust it."""
        return replace(self, trusting=self.trusting.union(brokers))

    def show(self, brokers: Iterable[str]) -> Progress:
        """The same, with more brokers that show a certificate from it."""
        return replace(self, showing=self.showing.union(brokers))

    def carry(self, clients: Mapping[str, dt.datetime]) -> Progress:
        """The same, with more clients whose profile has been carried."""
        return replace(self, carried={**self.carried, **clients})

    def forget(self, clients: Iterable[str]) -> Progress:
        """The same, without clients that have turned out to have a profile that has not been carried."""
        gone = set(clients)
        return replace(self, carried={name: since for name, since in self.carried.items() if name not in gone})


def _path(folder: Path) -> Path:
    return folder / "ca" / "succession.json"


def read_progress(folder: Path) -> Progress:
    """What the folder's file says; nothing if there is no file.

    Raises:
        AuthorityError: it cannot be read.
    """
    path = _path(folder)
    if not path.exists():
        return Progress()
    try:
        found = json.loads(read(path))
        return Progress(
            str(found["to"]),
            frozenset(map(str, found["trusting"])),
            {str(name): dt.datetime.fromisoformat(since) for name, since in found["carried"].items()},
            frozenset(map(str, found["showing"])),
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        raise AuthorityError(
            f"{path}: it is damaged. Remove it: `afpools certs roll` finds out again how far the change has come."
        ) from None


def write_progress(folder: Path, progress: Progress) -> None:
    """Replaces the folder's file."""
    described = {
        "to": progress.to,
        "trusting": sorted(progress.trusting),
        "carried": {name: since.isoformat() for name, since in sorted(progress.carried.items())},
        "showing": sorted(progress.showing),
    }
    write(_path(folder), json.dumps(described, indent=2) + "\n")


def in_progress(folder: Path) -> bool:
    """Whether the folder has such a file."""
    return _path(folder).exists()


def end_progress(folder: Path) -> None:
    """Removes the file, because the change is complete."""
    try:
        _path(folder).unlink(missing_ok=True)
    except OSError as error:
        raise AuthorityError(f"{_path(folder)}: it cannot be removed: {error.strerror or error}.") from None
