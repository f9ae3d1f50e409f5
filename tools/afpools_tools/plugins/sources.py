"""Where the files that are copied into host applications are."""

from __future__ import annotations

from pathlib import Path

import afpools

from ..errors import ToolError

_PACKAGE = Path(__file__).resolve().parents[1]


class PluginError(ToolError):
    """A plug-in cannot be installed or removed."""


def plugin_sources(name: str) -> Path:
    """The folder of a plug-in's own files: in the repository, or as pyproject.toml puts them into the wheel.

    Args:
        name: the name of the folder in `clients/`: `blender`, `afstarter` and so on.

    Raises:
        PluginError: this installation does not have the plug-in.
    """
    for folder in (_PACKAGE.parents[1] / "clients" / name, _PACKAGE / "plugin_files" / name):
        if folder.is_dir():
            return folder
    raise PluginError(
        f"There is no plug-in {name!r} in this installation of Afanasy Pools, {_PACKAGE}. Install it again."
    )


def library_sources() -> Path:
    """The folder of the client library, which goes beside every plug-in."""
    return Path(afpools.__file__).resolve().parent


def source_files(folder: Path) -> list[Path]:
    """Every file to copy from below a folder, relative to it, in a fixed order."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in found if "__pycache__" not in path.parts and not path.name.startswith("."))
