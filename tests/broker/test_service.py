"""The service answers every operation, decides by role alone, and gives each malformed request its error."""

from __future__ import annotations

import datetime as dt
import json
import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.desk import FARM, MANAGER, NOW, READER, Desk, open_desk

from afpools_broker.farm.farm import Farm, Render
from afpools_broker.masks.exclude import hosts_matched
from afpools_broker.operations import OPERATIONS, Sender
from afpools_broker.operations.pools import PoolsAddHosts
from afpools_broker.pools.changes import Change
from afpools_broker.pools.history import Entry
from afpools_broker.protocol import Code, Role
from afpools_broker.service import Later
from afpools_broker.snapshot import SnapshotKeeper
from afpools_broker.store import StoreUnavailable
from afpools_broker.store.rows import Row

_files = count()


@pytest.fixture
def make(tmp_path) -> Iterator[Callable[..., Desk]]:
    with ExitStack() as desks:

        def make(**settings: Any) -> Desk:
            return desks.enter_context(open_desk(tmp_path / f"{next(_files)}.sqlite", **settings))

        yield make


@pytest.fixture
def desk(make: Callable[..., Desk]) -> Desk:
    return make()


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


def test_an_author_reads_back_the_change_at_once(desk: Desk) -> None:
    desk.ok("pools.create", pool="fx", hosts=["pc-[01-02]"], description="effects", colour="#ff8800")
    made = desk.ok("pools.get", pool="fx")["pool"]
    assert made["hosts"] == ["pc-01", "pc-02"]
    desk.ok("pools.add_hosts", pool="fx", hosts=["pc-03"])
    assert desk.ok("pools.get", pool="fx")["pool"]["hosts"] == ["pc-01", "pc-02", "pc-03"]
    desk.ok("pools.remove_hosts", pool="fx", hosts=["PC-01"])
    desk.ok("pools.update", pool="fx", description="more effects")
    desk.ok("pools.rename", pool="fx", new_name="vfx")
    renamed = desk.ok("pools.get", pool="vfx")["pool"]
    assert renamed == {
        "name": "vfx",
        "hosts": ["pc-02", "pc-03"],
        "description": "more effects",
        "colour": "#ff8800",
        "revision": renamed["revision"],
    }
    assert desk.code("pools.get", pool="fx") == Code.UNKNOWN_POOL
    desk.ok("pools.delete", pool="vfx")
    assert desk.ok("pools.list")["pools"] == []


def test_the_list_of_pools_is_cheap_when_nothing_changed(desk: Desk) -> None:
    desk.ok("pools.create", pool="fx")
    first = desk.ok("pools.list")
    again = desk.ok("pools.list", if_revision=first["revision"])
    assert again["unchanged"] is True
    assert "pools" not in again
    desk.ok("pools.add_hosts", pool="fx", hosts=["pc-01"])
    changed = desk.ok("pools.list", if_revision=first["revision"])
    assert changed["pools"][0]["hosts"] == 1
    assert changed["revision"] != first["revision"]


def test_a_write_sent_twice_is_applied_once_and_answered_alike(desk: Desk) -> None:
    first = desk.ok("pools.create", pool="fx", hosts=["pc-01"], request_id="same")
    desk.ok("pools.add_hosts", pool="fx", hosts=["pc-02"])
    assert desk.ok("pools.create", pool="fx", hosts=["pc-01"], request_id="same") == first
    assert len(desk.ok("pools.get", pool="fx")["pool"]["hosts"]) == 2
    assert desk.code("pools.delete", pool="fx", request_id="same") == Code.BAD_REQUEST


def test_a_write_on_an_old_revision_is_a_conflict(desk: Desk) -> None:
    revision = desk.ok("pools.create", pool="fx")["revision"]
    desk.ok("pools.add_hosts", pool="fx", hosts=["pc-01"], if_revision=revision)
    assert desk.code("pools.add_hosts", pool="fx", hosts=["pc-02"], if_revision=revision) == Code.CONFLICT


