"""The plug-ins there are: what belongs to each, and where its host application looks for it."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from .blenders import Blender, find_blenders
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
        outside: files of its own that go to the place itself, where the rest goes to the folder.
        left_out: files of its own that are not installed.
    """

    name: str
    folder: str
    library: str | None
    then: str
    outside: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def receipt(self) -> str:
        """The file that says what was written, relative to the place."""
        return str(PurePosixPath(self.folder, f".afpools-{self.name}.json"))

    def files(self) -> Files:
        """Everything that is to be written.

        Raises:
            PluginError: this installation of Afanasy Pools lacks the plug-in.
        """
        source = plugin_sources(self.name)
        files = _read(source, self.folder)
        for name in (*self.outside, *self.left_out):
            del files[str(PurePosixPath(self.folder, name))]
        files |= {name: (source / name).read_bytes() for name in self.outside}
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
        "Restart Fusion through CGRU: on Windows the script is in its menu as Script, Afanasy (pools). On Linux and "
        "macOS, CGRU does not tell Fusion where its scripts are: docs/fusion.md says what to do there.",
    )


_SET_UP = ("setup_afpools.cmd", "setup_afpools.sh")


def _hook() -> Plugin:
    return Plugin(
        "hook",
        "plugins/afpools_hook",
        "plugins/afpools_hook/afpools_hook/afpools",
        "Restart CGRU's programs: CGRU's setup.sh and setup.cmd put the hook into their PYTHONPATH.",
        outside=_SET_UP,
    )


def hook_alone() -> Plugin:
    """The hook without what has CGRU find it: for a folder that somebody has in CGRU_CUSTOM_PYTHONPATH."""
    return Plugin(
        "hook",
        "",
        "afpools_hook/afpools",
        "Put this folder first in CGRU_CUSTOM_PYTHONPATH before CGRU's setup.sh runs, and restart CGRU's programs.",
        left_out=_SET_UP,
    )


PLUGINS: dict[str, Callable[[], Plugin]] = {
    "blender": _blender,
    "afstarter": _afstarter,
    "natron": _natron,
    "fusion": _fusion,
    "keeper": _keeper,
    "hook": _hook,
}
"""Every plug-in by its name. Made when it is asked for: the one for Blender is described in a file."""


def places(
    plugin: Plugin, environment: Mapping[str, str], *, cgru: Path | None = None, into: Sequence[Path] = ()
) -> list[Path]:
    """Where a plug-in goes.

    Args:
        plugin: which.
        environment: of this process.
        cgru: CGRU's folder, where somebody has named it. For Blender: the folder whose add-ons every Blender sees that
            this CGRU starts, in place of the user's.
        into: folders of Blender's add-ons, where somebody has named them.

    Raises:
        PluginError: there is no such place.
    """
    if plugin.name != "blender":
        return [cgru_place(cgru, environment)]
    if into:
        return list(into)
    if cgru is not None:
        return [studio_blender_place(cgru_place(cgru, environment))]
    found = blender_places(find_blenders(Path.home(), environment), environment)
    if not found:
        raise PluginError(
            "No Blender was found: none is in the PATH or in a usual place, and none has left a folder of settings. "
            "Add the folder of its program to the PATH; or name the folder that its add-ons are in with --into; or "
            "make a zip for Install from Disk: afpools bundle blender"
        )
    return found


def blender_places(blenders: Sequence[Blender], environment: Mapping[str, str]) -> list[Path]:
    """The folders that Blenders' add-ons are installed into, in their order, each once."""
    return list(dict.fromkeys(blender.places(environment)[0] for blender in blenders))


def studio_blender_place(cgru: Path) -> Path:
    """Where a Blender that CGRU starts looks for add-ons: CGRU sets `BLENDER_USER_SCRIPTS` to the folder above."""
    return cgru / "plugins" / "blender" / "addons"


def looks_in(
    blenders: Sequence[Blender], environment: Mapping[str, str], cgru: Path | None = None
) -> list[tuple[str, list[Path]]]:
    """Each Blender as it may be started, and the folders in which it then looks for add-ons: by itself, and through
    CGRU, if there is one.

    Args:
        blenders: those that there are.
        environment: of this process.
        cgru: CGRU's folder, where somebody has named it.
    """
    alone = {key: value for key, value in environment.items() if key != "BLENDER_USER_SCRIPTS"}
    starts = [("", environment)]
    try:
        scripts = studio_blender_place(cgru_place(cgru, environment)).parent
    except PluginError:
        pass
    else:
        # CGRU leaves the variable alone where it is set already.
        within = {"BLENDER_USER_SCRIPTS": str(scripts), **environment}
        starts = [("", alone if environment.get("BLENDER_USER_SCRIPTS") == str(scripts) else environment)]
        starts.append((", started through CGRU,", within))
    return [(blender.name + how, blender.places(start)) for blender in blenders for how, start in starts]


def hook_places(environment: Mapping[str, str]) -> list[Path]:
    """The folders in which `hook_alone` may be: those of CGRU_CUSTOM_PYTHONPATH."""
    folders = environment.get("CGRU_CUSTOM_PYTHONPATH", "").split(os.pathsep)
    return [Path(folder) for folder in dict.fromkeys(folders) if folder]


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
