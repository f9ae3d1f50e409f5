"""The program as a whole: what it lists without loading, and what its commands load."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.command import environment
from tests.studio import Studio

from afpools_broker.protocol import Role
from afpools_tools import cli

# Importing any of these takes longer than a whole reading command should, or a large part of that.
_DEAR = {
    "afpools_broker",
    "asyncio",
    "cryptography",
    "msgspec",
    "psutil",
    "pydantic",
    "pymongo",
    "starlette",
    "uvicorn",
    "zmq",
}

_RUN = """
import sys
from afpools_tools.cli import main
try:
    main()
finally:
    print(*sorted(%r & set(sys.modules)), file=sys.stderr)
"""


@pytest.mark.parametrize("name", cli._COMMANDS)
def test_a_command_is_listed_with_the_first_paragraph_of_its_own_help(name: str) -> None:
    first = cli.load(name).help.split("\n\n")[0]
    assert cli._COMMANDS[name].says == " ".join(first.split())


@pytest.mark.parametrize(
    "command",
    [
        "--help",
        "pool --help",
        "mask --help",
        "host --help",
        "pool list",
        "pool list --json --timeout 3 --profile PROFILE",
        "pool show fx",
        "pool show fx --json",
        "pool history",
        "mask fx",
        "host list",
        "pool create other",
        "nonsense",
    ],
)
def test_slow_imports_are_avoided_unless_needed(place: Studio, manager: Any, tmp_path: Path, command: str) -> None:
    manager("host", "register", "pc-01", "pc-02")
    manager("pool", "create", "fx", "pc-01")
    profile = str(place.profile("anna", Role.MANAGER))
    arguments = command.replace("PROFILE", profile).split()
    done = subprocess.run(
        [sys.executable, "-c", _RUN % _DEAR, *arguments],
        env=environment(tmp_path, AFPOOLS_PROFILE=profile),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == (2 if command == "nonsense" else 0), done.stderr
    # Names are folded in a module of the broker that imports nothing else.
    folds = {"afpools_broker"} if command in ("pool show fx", "pool history") else set()
    assert set(done.stderr.splitlines()[-1].split()) <= folds
