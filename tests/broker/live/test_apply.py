"""Masks are set at afserver gently, and only what is read back is trusted."""

from __future__ import annotations

from collections.abc import Callable

from tests.broker.live.conftest import Studio

from afpools_broker.live.apply import Move, Pace
from afpools_broker.live.jobs import Job


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


def test_five_hundred_jobs_that_all_change_differently_go_out_together() -> None:
    jobs = [Job(number, hosts_mask_type="regex") for number in range(2, 1002)]
    moves = [Move(job, {"hosts_mask_exclude": f"ws-{job.id:04}|(?!(?:pc-01|pc-02)$).*"}) for job in jobs]
    assert len(Pace().some(moves)) == 500
    # A slower server gets fewer.
    pace = Pace()
    pace.learn(0.1, 0.4)
    assert 100 < len(pace.some(moves)) < 250


def test_a_server_that_was_slow_once_is_not_treated_as_slow_forever() -> None:
    job = Job(2, hosts_mask_type="regex")
    moves = [Move(job, {"hosts_mask_exclude": f"ws-{n:04}|(?!(?:pc-01|pc-02)$).*"}) for n in range(1000)]
    pace = Pace()
    pace.learn(0.1, 10.0)
    for _ in range(10):
        some = pace.some(moves)
        expected = sum(move.seconds for move in some[1:])
        pace.learn(expected, expected)
    assert len(pace.some(moves)) == 500


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


def test_a_job_that_reused_a_number_before_the_action_is_left_alone(studio: Studio) -> None:
    job = studio.send("fx", offline=True)
    studio.look()
    studio.server.act(job, operation={"type": "delete"})
    again = studio.server.send("other", hosts_mask_exclude="pc-02", offline=True)
    assert again == job
    studio.apply("pools.add_hosts", "fx", "pc-04")
    studio.look()
    assert studio.mask(job) == "pc-02"
    assert "custom_data" not in studio.server.job(job)


def test_a_job_that_gets_a_number_in_between_does_not_run_under_another_jobs_mask(studio: Studio) -> None:
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


def test_an_answer_is_not_trusted(studio: Studio) -> None:
    job = studio.send("fx", offline=True)
    studio.look()
    studio.server.stubborn = True
    studio.apply("pools.add_hosts", "fx", "pc-04")
    for _ in range(4):
        studio.look()
    assert studio.fence(job) == "refused"
    assert sum("params" in action for action in studio.server.actions) == 3
