"""What people see of jobs on the farm, through a whole broker."""

from __future__ import annotations

from tests.broker.store.places import wait_until
from tests.live_office import send_job
from tests.working_afserver import WorkingAfServer

from afpools import Client


def test_a_job_shows_its_pool_its_tasks_and_the_hosts_it_may_use(boss: Client, server: WorkingAfServer) -> None:
    number = send_job(boss, server, tasks=5, rounds=1_000_000)
    wait_until(lambda: boss.jobs(ids=[number]).jobs[0].running == 2)
    wait_until(lambda: len(boss.jobs(ids=[number]).jobs[0].hosts) == 2)
    (shown,) = boss.jobs(pool="fx").jobs
    assert (shown.name, shown.user, shown.pool, shown.state) == ("shot", "anna", "fx", "running")
    assert (shown.ready, shown.running, shown.done, shown.tasks) == (3, 2, 0, 5)
    assert (shown.online, shown.renders, shown.fence, shown.why, shown.moved) == (2, 2, "current", "", "")
    assert [(host.name, host.tasks, host.outside) for host in shown.hosts] == [("pc-01", 1, False), ("pc-03", 1, False)]


def test_a_moved_job_shows_when_by_which_change_and_what_still_runs_outside(
    boss: Client, server: WorkingAfServer
) -> None:
    number = send_job(boss, server, tasks=2, rounds=1_000_000)
    wait_until(lambda: len(boss.jobs(ids=[number]).jobs[0].hosts) == 2)
    boss.remove_hosts("fx", ["pc-01"])
    wait_until(lambda: boss.jobs().jobs[0].moved != "")
    wait_until(lambda: boss.jobs().jobs[0].outside == 1)
    (shown,) = boss.jobs().jobs
    assert (shown.fence, shown.by, shown.online) == ("current", "pc-01 left 'fx' (boss)", 1)


def test_a_job_that_names_no_pool_is_among_the_others(boss: Client, server: WorkingAfServer) -> None:
    number = server.send("old", hosts_mask_exclude="pc-02", offline=True)
    wait_until(lambda: [other.id for other in boss.jobs().others] == [number])
    (other,) = boss.jobs(user="anna").others
    assert (other.exclude, other.online, other.state, other.pool) == ("pc-02", 4, "paused", "")
    assert not boss.jobs(user="bert").others
    assert not boss.jobs(pool="fx").others
    assert not boss.jobs(others=False).others
