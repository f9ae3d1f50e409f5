"""The plug-ins there are: what belongs to each, and where its host application looks for it."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from .sources import PluginError, library_sources, plugin_sources, source_files

Files = dict[str, bytes]
"""What goes where: paths with slashes, relative to the place, and contents."""


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
            PluginError: this installation of Afanasy Pools lacks the plug-in.
        """
        files = _read(plugin_sources(self.name), self.folder)
        if self.library is not None:
            files |= _read(library_sources(), self.library)
        return files


def blender_manifest() -> dict[str, Any]:
    """What the add-on says of itself, as Blender reads it: `id`, `name`, `version` and so on."""
    return tomllib.loads((plugin_sources("blender") / "blender_manifest.toml").read_text(encoding="utf-8"))


def _blender() -> Plugin:
    manifest = blender_manifest()
    name = manifest["id"]
    return Plugin(
        "blender",
        name,
        f"{name}/afpools",
        f"Restart Blender and enable {manifest['name']!r} in Edit, Preferences, Add-ons.",
    )


def _afstarter() -> Plugin:
    return Plugin(
        "afstarter",
        "utilities/afstarter_pools",
        "utilities/afstarter_pools/afpools",
        "Run utilities/afstarter_pools/afstarter_pools.py within CGRU, or put it into Keeper's menu: "
        "afpools install keeper",
    )


def _keeper() -> Plugin:
    return Plugin(
        "keeper",
        "start/AFANASY",
        None,
        "Restart Keeper: the entries are in its AFANASY menu. The one that submits needs afpools install afstarter.",
    )


def _natron() -> Plugin:
    # The library not below plugins/natron: Natron takes every Python file there for a plug-in of its own.
    return Plugin(
        "natron",
        "plugins/natron/pools",
        "plugins/natron_afpools/afpools",
        "Restart Natron through CGRU: its CGRU menu has entries with (pools).",
    )


def _fusion() -> Plugin:
    return Plugin(
        "fusion",
        "plugins/fusion",
        "plugins/fusion/afpools",
        "Restart Fusion through CGRU: the script is in its menu as Script, Afanasy (pools).",
    )


PLUGINS: dict[str, Callable[[], Plugin]] = {
    "blender": _blender,
    "afstarter": _afstarter,
    "natron": _natron,
    "fusion": _fusion,
    "keeper": _keeper,
}
"""Every plug-in by its name. Made when it is asked for: the one for Blender is described in a file."""


def places(
    plugin: Plugin, environment: Mapping[str, str], *, cgru: Path | None = None, into: Sequence[Path] = ()
) -> list[Path]:
    """Where a plug-in goes.

    Args:
        plugin: which.
        environment: of this process.
        cgru: CGRU's folder, where somebody has named it.
        into: folders of Blender's add-ons, where somebody has named them.

    Raises:
        PluginError: there is no such place.
    """
    if plugin.name != "blender":
        return [cgru_place(cgru, environment)]
    found = list(into) or blender_places(Path.home(), environment)
    if not found:
        raise PluginError(
            "No Blender was found: none has been started by this user yet. Start it once, or name the folder that its "
            "add-ons are in with --into, or make a zip for Install from Disk: afpools bundle blender"
        )
    return found


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
        PluginError: there is none, or it is not CGRU.
    """
    named = asked or environment.get("CGRU_LOCATION")
    if not named:
        raise PluginError("Where is CGRU? Name its folder with --cgru, or set CGRU_LOCATION.")
    place = Path(named)
    if not (place / "afanasy" / "python" / "af.py").is_file():
        raise PluginError(f"{place} is not CGRU: it has no afanasy/python/af.py.")
    return place


def _read(source: Path, folder: str) -> Files:
    return {str(PurePosixPath(folder, file.as_posix())): (source / file).read_bytes() for file in source_files(source)}
