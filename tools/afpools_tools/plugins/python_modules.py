"""Installs modules into the Pythons that come with CGRU and Blender."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from .sources import PluginError

MODULES = {"pymongo": "pymongo", "pyzmq": "zmq"}
"""The modules that can be installed: pip's name, and the name to import."""


def install_modules(python: Path, modules: Sequence[str], wheels: Path | None = None) -> list[str]:
    """Installs modules with a Python's own pip, and checks that they can be imported.

    Args:
        python: the Python to install into, 3.7 or newer.
        modules: names from `MODULES`; all if none is given.
        wheels: a folder to install from, without a network.

    Returns:
        The modules that were installed.

    Raises:
        PluginError: a name is not in `MODULES`, or a program failed; the message has its last lines of output.
    """
    chosen = list(modules) or list(MODULES)
    for module in chosen:
        if module not in MODULES:
            raise PluginError(f"{module!r} is not one of {', '.join(MODULES)}.")
    _run(python, ["-c", "import sys; sys.exit(sys.version_info < (3, 7))"], f"{python} is not Python 3.7 or newer.")
    # Blender's and CGRU's Pythons may come without pip, but they have ensurepip.
    if _ask(python, ["-m", "pip", "--version"]).returncode:
        _run(python, ["-m", "ensurepip"], f"{python} has no pip, and cannot make one.")
    source = ["--no-index", "--find-links", str(wheels.resolve())] if wheels else []
    pip = ["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--only-binary", ":all:", *source]
    _run(python, [*pip, *chosen], f"pip could not install {' and '.join(chosen)}.")
    for module in chosen:
        _run(python, ["-c", f"import {MODULES[module]}"], f"{module} is installed, but {python} cannot import it.")
    return chosen


def _ask(python: Path, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    # -s: ignore this user's own folder. pip puts modules there if the program's folder is read-only, but Blender and
    # other users do not look there.
    command = [str(python), "-s", *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)  # noqa: S603
    except OSError as error:
        raise PluginError(f"{python} cannot be run: {error.strerror}.") from None


def _run(python: Path, arguments: list[str], otherwise: str) -> None:
    """
    Raises:
        PluginError: it failed; the message has the last lines of its output.
    """
    done = _ask(python, arguments)
    if done.returncode:
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-6:])
        raise PluginError(f"{otherwise}\n{said}".rstrip())
