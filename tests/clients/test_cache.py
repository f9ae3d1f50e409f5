"""What programs can do without, kept from one start to the next."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from afpools.cache import cache_folder, keep, note_recent_pool, recent_pools


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_the_cache_is_where_the_system_keeps_such_things(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setenv("HOME", "/home/anna")
    monkeypatch.setenv("LOCALAPPDATA", "/local")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    expected = {"linux": "/home/anna/.cache", "darwin": "/home/anna/Library/Caches", "win32": "/local"}
    assert cache_folder() == f"{expected[platform]}/afpools"


def test_the_last_five_pools_that_were_used_are_remembered_each_once(tmp_path: Path) -> None:
    folder = str(tmp_path / "cache" / "afpools")
    assert recent_pools(folder) == []
    for name in ("a", "b", "c", "a", "d", "e", "f", "\N{SNOWMAN}"):
        note_recent_pool(name, folder)
    assert recent_pools(folder) == ["\N{SNOWMAN}", "f", "e", "d", "a"]
    (file,) = Path(folder).iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["", "two\nlines", "\ud800"])
def test_what_is_not_a_pools_name_is_not_remembered(name: str, tmp_path: Path) -> None:
    note_recent_pool(name, str(tmp_path))
    assert recent_pools(str(tmp_path)) == []


@pytest.mark.parametrize("content", [b"\xff\xfe", b"\0" * 100_000])
def test_a_damaged_file_costs_nothing_but_the_memory(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "recent-pools.txt").write_bytes(content)
    recent_pools(str(tmp_path))
    note_recent_pool("fx", str(tmp_path))
    assert recent_pools(str(tmp_path))[0] == "fx"


def test_a_folder_that_cannot_be_written_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    note_recent_pool("fx", str(tmp_path / "file"))
    keep(str(tmp_path / "file" / "below" / "x"), "text")
    assert (tmp_path / "file").read_bytes() == b""
