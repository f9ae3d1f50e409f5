"""The list of plug-ins: what belongs to each, and where its host application looks for it."""

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
"""The files to write: paths with slashes, relative to the place, and their contents."""


@dataclass(frozen=True)
class Plugin:
    """A plug-in, and the layout of its files at a place.

    Args:
        name: the name of its folder in `clients/`.
        folder: where its own files go, relative to the place.
        library: where the client library goes, relative to the place; None for a plug-in that needs none.
        then: what to do next, a sentence.
        outside: its own files that go to the place itself, while the rest goes to the folder.
        left_out: its own files that are not installed.
    """

    name: str
    folder: str
    library: str | None
    then: str
    outside: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def receipt(self) -> str:
        """The file that lists what was written, relative to the place."""
        return str(PurePosixPath(self.folder, f".afpools-{self.name}.json"))

    def files(self) -> Files:
        """Everything to write.

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
    """The add-on's manifest, which Blender reads: `id`, `name`, `version` and so on."""
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
    # The library is not below plugins/natron, because Natron loads every Python file there as a plug-in.
    return Plugin(
        "natron",
        "plugins/natron/pools",
        "plugins/natron_afpools/afpools",
        "Restart Natron through CGRU: its CGRU menu has entries with (pools).",
    )


def _in_its_own_folder(name: str, then: str, library: str = "") -> Plugin:
    """A plug-in that its program finds because CGRU's setup.sh and setup.cmd run a script of ours."""
    folder = f"plugins/{name}_afpools"
    outside = (f"setup_afpools_{name}.cmd", f"setup_afpools_{name}.sh")
    return Plugin(name, folder, f"{folder}/{library}afpools", then, outside=outside)


def _nuke() -> Plugin:
    return _in_its_own_folder("nuke", "Restart Nuke through CGRU: its afanasy node has a tab Pool.")


def _maya() -> Plugin:
    return _in_its_own_folder("maya", "Restart Maya through CGRU: its Afanasy window has a pool.", "library/")


def _houdini() -> Plugin:
    return _in_its_own_folder(
        "houdini", "Restart Houdini through CGRU: its afanasy node has a parameter Render Pool.", "scripts/python/"
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
    """The hook without the files through which CGRU finds it, for a folder in CGRU_CUSTOM_PYTHONPATH."""
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
    "nuke": _nuke,
    "maya": _maya,
    "houdini": _houdini,
    "fusion": _fusion,
    "keeper": _keeper,
    "hook": _hook,
}
"""Every plug-in by its name. Made on demand, because a file describes the one for Blender."""


def places(
    plugin: Plugin, environment: Mapping[str, str], *, cgru: Path | None = None, into: Sequence[Path] = ()
) -> list[Path]:
    """The places where a plug-in goes.

    Args:
        plugin: the plug-in.
        environment: this process's.
        cgru: CGRU's folder, if given. For Blender, this means the folder of add-ons that every Blender started through
            this CGRU sees, instead of the user's.
        into: folders of Blender's add-ons, if given.

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
    """The folders into which the Blenders' add-ons are installed, in order, each once."""
    return list(dict.fromkeys(blender.places(environment)[0] for blender in blenders))


def studio_blender_place(cgru: Path) -> Path:
    """Where a Blender that CGRU starts looks for add-ons: CGRU sets `BLENDER_USER_SCRIPTS` to this folder's parent."""
    return cgru / "plugins" / "blender" / "addons"


def looks_in(
    blenders: Sequence[Blender], environment: Mapping[str, str], cgru: Path | None = None
) -> list[tuple[str, list[Path]]]:
    """Each way to start each Blender (directly, and through CGRU if there is one), and the folders in which it then
    looks for add-ons.

    Args:
        blenders: the Blenders on this machine.
        environment: this process's.
        cgru: CGRU's folder, if given.
    """
    alone = {key: value for key, value in environment.items() if key != "BLENDER_USER_SCRIPTS"}
    starts = [("", environment)]
    try:
        scripts = studio_blender_place(cgru_place(cgru, environment)).parent
    except PluginError:
        pass
    else:
        # CGRU does not change the variable if it is already set.
        within = {"BLENDER_USER_SCRIPTS": str(scripts), **environment}
        starts = [("", alone if environment.get("BLENDER_USER_SCRIPTS") == str(scripts) else environment)]
        starts.append((", started through CGRU,", within))
    return [(blender.name + how, blender.places(start)) for blender in blenders for how, start in starts]


def hook_places(environment: Mapping[str, str]) -> list[Path]:
    """The folders in which `hook_alone` may be installed: those in CGRU_CUSTOM_PYTHONPATH."""
    folders = environment.get("CGRU_CUSTOM_PYTHONPATH", "").split(os.pathsep)
    return [Path(folder) for folder in dict.fromkeys(folders) if folder]


def cgru_place(asked: Path | None, environment: Mapping[str, str]) -> Path:
    """The CGRU folder that was given, else that of the environment.

    Raises:
        PluginError: there is none, or it is not CGRU's.
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
