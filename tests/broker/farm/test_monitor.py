"""Which renders changed, according to afserver's events; everything is read again if there are none."""

import json
from typing import Any

import pytest
from tests.afserver import AfServer, renders_answer
from tests.broker.farm.test_farm import lists_asked_for, polled

from afpools_broker.farm.afserver import FarmError, ask
from afpools_broker.farm.farm import FarmWatch
from afpools_broker.store import PoolStore


def states_of(farm: FarmWatch) -> dict[str, tuple[str, ...]]:
    return {render.name: render.states for render in farm.farm.renders}


def test_only_changed_renders_are_read_again(many: AfServer, store: PoolStore) -> None:
    farm = polled(many, store)
    first = farm.farm
    farm.poll()
    assert lists_asked_for(many) == []
    assert farm.farm is not first
    assert farm.farm.renders is first.renders
    assert farm.farm.online is first.online
    many.renders["renders"][6]["state"] = " OFF"
    many.renders["renders"][2]["state"] = " ONL RUN"
    farm.poll()
    assert lists_asked_for(many) == [{"type": "renders", "ids": [3, 7]}]
    assert states_of(farm) == dict.fromkeys(states_of(farm), ("online",)) | {
        "pc-3": ("online", "busy"),
        "pc-7": ("offline",),
    }
    # As when a task has ended before the next begins: something happened, but nothing of it is left.
    last = farm.farm.renders
    many.renders["renders"][2]["busy_time"] += 60
    farm.poll()
    assert lists_asked_for(many) == [{"type": "renders", "ids": [3]}]
    assert farm.farm.renders is last


def test_all_renders_are_read_if_one_was_added_or_removed(many: AfServer, store: PoolStore) -> None:
    farm = polled(many, store)
    many.renders = renders_answer([f"pc-{number}" for number in range(1, 32)])
    farm.poll()
    assert lists_asked_for(many) == [{"type": "renders"}]
    assert len(farm.farm.renders) == 31
    many.renders["renders"].pop()
    farm.poll()
    assert lists_asked_for(many) == [{"type": "renders"}]
    assert len(farm.farm.renders) == 30


def test_all_renders_are_read_if_many_changed_or_a_number_has_another_name(many: AfServer, store: PoolStore) -> None:
    farm = polled(many, store)
    for render in many.renders["renders"]:
        render["state"] = " OFF"
    farm.poll()
    assert lists_asked_for(many) == [{"type": "renders"}]
    assert set(states_of(farm).values()) == {("offline",)}
    many.renders["renders"][0]["name"] = "other"
    farm.poll()
    assert lists_asked_for(many)[-1] == {"type": "renders"}
    assert "other" in states_of(farm)
    assert "pc-1" not in states_of(farm)


def test_a_watch_that_afserver_forgot_reads_everything_and_registers_again(many: AfServer, store: PoolStore) -> None:
    farm = polled(many, store)
    many.monitors.clear()
    many.renders["renders"][0]["state"] = " OFF"
    farm.poll()
    assert lists_asked_for(many) == [{"type": "renders"}]
    assert states_of(farm)["pc-1"] == ("offline",)
    farm.poll()
    assert lists_asked_for(many) == []


def test_a_number_that_another_program_got_after_a_restart_is_not_mistaken_for_ours(
    many: AfServer, store: PoolStore
) -> None:
    farm = polled(many, store)
    many.monitors.clear()
    other = ask(many.address, {"monitor": {"user_name": "bea", "host_name": "desk", "engine": "3.4.1"}}, timeout=2)
    number = json.loads(bytes(other))["monitor"]["id"]
    ask(many.address, {"action": {"ids": [number], "operation": {"type": "watch", "class": "renders"}}}, timeout=2)
    many.renders["renders"][0]["state"] = " OFF"
    farm.poll()
    assert lists_asked_for(many) == [{"type": "renders"}]
    assert states_of(farm)["pc-1"] == ("offline",)
    events = ask(many.address, {"get": {"type": "monitors", "ids": [number], "mode": "events"}}, timeout=2)
    assert json.loads(bytes(events)) == {"events": {"renders_change": [1]}}, "the other program's events were taken"


def test_events_are_not_lost_if_reading_their_renders_fails(
    many: AfServer, store: PoolStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    farm = polled(many, store)
    many.renders["renders"][0]["state"] = " OFF"

    def cut(address: tuple[str, int], request: dict[str, Any], *, timeout: float) -> memoryview:
        if request["get"]["type"] == "renders":
            raise FarmError("cut off")
        return ask(address, request, timeout=timeout)

    with monkeypatch.context() as patch:
        patch.setattr("afpools_broker.farm.farm.ask", cut)
        confirmed = farm.farm.seen
        farm.poll()
    assert (farm.error, farm.farm.seen) == ("cut off", confirmed)
    farm.poll()
    assert states_of(farm)["pc-1"] == ("offline",)


@pytest.mark.parametrize("reason", ["no monitors", "an interval in which afserver forgets them", "a minute has passed"])
def test_all_renders_are_read_if_events_are_not_available(
    many: AfServer, store: PoolStore, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    if reason == "no monitors":
        many.monitors = None
    if reason == "a minute has passed":
        monkeypatch.setattr("afpools_broker.farm.farm._WHOLE", 0)
    farm = polled(many, store)
    if reason == "an interval in which afserver forgets them":
        farm.set_pace(interval=30, timeout=2)
        many.monitors.clear()
        farm.poll()
        lists_asked_for(many)
    many.renders["renders"][0]["state"] = " OFF"
    farm.poll()
    assert lists_asked_for(many) == [{"type": "renders"}]
    assert states_of(farm)["pc-1"] == ("offline",)
