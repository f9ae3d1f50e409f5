"""Putting a plug-in's files where its host application looks, and taking exactly those away again.

Strategy: what is to be written is worked out first, as a plan that can be shown. A receipt beside the files says what
was written, with checksums; whatever is not on it, or was changed since, belongs to somebody else and is left alone.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import msgspec

from ..commands.output import CommandError
from .sources import library_sources, plugin_sources, source_files

Files = dict[str, bytes]
"""What goes where: paths with slashes, relative to the place, and contents."""

Condition = Literal["current", "outdated", "changed"]


@dataclass(frozen=True)
class Plugin:
    """What is installed, and how its files lie at a place.

    Args:
        name: as its folder in `clients/` is called.
        folder: where its own files go, relative to the place.
        library: where the client library goes, relative to the place; None for a plug-in that needs none.
        then: what people do next, a sentence.
    """

    name: str
    folder: str
    library: str | None
    then: str

    @property
    def receipt(self) -> str:
        """The file that says what was written, relative to the place."""
        return str(PurePosixPath(self.folder, f".afpools-{self.name}.json"))

    def files(self) -> Files:
        """Everything that is to be written.

        Raises:
            CommandError: this installation of Afanasy Pools lacks the plug-in.
        """
        files = _read(plugin_sources(self.name), self.folder)
        if self.library is not None:
            files |= _read(library_sources(), self.library)
        return files


class Receipt(msgspec.Struct, frozen=True):
    """What was written at a place: the version it was, and each file's SHA-256."""

    version: str
    files: dict[str, str]


