"""`afpools bundle blender`, run from the repository and from an installed wheel."""

from __future__ import annotations

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


def test_without_a_name_it_is_called_after_its_version(
    afpools: Afpools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = afpools("bundle", "blender")
    manifest = tomllib.loads((plugin_sources("blender") / "blender_manifest.toml").read_text())
    assert [path.name for path in tmp_path.glob("*.zip")] == [f"afanasy_pools-{manifest['version']}.zip"], done.err


def test_a_failed_write_is_reported_in_one_line(afpools: Afpools, tmp_path: Path) -> None:
    done = afpools("bundle", "blender", "-o", tmp_path / "nowhere" / "add-on.zip")
    assert done.status == 1
    assert "nowhere/add-on.zip cannot be written: No such file or directory." in done.err
