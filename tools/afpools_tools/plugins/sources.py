"""Where the files are that are copied into host applications."""

from __future__ import annotations

from pathlib import Path

import afpools

from ..errors import ToolError

_PACKAGE = Path(__file__).resolve().parents[1]


class PluginError(ToolError):
    """A plug-in cannot be put where it belongs, or taken away from there."""


def plugin_sources(name: str) -> Path:
    """The folder of a plug-in's own files: in the repository, or as pyproject.toml puts them into the wheel.

    Args:
        name: `blender`, `afstarter` and so on, as the folder in `clients/` is called.

    Raises:
        PluginError: this installation has no such plug-in.
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
    """Every file below a folder that is worth copying, relative to it, in a fixed order."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in found if "__pycache__" not in path.parts and not path.name.startswith("."))
