"""What the pages ask for."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.studio import Studio

from afpools import BrokerUnreachable, Client, OutcomeUnknown
from afpools_broker.protocol import Role
from afpools_tools.manager.api import WRITES

from .conftest import Answer, Gate, Lost, Manager, running, until


def test_every_pool_is_a_change_of_its_own(manager: Manager, elsewhere: Client) -> None:
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


def test_a_host_that_is_not_known_is_not_replaced(manager: Manager, elsewhere: Client) -> None:
    elsewhere.create_pool("fx", ["old-1"])
    assert manager.write("hosts/replace", host="old-2", by="new").json["failed"].startswith("No host old-2 is known.")
    assert manager.write("hosts/replace", host="old-1", by="a b").status == 400
    assert elsewhere.get_pool("fx").hosts == ("old-1",)


def test_a_pool_that_changed_meanwhile_is_not_deleted(manager: Manager, elsewhere: Client) -> None:
    revision = elsewhere.create_pool("fx", ["pc-01"]).revision
    elsewhere.add_hosts("fx", ["pc-02"])
    refused = manager.write("pools/delete", pool="fx", if_revision=revision)
    assert (refused.status, refused.code) == (409, "conflict")


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("pools/create", {}),
        ("pools/create", {"pool": 1}),
        ("pools/create", {"pool": "fx", "colour": "red"}),
        ("pools/create", {"pool": "fx", "unknown": True}),
        ("pools/create", {"pool": "fx", "hosts": "pc-[1-"}),
        ("hosts/register", {"typed": " , "}),
        ("hosts/assign", {"hosts": "pc-01"}),
        ("scan/start", {"network": "everything"}),
        ("scan/start", {"network": "10.0.0.0/8"}),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_sentence(manager: Manager, path: str, params: dict[str, Any]) -> None:
    refused = manager.write(path, **params)
    assert refused.status in (400, 409)
    assert len(refused.json["error"]["message"]) > 10


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"pool": "\xed\xa0\x80"}'])
def test_a_body_that_is_not_json_is_refused(manager: Manager, body: bytes) -> None:
    headers = {"Origin": manager.origin, **manager.authorization}
    assert manager.ask("/api/pools/create", "POST", body, **headers).status == 400
    assert manager.read("usage").status == 200


def test_a_pool_is_shown_as_people_read_it(manager: Manager, elsewhere: Client) -> None:
    elsewhere.create_pool("fx", ["pc-[01-20]", "gpu-1"])
    assert manager.read("pool?pool=fx").json["ranges"] == "gpu-1,pc-[01-20]"


def test_masks_say_what_they_do_in_either_type(manager: Manager, elsewhere: Client) -> None:
    elsewhere.register_hosts(["pc-1", "pc-10", "pc-2"])
    elsewhere.create_pool("ten", ["pc-10"])
    answer = manager.read("masks?pool=ten").json
    assert [mask["asked"] for mask in answer["masks"]] == ["complement", "compact", "list"]
    for mask in answer["masks"]:
        meant = mask["readings"]["regex" if mask["mask_type"] == "any" else mask["mask_type"]]
        assert meant["right"]
        assert meant["runs"] == {"count": 1, "ranges": "pc-10"}


def test_a_pool_without_hosts_has_no_masks(manager: Manager, elsewhere: Client) -> None:
    elsewhere.create_pool("empty")
    assert manager.read("masks?pool=empty").code == "empty_pool"


def test_a_pattern_is_judged_as_the_command_does(manager: Manager, elsewhere: Client) -> None:
    elsewhere.create_pool("fx", ["pc-01", "pc-02"])
    elsewhere.register_hosts(["pc-03"])
    answer = manager.write("pattern", pattern="pc-03", dialect="find", pool="fx").json
    assert (answer["right"], answer["warnings"]) == (True, [])
    answer = manager.write("pattern", pattern="pc-0[3]", dialect="find", pool="fx").json
    assert answer["right"] is False
    assert "looks like a regex" in answer["warnings"][0]


def test_a_mask_too_long_for_an_address_is_judged(manager: Manager) -> None:
    pattern = "|".join(f"host-{number:07}" for number in range(9_000))
    answer = manager.write("pattern", pattern=pattern, dialect="regex").json
    assert answer["compiles"] is False
    assert manager.read("pattern?pattern=pc&dialect=find").status == 405


def test_what_could_be_undone_is_said_with_what_could_not(manager: Manager, elsewhere: Client) -> None:
    first = elsewhere.create_pool("fx", ["pc-01"]).change
    second = elsewhere.add_hosts("fx", ["pc-02"]).change
    elsewhere.update_pool("fx", description="Fire")
    answer = manager.write("undo", entries=[second, first]).json
    assert [one["removed"] for one in answer["done"]] == [["pc-02"]]
    assert "not as it was created" in answer["failed"]
    assert elsewhere.get_pool("fx").hosts == ("pc-01",)


@pytest.mark.parametrize(
    ("change", "done"),
    [
        (lambda manager: manager.import_file(name="f", text="pool,host\nnew,pc-01\nfx,pc-02"), "changes"),
        (lambda manager: manager.write("hosts/assign", hosts=["pc-02"], add=["night", "fx"]), "done"),
    ],
    ids=["import", "assign"],
)
def test_when_the_broker_leaves_in_the_middle_what_was_done_is_said(
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


def test_undoing_of_unknown_outcome_is_repeated_under_its_name(
    manager: Manager, elsewhere: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = [elsewhere.create_pool("fx").change, elsewhere.create_pool("night").change]
    lost = Lost(monkeypatch, "undo")
    assert manager.write("undo", entries=entries, request_id="one").code == "outcome_unknown"
    assert len(manager.write("undo", entries=entries, request_id="one").json["done"]) == 2
    assert lost.request_ids == ["one-0", "one-0", "one-1"]
    assert elsewhere.list_pools().pools == ()


def test_what_is_wrong_in_a_file_is_said_with_its_place(manager: Manager) -> None:
    text = '{"pools": [{"name": "fx", "hosts": ["two words"]}]}'
    refused = manager.write("import/plan", name="pools.json", text=text)
    assert "'two words' is neither" in refused.json["error"]["message"]
    broken = manager.write("import/plan", name="pools.csv", text="pool,host\nfx,pc-01\nfx,pc-02,pc-03")
    assert broken.json["error"]["message"].startswith("pools.csv, line 3: 3 cells under 2 columns")


def test_only_what_was_shown_is_imported(manager: Manager, elsewhere: Client) -> None:
    elsewhere.create_pool("fx", ["pc-01"])
    file = {"name": "f", "text": "pool,host\nfx,pc-01", "replace": True}
    plan = manager.write("import/plan", **file).json
    assert plan["steps"] == []
    # Somebody else adds a host, which the import would take away without anybody having seen it.
    elsewhere.add_hosts("fx", ["pc-02"])
    refused = manager.write("import/apply", **file, shown=plan["shown"])
    assert (refused.status, refused.code) == (400, "bad_request")
    assert "have changed since this was shown" in refused.json["error"]["message"]
    assert elsewhere.get_pool("fx").hosts == ("pc-01", "pc-02")
    assert manager.import_file(**file).json["failed"] == ""
    assert elsewhere.get_pool("fx").hosts == ("pc-01",)


def test_an_import_says_where_its_names_could_not_be_checked(manager: Manager) -> None:
    shown = manager.write("import/plan", name="f", text="pool,host\nfx,pc-01").json
    assert shown["unchecked"].startswith("The names could not be checked: this broker has no afserver")
    made = manager.import_file(name="f", text="pool,host\nfx,pc-01").json
    assert made["unchecked"].startswith("The names could not be checked: this broker has no afserver")
    again = manager.import_file(name="f", text="pool,host\nfx,pc-01").json
    assert (again["changes"], again["unchecked"]) == ([], "")


@pytest.mark.parametrize("how", ["cancelled", "stopped"])
def test_an_import_ends_after_the_step_under_way(
    manager: Manager, elsewhere: Client, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    text = "pool,host\n" + "".join(f"p{number},pc-01\n" for number in range(20))
    shown = manager.write("import/plan", name="f", text=text).json["shown"]
    gate = Gate(monkeypatch, "create_pool")
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(manager.write, "import/apply", name="f", text=text, shown=shown, job="one")
        assert gate.reached.wait(20)
        if how == "cancelled":
            assert manager.write("import/cancel", job="another").status == 200
            assert manager.write("import/cancel", job="one").status == 200
        else:
            manager.stop()
        gate.released.set()
        made = answer.result(20)
    assert how in made.json["failed"]
    assert len(made.json["changes"]) == 1
    assert [pool.name for pool in elsewhere.list_pools().pools] == ["p0"]


# A JSON string can spell half of a character, and no UTF-8 can hold one.
@pytest.mark.parametrize(
    "text",
    [
        '{"pools": [{"name": "fx\\ud800"}]}',
        '{"pools": [{"name": "fx", "hosts": ["\\ud800"]}]}',
        '{"pools": [{"name": "fx", "description": "\\ud800"}]}',
        '{"pools": [{"name": "fx", "\\ud800": 1}]}',
    ],
)
def test_half_a_character_in_a_file_is_said(manager: Manager, text: str) -> None:
    refused = manager.write("import/plan", name="pools.json", text=text)
    assert (refused.status, refused.code) == (400, "bad_request")
    assert "pools.json: " in refused.json["error"]["message"]


@pytest.mark.parametrize("path", WRITES)
def test_half_a_character_that_was_typed_is_said(manager: Manager, path: str) -> None:
    refused = manager.ask(
        f"/api/{path}", "POST", b'{"pool": "\\ud800"}', Origin=manager.origin, **manager.authorization
    )
    assert refused.status == 400
    assert "half of a character" in refused.json["error"]["message"]


@pytest.mark.parametrize("path", ["pool?pool=%ED%A0%80", "pool?pool=%FF", "%ED%A0%80", "history?before=%ED%A0%80"])
def test_half_a_character_in_an_address_is_no_accident(manager: Manager, path: str) -> None:
    assert manager.read(path).status < 500


def test_a_profile_in_a_folder_whose_name_is_not_utf_8_is_shown(place: Studio, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"anna-\xff")
    shutil.copytree(place.profile("anna", Role.MANAGER), folder)
    with running(folder) as manager:
        manager.log_in()
        assert manager.read("brokers").json["profile"]["folder"] == str(folder)


def test_every_endpoint_is_asked(manager: Manager) -> None:
    answer = manager.read("brokers").json
    assert [endpoint["health"]["status"] for endpoint in answer["endpoints"]] == ["healthy", "healthy"]
    assert [credential["days_left"] > 30 for credential in answer["credentials"]] == [True, True]
    assert answer["profile"]["role"] == "manager"


def test_an_endpoint_that_is_down_is_said(place: Studio) -> None:
    profile = place.profile("anna", Role.MANAGER)
    with running(profile) as manager:
        manager.log_in()
        place.authority.revoke("anna")
        place.broker.credentials.refresh()
        answer = until(
            lambda: (found := manager.read("brokers").json) and "error" in found["endpoints"][0] and found, seconds=30
        )
    assert answer["endpoints"][0]["error"]
    assert "health" not in answer["endpoints"][0]


def test_a_change_whose_outcome_is_unknown_is_not_said_to_have_failed(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(*_: Any, **__: Any) -> Any:
        raise OutcomeUnknown([("tls://broker", "timed out while waiting for the answer")], "r1")

    monkeypatch.setattr(Client, "create_pool", lose)
    answer = manager.write("pools/create", pool="fx")
    assert (answer.status, answer.json["error"]["code"]) == (503, "outcome_unknown")
    assert answer.json["error"]["message"].startswith("It is not known whether the change was made. tls://broker: ")
