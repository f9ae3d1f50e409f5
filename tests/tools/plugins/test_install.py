"""Installing plug-ins and removing them again, and what stays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from tests.command import Result

from afpools_tools.plugins import catalogue
from afpools_tools.plugins import install as plugin_files
from afpools_tools.plugins.sources import plugin_sources

from ..conftest import BLENDER_45, everything

Afpools = Callable[..., Result]


def test_a_second_run_writes_nothing_and_an_update_removes_what_is_gone(afpools: Afpools, home: Path) -> None:
    afpools("install", "blender", "--yes")
    again = afpools("install", "blender")
    assert (again.status, "0 files to write" in again.out) == (0, True)
    place = home / BLENDER_45
    plugin = catalogue.Plugin("blender", "afanasy_pools", "afanasy_pools/afpools", "")
    older = place / "afanasy_pools/older.py"
    older.write_text("# of the version before")
    receipt = plugin_files.read_receipt(plugin, place)
    assert receipt
    files = {**receipt.files, "afanasy_pools/older.py": plugin_files._digest(older.read_bytes())}
    (place / plugin.receipt).write_bytes(msgspec.json.encode(plugin_files.Receipt("0.0.1", files)))
    assert "outdated" in afpools("install", "--list").out
    updated = afpools("install", "blender", "--yes")
    assert "- afanasy_pools/older.py" in updated.out
    assert not older.exists()
    listed = afpools("install", "--list").out
    assert ("outdated" in listed, listed.count("current")) == (False, 2)


def test_a_file_that_somebody_has_changed_is_neither_overwritten_nor_removed(afpools: Afpools, home: Path) -> None:
    afpools("install", "blender", "--yes")
    file = home / BLENDER_45 / "afanasy_pools/ui.py"
    file.write_text("# mine")
    assert "changed" in afpools("install", "--list").out
    refused = afpools("install", "blender", "--yes")
    assert (refused.status, str(file) in refused.err, file.read_text()) == (1, True, "# mine")
    removed = afpools("uninstall", "blender", "--yes")
    assert (removed.status, "is kept" in removed.err) == (0, True)
    assert [name for name in everything(home) if "afanasy_pools" in name] == [f"{BLENDER_45}/afanasy_pools/ui.py"]


def test_a_file_of_somebody_elses_is_not_overwritten(afpools: Afpools, home: Path) -> None:
    file = home / BLENDER_45 / "afanasy_pools/__init__.py"
    file.parent.mkdir(parents=True)
    file.write_text("# theirs")
    refused = afpools("install", "blender", "--yes")
    assert (refused.status, "Nothing was written" in refused.err) == (1, True)
    assert everything(home) == {f"{BLENDER_45}/afanasy_pools/__init__.py": b"# theirs"}


def test_an_incomplete_write_leaves_nothing_behind(afpools: Afpools, home: Path) -> None:
    (home / BLENDER_45 / "afanasy_pools").mkdir(parents=True)
    # A file in place of a folder.
    (home / BLENDER_45 / "afanasy_pools/afpools").write_text("in the way")
    before = everything(home)
    refused = afpools("install", "blender", "--yes")
    assert (refused.status, "cannot be written" in refused.err) == (1, True)
    assert {name for name in everything(home) if "4.5" in name} == set(before)


def test_an_interrupted_update_can_be_repeated(afpools: Afpools, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = home / BLENDER_45
    afpools("install", "blender", "--yes", "--into", place)
    plugin = catalogue.Plugin("blender", "afanasy_pools", "afanasy_pools/afpools", "")
    receipt = plugin_files.read_receipt(plugin, place)
    assert receipt
    files = dict(receipt.files)
    for path in files:
        (place / path).write_text("# of the version before")
        files[path] = plugin_files._digest((place / path).read_bytes())
    (place / plugin.receipt).write_bytes(msgspec.json.encode(plugin_files.Receipt("0.0.1", files)))
    replace, count = Path.replace, iter(range(3))

    def three_times(self: Path, target: Path) -> Path:
        if next(count, None) is None:
            raise PermissionError(13, "Permission denied", str(self))
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", three_times)
        assert afpools("install", "blender", "--yes", "--into", place).status == 1
    assert not list(place.rglob("*.new"))
    assert afpools("install", "blender", "--yes", "--into", place).status == 0
    assert afpools("uninstall", "blender", "--yes", "--into", place).status == 0
    assert everything(place) == {}


def test_the_sources_are_not_mistaken_for_an_installation(afpools: Afpools, home: Path) -> None:
    (home / BLENDER_45).mkdir(parents=True)
    (home / BLENDER_45 / "afanasy_pools").symlink_to(plugin_sources("blender"))
    refused = afpools("install", "blender", "--yes")
    assert (refused.status, "the plug-in's own sources" in refused.err) == (1, True)
    assert not (plugin_sources("blender") / ".afpools-blender.json").exists()


def test_a_damaged_receipt_does_not_hide_the_others(afpools: Afpools, home: Path, tmp_path: Path) -> None:
    cgru = tmp_path / "cgru"
    (cgru / "afanasy/python").mkdir(parents=True)
    (cgru / "afanasy/python/af.py").touch()
    afpools("install", "keeper", "--yes", "--cgru", cgru)
    afpools("install", "blender", "--yes")
    (home / BLENDER_45 / "afanasy_pools/.afpools-blender.json").write_text("{")
    listed = afpools("install", "--list", "--cgru", cgru)
    assert (listed.status, "keeper" in listed.out, ".afpools-blender.json cannot be read" in listed.err) == (
        0,
        True,
        True,
    )


def test_a_damaged_receipt_is_named_and_nothing_is_removed(afpools: Afpools, home: Path) -> None:
    afpools("install", "blender", "--yes")
    receipt = home / BLENDER_45 / "afanasy_pools/.afpools-blender.json"
    for damage in ("{", '{"version": "1", "files": {"../../x": "0"}}', '{"version": "1", "files": {"/etc/x": "0"}}'):
        receipt.write_text(damage)
        refused = afpools("uninstall", "blender", "--yes")
        assert (refused.status, str(receipt) in refused.err) == (1, True)
    assert (home / BLENDER_45 / "afanasy_pools/ui.py").exists()


@pytest.mark.parametrize("plugin", ["afstarter", "natron", "nuke", "maya", "houdini", "fusion", "keeper"])
def test_an_installation_into_cgru_leaves_no_trace_when_removed(afpools: Afpools, tmp_path: Path, plugin: str) -> None:
    cgru = tmp_path / "cgru"
    for file in ("afanasy/python/af.py", "start/AFANASY/50.afstarter.sh", "plugins/fusion/Comp/Afanasy.py"):
        (cgru / file).parent.mkdir(parents=True, exist_ok=True)
        (cgru / file).touch()
    before = everything(cgru)
    assert afpools("install", plugin, "--yes", "--cgru", cgru).status == 0
    assert len(everything(cgru)) > len(before)
    assert plugin in afpools("install", "--list", "--cgru", cgru).out
    assert afpools("uninstall", plugin, "--yes", "--cgru", cgru).status == 0
    assert everything(cgru) == before


def test_natrons_folder_contains_nothing_that_natron_would_load_by_itself(afpools: Afpools, tmp_path: Path) -> None:
    (tmp_path / "afanasy/python").mkdir(parents=True)
    (tmp_path / "afanasy/python/af.py").touch()
    assert afpools("install", "natron", "--yes", "--cgru", tmp_path).status == 0
    scripts = {file.name for file in (tmp_path / "plugins/natron").rglob("*.py")}
    assert scripts == {"init.py", "initGui.py", "afanasy_pools.py"}
    assert (tmp_path / "plugins/natron_afpools/afpools/job.py").is_file()
