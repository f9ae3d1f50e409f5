"""A CGRU with the hook in it, as `afpools install hook` puts it there, a broker, an afserver, and somebody's home."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.afserver import AfServer, afserver, renders_answer
from tests.studio import Studio, studio

from afpools import Client, Profile
from afpools_broker.protocol import Role
from afpools_tools.plugins.catalogue import PLUGINS
from afpools_tools.plugins.install import install, plan

HERE = Path(__file__).parent
STAND_IN = HERE.parent / "afstarter" / "cgru"
STOCK = os.environ.get("CGRU_LOCATION")

FX = "(?!pc-0[13]$).*"
"""What keeps a job on the pool fx."""


@dataclass
class Office:
    """Somebody at a machine of the studio."""

    cgru: Path
    farm: AfServer
    place: Studio
    home: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def profile(self) -> Path:
        return self.home / ".config" / "afpools"

    def say(self, **said: object) -> None:
        """Puts it into the profile."""
        file = self.profile / "profile.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **said}))

    @property
    def hook(self) -> Path:
        return self.cgru / "plugins" / "afpools_hook"

    @property
    def env(self) -> dict[str, str]:
        """The environment as CGRU's setup.sh leaves it."""
        path = self.cgru / "afanasy/python", self.hook, self.cgru / "lib/python"
        kept = ("AFPOOLS_", "XDG_", "CGRU_", "AF_", "PYTHON")
        return {
            **{key: value for key, value in os.environ.items() if not key.startswith(kept)},
            "HOME": str(self.home),
            "TMPDIR": str(self.home),
            "CGRU_LOCATION": str(self.cgru),
            "CGRU_PYTHONEXE": sys.executable,
            "AF_ROOT": str(self.cgru / "afanasy"),
            "CGRU_AF_SERVERNAME": "127.0.0.1",
            "CGRU_AF_SERVERPORT": str(self.farm.address[1]),
            "PYTHONPATH": os.pathsep.join(map(str, path)),
            **self.variables,
        }

    def python(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, *arguments)

    def run(self, *command: object, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*map(str, command)],
            **{"env": self.env, "cwd": self.home, "timeout": 100, **options},
            capture_output=True,
            text=True,
            check=False,
        )

    def afjob(self, *options: object) -> subprocess.CompletedProcess[str]:
        """CGRU's own afjob.py, which knows nothing of pools."""
        scene = self.home / "shot.nk"
        scene.touch()
        return self.python(self.cgru / "afanasy/python/afjob.py", scene, 1, 10, *options)

    @property
    def job(self) -> dict[str, Any]:
        """The one job that has arrived."""
        (job,) = self.farm.jobs
        return job

    def broker_away(self) -> None:
        self.place.broker.__exit__(None, None, None)


def pool_of(job: dict[str, Any]) -> str | None:
    """The pool that a job notes and is kept on; None for a job without any trace of us."""
    if not {"hosts_mask_exclude", "hosts_mask_type", "custom_data"} & job.keys():
        return None
    assert job["hosts_mask_type"] == "regex"
    return str(json.loads(job["custom_data"])["afpools"]["pool"])


def not_sent(done: subprocess.CompletedProcess[str]) -> str:
    """The one sentence with which a script has ended; the brokers that were tried may be listed below it."""
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    line, *tried = done.stderr.splitlines()
    assert all(each.startswith("  ") for each in tried)
    assert line.startswith("Afanasy Pools: The job was not sent")
    return line


def link_to(cgru: Path, folder: Path) -> Path:
    """A CGRU that uses another's files, and into which something can be installed."""
    folder.mkdir()
    for entry in cgru.iterdir():
        if entry.name != "plugins":
            (folder / entry.name).symlink_to(entry)
    (folder / "plugins").mkdir()
    if (cgru / "plugins").is_dir():
        for entry in (cgru / "plugins").iterdir():
            (folder / "plugins" / entry.name).symlink_to(entry)
    return folder


def open_office(cgru: Path, folder: Path) -> Iterator[Office]:
    plugin = PLUGINS["hook"]()
    install(plugin, plan(plugin, cgru), "test")
    (folder / "home/.cgru").mkdir(parents=True)
    with afserver(renders_answer([f"pc-0{n}" for n in range(1, 6)])) as farm:
        address = f"127.0.0.1:{farm.address[1]}"
        with studio(folder / "studio", farm={"server": address}) as place:
            with Client(Profile.load(str(place.profile("anna", Role.MANAGER))), timeout=30) as client:
                client.create_pool("fx", ["pc-01", "pc-03"])
                client.create_pool("gpu", ["pc-05"])
            office = Office(cgru, farm, place, folder / "home")
            shutil.copytree(place.profile("kim"), office.profile)
            yield office


KINDS = [
    "stand-in",
    pytest.param("stock", marks=pytest.mark.skipif(not STOCK, reason="CGRU_LOCATION names no CGRU")),
]


@pytest.fixture(params=KINDS)
def office(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Office]:
    cgru = STAND_IN if request.param == "stand-in" else Path(STOCK or "")
    yield from open_office(link_to(cgru, tmp_path / "cgru"), tmp_path)


@pytest.fixture
def stock_office(tmp_path: Path) -> Iterator[Office]:
    """A studio with CGRU's own files."""
    if not STOCK:
        pytest.skip("CGRU_LOCATION names no CGRU")
    yield from open_office(link_to(Path(STOCK), tmp_path / "cgru"), tmp_path)


def old_python(version: str) -> Path:
    """A Python of a version that the library is too new for. Skips a test if there is none."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    for found in (*versions.glob(f"{version}.*/bin/python"), shutil.which(f"python{version}")):
        if found and not subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode:
            return Path(found)
    pytest.skip(f"there is no python{version} here")
