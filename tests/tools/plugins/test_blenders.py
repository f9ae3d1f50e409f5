"""The Blenders of a machine, found by their installations and folders."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from afpools_tools.plugins import blenders
from afpools_tools.plugins.blenders import Blender, ask_version, find_blenders


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The machine's folders, the user's home among them."""
    monkeypatch.setattr(blenders, "_ROOT", tmp_path)
    return tmp_path


def found(
    home: Path, environment: Mapping[str, str] | None = None, platform: str = "linux", says: str = ""
) -> dict[str, list[str]]:
    """Each Blender's name, and the folder where it looks for add-ons, relative to the home."""
    version = tuple(map(int, says.split("."))) if says else None
    made = find_blenders(home, environment or {}, platform, lambda _: version)  # type: ignore[arg-type, return-value]
    return {it.name: [os.path.relpath(place, home) for place in it.places(environment or {})] for it in made}


def program(path: Path, *versions: str) -> Path:
    """An executable, with a folder for each version beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    for version in versions:
        (path.parent / version).mkdir()
    return path


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
    (tmp_path / base / "4.3").touch()
    places = found(tmp_path, {"APPDATA": str(tmp_path / "roaming")}, platform)
    assert [(name, looked_in[0]) for name, looked_in in places.items()] == [
        ("Blender 10.0", f"{base}/10.0/extensions/user_default"),
        ("Blender 4.2", f"{base}/4.2/extensions/user_default"),
        ("Blender 4.1", f"{base}/4.1/scripts/addons"),
        ("Blender 2.83", f"{base}/2.83/scripts/addons"),
    ]


def test_a_blender_that_was_never_started_is_found_by_its_program(tmp_path: Path) -> None:
    program(tmp_path / "opt/blender-4.5.1-linux-x64/blender", "4.5")
    program(tmp_path / "blender-3.6/blender", "3.6")
    assert list(found(tmp_path)) == ["Blender 4.5", "Blender 3.6"]


def test_a_blender_without_a_folder_for_its_version_is_asked(tmp_path: Path) -> None:
    """Debian's: /usr/bin/blender, and /usr/share/blender without a version."""
    program(tmp_path / "usr/bin/blender")
    path = {"PATH": f"/nowhere{os.pathsep}{tmp_path / 'usr/bin'}"}
    assert found(tmp_path, path, says="3.4") == {"Blender 3.4": [".config/blender/3.4/scripts/addons"]}
    assert found(tmp_path, path) == {}


def test_a_link_on_the_path_and_the_place_that_cgru_names_are_followed(tmp_path: Path) -> None:
    program(tmp_path / "share/blender-4.2/blender", "4.2")
    program(tmp_path / "other/blender", "5.0")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/blender").symlink_to(tmp_path / "share/blender-4.2/blender")
    environment = {"PATH": str(tmp_path / "bin"), "BLENDER_LOCATION": str(tmp_path / "other")}
    assert list(found(tmp_path, environment)) == ["Blender 5.0", "Blender 4.2"]


def test_flatpak_and_snap(tmp_path: Path) -> None:
    program(tmp_path / "var/lib/flatpak/app/org.blender.Blender/current/active/files/blender/blender", "4.5")
    program(tmp_path / "snap/blender/current/blender", "5.0")
    (tmp_path / "usr/bin").mkdir(parents=True)
    program(tmp_path / "usr/bin/snap")
    (tmp_path / "snap/bin").mkdir()
    (tmp_path / "snap/bin/blender").symlink_to(tmp_path / "usr/bin/snap")
    environment = {"PATH": str(tmp_path / "snap/bin")}
    assert {name: looked_in[0] for name, looked_in in found(tmp_path, environment, says="1.0").items()} == {
        "Blender 5.0": ".config/blender/5.0/extensions/user_default",
        "Blender 4.5 (Flatpak)": ".var/app/org.blender.Blender/config/blender/4.5/extensions/user_default",
    }


def test_microsofts_store_has_its_own_folders(tmp_path: Path) -> None:
    package = "AppData/Local/Packages/BlenderFoundation.Blender_ppwjx1n5r4v9t"
    (tmp_path / package / "LocalCache/Roaming/Blender Foundation/Blender/4.2").mkdir(parents=True)
    (tmp_path / "AppData/Roaming/Blender Foundation/Blender/4.2").mkdir(parents=True)
    assert {name: looked_in[0] for name, looked_in in found(tmp_path, {}, "win32").items()} == {
        "Blender 4.2": "AppData/Roaming/Blender Foundation/Blender/4.2/extensions/user_default",
        "Blender 4.2 (Microsoft Store)": f"{package}/LocalCache/Roaming/Blender Foundation/Blender/4.2/extensions/"
        "user_default",
    }


def test_a_portable_blender_keeps_everything_beside_itself(tmp_path: Path) -> None:
    program(tmp_path / "blender-4.5/blender", "4.5")
    (tmp_path / "blender-4.5/portable").mkdir()
    program(tmp_path / "blender-3.6/blender", "3.6")
    (tmp_path / "blender-3.6/3.6/config").mkdir()
    assert found(tmp_path) == {
        "Blender 4.5 (portable)": [
            "blender-4.5/portable/extensions/user_default",
            "blender-4.5/portable/scripts/addons",
        ],
        "Blender 3.6 (portable)": ["blender-3.6/3.6/scripts/addons"],
    }


def test_blenders_own_variables_move_its_folders(tmp_path: Path) -> None:
    for version in ("4.2", "3.6"):
        (tmp_path / ".config/blender" / version).mkdir(parents=True)
    scripts = found(tmp_path, {"BLENDER_USER_SCRIPTS": str(tmp_path / "cgru")})
    assert scripts == {
        "Blender 4.2": [".config/blender/4.2/extensions/user_default", "cgru/addons"],
        "Blender 3.6": ["cgru/addons"],
    }
    extensions = found(tmp_path, {"BLENDER_USER_EXTENSIONS": str(tmp_path / "ours")})
    assert extensions["Blender 4.2"][0] == "ours/user_default"
    everything = found(tmp_path, {"BLENDER_USER_RESOURCES": str(tmp_path / "all")})
    assert everything == {
        "Blender 4.2": ["all/extensions/user_default", "all/scripts/addons"],
        "Blender 3.6": ["all/scripts/addons"],
    }


def test_a_blender_that_is_found_twice_is_named_once(tmp_path: Path) -> None:
    (tmp_path / ".config/blender/4.5").mkdir(parents=True)
    program(tmp_path / "opt/blender-4.5/blender", "4.5")
    program(tmp_path / "opt/blender-copy/blender", "4.5")
    assert list(found(tmp_path)) == ["Blender 4.5"]


@pytest.mark.parametrize(
    ("script", "version"),
    [
        ("echo 'Blender 3.4.1'; echo '  build date: ?'", (3, 4)),
        ("echo 'Read prefs'; echo 'Blender 4.5.12 LTS'", (4, 5)),
        ("echo 'not a Blender 5'", None),
        ("exit 3", None),
        ("printf '\\xff\\xfe'", None),
    ],
)
def test_a_programs_own_words_about_its_version_are_read(
    script: str, version: tuple[int, int] | None, tmp_path: Path
) -> None:
    executable = program(tmp_path / "blender")
    executable.write_text(f"#!/bin/sh\n{script}\n")
    assert ask_version(executable) == version
    assert ask_version(tmp_path / "missing") is None


def test_a_blender_is_named_as_people_say_it(tmp_path: Path) -> None:
    assert Blender((4, 2), "Flatpak", tmp_path).name == "Blender 4.2 (Flatpak)"
