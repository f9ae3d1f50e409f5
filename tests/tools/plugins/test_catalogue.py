"""The plug-ins there are, and where their host applications look."""

from __future__ import annotations

from pathlib import Path

import pytest

from afpools_tools.plugins import catalogue
from afpools_tools.plugins.blenders import Blender
from afpools_tools.plugins.sources import PluginError


def test_cgru_is_recognised_by_its_af_py(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="CGRU_LOCATION"):
        catalogue.cgru_place(None, {})
    with pytest.raises(PluginError, match="is not CGRU"):
        catalogue.cgru_place(None, {"CGRU_LOCATION": str(tmp_path)})
    (tmp_path / "afanasy/python").mkdir(parents=True)
    (tmp_path / "afanasy/python/af.py").touch()
    assert catalogue.cgru_place(tmp_path, {}) == tmp_path


def test_blenders_that_cgru_starts_look_into_cgru(tmp_path: Path) -> None:
    (tmp_path / "afanasy/python").mkdir(parents=True)
    (tmp_path / "afanasy/python/af.py").touch()
    made = [Blender((4, 2), "", tmp_path / "4.2"), Blender((3, 4), "", tmp_path / "3.4")]
    studio = tmp_path / "plugins/blender/addons"
    extension, classic = tmp_path / "4.2/extensions/user_default", tmp_path / "4.2/scripts/addons"
    assert catalogue.looks_in(made, {}) == [
        ("Blender 4.2", [extension, classic]),
        ("Blender 3.4", [tmp_path / "3.4/scripts/addons"]),
    ]
    expected = [
        ("Blender 4.2", [extension, classic]),
        ("Blender 4.2, started through CGRU,", [extension, studio]),
        ("Blender 3.4", [tmp_path / "3.4/scripts/addons"]),
        ("Blender 3.4, started through CGRU,", [studio]),
    ]
    assert catalogue.looks_in(made, {}, tmp_path) == expected
    within = {"CGRU_LOCATION": str(tmp_path), "BLENDER_USER_SCRIPTS": str(studio.parent)}
    assert catalogue.looks_in(made, within) == expected
    # CGRU leaves the variable alone if somebody has set it.
    own = {"CGRU_LOCATION": str(tmp_path), "BLENDER_USER_SCRIPTS": str(tmp_path / "own")}
    assert {tuple(seen) for name, seen in catalogue.looks_in(made, own) if "3.4" in name} == {
        (tmp_path / "own/addons",)
    }
