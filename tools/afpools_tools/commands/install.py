"""`afpools install` and `afpools uninstall`: plug-ins into host applications, and modules into their Pythons."""

from __future__ import annotations

import os
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from afpools import ProfileError, find_profile
from afpools.profile import Profile, user_folder
from afpools_broker import __version__

from ..plugins import install as plugin_files
from ..plugins.install import Plan, Plugin
from ..plugins.sources import plugin_sources
from .output import CommandError, ProfileOption, plural, print_table, say, table, warn

install_app = typer.Typer(add_completion=False, invoke_without_command=True)
uninstall_app = typer.Typer(add_completion=False, no_args_is_help=True)

CgruOption = Annotated[
    Path | None, typer.Option("--cgru", metavar="DIR", help="CGRU's folder. Without it: $CGRU_LOCATION.")
]
IntoOption = Annotated[
    list[Path] | None,
    typer.Option("--into", metavar="DIR", help="The folder with Blender's add-ons, if it is not the usual one."),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

# What pip calls the modules, and what else it may be asked for here: nothing.
_MODULES = ("pymongo", "pyzmq")


def _blender() -> Plugin:
    manifest = tomllib.loads((plugin_sources("blender") / "blender_manifest.toml").read_text(encoding="utf-8"))
    name = manifest["id"]
    return Plugin(
        "blender",
        name,
        f"{name}/afpools",
        f"Start Blender anew and switch on {manifest['name']!r} in Edit, Preferences, Add-ons.",
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
        "Start Keeper anew: the entries are in its AFANASY menu. The one that submits needs afpools install afstarter.",
    )


def _natron() -> Plugin:
    # The library not beneath plugins/natron: Natron takes every Python file there for a plug-in of its own.
    return Plugin(
        "natron",
        "plugins/natron/pools",
        "plugins/natron_afpools/afpools",
        "Start Natron anew through CGRU: its CGRU menu has entries with (pools).",
    )


def _fusion() -> Plugin:
    return Plugin(
        "fusion",
        "plugins/fusion",
        "plugins/fusion/afpools",
        "Start Fusion anew through CGRU: the script is in its menu as Script, Afanasy (pools).",
    )


_PLUGINS: dict[str, Callable[[], Plugin]] = {
    "blender": _blender,
    "afstarter": _afstarter,
    "natron": _natron,
    "fusion": _fusion,
    "keeper": _keeper,
}


def _places(plugin: Plugin, cgru: Path | None, into: list[Path] | None) -> list[Path]:
    """Where a plug-in goes.

    Raises:
        CommandError: there is no such place.
    """
    if plugin.name != "blender":
        return [plugin_files.cgru_place(cgru, os.environ)]
    places = into or plugin_files.blender_places(Path.home(), os.environ)
    if not places:
        raise CommandError(
            "No Blender was found: none has been started by this user yet. Start it once, or name the folder that its "
            "add-ons are in with --into, or make a zip for Install from Disk: afpools bundle blender"
        )
    return places


@install_app.callback()
def _install_group(
    context: typer.Context,
    show: Annotated[
        bool, typer.Option("--list", help="Show what is installed where, and whether it is current.")
    ] = False,
    cgru: CgruOption = None,
) -> None:
    """Put plug-ins into host applications, and modules into their Pythons."""
    if context.invoked_subcommand is not None:
        return
    if not show:
        typer.echo(context.get_help())
        return
    _list(cgru)


def _list(cgru: Path | None) -> None:
    rows = table("Plug-in", "Where", "Version", "Condition", whole=("Plug-in",))
    words = {
        "current": "current",
        "outdated": "outdated: install it again",
        "changed": "changed since, or incomplete: install it again",
    }
    count = 0
    for make in _PLUGINS.values():
        plugin = make()
        try:
            for found in plugin_files.find(plugin, _places(plugin, cgru, None)):
                rows.add_row(plugin.name, str(found.place / plugin.folder), found.version, words[found.condition])
                count += 1
        except CommandError as error:
            warn(f"{plugin.name}: {error}")
    if count:
        print_table(rows)
    else:
        say("Nothing is installed in the usual places.")


def _install(plugin: Plugin, places: list[Path], profile: Path | None, yes: bool) -> None:
    plans = [plugin_files.plan(plugin, place) for place in places]
    for number, planned in enumerate(plans):
        _show(plugin, planned, briefly=number > 0 and planned.write == plans[number - 1].write)
    blocked = next((planned for planned in plans if planned.foreign), None)
    if blocked:
        raise CommandError(
            f"{blocked.place / blocked.foreign[0]} is in the way: it is not ours, or was changed since it was "
            "installed. Move it away, and install again. Nothing was written."
        )
    _check_profile(profile)
    copied = _profile_to_copy(profile) if profile else []
    if copied:
        say(f"{user_folder()}: {plural(len(copied), 'file')} to write, the profile")
    to_do = [planned for planned in plans if not planned.nothing_to_do]
    if not yes and (copied or any(planned.write or planned.remove for planned in to_do)):
        typer.confirm("Write this?", abort=True)
    for planned in to_do:
        plugin_files.install(plugin, planned, __version__)
    if copied:
        _copy_profile(copied)
    say(plugin.then)


def _show(plugin: Plugin, planned: Plan, *, briefly: bool) -> None:
    what = [plural(len(planned.write), "file") + " to write"]
    what += [f"{len(planned.remove)} to remove"] * bool(planned.remove)
    what += [f"{len(planned.keep)} there already"] * bool(planned.keep)
    say(f"{planned.place / plugin.folder}: {', '.join(what)}")
    for path in () if briefly else sorted(planned.write):
        say(f"  + {path}", "green")
    for path in planned.remove:
        say(f"  - {path}", "red")


def _check_profile(profile: Path | None) -> None:
    """Says so now, rather than in the artist's panel, where there are no credentials.

    Raises:
        ProfileError: the one that was named cannot be used.
    """
    if profile:
        Profile.load(str(profile))
        return
    try:
        find_profile()
    except ProfileError:
        warn("No profile was found. The plug-in will say so until there is one; --profile DIR puts one where it looks.")


def _profile_to_copy(profile: Path) -> list[Path]:
    """The files that are still to be copied to where this user's programs look for a profile; none if they are there.

    Raises:
        CommandError: there is another profile.
    """
    source, target = profile.resolve(), Path(user_folder())
    files = sorted(file for file in source.iterdir() if file.is_file())
    if source == target.resolve():
        return []
    if not target.exists():
        return files
    if all((target / file.name).is_file() and (target / file.name).read_bytes() == file.read_bytes() for file in files):
        say(f"The profile is in {target} already.")
        return []
    raise CommandError(
        f"{target} has another profile, which the plug-in would use. Move that folder away, or leave out --profile. "
        "Nothing was written."
    )


def _copy_profile(files: list[Path]) -> None:
    """
    Raises:
        CommandError: they cannot be read or written; then there is no half of a profile.
    """
    target = Path(user_folder())
    new = target.with_name(f".{target.name}.new")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        for file in files:
            copy = new / file.name
            copy.touch(mode=0o600)
            shutil.copyfile(file, copy)
        new.replace(target)
    except OSError as error:
        shutil.rmtree(new, ignore_errors=True)
        raise CommandError(f"The profile cannot be copied to {target}: {error.strerror}.") from None
    say(f"The profile is in {target} now.")


@install_app.command("blender")
def install_blender(into: IntoOption = None, profile: ProfileOption = None, yes: YesOption = False) -> None:
    """The add-on, into every Blender of this user from 2.83 on."""
    plugin = _blender()
    _install(plugin, _places(plugin, None, into), profile, yes)


@install_app.command("afstarter")
def install_afstarter(cgru: CgruOption = None, profile: ProfileOption = None, yes: YesOption = False) -> None:
    """The launcher of AfStarter with a pool chooser, into CGRU."""
    plugin = _afstarter()
    _install(plugin, _places(plugin, cgru, None), profile, yes)


@install_app.command("natron")
def install_natron(cgru: CgruOption = None, profile: ProfileOption = None, yes: YesOption = False) -> None:
    """A pool on the Afanasy node and in the render dialog, into CGRU's plug-in for Natron."""
    plugin = _natron()
    _install(plugin, _places(plugin, cgru, None), profile, yes)


@install_app.command("fusion")
def install_fusion(cgru: CgruOption = None, profile: ProfileOption = None, yes: YesOption = False) -> None:
    """The comp script that asks for a pool, into CGRU's plug-in for Fusion."""
    plugin = _fusion()
    _install(plugin, _places(plugin, cgru, None), profile, yes)


@install_app.command("keeper")
def install_keeper(cgru: CgruOption = None, profile: ProfileOption = None, yes: YesOption = False) -> None:
    """Entries for Keeper's menu, into CGRU: submit with a pool, manage pools, the broker's health."""
    plugin = _keeper()
    _install(plugin, _places(plugin, cgru, None), profile, yes)


@uninstall_app.callback()
def _uninstall_group() -> None:
    """Take away what `afpools install` has written."""


def _uninstall(plugin: Plugin, places: list[Path], yes: bool) -> None:
    there = [place for place in places if plugin_files.read_receipt(plugin, place)]
    if not there:
        raise CommandError(f"The {plugin.name} plug-in is not installed in {', '.join(map(str, places))}.")
    for place in there:
        say(str(place / plugin.folder))
    if not yes:
        typer.confirm("Take the plug-in away from there?", abort=True)
    for place in there:
        removed, left = plugin_files.uninstall(plugin, place)
        say(f"{place / plugin.folder}: {plural(len(removed), 'file')} removed.")
        for path in left:
            warn(f"{place / path} was changed by somebody and stays.")
    if Path(user_folder(), "profile.json").is_file():
        say(f"The profile in {user_folder()} stays: every plug-in and afpools itself may use it.")


@uninstall_app.command("blender")
def uninstall_blender(into: IntoOption = None, yes: YesOption = False) -> None:
    """The add-on, from every Blender of this user."""
    plugin = _blender()
    _uninstall(plugin, _places(plugin, None, into), yes)


@uninstall_app.command("afstarter")
def uninstall_afstarter(cgru: CgruOption = None, yes: YesOption = False) -> None:
    """The launcher, from CGRU."""
    plugin = _afstarter()
    _uninstall(plugin, _places(plugin, cgru, None), yes)


@uninstall_app.command("natron")
def uninstall_natron(cgru: CgruOption = None, yes: YesOption = False) -> None:
    """The pool in Natron, from CGRU's plug-in for it."""
    plugin = _natron()
    _uninstall(plugin, _places(plugin, cgru, None), yes)


@uninstall_app.command("fusion")
def uninstall_fusion(cgru: CgruOption = None, yes: YesOption = False) -> None:
    """The comp script, from CGRU's plug-in for Fusion."""
    plugin = _fusion()
    _uninstall(plugin, _places(plugin, cgru, None), yes)


@uninstall_app.command("keeper")
def uninstall_keeper(cgru: CgruOption = None, yes: YesOption = False) -> None:
    """Keeper's entries, from CGRU."""
    plugin = _keeper()
    _uninstall(plugin, _places(plugin, cgru, None), yes)


@install_app.command("python")
def install_python(
    python: Annotated[
        Path, typer.Option("--python", metavar="EXE", dir_okay=False, exists=True, help="The Python to install into.")
    ],
    modules: Annotated[
        list[str] | None, typer.Argument(metavar="[pymongo] [pyzmq]", help="Which modules; both if none is named.")
    ] = None,
    wheels: Annotated[
        Path | None,
        typer.Option(
            "--wheels", metavar="DIR", file_okay=False, exists=True, help="Install from this folder, without a network."
        ),
    ] = None,
) -> None:
    """PyMongo and pyzmq, into CGRU's or Blender's own Python. The plug-ins do not need them."""
    chosen = modules or list(_MODULES)
    for module in chosen:
        if module not in _MODULES:
            raise CommandError(f"{module!r} is not one of {', '.join(_MODULES)}.")
    _run(python, ["-c", "import sys; sys.exit(sys.version_info < (3, 7))"], f"{python} is no Python 3.7 or newer.")
    # Blender's and CGRU's Pythons may come without pip, but not without what makes it.
    if _ask(python, ["-m", "pip", "--version"]).returncode:
        _run(python, ["-m", "ensurepip"], f"{python} has no pip, and cannot make one.")
    source = ["--no-index", "--find-links", str(wheels.resolve())] if wheels else []
    pip = ["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--only-binary", ":all:", *source]
    _run(python, [*pip, *chosen], f"pip could not install {' and '.join(chosen)}.")
    names = {"pymongo": "pymongo", "pyzmq": "zmq"}
    for module in chosen:
        _run(python, ["-c", f"import {names[module]}"], f"{module} is installed, but {python} cannot import it.")
    say(f"{' and '.join(chosen)} can be imported by {python}.", "green")


def _ask(python: Path, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    # -s: nothing of this user's own folder, where pip puts modules if the program's may not be written, and where
    # Blender and other users do not look.
    command = [str(python), "-s", *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)  # noqa: S603
    except OSError as error:
        raise CommandError(f"{python} cannot be run: {error.strerror}.") from None


def _run(python: Path, arguments: list[str], otherwise: str) -> None:
    """
    Raises:
        CommandError: it failed; with the last lines it said.
    """
    done = _ask(python, arguments)
    if done.returncode:
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-6:])
        raise CommandError(f"{otherwise}\n{said}".rstrip())
