"""The Blenders on a machine, and where each looks for add-ons.

Strategy: versions are found by the folders that Blenders have made, and by the Blenders that are installed, because one
that was never configured has not made a folder (3.4 does not make one when it starts). Sources: Blender's manual,
"Blender's Directory Layout"; for Flatpak and the Microsoft Store, what these do with a program's folders.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

Version = tuple[int, int]

OLDEST: Version = (2, 83)
"""The first Blender with a Python (3.7) that can run the client library."""

_EXTENSIONS: Version = (4, 2)  # the first with extensions
_ASK_SECONDS = 20.0


@dataclass(frozen=True)
class Blender:
    """A Blender, as far as add-ons are concerned.

    Args:
        version: 4.2 as (4, 2).
        kind: empty for one from blender.org or a distribution, else `Flatpak`, `Snap`, `Microsoft Store` or `portable`.
        user: the folder for this user's files for this version. It need not exist yet.
    """

    version: Version
    kind: str
    user: Path

    @property
    def name(self) -> str:
        """The name for people: `Blender 4.2 (Flatpak)`."""
        name = f"Blender {self.version[0]}.{self.version[1]}"
        return f"{name} ({self.kind})" if self.kind else name

    def places(self, environment: Mapping[str, str]) -> list[Path]:
        """Every folder in which it looks for add-ons of the user's or the studio's, the one to install into first.

        `BLENDER_USER_SCRIPTS`, which CGRU sets, replaces the folder of the user's scripts, and therefore of classic
        add-ons; extensions are not affected.
        """
        scripts = environment.get("BLENDER_USER_SCRIPTS")
        classic = (Path(scripts) if scripts else self.user / "scripts") / "addons"
        if self.version < _EXTENSIONS:
            return [classic]
        extensions = environment.get("BLENDER_USER_EXTENSIONS")
        return [(Path(extensions) if extensions else self.user / "extensions") / "user_default", classic]


def find_blenders(
    home: Path,
    environment: Mapping[str, str],
    platform: str = sys.platform,
    ask: Callable[[Path], Version | None] | None = None,
) -> list[Blender]:
    """A user's Blenders, the newest first, each once.

    Args:
        home: the user's home folder.
        environment: the environment that Blender would be started with.
        platform: as `sys.platform`.
        ask: returns the version of an executable; by default, runs it.
    """
    found: dict[tuple[Version, str], Blender] = {}
    for blender in _everywhere(home, environment, platform, ask or ask_version):
        if blender.version >= OLDEST:
            # A version that is installed three times has only one folder.
            found.setdefault((blender.version, str(blender.user)), blender)
    return sorted(sorted(found.values(), key=lambda blender: blender.kind), key=lambda it: it.version, reverse=True)


def ask_version(executable: Path) -> Version | None:
    """The version that a Blender reports; None if it does not."""
    command = [str(executable), "--background", "--version"]
    try:
        said = subprocess.run(  # noqa: S603 - a program called blender, where the user or the studio has one
            command, capture_output=True, text=True, check=False, timeout=_ASK_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"^Blender (\d+)\.(\d+)", said.stdout, re.MULTILINE)
    return (int(match[1]), int(match[2])) if match else None


# --- where to look ----------------------------------------------------------------------------------------------------

# Everything that belongs to the machine, not to the user, is below it.
_ROOT = Path("/")


def _everywhere(
    home: Path, environment: Mapping[str, str], platform: str, ask: Callable[[Path], Version | None]
) -> Iterator[Blender]:
    bases = _user_folders(home, environment, platform)
    everything = environment.get("BLENDER_USER_RESOURCES")

    def blender(version: Version, kind: str, usual: Path) -> Blender:
        return Blender(version, kind, Path(everything) if everything else usual)

    for kind, base in bases:
        yield from (blender(version, kind, folder) for version, folder in _versions(base))
    for folder, executable, kind in _installed(home, environment, platform):
        base = dict(bases)[kind]
        for version in [version for version, _ in _versions(folder)] or _asked(executable, ask):
            beside = _portable(folder, version)
            if beside is not None:
                yield blender(version, "portable", beside)
            else:
                yield blender(version, kind, base / f"{version[0]}.{version[1]}")


def _user_folders(home: Path, environment: Mapping[str, str], platform: str) -> list[tuple[str, Path]]:
    """The kinds of Blenders, and the folder that has one folder for each version of such a Blender."""
    if platform == "win32":
        below = Path("Blender Foundation", "Blender")
        local = Path(environment.get("LOCALAPPDATA") or home / "AppData" / "Local")
        # The Store redirects a program's writes to a private folder, which the program sees as the usual one.
        store = sorted((local / "Packages").glob("BlenderFoundation.Blender_*"))
        return [
            ("", Path(environment.get("APPDATA") or home / "AppData" / "Roaming") / below),
            *(("Microsoft Store", package / "LocalCache" / "Roaming" / below) for package in store),
        ]
    if platform == "darwin":
        return [("", home / "Library" / "Application Support" / "Blender")]
    return [
        ("", Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "blender"),
        ("Flatpak", home / ".var" / "app" / "org.blender.Blender" / "config" / "blender"),
        ("Snap", home / "snap" / "blender" / "current" / ".config" / "blender"),
    ]


def _installed(home: Path, environment: Mapping[str, str], platform: str) -> Iterator[tuple[Path, Path, str]]:
    """Where Blenders are installed: the folder that contains the version's folder, the executable, and the kind."""
    if platform == "darwin":
        for app in _matching(_ROOT / "Applications", home / "Applications", pattern="Blender*.app"):
            yield app / "Contents" / "Resources", app / "Contents" / "MacOS" / "Blender", ""
        return
    executable = "blender.exe" if platform == "win32" else "blender"
    folders = _on_path(environment)
    if platform == "win32":
        programs = Path(environment.get("PROGRAMFILES") or "C:/Program Files")
        folders += _matching(programs / "Blender Foundation", pattern="Blender*")
    else:
        folders += _matching(_ROOT / "opt", _ROOT / "usr" / "local", home, pattern="[Bb]lender*")
        # Snap starts a snap through its own program. The user's files are in the usual place.
        folders.append(_ROOT / "snap" / "blender" / "current")
        for base in (_ROOT / "var" / "lib", home / ".local" / "share"):
            flatpak = base / "flatpak" / "app" / "org.blender.Blender" / "current" / "active" / "files" / "blender"
            yield flatpak, flatpak / executable, "Flatpak"
    for folder in folders:
        # A link in a folder of programs leads to the installation.
        there = (folder / executable).resolve()
        if there.is_file() and there.name == executable:
            yield there.parent, there, ""


