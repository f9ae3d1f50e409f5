"""`afpools bundle blender`, run from the repository and from an installed wheel."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import time
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.command import Result

from afpools_tools.plugins.sources import plugin_sources

Afpools = Callable[..., Result]

ROOT = Path(__file__).parents[3]


def test_everything_is_in_one_folder_with_the_library_inside(afpools: Afpools, tmp_path: Path) -> None:
    written = tmp_path / "add-on.zip"
    done = afpools("bundle", "blender", "-o", written)
    assert (done.status, done.out, done.err) == (0, f"{written}\n", "")
    names = zipfile.ZipFile(written).namelist()
    assert {name.split("/")[0] for name in names} == {"afanasy_pools"}
    assert {"afanasy_pools/blender_manifest.toml", "afanasy_pools/__init__.py"} < set(names)
    assert {"afanasy_pools/afpools/__init__.py", "afanasy_pools/afpools/job.py"} < set(names)
    assert not [name for name in names if "__pycache__" in name]


def test_the_same_sources_make_the_same_bytes(afpools: Afpools, tmp_path: Path) -> None:
    first, second = tmp_path / "1.zip", tmp_path / "2.zip"
    afpools("bundle", "blender", "-o", first)
    time.sleep(2)  # a zip counts in steps of two seconds
    afpools("bundle", "blender", "-o", second)
    assert first.read_bytes() == second.read_bytes()


def test_without_a_name_it_is_called_after_its_version(
    afpools: Afpools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = afpools("bundle", "blender")
    manifest = tomllib.loads((plugin_sources("blender") / "blender_manifest.toml").read_text())
    assert [path.name for path in tmp_path.glob("*.zip")] == [f"afanasy_pools-{manifest['version']}.zip"], done.err


def test_what_cannot_be_written_is_said_in_one_line(afpools: Afpools, tmp_path: Path) -> None:
    done = afpools("bundle", "blender", "-o", tmp_path / "nowhere" / "add-on.zip")
    assert done.status == 1
    assert "nowhere/add-on.zip cannot be written: No such file or directory." in done.err


def test_old_and_new_blenders_read_the_same_of_it() -> None:
    """Blender before 4.2 evaluates `bl_info` from the source, without running it."""
    folder = plugin_sources("blender")
    manifest = tomllib.loads((folder / "blender_manifest.toml").read_text())
    tree = ast.parse((folder / "__init__.py").read_text())
    (value,) = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "bl_info"
    ]
    bl_info = ast.literal_eval(value)
    assert bl_info["name"] == manifest["name"]
    assert ".".join(map(str, bl_info["version"])) == manifest["version"]
    assert bl_info["description"] == manifest["tagline"]


@pytest.mark.heavy
def test_a_wheel_brings_the_plug_ins(afpools: Afpools, tmp_path: Path) -> None:
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}

    def pip(*arguments: object) -> None:
        command = [sys.executable, "-m", "pip", *map(str, arguments)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    pip("wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, ROOT)
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    script = "import sys; from pathlib import Path; from afpools_tools.plugins.bundle import write_blender_zip; "
    script += "write_blender_zip(Path(sys.argv[1]), 'afanasy_pools'); print(sys.modules['afpools_tools'].__file__)"
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "wheel.zip"],
        env={**environment, "PYTHONPATH": str(tmp_path / "installed")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith(str(tmp_path / "installed")), done.stderr
    afpools("bundle", "blender", "-o", tmp_path / "repository.zip")
    assert (tmp_path / "wheel.zip").read_bytes() == (tmp_path / "repository.zip").read_bytes()
