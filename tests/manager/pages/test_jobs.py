"""The Pool Manager in a browser: jobs on the farm, what a change would do to them, and moving them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect
from tests.broker.live.conftest import put_job
from tests.studio import Studio, studio
from tests.working_afserver import WorkingAfServer, working_afserver

from afpools import Client
from afpools.fence_note import SpillNote
from afpools.profile import Profile
from afpools.results import Hello
from afpools_broker.protocol import Role

from ..browser import picture
from ..conftest import Manager, running, until
from .conftest import Held, Open, go, row

pytestmark = [pytest.mark.heavy, pytest.mark.xdist_group("chromium"), pytest.mark.timeout(180)]

HOSTS = ("gpu-7", "gpu-8", "pc-01", "pc-02", "pc-03", "pc-04")
FOREVER = 1_000_000


@pytest.fixture
def server() -> Iterator[WorkingAfServer]:  # type: ignore[override]
    with working_afserver(*HOSTS) as made:
        yield made


@pytest.fixture
def place(tmp_path: Path, server: WorkingAfServer) -> Iterator[Studio]:
    """A studio whose broker keeps the fences of jobs."""
    farm = {"server": f"127.0.0.1:{server.address[1]}", "interval": 0.2}
    with studio(tmp_path, farm=farm, live={"enabled": True}) as made:
        with Client(Profile.load(str(made.profile("dora", Role.MANAGER))), timeout=20) as client:
            until(lambda: len(client.list_hosts().hosts) == len(HOSTS))
            client.create_pool("fx", ["gpu-7", "gpu-8"], "Simulation and effects", "#3f7ae0")
            client.create_pool("night", ["pc-[01-02]"], "Workstations after 20:00", "#d9902f")
            until(lambda: client.jobs().keeping)
        yield made


Send = Callable[..., int]


@pytest.fixture
def send(server: WorkingAfServer, elsewhere: Client) -> Send:
    """Sends a job with the mask that our clients would set, and waits until the broker has seen it."""

    def send(name: str, pool: str = "fx", **more: Any) -> int:
        mask = elsewhere.exclude_mask(pool)
        number = put_job(server, mask.mask, pool, mask.revision, name, **{"rounds": FOREVER, **more})
        until(lambda: any(job.id == number for job in elsewhere.jobs().jobs))
        return number

    return send


def job(page: Page, number: int) -> Locator:
    """A job's row."""
    return page.get_by_role("row").filter(has=page.get_by_role("gridcell", name=re.compile(rf"^{number} (shot|old)")))


def test_removing_a_host_says_what_its_jobs_lose_and_sends_their_tasks_back(
    page: Page, send: Send, server: WorkingAfServer, elsewhere: Client
) -> None:
    number = send("shot_010", tasks=6)
    until(lambda: elsewhere.jobs().jobs[0].running == 2)
    elsewhere.add_hosts("fx", ["pc-03"])
    row(page, "Pools", "fx").click()
    expect(page.get_by_role("link", name="1 job on the farm")).to_be_visible()
    expect(page.get_by_text("3 running, 3 ready")).to_be_visible()
    picture(page, "pool-with-jobs")

    page.get_by_role("button", name="Remove gpu-8 from fx").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("1 job loses gpu-8; 1 task runs there now.")).to_be_visible()
    dialog.get_by_role("group", name="The task on gpu-8").get_by_role("button", name="Send it back").click()
    picture(page, "what-if-remove")
    dialog.get_by_role("button", name="Remove", exact=True).click()
    expect(page.get_by_text("Removed gpu-8 from fx")).to_be_visible()
    expect(page.get_by_text("Sent back 1 task")).to_be_visible()
    until(lambda: not any(host.name == "gpu-8" for host in elsewhere.jobs().jobs[0].hosts))
    assert not any(task.host == "gpu-8" for _, _, task in server.jobs[number].running())

    go(page, "Jobs")
    expect(job(page, number)).to_contain_text("Current")
    expect(job(page, number)).to_contain_text("gpu-8 left 'fx' (anna)")
    expect(job(page, number)).to_contain_text("2 of 2 online")
    picture(page, "jobs-after-a-change")


