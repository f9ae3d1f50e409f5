"""The add-on as a zip, and in a repository from which Blender updates it."""

from __future__ import annotations

import ast
import json
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.command import Result

from afpools_tools.plugins.bundle import write_blender_repository
from afpools_tools.plugins.catalogue import blender_manifest
from afpools_tools.plugins.sources import plugin_sources

Afpools = Callable[..., Result]


ROOT = Path(__file__).parents[3]


def test_the_same_sources_make_the_same_bytes(afpools: Afpools, tmp_path: Path) -> None:
    first, second = tmp_path / "1.zip", tmp_path / "2.zip"
    afpools("bundle", "blender", "-o", first)
    time.sleep(2)  # a zip stores times in steps of two seconds
    afpools("bundle", "blender", "-o", second)
    assert first.read_bytes() == second.read_bytes()


def test_old_and_new_blenders_read_the_same_metadata() -> None:
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


# --- a repository of extensions ---


def test_other_extensions_stay_in_the_index(tmp_path: Path) -> None:
    other = {"id": "zebra", "version": "1.0.0", "archive_url": "./zebra.zip"}
    older = {"id": "afanasy_pools", "version": "0.0.1", "archive_url": "./afanasy_pools-0.0.1.zip"}
    blocked = [{"id": "bad", "reason": "it is"}]
    index = tmp_path / "index.json"
    index.write_text(json.dumps({"version": "v1", "blocklist": blocked, "data": [other, older]}))
    assert write_blender_repository(tmp_path) == index
    written = json.loads(index.read_text())
    assert written["blocklist"] == blocked
    assert [(entry["id"], entry["version"]) for entry in written["data"]] == [
        ("afanasy_pools", blender_manifest()["version"]),
        ("zebra", "1.0.0"),
    ]
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    write_blender_repository(tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("<html>", "not an index of Blender extensions"),
        ("[]", "not an index of Blender extensions"),
        ('{"version": "v2", "blocklist": [], "data": []}', "has version 'v2'"),
    ],
)
def test_an_index_that_is_not_understood_is_left_alone(
    afpools: Afpools, content: str, why: str, tmp_path: Path
) -> None:
    (tmp_path / "index.json").write_text(content)
    refused = afpools("bundle", "blender", "--index", tmp_path)
    assert refused.status == 1
    assert why in refused.err.replace("\n", " ")
    assert [path.name for path in tmp_path.iterdir()] == ["index.json"]
    assert (tmp_path / "index.json").read_text() == content


def test_an_unusable_place_for_a_repository_is_reported_in_one_line(afpools: Afpools, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "file" in afpools("bundle", "blender", "--index", tmp_path / "file").err
    refused = afpools("bundle", "blender", "--index", tmp_path / "file" / "below")
    assert (refused.status, "Traceback" in refused.err) == (1, False), refused.err
    both = afpools("bundle", "blender", "--index", tmp_path, "-o", tmp_path / "x.zip")
    assert (both.status, "not both" in both.err) == (1, True)