def test_history_tells_who_did_what(desk: Desk) -> None:
    desk.ok("pools.create", pool="fx", hosts=["pc-01"])
    desk.ok("pools.add_hosts", pool="fx", hosts=["pc-01"])  # as asked for already
    desk.ok("pools.add_hosts", pool="fx", hosts=["pc-02"])
    added, created = desk.ok("history.list")["entries"]
    assert (created["op"], created["who"], created["pool"]) == ("pools.create", "anna", "fx")
    assert added["diff"] == {"added": ["pc-02"]}
    assert added["before"] == created["after"]
    assert {"key", "digest"}.isdisjoint(added)
    assert desk.ok("history.list", limit=1)["entries"] == [added]
    assert desk.ok("history.list", before=added["id"])["entries"] == [created]


def test_registered_hosts_count_as_known(desk: Desk) -> None:
    desk.ok("pools.create", pool="fx", hosts=["pc-01", "pc-03"])
    desk.ok("hosts.register", hosts=["NEW-[1-2]"])
    assert desk.ok("mask", pool="fx")["mask"] == "new-1|new-2|pc-02|pc-04|pc-05"
    hosts = {host["name"]: host for host in desk.ok("hosts.list")["hosts"]}
    assert hosts["new-1"] == {"name": "new-1", "registered": True}
    assert hosts["pc-01"] == {"name": "pc-01", "states": ["online"], "engine": "3.4.1", "pools": ["fx"]}
    desk.ok("hosts.forget", hosts=["new-1"])
    assert desk.ok("mask", pool="fx")["mask"] == "new-2|pc-02|pc-04|pc-05"


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


def test_an_old_list_of_renders_is_flagged_then_refused_where_it_matters(desk: Desk) -> None:
    desk.ok("pools.create", pool="fx", hosts=["pc-01"])
    for minutes, stale in ((0.5, False), (2, True), (59, True)):
        desk.now[0] = NOW + dt.timedelta(minutes=minutes)
        result = desk.ok("mask", pool="fx")
        assert (result["farm_is_stale"], result["farm_age"]) == (stale, minutes * 60)
        assert desk.ok("hosts.list")["farm_is_stale"] is stale
    desk.now[0] = NOW + dt.timedelta(minutes=61)
    assert desk.code("mask", pool="fx") == Code.FARM_UNAVAILABLE
    assert desk.code("mask", pool="fx", style="complement", accept=["find"]) == Code.FARM_UNAVAILABLE
    complement = desk.ok("mask", pool="fx", style="complement")
    assert (complement["style"], complement["farm_is_stale"]) == ("complement", False)
    desk.see(*FARM)
    assert desk.ok("mask", pool="fx")["farm_is_stale"] is False


def test_without_afserver_the_registered_hosts_are_the_farm(make: Callable[..., Desk]) -> None:
    desk = make(by_hand=True)
    desk.ok("hosts.register", hosts=[*FARM, "LT-09"])
    desk.ok("pools.create", pool="fx", hosts=["pc-01", "PC-03", "lt-09"])
    result = desk.ok("mask", pool="fx")
    assert (result["mask"], result["farm_age"]) == ("pc-02|pc-04|pc-05", None)
    # Spelled as it was registered, since nobody else can tell.
    desk.ok("pools.remove_hosts", pool="fx", hosts=["LT-09"])
    assert desk.ok("mask", pool="fx")["mask"] == "LT-09|pc-02|pc-04|pc-05"


def test_where_nothing_shows_whether_names_are_cut_both_forms_are_kept_out(make: Callable[..., Desk]) -> None:
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
    # A form that may not be any machine's is not shown as one.
    assert [host["name"] for host in desk.ok("hosts.list")["hosts"]] == ["pc-01", "pc-05.studio.lan"]
    # Registered names show it.
    desk.ok("hosts.register", hosts=["pc-05"])
    assert desk.ok("mask", pool="fx", accept=["regex"])["mask"] == "pc-05"


