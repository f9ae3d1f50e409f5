"""PyMongo and pyzmq in the Pythons of CGRU and Blender."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.command import Result

Afpools = Callable[..., Result]


@pytest.mark.heavy
def test_modules_go_into_another_python_from_a_folder_without_a_network(afpools: Afpools, tmp_path: Path) -> None:
    other = tmp_path / "other"
    # Without pip, as in embedded Pythons.
    assert installation_venv(other) == 0
    python = other / "bin/python"
    refused = afpools("install", "python", "--python", python, "pyzmq", "--wheels", tmp_path)
    assert (refused.status, "pip could not install pyzmq" in refused.err) == (1, True)
    wheel = tmp_path / "wheels/pyzmq-99.0-py3-none-any.whl"
    wheel.parent.mkdir()
    write_wheel(wheel, "pyzmq", "zmq")
    done = afpools("install", "python", "--python", python, "pyzmq", "--wheels", wheel.parent)
    assert (done.status, "can be imported" in done.out) == (0, True), done.err


@pytest.mark.heavy
def test_modules_go_into_the_python_itself_and_not_beside_it_for_this_user_alone(
    afpools: Afpools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, user = tmp_path / "other", tmp_path / "user"
    assert installation_venv(other, "--system-site-packages") == 0
    python = other / "bin/python"
    monkeypatch.setenv("PYTHONUSERBASE", str(user))
    script = "import site; print(site.getusersitepackages())"
    own = Path(subprocess.run([python, "-c", script], capture_output=True, text=True, check=True).stdout.strip())
    assert own.is_relative_to(user)
    own.mkdir(parents=True)
    wheel = tmp_path / "wheels/pyzmq-99.0-py3-none-any.whl"
    wheel.parent.mkdir()
    write_wheel(wheel, "pyzmq", "zmq")
    zipfile.ZipFile(wheel).extractall(own)
    done = afpools("install", "python", "--python", python, "pyzmq", "--wheels", wheel.parent)
    assert (done.status, "can be imported" in done.out) == (0, True), done.err
    assert subprocess.run([python, "-s", "-c", "import zmq"], check=False).returncode == 0


def installation_venv(folder: Path, *options: str) -> int:
    command = [sys.executable, "-m", "venv", "--without-pip", *options, str(folder)]
    return subprocess.run(command, check=False, timeout=60).returncode


def write_wheel(path: Path, distribution: str, module: str) -> None:
    """The smallest thing that pip installs."""
    info = f"{distribution}-99.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{module}/__init__.py", "")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 99.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")


def test_only_the_two_modules_can_be_requested(afpools: Afpools) -> None:
    refused = afpools("install", "python", "--python", sys.executable, "requests")
    assert (refused.status, "'requests' is not one of pymongo, pyzmq" in refused.err) == (1, True)


def test_a_program_that_is_not_python_is_named(afpools: Afpools, tmp_path: Path) -> None:
    (tmp_path / "python").write_text("no program")
    refused = afpools("install", "python", "--python", tmp_path / "python")
    assert (refused.status, "cannot be run" in refused.err) == (1, True)
