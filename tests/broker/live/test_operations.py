"""The operations about jobs on the farm, through a whole broker, by our own client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.broker.live.conftest import put_job
from tests.broker.store.places import wait_until
from tests.live_office import live_manager, live_office
from tests.studio import Studio, studio
from tests.working_afserver import WorkingAfServer, working_afserver

from afpools import BadRequest, Client, Conflict, FarmUnavailable, Forbidden, Profile, UnknownPool

HOSTS = ("pc-01", "pc-02", "pc-03", "pc-04", "pc-05")


@pytest.fixture
def server() -> Iterator[WorkingAfServer]:
    with working_afserver(*HOSTS) as server:
        yield server


@pytest.fixture
def office(server: WorkingAfServer, tmp_path: Path) -> Iterator[Studio]:
    with live_office(tmp_path, server) as made:
        yield made


@pytest.fixture
def manager(office: Studio) -> Iterator[Client]:
    with live_manager(office, "boss", len(HOSTS), fx=["pc-01", "pc-03"], night=["pc-05"]) as client:
        yield client


def job(manager: Client, server: WorkingAfServer, pool: str = "fx", **more: object) -> int:
    """A job that the broker has seen."""
    mask = manager.exclude_mask(pool)
    number = put_job(server, mask.mask, pool, mask.revision, **more)
    wait_until(lambda: any(each.id == number for each in manager.jobs().jobs))
    return number


def test_a_job_says_its_pool_its_tasks_and_the_hosts_it_may_use(manager: Client, server: WorkingAfServer) -> None:
    number = job(manager, server, tasks=5, rounds=1_000_000)
    wait_until(lambda: manager.jobs(ids=[number]).jobs[0].running == 2)
    wait_until(lambda: len(manager.jobs(ids=[number]).jobs[0].hosts) == 2)
    (shown,) = manager.jobs(pool="fx").jobs
    assert (shown.name, shown.user, shown.pool, shown.state) == ("shot", "anna", "fx", "running")
    assert (shown.ready, shown.running, shown.done, shown.tasks) == (3, 2, 0, 5)
    assert (shown.online, shown.renders, shown.fence, shown.why, shown.moved) == (2, 2, "current", "", "")
    assert [(host.name, host.tasks, host.outside) for host in shown.hosts] == [("pc-01", 1, False), ("pc-03", 1, False)]


def test_a_job_that_moved_says_when_and_by_which_change_and_what_still_runs_outside(
    manager: Client, server: WorkingAfServer
) -> None:
    number = job(manager, server, tasks=2, rounds=1_000_000)
    wait_until(lambda: len(manager.jobs(ids=[number]).jobs[0].hosts) == 2)
    manager.remove_hosts("fx", ["pc-01"])
    wait_until(lambda: manager.jobs().jobs[0].moved != "")
    wait_until(lambda: manager.jobs().jobs[0].outside == 1)
    (shown,) = manager.jobs().jobs
    assert (shown.fence, shown.by, shown.online) == ("current", "pc-01 left 'fx' (boss)", 1)


def test_a_job_that_names_no_pool_is_among_the_others(manager: Client, server: WorkingAfServer) -> None:
    number = server.send("old", hosts_mask_exclude="pc-02", offline=True)
    wait_until(lambda: [other.id for other in manager.jobs().others] == [number])
    (other,) = manager.jobs(user="anna").others
    assert (other.exclude, other.online, other.state, other.pool) == ("pc-02", 4, "paused", "")
    assert not manager.jobs(user="bert").others
    assert not manager.jobs(pool="fx").others
    assert not manager.jobs(others=False).others


def test_readers_see_jobs_and_only_managers_preview_changes(
    manager: Client, office: Studio, server: WorkingAfServer
) -> None:
    job(manager, server, offline=True)
    with Client(Profile.load(str(office.profile("anna"))), timeout=20) as reader:
        assert len(reader.jobs().jobs) == 1
        with pytest.raises(Forbidden, match="To preview changes you need a manager profile"):
            reader.preview("fx", delete=True)


def test_a_preview_says_which_jobs_gain_and_lose_which_hosts(manager: Client, server: WorkingAfServer) -> None:
    first = job(manager, server, tasks=2, rounds=1_000_000)
    job(manager, server, "night", offline=True)
    wait_until(lambda: len(manager.jobs(ids=[first]).jobs[0].hosts) == 2)
    seen = manager.preview("fx", add_hosts=["pc-04"], remove_hosts=["pc-01"])
    assert seen["sentences"] == ["1 job gains pc-04.", "1 job loses pc-01; 1 task runs there now."]
    assert [(each["id"], each["gains"], each["loses"]) for each in seen["jobs"]] == [(first, ["pc-04"], ["pc-01"])]
    assert seen["lost_hosts"] == [{"name": "pc-01", "jobs": 1, "tasks": 1}]
    assert (seen["total"], seen["gain"], seen["lose"], seen["tasks_on_lost"]) == (1, 1, 1, 1)
    assert manager.get_pool("fx").hosts == ("pc-01", "pc-03")


def test_a_preview_says_which_job_would_have_no_machine_online(manager: Client, server: WorkingAfServer) -> None:
    number = job(manager, server, "night", offline=True)
    server.set_render("pc-04", " OFF")
    wait_until(lambda: next(h for h in manager.list_hosts().hosts if h.name == "pc-04").states == ("offline",))
    seen = manager.preview("night", add_hosts=["pc-04"], remove_hosts=["pc-05"])
    assert seen["without_machine"] == [number]
    assert f"Job {number} 'shot' of 'anna' would have no machine online." in seen["sentences"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"delete": True},
            "1 job stays as it is: The pool 'fx' would be deleted. The job keeps the fence that it has.",
        ),
        (
            {"remove_hosts": ["pc-01", "pc-03"]},
            "1 job stays as it is: The pool 'fx' would be empty. The job keeps the fence",
        ),
        ({"new_name": "effects"}, "No job on the farm gains or loses a host."),
        ({"add_hosts": ["pc-01"]}, "No job on the farm gains or loses a host."),
    ],
)
def test_a_preview_says_what_keeps_its_fence(
    manager: Client, server: WorkingAfServer, change: dict[str, object], said: str
) -> None:
    job(manager, server, offline=True)
    (sentence,) = manager.preview("fx", **change)["sentences"]  # type: ignore[arg-type]
    assert sentence.startswith(said)


def test_a_preview_of_an_undo_and_of_a_move(manager: Client, server: WorkingAfServer) -> None:
    number = job(manager, server, offline=True)
    entry = manager.add_hosts("fx", ["pc-04"]).change
    wait_until(lambda: manager.jobs().jobs[0].online == 3)
    assert manager.preview(entry=entry)["sentences"] == ["1 job loses pc-04."]
    moved = manager.preview("night", jobs=[number])
    assert moved["sentences"] == ["1 job gains pc-05.", "1 job loses pc-01, pc-03, pc-04."]


def test_a_preview_of_a_move_that_is_taken_back(manager: Client, server: WorkingAfServer) -> None:
    number, unnamed = job(manager, server, offline=True), server.send("old", hosts_mask_exclude="pc-02", offline=True)
    wait_until(lambda: [other.id for other in manager.jobs().others] == [unnamed])
    entry = manager.move_jobs([number, unnamed], "night").change
    wait_until(lambda: len(manager.jobs("night").jobs) == 2)
    assert manager.preview(entry=entry)["sentences"] == [
        "2 jobs gain pc-01, pc-03.",
        "1 job gains pc-04.",
        "1 job loses pc-05.",
    ]
    manager.move_jobs([number], "fx")
    wait_until(lambda: len(manager.jobs("night").jobs) == 1)
    assert manager.preview(entry=entry)["sentences"] == ["1 job gains pc-01, pc-03, pc-04."]


def test_a_change_that_cannot_be_previewed_is_refused(manager: Client, server: WorkingAfServer) -> None:
    with pytest.raises(BadRequest, match="Job 812 is no longer on the farm"):
        manager.preview("night", jobs=[812])
    with pytest.raises(UnknownPool):
        manager.preview("nights", delete=True)
    with pytest.raises(BadRequest, match="It previews one change"):
        manager.preview("fx", delete=True, new_name="effects")
    with pytest.raises(BadRequest, match="pc-05 is not in the pool 'fx'"):
        manager.preview("fx", remove_hosts=["pc-05"])


def test_a_broker_that_does_not_look_at_jobs_says_so(tmp_path: Path, server: WorkingAfServer) -> None:
    farm = {"server": f"127.0.0.1:{server.address[1]}"}
    with (
        studio(tmp_path, farm=farm) as made,
        Client(Profile.load(str(made.profile("anna"))), timeout=20) as reader,
        pytest.raises(FarmUnavailable, match=r"set enabled = true in the section \[live\]"),
    ):
        reader.jobs()


def test_health_says_how_the_fences_stand(manager: Client, server: WorkingAfServer) -> None:
    job(manager, server, offline=True)
    live = manager.health()["live"]
    assert (live["keeper"], live["keeping"], live["jobs"], live["problems"]) == ("broker", True, 1, [])


# --- orders -----------------------------------------------------------------------------------------------------


def test_jobs_are_moved_to_another_pool_and_back(manager: Client, server: WorkingAfServer) -> None:
    first, second = (job(manager, server, name=name, offline=True) for name in ("one", "two"))
    result = manager.move_jobs([first, (second, server.job(second)["serial"])], "night")
    assert [(each.id, each.before, each.after, each.done) for each in result.jobs] == [
        (first, "fx", "night", True),
        (second, "fx", "night", True),
    ]
    assert {server.fence(number) for number in (first, second)} == {("(?!pc-05$).*", "regex")}
    (entry, *_) = manager.history(pool="night")
    assert (entry.op, entry.who, entry.undoable) == ("jobs.move", "boss", True)
    assert [(each["name"], each["before"], each["after"]) for each in entry.diff["jobs"]] == [
        ("one", "fx", "night"),
        ("two", "fx", "night"),
    ]
    assert manager.history(pool="fx")[0].id == entry.id
    manager.undo(entry.id, request_id="again")
    assert {server.fence(number) for number in (first, second)} == {("(?!pc-0[13]$).*", "regex")}
    assert manager.undo(entry.id, request_id="again").change == manager.history()[0].id
    with pytest.raises(Conflict, match="The jobs have already been moved back by 'boss'"):
        manager.undo(entry.id)


def test_a_moved_job_follows_its_new_pool(manager: Client, server: WorkingAfServer) -> None:
    number = job(manager, server, exclude="pc-01", offline=True)
    manager.move_jobs([number], "night")
    manager.add_hosts("night", ["pc-01", "pc-02"])
    wait_until(lambda: server.jobs[number].lets("pc-02", 0))
    assert not server.jobs[number].lets("pc-01", 0)
    wait_until(lambda: manager.jobs().jobs[0].by == "pc-01, pc-02 joined 'night' (boss)")
    assert manager.jobs().jobs[0].pool == "night"


def test_a_job_that_names_no_pool_is_moved_into_one_and_is_as_before_once_that_is_undone(
    manager: Client, server: WorkingAfServer
) -> None:
    number = server.send("old", hosts_mask_exclude="pc-03", custom_data='{"shot": 7}', offline=True)
    wait_until(lambda: [other.id for other in manager.jobs().others] == [number])
    before = server.job(number)
    change = manager.move_jobs([number], "fx").change
    assert [host for host in HOSTS if server.jobs[number].lets(host, 0)] == ["pc-01"]
    manager.undo(change)
    assert server.job(number) == before


def test_a_repeated_move_is_one_line_of_history(manager: Client, server: WorkingAfServer) -> None:
    number = job(manager, server, offline=True)
    first = manager.move_jobs([number], "night", request_id="once")
    second = manager.move_jobs([number], "night", request_id="once")
    assert (first.change, second.jobs[0].done) == (second.change, True)
    assert [entry.op for entry in manager.history(pool="night")] == ["jobs.move", "pools.create"]


def test_what_cannot_be_moved_says_why_and_the_others_are_moved(manager: Client, server: WorkingAfServer) -> None:
    number = job(manager, server, offline=True)
    manager.create_pool("empty")
    assert "The pool 'empty' is empty." in manager.move_jobs([number], "empty").jobs[0].why
    result = manager.move_jobs([(number, 999), 812, number], "night")
    assert [(each.id, each.done) for each in result.jobs] == [(number, False), (812, False)]
    result = manager.move_jobs([812, number], "night")
    assert {each.id: each.done for each in result.jobs} == {812: False, number: True}
    with pytest.raises(UnknownPool):
        manager.move_jobs([number], "nights")


def test_a_job_that_a_person_changed_is_taken_up_again_when_asked(manager: Client, server: WorkingAfServer) -> None:
    number = job(manager, server, offline=True)
    server.by_hand(number, hosts_mask_exclude="pc-05")
    wait_until(lambda: manager.jobs().jobs[0].why.startswith("Changed by anna@ws-04"))
    (result,) = manager.adopt_jobs([number]).jobs
    assert (result.done, server.fence(number)[0]) == (True, "(?!pc-0[13]$).*")
    wait_until(lambda: manager.jobs().jobs[0].fence == "current")


def test_a_job_of_an_earlier_plug_in_is_taken_up_when_asked(manager: Client, server: WorkingAfServer) -> None:
    note = '{"afpools": {"pool": "fx", "revision": "1"}}'
    number = server.send(hosts_mask_exclude="pc-02|pc-04|pc-05", custom_data=note, offline=True)
    wait_until(lambda: [each.fence for each in manager.jobs().jobs] == ["unmarked"])
    assert manager.adopt_jobs([number]).jobs[0].done
    assert server.fence(number) == ("(?!pc-0[13]$).*", "regex")


def test_tasks_outside_are_sent_back_when_asked(manager: Client, server: WorkingAfServer) -> None:
    number = job(manager, server, tasks=2, rounds=1_000_000)
    wait_until(lambda: len(server.ran) == 2)
    manager.remove_hosts("fx", ["pc-01"])
    result = manager.requeue_tasks(pool="fx", hosts=["pc-01"])
    assert [(each.id, each.tasks, each.done) for each in result.jobs] == [(number, 1, True)]
    assert {task.host for _, _, task in server.jobs[number].running()} == {"pc-03"}
    assert manager.requeue_tasks([number]).jobs[0].tasks == 0


def test_orders_are_for_managers(office: Studio, manager: Client) -> None:
    with Client(Profile.load(str(office.profile("anna"))), timeout=20) as reader:
        for order in (
            lambda: reader.move_jobs([2], "fx"),
            lambda: reader.adopt_jobs([2]),
            lambda: reader.requeue_tasks([2]),
        ):
            with pytest.raises(Forbidden):
                order()
