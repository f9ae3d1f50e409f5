"""`afpools install` and `afpools uninstall`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.command import Result

from ..conftest import BLENDER_34, BLENDER_45, everything

Afpools = Callable[..., Result]


@pytest.fixture
def cgru(tmp_path: Path) -> Path:
    """The minimum that is recognised as CGRU, with its own Blender add-on."""
    folder = tmp_path / "cgru"
    for file in ("afanasy/python/af.py", "plugins/blender/addons/cgru_tools/__init__.py"):
        (folder / file).parent.mkdir(parents=True)
        (folder / file).touch()
    return folder


def test_the_add_on_goes_into_every_blender_and_is_removed_again(afpools: Afpools, home: Path) -> None:
    (home / BLENDER_34).mkdir(parents=True)
    (home / BLENDER_34 / "other.py").write_text("# somebody else's")
    before = everything(home)
    done = afpools("install", "blender", "--yes")
    assert (done.status, "Preferences" in done.out) == (0, True)
    for place in (BLENDER_45, BLENDER_34):
        assert (home / place / "afanasy_pools/__init__.py").is_file()
        assert (home / place / "afanasy_pools/afpools/client.py").is_file()
        # What Python creates when it is used.
        cache = home / place / "afanasy_pools/afpools/__pycache__"
        cache.mkdir()
        (cache / "client.cpython-311.pyc").write_bytes(b"")
    assert not (home / ".config/blender/2.79/scripts").exists()
    assert afpools("uninstall", "blender", "--yes").status == 0
    assert everything(home) == before
    assert not (home / BLENDER_34 / "afanasy_pools").exists()


def test_planned_writes_are_shown_and_need_confirmation(afpools: Afpools, home: Path) -> None:
    done = afpools("install", "blender", given="n\n")
    assert done.status == 1
    assert f"{home / BLENDER_45}/afanasy_pools: " in done.out
    assert "+ afanasy_pools/afpools/job.py" in done.out
    assert everything(home) == {}


def test_without_a_blender_an_alternative_is_named(afpools: Afpools, tmp_path: Path) -> None:
    refused = afpools("install", "blender", "--yes")
    assert refused.status == 1
    assert "--into" in refused.err
    assert "afpools bundle blender" in refused.err
    assert afpools("install", "blender", "--yes", "--into", tmp_path / "addons").status == 0
    assert (tmp_path / "addons/afanasy_pools/__init__.py").is_file()


def test_nothing_installed_is_an_error_for_uninstall_but_not_for_a_list(afpools: Afpools, home: Path) -> None:
    listed = afpools("install", "--list")
    assert (listed.status, "Nothing is installed" in listed.out) == (0, True)
    refused = afpools("uninstall", "blender", "--yes")
    assert (refused.status, "not installed" in refused.err) == (1, True)


def test_a_blender_without_a_folder_gets_one(afpools: Afpools, tmp_path: Path) -> None:
    """Blender 3.4 does not make one when it starts."""
    program = tmp_path / "opt/blender-3.4.1-linux-x64/blender"
    (program.parent / "3.4").mkdir(parents=True)
    program.touch()
    assert afpools("install", "blender", "--yes").status == 0
    assert (tmp_path / BLENDER_34 / "afanasy_pools/__init__.py").is_file()
    assert f"Blender 3.4 sees {tmp_path / BLENDER_34}/afanasy_pools." in afpools("install", "--list").out


def test_a_whole_studio_gets_the_add_on_through_cgru(afpools: Afpools, home: Path, cgru: Path) -> None:
    before = everything(cgru)
    assert afpools("install", "blender", "--yes", "--cgru", cgru).status == 0
    place = cgru / "plugins/blender/addons/afanasy_pools"
    assert (place / "afpools/client.py").is_file()
    assert not (home / BLENDER_45).exists()
    listed = afpools("install", "--list", "--cgru", cgru).out
    assert "Blender 4.5 sees no add-on of ours." in listed
    assert f"Blender 4.5, started through CGRU, sees {place}." in listed
    assert afpools("install", "blender", "--yes").status == 0
    extension = home / BLENDER_45 / "afanasy_pools"
    assert f"Blender 4.5, started through CGRU, sees {extension} and {place}." in (
        afpools("install", "--list", "--cgru", cgru).out
    )
    refused = afpools("install", "blender", "--cgru", cgru, "--into", home)
    assert (refused.status, "not both" in refused.err) == (1, True)
    assert afpools("uninstall", "blender", "--yes", "--cgru", cgru).status == 0
    assert everything(cgru) == before


def test_a_folder_that_is_not_cgru_is_refused(afpools: Afpools, tmp_path: Path) -> None:
    refused = afpools("install", "blender", "--yes", "--cgru", tmp_path)
    assert (refused.status, "is not CGRU" in refused.err) == (1, True)


def test_a_note_that_concerns_several_plug_ins_is_listed_once(afpools: Afpools) -> None:
    listed = afpools("install", "--list")
    assert listed.err.count("Where is CGRU?") == 1
    assert "afstarter, natron, nuke, maya, houdini, fusion, keeper, hook: " in listed.err


@pytest.mark.parametrize(
    "name", ["afstarter", "natron", "nuke", "maya", "houdini", "fusion", "keeper", "hook", "blender"]
)
def test_cgru_may_come_before_the_command(afpools: Afpools, cgru: Path, name: str) -> None:
    before = everything(cgru)
    done = afpools("install", "--cgru", cgru, name, "--yes")
    assert done.status == 0, done.err
    assert everything(cgru).keys() > before.keys()
    assert afpools("uninstall", "--cgru", cgru, name, "--yes").status == 0
    assert everything(cgru) == before


def test_the_hook_goes_into_a_studios_cgru_and_a_second_run_changes_nothing(afpools: Afpools, cgru: Path) -> None:
    before = everything(cgru)
    assert afpools("install", "hook", "--cgru", cgru, "--yes").status == 0
    for file in ("sitecustomize.py", "afpools_hook/__init__.py", "afpools_hook/afpools/job.py"):
        assert (cgru / "plugins/afpools_hook" / file).is_file()
    assert {"setup_afpools.sh", "setup_afpools.cmd"} <= {file.name for file in cgru.iterdir()}
    again = afpools("install", "hook", "--cgru", cgru)
    assert (again.status, ": 0 files to write" in again.out) == (0, True)
    assert "hook" in afpools("install", "--list", "--cgru", cgru).out
    assert afpools("uninstall", "hook", "--cgru", cgru, "--yes").status == 0
    assert everything(cgru) == before


def test_the_hook_goes_into_a_separate_folder_and_respects_a_foreign_sitecustomize(
    afpools: Afpools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own"
    done = afpools("install", "hook", "--into", own, "--yes")
    assert (done.status, "CGRU_CUSTOM_PYTHONPATH" in done.out) == (0, True)
    assert (own / "sitecustomize.py").is_file()
    assert not (own / "setup_afpools.sh").exists()
    monkeypatch.setenv("CGRU_CUSTOM_PYTHONPATH", f"{tmp_path / 'gone'}:{own}")
    assert f"hook      {own}" in afpools("install", "--list").out
    (own / "sitecustomize.py").write_text("# somebody's")
    refused = afpools("install", "hook", "--into", own, "--yes")
    assert (refused.status, "is in the way" in refused.err) == (1, True)
    assert afpools("install", "hook", "--into", own, "--cgru", own, "--yes").status == 1