def test_without_afserver_a_host_that_leaves_its_pool_is_kept_out(make: Callable[..., Desk]) -> None:
    desk = make(by_hand=True)
    desk.ok("pools.create", pool="fx", hosts=["pc-01"])
    desk.ok("pools.create", pool="night", hosts=["pc-01", "pc-02"])
    desk.ok("pools.add_hosts", pool="night", hosts=["pc-03"])
    desk.ok("pools.remove_hosts", pool="night", hosts=["pc-02"])
    assert desk.ok("mask", pool="fx")["mask"] == "pc-02|pc-03"
    desk.ok("pools.delete", pool="night")
    assert desk.ok("mask", pool="fx")["mask"] == "pc-02|pc-03"


def test_without_afserver_a_host_that_another_broker_has_just_added_is_kept_out(make: Callable[..., Desk]) -> None:
    desk = make(by_hand=True)
    desk.ok("pools.create", pool="fx", hosts=["pc-01"])
    desk.ok("pools.create", pool="night", hosts=["pc-02"])
    desk.ok("pools.create", pool="day", hosts=["pc-03"])
    desk.keeper.stop(wait=5)  # it does not hear of what others write any more
    for pool in ("night", "day"):
        added = PoolsAddHosts(request_id=pool, pool=pool, hosts=[f"{pool.upper()}-01.lan"])
        desk.store.apply(added.change("bob"))
    desk.ok("pools.remove_hosts", pool="night", hosts=["night-01"])
    # Of the pool that is changed here, everything is read; of the others, what was heard.
    assert desk.ok("mask", pool="fx")["mask"] == "night-01|pc-02|pc-03"
    desk.store.apply(PoolsAddHosts(request_id="2", pool="day", hosts=["day-02"]).change("bob"))
    desk.ok("pools.delete", pool="day", request_id="gone")
    assert desk.ok("mask", pool="fx")["mask"] == "day-01|day-02|night-01|pc-02|pc-03"
    # Sent again, it does not take back what was done since.
    desk.ok("hosts.forget", hosts=["day-02"])
    desk.ok("pools.delete", pool="day", request_id="gone")
    assert desk.ok("mask", pool="fx")["mask"] == "day-01|night-01|pc-02|pc-03"


def test_a_mask_at_hand_comes_from_the_snapshot_that_has_it(desk: Desk, monkeypatch) -> None:
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


def test_a_change_sent_again_after_it_was_undone_changes_nothing(desk: Desk) -> None:
    desk.ok("pools.create", pool="fx", hosts=["pc-01", "pc-03"])
    first = desk.ok("pools.add_hosts", pool="fx", hosts=["pc-05"], request_id="again-1")
    desk.ok("pools.remove_hosts", pool="fx", hosts=["pc-05"])
    assert desk.ok("pools.add_hosts", pool="fx", hosts=["pc-05"], request_id="again-1") == first
    assert desk.ok("pools.get", pool="fx")["pool"]["hosts"] == ["pc-01", "pc-03"]
    assert desk.ok("mask", pool="fx")["mask"] == "pc-02|pc-04|pc-05"
    desk.ok("pools.create", pool="g", hosts=["pc-01"])
    desk.ok("pools.delete", pool="g", request_id="again-2")
    desk.ok("pools.create", pool="g", hosts=["pc-01"])
    desk.ok("pools.delete", pool="g", request_id="again-2")
    assert [pool["name"] for pool in desk.ok("pools.list")["pools"]] == ["fx", "g"]


@pytest.mark.parametrize(
    ("entered", "removed"),
    [("pc-01", True), ("PC-01", True), ("pc-01.studio.lan", True), ("pc-01.other.lan", False), ("pc-1", False)],
)
def test_a_host_is_taken_out_however_it_was_entered(desk: Desk, entered: str, removed: bool) -> None:
    desk.ok("pools.create", pool="fx", hosts=["PC-01.Studio.lan"])
    if removed:
        assert desk.ok("pools.remove_hosts", pool="fx", hosts=[entered])["hosts"] == 0
    else:
        assert desk.code("pools.remove_hosts", pool="fx", hosts=[entered]) == "bad_request"


