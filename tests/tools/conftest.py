"""A broker, and the program that people use to ask it."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.command import Result
from tests.studio import Studio, studio

from afpools_broker.protocol import Role
from afpools_tools import cli
from afpools_tools.plugins import blenders
from afpools_tools.setup import make_state

BLENDER_45 = ".config/blender/4.5/extensions/user_default"
BLENDER_34 = ".config/blender/3.4/scripts/addons"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Studio]:
    """A studio without pools, and without afserver."""
    with studio(tmp_path) as made:
        yield made


@pytest.fixture
def afpools(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Result]:
    """Runs one command in this process, as the console script would."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in ("AFPOOLS_PROFILE", "AFPOOLS_CA_PASSPHRASE", "CGRU_LOCATION"):
        monkeypatch.delenv(variable, raising=False)
    for variable in ("BLENDER_USER_SCRIPTS", "BLENDER_USER_EXTENSIONS", "BLENDER_USER_RESOURCES"):
        monkeypatch.delenv(variable, raising=False)
    for variable in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(variable, raising=False)

    # The test must not see Blenders on this machine.
    monkeypatch.setattr(blenders, "_ROOT", tmp_path)
    monkeypatch.setattr(blenders, "_on_path", lambda environment: [])

    def afpools(*arguments: object, given: str = "") -> Result:
        monkeypatch.setattr(sys, "argv", ["afpools", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given.encode()), encoding="utf-8"))
        capsys.readouterr()
        try:
            cli.main()
        except SystemExit as end:
            status = end.code
        else:
            status = 0
        shown = capsys.readouterr()
        return Result(status or 0, shown.out, shown.err)

    return afpools


@pytest.fixture
def manager(place: Studio, afpools: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`afpools` with a manager profile."""
    monkeypatch.setenv("AFPOOLS_PROFILE", str(place.profile("anna", Role.MANAGER)))
    return afpools


@pytest.fixture
def reader(place: Studio, afpools: Callable[..., Result]) -> Callable[..., Result]:
    """`afpools` with a reader's profile, named on the command line."""
    profile = place.profile("bert", Role.READER)

    def reader(*arguments: Any, **options: Any) -> Result:
        return afpools(*arguments, "--profile", profile, **options)

    return reader


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The broker.toml of a broker that has been set up, with ports that the system chooses, and the profiles `manager`
    and `reader`."""
    make_state(tmp_path / "etc", curve_port=1024, tls_port=1025)
    file = tmp_path / "etc" / "broker.toml"
    file.write_text(file.read_text().replace("port = 1024", "port = 0").replace("port = 1025", "port = 0"))
    return file


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A user who has started two Blenders, and one that is too old."""
    for version in ("4.5", "3.4", "2.79"):
        (tmp_path / ".config/blender" / version).mkdir(parents=True)
    return tmp_path


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
