"""A host joins a pool only if the farm has it, or somebody says that it is not set up yet; and never twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from tests.desk import Desk, open_desk

from afpools_broker.operations.pools import PoolsAddHosts
from afpools_broker.pools import vetting as vetting_module
from afpools_broker.pools.folding import fold
from afpools_broker.pools.hosts import Spelling
from afpools_broker.pools.vetting import vetting
from afpools_broker.protocol import Code, RequestRefused

GPUS = [f"gpu-{number:02}" for number in range(1, 41)]
_files = count()


@pytest.fixture
def make(tmp_path) -> Iterator[Callable[..., Desk]]:
    with ExitStack() as desks:

        def make(**settings: Any) -> Desk:
            return desks.enter_context(open_desk(tmp_path / f"{next(_files)}.sqlite", **settings))

        yield make


@pytest.fixture
def desk(make: Callable[..., Desk]) -> Desk:
    made = make()
    made.see(*GPUS, "Workstation", "pc-a", "PC-A")
    return made


def refused(desk: Desk, op: str, **params: Any) -> tuple[str, str]:
    error = desk.ask(op, **params)["error"]
    return error["code"], error["message"]


@pytest.mark.parametrize(
    ("hosts", "message"),
    [
        (["gpu-[1-9]"], "gpu-[1-9] are not on the farm, which has gpu-[01-40]: did you mean gpu-[01-09]?"),
        (["gpu-001"], "gpu-001 is not on the farm, which has gpu-[01-40]: did you mean gpu-01?"),
        (["gpu07"], "gpu07 is not on the farm: did you mean gpu-07?"),
        (["GPU_08.studio.lan"], "GPU_08.studio.lan is not on the farm: did you mean gpu-08?"),
        (["workstatoin"], "workstatoin is not on the farm: did you mean Workstation?"),
        (["gpu-[39-42]"], "gpu-[41-42] are not on the farm, which has gpu-[01-40]."),
        (["qqqq"], "qqqq is not on the farm."),
    ],
)
def test_a_name_that_no_render_has_is_refused_with_what_may_have_been_meant(
    desk: Desk, hosts: list[str], message: str
) -> None:
    assert refused(desk, "pools.create", pool="fx", hosts=hosts) == (Code.UNKNOWN_HOST, message)
    desk.ok("pools.create", pool="fx")
    assert refused(desk, "pools.add_hosts", pool="fx", hosts=["gpu-01", *hosts]) == (Code.UNKNOWN_HOST, message)
    assert desk.ok("pools.get", pool="fx")["pool"]["hosts"] == []


def test_a_machine_that_is_not_set_up_yet_is_announced_with_the_change_or_before(desk: Desk) -> None:
    made = desk.ok("pools.create", pool="fx", hosts=["new-01"], new_hosts=True)
    assert (made["added"], made["unchecked"]) == (["new-01"], "")
    # A host that is already in the pool is not new to it.
    assert desk.ok("pools.add_hosts", pool="fx", hosts=["new-01", "gpu-01"])["added"] == ["gpu-01"]
    assert desk.code("pools.add_hosts", pool="fx", hosts=["new-02"]) == Code.UNKNOWN_HOST
    desk.ok("hosts.register", hosts=["NEW-02.studio.lan"])
    assert desk.ok("pools.add_hosts", pool="fx", hosts=["new-02"])["added"] == ["new-02"]


def test_how_a_name_is_written_does_not_matter(desk: Desk) -> None:
    desk.ok("pools.create", pool="fx", hosts=["GPU-01", "gpu-02.studio.lan", "WORKSTATION"])


def test_a_repeated_request_gets_the_same_answer_although_the_farm_has_changed(desk: Desk) -> None:
    params = {"pool": "fx", "hosts": ["gpu-01", "gpu-02"], "request_id": "same"}
    first = desk.ok("pools.create", **params)
    desk.see("gpu-01")
    assert desk.ok("pools.create", **params) == first
    # A refused change was not made, so its id may be used again to say that the machine is not set up yet.
    again = {"pool": "fx", "hosts": ["gpu-03"], "request_id": "other"}
    assert desk.code("pools.add_hosts", **again) == Code.UNKNOWN_HOST
    made = desk.ok("pools.add_hosts", **again, new_hosts=True)
    assert made["added"] == ["gpu-03"]
    assert desk.ok("pools.add_hosts", **again) == made


def test_an_undo_brings_back_a_host_that_is_no_longer_a_render(desk: Desk) -> None:
    desk.ok("pools.create", pool="fx", hosts=["gpu-01"])
    gone = desk.ok("pools.delete", pool="fx")
    desk.see("gpu-02")
    assert desk.ok("history.undo", entry=gone["change"])["added"] == ["gpu-01"]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"seen": False}, "The names could not be checked: the broker has never seen the farm."),
        (
            {"by_hand": True},
            "The names could not be checked: this broker has no afserver to ask which machines there are.",
        ),
    ],
)
def test_the_answer_says_if_nothing_could_be_checked(
    make: Callable[..., Desk], settings: dict[str, Any], sentence: str
) -> None:
    desk = make(**settings)
    assert desk.ok("pools.check", pool="fx", hosts=["pc-01"])["unchecked"] == sentence
    assert desk.ok("pools.check", pool="fx", hosts=["pc-01"], new_hosts=True)["unchecked"] == ""
    assert desk.ok("pools.check", pool="fx")["unchecked"] == ""
    made = desk.ok("pools.create", pool="fx", hosts=["pc-01"], request_id="same")
    assert made["unchecked"] == sentence
    assert desk.ok("pools.add_hosts", pool="fx", hosts=["pc-01"])["unchecked"] == ""
    assert desk.ok("pools.add_hosts", pool="fx", hosts=["pc-02"], new_hosts=True)["unchecked"] == ""
    desk.see("pc-09")
    assert desk.ok("pools.create", pool="fx", hosts=["pc-01"], request_id="same") == made


@pytest.mark.parametrize(
    ("hosts", "leaving", "code"),
    [
        (["gpu-1"], [], Code.UNKNOWN_HOST),
        (["GPU-01"], [], Code.BAD_REQUEST),
        (["gpu-02", "GPU-02"], [], Code.BAD_REQUEST),
        (["gpu-*"], [], Code.BAD_REQUEST),
        (["GPU-01"], ["gpu-01"], None),
        (["gpu-[02-03]"], [], None),
        ([], [], None),
    ],
)
@pytest.mark.parametrize("present", [True, False])
def test_a_check_is_refused_as_the_change_would_be_and_changes_nothing(
    desk: Desk, hosts: list[str], leaving: list[str], code: Code | None, present: bool
) -> None:
    if present:
        desk.ok("pools.create", pool="fx", hosts=["gpu-01"])

    def stored() -> tuple[Any, Any]:
        return {**desk.ok("pools.list"), "age": 0}, desk.ok("history.list")

    before = stored()
    asked = desk.ask("pools.check", pool="fx", hosts=hosts, leaving=leaving)
    assert stored() == before
    if code is None or (hosts == ["GPU-01"] and not present):
        assert asked["result"] == {"unchecked": ""}
    else:
        assert asked["error"]["code"] == code
    if present and leaving:
        desk.ok("pools.remove_hosts", pool="fx", hosts=leaving)
    if hosts:
        made = desk.ask("pools.add_hosts" if present else "pools.create", pool="fx", hosts=hosts)
        assert made.get("error", {}).get("message") == asked.get("error", {}).get("message")


def test_a_check_for_a_new_pool_includes_its_name(desk: Desk) -> None:
    desk.ok("pools.create", pool="fx")
    for name, code in (("FX", Code.POOL_EXISTS), ("\u3164", Code.BAD_REQUEST)):
        assert desk.ask("pools.check", pool=name)["error"] == desk.ask("pools.create", pool=name)["error"]
        assert desk.code("pools.check", pool=name) == code


def test_an_old_list_of_renders_says_how_old_it_is(desk: Desk) -> None:
    desk.now[0] += timedelta(minutes=90)
    message = "gpu-99 is not on the farm, as afserver listed it 90 minutes ago, which has gpu-[01-40]."
    assert refused(desk, "pools.create", pool="fx", hosts=["gpu-99"]) == (Code.UNKNOWN_HOST, message)


@pytest.mark.parametrize("by_hand", [False, True])
def test_a_machine_is_in_a_pool_under_one_name(make: Callable[..., Desk], by_hand: bool) -> None:
    desk = make(by_hand=by_hand)
    for op in ("pools.create", "pools.add_hosts"):
        if op == "pools.add_hosts":
            desk.ok("pools.create", pool="fx")
        assert refused(desk, op, pool="fx", hosts=["pc-01", "PC-01"]) == (
            Code.BAD_REQUEST,
            "pc-01 and PC-01 are one machine to the farm, named twice. Name it once.",
        )
    desk.ok("pools.add_hosts", pool="fx", hosts=["pc-01", "pc-02"])
    for new_hosts in (False, True):
        assert refused(desk, "pools.add_hosts", pool="fx", hosts=["PC-[01-03]"], new_hosts=new_hosts) == (
            Code.BAD_REQUEST,
            "PC-[01-02] are in the pool 'fx' already, as pc-[01-02]: the farm takes both for one machine. "
            "Leave them out.",
        )
    assert desk.ok("pools.get", pool="fx")["pool"]["hosts"] == ["pc-01", "pc-02"]
    desk.ok("hosts.register", hosts=["new-01"])
    assert refused(desk, "hosts.register", hosts=["NEW-01"]) == (
        Code.BAD_REQUEST,
        "NEW-01 is registered already, as new-01: the farm takes both for one machine. Leave it out.",
    )


def test_a_domain_means_another_machine_only_if_the_farm_says_so(desk: Desk) -> None:
    desk.ok("pools.create", pool="fx", hosts=["gpu-01"])
    assert "as gpu-01:" in refused(desk, "pools.add_hosts", pool="fx", hosts=["gpu-01.studio.lan"])[1]
    # Renders here keep their domains: these are two.
    desk.see("gpu-01", "gpu-01.studio.lan")
    desk.ok("pools.add_hosts", pool="fx", hosts=["gpu-01.studio.lan"])


def test_two_renders_that_differ_in_case_are_two(desk: Desk) -> None:
    desk.ok("pools.create", pool="fx", hosts=["pc-a", "PC-A"])


def test_a_host_that_another_broker_added_meanwhile_counts(desk: Desk) -> None:
    desk.ok("pools.create", pool="fx")
    desk.store.apply(PoolsAddHosts(request_id="1", pool="fx", hosts=["GPU-01"]).change("bob"))
    assert "as GPU-01:" in refused(desk, "pools.add_hosts", pool="fx", hosts=["gpu-01"])[1]


def test_names_that_are_one_machine_on_a_farm_that_cuts_names() -> None:
    spelling = Spelling(["ws", "pc-01"], ["ws"])
    assert spelling.of("ws.two") == "ws"  # a machine with that name calls itself ws here, even if another has that name
    assert spelling.besides(["ws.two"]).of("ws.two") == "ws"
    both = spelling.besides(["ws.one", "ws.two"])
    assert (both.of("ws.one"), both.of("ws.two")) == ("ws.one", "ws.two")
    assert Spelling(["ws", "pc-01"], ["ws.one"]).besides(["ws.two"]).of("ws.one") == "ws.one"


@pytest.mark.parametrize("name", ["pc-{:06}", "PC-{:06}.studio.lan", "pc-{}x", "other-{}"])
def test_a_hundred_thousand_names_are_checked_quickly(name: str) -> None:
    farm = frozenset(f"pc-{number:06}" for number in range(100_000))
    vet = vetting(Spelling(farm), farm)
    names = [name.format(number) for number in range(100_000)]
    began = time.process_time()
    try:
        vet("fx", (), names)
    except RequestRefused as refusal:
        assert len(refusal.message) < 1500
    # It takes far less than a second. The limit guards against quadratic growth.
    assert time.process_time() - began < 10


def test_no_more_names_are_folded_for_a_message_than_it_can_show(monkeypatch: pytest.MonkeyPatch) -> None:
    folded: list[str] = []

    def counted(names: Iterable[str]) -> str:
        some = list(names)
        folded.extend(some)
        return fold(some)

    monkeypatch.setattr(vetting_module, "fold", counted)
    vet = vetting(Spelling(["pc-01"]), frozenset({"pc-01"}))
    with pytest.raises(RequestRefused, match=r"\[000-009\]-n\[00-99\] and 5,000 more are not on the farm\.$"):
        vet("fx", (), [f"r{n // 100:03}-n{n % 100:02}" for n in range(6000)])
    folded.clear()
    # No two of these share a range.
    with pytest.raises(RequestRefused, match=r"… \(6,000 hosts\) are not on the farm\.$"):
        vet("fx", (), [f"n{n * 7919 % 1_000_003:06}x{n * 104_729 % 99_991:05}" for n in range(6000)])
    assert 0 < len(folded) <= 100
