"""`afpools pool follow`: a pool that has the renders of one of Afanasy's own, as a TD types it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.broker.live.conftest import put_job
from tests.broker.store.places import wait_until
from tests.command import Result
from tests.live_office import live_manager, live_office
from tests.studio import Studio
from tests.working_afserver import WorkingAfServer, working_afserver

from afpools import Client

Command = Callable[..., Result]


@pytest.fixture
def server() -> Iterator[WorkingAfServer]:
    with working_afserver("pc-01", "pc-02", "pc-03", "pc-04") as server:
        server.set_pool("/local/farm", "pc-01", "pc-02")
        yield server


@pytest.fixture
def place(server: WorkingAfServer, tmp_path: Path) -> Iterator[Studio]:
    with live_office(tmp_path / "farm", server) as made:
        yield made


@pytest.fixture
def client(place: Studio) -> Iterator[Client]:
    with live_manager(place, "anna", 4) as client:
        yield client


def lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


def hosts(manager: Command, pool: str) -> list[str]:
    return list(json.loads(manager("pool", "show", pool, "--json").out)["hosts"])


def test_a_pool_follows_until_it_is_told_not_to(manager: Command, client: Client, server: WorkingAfServer) -> None:
    done = manager("pool", "follow", "/local/farm", "--as", "farm")
    assert done.out == "farm follows /local/farm and has 2 hosts now: pc-[01-02].\n"
    assert done.err == "To change its hosts here again: afpools pool unfollow farm\n"
    manager("pool", "create", "fx", "pc-04")
    assert lines(manager("pool", "list").out) == [
        "Pool Hosts On the farm Follows Description",
        "farm 2 2 of 2 online /local/farm",
        "fx 1 1 of 1 online",
    ]
    assert "Follows /local/farm in Afanasy, where its hosts are changed" in lines(manager("pool", "show", "farm").out)
    server.set_pool("/local/farm", "pc-03")
    wait_until(lambda: "pc-03" in hosts(manager, "farm"))
    refused = manager("pool", "add", "farm", "pc-04")
    assert (refused.status, "run `afpools pool unfollow farm`" in " ".join(refused.err.split())) == (1, True)
    for what in ("add", "pc-04"), ("remove", "pc-01"):
        refused = manager("pool", what[0], "farm", what[1], "--dry-run")
        assert (refused.status, "run `afpools pool unfollow farm`" in " ".join(refused.err.split())) == (1, True)
    done = manager("pool", "unfollow", "farm")
    assert done.out == "farm no longer follows Afanasy's pool, and keeps its 3 hosts.\n"
    assert manager("pool", "unfollow", "farm").out == "Nothing to do: farm follows no pool of Afanasy.\n"
    assert manager("pool", "add", "farm", "pc-04").status == 0
    history = [" ".join(line.split()) for line in manager("pool", "history", "farm").out.splitlines()]
    assert [text for text in history if "broker broker farm followed /local/farm: pc-03 joined" in text]
    assert [text for text in history if "anna follow /local/farm as farm: + pc-[01-02]" in text]


def test_without_a_name_it_is_called_as_in_an_import(manager: Command, client: Client) -> None:
    assert manager("pool", "follow", "/local/").out.startswith("local follows /local/ and has 2 hosts")


def test_mistyped_and_taken_names_are_reported(manager: Command, client: Client) -> None:
    assert "Did you mean /local/farm?" in manager("pool", "follow", "/local/fram").err
    manager("pool", "create", "farm", "pc-04")
    taken = " ".join(manager("pool", "follow", "/local/farm", "--as", "farm").err.split())
    assert "Choose another name with --as, or first rename that pool: afpools pool rename farm NEW_NAME." in taken


def test_a_replaced_host_stays_in_a_following_pool(manager: Command, client: Client) -> None:
    manager("pool", "follow", "/local/farm", "--as", "farm")
    manager("pool", "create", "fx", "pc-01")
    done = manager("host", "replace", "pc-01", "pc-03")
    assert (done.status, done.out) == (0, "fx: added pc-03, took out pc-01.\n")
    said = "farm follows Afanasy's pool /local/farm, so pc-01 stays in it as long as it is in that."
    assert " ".join(done.err.split()) == said


def test_a_file_with_other_hosts_for_a_following_pool_is_imported_except_for_that_pool(
    manager: Command, client: Client, tmp_path: Path
) -> None:
    manager("pool", "follow", "/local/farm", "--as", "farm")
    file = tmp_path / "pools.csv"
    file.write_text("pool,host\nfarm,pc-01\nfarm,pc-04\nfx,pc-03\n")
    done = manager("pool", "import", file)
    assert (done.status, done.out) == (1, "fx: create with 1 host\n1 change made.\n")
    assert "The pool 'farm' follows Afanasy's pool '/local/farm'" in " ".join(done.err.split())
    assert hosts(manager, "farm") == ["pc-01", "pc-02"]


def test_an_import_says_what_it_does_to_jobs_before_it_is_made(
    manager: Command, client: Client, server: WorkingAfServer
) -> None:
    client.create_pool("local/farm", ["pc-01"])
    mask = client.exclude_mask("local/farm")
    put_job(server, mask.mask, "local/farm", mask.revision, offline=True)
    wait_until(lambda: bool(client.jobs().jobs))
    for given in (("--dry-run",), ()):
        said = manager("pool", "import", "--native", "--only", "/local/farm", *given, given="n\n")
        assert said.out.startswith("/local/farm → local/farm: + pc-02\nlocal/farm: 1 job gains pc-02.\n")
    assert hosts(manager, "local/farm") == ["pc-01"]
