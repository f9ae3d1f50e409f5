"""Puts a plug-in's files where its host application looks, and removes exactly those files again.

Strategy: work out first what to write, as a plan that can be shown. A receipt beside the files lists what was written,
with checksums; whatever is not on it, or has changed since, belongs to somebody else and is left alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import msgspec

from ..written import PROGRAM, PUBLIC, NotWritten, not_written, replacing
from .catalogue import Files, Plugin
from .sources import PluginError, plugin_sources

Condition = Literal["current", "outdated", "changed"]


class Receipt(msgspec.Struct, frozen=True):
    """What was written at a place: the plug-in's version, and each file's SHA-256."""

    version: str
    files: dict[str, str]


@dataclass(frozen=True)
class Plan:
    """What an installation would do at a place.

    Args:
        place: the folder that all paths are relative to.
        write: files that are new or different.
        remove: files of the previous version that this one does not have.
        keep: files that are already right.
        foreign: files in the way that are not ours, or have changed since we wrote them.
        noted: whether the receipt already says all of this.
    """

    place: Path
    write: Files
    remove: tuple[str, ...]
    keep: tuple[str, ...]
    foreign: tuple[str, ...]
    noted: bool

    @property
    def nothing_to_do(self) -> bool:
        return not self.write and not self.remove and self.noted


@dataclass(frozen=True)
class Installed:
    """The state of a plug-in at a place."""

    plugin: Plugin
    place: Path
    version: str
    condition: Condition


def plan(plugin: Plugin, place: Path) -> Plan:
    """What `install` would do.

    Raises:
        PluginError: a file there cannot be read, this installation lacks the plug-in, or the place is a link to the
            plug-in's own sources.
    """
    if (place / plugin.folder).resolve() == plugin_sources(plugin.name).resolve():
        # Somebody develops the plug-in. Uninstalling would remove the sources.
        raise PluginError(f"{place / plugin.folder} is a link to the plug-in's own sources. Remove the link first.")
    receipt = read_receipt(plugin, place)
    ours = receipt.files if receipt else {}
    wanted = plugin.files()
    there = {path: _digest_of(place / path) for path in {*wanted, *ours}}
    foreign = sorted(path for path in wanted if there[path] not in (None, ours.get(path), _digest(wanted[path])))
    return Plan(
        place,
        write={path: data for path, data in wanted.items() if there[path] != _digest(data)},
        remove=tuple(sorted(path for path in ours if path not in wanted and there[path] == ours[path])),
        keep=tuple(sorted(path for path, data in wanted.items() if there[path] == _digest(data))),
        foreign=tuple(foreign),
        noted=ours == {path: _digest(data) for path, data in wanted.items()},
    )


def install(plugin: Plugin, planned: Plan, version: str) -> None:
    """Carries out a plan. Files that are not ours stay: the caller refuses a plan with files in the way.

    Raises:
        PluginError: something cannot be written.
    """
    place = planned.place
    files = {path: _digest(data) for path, data in planned.write.items()}
    files |= {path: digest for path in planned.keep if (digest := _digest_of(place / path))}
    receipt = msgspec.json.format(msgspec.json.encode(Receipt(version, files)))
    # The receipt last: with the old one, a run that was interrupted can be repeated. With the new one, files that it
    # had not reached would look like somebody's changes.
    everything = {**planned.write, plugin.receipt: receipt}
    try:
        for path in everything:
            (place / path).parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as replaced:
            # A full disk or a read-only folder raises an error here, while nothing has changed yet. The file that is
            # opened last is put in place first.
            for path, data in reversed(everything.items()):
                mode = PROGRAM if data.startswith(b"#!") else PUBLIC
                file = replaced.enter_context(replacing(place / path, mode, whatever_umask=True))
                file.write(data)
                file.flush()
        for path in planned.remove:
            (place / path).unlink(missing_ok=True)
            _remove_compiled(place / path)
            _remove_empty_folders(place, path)
    except NotWritten as error:
        raise PluginError(str(error)) from None
    except OSError as error:
        raise PluginError(str(not_written(Path(error.filename), error))) from None
    finally:
        # If everything went well, nothing is left to remove.
        for path in everything:
            with suppress(OSError):
                _remove_empty_folders(place, path)


def uninstall(plugin: Plugin, place: Path) -> tuple[list[str], list[str]]:
    """Removes what `install` wrote.

    Returns:
        The files that were removed, and those that stayed because somebody has changed them.

    Raises:
        PluginError: nothing is installed there, or a file cannot be removed.
    """
    receipt = read_receipt(plugin, place)
    if receipt is None:
        raise PluginError(f"{place} has no {plugin.name} plug-in of Afanasy Pools.")
    removed, left = [], []
    try:
        for path, digest in sorted(receipt.files.items()):
            there = _digest_of(place / path)
            if there == digest:
                (place / path).unlink()
                removed.append(path)
            elif there is not None:
                left.append(path)
        # Include files that an earlier, interrupted run has removed.
        for path in receipt.files.keys() - set(left):
            _remove_compiled(place / path)
            _remove_empty_folders(place, path)
        (place / plugin.receipt).unlink()
        _remove_empty_folders(place, plugin.receipt)
    except OSError as error:
        raise PluginError(f"{error.filename} cannot be removed: {error.strerror}.") from None
    return removed, left


def find(plugin: Plugin, places: Iterable[Path]) -> Iterator[Installed]:
    """Where a plug-in is installed, and in which state.

    Raises:
        PluginError: a receipt there cannot be read.
    """
    for place in places:
        receipt = read_receipt(plugin, place)
        if receipt is None:
            continue
        wanted = {path: _digest(data) for path, data in plugin.files().items()}
        condition: Condition = "current" if receipt.files == wanted else "outdated"
        if any(_digest_of(place / path) != digest for path, digest in receipt.files.items()):
            condition = "changed"
        yield Installed(plugin, place, receipt.version, condition)


def read_receipt(plugin: Plugin, place: Path) -> Receipt | None:
    """What was written at a place; None for nothing.

    Raises:
        PluginError: there is a receipt that cannot be read, or that names files elsewhere.
    """
    path = place / plugin.receipt
    try:
        receipt = msgspec.json.decode(path.read_bytes(), type=Receipt)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise PluginError(f"{path} cannot be read: {error}. Remove the plug-in's files by hand.") from None
    for file in receipt.files:
        if PurePosixPath(file).is_absolute() or ".." in PurePosixPath(file).parts:
            raise PluginError(f"{path} names {file!r}, which is not beneath {place}. Remove the files by hand.")
    return receipt


# --- files ------------------------------------------------------------------------------------------------------------


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _digest_of(path: Path) -> str | None:
    """A file's checksum, None if there is no file.

    Raises:
        PluginError: it cannot be read.
    """
    try:
        return _digest(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise PluginError(f"{path} cannot be read: {error.strerror}.") from None


def _remove_compiled(path: Path) -> None:
    """Removes the bytecode that Python made from a removed file."""
    folder = path.parent / "__pycache__"
    for compiled in folder.glob(f"{path.stem}.*.pyc"):
        compiled.unlink()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _remove_empty_folders(place: Path, path: str) -> None:
    """Removes the folders above a removed file, as long as they are empty."""
    for parent in PurePosixPath(path).parents:
        folder = place / parent
        if folder == place or not folder.is_dir() or any(folder.iterdir()):
            return
        folder.rmdir()
