"""`mask`: what a job gets, from the request to the answer."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from tests.desk import FARM, READER, Desk

from afpools_broker.farm.farm import Render
from afpools_broker.masks.exclude import hosts_matched
from afpools_broker.operations import Sender
from afpools_broker.picture.snapshot import SnapshotKeeper
from afpools_broker.protocol import Code
from afpools_broker.store.rows import Row


def test_the_seed_of_all_this(desk: Desk) -> None:
    desk.ok("pools.create", pool="fx", hosts=["pc-01", "pc-03"])
    result = desk.ok("mask", pool="fx")
    assert result["mask"] == "pc-02|pc-04|pc-05"
    assert (result["mask_type"], result["style"]) == ("any", "list")
    assert (result["pool_hosts"], result["excluded_hosts"], result["known_hosts"]) == (2, 3, 5)
    assert (result["farm_age"], result["farm_is_stale"]) == (0.0, False)
    assert result["covers_future_hosts"] is False


def test_names_are_compared_as_the_farm_spells_them(desk: Desk) -> None:
    desk.ok("pools.create", pool="fx", hosts=["PC-01.studio.lan", "Pc-03"])
    assert desk.ok("mask", pool="fx")["mask"] == "pc-02|pc-04|pc-05"
    assert desk.ok("pools.get", pool="fx")["pool"]["hosts"] == ["PC-01.studio.lan", "Pc-03"]


def test_a_mask_follows_the_farm(desk: Desk) -> None:
    desk.ok("pools.create", pool="fx", hosts=["pc-01"])
    before = desk.ok("mask", pool="fx")["mask"]
    desk.see(*FARM, "pc-06")
    assert desk.ok("mask", pool="fx")["mask"] == before + "|pc-06"


def test_no_mask_without_a_farm(make: Callable[..., Desk]) -> None:
    desk = make(seen=False)
    desk.ok("pools.create", pool="fx", hosts=["pc-01"])
    assert desk.code("mask", pool="fx") == Code.FARM_UNAVAILABLE
    assert desk.code("mask", pool="fx", style="complement") == Code.FARM_UNAVAILABLE


def test_without_afserver_the_registered_hosts_are_the_farm(make: Callable[..., Desk]) -> None:
    desk = make(by_hand=True)
    desk.ok("hosts.register", hosts=[*FARM, "LT-09"])
    desk.ok("pools.create", pool="fx", hosts=["pc-01", "PC-03", "lt-09"])
    result = desk.ok("mask", pool="fx")
    assert (result["mask"], result["farm_age"]) == ("pc-02|pc-04|pc-05", None)
    # Spelled as it was registered, since nobody else can tell.
    desk.ok("pools.remove_hosts", pool="fx", hosts=["LT-09"])
    assert desk.ok("mask", pool="fx")["mask"] == "LT-09|pc-02|pc-04|pc-05"


def test_both_forms_are_excluded_if_nothing_shows_whether_names_are_cut(make: Callable[..., Desk]) -> None:
    desk = make(by_hand=True)
    desk.ok("pools.create", pool="fx", hosts=["pc-01"])
    desk.ok("pools.create", pool="night", hosts=["PC-05.studio.lan"])
    assert desk.ok("mask", pool="fx", accept=["regex"])["mask"] == r"pc-05|pc-05\.studio\.lan"
    assert desk.ok("mask", pool="night")["mask"] == "pc-01"
    joint = desk.ok("mask", pool="fx", accept=["regex"], exclude="x", exclude_type="regex")["mask"]
    assert [name for name in ("pc-05", "pc-05.studio.lan", "pc-01") if re.fullmatch(joint, name)] == [
        "pc-05",
        "pc-05.studio.lan",
    ]
    # A form that may not belong to any machine is not listed as a host.
    assert [host["name"] for host in desk.ok("hosts.list")["hosts"]] == ["pc-01", "pc-05.studio.lan"]
    # Registered names show whether names are cut.
    desk.ok("hosts.register", hosts=["pc-05"])
    assert desk.ok("mask", pool="fx", accept=["regex"])["mask"] == "pc-05"


def test_a_mask_made_earlier_comes_from_the_snapshot_that_has_it(desk: Desk, monkeypatch) -> None:
    desk.ok("pools.create", pool="fx", hosts=["pc-01"])
    given = desk.ok("mask", pool="fx")
    before = desk.keeper.current
    desk.ok("pools.add_hosts", pool="fx", hosts=["pc-02"])
    one_after_the_other = iter([before, desk.keeper.current])
    monkeypatch.setattr(SnapshotKeeper, "current", property(lambda _: next(one_after_the_other)))
    asker = Sender(READER, "127.0.0.1:40000")
    answer = desk.service.answer(asker, b'{"v":1,"id":"7","op":"mask","params":{"pool":"fx"}}')
    assert isinstance(answer, bytes)
    assert json.loads(answer)["result"]["revision"] == given["revision"]


def test_without_afserver_a_pools_hosts_are_spelled_as_they_would_register(make: Callable[..., Desk]) -> None:
    desk = make(by_hand=True)
    desk.ok("pools.create", pool="fx", hosts=["LT-PC-01.studio.lan"])
    desk.ok("pools.create", pool="cg", hosts=["LT-PC-[02-03]"])
    assert desk.ok("mask", pool="fx")["mask"] == "lt-pc-02|lt-pc-03"
    desk.ok("pools.remove_hosts", pool="cg", hosts=["lt-pc-02"])
    assert desk.ok("mask", pool="fx")["mask"] == "lt-pc-02|lt-pc-03"
    desk.ok("hosts.register", hosts=["lt-pc-01"])
    assert desk.ok("mask", pool="fx")["mask"] == "lt-pc-02|lt-pc-03"
    assert desk.code("pools.add_hosts", pool="none", hosts=["typo-1"]) == Code.UNKNOWN_POOL
    assert "typo-1" not in {host["name"] for host in desk.ok("hosts.list")["hosts"]}


def test_without_afserver_hosts_that_cannot_be_read_are_not_guessed(make: Callable[..., Desk], monkeypatch) -> None:
    desk = make(by_hand=True)
    desk.ok("pools.create", pool="fx", hosts=["pc-01"])
    damaged = {"old": Row(None, ("The pool 'old' cannot be read.",))}
    read = desk.store.read
    monkeypatch.setattr(desk.store, "read", lambda *asked: {**read(*asked), **damaged})
    desk.ok("pools.update", pool="fx", description="makes the keeper read again")
    assert desk.code("mask", pool="fx") == Code.FARM_UNAVAILABLE
    assert desk.ok("mask", pool="fx", style="complement")["style"] == "complement"


def test_a_farm_with_an_old_engine_is_given_no_find_mask_whatever_is_accepted(desk: Desk) -> None:
    desk.ok("pools.create", pool="fx", hosts=["pc-10", "node.2"], new_hosts=True)
    names = ["pc-10", "pc-2", "node.1", "node.2", "w"]
    desk.see(*names)
    find = desk.ok("mask", pool="fx", accept=["find"], style="compact")
    assert (find["mask"], find["mask_type"]) == ("node.1|pc-2|w", "find")
    # An offline render may come back.
    old = Render("pc-2", ("offline",), engine="3.3.1")
    desk.see_renders(*(old if name == "pc-2" else Render(name, ("online",), engine="3.4.1") for name in names))
    for style in ("list", "compact", "complement"):
        assert desk.ok("mask", pool="fx", style=style)["mask_type"] == "regex"
        error = desk.ask("mask", pool="fx", style=style, accept=["find"])["error"]
        assert error["code"] == Code.MASK_NOT_EXPRESSIBLE
        assert "the render 'pc-2' runs Afanasy 3.3.1" in error["message"]
        assert (
            "Accept regex as well, and set the job's hosts_mask_type to it. Or update that render" in error["message"]
        )
    joint = desk.ok("mask", pool="fx", exclude="pc", exclude_type="find")
    assert joint["mask_type"] == "regex"
    error = desk.ask("mask", pool="fx", exclude="pc", exclude_type="find", accept=["find"])["error"]
    assert (error["code"], "3.3.1" in error["message"]) == (Code.MASK_NOT_EXPRESSIBLE, True)


def test_a_mask_that_both_types_read_alike_is_given_to_a_farm_of_any_age(desk: Desk) -> None:
    desk.ok("pools.create", pool="fx", hosts=["pc-01", "pc-03"])
    desk.see(*FARM, engine="3.3.1")
    for style in ("list", "compact"):
        result = desk.ok("mask", pool="fx", style=style, accept=["find"])
        assert (result["mask"], result["mask_type"]) == ("pc-02|pc-04|pc-05", "any")
    assert "3.3.1" in desk.ask("mask", pool="fx", accept=["find"], exclude="pc-01")["error"]["message"]
    desk.see(*FARM)
    assert desk.ok("mask", pool="fx", accept=["find"], exclude="pc-01")["mask_type"] == "find"


def test_a_mask_that_admits_later_hosts_is_refused_if_that_matters(desk: Desk) -> None:
    names = [f"n{n * 7919 % 1_000_003:06d}x{n * 104729 % 99_991:05d}" for n in range(6000)]
    desk.ok("pools.create", pool="most", hosts=names[:5500], new_hosts=True)
    desk.ok("pools.create", pool="few", hosts=names[:3], new_hosts=True)
    desk.see(*names)
    given = desk.ok("mask", pool="most", style="complement")
    assert (given["style"], given["covers_future_hosts"]) == ("compact", False)
    for params, advice in (
        ({"pool": "most", "style": "complement"}, "Send the job through af.Job, which can carry a longer mask"),
        ({"pool": "few", "style": "list"}, "Ask for style complement"),
        ({"pool": "few", "style": "complement", "accept": ["find"]}, "Accept regex as well"),
    ):
        error = desk.ask("mask", future_hosts="required", **params)["error"]
        assert (error["code"], advice in error["message"]) == (Code.MASK_NOT_EXPRESSIBLE, True), error
    assert desk.ok("mask", pool="few", style="complement", future_hosts="required")["covers_future_hosts"]
    joint = desk.ok("mask", pool="few", style="complement", exclude=names[0], future_hosts="required")
    assert (joint["covers_future_hosts"], joint["pool_hosts"]) == (True, 2)


def test_a_pool_too_large_for_a_command_line_works_for_a_job_sent_as_json(desk: Desk) -> None:
    names = [f"{n * 2654435761 % 2**32:08x}" for n in range(8000)]
    desk.see(*names)
    desk.ok("pools.create", pool="large", hosts=names[:6000])
    asked: dict[str, Any] = {"pool": "large", "style": "complement", "future_hosts": "required"}
    error = desk.ask("mask", **asked)["error"]
    assert (error["code"], "af.Job" in error["message"]) == (Code.MASK_NOT_EXPRESSIBLE, True)
    given = desk.ok("mask", **asked, max_bytes=65_536)
    assert given["covers_future_hosts"]
    assert 24_576 < len(given["mask"]) <= 65_536
    own = "|".join(names[:3500])
    assert desk.ask("mask", **asked, exclude=own)["error"]["code"] == Code.BAD_REQUEST
    error = desk.ask("mask", **asked, exclude=own, max_bytes=65_536)["error"]
    assert (error["code"], "own exclude mask" in error["message"]) == (Code.MASK_NOT_EXPRESSIBLE, True)
    both = desk.ok("mask", **asked, exclude="|".join(names[:10]), max_bytes=65_536)
    assert (both["pool_hosts"], both["covers_future_hosts"]) == (5990, True)


def test_a_thousand_lengths_need_only_a_few_masks(desk: Desk) -> None:
    names = [f"{n * 2654435761 % 2**32:08x}" for n in range(1000)]
    desk.see(*names)
    desk.ok("pools.create", pool="fx", hosts=names[:500])
    for most in range(1, 8000, 40):
        desk.ask("mask", pool="fx", style="complement", max_bytes=most)
    fences = desk.keeper.current.fences
    assert len(fences._fences["fx"].masks["complement", ("regex", "find")]) <= 4


def test_a_dotted_name_does_not_mean_another_render(desk: Desk) -> None:
    desk.ok("pools.create", pool="fx", hosts=["ws.two"], new_hosts=True)
    desk.ok("pools.create", pool="ip", hosts=["10.1.2.3"], new_hosts=True)
    desk.see("ws", "ws.one", "10", "10.1.2.3")
    assert hosts_matched(desk.ok("mask", pool="fx")["mask"], ["ws", "ws.one", "ws.two"]) == {"ws", "ws.one"}
    mask = desk.ok("mask", pool="ip", style="complement")
    assert hosts_matched(mask["mask"], ["10", "10.1.2.3", "ws"]) == {"10", "ws"}
    desk.ok("pools.create", pool="pc", hosts=["PC-01.studio.lan"], new_hosts=True)
    assert desk.ok("mask", pool="pc")["known_hosts"] == 6
    # If configured so, it is the render without its domain; likewise if the farm's own names show it.
    desk.keeper.set_names("cut")
    assert desk.ok("mask", pool="fx")["known_hosts"] == 5
    desk.keeper.set_names("auto")
    desk.see(*FARM)
    assert desk.ok("mask", pool="pc", style="complement")["mask"] == "(?!pc-01$).*"
    desk.keeper.set_names("whole")
    assert desk.ok("mask", pool="pc", style="complement")["mask"] != "(?!pc-01$).*"


def test_two_entries_of_different_pools_never_become_one_render(desk: Desk) -> None:
    desk.ok("pools.create", pool="a", hosts=["pc-01.site-a"])
    assert desk.ok("mask", pool="a", style="complement")["mask"] == "(?!pc-01$).*"
    desk.ok("pools.create", pool="b", hosts=["pc-01.site-b"], new_hosts=True)
    for pool in "ab":
        mask = desk.ok("mask", pool=pool, style="complement")["mask"]
        assert hosts_matched(mask, FARM) == set(FARM)
