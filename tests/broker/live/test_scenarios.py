"""What becomes of jobs on the farm while pools, renders and people do what they do.

The afserver is a stand-in that works (tests/working_afserver.py); each trap of docs/afanasy.md has a test here.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from tests.broker.live.conftest import Studio
from tests.broker.store.places import wait_until

from afpools.fence_note import is_of
from afpools_broker.farm.farm import FarmError
from afpools_broker.live.apply import Move, Pace
from afpools_broker.live.jobs import Job
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


def test_jobs_that_change_alike_share_actions_and_the_type_is_not_set_again(studio: Studio) -> None:
    jobs = [studio.send("fx", f"shot {n}", offline=True) for n in range(10)]
    studio.look()
    del studio.server.actions[:]
    studio.apply("pools.add_hosts", "fx", "pc-04")
    studio.look()
    assert len(studio.server.actions) == 2
    assert {key for action in studio.server.actions for key in action["params"]} == {
        "hosts_mask_exclude",
        "custom_data",
    }
    assert sorted(number for action in studio.server.actions for number in action["ids"]) == jobs


def test_five_hundred_jobs_of_which_no_two_change_alike_go_out_together() -> None:
    jobs = [Job(number, hosts_mask_type="regex") for number in range(2, 1002)]
    moves = [Move(job, {"hosts_mask_exclude": f"ws-{job.id:04}|(?!(?:pc-01|pc-02)$).*"}) for job in jobs]
    assert len(Pace().some(moves)) == 500
    # A server that has taken longer gets fewer.
    pace = Pace()
    pace.learn(0.1, 0.4)
    assert 100 < len(pace.some(moves)) < 250


def test_a_server_that_took_long_once_is_not_taken_for_slow_forever() -> None:
    job = Job(2, hosts_mask_type="regex")
    moves = [Move(job, {"hosts_mask_exclude": f"ws-{n:04}|(?!(?:pc-01|pc-02)$).*"}) for n in range(1000)]
    pace = Pace()
    pace.learn(0.1, 10.0)
    for _ in range(10):
        some = pace.some(moves)
        expected = sum(move.seconds for move in some[1:])
        pace.learn(expected, expected)
    assert len(pace.some(moves)) == 500


# --- people -----------------------------------------------------------------------------------------------------


def test_a_mask_that_a_person_changed_is_left_alone_and_says_who(studio: Studio) -> None:
    job = studio.send("fx", offline=True)
    studio.look()
    studio.server.by_hand(job, user="anna", hosts_mask_exclude="pc-05")
    studio.apply("pools.add_hosts", "fx", "pc-04")
    studio.look()
    assert (studio.fence(job), studio.mask(job)) == ("changed", "pc-05")
    assert studio.why(job).startswith("Changed by anna@ws-04, ")


def test_a_mask_that_a_person_set_back_is_ours_again(studio: Studio) -> None:
    job = studio.send("fx", offline=True)
    studio.look()
    mask = studio.mask(job)
    studio.server.by_hand(job, hosts_mask_exclude="pc-05")
    studio.look()
    studio.server.by_hand(job, hosts_mask_exclude=mask)
    studio.apply("pools.add_hosts", "fx", "pc-04")
    studio.look()
    assert (studio.fence(job), studio.mask(job)) == ("current", "(?!pc-0[134]$).*")


def test_a_job_of_an_earlier_plug_in_is_left_alone(studio: Studio) -> None:
    job = studio.server.send(hosts_mask_exclude="pc-02", custom_data='{"afpools": {"pool": "fx", "revision": "1"}}')
    studio.look()
    assert (studio.fence(job), studio.mask(job)) == ("unmarked", "pc-02")


@pytest.mark.parametrize("theirs", ["", "for anna", "[1]", '{"shot": 1}'])
def test_a_job_that_names_no_pool_is_left_alone(studio: Studio, theirs: str) -> None:
    job = studio.server.send(hosts_mask_exclude="pc-02", custom_data=theirs)
    studio.look()
    assert (studio.fence(job), studio.mask(job)) == ("none", "pc-02")


# --- pools ------------------------------------------------------------------------------------------------------


def test_an_empty_pool_keeps_the_last_fence(studio: Studio) -> None:
    job = studio.send("fx", offline=True)
    mask = studio.mask(job)
    studio.apply("pools.remove_hosts", "fx", "pc-01", "pc-03")
    studio.look()
    assert (studio.fence(job), studio.mask(job)) == ("kept", mask)
    assert studio.why(job) == "The pool 'fx' is empty. The job keeps the fence that it has."


def test_a_deleted_pool_keeps_the_last_fence_and_undone_it_is_followed_again(studio: Studio) -> None:
    job = studio.send("fx", offline=True)
    mask = studio.mask(job)
    studio.apply("pools.delete", "fx")
    studio.look()
    assert (studio.fence(job), studio.mask(job)) == ("kept", mask)
    assert "The pool 'fx' was deleted." in studio.why(job)
    studio.pool("fx", "pc-02")
    studio.look()
    assert studio.fence(job) == "kept"  # another pool of this name


def test_a_renamed_pool_is_followed_also_where_another_has_its_old_name(studio: Studio) -> None:
    job = studio.send("fx", offline=True)
    studio.look()
    studio.apply("pools.rename", "fx", new_name="effects")
    studio.pool("fx", "pc-02")
    studio.look()
    assert (studio.note(job).pool, studio.mask(job)) == ("effects", "(?!pc-0[13]$).*")
    studio.apply("pools.add_hosts", "effects", "pc-05")
    studio.look()
    assert studio.mask(job) == "(?!pc-0[135]$).*"


def test_a_host_that_no_mask_can_spell_keeps_the_last_fence(studio: Studio) -> None:
    job = studio.send("fx", exclude="pc-01", offline=True)
    mask = studio.mask(job)
    studio.apply("pools.remove_hosts", "fx", "pc-03")
    studio.look()
    # Its own mask leaves none of what is left.
    assert (studio.fence(job), studio.mask(job)) == ("kept", mask)


# --- renders ----------------------------------------------------------------------------------------------------


def test_a_render_that_joins_or_goes_moves_no_complement(studio: Studio) -> None:
    job = studio.send("fx", offline=True)
    mask = studio.mask(job)
    studio.look()
    studio.server.set_render("pc-77")
    studio.server.delete_render("pc-05")
    studio.farm.poll()
    studio.look()
    assert (studio.fence(job), studio.mask(job)) == ("current", mask)


def test_a_list_mask_is_made_to_keep_out_a_host_that_came_later(studio: Studio) -> None:
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


def test_a_restart_with_all_renders_off_is_no_news_about_any_pool(studio: Studio) -> None:
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
    # Nobody looks at this one before the list of all jobs is read again.
    later = studio.send("fx", offline=True, exclude="pc-01")
    studio.apply("pools.add_hosts", "fx", "pc-05")
    for _ in range(2):
        with pytest.raises(FarmError):
            studio.fences.look(at_once=True)
    studio.fences._reader._ask = read
    studio.look()
    assert studio.mask(job) == "(?!pc-0[1345]$).*"
    assert [studio.server.jobs[later].lets(host, 0) for host in ("pc-01", "pc-05")] == [False, True]


def test_a_job_that_somebody_changed_is_looked_at_again_if_afserver_did_not_answer(studio: Studio) -> None:
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


# --- afserver's traps -------------------------------------------------------------------------------------------


def test_a_hidden_job_stays_hidden(studio: Studio) -> None:
    job = studio.send("fx", offline=True)
    studio.server.by_hand(job, hidden=True)
    studio.apply("pools.add_hosts", "fx", "pc-04")
    studio.look()
    assert (studio.server.job(job)["hidden"], studio.fence(job)) == (True, "current")


def test_an_old_server_keeps_the_map_of_native_pools(make_studio: Callable[..., Studio]) -> None:
    studio = make_studio("pc-01", "pc-02", "pc-03", version="3.3.1")
    studio.pool("fx", "pc-01")
    job = studio.send("fx", offline=True, pools={"/local": 100})
    studio.apply("pools.add_hosts", "fx", "pc-02")
    studio.look()
    told = studio.server.job(job)
    assert (told["pools"], told["hosts_mask_exclude"]) == ({"/local": 100}, "(?!pc-0[12]$).*")
    assert studio.fence(job) == "current"
    assert "hosts_mask_type" not in studio.server.actions[-1]["params"]


def test_masks_of_blocks_keep_their_meaning(studio: Studio) -> None:
    job = studio.send("fx", offline=True, block={"hosts_mask_exclude": "(?:pc-01).*"})
    studio.apply("pools.add_hosts", "fx", "pc-04")
    studio.look()
    free = [host for host in ("pc-01", "pc-03", "pc-04", "pc-05") if studio.server.jobs[job].lets(host, 0)]
    assert (free, studio.server.jobs[job].compiled[1]) == (["pc-03", "pc-04"], "regex")


def test_a_block_whose_mask_spoils_afservers_json_does_not_hide_the_other_jobs(studio: Studio) -> None:
    from afpools_broker.live.jobs import parse_jobs

    body = b'{"jobs":[{"id":2,"blocks":[{"hosts_mask":"ws\\.one|a\\\\b"}]},{"id":3,"name":"a\\"b\\u00fc"}]}'
    first, second = parse_jobs(body)
    assert (first.blocks[0].hosts_mask, second.name) == ("ws\\.one|a\\b", 'a"bü')


def test_a_number_that_is_used_again_before_the_action_is_left_alone(studio: Studio) -> None:
    job = studio.send("fx", offline=True)
    studio.look()
    studio.server.act(job, operation={"type": "delete"})
    again = studio.server.send("other", hosts_mask_exclude="pc-02", offline=True)
    assert again == job
    studio.apply("pools.add_hosts", "fx", "pc-04")
    studio.look()
    assert studio.mask(job) == "pc-02"
    assert "custom_data" not in studio.server.job(job)


def test_a_job_that_gets_a_number_in_the_moment_between_does_not_run_under_another_ones_mask(studio: Studio) -> None:
    job = studio.send("fx", offline=True)
    studio.look()
    server = studio.server

    def swap() -> None:
        server.before_actions = None
        del server.jobs[job]
        assert server.send("other", tasks=3) == job

    server.before_actions = swap
    studio.apply("pools.add_hosts", "fx", "pc-04")
    studio.look()
    assert "OFF" in server.job(job)["state"]
    (problem,) = studio.fences.view.struck
    assert "'other' of 'anna' got the number of a job that was deleted just then" in problem
    studio.apply("pools.add_hosts", "fx", "pc-05")
    studio.look()
    assert studio.mask(job) == "(?!pc-0[134]$).*"


def test_with_one_job_gone_the_others_are_moved(studio: Studio) -> None:
    jobs = [studio.send("fx", offline=True) for _ in range(3)]
    studio.look()
    server = studio.server

    def delete() -> None:
        server.before_actions = None
        del server.jobs[jobs[1]]

    server.before_actions = delete
    studio.apply("pools.add_hosts", "fx", "pc-04")
    studio.look()
    assert [studio.mask(job) for job in (jobs[0], jobs[2])] == ["(?!pc-0[134]$).*"] * 2
    assert jobs[1] not in studio.fences.view.jobs


def test_an_answer_is_not_believed(studio: Studio) -> None:
    job = studio.send("fx", offline=True)
    studio.look()
    studio.server.stubborn = True
    studio.apply("pools.add_hosts", "fx", "pc-04")
    for _ in range(4):
        studio.look()
    assert studio.fence(job) == "refused"
    assert sum("params" in action for action in studio.server.actions) == 3


def test_events_that_were_missed_are_made_up_for(studio: Studio) -> None:
    job = studio.send("fx", offline=True)
    studio.look()
    studio.server.forget_monitors()
    later = studio.send("fx", offline=True)
    studio.server.act(job, operation={"type": "delete"})
    studio.look()
    assert set(studio.fences.view.jobs) == {later}


def test_only_jobs_that_changed_are_read(studio: Studio) -> None:
    studio.send("fx", offline=True)
    studio.look()
    del studio.server.requests[:]
    studio.look()
    assert not [request for request in studio.server.requests if request.get("get", {}).get("type") == "jobs"]


# --- tasks outside ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("requeue", [False, True])
def test_tasks_that_run_outside_finish_there_or_are_sent_back(studio: Studio, requeue: bool) -> None:
    studio.settings = studio.settings._replace(requeue=requeue)
    job = studio.send("fx", tasks=2, rounds=1_000_000)
    wait_until(lambda: len(studio.server.ran) == 2)
    studio.look()
    studio.apply("pools.remove_hosts", "fx", "pc-01")
    studio.look()
    running = {task.host for _, _, task in studio.server.jobs[job].running()}
    assert running == ({"pc-03"} if requeue else {"pc-01", "pc-03"})


# --- one at a time ----------------------------------------------------------------------------------------------


def test_a_broker_without_the_lease_says_what_is_due_and_does_nothing(studio: Studio) -> None:
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


def test_what_was_begun_under_an_earlier_lease_is_not_done(studio: Studio) -> None:
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
