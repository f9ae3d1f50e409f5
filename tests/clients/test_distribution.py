"""The distribution `afpools`: the client library by itself, for Pythons into which nothing else may be installed."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

import afpools

ROOT = Path(__file__).parents[2]
CLIENTS = ROOT / "clients"
_OLDEST = (3, 7)


def _run(*command: object, **options: Any) -> str:
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONPATH": ""}
    done = subprocess.run(
        [str(word) for word in command], env=environment, capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def _version(python: Path) -> tuple[int, int] | None:
    """What an interpreter says about itself; None if it does not run or cannot make environments."""
    said = subprocess.run(
        [python, "-c", "import sys, ensurepip, venv; print(*sys.version_info[:2])"],
        capture_output=True,
        text=True,
        check=False,
    )
    if said.returncode:
        return None
    major, minor = map(int, said.stdout.split())
    return major, minor


def pythons() -> list[Path]:
    """The oldest and the newest Python on this machine that the library is for; only one if there is no other."""
    names = [f"python3.{minor}" for minor in range(_OLDEST[1], 30)]
    found = [Path(path) for name in names if (path := shutil.which(name))]
    found += Path.home().glob(".pyenv/versions/3.*/bin/python")
    found.append(Path(sys.executable))
    versions = {version: path for path in found if (version := _version(path)) and version >= _OLDEST}
    return [versions[version] for version in sorted({min(versions), max(versions)})]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source distribution, made from a copy as `python -m build` makes them."""
    folder = tmp_path_factory.mktemp("distribution")
    source = folder / "clients"
    shutil.copytree(CLIENTS, source, ignore=shutil.ignore_patterns("__pycache__"))
    _run(sys.executable, "-m", "build", "--outdir", folder / "built", source)
    return folder / "built"


@pytest.mark.heavy
def test_it_installs_and_works_in_the_oldest_and_the_newest_python(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    for python in pythons():
        environment = tmp_path / python.parts[-3]
        _run(python, "-m", "venv", environment)
        inside = environment / "bin" / "python"
        _run(inside, "-m", "pip", "install", "--quiet", "--no-index", wheel)
        script = "import afpools, afpools.job, afpools.pool_menu; print(afpools.__version__, afpools.__file__)"
        said = _run(inside, "-W", "error", "-c", script, cwd=tmp_path)
        assert said.split()[0] == afpools.__version__
        assert str(environment) in said
        # It tries to open a connection.
        refused = _run(inside, "-c", _ASK_NOBODY, cwd=tmp_path)
        assert "No profile was found" in refused, refused


_ASK_NOBODY = """
import os
os.environ["HOME"] = os.environ["XDG_CONFIG_HOME"] = os.environ["APPDATA"] = os.getcwd()
os.environ.pop("AFPOOLS_PROFILE", None)
import afpools
try:
    with afpools.Client() as client:
        client.list_pools()
except afpools.AfpoolsError as error:
    print(error)
"""


@pytest.mark.heavy
def test_a_wheel_contains_the_library_and_its_licence_and_nothing_else(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        names = set(files.namelist())
        (metadata,) = [name for name in names if name.endswith("/METADATA")]
        said = files.read(metadata).decode()
    modules = {f"afpools/{path.name}" for path in (CLIENTS / "afpools").glob("*.py")}
    assert {name for name in names if ".dist-info/" not in name} == modules | {"afpools/py.typed"}
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert "Requires-Dist" not in said
    assert "Requires-Python: >=3.7" in said


@pytest.mark.heavy
def test_a_source_distribution_builds_the_same_wheel(built: Path, tmp_path: Path) -> None:
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as files:
        files.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    assert {"LICENSE", "README.md", "package.py", "pyproject.toml"} <= {path.name for path in source.iterdir()}
    _run(sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path / "again", source)
    (again,), (first,) = (tmp_path / "again").glob("*.whl"), built.glob("*.whl")
    with zipfile.ZipFile(again) as one, zipfile.ZipFile(first) as other:
        assert sorted(one.namelist()) == sorted(other.namelist())


@pytest.mark.heavy
def test_pypi_would_accept_both(built: Path) -> None:
    said = _run(sys.executable, "-m", "twine", "check", "--strict", *built.iterdir())
    assert said.count("PASSED") == 2


def test_both_distributions_have_one_version_and_one_licence() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["version"] == afpools.__version__
    assert f"afpools=={afpools.__version__}" in project["dependencies"]
    assert (CLIENTS / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_a_rez_package_says_the_same_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rez runs `package.py` with `early` defined and the package's folder as the current one."""
    monkeypatch.chdir(CLIENTS)
    source = Path("package.py").read_text("utf-8")
    defined: dict[str, Any] = {"early": lambda: lambda function: function}
    exec(compile(ast.parse(source), "package.py", "exec"), defined)  # as Rez does
    assert (defined["name"], defined["version"]()) == ("afpools", afpools.__version__)
    assert defined["requires"] == ["python-3.7+"]


def test_the_page_with_recipes_names_every_command_of_pip() -> None:
    page = (ROOT / "docs" / "library.md").read_text("utf-8")
    for program in ("mayapy", "hython", "Nuke", "Blender", "Rez"):
        assert re.search(rf"\b{program}\b", page), program
