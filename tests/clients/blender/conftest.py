"""Blender as a module, each version in its own virtual environment (`make blender`), and CGRU's add-on in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.afserver import AfServer, afserver
from tests.studio import Studio, studio

from afpools import Client, Profile
from afpools_broker.protocol import Role
from afpools_tools.plugins.bundle import write_blender_zip

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
VERSIONS = ("4.2", "5.0")

StartBlender = Callable[..., "Blender"]


class Blender:
    """A running Blender. Every function in inside.py is one of its methods."""

    def __init__(self, python: Path, home: Path, **variables: str) -> None:
        read, write = os.pipe()
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("AFPOOLS_", "CGRU_", "XDG_"))}
        self._log = (home / "blender.log").open("w")
        self._process = subprocess.Popen(
            [str(python), str(HERE / "inside.py"), str(write)],
            env={**kept, "HOME": str(home), "BLENDER_USER_RESOURCES": str(home / "blender"), **variables},
            cwd=home,
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            pass_fds=(write,),
            text=True,
        )
        os.close(write)
        self._answers = os.fdopen(read)
        self.log = home / "blender.log"

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(**arguments: Any) -> Any:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps([name, arguments]) + "\n")
            self._process.stdin.flush()
            line = self._answers.readline()
            assert line, f"Blender has ended:\n{self.log.read_text()}"
            answer = json.loads(line)
            if "raised" in answer:
                raise AssertionError(f"{name} raised in Blender:\n{answer['raised']}")
            return answer["result"]

        return call

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._answers.close()
        self._log.close()


@pytest.fixture(params=VERSIONS)
def python(request: pytest.FixtureRequest) -> Path:
    """The Python that has this version of Blender."""
    found = ROOT / f".venv-blender-{request.param}" / "bin" / "python"
    if not found.exists():
        why = f"There is no Blender {request.param} as a module in {found}: run `make blender`."
        if os.environ.get("CI") == "true":
            pytest.fail(why, pytrace=False)
        pytest.skip(why)
    return found


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zip that `afpools bundle blender` writes."""
    path = tmp_path_factory.mktemp("bundle") / "afanasy_pools.zip"
    write_blender_zip(path, "afanasy_pools")
    return path


@pytest.fixture
def farm() -> Iterator[AfServer]:
    """An afserver that accepts jobs."""
    with afserver() as server:
        yield server


@pytest.fixture
def open_studio(tmp_path: Path) -> Iterator[Studio]:
    """A real broker with five hosts, and the pools fx and gpu on them."""
    with studio(tmp_path / "studio") as made:
        with Client(Profile.load(str(made.profile("boss", Role.MANAGER)))) as manager:
            manager.register_hosts(["pc-[01-05]"])
            manager.create_pool("fx", ["pc-01", "pc-03"], "Simulation")
            manager.create_pool("gpu", ["pc-05"])
        yield made


@pytest.fixture(params=["stand-in", "stock"])
def cgru(request: pytest.FixtureRequest) -> Path:
    """The folder of CGRU's add-on: the real one if CGRU is installed, and always one that is as strict."""
    if request.param == "stand-in":
        return HERE / "cgru_tools_stand_in"
    location = os.environ.get("CGRU_LOCATION")
    if not location:
        pytest.skip("CGRU_LOCATION is not set: the stock add-on is not here.")
    return Path(location) / "plugins" / "blender" / "addons" / "cgru_tools"


@pytest.fixture
def start_blender(tmp_path: Path, python: Path, bundle: Path, farm: AfServer) -> Iterator[StartBlender]:
    """Starts Blenders with our add-on installed from its zip."""
    with ExitStack() as stack:

        def start(
            cgru: Path | None = None,
            profile: Path | None = None,
            online: bool = True,
            classic_copy: bool = False,
            **more: str,
        ) -> Blender:
            home = tmp_path / "home"
            home.mkdir(exist_ok=True)
            # The last place where CGRU's configuration looks, so it wins.
            variables = {"CGRU_AF_SERVERNAME": farm.address[0], "CGRU_AF_SERVERPORT": str(farm.address[1])}
            if classic_copy:
                shutil.unpack_archive(bundle, home / "blender" / "scripts" / "addons")
            if cgru is not None:
                shutil.copytree(cgru, home / "blender" / "scripts" / "addons" / "cgru_tools", dirs_exist_ok=True)
                if cgru.parent != HERE:
                    variables["CGRU_LOCATION"] = os.environ["CGRU_LOCATION"]
            blender = Blender(python, home, **variables, **more)
            stack.callback(blender.stop)
            blender.allow_online(allowed=online)
            assert blender.install(file=str(bundle)), blender.log.read_text()
            if profile is not None:
                blender.use_profile(folder=str(profile))
            blender.save(file=str(home / "shot_010.blend"))
            return blender

        yield start