def test_a_write_that_stood_in_the_queue_too_long_is_not_made(desk: Desk, monkeypatch) -> None:
    answer = desk.service.answer(
        Sender(MANAGER, "127.0.0.1:40000"), b'{"v":1,"op":"pools.create","params":{"pool":"late","request_id":"1"}}'
    )
    assert isinstance(answer, Later)
    later = time.monotonic() + 3
    monkeypatch.setattr("afpools_broker.operations.base.time.monotonic", lambda: later)
    error = json.loads(answer.work())["error"]
    assert (error["code"], error["made"]) == (Code.STORE_UNAVAILABLE, False)
    assert error["message"].startswith("This broker did not make the change in time")
    assert desk.ok("pools.list")["pools"] == []


# --- what a refused change says of itself: `made` is false where nothing was changed, and absent where nobody knows


def away(*_: object, **__: object) -> None:
    raise StoreUnavailable("The database at db:27017 does not answer.")


def test_a_broker_that_stops_certainly_changes_nothing(desk: Desk) -> None:
    desk.keeper.refuse_writes("The broker is stopping.")
    error = desk.ask("pools.create", pool="fx")["error"]
    assert (error["code"], error["made"]) == (Code.STORE_UNAVAILABLE, False)


def test_a_change_that_could_not_be_planned_was_not_made(desk: Desk, monkeypatch) -> None:
    made = desk.ok("pools.create", pool="fx")
    monkeypatch.setattr(desk.store, "trail", away)
    error = desk.ask("history.undo", entry=made["change"])["error"]
    assert (error["code"], error["made"]) == (Code.STORE_UNAVAILABLE, False)


def test_a_store_that_does_not_answer_in_time_may_have_made_the_change(desk: Desk, monkeypatch) -> None:
    monkeypatch.setattr(desk.store, "apply", away)
    error = desk.ask("pools.create", pool="fx")["error"]
    assert error["code"] == Code.STORE_UNAVAILABLE
    assert "made" not in error
    assert error["message"].startswith("Whether the change was made is not known")


def test_a_change_whose_second_step_failed_is_said_to_be_made(make: Callable[..., Desk], monkeypatch) -> None:
    desk = make(by_hand=True)
    desk.ok("pools.create", pool="night", hosts=["pc-02"])
    desk.keeper.stop(wait=5)  # it does not hear of what others write any more
    desk.store.apply(PoolsAddHosts(request_id="1", pool="night", hosts=["pc-09"]).change("bob"))
    apply = desk.store.apply

    def once(change: Change) -> Entry:
        entry = apply(change)
        if change.op == "pools.delete":
            monkeypatch.setattr(desk.store, "apply", away)
        return entry

    monkeypatch.setattr(desk.store, "apply", once)
    error = desk.ask("pools.delete", pool="night", request_id="gone")["error"]
    assert "made" not in error
    assert error["message"].startswith("The change was made, but the hosts that left the pool may not be registered")
    monkeypatch.setattr(desk.store, "apply", apply)
    desk.ok("pools.delete", pool="night", request_id="gone")
    assert {host["name"] for host in desk.ok("hosts.list")["hosts"]} == {"pc-02", "pc-09"}


def test_an_import_that_ends_in_the_middle_says_what_is_imported(desk: Desk, monkeypatch) -> None:
    renders = tuple(Render(f"pc-{n}", ("online",), native_pool=f"/local/{n}") for n in range(3))
    desk.keeper.see_farm(Farm(renders, NOW, known_since=time.monotonic() + 3600))
    apply = desk.store.apply

    def two(change: Change) -> Entry:
        if change.pool == "local/2":
            desk.keeper.refuse_writes("The broker is stopping.")
            away()
        return apply(change)

    monkeypatch.setattr(desk.store, "apply", two)
    error = desk.ask("pools.import_native", request_id="once")["error"]
    assert error["message"].startswith("2 of 3 pools of Afanasy are imported; then: ")
    assert "made" not in error
    monkeypatch.setattr(desk.store, "apply", apply)
    desk.keeper.refuse_writes("")
    assert [pool["created"] for pool in desk.ok("pools.import_native", request_id="once")["pools"]] == [True] * 3
    assert len(desk.ok("history.list")["entries"]) == 3