def test_tasks_that_may_finish_are_shown_and_can_be_sent_back_later(page: Page, send: Send, elsewhere: Client) -> None:
    number = send("shot_010", tasks=2)
    until(lambda: elsewhere.jobs().jobs[0].running == 2)
    go(page, "Hosts")
    expect(row(page, "Hosts", "gpu-8")).to_contain_text("shot_010 (anna)")
    row(page, "Hosts", "gpu-8").click()
    picture(page, "hosts-with-jobs")
    page.get_by_role("button", name="Remove gpu-8 from fx").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("1 job loses gpu-8")).to_be_visible()
    dialog.get_by_role("button", name="Remove", exact=True).click()
    go(page, "Jobs")
    expect(job(page, number)).to_contain_text("1 task outside")
    job(page, number).click()
    page.get_by_role("button", name="Send back 1 task").click()
    expect(page.get_by_text("Sent back 1 task")).to_be_visible()
    expect(job(page, number)).to_contain_text("1 running, 1 ready")


def test_adding_by_typing_says_what_jobs_gain(page: Page, send: Send) -> None:
    send("shot_010", tasks=6)
    row(page, "Pools", "fx").click()
    field = page.get_by_label("Hosts to add")
    field.fill("pc-[03-04]")
    expect(page.get_by_text("1 job gains pc-03, pc-04.")).to_be_visible()
    picture(page, "what-if-add")
    field.press("Enter")
    expect(page.get_by_text("Added pc-[03-04] to fx")).to_be_visible()
    expect(page.get_by_text("4 running, 2 ready")).to_be_visible()


def test_jobs_are_moved_to_another_pool_and_back(page: Page, send: Send, server: WorkingAfServer) -> None:
    numbers = [send(f"shot_0{number}0", offline=True) for number in (1, 2)]
    server.send("old", hosts_mask_exclude="pc-04", offline=True, user="bert")
    go(page, "Jobs")
    for number in numbers:
        expect(job(page, number)).to_contain_text("2 of 2 online")
    grid = page.get_by_role("grid", name="Jobs", exact=True)
    grid.focus()
    page.keyboard.press("Control+a")
    expect(page.get_by_text("2 jobs selected")).to_be_visible()
    picture(page, "jobs-selected")
    page.get_by_role("button", name="Move…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("To pool").select_option("night")
    expect(dialog.get_by_text("2 jobs gain pc-01, pc-02.")).to_be_visible()
    expect(dialog.get_by_text("2 jobs lose gpu-7, gpu-8.")).to_be_visible()
    picture(page, "move-jobs")
    dialog.get_by_role("button", name="Move", exact=True).click()
    expect(page.get_by_text("Moved 2 jobs to night")).to_be_visible()
    for number in numbers:
        expect(job(page, number)).to_contain_text("night")
    page.locator(".toast").get_by_role("button", name="Undo").click()
    expect(dialog.get_by_text("2 jobs gain gpu-7, gpu-8.")).to_be_visible()
    dialog.get_by_role("button", name="Undo", exact=True).click()
    for number in numbers:
        expect(job(page, number)).to_contain_text("fx")

    go(page, "History")
    expect(page.get_by_text("shot_010: fx → night").first).to_be_visible()
    picture(page, "history-of-jobs")


def test_a_job_that_names_no_pool_is_dragged_into_one(page: Page, send: Send, server: WorkingAfServer) -> None:
    number = server.send("old", hosts_mask_exclude="pc-04", offline=True, user="bert")
    go(page, "Jobs")
    others = page.get_by_role("grid", name="Jobs that name no pool")
    expect(others.get_by_role("row").filter(has_text="old")).to_contain_text("5 of 5 online")
    target = page.get_by_role("list", name="Pools to move jobs to").get_by_role("listitem").filter(has_text="night")
    job(page, number).drag_to(target)
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("To pool")).to_have_value("night")
    dialog.get_by_role("button", name="Move", exact=True).click()
    expect(page.get_by_text(f"Moved {number} old to night")).to_be_visible()
    expect(page.get_by_role("grid", name="Jobs", exact=True).get_by_text("old")).to_be_visible()


