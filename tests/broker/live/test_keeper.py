"""What happens to jobs on the farm while pools and renders change and people act.

The afserver is a stand-in that works (tests/working_afserver.py); each trap of docs/afanasy.md has a test here.
"""

from __future__ import annotations

import json
import time

import pytest
from tests.broker.live.conftest import Studio
from tests.broker.store.places import wait_until

from afpools.fence_note import is_of
from afpools_broker.farm.afserver import FarmError
from afpools_broker.live.keeper import FenceKeeper


def test_a_job_as_it_was_sent_is_left_alone(studio: Studio) -> None:
    job = studio.send("fx")
    studio.look()
    assert (studio.fence(job), studio.server.actions[2:]) == ("current", [])


def test_a_fence_moves_with_its_pool(studio: Studio) -> None:
    job = studio.send("fx", offline=True)
    studio.look()
    studio.apply("pools.add_hosts", "fx", "pc-04")
    studio.apply("pools.remove_hosts", "fx", "pc-01")
    studio.look()
    assert studio.mask(job) == "(?!pc-0[34]$).*"
    note, told = studio.note(job), studio.server.job(job)
    assert is_of(note, told["hosts_mask_exclude"], told["hosts_mask_type"])
    assert (note.pool, note.by) == ("fx", "pc-01 left 'fx' (anna)")
    assert note.moved


def test_tasks_start_on_a_host_that_joins_and_none_on_one_that_left(studio: Studio) -> None:
    studio.send("fx", "shot", tasks=40, rounds=2)
    studio.look()
    studio.apply("pools.add_hosts", "fx", "pc-05")
    studio.apply("pools.remove_hosts", "fx", "pc-01")
    studio.look()
    started = len(studio.server.ran)
    wait_until(lambda: len(studio.server.ran) > started + 6)
    later = {host for _, host in studio.server.ran[started:]}
    assert later == {"pc-03", "pc-05"}


def test_everything_else_in_custom_data_stays(studio: Studio) -> None:
    job = studio.send("fx", custom_data='{"shot": [1, 2], "ü": "\\\\d"}', offline=True)
    studio.apply("pools.add_hosts", "fx", "pc-04")
    studio.look()
    data = json.loads(studio.server.job(job)["custom_data"])
    assert ({**data, "afpools": 0}, studio.fence(job)) == ({"shot": [1, 2], "ü": "\\d", "afpools": 0}, "current")


def test_the_artists_own_exclude_mask_is_joined_again(studio: Studio) -> None:
    job = studio.send("fx", exclude="pc-03", offline=True)
    studio.apply("pools.add_hosts", "fx", "pc-04")
    studio.look()
    free = [host for host in ("pc-01", "pc-03", "pc-04", "pc-05") if studio.server.jobs[job].lets(host, 0)]
    assert (free, studio.note(job).exclude) == (["pc-01", "pc-04"], "pc-03")


# --- pools ------------------------------------------------------------------------------------------------------


def test_an_empty_pool_keeps_the_last_fence(studio: Studio) -> None:
    job = studio.send("fx", offline=True)
    mask = studio.mask(job)
    studio.apply("pools.remove_hosts", "fx", "pc-01", "pc-03")
    studio.look()
    assert (studio.fence(job), studio.mask(job)) == ("kept", mask)
    assert studio.why(job) == "The pool 'fx' is empty. The job keeps the fence that it has."


def test_a_host_that_no_mask_can_express_keeps_the_last_fence(studio: Studio) -> None:
    job = studio.send("fx", exclude="pc-01", offline=True)
    mask = studio.mask(job)
    studio.apply("pools.remove_hosts", "fx", "pc-03")
    studio.look()
    # Its own mask excludes all remaining hosts.
    assert (studio.fence(job), studio.mask(job)) == ("kept", mask)


# --- renders ----------------------------------------------------------------------------------------------------


def test_a_render_that_joins_or_leaves_does_not_change_a_complement(studio: Studio) -> None:
    job = studio.send("fx", offline=True)
    mask = studio.mask(job)
    studio.look()
    studio.server.set_render("pc-77")
    studio.server.delete_render("pc-05")
    studio.farm.poll()
    studio.look()
    assert (studio.fence(job), studio.mask(job)) == ("current", mask)


def test_a_list_mask_is_extended_to_exclude_a_later_host(studio: Studio) -> None:
    note = {"pool": "fx", "revision": "r", "exclude": "", "exclude_type": "either"}
    from afpools.fence_note import fingerprint

    note["fingerprint"] = fingerprint("pc-02|pc-04|pc-05", "find")
    data = json.dumps({"afpools": note})
    job = studio.server.send(
        hosts_mask_exclude="pc-02|pc-04|pc-05", hosts_mask_type="find", custom_data=data, offline=True
    )
    studio.server.set_render("pc-77")
    studio.farm.poll()
    studio.look()
    assert not studio.server.jobs[job].lets("pc-77", 0)
    assert studio.server.jobs[job].lets("pc-03", 0)


def test_a_restart_with_all_renders_offline_says_nothing_about_any_pool(studio: Studio) -> None:
    job = studio.send("fx", offline=True)
    studio.look()
    actions = len(studio.server.actions)
    studio.server.restart()
    studio.farm.poll()
    studio.look()
    params = [action for action in studio.server.actions[actions:] if "params" in action]
    assert (studio.fence(job), params) == ("current", [])
    studio.apply("pools.add_hosts", "fx", "pc-04")
    studio.look()
    assert studio.mask(job) == "(?!pc-0[134]$).*"


