"""A manager's orders for individual jobs, through a whole broker."""

from __future__ import annotations

import pytest
from tests.broker.conftest import HOSTS
from tests.broker.live.conftest import put_job
from tests.broker.store.places import wait_until
from tests.live_office import send_job
from tests.working_afserver import WorkingAfServer

from afpools import Client, Conflict, UnknownPool


def test_jobs_are_moved_to_another_pool_and_back(boss: Client, server: WorkingAfServer) -> None:
    first, second = (send_job(boss, server, name=name, offline=True) for name in ("one", "two"))
    result = boss.move_jobs([first, (second, server.job(second)["serial"])], "night")
    assert [(each.id, each.before, each.after, each.done) for each in result.jobs] == [
        (first, "fx", "night", True),
        (second, "fx", "night", True),
    ]
    assert {server.fence(number) for number in (first, second)} == {("(?!pc-05$).*", "regex")}
    (entry, *_) = boss.history(pool="night")
    assert (entry.op, entry.who, entry.undoable) == ("jobs.move", "boss", True)
    assert [(each["name"], each["before"], each["after"]) for each in entry.diff["jobs"]] == [
        ("one", "fx", "night"),
        ("two", "fx", "night"),
    ]
    assert boss.history(pool="fx")[0].id == entry.id
    boss.undo(entry.id, request_id="again")
    assert {server.fence(number) for number in (first, second)} == {("(?!pc-0[13]$).*", "regex")}
    assert boss.undo(entry.id, request_id="again").change == boss.history()[0].id
    with pytest.raises(Conflict, match="The jobs have already been moved back by 'boss'"):
        boss.undo(entry.id)


def test_a_moved_job_follows_its_new_pool(boss: Client, server: WorkingAfServer) -> None:
    number = send_job(boss, server, exclude="pc-01", offline=True)
    boss.move_jobs([number], "night")
    boss.add_hosts("night", ["pc-01", "pc-02"])
    wait_until(lambda: server.jobs[number].lets("pc-02", 0))
    assert not server.jobs[number].lets("pc-01", 0)
    wait_until(lambda: boss.jobs().jobs[0].by == "pc-01, pc-02 joined 'night' (boss)")
    assert boss.jobs().jobs[0].pool == "night"


def test_a_job_that_names_no_pool_is_moved_into_one_and_restored_once_that_is_undone(
    boss: Client, server: WorkingAfServer
) -> None:
    number = server.send("old", hosts_mask_exclude="pc-03", custom_data='{"shot": 7}', offline=True)
    wait_until(lambda: [other.id for other in boss.jobs().others] == [number])
    before = server.job(number)
    change = boss.move_jobs([number], "fx").change
    assert [host for host in HOSTS if server.jobs[number].lets(host, 0)] == ["pc-01"]
    boss.undo(change)
    assert server.job(number) == before


def test_a_job_that_cannot_be_moved_says_why_and_the_others_are_moved(boss: Client, server: WorkingAfServer) -> None:
    number = send_job(boss, server, offline=True)
    boss.create_pool("empty")
    assert "The pool 'empty' is empty." in boss.move_jobs([number], "empty").jobs[0].why
    result = boss.move_jobs([(number, 999), 812, number], "night")
    assert [(each.id, each.done) for each in result.jobs] == [(number, False), (812, False)]
    result = boss.move_jobs([812, number], "night")
    assert {each.id: each.done for each in result.jobs} == {812: False, number: True}
    with pytest.raises(UnknownPool):
        boss.move_jobs([number], "nights")


def test_a_job_that_a_person_changed_is_taken_up_again_on_request(boss: Client, server: WorkingAfServer) -> None:
    number = send_job(boss, server, offline=True)
    server.by_hand(number, hosts_mask_exclude="pc-05")
    wait_until(lambda: boss.jobs().jobs[0].why.startswith("Changed by anna@ws-04"))
    (result,) = boss.adopt_jobs([number]).jobs
    assert (result.done, server.fence(number)[0]) == (True, "(?!pc-0[13]$).*")
    wait_until(lambda: boss.jobs().jobs[0].fence == "current")


