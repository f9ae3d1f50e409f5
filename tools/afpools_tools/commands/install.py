"""`afpools install` and `afpools uninstall`: plug-ins into host applications, and modules into their Pythons."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from afpools import ProfileError
from afpools.profile import user_folder
from afpools_broker import __version__

from ..plugins import install as plugin_files
from ..plugins.blenders import find_blenders
from ..plugins.catalogue import PLUGINS, Plugin, hook_alone, hook_places, looks_in, places
from ..plugins.install import Plan
from ..plugins.profile import copy_profile, files_to_copy
from ..plugins.python_modules import MODULES, install_modules
from ..plugins.sources import PluginError
from ..words import plural
from .options import CommandError, ProfileOption, open_profile
from .output import print_table, say, table, warn

install_app = typer.Typer(add_completion=False, invoke_without_command=True)
uninstall_app = typer.Typer(add_completion=False, no_args_is_help=True)

CgruOption = Annotated[
    Path | None, typer.Option("--cgru", metavar="DIR", help="CGRU's folder. Without it: $CGRU_LOCATION.")
]
IntoOption = Annotated[
    list[Path] | None,
    typer.Option("--into", metavar="DIR", help="The folder with Blender's add-ons, if it is not the usual one."),
]
StudioOption = Annotated[
    Path | None,
    typer.Option("--cgru", metavar="DIR", help="CGRU's folder: for all Blenders that are started through it."),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

_CONDITIONS = {
    "current": "current",
    "outdated": "outdated: install it again",
    "changed": "changed or incomplete: install it again",
}


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


@uninstall_app.callback()
def _uninstall_group(cgru: CgruOption = None) -> None:
    """Remove what `afpools install` has written."""


def _of_group(context: typer.Context, cgru: Path | None) -> Path | None:
    """`--cgru` given after the command, or else before it."""
    before = context.parent.params.get("cgru") if context.parent else None
    return cgru or before


def _list(cgru: Path | None) -> None:
    rows = table("Plug-in", "Where", "Version", "Condition", whole=("Plug-in",))
    blenders = find_blenders(Path.home(), os.environ)
    looked_in = looks_in(blenders, os.environ, cgru)
    unknown: dict[str, list[str]] = {}
    for make in PLUGINS.values():
        plugin = make()
        try:
            if plugin.name == "blender":
                there = list(dict.fromkeys(place for _, seen in looked_in for place in seen))
            else:
                there = places(plugin, os.environ, cgru=cgru)
            for found in plugin_files.find(plugin, there):
                where = str(found.place / plugin.folder)
                rows.add_row(plugin.name, where, found.version, _CONDITIONS[found.condition])
        except PluginError as error:
            unknown.setdefault(str(error), []).append(plugin.name)
    for found in plugin_files.find(hook_alone(), hook_places(os.environ)):
        rows.add_row("hook", str(found.place), found.version, _CONDITIONS[found.condition])
    for why, plugins in unknown.items():
        warn(f"{', '.join(plugins)}: {why}")
    if rows.row_count:
        print_table(rows)
    else:
        say("Nothing is installed in the usual places.")
    _say_which_blender_sees_what(looked_in)


def _say_which_blender_sees_what(looked_in: list[tuple[str, list[Path]]]) -> None:
    plugin = PLUGINS["blender"]()
    for name, there in looked_in:
        # However it got there.
        folders = [place / plugin.folder for place in there]
        sees = [str(folder) for folder in folders if (folder / "__init__.py").is_file()]
        if len(sees) > 1:
            say(f"{name} sees {' and '.join(sees)}. If both are enabled, the first that was enabled works.")
        else:
            say(f"{name} sees {sees[0] if sees else 'no add-on of ours'}.")


# --- installing -----------------------------------------------------------------------------------------------------


def _install(plugin: Plugin, where: list[Path], profile: Path | None, yes: bool) -> None:
    plans = [plugin_files.plan(plugin, place) for place in where]
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
    to_do = [planned for planned in plans if not planned.nothing_to_do]
    if not yes and (copied or any(planned.write or planned.remove for planned in to_do)):
        typer.confirm("Write this?", abort=True)
    for planned in to_do:
        plugin_files.install(plugin, planned, __version__)
    if copied:
        copy_profile(copied)
        say(f"The profile is in {user_folder()} now.")
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
    """Warns now, rather than in the artist's panel, if there are no credentials.

    Raises:
        ProfileError: the profile that was named cannot be used.
    """
    if profile:
        open_profile(profile)
        return
    try:
        open_profile(None)
    except ProfileError:
        warn("No profile was found. The plug-in will say so until there is one; --profile DIR puts one where it looks.")


def _profile_to_copy(profile: Path) -> list[Path]:
    """The profile's files that will be copied. Lists them first."""
    target = Path(user_folder())
    files = files_to_copy(profile)
    if files:
        say(f"{target}: {plural(len(files), 'file')} to write, the profile")
    elif profile.resolve() != target.resolve():
        say(f"The profile is in {target} already.")
    return files


# --- removing -------------------------------------------------------------------------------------------------------


def _uninstall(plugin: Plugin, where: list[Path], yes: bool) -> None:
    there = [place for place in where if plugin_files.read_receipt(plugin, place)]
    if not there:
        raise CommandError(f"The {plugin.name} plug-in is not installed in {', '.join(map(str, where))}.")
    for place in there:
        say(str(place / plugin.folder))
    if not yes:
        typer.confirm("Remove the plug-in from there?", abort=True)
    for place in there:
        removed, left = plugin_files.uninstall(plugin, place)
        say(f"{place / plugin.folder}: {plural(len(removed), 'file')} removed.")
        for path in left:
            warn(f"{place / path} has been changed by somebody and is kept.")
    if Path(user_folder(), "profile.json").is_file():
        say(f"The profile in {user_folder()} stays: every plug-in and afpools itself may use it.")