@pytest.mark.parametrize("silent_about", ["get", "monitor"])
def test_a_pool_that_changes_while_afserver_does_not_answer_is_followed_afterwards(
    studio: Studio, silent_about: str
) -> None:
    job = studio.send("fx", offline=True)
    studio.look()
    read = studio.fences._reader._ask
    studio.server.forget_monitors()

    def fail(request: dict[str, object]) -> memoryview:
        if silent_about in request:
            raise FarmError("afserver cannot be reached.")
        return read(request)

    studio.fences._reader._ask = fail
    studio.apply("pools.add_hosts", "fx", "pc-04")
    # This job is not checked before the list of all jobs is read again.
    later = studio.send("fx", offline=True, exclude="pc-01")
    studio.apply("pools.add_hosts", "fx", "pc-05")
    for _ in range(2):
        with pytest.raises(FarmError):
            studio.fences.look(at_once=True)
    studio.fences._reader._ask = read
    studio.look()
    assert studio.mask(job) == "(?!pc-0[1345]$).*"
    assert [studio.server.jobs[later].lets(host, 0) for host in ("pc-01", "pc-05")] == [False, True]


def test_a_job_that_somebody_changed_is_checked_again_if_afserver_did_not_answer(studio: Studio) -> None:
    studio.look()
    job = studio.send("fx", offline=True)
    studio.fences.look_at([job])
    ask = studio.fences._ask

    def fail(request: dict[str, object]) -> memoryview:
        raise FarmError("afserver cannot be reached.")

    studio.fences._ask = studio.fences._reader._ask = fail
    with pytest.raises(FarmError):
        studio.fences.look()
    assert studio.fences._wanted == {job}
    studio.fences._ask = studio.fences._reader._ask = ask
    studio.look()
    assert studio.fence(job) == "current"


# --- one at a time ----------------------------------------------------------------------------------------------


def test_a_broker_without_the_lease_reports_what_is_due_and_does_nothing(studio: Studio) -> None:
    job = studio.send("fx", offline=True)
    studio.look()
    mask = studio.mask(job)
    other: FenceKeeper = studio.another("broker-2")
    studio.apply("pools.add_hosts", "fx", "pc-04")
    studio.look(other)
    assert (other.view.verdicts[job].fence, studio.mask(job), other.lease.keeper) == ("behind", mask, "broker-1")
    studio.store.give_up_lease(studio.fences.lease._holder)
    studio.look(other)
    assert studio.mask(job) == "(?!pc-0[134]$).*"


def test_an_action_begun_under_an_earlier_lease_is_not_done(studio: Studio) -> None:
    job = studio.send("fx", offline=True)
    studio.look()
    mask = studio.mask(job)
    studio.apply("pools.add_hosts", "fx", "pc-04")
    read = studio.fences._reader._ask

    def lose(request: dict[str, object]) -> memoryview:
        answer = read(request)
        studio.fences.lease.token += 1
        return answer

    studio.fences._mover._ask = lose
    studio.fences.look(at_once=True)
    assert (studio.mask(job), [a for a in studio.server.actions if "params" in a]) == (mask, [])


# --- a note that is gone --------------------------------------------------------------------------


def test_a_note_that_a_person_removed_is_said_to_be_removed(studio: Studio) -> None:
    job = studio.send("fx", offline=True)
    studio.look()
    mask = studio.mask(job)
    studio.server.by_hand(job, custom_data='{"shot": 7}')
    studio.look()
    assert (studio.fence(job), studio.fences.view.verdicts[job].pool) == ("removed", "fx")
    studio.look()
    assert studio.why(job).startswith("Note removed by anna@ws-04, ")
    studio.apply("pools.add_hosts", "fx", "pc-04")
    studio.look()
    assert studio.mask(job) == mask
    # It stays so where the note is taken up again, and only until then.
    studio.server.restart()
    studio.look()
    assert studio.fence(job) == "removed"


def test_a_job_that_has_the_number_of_one_that_named_a_pool_has_removed_nothing(studio: Studio) -> None:
    job = studio.send("fx", offline=True)
    studio.look()
    studio.server.act(job, operation={"type": "delete"})
    assert studio.server.send("other", offline=True) == job
    studio.look()
    assert studio.fence(job) == "none"


# --- what health says -------------------------------------------------------------------------------------------


def test_fences_that_are_more_than_a_minute_behind_are_a_problem(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        studio.send("fx", offline=True)
    studio.look()
    other = studio.another("broker-2")  # has no lease, so nothing moves
    studio.apply("pools.add_hosts", "fx", "pc-04")
    studio.look(other)
    now = time.monotonic()
    monkeypatch.setattr("afpools_broker.live.keeper.time.monotonic", lambda: now + 59)
    assert other.health().problems == []
    monkeypatch.setattr("afpools_broker.live.keeper.time.monotonic", lambda: now + 61)
    monkeypatch.setattr(other, "age", lambda: 0.5)
    health = other.health()
    assert health.behind > 60
    assert health.problems == ["Fences of 2 running jobs have been behind for 61 seconds."]
