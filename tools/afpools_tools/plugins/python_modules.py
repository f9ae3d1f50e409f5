"""Modules for the Pythons that come with CGRU and Blender."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from .sources import PluginError

MODULES = {"pymongo": "pymongo", "pyzmq": "zmq"}
"""What pip calls them, and what Python does. Nothing else can be asked for."""


def install_modules(python: Path, modules: Sequence[str], wheels: Path | None = None) -> list[str]:
    """Installs modules with a Python's own pip, and sees that they can be imported.

    Args:
        python: the Python to install into, 3.7 or newer.
        modules: of `MODULES`; all if none is named.
        wheels: a folder to install from, without a network.

    Returns:
        What was installed.

    Raises:
        PluginError: it is not one of them, or something failed; with the last lines that it said.
    """
    chosen = list(modules) or list(MODULES)
    for module in chosen:
        if module not in MODULES:
            raise PluginError(f"{module!r} is not one of {', '.join(MODULES)}.")
    _run(python, ["-c", "import sys; sys.exit(sys.version_info < (3, 7))"], f"{python} is not Python 3.7 or newer.")
    # Blender's and CGRU's Pythons may come without pip, but not without what makes it.
    if _ask(python, ["-m", "pip", "--version"]).returncode:
        _run(python, ["-m", "ensurepip"], f"{python} has no pip, and cannot make one.")
    source = ["--no-index", "--find-links", str(wheels.resolve())] if wheels else []
    pip = ["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--only-binary", ":all:", *source]
    _run(python, [*pip, *chosen], f"pip could not install {' and '.join(chosen)}.")
    for module in chosen:
        _run(python, ["-c", f"import {MODULES[module]}"], f"{module} is installed, but {python} cannot import it.")
    return chosen


def _ask(python: Path, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    # -s: nothing of this user's own folder, where pip puts modules if the program's may not be written, and where
    # Blender and other users do not look.
    command = [str(python), "-s", *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)  # noqa: S603
    except OSError as error:
        raise PluginError(f"{python} cannot be run: {error.strerror}.") from None


def _run(python: Path, arguments: list[str], otherwise: str) -> None:
    """
    Raises:
        PluginError: it failed; with the last lines it said.
    """
    done = _ask(python, arguments)
    if done.returncode:
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-6:])
        raise PluginError(f"{otherwise}\n{said}".rstrip())
