"""Plug-ins as one file, in the form in which their host application installs them."""

from __future__ import annotations

import zipfile
from pathlib import Path

from .sources import library_sources, plugin_sources, source_files

# The earliest that a zip can say. The same sources make the same bytes, whenever and wherever.
_TIME = (1980, 1, 1, 0, 0, 0)


def write_blender_zip(path: Path, name: str) -> None:
    """Writes the add-on with the library as its sub-package.

    Everything is in one folder: an extension may have its files in a folder or without one, a classic add-on of
    several files has to be in a folder, which gives it its name. So one zip does for both.

    Args:
        path: the zip; one that is there is replaced.
        name: the folder's, and with it the add-on's.

    Raises:
        OSError: it cannot be written.
    """
    sources, library = plugin_sources("blender"), library_sources()
    files = {f"{name}/{file.as_posix()}": sources / file for file in source_files(sources)}
    files.update({f"{name}/afpools/{file.as_posix()}": library / file for file in source_files(library)})
    with zipfile.ZipFile(path, "w") as archive:
        for inside in sorted(files):
            entry = zipfile.ZipInfo(inside, _TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, files[inside].read_bytes())
