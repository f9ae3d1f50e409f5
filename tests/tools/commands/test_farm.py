"""`afpools farm` against a real broker and a stand-in for afserver, as a TD types it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.afserver import AfServer, renders_answer
from tests.command import Result
from tests.studio import Studio, studio


@pytest.fixture
def server() -> Iterator[AfServer]:
    made = AfServer(renders_answer(["pc-01", "pc-02"]))
    yield made
    made.stop()


@pytest.fixture
def place(tmp_path: Path, server: AfServer) -> Iterator[Studio]:
    with studio(tmp_path, farm={"server": "{}:{}".format(*server.address)}) as made:
        yield made


def test_post_commands_are_restricted_to_a_pool_and_released_again(
    server: AfServer, manager: Callable[..., Result]
) -> None:
    manager("pool", "create", "post", "pc-01", "--new")
    unset = manager("farm", "system-pool")
    assert unset.out.startswith("No system pool has been set: post commands run on any render")
    assert "afpools farm system-pool POOL" in unset.err
    assert manager("farm", "system-pool", "post").out.startswith("Post commands are fenced to 'post' since ")
    assert server.system_job["hosts_mask_exclude"] == "(?!pc-01$).*"
    assert json.loads(manager("farm", "system-pool", "--json").out)["pool"] == "post"
    assert "Post commands are fenced to 'post'" in manager("health").out
    assert "set system pool: post" in manager("pool", "history").out
    refused = manager("pool", "delete", "post", "--yes")
    assert (refused.status, "afpools farm system-pool NAME, or --none" in refused.err) == (1, True)
    assert manager("farm", "system-pool", "--none").out == "Post commands are not fenced: they run on any render.\n"
    assert "hosts_mask_exclude" not in server.system_job


def test_a_mask_that_a_person_has_set_is_an_exit_status(server: AfServer, manager: Callable[..., Result]) -> None:
    manager("pool", "create", "post", "pc-01", "--new")
    manager("farm", "system-pool", "post")
    server.mood = "rubbish"
    lost = manager("farm", "system-pool", "post")
    assert (lost.status, "Whether post commands are fenced is not known" in lost.err) == (1, True)


def test_a_pool_and_none_exclude_each_other(manager: Callable[..., Result]) -> None:
    assert manager("farm", "system-pool", "post", "--none").status == 2


def test_a_missing_pool_is_refused_with_a_suggestion(manager: Callable[..., Result]) -> None:
    manager("pool", "create", "post", "pc-01", "--new")
    refused = manager("farm", "system-pool", "pst")
    assert (refused.status, "Did you mean 'post'?" in refused.err) == (1, True)