# --- the commands, two for each plug-in -----------------------------------------------------------------------------


@install_app.command("blender")
def install_blender(
    context: typer.Context,
    into: IntoOption = None,
    cgru: StudioOption = None,
    profile: ProfileOption = None,
    yes: YesOption = False,
) -> None:
    """The add-on, into every Blender 2.83 and newer of this user; with --cgru, once for every Blender that anybody
    starts through this CGRU."""
    plugin = PLUGINS["blender"]()
    _install(plugin, _blender_places(plugin, into, _of_group(context, cgru)), profile, yes)


@uninstall_app.command("blender")
def uninstall_blender(
    context: typer.Context, into: IntoOption = None, cgru: StudioOption = None, yes: YesOption = False
) -> None:
    """The add-on, from every Blender of this user, or from CGRU."""
    plugin = PLUGINS["blender"]()
    _uninstall(plugin, _blender_places(plugin, into, _of_group(context, cgru)), yes)


def _blender_places(plugin: Plugin, into: list[Path] | None, cgru: Path | None) -> list[Path]:
    if into and cgru:
        raise CommandError("Say --into or --cgru, not both: --cgru is plugins/blender/addons in CGRU's folder.")
    return places(plugin, os.environ, into=into or (), cgru=cgru)


def _installs(name: str) -> Callable[..., None]:
    """The command that installs one of CGRU's plug-ins."""

    def install(
        context: typer.Context, cgru: CgruOption = None, profile: ProfileOption = None, yes: YesOption = False
    ) -> None:
        plugin = PLUGINS[name]()
        _install(plugin, places(plugin, os.environ, cgru=_of_group(context, cgru)), profile, yes)

    return install


def _uninstalls(name: str) -> Callable[..., None]:
    """The command that removes one of CGRU's plug-ins."""

    def uninstall(context: typer.Context, cgru: CgruOption = None, yes: YesOption = False) -> None:
        plugin = PLUGINS[name]()
        _uninstall(plugin, places(plugin, os.environ, cgru=_of_group(context, cgru)), yes)

    return uninstall


# What --help says about installing and uninstalling each.
_INTO_CGRU = {
    "afstarter": ("The launcher of AfStarter with a pool chooser, into CGRU.", "The launcher, from CGRU."),
    "natron": (
        "A pool on the Afanasy node and in the render dialog, into CGRU's plug-in for Natron.",
        "The pool in Natron, from CGRU's plug-in for it.",
    ),
    "nuke": ("A pool on the afanasy node in Nuke, into CGRU.", "The pool in Nuke, from CGRU."),
    "maya": ("A pool in CGRU's Afanasy window in Maya, into CGRU.", "The pool in Maya, from CGRU."),
    "houdini": ("A pool on the afanasy node in Houdini, into CGRU.", "The pool in Houdini, from CGRU."),
    "fusion": (
        "The comp script that asks for a pool, into CGRU's plug-in for Fusion.",
        "The comp script, from CGRU's plug-in for Fusion.",
    ),
    "keeper": (
        "Entries for Keeper's menu, into CGRU: submit with a pool, manage pools, the broker's health.",
        "Keeper's entries, from CGRU.",
    ),
}
for _name, (_into, _out_of) in _INTO_CGRU.items():
    install_app.command(_name, help=_into)(_installs(_name))
    uninstall_app.command(_name, help=_out_of)(_uninstalls(_name))


FolderOption = Annotated[
    Path | None,
    typer.Option("--into", metavar="DIR", help="A folder of your own that is in CGRU_CUSTOM_PYTHONPATH, and not CGRU."),
]


@install_app.command("hook")
def install_hook(
    context: typer.Context,
    into: FolderOption = None,
    cgru: CgruOption = None,
    profile: ProfileOption = None,
    yes: YesOption = False,
) -> None:
    """The hook, into CGRU: a pool for every job that any program of CGRU sends, whoever starts it."""
    plugin, where = _hook(into, _of_group(context, cgru))
    _install(plugin, where, profile, yes)


@uninstall_app.command("hook")
def uninstall_hook(
    context: typer.Context, into: FolderOption = None, cgru: CgruOption = None, yes: YesOption = False
) -> None:
    """The hook, from CGRU, or from a folder of your own."""
    plugin, where = _hook(into, _of_group(context, cgru))
    _uninstall(plugin, where, yes)


def _hook(into: Path | None, cgru: Path | None) -> tuple[Plugin, list[Path]]:
    if into and cgru:
        raise CommandError("Say --into or --cgru, not both.")
    if into:
        return hook_alone(), [into]
    plugin = PLUGINS["hook"]()
    return plugin, places(plugin, os.environ, cgru=cgru)


@install_app.command("python")
def install_python(
    python: Annotated[
        Path, typer.Option("--python", metavar="EXE", dir_okay=False, exists=True, help="The Python to install into.")
    ],
    modules: Annotated[
        list[str] | None,
        typer.Argument(metavar=" ".join(f"[{name}]" for name in MODULES), help="Which modules; both if none is named."),
    ] = None,
    wheels: Annotated[
        Path | None,
        typer.Option(
            "--wheels", metavar="DIR", file_okay=False, exists=True, help="Install from this folder, without a network."
        ),
    ] = None,
) -> None:
    """PyMongo and pyzmq, into CGRU's or Blender's own Python. The plug-ins do not need them."""
    installed = install_modules(python, modules or (), wheels)
    say(f"{' and '.join(installed)} can be imported by {python}.", "green")
