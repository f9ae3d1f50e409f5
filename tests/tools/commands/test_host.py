"""`afpools host` and `pool list` on a farm with afserver: members that are not renders, and what to do about them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.afserver import AfServer, afserver, renders_answer
from tests.command import Result, environment, terminal
from tests.studio import Studio, studio

from afpools import Client, OutcomeUnknown, Profile
from afpools_broker.protocol import Role

Command = Callable[..., Result]


@pytest.fixture
def farm() -> Iterator[AfServer]:
    with afserver(renders_answer(["pc-01", "pc-02", "pc-09"])) as server:
        yield server


@pytest.fixture
def place(tmp_path: Path, farm: AfServer) -> Iterator[Studio]:
    """fx and night have hosts that are gone, one of them under its full name; so has cg, which has the new one too."""
    with studio(tmp_path, farm={"server": f"127.0.0.1:{farm.address[1]}", "interval": 0.1}) as made:
        with Client(Profile.load(str(made.profile("anna", Role.MANAGER))), timeout=30) as client:
            client.create_pool("cg", ["gone-1", "pc-09"], new_hosts=True)
            client.create_pool("fx", ["pc-01", "GONE-1.studio.lan"], new_hosts=True)
            client.create_pool("night", ["gone-1", "gone-2"], new_hosts=True)
        yield made


def lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


def hosts(place: Studio, pool: str) -> list[str]:
    with Client(Profile.load(str(place.profile("anna", Role.MANAGER))), timeout=30) as client:
        return sorted(client.get_pool(pool).hosts)


def test_pools_are_listed_with_how_many_hosts_are_on_the_farm(manager: Command) -> None:
    assert lines(manager("pool", "list").out) == [
        "Pool Hosts On the farm Description",
        "cg 2 1 of 1 online",
        "fx 2 1 of 1 online",
        "night 2 no machine on the farm",
    ]
    rows = json.loads(manager("pool", "list", "--json").out)
    assert [(row["renders"], row["online"]) for row in rows] == [(1, 1), (1, 1), (0, 0)]


def test_a_mask_of_a_pool_that_can_run_nothing_comes_with_a_warning(manager: Command) -> None:
    made = manager("mask", "night")
    assert made.status == 0
    assert "No host of the pool 'night' is a machine of this farm" in made.err


def test_members_that_are_not_renders_are_named_with_what_to_do(manager: Command) -> None:
    manager("host", "register", "gone-2")
    shown = manager("host", "list")
    assert "gone-1 not on the farm cg, fx, night" in lines(shown.out)
    assert "gone-2 registered, not on the farm night" in lines(shown.out)
    assert lines(shown.err) == [
        "gone-[1-2]: 2 hosts are in pools, but not on the farm.",
        "To put another host in its place: afpools host replace gone-1 NEW",
        "To take it out of all its pools: afpools host forget --from-pools gone-1",
    ]
    rows = {row["name"]: row["on_farm"] for row in json.loads(manager("host", "list", "--json").out)}
    assert rows == {"gone-1": False, "gone-2": False, "pc-01": True, "pc-02": True, "pc-09": True}


def test_the_lists_fit_a_terminal_of_80_columns(place: Studio, tmp_path: Path) -> None:
    env = environment(tmp_path, AFPOOLS_PROFILE=str(place.profile("anna", Role.MANAGER)))
    for command in (("pool", "list"), ("host", "list")):
        with terminal(*command, env=env) as shown:
            assert shown.finish() == 0
            rows = re.sub(r"\x1b\[[0-9;]*m", "", shown.shown).splitlines()
            assert all(len(row) <= 80 for row in rows)


def test_a_host_is_replaced_in_all_its_pools(manager: Command, place: Studio) -> None:
    done = manager("host", "replace", "gone-1", "pc-09")
    assert (done.status, done.out.splitlines()) == (
        0,
        [
            "cg: pc-09 is in it, took out gone-1.",
            "fx: added pc-09, took out gone-1.",
            "night: added pc-09, took out gone-1.",
        ],
    )
    assert hosts(place, "cg") == ["pc-09"]
    assert hosts(place, "fx") == ["pc-01", "pc-09"]
    assert hosts(place, "night") == ["gone-2", "pc-09"]
    history = json.loads(manager("pool", "history", "fx", "--json").out)
    assert [entry["op"] for entry in history] == ["pools.remove_hosts", "pools.add_hosts", "pools.create"]
    again = manager("host", "replace", "gone-1", "pc-09")
    assert again.status == 1
    assert "No host gone-1 is known." in again.err
    assert "pc-09 is in cg, fx, night. If you are repeating the command, it has done its work." in " ".join(
        again.err.split()
    )


@pytest.mark.parametrize("failing", ["add_hosts", "remove_hosts"])
def test_a_half_failed_replacement_is_finished_by_the_same_command(
    manager: Command, place: Studio, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    original = getattr(Client, failing)

    def fails_in_fx(client: Client, pool: str, *arguments: object, **named: object) -> object:
        if pool != "fx":
            return original(client, pool, *arguments, **named)
        raise OutcomeUnknown([("tls://broker", "no answer came")], "some-id")

    monkeypatch.setattr(Client, failing, fails_in_fx)
    failed = manager("host", "replace", "gone-1", "pc-09")
    assert (failed.status, failed.out) == (1, "cg: pc-09 is in it, took out gone-1.\n")
    assert "Not done: fx, night. Run the same command again to do the rest." in " ".join(failed.err.split())
    monkeypatch.undo()
    monkeypatch.setenv("AFPOOLS_PROFILE", str(place.profile("anna", Role.MANAGER)))
    done = manager("host", "replace", "gone-1", "pc-09")
    assert (done.status, len(done.out.splitlines())) == (0, 2)
    assert hosts(place, "fx") == ["pc-01", "pc-09"]
    assert hosts(place, "night") == ["gone-2", "pc-09"]


@pytest.mark.parametrize(
    ("old", "by", "why"),
    [
        ("gone-9", "pc-09", "No host gone-9 is known. Did you mean gone-"),
        ("gone-1", "pc-99", "pc-99 is not on the farm"),
        ("gone-1", "GONE-1", "gone-1 cannot take its own place"),
        ("gone-[1-2]", "pc-09", "is not the name of one host"),
        ("pc-02", "pc-09", "pc-02 is in no pool."),
    ],
)
def test_a_replacement_that_makes_no_sense_changes_nothing(
    manager: Command, place: Studio, old: str, by: str, why: str
) -> None:
    refused = manager("host", "replace", old, by)
    assert refused.status in (1, 2)
    assert why in " ".join(refused.err.replace("│", " ").split())
    assert hosts(place, "night") == ["gone-1", "gone-2"]


def test_a_machine_that_is_not_set_up_yet_can_be_the_replacement(manager: Command, place: Studio) -> None:
    assert manager("host", "replace", "gone-2", "pc-10", "--new").out == "night: added pc-10, took out gone-2.\n"
    assert hosts(place, "night") == ["gone-1", "pc-10"]


def test_hosts_are_forgotten_with_their_pools(manager: Command, place: Studio) -> None:
    manager("host", "register", "gone-2")
    mistyped = manager("host", "forget", "--from-pools", "gone-1", "gone-22")
    assert mistyped.status == 1
    assert "No host gone-22 is known. Did you mean gone-2?" in mistyped.err
    assert hosts(place, "night") == ["gone-1", "gone-2"]
    done = manager("host", "forget", "--from-pools", "gone-[1-2]")
    assert done.out.splitlines() == [
        "cg: took out gone-1.",
        "fx: took out gone-1.",
        "night: took out gone-1.",
        "night: took out gone-2.",
        "Forgot gone-2.",
    ]
    assert "gone" not in manager("host", "list").out


def test_a_name_that_is_part_of_another_in_the_pool_stays(farm: AfServer, place: Studio) -> None:
    farm.renders = renders_answer(["ws", "ws.one"])
    with Client(Profile.load(str(place.profile("anna", Role.MANAGER))), timeout=30) as client:
        until = time.monotonic() + 30
        while "ws.one" not in {host.name for host in client.list_hosts().hosts}:
            assert time.monotonic() < until
            time.sleep(0.05)
        client.create_pool("desks", ["ws.one", "ws"])
        client.remove_hosts("desks", ["ws.one"])
        assert client.get_pool("desks").hosts == ("ws",)


def test_without_afserver_no_host_is_reported_missing(tmp_path: Path, afpools: Command) -> None:
    with studio(tmp_path / "by hand") as place:
        profile = place.profile("anna", Role.MANAGER)
        afpools("pool", "create", "fx", "pc-01", "--profile", profile)
        shown = afpools("host", "list", "--profile", profile)
        assert (lines(shown.out)[1], shown.err) == ("pc-01 only in pools fx", "")
        (row,) = json.loads(afpools("host", "list", "--json", "--profile", profile).out)
        assert row["on_farm"] is None
        assert afpools("host", "forget", "--from-pools", "pc-01", "--profile", profile).status == 0
        assert "pc-01" not in afpools("host", "list", "--profile", profile).out
