"""Files that may change while a broker runs: the last valid value counts until there is a new one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from afpools_broker.credentials.files import CredentialError, Watched, explain


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "number"
    file.write_text("1")
    return file


@pytest.fixture
def watched(path: Path) -> Watched[int]:
    return Watched(path, int)


def test_an_invalid_file_leaves_the_last_valid_value(watched: Watched[int], path: Path) -> None:
    watched.look()
    path.write_text("rubbish")
    watched.look()
    assert (watched.value, "rubbish" in explain(watched.error or ValueError())) == (1, True)
    path.write_text("2")
    watched.look()
    assert (watched.value, watched.error) == (2, None)


def test_a_file_that_has_not_changed_for_a_while_is_not_read_again(path: Path) -> None:
    reads: list[bytes] = []
    watched = Watched(path, reads.append)
    os.utime(path, (1, 1))
    for _ in range(3):
        watched.look()
    assert reads == [b"1"]
    watched.forget()
    watched.look()
    assert reads == [b"1", b"1"]


def test_a_file_that_has_just_been_written_is_read_at_each_look(watched: Watched[int], path: Path) -> None:
    """Two writes may have the same time stamp."""
    watched.look()
    before = path.stat()
    path.write_text("7")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    watched.look()
    assert watched.value == 7


def test_a_path_that_is_not_a_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    watched = Watched(tmp_path / "pipe", int)
    watched.look()
    assert "not a regular file" in explain(watched.error or ValueError())


def test_a_broker_that_cannot_start_names_the_command_that_helps(tmp_path: Path, path: Path) -> None:
    with pytest.raises(CredentialError, match=r"nothing: there is no such file\. `afpools certs init` makes it"):
        Watched(tmp_path / "nothing", int).look_or_raise("afpools certs init")
    path.write_text("rubbish")
    with pytest.raises(CredentialError, match="certs check"):
        Watched(path, int).look_or_raise("afpools certs init")