@dataclass(frozen=True)
class Plan:
    """What an installation would do at a place.

    Args:
        place: the folder that all paths are relative to.
        write: new files, and those that differ.
        remove: files of the version before that this one does not have.
        keep: files that are there already as they should be.
        foreign: files in the way that are not ours, or were changed since we wrote them.
        noted: whether the receipt says all that already.
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
    """A plug-in as it is found at a place."""

    plugin: Plugin
    place: Path
    version: str
    condition: Condition


def plan(plugin: Plugin, place: Path) -> Plan:
    """What `install` would do.

    Raises:
        CommandError: a file there cannot be read, or this installation lacks the plug-in, or is itself what is there.
    """
    if (place / plugin.folder).resolve() == plugin_sources(plugin.name).resolve():
        # Whoever works on the plug-in. Taking it away again would remove the sources.
        raise CommandError(f"{place / plugin.folder} is a link to the plug-in's own sources. Remove the link first.")
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
    """Does what was planned. What is not ours stays: the caller refuses a plan with files in the way.

    Raises:
        CommandError: something cannot be written.
    """
    place = planned.place
    files = {path: _digest(data) for path, data in planned.write.items()}
    files |= {path: digest for path in planned.keep if (digest := _digest_of(place / path))}
    receipt = msgspec.json.format(msgspec.json.encode(Receipt(version, files)))
    # The receipt last: with the one of before, a run that was broken off can be done again. With the new one, files
    # that it did not come to would be taken for somebody's changes.
    everything = {**planned.write, plugin.receipt: receipt}
    try:
        # A disk that is full and a folder that is read-only show here, while everything is still as it was.
        for path, data in everything.items():
            _write_beside(place / path, data)
        for path in everything:
            _beside(place / path).replace(place / path)
        for path in planned.remove:
            (place / path).unlink(missing_ok=True)
            _remove_compiled(place / path)
            _remove_empty_folders(place, path)
    except OSError as error:
        raise CommandError(f"{error.filename} cannot be written: {error.strerror}.") from None
    finally:
        # There is nothing of it left where everything went well.
        for path in everything:
            with suppress(OSError):
                _beside(place / path).unlink()
                _remove_empty_folders(place, path)


def uninstall(plugin: Plugin, place: Path) -> tuple[list[str], list[str]]:
    """Takes away what `install` wrote.

    Returns:
        The files that were removed, and those that were left because somebody has changed them.

    Raises:
        CommandError: nothing is installed there, or a file cannot be removed.
    """
    receipt = read_receipt(plugin, place)
    if receipt is None:
        raise CommandError(f"{place} has no {plugin.name} plug-in of Afanasy Pools.")
    removed, left = [], []
    try:
        for path, digest in sorted(receipt.files.items()):
            there = _digest_of(place / path)
            if there == digest:
                (place / path).unlink()
                removed.append(path)
            elif there is not None:
                left.append(path)
        # Also of files that a run before this one has removed, and then was broken off.
        for path in receipt.files.keys() - set(left):
            _remove_compiled(place / path)
            _remove_empty_folders(place, path)
        (place / plugin.receipt).unlink()
        _remove_empty_folders(place, plugin.receipt)
    except OSError as error:
        raise CommandError(f"{error.filename} cannot be removed: {error.strerror}.") from None
    return removed, left


def find(plugin: Plugin, places: Iterable[Path]) -> Iterator[Installed]:
    """Where a plug-in is, and in what condition.

    Raises:
        CommandError: a receipt there cannot be read.
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
        CommandError: there is a receipt that cannot be read, or that speaks of files elsewhere.
    """
    path = place / plugin.receipt
    try:
        receipt = msgspec.json.decode(path.read_bytes(), type=Receipt)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise CommandError(f"{path} cannot be read: {error}. Remove the plug-in's files by hand.") from None
    for file in receipt.files:
        if PurePosixPath(file).is_absolute() or ".." in PurePosixPath(file).parts:
            raise CommandError(f"{path} names {file!r}, which is not beneath {place}. Remove the files by hand.")
    return receipt


# --- where host applications look -------------------------------------------------------------------------------------


def blender_places(home: Path, environment: Mapping[str, str], platform: str = sys.platform) -> list[Path]:
    """The folders of a user's Blenders in which add-ons lie, the newest first.

    Blender's manual, "Blender's Directory Layout": a folder for each version; from 4.2 on extensions have a folder of
    their own.
    """
    if platform == "win32":
        base = Path(environment.get("APPDATA", home / "AppData" / "Roaming")) / "Blender Foundation" / "Blender"
    elif platform == "darwin":
        base = home / "Library" / "Application Support" / "Blender"
    else:
        base = Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "blender"
    found = [
        (tuple(map(int, folder.name.split("."))), folder)
        for folder in (base.iterdir() if base.is_dir() else ())
        if re.fullmatch(r"\d+\.\d+", folder.name)
    ]
    return [blender_place(folder, version) for version, folder in sorted(found, reverse=True) if version >= (2, 83)]


def blender_place(folder: Path, version: tuple[int, ...]) -> Path:
    """Where add-ons of one version of Blender lie."""
    return folder / "extensions" / "user_default" if version >= (4, 2) else folder / "scripts" / "addons"


def cgru_place(asked: Path | None, environment: Mapping[str, str]) -> Path:
    """The CGRU that was asked for, else that of the environment.

    Raises:
        CommandError: there is none, or it is not CGRU.
    """
    named = asked or environment.get("CGRU_LOCATION")
    if not named:
        raise CommandError("Where is CGRU? Name its folder with --cgru, or set CGRU_LOCATION.")
    place = Path(named)
    if not (place / "afanasy" / "python" / "af.py").is_file():
        raise CommandError(f"{place} is not CGRU: it has no afanasy/python/af.py.")
    return place


# --- files ------------------------------------------------------------------------------------------------------------


def _read(source: Path, folder: str) -> Files:
    return {str(PurePosixPath(folder, file.as_posix())): (source / file).read_bytes() for file in source_files(source)}


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _digest_of(path: Path) -> str | None:
    """A file's checksum, None where there is no file.

    Raises:
        CommandError: it cannot be read.
    """
    try:
        return _digest(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}.") from None


def _beside(path: Path) -> Path:
    """The name under which a file is written first, in the same folder."""
    return path.with_name(f".{path.name}.new")


def _write_beside(path: Path, data: bytes) -> None:
    """Writes what is to become a file. A script is made executable."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = _beside(path)
    new.write_bytes(data)
    new.chmod(0o755 if data.startswith(b"#!") else 0o644)


def _remove_compiled(path: Path) -> None:
    """What Python made of a file that is gone."""
    folder = path.parent / "__pycache__"
    for compiled in folder.glob(f"{path.stem}.*.pyc"):
        compiled.unlink()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _remove_empty_folders(place: Path, path: str) -> None:
    """The folders on the way to a file that is gone, as far as nothing else is in them."""
    for parent in PurePosixPath(path).parents:
        folder = place / parent
        if folder == place or not folder.is_dir() or any(folder.iterdir()):
            return
        folder.rmdir()
