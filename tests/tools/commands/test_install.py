"""`afpools install` and `afpools uninstall`."""

from __future__ import annotations

import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from tests.command import Result

from afpools_broker.protocol import Role
from afpools_tools.credentials.authority import Authority
from afpools_tools.plugins import catalogue
from afpools_tools.plugins import install as plugin_files
from afpools_tools.plugins.sources import PluginError, plugin_sources

Afpools = Callable[..., Result]

BLENDER_45 = ".config/blender/4.5/extensions/user_default"
BLENDER_34 = ".config/blender/3.4/scripts/addons"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A user who has started two Blenders, and one that is too old."""
    for version in ("4.5", "3.4", "2.79"):
        (tmp_path / ".config/blender" / version).mkdir(parents=True)
    return tmp_path


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_add_on_goes_into_every_blender_and_is_taken_away_again(afpools: Afpools, home: Path) -> None:
    (home / BLENDER_34).mkdir(parents=True)
    (home / BLENDER_34 / "other.py").write_text("# somebody else's")
    before = everything(home)
    done = afpools("install", "blender", "--yes")
    assert (done.status, "Preferences" in done.out) == (0, True)
    for place in (BLENDER_45, BLENDER_34):
        assert (home / place / "afanasy_pools/__init__.py").is_file()
        assert (home / place / "afanasy_pools/afpools/client.py").is_file()
        # What Python makes of it when it is used.
        cache = home / place / "afanasy_pools/afpools/__pycache__"
        cache.mkdir()
        (cache / "client.cpython-311.pyc").write_bytes(b"")
    assert not (home / ".config/blender/2.79/scripts").exists()
    assert afpools("uninstall", "blender", "--yes").status == 0
    assert everything(home) == before
    assert not (home / BLENDER_34 / "afanasy_pools").exists()


def test_what_will_be_written_is_shown_and_asked_for(afpools: Afpools, home: Path) -> None:
    done = afpools("install", "blender", given="n\n")
    assert done.status == 1
    assert f"{home / BLENDER_45}/afanasy_pools: " in done.out
    assert "+ afanasy_pools/afpools/job.py" in done.out
    assert everything(home) == {}


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


def test_what_somebody_has_changed_is_neither_overwritten_nor_removed(afpools: Afpools, home: Path) -> None:
    afpools("install", "blender", "--yes")
    file = home / BLENDER_45 / "afanasy_pools/ui.py"
    file.write_text("# mine")
    assert "changed" in afpools("install", "--list").out
    refused = afpools("install", "blender", "--yes")
    assert (refused.status, str(file) in refused.err, file.read_text()) == (1, True, "# mine")
    removed = afpools("uninstall", "blender", "--yes")
    assert (removed.status, "stays" in removed.err) == (0, True)
    assert [name for name in everything(home) if "afanasy_pools" in name] == [f"{BLENDER_45}/afanasy_pools/ui.py"]


def test_a_file_of_somebody_elses_is_not_overwritten(afpools: Afpools, home: Path) -> None:
    file = home / BLENDER_45 / "afanasy_pools/__init__.py"
    file.parent.mkdir(parents=True)
    file.write_text("# theirs")
    refused = afpools("install", "blender", "--yes")
    assert (refused.status, "Nothing was written" in refused.err) == (1, True)
    assert everything(home) == {f"{BLENDER_45}/afanasy_pools/__init__.py": b"# theirs"}


def test_what_cannot_be_written_to_the_end_leaves_nothing_behind(afpools: Afpools, home: Path) -> None:
    (home / BLENDER_45 / "afanasy_pools").mkdir(parents=True)
    # A file where a folder is to be.
    (home / BLENDER_45 / "afanasy_pools/afpools").write_text("in the way")
    before = everything(home)
    refused = afpools("install", "blender", "--yes")
    assert (refused.status, "cannot be written" in refused.err) == (1, True)
    assert {name for name in everything(home) if "4.5" in name} == set(before)


def test_an_update_that_was_broken_off_can_be_done_again(
    afpools: Afpools, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_the_sources_are_not_taken_for_an_installation(afpools: Afpools, home: Path) -> None:
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


def test_without_a_blender_the_way_round_is_said(afpools: Afpools, tmp_path: Path) -> None:
    refused = afpools("install", "blender", "--yes")
    assert refused.status == 1
    assert "--into" in refused.err
    assert "afpools bundle blender" in refused.err
    assert afpools("install", "blender", "--yes", "--into", tmp_path / "addons").status == 0
    assert (tmp_path / "addons/afanasy_pools/__init__.py").is_file()


def test_nothing_installed_is_no_error_in_a_list_and_one_when_taken_away(afpools: Afpools, home: Path) -> None:
    listed = afpools("install", "--list")
    assert (listed.status, "Nothing is installed" in listed.out) == (0, True)
    refused = afpools("uninstall", "blender", "--yes")
    assert (refused.status, "not installed" in refused.err) == (1, True)


def test_a_profile_is_put_where_the_plug_in_looks_and_for_its_owner_alone(afpools: Afpools, home: Path) -> None:
    authority = Authority.create(home / "certs")
    authority.issue_broker("broker", ["127.0.0.1"])
    profile = authority.issue_profile("anna", Role.READER, ["tls://127.0.0.1:5571"])
    assert "No profile was found" in afpools("install", "blender", "--yes").err
    copy = home / ".config/afpools"
    asked = afpools("install", "blender", "--profile", profile, given="n\n")
    assert (asked.status, f"{copy}: 4 files to write" in asked.out, copy.exists()) == (1, True, False)
    assert afpools("install", "blender", "--yes", "--profile", profile).status == 0
    assert stat.S_IMODE(copy.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in copy.iterdir()} == {0o600}
    assert everything(copy) == everything(profile)
    assert "No profile" not in afpools("install", "blender", "--yes").err
    assert afpools("install", "blender", "--yes", "--profile", profile).status == 0
    (copy / "profile.json").write_text("{}")
    refused = afpools("install", "blender", "--yes", "--profile", profile)
    assert (refused.status, (copy / "profile.json").read_text()) == (1, "{}")
    assert f"The profile in {copy} stays" in afpools("uninstall", "blender", "--yes").out


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


@pytest.mark.heavy
def test_modules_go_into_another_python_from_a_folder_without_a_network(afpools: Afpools, tmp_path: Path) -> None:
    other = tmp_path / "other"
    # Without pip, as embedded Pythons come.
    assert installation_venv(other) == 0
    python = other / "bin/python"
    refused = afpools("install", "python", "--python", python, "pyzmq", "--wheels", tmp_path)
    assert (refused.status, "pip could not install pyzmq" in refused.err) == (1, True)
    wheel = tmp_path / "wheels/pyzmq-99.0-py3-none-any.whl"
    wheel.parent.mkdir()
    write_wheel(wheel, "pyzmq", "zmq")
    done = afpools("install", "python", "--python", python, "pyzmq", "--wheels", wheel.parent)
    assert (done.status, "can be imported" in done.out) == (0, True), done.err


@pytest.mark.heavy
def test_modules_go_into_the_python_itself_and_not_beside_it_for_this_user_alone(
    afpools: Afpools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, user = tmp_path / "other", tmp_path / "user"
    assert installation_venv(other, "--system-site-packages") == 0
    python = other / "bin/python"
    monkeypatch.setenv("PYTHONUSERBASE", str(user))
    script = "import site; print(site.getusersitepackages())"
    own = Path(subprocess.run([python, "-c", script], capture_output=True, text=True, check=True).stdout.strip())
    assert own.is_relative_to(user)
    own.mkdir(parents=True)
    wheel = tmp_path / "wheels/pyzmq-99.0-py3-none-any.whl"
    wheel.parent.mkdir()
    write_wheel(wheel, "pyzmq", "zmq")
    zipfile.ZipFile(wheel).extractall(own)
    done = afpools("install", "python", "--python", python, "pyzmq", "--wheels", wheel.parent)
    assert (done.status, "can be imported" in done.out) == (0, True), done.err
    assert subprocess.run([python, "-s", "-c", "import zmq"], check=False).returncode == 0


def installation_venv(folder: Path, *options: str) -> int:
    command = [sys.executable, "-m", "venv", "--without-pip", *options, str(folder)]
    return subprocess.run(command, check=False, timeout=60).returncode


def write_wheel(path: Path, distribution: str, module: str) -> None:
    """The smallest thing that pip installs."""
    info = f"{distribution}-99.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{module}/__init__.py", "")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 99.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")


def test_only_the_two_modules_can_be_asked_for(afpools: Afpools) -> None:
    refused = afpools("install", "python", "--python", sys.executable, "requests")
    assert (refused.status, "'requests' is not one of pymongo, pyzmq" in refused.err) == (1, True)


def test_what_is_no_python_is_named(afpools: Afpools, tmp_path: Path) -> None:
    (tmp_path / "python").write_text("no program")
    refused = afpools("install", "python", "--python", tmp_path / "python")
    assert (refused.status, "cannot be run" in refused.err) == (1, True)


@pytest.mark.parametrize("plugin", ["afstarter", "natron", "fusion", "keeper"])
def test_what_goes_into_cgru_leaves_no_trace_when_it_is_taken_away(
    afpools: Afpools, tmp_path: Path, plugin: str
) -> None:
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


def test_nothing_that_natron_would_take_for_a_plug_in_of_its_own_lies_in_its_folder(
    afpools: Afpools, tmp_path: Path
) -> None:
    (tmp_path / "afanasy/python").mkdir(parents=True)
    (tmp_path / "afanasy/python/af.py").touch()
    assert afpools("install", "natron", "--yes", "--cgru", tmp_path).status == 0
    scripts = {file.name for file in (tmp_path / "plugins/natron").rglob("*.py")}
    assert scripts == {"init.py", "initGui.py", "afanasy_pools.py"}
    assert (tmp_path / "plugins/natron_afpools/afpools/job.py").is_file()
