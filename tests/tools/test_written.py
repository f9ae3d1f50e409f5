"""A file is written as a whole or not at all, and errors name it and say what to do."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from afpools_tools.written import PRIVATE, PROGRAM, PUBLIC, NotWritten, not_written, replacing, write


@pytest.mark.parametrize("mode", [PRIVATE, PUBLIC, PROGRAM])
def test_a_file_is_replaced_and_has_its_mode(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "pools.json"
    file.write_text("before")
    file.chmod(0o666)
    write(file, "ä", mode)
    assert file.read_bytes() == "ä".encode()
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(file.stat().st_mode) == mode & ~umask
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_for_all_users_is_that_whatever_the_umask_is(tmp_path: Path) -> None:
    umask = os.umask(0o077)
    try:
        with replacing(tmp_path / "tool", PROGRAM, whatever_umask=True) as file:
            file.write(b"#!")
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "tool").stat().st_mode) == PROGRAM


def test_the_old_file_stays_until_the_end_and_after_an_error(tmp_path: Path) -> None:
    file = tmp_path / "pools.json"
    file.write_text("before")

    def interrupted() -> None:
        with replacing(file) as new:
            new.write(b"half")
            new.flush()
            assert file.read_text() == "before"
            raise KeyError

    with pytest.raises(KeyError):
        interrupted()
    assert file.read_text() == "before"
    assert list(tmp_path.iterdir()) == [file]


def test_a_full_disk_is_reported_and_loses_nothing(tmp_path: Path) -> None:
    file = tmp_path / "pools.json"
    file.write_text("before")

    def filled() -> None:
        with replacing(file) as new, Path("/dev/full").open("wb", 0) as full:
            new.write(b"half")
            full.write(b"half")

    with pytest.raises(NotWritten) as raised:
        filled()
    assert f"{file} cannot be written: No space left on device. Make room on the disk of {tmp_path}" in str(
        raised.value
    )
    assert file.read_text() == "before"
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    file = tmp_path / "no" / "pools.json"
    with pytest.raises(NotWritten) as raised:
        write(file, "")
    assert str(raised.value).startswith(f"{file} cannot be written: No such file or directory. Make the folder")
    assert str(file.parent) in str(raised.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(NotWritten, match=f"Get the right to write into {tmp_path}"):
        write(tmp_path / "pools.json", "")


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.EPERM, errno.EDQUOT, errno.EIO])
def test_each_error_says_what_to_do(code: int) -> None:
    said = str(not_written(Path("/backups/pools.json"), OSError(code, os.strerror(code))))
    assert said.startswith(f"/backups/pools.json cannot be written: {os.strerror(code)}. ")
    assert "hoose another place." in said