def _on_path(environment: Mapping[str, str]) -> list[Path]:
    """The folders on the PATH, and the one in which CGRU looks for Blender."""
    named = [*environment.get("PATH", "").split(os.pathsep), environment.get("BLENDER_LOCATION", "")]
    return [Path(folder) for folder in named if folder]


def _matching(*folders: Path, pattern: str) -> list[Path]:
    return [found for folder in folders for found in sorted(folder.glob(pattern))]


def _versions(folder: Path) -> list[tuple[Version, Path]]:
    """The subfolders whose name is a version."""
    try:
        found = [path for path in folder.iterdir() if re.fullmatch(r"\d+\.\d+", path.name) and path.is_dir()]
    except OSError:
        return []
    return [((int(major), int(minor)), path) for path in found for major, minor in [path.name.split(".")]]


def _asked(executable: Path, ask: Callable[[Path], Version | None]) -> list[Version]:
    version = ask(executable) if executable.is_file() else None
    return [] if version is None else [version]


def _portable(folder: Path, version: Version) -> Path | None:
    """The folder of a Blender that keeps the user's files beside itself; None for one that does not."""
    if version >= _EXTENSIONS:
        return folder / "portable" if (folder / "portable").is_dir() else None
    own = folder / f"{version[0]}.{version[1]}"
    return own if (own / "config").is_dir() else None
