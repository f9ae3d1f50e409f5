"""The requests of the pages."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from afpools import Client

from .conftest import Gate, Lost, Manager


def test_a_pool_changed_meanwhile_is_not_deleted(manager: Manager, elsewhere: Client) -> None:
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
def test_an_impossible_request_is_refused_with_a_sentence(manager: Manager, path: str, params: dict[str, Any]) -> None:
    refused = manager.write(path, **params)
    assert refused.status in (400, 409)
    assert len(refused.json["error"]["message"]) > 10


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


def test_an_undo_reports_what_was_undone_and_what_was_not(manager: Manager, elsewhere: Client) -> None:
    first = elsewhere.create_pool("fx", ["pc-01"]).change
    second = elsewhere.add_hosts("fx", ["pc-02"]).change
    elsewhere.update_pool("fx", description="Fire")
    answer = manager.write("undo", entries=[second, first]).json
    assert [one["removed"] for one in answer["done"]] == [["pc-02"]]
    assert "not as it was created" in answer["failed"]
    assert elsewhere.get_pool("fx").hosts == ("pc-01",)


def test_undoing_of_unknown_outcome_is_repeated_under_its_name(
    manager: Manager, elsewhere: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = [elsewhere.create_pool("fx").change, elsewhere.create_pool("night").change]
    lost = Lost(monkeypatch, "undo")
    assert manager.write("undo", entries=entries, request_id="one").code == "outcome_unknown"
    assert len(manager.write("undo", entries=entries, request_id="one").json["done"]) == 2
    assert lost.request_ids == ["one-0", "one-0", "one-1"]
    assert elsewhere.list_pools().pools == ()


def test_an_error_in_a_file_is_reported_with_its_place(manager: Manager) -> None:
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
    # Somebody else adds a host, which the import would remove without anybody having seen it.
    elsewhere.add_hosts("fx", ["pc-02"])
    refused = manager.write("import/apply", **file, shown=plan["shown"])
    assert (refused.status, refused.code) == (400, "bad_request")
    assert "have changed since this was shown" in refused.json["error"]["message"]
    assert elsewhere.get_pool("fx").hosts == ("pc-01", "pc-02")
    assert manager.import_file(**file).json["failed"] == ""
    assert elsewhere.get_pool("fx").hosts == ("pc-01",)


def test_an_import_says_if_its_names_could_not_be_checked(manager: Manager) -> None:
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


# A JSON string can contain half of a character, which UTF-8 cannot.
@pytest.mark.parametrize(
    "text",
    [
        '{"pools": [{"name": "fx\\ud800"}]}',
        '{"pools": [{"name": "fx", "hosts": ["\\ud800"]}]}',
        '{"pools": [{"name": "fx", "description": "\\ud800"}]}',
        '{"pools": [{"name": "fx", "\\ud800": 1}]}',
    ],
)
def test_half_a_character_in_a_file_is_reported(manager: Manager, text: str) -> None:
    refused = manager.write("import/plan", name="pools.json", text=text)
    assert (refused.status, refused.code) == (400, "bad_request")
    assert "pools.json: " in refused.json["error"]["message"]
