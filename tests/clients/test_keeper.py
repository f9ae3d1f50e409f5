"""Keeper's menu entries, as Keeper reads and runs them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ENTRIES = Path(__file__).parents[2] / "clients" / "keeper"


def read_as_keeper_does(entry: Path) -> tuple[str, str]:
    """The name and the icon: the last line that has such a word decides, wherever it is in the file."""
    name = icon = ""
    for line in entry.read_text().splitlines():
        name = line.split("Name=")[-1].strip() if "Name=" in line else name
        icon = line.split("Icon=")[-1].strip() if "Icon=" in line else icon
        assert "Separator" not in line
    return name, icon


@pytest.mark.parametrize("system", ["sh", "cmd"])
def test_the_menu_reads_as_it_should(system: str) -> None:
    shown = [read_as_keeper_does(entry) for entry in sorted(ENTRIES.glob(f"[!_.]*.{system}"))]
    assert shown == [
        ("Submit Job (pools)...", "afanasy.png"),
        ("Manage Pools", "tools.png"),
        ("Pool Broker Health", "info.png"),
    ]


def test_windows_gets_the_line_ends_it_needs_and_others_may_run_theirs() -> None:
    for entry in ENTRIES.glob("*.cmd"):
        data = entry.read_bytes()
        assert data.count(b"\n") == data.count(b"\r\n") > 0
    for entry in ENTRIES.glob("[!_]*.sh"):
        assert os.access(entry, os.X_OK)


@pytest.fixture
def keeper(tmp_path: Path) -> Path:
    """CGRU's folder of entries, with ours among them."""
    menu = tmp_path / "cgru dir" / "start" / "AFANASY"
    shutil.copytree(ENTRIES, menu)
    (menu / "_setup.sh").write_text(f'export CGRU_LOCATION="{menu.parents[1]}" CGRU_PYTHONEXE=echo\n')
    return menu


def run(entry: Path, path: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [entry], env={"PATH": path, **variables}, capture_output=True, text=True, timeout=30, check=False
    )


def program(folder: Path, name: str) -> Path:
    """A program that reports how it was called."""
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(f'#!/bin/bash\necho "{name}: $*"\n')
    file.chmod(0o755)
    return file


def test_submit_starts_the_launcher(keeper: Path) -> None:
    done = run(keeper / "51.afstarter_pools.sh", os.defpath)
    assert done.stdout == f"{keeper.parents[1]}/utilities/afstarter_pools/afstarter_pools.py\n"


@pytest.fixture
def terminal(tmp_path: Path) -> Path:
    """A folder with a program that runs what comes after -e, as terminals do, and reports that it was called."""
    folder = tmp_path / "terminal"
    folder.mkdir()
    file = folder / "x-terminal-emulator"
    file.write_text('#!/bin/bash\necho "in a terminal"\n[ "$1" = -e ] && shift && "$@"\n')
    file.chmod(0o755)
    return folder


@pytest.mark.parametrize(("entry", "command"), [("52.pools_manager.sh", "manager"), ("53.pools_health.sh", "health")])
def test_the_command_that_is_on_the_path_or_named_runs_in_a_terminal_in_which_it_can_be_seen_and_ended(
    keeper: Path, tmp_path: Path, terminal: Path, entry: str, command: str
) -> None:
    program(tmp_path / "my bin", "afpools")
    done = run(keeper / entry, f"{tmp_path}/my bin:{terminal}:{os.defpath}")
    assert done.stdout.split() == f"in a terminal afpools: {command}".split()
    named = program(tmp_path / "other", "pools-of-ours")
    done = run(keeper / entry, f"{terminal}:{os.defpath}", AFPOOLS_COMMAND=str(named))
    assert done.stdout.split() == f"in a terminal pools-of-ours: {command}".split()


@pytest.mark.parametrize("entry", ["52.pools_manager.sh", "53.pools_health.sh"])
def test_without_a_terminal_it_says_what_to_do(keeper: Path, tmp_path: Path, entry: str) -> None:
    # Only what the entries themselves run.
    for name in ("bash", "env", "dirname", "uname"):
        found = shutil.which(name)
        assert found
        (tmp_path / "few").mkdir(exist_ok=True)
        (tmp_path / "few" / name).symlink_to(found)
    program(tmp_path / "few", "afpools")
    done = run(keeper / entry, str(tmp_path / "few"))
    assert (done.returncode, "No terminal was found. Run this in one: " in done.stderr) == (1, True)


@pytest.mark.parametrize("entry", ["52.pools_manager.sh", "53.pools_health.sh"])
def test_without_the_command_it_says_what_to_do(keeper: Path, entry: str) -> None:
    done = run(keeper / entry, os.defpath)
    assert (done.returncode, "AFPOOLS_COMMAND" in done.stderr) == (1, True)
    done = run(keeper / entry, os.defpath, AFPOOLS_COMMAND="/not/there")
    assert (done.returncode, "/not/there was not found" in done.stderr) == (1, True)