def test_a_farm_with_an_old_engine_is_given_no_find_mask_whatever_is_accepted(desk: Desk) -> None:
    desk.ok("pools.create", pool="fx", hosts=["pc-10", "node.2"], new_hosts=True)
    names = ["pc-10", "pc-2", "node.1", "node.2", "w"]
    desk.see(*names)
    find = desk.ok("mask", pool="fx", accept=["find"], style="compact")
    assert (find["mask"], find["mask_type"]) == ("node.1|pc-2|w", "find")
    # One that is off may come back.
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


def test_what_both_types_read_alike_is_given_to_a_farm_of_any_age(desk: Desk) -> None:
    desk.ok("pools.create", pool="fx", hosts=["pc-01", "pc-03"])
    desk.see(*FARM, engine="3.3.1")
    for style in ("list", "compact"):
        result = desk.ok("mask", pool="fx", style=style, accept=["find"])
        assert (result["mask"], result["mask_type"]) == ("pc-02|pc-04|pc-05", "any")
    assert "3.3.1" in desk.ask("mask", pool="fx", accept=["find"], exclude="pc-01")["error"]["message"]
    desk.see(*FARM)
    assert desk.ok("mask", pool="fx", accept=["find"], exclude="pc-01")["mask_type"] == "find"


def test_a_mask_that_lets_later_hosts_in_is_refused_where_that_matters(desk: Desk) -> None:
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


def test_a_pool_too_large_for_a_command_line_is_right_for_a_job_that_is_sent_as_json(desk: Desk) -> None:
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


def test_a_thousand_lengths_are_a_few_masks(desk: Desk) -> None:
    names = [f"{n * 2654435761 % 2**32:08x}" for n in range(1000)]
    desk.see(*names)
    desk.ok("pools.create", pool="fx", hosts=names[:500])
    for most in range(1, 8000, 40):
        desk.ask("mask", pool="fx", style="complement", max_bytes=most)
    fences = desk.keeper.current.fences
    assert len(fences._fences["fx"].masks["complement", ("regex", "find")]) <= 4


def test_a_dotted_name_is_no_other_render(desk: Desk) -> None:
    desk.ok("pools.create", pool="fx", hosts=["ws.two"], new_hosts=True)
    desk.ok("pools.create", pool="ip", hosts=["10.1.2.3"], new_hosts=True)
    desk.see("ws", "ws.one", "10", "10.1.2.3")
    assert hosts_matched(desk.ok("mask", pool="fx")["mask"], ["ws", "ws.one", "ws.two"]) == {"ws", "ws.one"}
    mask = desk.ok("mask", pool="ip", style="complement")
    assert hosts_matched(mask["mask"], ["10", "10.1.2.3", "ws"]) == {"10", "ws"}
    desk.ok("pools.create", pool="pc", hosts=["PC-01.studio.lan"], new_hosts=True)
    assert desk.ok("mask", pool="pc")["known_hosts"] == 6
    # Told so, it is the render without its domain; and where the farm's names say it themselves.
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


PREFIXED = ["pc-01", "pc-02", "pc-03", "pc-04", "pc-1", "pc-10"]


def test_an_own_mask_of_a_user_whose_type_is_regex_means_exactly_what_it_says(desk: Desk) -> None:
    desk.ok("pools.create", pool="fx", hosts=["pc-01", "pc-03", "pc-04", "pc-1", "pc-10"], new_hosts=True)
    desk.see(*PREFIXED, regex_users=frozenset({"rex"}))
    one = desk.ok("mask", pool="fx", exclude="pc-1", user="rex")
    assert (one["untyped_as"], one["mask_type"], one["pool_hosts"]) == ("regex", "regex", 4)
    assert hosts_matched(one["mask"], PREFIXED) == {"pc-02", "pc-1"}
    some = desk.ok("mask", pool="fx", exclude="pc-0[34]", user="rex")
    assert hosts_matched(some["mask"], PREFIXED) == {"pc-02", "pc-03", "pc-04"}
    assert "could not compile" in desk.ask("mask", pool="fx", exclude="pc-0[", user="rex")["error"]["message"]
    # Everybody else's begins with it, and a type that the job says counts before its user's.
    assert desk.ok("mask", pool="fx", exclude="pc-1", user="anna")["pool_hosts"] == 3
    assert desk.ok("mask", pool="fx", exclude="pc-1", user="rex", exclude_type="find")["pool_hosts"] == 3
    assert desk.ok("mask", pool="fx", user="anna")["untyped_as"] == "find"