def test_a_job_that_a_person_changed_is_taken_up_again(
    page: Page, send: Send, server: WorkingAfServer, elsewhere: Client
) -> None:
    number = send("shot_010", offline=True)
    server.by_hand(number, user="bert", hosts_mask_exclude="pc-01")
    go(page, "Jobs")
    expect(job(page, number)).to_contain_text("Changed by a person")
    job(page, number).click()
    expect(page.get_by_text("Changed by bert")).to_be_visible()
    picture(page, "job-changed-by-hand")
    page.get_by_role("button", name="Take up 1 again").click()
    expect(job(page, number)).to_contain_text("Current")
    assert server.fence(number)[0] == elsewhere.exclude_mask("fx").mask


def test_jobs_are_filtered_by_pool_user_and_text(page: Page, send: Send) -> None:
    first = send("shot_010", user="anna", offline=True)
    second = send("shot_020", "night", user="bert", offline=True)
    go(page, "Jobs")
    expect(job(page, second)).to_be_visible()
    page.get_by_label("User").select_option("anna")
    expect(job(page, second)).to_have_count(0)
    page.get_by_label("User").select_option("")
    page.get_by_label("Pool", exact=True).select_option("night")
    expect(job(page, first)).to_have_count(0)
    expect(job(page, second)).to_be_visible()
    page.get_by_label("Pool", exact=True).select_option("")
    page.get_by_role("grid", name="Jobs", exact=True).focus()
    page.keyboard.press("/")
    page.keyboard.type(f"{first} shot_010 anna")
    expect(job(page, second)).to_have_count(0)
    expect(job(page, first)).to_be_visible()
    page.keyboard.type(" nothing")
    expect(page.get_by_text("No job matches the filter.").first).to_be_visible()


def test_deleting_renaming_and_undoing_say_what_happens_to_jobs(page: Page, send: Send, elsewhere: Client) -> None:
    send("shot_010", offline=True)
    elsewhere.add_hosts("fx", ["pc-04"])
    row(page, "Pools", "fx").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("1 job stays as it is")).to_be_visible()
    picture(page, "what-if-delete")
    dialog.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Edit", exact=True).click()
    dialog.get_by_label("Name").fill("effects")
    expect(dialog.get_by_text("No job on the farm gains or loses a host.")).to_be_visible()
    dialog.get_by_role("button", name="Cancel").click()
    go(page, "History")
    # Until its fence has moved, the job would lose nothing.
    until(lambda: elsewhere.jobs().jobs[0].renders == 3 and elsewhere.jobs().jobs[0].fence == "current")
    page.get_by_role("button", name="Undo: added hosts to fx").first.click()
    expect(dialog.get_by_text("1 job loses pc-04.")).to_be_visible()
    picture(page, "what-if-undo")
    dialog.get_by_role("button", name="Undo", exact=True).click()
    expect(page.get_by_text("Undone: added hosts to fx")).to_be_visible()
    assert set(elsewhere.get_pool("fx").hosts) == {"gpu-7", "gpu-8"}


def test_a_change_does_not_wait_for_what_it_would_do(page: Page, send: Send, elsewhere: Client) -> None:
    send("shot_010", offline=True)
    row(page, "Pools", "fx").click()
    expect(page.get_by_role("link", name="1 job on the farm")).to_be_visible()
    held = Held(page, "**/api/preview")
    page.get_by_role("button", name="Remove gpu-8 from fx").click()
    dialog = page.get_by_role("dialog")
    held.wait()
    expect(dialog.get_by_text("Checking the jobs on the farm…")).to_be_visible()
    held.fail()
    unknown = "It is not known what this does to the jobs on the farm. Something broke."
    expect(dialog.get_by_text(unknown)).to_be_visible()
    dialog.get_by_role("button", name="Remove", exact=True).click()
    expect(page.get_by_text("Removed gpu-8 from fx")).to_be_visible()
    assert set(elsewhere.get_pool("fx").hosts) == {"gpu-7"}


