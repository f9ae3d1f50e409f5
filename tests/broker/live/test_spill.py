"""Jobs that wait too long may use a second pool: when, with which mask, and when they do not."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from tests.broker.live.conftest import Studio

from afpools.fence_note import NO_SPILL, Note, SpillNote, fingerprint, is_of, with_note
from afpools_broker.live.orders import Order, Orders
from afpools_broker.live.plan import World, allowed
from afpools_broker.live.spill import Spill

# All hosts of the pools fx and night.
BOTH = "(?!pc-0[1345]$).*"
FX = "(?!pc-0[13]$).*"


@pytest.fixture
def studio(studio: Studio) -> Studio:
    """Five renders; fx has two of them, all busy with nimby, night two others."""
    studio.pool("night", "pc-04", "pc-05")
    for name in ("pc-01", "pc-03"):
        studio.server.set_render(name, " ONL NBY")
    studio.server.set_render("pc-02", " ONL NBY")
    return studio


def spill_of(studio: Studio, job: int) -> Spill:
    spill = studio.fences.view.verdicts[job].spill
    assert spill is not None
    return spill


def test_a_job_that_has_waited_long_enough_may_use_its_second_pool_and_says_since_when(studio: Studio) -> None:
    job = studio.send("fx", spill=studio.to("night"), tasks=40)
    studio.look()
    studio.wait(1795)
    assert (studio.mask(job), spill_of(studio, job).since) == (FX, "")
    studio.wait(10)
    assert (studio.mask(job), studio.fence(job)) == (BOTH, "current")
    note = studio.note(job)
    assert note.by == "no task ran for 30 minutes, so it may use 'night' too"
    assert note.spill is not None
    assert (note.spill.pool, note.spill.after, note.spill.since) == ("night", 1800, note.moved)
    assert is_of(note, BOTH, "regex")
    assert spill_of(studio, job).is_open
    assert studio.fences.view.spilled == 1


def test_its_tasks_then_run_in_the_second_pool_and_nowhere_else(studio: Studio) -> None:
    studio.send("fx", "shot", spill=studio.to("night", 60), tasks=6, rounds=1)
    studio.look()
    studio.wait(65)
    for _ in range(100):
        studio.look()
        if len(studio.server.ran) >= 6:
            break
    assert studio.server.hosts_of("shot") == {"pc-04", "pc-05"}


def test_a_job_without_a_second_pool_waits_forever(studio: Studio) -> None:
    job = studio.send("fx")
    studio.look()
    studio.wait(4000)
    assert studio.mask(job) == FX


@pytest.mark.parametrize("state", ["running", "paused"])
def test_a_job_that_runs_or_is_paused_does_not_wait(studio: Studio, state: str) -> None:
    if state == "running":
        studio.server.set_render("pc-01", " ONL")
    job = studio.send("fx", spill=studio.to("night", 60), tasks=40, rounds=10**6, offline=state == "paused")
    studio.look()
    studio.wait(200)
    assert (studio.mask(job), studio.fences.view.waited) == (FX, {})


def test_a_task_that_ran_meanwhile_restarts_the_count(studio: Studio) -> None:
    job = studio.send("fx", spill=studio.to("night", 60), tasks=40, rounds=1)
    studio.look()
    studio.wait(55)
    # One task, from start to end, between two looks.
    studio.server.jobs[job].tasks[0][0].state = "DON"
    studio.fences.look_at([job])
    studio.wait(55)
    assert studio.mask(job) == FX
    studio.wait(10)
    assert studio.mask(job) == BOTH


# --- what is not known -----------------------------------------------------------------------------------------


def test_a_time_in_which_nothing_was_confirmed_does_not_count(studio: Studio) -> None:
    job = studio.send("fx", spill=studio.to("night", 60))
    studio.look()
    studio.wait(50)
    studio.now += 1000.0
    studio.look()
    studio.wait(50)
    assert studio.mask(job) == FX


def test_while_no_render_of_the_farm_is_online_no_job_waits(studio: Studio) -> None:
    job = studio.send("fx", spill=studio.to("night", 60))
    studio.look()
    studio.wait(50)
    for name in ("pc-01", "pc-02", "pc-03", "pc-04", "pc-05"):
        studio.server.set_render(name, " OFF")
    studio.farm.poll()
    studio.wait(500)
    assert studio.mask(job) == FX


def test_a_job_waits_for_a_pool_whose_renders_are_all_offline(studio: Studio) -> None:
    job = studio.send("fx", spill=studio.to("night", 60))
    for name in ("pc-01", "pc-03"):
        studio.server.set_render(name, " OFF")
    studio.farm.poll()
    studio.look()
    studio.wait(65)
    assert studio.mask(job) == BOTH


def test_time_with_an_old_list_of_renders_or_a_silent_store_does_not_count(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = studio.send("fx", spill=studio.to("night", 60))
    studio.settings = studio.settings._replace(flag_after=0.0)
    studio.look()
    studio.wait(100)
    assert studio.mask(job) == FX
    studio.settings = studio.settings._replace(flag_after=60.0)
    monkeypatch.setattr(type(studio.keeper), "age", property(lambda _keeper: 6.0))
    studio.wait(100)
    assert studio.fences.view.waited == {}
    assert studio.mask(job) == FX


def test_a_broker_that_takes_over_has_its_own_count_and_one_that_has_just_started_begins_at_zero(
    studio: Studio,
) -> None:
    job = studio.send("fx", spill=studio.to("night", 60))
    studio.look()
    second = studio.another("broker-2")
    studio.wait(40, studio.fences, second)
    third = studio.another("broker-3")
    studio.wait(15, studio.fences, second, third)
    studio.fences.lease.stop(wait=1)
    studio.store.give_up_lease(studio.fences.lease._holder)
    third.lease.ask()
    assert third.lease.is_ours
    studio.wait(40, third)
    assert studio.mask(job) == FX
    studio.store.give_up_lease(third.lease._holder)
    studio.wait(10, third, second)


def test_a_broker_without_the_lease_widens_nothing_and_reports_nothing_as_due(studio: Studio) -> None:
    job = studio.send("fx", spill=studio.to("night", 60))
    studio.look()
    second = studio.another("broker-2")
    studio.wait(100, second)
    assert (studio.mask(job), second.view.verdicts[job].fence, second.view.due) == (FX, "current", {})


# --- the second pool -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "why"),
    [
        ("pools.delete", "The second pool 'night' does not exist any more. The job stays in its own pool."),
        ("pools.remove_hosts", "The second pool 'night' is empty. The job stays in its own pool."),
    ],
)
def test_a_missing_or_empty_second_pool_leaves_the_job_in_its_own(studio: Studio, op: str, why: str) -> None:
    job = studio.send("fx", spill=studio.to("night", 60))
    studio.look()
    studio.apply(op, "night", *(["pc-04", "pc-05"] if op == "pools.remove_hosts" else []))
    studio.look()
    studio.wait(100)
    assert (studio.mask(job), spill_of(studio, job).why, studio.fence(job)) == (FX, why, "current")


def spilled(studio: Studio, **more: Any) -> int:
    """A job of fx that may use night too, and has no running task."""
    job = studio.send("fx", spill=studio.to("night", 60), **{"tasks": 400, **more})
    for name in ("pc-04", "pc-05"):
        studio.server.set_render(name, " ONL NBY")
    studio.look()
    studio.wait(65)
    assert spill_of(studio, job).is_open
    return job


def test_a_spilled_job_is_in_its_own_pool_as_long_as_the_second_one_has_no_hosts(studio: Studio) -> None:
    job = spilled(studio)
    since = spill_of(studio, job).since
    studio.apply("pools.remove_hosts", "night", "pc-04", "pc-05")
    studio.look()
    assert (studio.mask(job), studio.note(job).by) == (FX, "'night' cannot be used any more")
    assert not spill_of(studio, job).is_open
    studio.apply("pools.add_hosts", "night", "pc-05")
    studio.look()
    assert (studio.mask(job), spill_of(studio, job).since) == ("(?!pc-0[135]$).*", since)


def test_a_spilled_job_comes_back_once_its_second_pool_is_deleted(studio: Studio) -> None:
    job = spilled(studio)
    studio.apply("pools.delete", "night")
    studio.look()
    assert (studio.mask(job), studio.fence(job)) == (FX, "current")
    # Another pool with that name is not the one that was meant.
    studio.pool("night", "pc-02")
    studio.look()
    studio.wait(100)
    assert studio.mask(job) == FX


@pytest.mark.parametrize("first", ["renamed", "spilled"])
def test_a_second_pool_is_followed_by_its_identity_rather_than_its_name(studio: Studio, first: str) -> None:
    job = spilled(studio) if first == "spilled" else studio.send("fx", spill=studio.to("night", 60), rounds=10**6)
    studio.look()
    studio.apply("pools.rename", "night", new_name="late")
    studio.pool("night", "pc-02")
    studio.look()
    studio.wait(100)
    assert (studio.mask(job), spill_of(studio, job).pool) == (BOTH, "late")
    studio.apply("pools.add_hosts", "night", "pc-05")
    studio.apply("pools.remove_hosts", "late", "pc-04")
    studio.look()
    assert studio.mask(job) == "(?!pc-0[135]$).*"


def test_a_new_name_that_history_has_only_later_is_looked_for_again(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = spilled(studio)
    trail = studio.store.trail
    monkeypatch.setattr(studio.store, "trail", lambda **_: [])
    studio.apply("pools.rename", "night", new_name="late")
    studio.look()
    assert studio.mask(job) == FX
    monkeypatch.setattr(studio.store, "trail", trail)
    # In five seconds, that is.
    assert studio.fences._names_due < float("inf")
    studio.fences._names_due = 0.0
    studio.look()
    assert (studio.mask(job), spill_of(studio, job).pool) == (BOTH, "late")


def test_a_spilled_job_follows_both_pools_and_names_the_change(studio: Studio) -> None:
    job = spilled(studio)
    studio.apply("pools.add_hosts", "night", "pc-02")
    studio.look()
    assert (studio.mask(job), studio.note(job).by) == ("(?!pc-0[1-5]$).*", "pc-02 joined 'night' (anna)")
    studio.apply("pools.remove_hosts", "fx", "pc-01")
    studio.look()
    assert (studio.mask(job), studio.note(job).by) == ("(?!pc-0[2-5]$).*", "pc-01 left 'fx' (anna)")


def test_a_spilled_job_stays_spilled_although_its_own_pool_has_machines_again(studio: Studio) -> None:
    job = spilled(studio)
    for name in ("pc-01", "pc-03"):
        studio.server.set_render(name, " ONL")
    studio.wait(30)
    assert studio.mask(job) == BOTH


def test_a_spilled_job_follows_its_second_pool_although_its_own_is_empty(studio: Studio) -> None:
    job = spilled(studio)
    studio.apply("pools.remove_hosts", "fx", "pc-01", "pc-03")
    studio.look()
    assert (studio.mask(job), studio.fence(job)) == ("(?!pc-0[45]$).*", "current")
    studio.apply("pools.remove_hosts", "night", "pc-05")
    studio.look()
    assert (studio.mask(job), studio.fences.view.spilled) == ("(?!pc-04$).*", 1)
    studio.apply("pools.remove_hosts", "night", "pc-04")
    studio.look()
    # Now nothing is left to make a fence of.
    assert (studio.mask(job), studio.fence(job)) == ("(?!pc-04$).*", "kept")
    studio.apply("pools.add_hosts", "fx", "pc-01")
    studio.look()
    assert (studio.mask(job), studio.fence(job)) == ("(?!pc-01$).*", "current")


def test_a_finished_job_is_back_in_its_own_pool(studio: Studio) -> None:
    job = spilled(studio, tasks=1)
    studio.server.jobs[job].tasks[0][0].state = "DON"
    studio.fences.look_at([job])
    studio.look()
    assert (studio.mask(job), studio.note(job).by) == (FX, "its work is done")
    studio.server.act(job, operation={"type": "restart"})
    studio.wait(50)
    assert studio.mask(job) == FX


def test_the_artists_own_mask_also_applies_to_the_second_pool(studio: Studio) -> None:
    job = spilled(studio, exclude="pc-04|pc-03")
    hosts = ["pc-01", "pc-02", "pc-03", "pc-04", "pc-05", "registers-later"]
    assert allowed(studio.fences.view.jobs[job], hosts) == ["pc-01", "pc-05"]


# --- masks that cannot be made --------------------------------------------------------------------------------


def test_a_fence_that_can_only_name_the_excluded_hosts_is_not_widened(studio: Studio) -> None:
    job = studio.server.send(
        hosts_mask_exclude="pc-02|pc-04|pc-05",
        hosts_mask_type="find",
        block={"hosts_mask": "pc"},  # a block that is read as find
        custom_data=with_note(
            "",
            Note(
                *("fx", studio.keeper.current.pool("fx").revision, "", "find"),
                fingerprint("pc-02|pc-04|pc-05", "find"),
                spill=studio.to("night", 60),
            ),
        ),
    )
    studio.look()
    studio.wait(100)
    assert studio.mask(job) == "pc-02|pc-04|pc-05"
    assert "exclude hosts that register later" in spill_of(studio, job).why
    assert studio.fence(job) == "current"


# --- people ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "odd",
    [
        7,
        {},
        {"pool": "night"},
        {"pool": "night", "after": 5},
        {"pool": "night", "after": True},
        {"pool": "night", "after": "60"},
        {"pool": ["night"], "after": 60},
        {"pool": "night", "after": 60, "since": 1},
        {"pool": "night", "after": 60, "revision": "no such"},
    ],
)
def test_an_unreadable_second_pool_is_ignored(studio: Studio, odd: object) -> None:
    job = studio.send("fx", spill=studio.to("night", 60))
    data = json.loads(studio.server.jobs[job].shown["custom_data"])
    data["afpools"]["spill"] = odd
    studio.server.jobs[job].shown["custom_data"] = json.dumps(data)
    studio.apply("pools.rename", "night", new_name="late")
    studio.pool("night", "pc-02")
    studio.look()
    studio.wait(100)
    assert studio.mask(job) == FX


def test_a_mask_that_a_person_changed_is_not_widened(studio: Studio) -> None:
    job = studio.send("fx", spill=studio.to("night", 60))
    studio.look()
    studio.wait(30)
    studio.server.by_hand(job, hosts_mask_exclude="pc-0[345]")
    studio.wait(200)
    assert (studio.mask(job), studio.fence(job)) == ("pc-0[345]", "changed")


def test_a_job_that_began_to_run_at_the_last_moment_is_left_alone(studio: Studio) -> None:
    job = studio.send("fx", spill=studio.to("night", 60), rounds=10**6, tasks=1)
    studio.look()
    studio.wait(55)
    studio.now += 5
    ask = studio.fences._mover._ask

    def begins(request: dict[str, Any]) -> memoryview:
        studio.server.jobs[job].tasks[0][0].state = "RUN"
        return ask(request)

    studio.fences._mover._ask = begins
    studio.look()
    assert studio.mask(job) == FX


def test_any_broker_can_tell_from_its_note_that_a_job_spilled(studio: Studio) -> None:
    job = spilled(studio)
    second = studio.another("broker-2")
    studio.look(second)
    verdict = second.view.verdicts[job]
    assert (verdict.fence, verdict.spill and verdict.spill.is_open) == ("current", True)


def test_a_moved_job_is_in_its_new_pool_only_and_starts_waiting_again(studio: Studio) -> None:
    job = spilled(studio)
    studio.pool("other", "pc-02")
    world = World.of(studio.keeper.current)
    Orders(studio.fences, world, dt.datetime.now(dt.UTC)).move(Order([job], {}), "other", "moved by boss")
    assert (studio.mask(job), studio.note(job).by) == ("(?!pc-02$).*", "moved by boss")
    studio.look()
    studio.wait(50)
    assert studio.mask(job) == "(?!pc-02$).*"
    studio.wait(20)
    assert studio.mask(job) == "(?!pc-0[245]$).*"


def test_a_job_that_never_spills_says_so_itself(studio: Studio) -> None:
    job = studio.send("fx", spill=NO_SPILL)
    studio.look()
    assert studio.fences.view.verdicts[job].spill is None
    assert studio.note(job).spill == SpillNote("")


# --- the pool's own second pool --------------------------------------------------------------------------------------


def spills(studio: Studio, to: str, after: int = 60) -> None:
    studio.apply("pools.update", "fx", spill_to=to, spill_after=after)


def test_a_job_takes_its_pools_second_pool(studio: Studio) -> None:
    job = studio.send("fx", rounds=10**6)
    studio.look()
    studio.wait(200)
    spills(studio, "night")
    # It counts from the time at which the pool says so: no job spills at once because somebody has just allowed it.
    studio.wait(55)
    assert studio.mask(job) == FX
    studio.wait(10)
    assert (studio.mask(job), studio.fence(job)) == (BOTH, "current")
    assert studio.note(job).spill == SpillNote(
        "night", studio.keeper.current.pool("night").revision, 60, studio.note(job).moved, of_pool=True
    )


def test_another_second_pool_begins_its_own_count(studio: Studio) -> None:
    job = studio.send("fx", rounds=10**6)
    studio.pool("late", "pc-02")
    spills(studio, "late", 3600)
    studio.look()
    studio.wait(200)
    spills(studio, "night")
    studio.wait(55)
    assert studio.mask(job) == FX
    studio.wait(10)
    assert studio.mask(job) == BOTH


@pytest.mark.parametrize("said", [NO_SPILL, "other"])
def test_a_jobs_own_word_counts_before_its_pools(studio: Studio, said: object) -> None:
    studio.pool("other", "pc-02")
    spills(studio, "night")
    job = studio.send("fx", spill=studio.to("other", 600) if said == "other" else NO_SPILL, rounds=10**6)
    studio.look()
    studio.wait(595)
    assert studio.mask(job) == FX
    studio.wait(10)
    assert studio.mask(job) == ("(?!pc-0[123]$).*" if said == "other" else FX)


def test_what_cannot_be_read_is_no_leave_to_take_the_pools_second_pool(studio: Studio) -> None:
    spills(studio, "night")
    job = studio.send("fx", spill=studio.to("night"))
    data = json.loads(studio.server.jobs[job].shown["custom_data"])
    data["afpools"]["spill"] = ["odd"]
    studio.server.jobs[job].shown["custom_data"] = json.dumps(data)
    studio.look()
    studio.wait(100)
    assert studio.mask(job) == FX


def test_jobs_come_back_once_their_pool_says_never_and_count_anew_for_another_second_pool(studio: Studio) -> None:
    spills(studio, "night")
    job = studio.send("fx", rounds=10**6)
    for name in ("pc-04", "pc-05"):
        studio.server.set_render(name, " ONL NBY")
    studio.look()
    studio.wait(65)
    assert studio.mask(job) == BOTH
    spills(studio, "")
    studio.look()
    assert (studio.mask(job), studio.note(job).by) == (FX, "'fx' no longer spills to 'night'")
    assert studio.note(job).spill is None
    studio.pool("other", "pc-02")
    spills(studio, "other")
    studio.look()
    assert studio.mask(job) == FX
    studio.wait(65)
    assert studio.mask(job) == "(?!pc-0[123]$).*"


def test_a_pools_second_pool_that_is_renamed_or_deleted_leaves_its_jobs_where_they_are(studio: Studio) -> None:
    spills(studio, "night")
    job = studio.send("fx", rounds=10**6)
    studio.look()
    studio.apply("pools.rename", "night", new_name="late")
    studio.look()
    studio.wait(100)
    assert (studio.mask(job), spill_of(studio, job).why.split(".")[0]) == (
        FX,
        "The second pool 'night' does not exist any more",
    )


def test_a_second_pool_of_the_second_pool_does_not_count(studio: Studio) -> None:
    studio.pool("other", "pc-02")
    studio.apply("pools.update", "night", spill_to="other", spill_after=60)
    spills(studio, "night")
    job = studio.send("fx", rounds=10**6)
    for name in ("pc-04", "pc-05"):
        studio.server.set_render(name, " ONL NBY")
    studio.look()
    studio.wait(300)
    assert studio.mask(job) == BOTH