def test_a_mask_for_a_regex_user_is_no_find_which_would_change_the_jobs_other_masks(desk: Desk) -> None:
    desk.ok("pools.create", pool="fx", hosts=["pc-10"], new_hosts=True)
    desk.see("pc-10", "node.1", regex_users=frozenset({"rex"}))
    for style in ("list", "compact"):
        assert desk.ok("mask", pool="fx", style=style, user="anna")["mask_type"] == "find"
        assert desk.ok("mask", pool="fx", style=style, user="rex")["mask_type"] == "regex"


def test_on_a_farm_of_old_engines_every_own_mask_is_a_regex(desk: Desk) -> None:
    desk.ok("pools.create", pool="fx", hosts=["pc-01", "pc-03", "pc-04", "pc-1", "pc-10"], new_hosts=True)
    desk.see(*PREFIXED, engine="3.3.1")
    for user in ({}, {"user": "anna"}):
        result = desk.ok("mask", pool="fx", exclude="pc-1", **user)
        assert result["untyped_as"] == "regex"
        assert hosts_matched(result["mask"], PREFIXED) == {"pc-02", "pc-1"}


def test_each_refusal_has_its_code(desk: Desk) -> None:
    desk.ok("pools.create", pool="empty")
    desk.ok("pools.create", pool="p", hosts=["pc-01"])
    desk.ok("hosts.register", hosts=["pc-0"])
    assert desk.code("mask", pool="none") == Code.UNKNOWN_POOL
    assert desk.code("mask", pool="empty") == Code.EMPTY_POOL
    assert desk.code("mask", pool="p", accept=["find"]) == Code.MASK_NOT_EXPRESSIBLE
    assert desk.code("pools.create", pool="p") == Code.POOL_EXISTS
    assert desk.code("pools.rename", pool="p", new_name="empty") == Code.POOL_EXISTS
    assert desk.code("pools.add_hosts", pool="p", hosts=["a b"]) == Code.BAD_REQUEST
    assert desk.code("pools.add_hosts", pool="p", hosts=["a[1-999999]"]) == Code.TOO_LARGE