def test_an_empty_list_an_old_list_and_an_old_broker_each_say_what_to_do(
    start: Callable[..., Manager],
    open_page: Open,
    server: WorkingAfServer,
    elsewhere: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    page = open_page(start())
    go(page, "Jobs")
    expect(page.get_by_text("Choose a pool in a submitter")).to_be_visible()
    picture(page, "no-jobs")

    list_jobs = Client.jobs
    monkeypatch.setattr(Client, "jobs", lambda *given, **more: list_jobs(*given, **more)._replace(age=90.0, keeper=""))
    expect(page.get_by_text("afserver has not confirmed them since")).to_be_visible()
    expect(page.get_by_text("No broker is known to keep the fences")).to_be_visible()
    picture(page, "old-list-of-jobs")

    hello = Client.hello

    def of_before(client: Client) -> Hello:
        said = hello(client)
        return said._replace(operations=tuple(op for op in said.operations if op != "jobs.list"))

    monkeypatch.setattr(Client, "hello", of_before)
    page = open_page(start())
    go(page, "Jobs")
    expect(page.get_by_text("This broker does not list jobs. Update the broker.")).to_be_visible()


@pytest.mark.parametrize(
    ("has_server", "sentence"),
    [(False, "set server in the section [farm] of broker.toml"), (True, "set enabled = true in the section [live]")],
)
def test_a_broker_that_does_not_look_at_jobs_says_what_to_set(
    tmp_path: Path, server: WorkingAfServer, open_page: Open, has_server: bool, sentence: str
) -> None:
    farm = {"server": f"127.0.0.1:{server.address[1]}" if has_server else ""}
    with studio(tmp_path, farm=farm) as place, running(place.profile("anna", Role.MANAGER)) as manager:
        page = open_page(manager)
        go(page, "Jobs")
        expect(page.get_by_text(sentence)).to_be_visible()
        expect(page.get_by_role("alert")).to_have_count(0)


def test_everything_fits_in_the_dark(manager: Manager, open_page: Open, send: Send, server: WorkingAfServer) -> None:
    for number in range(1, 13):
        send(f"a_rather_long_name_of_a_shot_{number:03}", "fx" if number % 2 else "night", tasks=4)
    server.send("old", hosts_mask_exclude="pc-04", offline=True, user="bert")
    page = open_page(manager, scheme="dark")
    go(page, "Jobs")
    expect(page.get_by_text("a_rather_long_name_of_a_shot_012")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 1366
    picture(page, "jobs-dark")


def test_an_import_says_what_jobs_of_each_pool_gain_and_lose(page: Page, send: Send, elsewhere: Client) -> None:
    send("shot_010", tasks=2)
    send("shot_020", "night", offline=True)
    until(lambda: elsewhere.jobs(pool="fx").jobs[0].running == 2)
    go(page, "Jobs")
    expect(page.get_by_text("shot_020")).to_be_visible()
    go(page, "Import, export")
    page.get_by_role("button", name="Also remove what is not in the file").click()
    content = "pool,host\nfx,gpu-7\nnight,pc-01\nnight,pc-02\nnight,pc-03\n"
    page.get_by_label("File", exact=True).set_input_files(
        {"name": "pools.csv", "mimeType": "text/csv", "buffer": content.encode()}
    )
    expect(page.get_by_text("fx: 1 job loses gpu-8; 1 task runs there now.")).to_be_visible()
    expect(page.get_by_text("night: 1 job gains pc-03.")).to_be_visible()
    page.get_by_role("button", name="Send it back").click()
    picture(page, "what-if-import")
    page.get_by_role("button", name="Make", exact=False).click()
    expect(page.get_by_text("Imported pools.csv")).to_be_visible()
    expect(page.get_by_text("Sent back 1 task")).to_be_visible()


def test_a_reader_sees_jobs_but_cannot_move_any(start: Callable[..., Manager], open_page: Open, send: Send) -> None:
    number = send("shot_010", offline=True)
    page = open_page(start("bert", Role.READER))
    go(page, "Jobs")
    job(page, number).click()
    expect(page.get_by_role("button", name="Move…")).to_be_disabled()
    expect(page.get_by_role("button", name=f"Move {number} shot_010 to night")).to_be_disabled()


def test_the_undo_beside_what_was_done_says_what_jobs_would_feel_of_it(
    page: Page, send: Send, elsewhere: Client
) -> None:
    send("shot_010", tasks=2)
    row(page, "Pools", "fx").click()
    expect(page.get_by_role("link", name="1 job on the farm")).to_be_visible()
    page.get_by_role("button", name="Remove gpu-8 from fx").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove", exact=True).click()
    page.locator(".toast").filter(has_text="Removed gpu-8 from fx").get_by_role("button", name="Undo").click()
    dialog = page.get_by_role("dialog", name="Undo: Removed gpu-8 from fx?")
    expect(dialog.get_by_text("1 job gains gpu-8.")).to_be_visible()
    assert elsewhere.get_pool("fx").hosts == ("gpu-7",)
    dialog.get_by_role("button", name="Undo", exact=True).click()
    expect(page.get_by_text("Undone: Removed gpu-8 from fx")).to_be_visible()
    assert elsewhere.get_pool("fx").hosts == ("gpu-7", "gpu-8")


def test_forgetting_a_host_says_what_jobs_would_feel_of_it(
    page: Page, send: Send, server: WorkingAfServer, elsewhere: Client
) -> None:
    elsewhere.add_hosts("fx", ["old-2"], new_hosts=True)
    send("shot_010", tasks=2)
    row(page, "Pools", "fx").click()
    expect(page.get_by_role("link", name="1 job on the farm")).to_be_visible()
    go(page, "Hosts")
    page.get_by_role("button", name="Forget old-2").click()
    dialog = page.get_by_role("dialog", name="Forget old-2?")
    expect(dialog.get_by_text("No job on the farm gains or loses a host.")).to_be_visible()
    dialog.get_by_role("button", name="Forget", exact=True).click()
    expect(page.get_by_text("Forgot old-2")).to_be_visible()
    assert elsewhere.get_pool("fx").hosts == ("gpu-7", "gpu-8")


def test_a_note_that_a_person_removed_is_shown_and_taken_up_again(
    page: Page, send: Send, server: WorkingAfServer, elsewhere: Client
) -> None:
    number = send("shot_010", offline=True)
    server.by_hand(number, custom_data="")
    until(lambda: elsewhere.jobs().jobs[0].fence == "removed")
    go(page, "Jobs")
    expect(job(page, number)).to_contain_text("Note removed by a person")
    job(page, number).click()
    page.get_by_role("button", name="Take up 1 again").click()
    expect(job(page, number)).to_contain_text("Current")


def test_a_pool_gets_a_second_one_and_a_job_that_spilled_shows_both(page: Page, send: Send, elsewhere: Client) -> None:
    own = SpillNote("night", elsewhere.get_pool("night").revision, 1800)
    number = send("shot_010", spill=own, offline=True)
    spilled = send("shot_020", spill=own._replace(since="2026-12-01T04:00:00Z"), offline=True)
    gone = send("shot_030", spill=SpillNote("gone", "r1", 1800), offline=True)
    until(lambda: [each.id for each in elsewhere.jobs("night").jobs] == [spilled])
    row(page, "Pools", "fx").click()
    page.get_by_role("button", name="Edit").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Second pool", exact=True).select_option("night")
    dialog.get_by_label("Time until jobs may use it").select_option("2 hours")
    picture(page, "second-pool-dialog")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_have_count(0)
    expect(page.get_by_text("Its jobs may also use night after 2 hours without a running task.")).to_be_visible()
    assert (elsewhere.get_pool("fx").spill_to, elsewhere.get_pool("fx").spill_after) == ("night", 7200)
    inherits = send("shot_040", offline=True)

    go(page, "Jobs")
    expect(job(page, number)).to_contain_text("fx → night")
    expect(job(page, spilled)).to_contain_text("fx + night")
    expect(job(page, inherits)).to_contain_text("fx → night")
    job(page, number).click()
    expect(page.get_by_text("Also on night after 30 minutes without a running task")).to_be_visible()
    job(page, gone).click()
    expect(
        page.get_by_text("The second pool 'gone' does not exist any more. The job stays in its own pool.")
    ).to_be_visible()
    picture(page, "jobs-second-pool")
    page.get_by_label("Pool", exact=True).select_option("night")
    expect(job(page, spilled)).to_be_visible()
    expect(job(page, number)).to_have_count(0)
    go(page, "History")
    expect(page.get_by_text("night after 2 hours")).to_be_visible()
