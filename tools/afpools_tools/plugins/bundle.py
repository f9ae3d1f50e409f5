"""Plug-ins as one file that their host application can install."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from ..written import PUBLIC, not_written, replacing
from .catalogue import blender_manifest
from .sources import PluginError, library_sources, plugin_sources, source_files

INDEX = "index.json"
"""The file that Blender requests from a repository."""

# The earliest date that a zip can hold, so that the same sources always make the same bytes.
_TIME = (1980, 1, 1, 0, 0, 0)


def write_blender_zip(target: Path | BinaryIO, name: str) -> None:
    """Writes a zip of the add-on with the library as its sub-package.

    Everything is in one folder: an extension may have its files in a folder or not; a classic add-on of several files
    must be in a folder, which gives it its name. So one zip works for both.

    Args:
        target: the zip, which is replaced if it exists; or a file that is open for writing.
        name: the name of the folder, and therefore of the add-on.

    Raises:
        OSError: it cannot be written.
    """
    sources, library = plugin_sources("blender"), library_sources()
    files = {f"{name}/{file.as_posix()}": sources / file for file in source_files(sources)}
    files.update({f"{name}/afpools/{file.as_posix()}": library / file for file in source_files(library)})
    with zipfile.ZipFile(target, "w") as archive:
        for inside in sorted(files):
            entry = zipfile.ZipInfo(inside, _TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, files[inside].read_bytes())


class _Index(msgspec.Struct):
    """A repository of extensions, as Blender 4.2 and newer read it, version 1 of its API."""

    version: str
    blocklist: list[Any]
    data: list[dict[str, Any]]


def write_blender_repository(folder: Path) -> Path:
    """Adds the add-on to a folder of extensions, from which Blender 4.2 and newer update their extensions by HTTP or
    from a share. Other extensions in its index stay; an earlier version of this one is replaced in the index, and its
    zip stays for Blenders that are reading it.

    Args:
        folder: made if it does not exist.

    Returns:
        The index.

    Raises:
        PluginError: the folder has an index that is not one of Blender's.
        NotWritten: something cannot be written.
    """
    manifest = blender_manifest()
    index = _read_index(folder / INDEX)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise not_written(folder, error) from None
    archive = folder / f"{manifest['id']}-{manifest['version']}.zip"
    # The zip first and the index last: a Blender that asks meanwhile gets what its index promises.
    with replacing(archive, PUBLIC, whatever_umask=True) as file:
        write_blender_zip(file, manifest["id"])
    content = archive.read_bytes()
    entry = {
        **manifest,
        "archive_url": f"./{archive.name}",
        "archive_size": len(content),
        "archive_hash": f"sha256:{hashlib.sha256(content).hexdigest()}",
    }
    others = [other for other in index.data if other.get("id") != manifest["id"]]
    index.data = sorted([*others, entry], key=lambda extension: str(extension.get("id")))
    with replacing(folder / INDEX, PUBLIC, whatever_umask=True) as file:
        file.write(msgspec.json.format(msgspec.json.encode(index)))
    return folder / INDEX


def _read_index(path: Path) -> _Index:
    """The index of a folder; an empty one if it has none."""
    try:
        index = msgspec.json.decode(path.read_bytes(), type=_Index)
    except FileNotFoundError:
        return _Index("v1", [], [])
    except NotADirectoryError:
        raise PluginError(f"{path.parent} is not a folder. Name a folder.") from None
    except OSError as error:
        raise PluginError(f"{path} cannot be read: {error.strerror}.") from None
    except msgspec.DecodeError as error:
        raise PluginError(f"{path} is not an index of Blender extensions: {error}. Name another folder.") from None
    if index.version != "v1":
        raise PluginError(f"{path} has version {index.version!r}, and only v1 is known. Name another folder.")
    return index