@pytest.mark.parametrize("op", [op.op for op in OPERATIONS.values() if op.role is Role.MANAGER])
def test_a_reader_may_not_do_what_takes_a_manager(desk: Desk, op: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        answer = desk.ask(op, READER, pool="fx")
    assert answer["error"]["code"] == Code.FORBIDDEN
    assert "manager" in answer["error"]["message"]
    assert f"'blender' (reader) at 127.0.0.1:40000 asked for {op}" in caplog.text
    assert desk.ok("history.list")["entries"] == []


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "bad_request"),
        (b"\xff\xfe", "bad_request"),
        (b"[]", "bad_request"),
        (b"[" * 100_000, "bad_request"),
        (b'{"v":1,"id":"7","op":"mask","params":{"pool":' + b"[" * 3000 + b"}}", "bad_request"),
        ('{"v":1,"id":"7","op":"pools.create","params":{"pool":"f\u200bx","request_id":"1"}}'.encode(), "bad_request"),
        (
            b'{"v":1,"id":"7","op":"pools.create","params":{"pool":"fx","colour":"#ff8800\\n","request_id":"1"}}',
            "bad_request",
        ),
        (
            b'{"v":1,"id":"7","op":"pools.create","params":{"pool":"fx","if_revision":"x","request_id":"1"}}',
            "bad_request",
        ),
        (b'{"v":1,"id":"7","op":"nonsense"}', "unknown_op"),
        (b'{"v":2,"id":"7","what":"ever"}', "unsupported_version"),
        (b'{"v":1,"id":"7","op":"mask","params":{}}', "bad_request"),
        (b'{"v":1,"id":"7","op":"mask","params":{"pool":"fx","stile":"list"}}', "bad_request"),
        (b'{"v":1,"id":"7","op":"mask","params":{"pool":""}}', "bad_request"),
        (b'{"v":1,"id":"7","op":"mask","params":[]}', "bad_request"),
        (b'{"v":1,"id":"7","op":"mask","params":{"pool":"fx"},"role":"manager"}', "bad_request"),
        (b'{"v":1,"id":"7","op":"pools.create","params":{"pool":"fx"}}', "bad_request"),
        (b'{"v":1,"id":"' + b"7" * 100 + b'","op":"hello"}', "bad_request"),
    ],
)
def test_malformed_requests_are_answered(desk: Desk, data: bytes, code: str) -> None:
    answer = desk.raw(data)
    assert (answer["ok"], answer["error"]["code"]) == (False, code)
    assert answer["id"] == ("7" if b'"id":"7"' in data and b"[[" not in data else "")


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        (
            {"pool": " fx"},
            "The pool's name must be 1 to 64 characters long, all of them visible, with no spaces at either end.",
        ),
        (
            {"pool": "fx", "style": "short"},
            "its style must be list, compact or complement (Invalid enum value 'short')",
        ),
        ({"pool": "fx", "accept": ["glob"]}, "its accept must be a list of regex, find, or both"),
        (
            {"pol": "fx"},
            "Object contains unknown field `pol`. It takes: pool, style, accept, exclude, exclude_type, user, ",
        ),
    ],
)
def test_a_wrong_parameter_is_named_with_what_it_must_be(desk: Desk, params: dict[str, Any], sentence: str) -> None:
    assert sentence in desk.ask("mask", **params)["error"]["message"]


@pytest.mark.parametrize(("size", "refused"), [(24 * 1024, False), (24 * 1024 + 2, True)])
def test_a_job_s_own_mask_is_measured_in_bytes(desk: Desk, size: int, refused: bool) -> None:
    desk.ok("pools.create", pool="fx", hosts=["pc-01"])
    answer = desk.ask("mask", pool="fx", exclude="é" * (size // 2), exclude_type="find")
    assert answer["error"]["code"] == (Code.BAD_REQUEST if refused else Code.MASK_NOT_EXPRESSIBLE)
    assert f"{size:,} bytes long, and 24,576 are allowed" in answer["error"]["message"] or not refused


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        json_values.map(lambda value: json.dumps(value).encode()),
        st.builds(
            lambda op, params: json.dumps({"v": 1, "id": "x", "op": op, "params": params}).encode(),
            st.sampled_from(sorted(OPERATIONS)) | st.text(max_size=10),
            st.dictionaries(
                st.sampled_from(["pool", "hosts", "request_id", "new_name", "style", "accept", "limit", "colour"]),
                json_values,
                max_size=5,
            ),
        ),
    )
)
def test_nothing_that_is_sent_takes_the_service_down(desk: Desk, data: bytes) -> None:
    answer = desk.raw(data)
    assert answer["v"] == 1
    if not answer["ok"]:
        assert answer["error"]["code"] in set(Code)
        # `health` has no part behind it here; nothing else may ever be a defect.
        assert answer["error"]["code"] != Code.INTERNAL or b"health" in data
        assert "Traceback" not in answer["error"]["message"]


