"""Putting hosts into pools and taking them out, several changes at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from afpools import BrokerUnreachable, Client

from .conftest import Answer, Lost, Manager


def test_every_pool_is_a_separate_change(manager: Manager, elsewhere: Client) -> None:
    elsewhere.create_pool("fx", ["pc-01"])
    answer = manager.write("hosts/assign", hosts=["pc-02"], typed="pc-[03-04], gpu-1", add=["fx", "gone"]).json
    assert [sorted(done["added"]) for done in answer["done"]] == [["gpu-1", "pc-02", "pc-03", "pc-04"]]
    assert [failed["pool"] for failed in answer["failed"]] == ["gone"]
    assert set(elsewhere.get_pool("fx").hosts) == {"pc-01", "pc-02", "pc-03", "pc-04", "gpu-1"}


def test_hosts_move_from_one_pool_to_another_in_one_go(manager: Manager, elsewhere: Client) -> None:
    elsewhere.create_pool("fx", ["pc-[01-04]"])
    elsewhere.create_pool("night", ["pc-05"])
    answer = manager.write("hosts/assign", hosts=["pc-03", "pc-04"], add=["night"], remove=["fx"]).json
    assert len(answer["done"]) == 2
    assert set(elsewhere.get_pool("fx").hosts) == {"pc-01", "pc-02"}
    assert set(elsewhere.get_pool("night").hosts) == {"pc-03", "pc-04", "pc-05"}


@pytest.mark.parametrize("last", [False, True])
def test_a_replacement_that_was_lost_is_finished_by_the_same_request(
    manager: Manager, elsewhere: Client, monkeypatch: pytest.MonkeyPatch, last: bool
) -> None:
    elsewhere.create_pool("fx", ["old", "pc-01"])
    if last:
        elsewhere.create_pool("a", ["other"])
    else:
        elsewhere.create_pool("night", ["old"])
    lost = Lost(monkeypatch, "remove_hosts")
    wanted = {"host": "old", "by": "new", "request_id": "one"}
    assert manager.write("hosts/replace", **wanted).code == "outcome_unknown"
    answer = manager.write("hosts/replace", **wanted).json
    assert (answer["failed"], len(answer["done"])) == ("", 2 if last else 4)
    assert lost.request_ids[0] == lost.request_ids[1]
    assert set(elsewhere.get_pool("fx").hosts) == {"new", "pc-01"}
    undone = manager.write("undo", entries=answer["done"][::-1]).json
    assert (undone["failed"], set(elsewhere.get_pool("fx").hosts)) == ("", {"old", "pc-01"})


def test_an_unknown_host_is_not_replaced(manager: Manager, elsewhere: Client) -> None:
    elsewhere.create_pool("fx", ["old-1"])
    assert manager.write("hosts/replace", host="old-2", by="new").json["failed"].startswith("No host old-2 is known.")
    assert manager.write("hosts/replace", host="old-1", by="a b").status == 400
    assert elsewhere.get_pool("fx").hosts == ("old-1",)


@pytest.mark.parametrize(
    ("change", "done"),
    [
        (lambda manager: manager.import_file(name="f", text="pool,host\nnew,pc-01\nfx,pc-02"), "changes"),
        (lambda manager: manager.write("hosts/assign", hosts=["pc-02"], add=["night", "fx"]), "done"),
    ],
    ids=["import", "assign"],
)
def test_if_the_broker_stops_in_the_middle_what_was_done_is_reported(
    manager: Manager, elsewhere: Client, monkeypatch: pytest.MonkeyPatch, change: Callable[[Manager], Answer], done: str
) -> None:
    for pool in ("fx", "night"):
        elsewhere.create_pool(pool, ["pc-01"])
    add = Client.add_hosts

    def leave(client: Client, pool: str, *arguments: Any, **options: Any) -> Any:
        if pool == "fx":
            raise BrokerUnreachable([("tls://broker", "it is gone")])
        return add(client, pool, *arguments, **options)

    monkeypatch.setattr(Client, "add_hosts", leave)
    answer = change(manager)
    assert answer.status == 200
    assert len(answer.json[done]) == 1
    assert "it is gone" in str(answer.json["failed"])


def test_a_change_of_unknown_outcome_is_repeated_under_its_name(
    manager: Manager, elsewhere: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere.create_pool("fx")
    elsewhere.create_pool("night", ["PC-01"])
    lost = Lost(monkeypatch, "remove_hosts")
    wanted = {"hosts": ["pc-01"], "add": ["fx"], "remove": ["night"], "request_id": "one"}
    unknown = manager.write("hosts/assign", **wanted)
    assert (unknown.status, unknown.code) == (503, "outcome_unknown")
    assert "not known whether the change was made" in unknown.json["error"]["message"]
    assert len(manager.write("hosts/assign", **wanted).json["done"]) == 2
    assert lost.request_ids == ["one-1", "one-1"]
    made = [entry.op for entry in elsewhere.history()]
    assert (made.count("pools.add_hosts"), made.count("pools.remove_hosts")) == (1, 1)
