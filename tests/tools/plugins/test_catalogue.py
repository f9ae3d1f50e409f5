"""The plug-ins there are, and where their host applications look."""

from __future__ import annotations

from pathlib import Path

import pytest

from afpools_tools.plugins import catalogue
from afpools_tools.plugins.sources import PluginError


@pytest.mark.parametrize(
    ("platform", "base"),
    [
        ("linux", ".config/blender"),
        ("darwin", "Library/Application Support/Blender"),
        ("win32", "roaming/Blender Foundation/Blender"),
    ],
)
def test_blenders_folders_are_where_its_manual_says(platform: str, base: str, tmp_path: Path) -> None:
    for name in ("4.2", "4.1", "10.0", "config", "2.79", "2.83"):
        (tmp_path / base / name).mkdir(parents=True)
    places = catalogue.blender_places(tmp_path, {"APPDATA": str(tmp_path / "roaming")}, platform)
    assert [str(place.relative_to(tmp_path / base)) for place in places] == [
        "10.0/extensions/user_default",
        "4.2/extensions/user_default",
        "4.1/scripts/addons",
        "2.83/scripts/addons",
    ]


def test_cgru_is_recognised_by_its_af_py(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="CGRU_LOCATION"):
        catalogue.cgru_place(None, {})
    with pytest.raises(PluginError, match="is not CGRU"):
        catalogue.cgru_place(None, {"CGRU_LOCATION": str(tmp_path)})
    (tmp_path / "afanasy/python").mkdir(parents=True)
    (tmp_path / "afanasy/python/af.py").touch()
    assert catalogue.cgru_place(tmp_path, {}) == tmp_path