def test_a_defect_is_logged_whole_and_told_without_a_trace(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    answer = desk.ask("health")
    assert answer["error"]["code"] == Code.INTERNAL
    assert "NotImplementedError" not in json.dumps(answer)
    assert "NotImplementedError" in caplog.text


def test_a_store_that_went_away_refuses_writes_and_answers_reads(desk: Desk, monkeypatch) -> None:
    desk.ok("pools.create", pool="fx", hosts=["pc-01"])

    for method in ("apply", "load", "history", "ping"):
        monkeypatch.setattr(desk.store, method, away)
    assert desk.code("pools.delete", pool="fx") == Code.STORE_UNAVAILABLE
    assert desk.code("history.list") == Code.STORE_UNAVAILABLE
    assert desk.ok("pools.list")["pools"][0]["name"] == "fx"
    assert desk.ok("mask", pool="fx")["mask"]


def test_hello_tells_a_peer_what_it_may_do(desk: Desk) -> None:
    manager, reader = desk.ask("hello")["result"], desk.ask("hello", READER)["result"]
    assert (manager["name"], manager["role"]) == ("anna", "manager")
    assert set(manager["operations"]) == set(OPERATIONS)
    assert set(reader["operations"]) == {
        "hello",
        "health",
        "jobs.list",
        "pools.list",
        "pools.get",
        "hosts.list",
        "mask",
        "farm.system_pool",
    }


def test_requests_and_errors_are_counted(desk: Desk) -> None:
    desk.ask("hello")
    desk.ask("mask", pool="none")
    desk.raw(b'{"v":1,"op":"' + b"x" * 60 + b'"}')
    assert desk.statistics.requests == {"hello": 1, "mask": 1}
    assert desk.statistics.errors == {"mask": {"unknown_pool": 1}, "unreadable": {"unknown_op": 1}}


def test_a_name_that_looks_like_another_pools_is_refused_naming_that(desk: Desk) -> None:
    desk.ok("pools.create", pool="caf\u00e9")
    assert desk.ask("pools.create", pool="CAFE\u0301")["error"] == {
        "code": Code.POOL_EXISTS,
        "message": "The name 'CAFE\\u0301' looks like that of the pool 'caf\u00e9', and a job could be sent to the "
        "wrong one. Choose another name, or change that pool.",
    }
    made = desk.ok("pools.rename", pool="caf\u00e9", new_name="Caf\u00e9")
    desk.ok("pools.create", pool="CAFETERIA")
    undone = desk.ok("pools.rename", pool="Caf\u00e9", new_name="bar")
    desk.ok("pools.rename", pool="CAFETERIA", new_name="CAF\u00c9")
    assert "looks like that of the pool" in desk.ask("history.undo", entry=undone["change"])["error"]["message"]
    why = {entry["id"]: entry["why_not"] for entry in desk.ok("history.list")["entries"]}
    assert "looks like that of the pool" in why[undone["change"]]
    assert "is now called" in why[made["change"]]


def test_people_are_answered_in_their_own_words(desk: Desk) -> None:
    for op, purpose in (("pools.delete", "delete pools"), ("history.list", "see who changed what")):
        message = desk.ask(op, READER, pool="fx")["error"]["message"]
        assert message == (
            f"To {purpose} you need a manager profile; 'blender' is a reader. Ask whoever runs the farm for one."
        )
    for letter in ("\u200b", "\u3164", "\u115f", "\u2800", "\u00a0"):
        message = desk.ask("pools.create", pool=f"f{letter}x")["error"]["message"]
        assert message == (
            f"The name 'f\\u{ord(letter):04x}x' has characters in it that cannot be seen: leave them out."
        )
    answers = [
        desk.ask("pools.create", pool="x" * 65),
        desk.ask("pools.create", pool="fx", colour="red"),
        desk.ask("pools.create", pool="fx", hosts=["a,b"]),
        desk.ask("pools.create", pool="fx", description="x" * 1001),
        desk.ask("history.undo", entry="nonsense"),
        desk.ask("history.list", limit=0),
    ]
    for answer in answers:
        message = answer["error"]["message"]
        assert answer["error"]["code"] == Code.BAD_REQUEST
        assert not any(
            word in message for word in ("pools.", "history.list", "history.undo", "It takes", "regex", "parameters")
        ), message


def test_every_operation_for_managers_has_a_name_that_people_use() -> None:
    for operation in OPERATIONS.values():
        assert bool(operation.purpose) == (operation.role is Role.MANAGER), operation.op
