"""The add-on as a zip."""

from __future__ import annotations

import ast
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

from tests.command import Result

from afpools_tools.plugins.sources import plugin_sources

Afpools = Callable[..., Result]


ROOT = Path(__file__).parents[3]


def test_the_same_sources_make_the_same_bytes(afpools: Afpools, tmp_path: Path) -> None:
    first, second = tmp_path / "1.zip", tmp_path / "2.zip"
    afpools("bundle", "blender", "-o", first)
    time.sleep(2)  # a zip counts in steps of two seconds
    afpools("bundle", "blender", "-o", second)
    assert first.read_bytes() == second.read_bytes()


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
