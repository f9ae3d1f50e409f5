"""A farm whose afserver has never answered: lists of hosts say so, and no mask is called correct."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.command import Result
from tests.studio import Studio, studio

from afpools_broker.protocol import Role

NEVER = "The broker has never seen the farm"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Studio]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        nobody = f"127.0.0.1:{listening.getsockname()[1]}"
    with studio(tmp_path, farm={"server": nobody}) as made:
        yield made


@pytest.fixture
def asked(place: Studio, afpools: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`afpools` in a studio with two pools."""
    monkeypatch.setenv("AFPOOLS_PROFILE", str(place.profile("anna", Role.MANAGER)))
    afpools("pool", "create", "ten", "pc-10")
    afpools("pool", "create", "rest", "pc-01")
    return afpools


def test_a_mask_that_could_only_be_tried_on_pools_is_not_called_correct(asked: Callable[..., Result]) -> None:
    shown = asked("mask", "ten", "--check", "pc-01", "--type", "find")
    assert shown.status == 1
    assert NEVER in " ".join(shown.out.split())
    found = asked("mask", "ten", "--check", "pc-01", "--type", "find", "--json")
    assert found.status == 1
    assert [warning for warning in json.loads(found.out)["warnings"] if NEVER in warning]


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_list_of_hosts_says_that_they_are_not_from_the_farm(asked: Callable[..., Result], options: list[str]) -> None:
    shown = asked("host", "list", *options)
    assert "pc-10" in shown.out
    assert NEVER in " ".join(shown.err.split())


def test_with_hosts_registered_by_hand_there_is_no_farm_to_see(
    tmp_path: Path, afpools: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    with studio(tmp_path) as place:
        monkeypatch.setenv("AFPOOLS_PROFILE", str(place.profile("anna", Role.MANAGER)))
        afpools("pool", "create", "ten", "pc-10")
        assert NEVER not in afpools("host", "list").err