def test_a_job_from_an_earlier_plug_in_is_taken_up_on_request(boss: Client, server: WorkingAfServer) -> None:
    note = '{"afpools": {"pool": "fx", "revision": "1"}}'
    number = server.send(hosts_mask_exclude="pc-02|pc-04|pc-05", custom_data=note, offline=True)
    wait_until(lambda: [each.fence for each in boss.jobs().jobs] == ["unmarked"])
    assert boss.jobs().jobs[0].why == (
        "It was sent by a plug-in of an earlier version, which did not note the mask, nor what the job excludes itself."
    )
    (result,) = boss.adopt_jobs([number]).jobs
    assert result.done
    assert result.remark == (
        "An earlier plug-in sent it and did not note what the artist excluded besides, so that is not excluded any "
        "more: it may use all hosts of 'fx'."
    )
    assert server.fence(number) == ("(?!pc-0[13]$).*", "regex")
    assert boss.adopt_jobs([number]).jobs[0].remark == ""


def test_a_job_whose_note_a_person_removed_is_taken_up_when_asked_with_what_it_excluded(
    boss: Client, server: WorkingAfServer
) -> None:
    number = send_job(boss, server, exclude="pc-01", offline=True)
    server.by_hand(number, custom_data="")
    wait_until(lambda: [(each.fence, each.pool) for each in boss.jobs().jobs] == [("removed", "fx")])
    assert boss.adopt_jobs([number]).jobs[0].done
    wait_until(lambda: boss.jobs().jobs[0].fence == "current")
    assert [host for host in HOSTS if server.jobs[number].lets(host, 0)] == ["pc-03"]


def test_a_note_that_we_removed_is_not_said_to_be_removed_by_a_person(boss: Client, server: WorkingAfServer) -> None:
    number = server.send("old", hosts_mask_exclude="pc-03", offline=True)
    wait_until(lambda: [other.id for other in boss.jobs().others] == [number])
    change = boss.move_jobs([number], "fx").change
    wait_until(lambda: [each.fence for each in boss.jobs().jobs] == ["current"])
    boss.undo(change)
    wait_until(lambda: [other.id for other in boss.jobs().others] == [number])
    assert boss.jobs().jobs == ()


def test_more_jobs_than_one_batch_holds_are_moved_and_moved_back_as_one_change(
    boss: Client, server: WorkingAfServer
) -> None:
    mask = boss.exclude_mask("fx")
    jobs = [put_job(server, mask.mask, "fx", mask.revision, offline=True) for _ in range(1200)]
    wait_until(lambda: boss.jobs(limit=1).total == len(jobs))
    result = boss.move_jobs(jobs, "night")
    assert (result.moved, all(each.done for each in result.jobs)) == (1200, True)
    assert {server.fence(number) for number in jobs} == {("(?!pc-05$).*", "regex")}
    (entry,) = boss.history(pool="night", limit=1)
    assert len(entry.diff["jobs"]) == 1200
    boss.undo(entry.id)
    assert {server.fence(number) for number in jobs} == {("(?!pc-0[13]$).*", "regex")}


def test_tasks_outside_are_sent_back_on_request(boss: Client, server: WorkingAfServer) -> None:
    number = send_job(boss, server, tasks=2, rounds=1_000_000)
    wait_until(lambda: len(server.ran) == 2)
    boss.remove_hosts("fx", ["pc-01"])
    result = boss.requeue_tasks(pool="fx", hosts=["pc-01"])
    assert [(each.id, each.tasks, each.done) for each in result.jobs] == [(number, 1, True)]
    assert {task.host for _, _, task in server.jobs[number].running()} == {"pc-03"}
    assert boss.requeue_tasks([number]).jobs[0].tasks == 0


def test_finished_jobs_of_a_pool_have_no_tasks_to_be_sent_back(boss: Client, server: WorkingAfServer) -> None:
    mask = boss.exclude_mask("fx")
    done = put_job(server, mask.mask, "fx", mask.revision, tasks=1, rounds=0)
    waiting = send_job(boss, server, offline=True)
    wait_until(lambda: {each.id: each.state for each in boss.jobs(done=True).jobs}.get(done) == "done")
    assert [each.id for each in boss.requeue_tasks(pool="fx").jobs] == [waiting]
