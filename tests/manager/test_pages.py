"""The pages in real Chromium, in front of a real broker: clicked as a TD would."""

from __future__ import annotations

import http.server
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect
from tests.afserver import AfServer, afserver, renders_answer
from tests.studio import Studio, studio

from afpools import Client
from afpools.profile import Profile
from afpools_broker.protocol import Role
from afpools_tools.manager import scan_job, serving
from afpools_tools.network.addresses import ThisMachine

from .browser import Watched, chromium, picture
from .conftest import Gate, Lost, Manager, running, token_in, until

pytestmark = [pytest.mark.heavy, pytest.mark.xdist_group("chromium"), pytest.mark.timeout(180)]

EVIL = "<img src=x onerror=alert(1)>"
RENDERS = [f"gpu-{number}" for number in range(1, 11)] + [f"pc-{number:02}" for number in range(1, 21)]

# A condition's deadline, in milliseconds; generous, for a slow machine.
expect.set_options(timeout=20_000)


def farm(names: list[str]) -> dict[str, Any]:
    """afserver's answer: every fifth render offline, every second of the others busy."""
    answer = renders_answer(names)
    for number, render in enumerate(answer["renders"]):
        render["state"] = "OFF" if number % 5 == 4 else "ONL RUN" if number % 2 else "ONL"
        render["pool"] = "/local/gpu" if render["name"].startswith("gpu") else "/local/cpu"
        render["address"] = {**render["address"], "ip": f"10.0.{number // 250}.{number % 250 + 1}"}
    return answer


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as made:
        yield made


@pytest.fixture
def server() -> Iterator[AfServer]:
    with afserver(farm(RENDERS)) as made:
        yield made


@pytest.fixture
def place(tmp_path: Path, server: AfServer) -> Iterator[Studio]:
    """A studio with a farm of thirty, and three pools that overlap."""
    with studio(tmp_path, farm={"server": f"127.0.0.1:{server.address[1]}"}) as made:
        with Client(Profile.load(str(made.profile("dora", Role.MANAGER))), timeout=10) as client:
            until(lambda: len(client.list_hosts().hosts) == len(RENDERS))
            client.create_pool("fx", ["pc-[01-08]", "gpu-[1-2]"], "Simulation and effects", "#3f7ae0")
            client.create_pool("gpu", ["gpu-[1-10]"], "Cycles and Redshift", "#2aa583")
            client.create_pool("night", ["pc-[05-20]"], "Workstations after 20:00", "#d9902f")
        yield made


Open = Callable[..., Page]


@pytest.fixture
def blank_page(browser: Browser, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Open]:
    """Makes pages for a manager, each in a browser profile of its own. After the test: nothing went wrong in any page,
    and nothing came from elsewhere."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    contexts, watched = [], []

    def blank_page(manager: Manager, width: int = 1366, height: int = 768, scheme: str = "light") -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if scheme == "dark" else "light",
            permissions=["clipboard-read", "clipboard-write"],
        )
        page = context.new_page()
        contexts.append(context)
        watched.append((Watched(page), manager))
        return page

    yield blank_page
    for context in contexts:
        context.close()
    for watcher, manager in watched:
        assert watcher.problems == []
        assert [url for url in watcher.requested if not url.startswith((f"{manager.origin}/", "blob:"))] == []


@pytest.fixture
def open_page(blank_page: Open) -> Open:
    """Opens a manager's address."""

    def open_page(manager: Manager, *size: int, **options: Any) -> Page:
        page = blank_page(manager, *size, **options)
        page.goto(manager.new_address())
        page.wait_for_url(f"{manager.origin}/")
        return page

    return open_page


@pytest.fixture
def manager(start: Callable[..., Manager]) -> Manager:
    """Not logged in: the browser does that."""
    return start()


@pytest.fixture
def page(manager: Manager, open_page: Open) -> Page:
    made = open_page(manager)
    expect(row(made, "Pools", "night")).to_be_visible()
    return made


def go(page: Page, name: str) -> None:
    page.get_by_role("navigation", name="Pages").get_by_role("link", name=name, exact=True).click()
    expect(page.get_by_role("heading", level=2, name=re.compile(f"^{re.escape(name)}")).first).to_be_visible()


def row(page: Page, grid: str, name: str) -> Any:
    """The row of a table whose first cell has this name."""
    cell = page.get_by_role("gridcell").filter(has_text=re.compile(rf"^\s*{re.escape(name)}\s*$"))
    return page.get_by_role("grid", name=grid, exact=True).get_by_role("row").filter(has=cell)


def cells(page: Page, grid: str, name: str) -> list[str]:
    return [text.strip() for text in row(page, grid, name).get_by_role("gridcell").all_inner_texts()]


# --- pools ------------------------------------------------------------------------------------------------------------


def test_a_pool_that_can_run_nothing_says_so_and_its_hosts_can_be_replaced_and_forgotten(
    page: Page, elsewhere: Client
) -> None:
    elsewhere.create_pool("render", ["pc-[01-04]", "old-1"], new_hosts=True)
    elsewhere.create_pool("retired", ["old-[1-3]"], new_hosts=True)
    expect(row(page, "Pools", "retired")).to_contain_text("no machine on the farm")
    # pc-01 … pc-04 are 10 to 13 of the farm, and every fifth is offline.
    expect(row(page, "Pools", "render")).to_contain_text("4 of 4 online")
    expect(row(page, "Pools", "night")).to_contain_text("12 of 16 online")
    row(page, "Pools", "retired").click()
    expect(page.get_by_text("a job for it waits until one joins")).to_be_visible()
    picture(page, "pools-that-cannot-run")

    go(page, "Hosts")
    page.get_by_role("button", name="Not on the farm").click()
    expect(row(page, "Hosts", "old-1")).to_contain_text("Not on the farm")
    picture(page, "hosts-not-on-the-farm")
    page.get_by_role("button", name="Replace old-1 by another host").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("It leaves the pools render, retired")).to_be_visible()
    dialog.get_by_label("Replace by").fill("pc-99")
    dialog.get_by_role("button", name="Replace", exact=True).click()
    expect(dialog.get_by_text("pc-99 is not on the farm")).to_be_visible()
    picture(page, "replace-host")
    dialog.get_by_label("Replace by").fill("pc-20")
    dialog.get_by_role("button", name="Replace", exact=True).click()
    expect(page.get_by_text("Replaced old-1 by pc-20")).to_be_visible()
    expect(row(page, "Hosts", "old-1")).to_have_count(0)
    assert set(elsewhere.get_pool("render").hosts) == {"pc-01", "pc-02", "pc-03", "pc-04", "pc-20"}
    assert set(elsewhere.get_pool("retired").hosts) == {"old-2", "old-3", "pc-20"}

    page.get_by_role("button", name="Forget old-2").click()
    expect(page.get_by_text("Forgot old-2")).to_be_visible()
    expect(row(page, "Hosts", "old-2")).to_have_count(0)
    assert set(elsewhere.get_pool("retired").hosts) == {"old-3", "pc-20"}
    page.locator(".toast").filter(has_text="Forgot old-2").get_by_role("button", name="Undo").click()
    expect(row(page, "Hosts", "old-2")).to_be_visible()


def test_a_pool_is_made_changed_and_deleted(page: Page, elsewhere: Client) -> None:
    page.get_by_role("button", name="New pool").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("comp")
    dialog.get_by_label("Hosts").fill("pc-[01-03], gpu-4")
    dialog.get_by_label("Description").fill("Nuke and Natron")
    dialog.get_by_role("radio", name="#d2554f").check(force=True)
    picture(page, "new-pool")
    dialog.get_by_role("button", name="Create pool").click()
    expect(dialog).to_have_count(0)
    expect(page.get_by_text("Created comp with 4 hosts")).to_be_visible()
    expect(row(page, "Pools", "comp")).to_be_visible()
    assert cells(page, "Pools", "comp")[:2] == ["comp", "4"]
    made = elsewhere.get_pool("comp")
    assert (made.description, made.colour) == ("Nuke and Natron", "#d2554f")
    assert set(made.hosts) == {"pc-01", "pc-02", "pc-03", "gpu-4"}

    page.get_by_role("button", name="Edit").click()
    dialog.get_by_label("Name").fill("compositing")
    expect(dialog.get_by_text("Jobs on the farm keep their masks")).to_be_visible()
    dialog.get_by_role("button", name="Save").click()
    expect(row(page, "Pools", "compositing")).to_be_visible()
    expect(row(page, "Pools", "comp")).to_have_count(0)

    page.get_by_role("button", name="Delete").click()
    expect(dialog.get_by_text("4 hosts leave it")).to_be_visible()
    expect(dialog.get_by_text("New jobs for compositing are refused")).to_be_visible()
    picture(page, "delete-pool")
    dialog.get_by_role("button", name="Delete pool").click()
    expect(row(page, "Pools", "compositing")).to_have_count(0)
    assert [pool.name for pool in elsewhere.list_pools().pools] == ["fx", "gpu", "night"]


def test_what_the_broker_refuses_is_said_in_the_dialog(page: Page) -> None:
    page.get_by_role("button", name="New pool").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("fx")
    dialog.get_by_role("button", name="Create pool").click()
    expect(dialog.get_by_role("alert")).to_contain_text("fx")
    dialog.get_by_label("Name").fill("new")
    dialog.get_by_label("Hosts").fill("pc-[1-")
    dialog.get_by_role("button", name="Create pool").click()
    expect(dialog.get_by_role("alert")).to_contain_text("pc-[1-")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)


def test_a_dialog_whose_change_may_have_been_made_makes_it_once(
    page: Page, elsewhere: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = Lost(monkeypatch, "create_pool")
    page.get_by_role("button", name="New pool").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("comp")
    dialog.get_by_role("button", name="Create pool").click()
    expect(dialog.get_by_role("alert")).to_contain_text("It is not known whether the change was made.")
    # It was, and no "the name is taken" follows.
    dialog.get_by_role("button", name="Create pool").click()
    expect(dialog).to_have_count(0)
    expect(page.get_by_text("Created comp with 0 hosts")).to_be_visible()
    assert len(set(lost.request_ids)) == 1


def test_a_click_whose_change_may_have_been_made_can_be_repeated(
    page: Page, elsewhere: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = Lost(monkeypatch, "add_hosts")
    go(page, "Hosts")
    row(page, "Hosts", "gpu-3").click()
    page.get_by_role("button", name="Add gpu-3 to night").click()
    toast = page.locator(".toast").filter(has_text="It is not known whether the change was made.")
    expect(toast).to_be_visible()
    picture(page, "outcome-unknown")
    toast.get_by_role("button", name="Try again").click()
    expect(page.get_by_text("Added gpu-3 to night")).to_be_visible()
    expect(toast).to_have_count(0)
    assert len(lost.request_ids) == 2
    assert len(set(lost.request_ids)) == 1
    assert [entry.op for entry in elsewhere.history("night")] == ["pools.add_hosts", "pools.create"]


def test_a_refusal_of_the_second_attempt_says_nothing_of_the_first(page: Page) -> None:
    unknown = "It is not known whether the change was made."
    answers = iter([("outcome_unknown", 503, unknown), ("conflict", 409, "Moved on.")])

    def answer(route: Route) -> None:
        code, status, message = next(answers)
        route.fulfill(status=status, json={"error": {"code": code, "message": message}})

    page.route("**/api/hosts/assign", answer)
    go(page, "Hosts")
    row(page, "Hosts", "gpu-3").click()
    page.get_by_role("button", name="Add gpu-3 to night").click()
    page.get_by_role("button", name="Try again").click()
    toast = page.locator(".toast").filter(has_text=f"{unknown} Moved on.")
    expect(toast.get_by_role("button", name="Try again")).to_be_visible()


def test_where_the_manager_goes_in_the_middle_of_a_change_its_outcome_is_unknown(page: Page) -> None:
    go(page, "Hosts")
    row(page, "Hosts", "gpu-3").click()
    page.route("**/api/hosts/assign", lambda route: route.abort())
    page.get_by_role("button", name="Add gpu-3 to night").click()
    toast = page.locator(".toast").filter(has_text="It is not known whether the change was made.")
    expect(toast).to_contain_text("The Pool Manager does not answer")
    page.unroute("**/api/hosts/assign")
    toast.get_by_role("button", name="Try again").click()
    expect(page.get_by_text("Added gpu-3 to night")).to_be_visible()


def test_what_somebody_else_changed_meanwhile_stays(page: Page, elsewhere: Client) -> None:
    row(page, "Pools", "fx").click()
    page.get_by_role("button", name="Edit").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("radio", name="#d2554f").check(force=True)
    elsewhere.update_pool("fx", description="Fire only")
    expect(row(page, "Pools", "fx")).to_contain_text("Fire only")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_have_count(0)
    pool = elsewhere.get_pool("fx")
    assert (pool.description, pool.colour) == ("Fire only", "#d2554f")


def meanwhile(page: Page) -> Any:
    """What the dialog says that others have changed."""
    return page.get_by_role("dialog").get_by_role("alert")


def test_what_somebody_else_has_just_changed_is_deleted_after_a_second_look(page: Page, elsewhere: Client) -> None:
    row(page, "Pools", "fx").click()
    page.get_by_role("button", name="Delete").click()
    dialog = page.get_by_role("dialog")
    delete = dialog.get_by_role("button", name="Delete pool")
    expect(delete).to_be_enabled()
    elsewhere.add_hosts("fx", ["pc-19", "pc-20"])
    elsewhere.update_pool("fx", description="Only fire")
    expect(meanwhile(page)).to_contain_text("Added 2 hosts: pc-19, pc-20")
    expect(meanwhile(page)).to_contain_text("Changed the description from Simulation and effects to Only fire")
    expect(dialog).to_contain_text("12 hosts leave it")
    expect(delete).to_be_disabled()
    picture(page, "delete-changed")
    dialog.get_by_role("button", name="Continue with fx as it is now").click()
    expect(meanwhile(page)).to_have_count(0)
    delete.click()
    expect(page.get_by_text("Deleted fx")).to_be_visible()
    assert "fx" not in [pool.name for pool in elsewhere.list_pools().pools]


@pytest.mark.parametrize("button", ["Delete", "Edit"])
def test_a_change_that_the_page_has_not_seen_yet_is_a_conflict_once(page: Page, elsewhere: Client, button: str) -> None:
    row(page, "Pools", "fx").click()
    page.get_by_role("button", name=button).click()
    dialog = page.get_by_role("dialog")
    if button == "Edit":
        dialog.get_by_label("Name").fill("sim")
    submit = dialog.get_by_role("button", name="Delete pool" if button == "Delete" else "Save")
    path = "**/api/pools/delete" if button == "Delete" else "**/api/pools/rename"

    def change(route: Route) -> None:
        elsewhere.add_hosts("fx", ["pc-20"])  # the second time it is there already
        route.continue_()

    page.route(path, change)
    with page.expect_response(path) as refused:
        submit.click()
    assert refused.value.status == 409
    if button == "Delete":
        expect(meanwhile(page)).to_contain_text("Added 1 host: pc-20")
        dialog.get_by_role("button", name="Continue with fx as it is now").click()
    else:
        # A host more is nothing to a new name.
        expect(row(page, "Pools", "fx").get_by_role("gridcell").nth(1)).to_have_text("11")
    submit.click()
    expect(dialog).to_have_count(0)
    names = [pool.name for pool in elsewhere.list_pools().pools]
    assert names == (["gpu", "night"] if button == "Delete" else ["gpu", "night", "sim"])


@pytest.mark.parametrize("whose", ["Mine", "Theirs"])
def test_a_field_that_two_people_change_is_decided_by_the_second(page: Page, elsewhere: Client, whose: str) -> None:
    row(page, "Pools", "fx").click()
    page.get_by_role("button", name="Edit").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Description").fill("Mine")
    elsewhere.update_pool("fx", description="Theirs", colour="#8a63d2")
    expect(meanwhile(page)).to_contain_text("Changed the description from Simulation and effects to Theirs")
    # What was not touched here follows.
    expect(meanwhile(page)).not_to_contain_text("colour")
    expect(dialog.get_by_role("radio", name="#8a63d2")).to_be_checked()
    expect(dialog.get_by_role("button", name="Save")).to_be_disabled()
    picture(page, "edit-changed")
    dialog.get_by_role("button", name="Keep mine" if whose == "Mine" else "Take theirs").click()
    expect(dialog.get_by_label("Description")).to_have_value(whose)
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_have_count(0)
    pool = elsewhere.get_pool("fx")
    assert (pool.description, pool.colour) == (whose, "#8a63d2")


@pytest.mark.parametrize("button", ["Delete", "Edit"])
def test_a_pool_that_goes_while_a_dialog_is_open_is_said(page: Page, elsewhere: Client, button: str) -> None:
    row(page, "Pools", "fx").click()
    page.get_by_role("button", name=button).click()
    dialog = page.get_by_role("dialog")
    if button == "Edit":
        dialog.get_by_label("Description").fill("Typed for minutes")
    elsewhere.rename_pool("fx", "sim")
    expect(meanwhile(page)).to_contain_text("There is no pool fx any more")
    expect(dialog.get_by_role("button", name="Delete pool" if button == "Delete" else "Save")).to_be_disabled()
    if button == "Edit":
        expect(dialog.get_by_label("Description")).to_have_value("Typed for minutes")
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_have_count(0)


def test_a_pool_without_hosts_is_deleted_with_the_right_words(page: Page, elsewhere: Client) -> None:
    elsewhere.create_pool("empty")
    row(page, "Pools", "empty").click()
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("dialog")).to_contain_text("It has no hosts.")


def test_ranges_can_be_typed_in_again_as_they_are_shown(page: Page, elsewhere: Client) -> None:
    elsewhere.create_pool("gaps", ["pc-01", "pc-03", "gpu-1"])
    row(page, "Pools", "gaps").click()
    expect(page.locator(".ranges")).to_have_text("gpu-1, pc-[01,03]")


def test_an_address_typed_by_hand_shows_a_page(page: Page, manager: Manager) -> None:
    page.goto(f"{manager.origin}/#/pools/100%")
    page.reload()
    expect(page.get_by_text("There is no pool 100%.")).to_be_visible()


def test_counts_are_those_of_the_farm(page: Page) -> None:
    # gpu-5 and gpu-10 are offline, gpu-2, 4, 6, 8 busy.
    assert cells(page, "Pools", "gpu")[:5] == ["gpu", "10", "8 of 10 online", "4", "4"]


def test_pools_are_searched(page: Page) -> None:
    page.keyboard.press("/")
    page.keyboard.type("redshift")
    expect(row(page, "Pools", "fx")).to_have_count(0)
    expect(row(page, "Pools", "gpu")).to_be_visible()


def test_changes_made_elsewhere_appear_by_themselves(page: Page, elsewhere: Client) -> None:
    elsewhere.create_pool("crowd", ["pc-[01-05]"])
    expect(row(page, "Pools", "crowd")).to_be_visible()
    elsewhere.add_hosts("crowd", ["pc-06"])
    expect(row(page, "Pools", "crowd").get_by_role("gridcell").nth(1)).to_have_text("6")
    elsewhere.delete_pool("crowd")
    expect(row(page, "Pools", "crowd")).to_have_count(0)


# --- hosts ------------------------------------------------------------------------------------------------------------


def selected(page: Page) -> list[str]:
    rows = page.get_by_role("grid", name="Hosts", exact=True).locator("[aria-selected=true]")
    return [text.split("\n")[0].strip() for text in rows.all_inner_texts()]


def test_hosts_are_filtered(page: Page) -> None:
    go(page, "Hosts")
    heading = page.get_by_role("heading", level=2, name=re.compile("^Hosts"))
    expect(heading).to_have_text("Hosts 30")
    find = page.get_by_label("Filter hosts")
    for text, count in (
        ("gpu-[1-8]", 8),
        ("pc-[01-04,20]", 5),
        ("pc-[1-4]", 0),
        ("gpu-[1-2], pc-1", 12),
        ("10.0.0.7", 1),
    ):
        find.fill(text)
        expect(heading).to_have_text(f"Hosts {count} of 30")
    find.fill("")
    page.get_by_role("group", name="State").get_by_role("button", name=re.compile("^Offline")).click()
    expect(heading).to_have_text("Hosts 6 of 30")
    page.get_by_role("group", name="State").get_by_role("button", name=re.compile("^All")).click()
    page.get_by_label("Pool", exact=True).select_option("fx")
    expect(heading).to_have_text("Hosts 10 of 30")
    assert cells(page, "Hosts", "gpu-1") == ["gpu-1", "Free", "10.0.0.1", "3.4.1", "/local/gpu", "fx\ngpu"]


def test_many_hosts_are_selected_and_put_into_a_pool(page: Page, elsewhere: Client) -> None:
    go(page, "Hosts")
    row(page, "Hosts", "gpu-3").click()
    row(page, "Hosts", "gpu-6").click(modifiers=["Shift"])
    row(page, "Hosts", "gpu-9").click(modifiers=["ControlOrMeta"])
    row(page, "Hosts", "gpu-4").click(modifiers=["ControlOrMeta"])
    assert selected(page) == ["gpu-3", "gpu-5", "gpu-6", "gpu-9"]
    picture(page, "hosts")
    page.get_by_role("button", name="Add 4 hosts to night").click()
    expect(page.get_by_text("Added 4 hosts to night")).to_be_visible()
    assert {"gpu-3", "gpu-5", "gpu-6", "gpu-9"} < set(elsewhere.get_pool("night").hosts)
    page.get_by_role("button", name="Remove 4 hosts from night").click()
    expect(page.get_by_text("Removed 4 hosts from night")).to_be_visible()
    assert not {"gpu-3", "gpu-5", "gpu-6", "gpu-9"} & set(elsewhere.get_pool("night").hosts)


def test_the_keyboard_selects_too(page: Page) -> None:
    go(page, "Hosts")
    page.get_by_role("grid", name="Hosts", exact=True).focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Shift+ArrowDown")
    assert selected(page) == ["gpu-2", "gpu-3"]
    page.keyboard.press("Control+ArrowDown")
    page.keyboard.press("Control+ArrowDown")
    page.keyboard.press("Space")
    assert selected(page) == ["gpu-2", "gpu-3", "gpu-5"]
    page.keyboard.press("Control+a")
    expect(page.get_by_text("30 hosts selected")).to_be_visible()
    page.keyboard.press("Escape")
    assert selected(page) == []


def test_hosts_are_dragged_onto_a_pool(page: Page, elsewhere: Client) -> None:
    go(page, "Hosts")
    row(page, "Hosts", "gpu-7").click()
    row(page, "Hosts", "gpu-8").click(modifiers=["Shift"])
    target = page.get_by_role("complementary", name="Pools").get_by_role("listitem").filter(has_text="night")
    row(page, "Hosts", "gpu-8").drag_to(target)
    expect(page.get_by_text("Added 2 hosts to night")).to_be_visible()
    assert {"gpu-7", "gpu-8"} < set(elsewhere.get_pool("night").hosts)


def test_only_what_is_being_dragged_is_dropped(page: Page, elsewhere: Client) -> None:
    go(page, "Hosts")
    row(page, "Hosts", "gpu-7").drag_to(page.get_by_role("heading", level=2, name=re.compile("^Hosts")))
    target = page.get_by_role("complementary", name="Pools").get_by_role("listitem").filter(has_text="night")
    # Something else, from elsewhere.
    data = page.evaluate_handle("new DataTransfer()")
    target.dispatch_event("dragover", {"dataTransfer": data})
    target.dispatch_event("drop", {"dataTransfer": data})
    page.wait_for_timeout(500)
    assert "gpu-7" not in elsewhere.get_pool("night").hosts


def test_hosts_that_are_selected_and_not_shown_are_said(page: Page) -> None:
    go(page, "Hosts")
    row(page, "Hosts", "gpu-1").click()
    row(page, "Hosts", "pc-02").click(modifiers=["Shift"])
    page.get_by_label("Filter hosts").fill("pc")
    expect(page.get_by_text("12 hosts selected, 10 not shown")).to_be_visible()


def test_the_keyboard_stays_where_it_is_when_hosts_come_and_go(page: Page, elsewhere: Client) -> None:
    go(page, "Hosts")
    page.get_by_role("grid", name="Hosts", exact=True).focus()
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    assert selected(page) == ["gpu-3"]
    elsewhere.register_hosts(["aaa"])
    expect(row(page, "Hosts", "aaa")).to_be_visible()
    page.keyboard.press("Shift+ArrowDown")
    assert selected(page) == ["gpu-3", "gpu-4"]


def test_a_click_gives_the_keyboard_to_the_hosts(page: Page) -> None:
    go(page, "Hosts")
    row(page, "Hosts", "gpu-2").click()
    page.keyboard.press("ArrowDown")
    assert selected(page) == ["gpu-3"]
    assert page.evaluate("document.activeElement.getAttribute('role')") == "grid"


def test_hosts_in_no_pool_are_found_whatever_pools_are_called(page: Page, elsewhere: Client) -> None:
    elsewhere.create_pool("-", ["gpu-1"])
    elsewhere.register_hosts(["lonely"])
    go(page, "Hosts")
    pool = page.get_by_label("Pool", exact=True)
    heading = page.get_by_role("heading", level=2, name=re.compile("^Hosts"))
    pool.select_option("none")
    expect(heading).to_have_text("Hosts 1 of 31")
    pool.select_option("-")
    expect(heading).to_have_text("Hosts 1 of 31")
    expect(row(page, "Hosts", "gpu-1")).to_be_visible()


def test_a_host_is_taken_out_however_the_pool_spells_it(page: Page, elsewhere: Client) -> None:
    elsewhere.add_hosts("gpu", ["PC-11.studio.lan"])
    go(page, "Hosts")
    page.get_by_label("Filter hosts").fill("pc-11")
    expect(row(page, "Hosts", "pc-11")).to_contain_text("gpu")
    row(page, "Hosts", "pc-11").click()
    page.get_by_role("button", name="Remove pc-11 from gpu").click()
    until(lambda: "PC-11.studio.lan" not in elsewhere.get_pool("gpu").hosts)


def test_a_name_that_is_no_render_is_refused_with_what_may_have_been_meant(page: Page, elsewhere: Client) -> None:
    page.get_by_role("button", name="New pool").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("day")
    dialog.get_by_label("Hosts").fill("pc-[1-3]")
    dialog.get_by_role("button", name="Create pool").click()
    expect(dialog.get_by_role("alert")).to_have_text(
        "pc-[1-3] are not on the farm, which has pc-[01-20]: did you mean pc-[01-03]?"
    )
    dialog.get_by_label("Hosts").fill("pc-[01-03]")
    expect(dialog.get_by_role("button", name="Add anyway")).to_have_count(0)
    dialog.get_by_role("button", name="Create pool").click()
    expect(page.get_by_role("heading", name="day")).to_be_visible()
    page.get_by_label("Hosts to add").fill("gpu-01")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_text("did you mean gpu-1?")).to_be_visible()
    assert len(elsewhere.get_pool("day").hosts) == 3
    page.get_by_role("button", name="Add anyway").click()
    until(lambda: elsewhere.get_pool("day").hosts[3:] == ("gpu-01",))


def test_hosts_are_added_before_their_machines_exist(page: Page, elsewhere: Client) -> None:
    go(page, "Hosts")
    page.get_by_role("button", name="Add by name").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Names and ranges").fill("new-[1-3]")
    dialog.get_by_label("Pool").select_option("fx")
    dialog.get_by_role("button", name="Add", exact=True).click()
    expect(dialog.get_by_role("alert")).to_have_text("new-[1-3] are not on the farm.")
    dialog.get_by_role("button", name="Add anyway").click()
    expect(page.get_by_text("Added 3 hosts to fx")).to_be_visible()
    page.get_by_role("button", name="Add by name").click()
    dialog.get_by_label("Names and ranges").fill("later-1")
    dialog.get_by_role("button", name="Add", exact=True).click()
    page.get_by_label("Filter hosts").fill("later")
    expect(row(page, "Hosts", "later-1")).to_contain_text("Registered")
    row(page, "Hosts", "later-1").click()
    page.get_by_role("button", name="Forget 1 registered").click()
    until(lambda: "later-1" not in {host.name for host in elsewhere.list_hosts().hosts})


# --- masks, map, history, scan, broker --------------------------------------------------------------------------------


def test_masks_are_shown_copied_and_tested(page: Page, elsewhere: Client) -> None:
    go(page, "Masks")
    page.get_by_role("link", name=re.compile("^fx")).click()
    page.get_by_role("button", name="Copy the complement mask of fx").click()
    expect(page.get_by_role("button", name="Copy the complement mask of fx")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == elsewhere.exclude_mask("fx", style="complement").mask
    expect(page.locator("[data-style=list]")).to_contain_text("right on all 30 hosts")
    expect(page.locator("[data-style=list]")).to_contain_text("gpu-[1-2], pc-[01-08]")
    picture(page, "masks")
    box = page.get_by_role("article", name="Test a mask")
    box.get_by_label("Exclude mask").fill("pc-0[1-9]")
    expect(box).to_contain_text("This looks like a regex")
    box.get_by_role("button", name="regex").click()
    box.get_by_label("meant for fx").uncheck()
    expect(box).to_contain_text("It needs hosts_mask_type regex")
    expect(box).to_contain_text("pc-[01-09]")
    # 117 kB, more than an address takes.
    box.get_by_label("Exclude mask").fill("|".join(f"host-{number:07}" for number in range(9_000)))
    expect(box).to_contain_text("afserver cannot compile this")


def test_the_map_shows_overlaps(page: Page) -> None:
    go(page, "Map")
    overlaps = page.get_by_role("list", name="Pools that share hosts")
    expect(overlaps.get_by_role("listitem").nth(0)).to_have_text("fxand night4")
    drawn = "canvas => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some(Boolean)"
    until(lambda: page.locator("canvas").evaluate(drawn))
    page.locator("canvas").click(position={"x": 20, "y": 5})
    expect(page.get_by_role("heading", name="Overlaps of fx")).to_be_visible()
    page.get_by_label("Pool whose hosts come first").select_option("gpu")
    expect(page.get_by_role("heading", name="Overlaps of gpu")).to_be_visible()
    picture(page, "map")
    page.get_by_role("button", name="Use over time").click()
    expect(page.get_by_role("img", name=re.compile("^Use of gpu: now 4 busy, 4 free, 8 online"))).to_be_visible()


def test_history_says_who_changed_what(page: Page, elsewhere: Client) -> None:
    go(page, "History")
    elsewhere.add_hosts("fx", ["pc-[18-20]"])
    first = page.get_by_role("row").nth(1)
    expect(first).to_contain_text("carl")
    expect(first).to_contain_text("added hosts to fx")
    expect(first).to_contain_text("pc-[18-20]")
    page.get_by_label("Pool", exact=True).select_option("gpu")
    expect(page.get_by_role("row")).to_have_count(2)


def test_history_follows_the_registered_hosts_too_and_keeps_its_place(page: Page, elsewhere: Client) -> None:
    for number in range(101):
        elsewhere.update_pool("gpu", description=f"take {number}")
    go(page, "History")
    page.get_by_role("button", name="Older changes").click()
    oldest = page.get_by_role("row").filter(has_text="Cycles and Redshift").last
    expect(oldest).to_be_attached()
    elsewhere.register_hosts(["new-1"])
    expect(page.get_by_role("row").nth(1)).to_contain_text("registered hosts")
    expect(oldest).to_be_attached()


def test_a_deleted_pool_comes_back_with_a_click(page: Page, elsewhere: Client) -> None:
    before = elsewhere.get_pool("fx")
    row(page, "Pools", "fx").click()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete pool").click()
    expect(row(page, "Pools", "fx")).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("Undone: Deleted fx")).to_be_visible()
    expect(row(page, "Pools", "fx")).to_be_visible()
    assert elsewhere.get_pool("fx")._replace(age=before.age) == before


def test_history_undoes_what_can_be_undone_and_says_why_the_rest_cannot(page: Page, elsewhere: Client) -> None:
    elsewhere.rename_pool("fx", "sim")
    elsewhere.create_pool("fx", ["pc-01"])
    elsewhere.remove_hosts("night", ["pc-[05-06]"])
    go(page, "History")
    lines = page.get_by_role("row")
    removed = lines.filter(has_text="removed hosts from").first
    expect(removed).to_contain_text("pc-[05-06]")
    # The name is taken by now.
    expect(lines.filter(has_text="renamed").first.get_by_role("button")).to_have_count(0)
    expect(lines.filter(has_text="renamed").first.get_by_role("cell").last).not_to_be_empty()
    picture(page, "history")
    removed.get_by_role("button", name=re.compile("^Undo")).click()
    until(lambda: {"pc-05", "pc-06"} < set(elsewhere.get_pool("night").hosts))
    expect(lines.nth(1)).to_contain_text("night")
    expect(lines.nth(1)).to_contain_text("pc-[05-06]")


def test_afanasy_s_own_pools_are_shown_and_imported(page: Page, elsewhere: Client) -> None:
    elsewhere.create_pool("local/gpu", ["gpu-[1-10]"])
    go(page, "Import, export")
    card = page.get_by_role("article", name="Afanasy's own pools")
    card.get_by_role("button", name="Look at them").click()
    expect(card.get_by_role("listitem")).to_have_count(2)
    expect(card.get_by_role("listitem").filter(has_text="/local/gpu")).to_contain_text("has all 10 hosts already")
    expect(card.get_by_role("listitem").filter(has_text="/local/cpu")).to_contain_text("new, with 20 hosts")
    picture(page, "import-native")
    card.get_by_role("button", name="Import 1 pool").click()
    expect(page.get_by_text("Imported 1 pool of Afanasy")).to_be_visible()
    assert len(elsewhere.get_pool("local/cpu").hosts) == 20


@pytest.mark.parametrize("kind", ["JSON", "CSV", "MongoDB"])
def test_pools_are_exported_and_imported_again(page: Page, elsewhere: Client, tmp_path: Path, kind: str) -> None:
    go(page, "Import, export")
    with page.expect_download() as download:
        page.get_by_role("button", name=kind, exact=True).click()
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    before = elsewhere.get_pool("fx")
    elsewhere.delete_pool("fx")
    elsewhere.add_hosts("gpu", ["pc-20"])
    card = page.get_by_role("article", name="Import a file")
    card.get_by_label("File").set_input_files(file)
    expect(card.get_by_role("listitem")).to_have_text(["fx: create with 10 hosts"])
    card.get_by_role("button", name="Also remove what is not in the file").click()
    expect(card.get_by_role("listitem")).to_have_text(["fx: create with 10 hosts", "gpu: - pc-20"])
    picture(page, f"import-{kind.lower()}")
    card.get_by_role("button", name="Make 2 changes").click()
    expect(page.get_by_text(f"Imported {file.name}: 2 changes")).to_be_visible()
    assert elsewhere.get_pool("fx")._replace(age=before.age) == before
    assert "pc-20" not in elsewhere.get_pool("gpu").hosts


def test_an_import_shows_beforehand_which_names_the_farm_does_not_have(
    page: Page, elsewhere: Client, tmp_path: Path
) -> None:
    file = tmp_path / "pools.csv"
    file.write_text("pool,host\ncomp,pc-1\nfx,pc-09\nFX ,pc-01\nnight,PC-05\n")
    go(page, "Import, export")
    card = page.get_by_role("article", name="Import a file")
    card.get_by_label("File").set_input_files(file)
    refusal = card.get_by_role("alert")
    expect(refusal).to_contain_text("3 pools of the file cannot be imported as a whole:")
    expect(refusal.get_by_role("listitem")).to_have_text(
        [
            "comp: pc-1 is not on the farm, which has pc-[01-20]: did you mean pc-01?",
            "FX: The name 'FX' looks like that of the pool 'fx', and a job could be sent to the wrong one. Choose "
            "another name, or change that pool.",
            "night: PC-05 is in the pool 'night' already, as pc-05: the farm takes both for one machine. Leave it out.",
        ]
    )
    expect(refusal).to_contain_text("If these machines are not set up yet, tick the box above.")
    expect(card.get_by_role("button", name="Make 1 change")).to_be_visible()
    picture(page, "import-refused")
    card.get_by_label("Also add machines that are not on the farm").check()
    expect(refusal.get_by_role("listitem")).to_have_count(2)
    card.get_by_role("button", name="Make 2 changes").click()
    expect(page.get_by_text("Imported a part of pools.csv: 2 changes")).to_be_visible()
    # What was left out is shown again, once.
    expect(refusal.get_by_role("listitem")).to_have_count(2)
    assert elsewhere.get_pool("comp").hosts == ("pc-1",)


def test_a_file_that_holds_no_pools_is_refused(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("buy more renders")
    go(page, "Import, export")
    card = page.get_by_role("article", name="Import a file")
    card.get_by_label("File").set_input_files(file)
    expect(card.get_by_role("alert")).to_contain_text("notes.txt is neither JSON nor CSV")


def test_a_file_in_another_encoding_is_refused(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "pools.csv"
    file.write_bytes("pool,host\nKüche,pc-01".encode("latin-1"))
    go(page, "Import, export")
    card = page.get_by_role("article", name="Import a file")
    card.get_by_label("File").set_input_files(file)
    expect(card.get_by_role("alert")).to_contain_text("pools.csv is not text in UTF-8")


def test_a_scan_is_started_and_cancelled(page: Page) -> None:
    go(page, "Scan")
    page.get_by_label("Network").fill("127.0.0.0/22")
    page.get_by_role("button", name="Scan", exact=True).click()
    expect(page.get_by_role("progressbar")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("cancelled after")).to_be_visible()
    expect(page.get_by_role("progressbar")).to_have_count(0)
    page.reload()
    expect(page.get_by_text("127.0.0.0/22")).to_be_visible()
    page.get_by_label("Network").fill("10.0.0.0/8")
    page.get_by_role("button", name="Scan", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("/20")


def test_a_machine_that_was_found_is_put_into_a_pool(
    page: Page, elsewhere: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = ThisMachine("td-desk", (IPv4Interface("127.0.0.1/8"),), None)
    monkeypatch.setattr(scan_job, "this_machine", lambda: here)
    go(page, "Scan")
    expect(page.get_by_text("This machine is in no IPv4 network")).to_be_visible()
    page.get_by_label("Network").fill("127.0.0.1/32")
    page.get_by_role("button", name="Scan", exact=True).click()
    expect(row(page, "Machines", "td-desk")).to_contain_text("This machine: New")
    page.get_by_label("Select td-desk").check()
    page.get_by_label("Pool", exact=True).select_option("Add to fx")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_text("Added 1 host to fx")).to_be_visible()
    assert "td-desk" in elsewhere.get_pool("fx").hosts
    page.reload()
    page.get_by_role("button", name=re.compile("^In a pool")).click()
    expect(row(page, "Machines", "td-desk")).to_contain_text("fx")
    picture(page, "scan")


def test_the_broker_page_says_how_things_are(page: Page) -> None:
    go(page, "Broker")
    cards = page.get_by_role("article")
    expect(cards.filter(has_text="tls://")).to_contain_text("Healthy")
    expect(cards.filter(has_text="curve://")).to_contain_text("Healthy")
    expect(cards.filter(has_text="tls://")).to_contain_text("30 renders")
    expect(cards.filter(has_text="Your profile")).to_contain_text("valid until")
    picture(page, "broker")


def test_what_the_broker_has_to_say_of_itself_is_seen_from_every_page(page: Page, server: AfServer) -> None:
    link = page.get_by_role("navigation", name="Pages").get_by_role("link", name=re.compile("^Broker"))
    expect(link).to_have_text("Broker")
    server.mood = "cut"
    expect(link).to_have_text("Broker1 problem", timeout=60_000)
    link.click()
    expect(page.get_by_role("article").filter(has_text="tls://")).to_contain_text("Degraded")
    server.mood = "well"
    expect(link).to_have_text("Broker", timeout=60_000)


# --- behaviour --------------------------------------------------------------------------------------------------------


def test_when_the_broker_is_away_the_page_says_so_and_comes_back(tmp_path: Path, open_page: Open) -> None:
    with studio(tmp_path) as first:
        profile = first.profile("anna", Role.MANAGER)
        ports = {"tls": {"port": first.tls_port}, "curve": {"port": first.curve_port}}
        with Client(Profile.load(str(profile)), timeout=10) as client:
            client.create_pool("fx", ["pc-[01-03]"])
        started = running(profile)
        page = open_page(started.__enter__())
        expect(row(page, "Pools", "fx")).to_be_visible()
    try:
        expect(page.get_by_text("The broker has been unreachable")).to_be_visible()
        expect(row(page, "Pools", "fx")).to_be_visible()
        expect(page.get_by_role("button", name="New pool")).to_be_disabled()
        picture(page, "broker-away")
        with studio(tmp_path, **ports):
            expect(page.get_by_text("The broker has been unreachable")).to_have_count(0)
            expect(page.get_by_role("button", name="New pool")).to_be_enabled()
    finally:
        started.__exit__(None, None, None)


def test_before_a_broker_has_answered_nothing_is_said_of_pools(tmp_path: Path, open_page: Open) -> None:
    with studio(tmp_path / "away") as gone:
        profile = gone.profile("anna", Role.MANAGER)
    with running(profile) as manager:
        page = open_page(manager)
        expect(page.get_by_text("The broker has been unreachable")).to_be_visible()
        for name in ("Pools", "Hosts", "Masks", "Map", "Import, export"):
            go(page, name)
            expect(page.get_by_text("Waiting for the broker.").first).to_be_visible()
            expect(page.get_by_text("no pools yet")).to_have_count(0)
        expect(page.get_by_text("too old")).to_have_count(0)
        page.get_by_role("button", name="JSON", exact=True).click()
        expect(page.get_by_text("nothing can be exported until it is back")).to_be_visible()


class Held:
    """Holds the manager's answers back, so that a page can be seen before they come.

    Args:
        page: whose.
        pattern: of the addresses.
    """

    def __init__(self, page: Page, pattern: str) -> None:
        self._page, self._pattern = page, pattern
        self._waiting: list[Route] = []
        self._answer: Callable[[Route], None] = self._waiting.append
        page.route(pattern, lambda route: self._answer(route))

    def wait(self) -> None:
        """Until the page has asked."""
        end = time.monotonic() + 20
        while not self._waiting:
            assert time.monotonic() < end, f"{self._pattern} was not asked for."
            self._page.wait_for_timeout(50)

    def release(self) -> None:
        """Lets what was asked for be answered, and what will be."""
        self._go_on(lambda route: route.continue_())

    def fail(self) -> None:
        """Refuses what was asked for, and what will be."""
        error = {"error": {"code": "internal", "message": "Something broke."}}
        self._go_on(lambda route: route.fulfill(status=500, json=error))

    def hold(self) -> None:
        """Holds back what will be asked for from now on."""
        self._waiting.clear()
        self._answer = self._waiting.append

    def _go_on(self, answer: Callable[[Route], None]) -> None:
        self._answer = answer
        for route in self._waiting:
            answer(route)


@pytest.fixture(scope="module")
def empty_manager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Manager]:
    """In front of a broker that has nothing: no pools, no hosts, no history."""
    folder = tmp_path_factory.mktemp("empty")
    with pytest.MonkeyPatch.context() as patch, studio(folder) as place:
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        with running(place.profile("anna", Role.MANAGER)) as manager:
            yield manager


# What a page asks for, what it says until it is there, and when nothing is there.
STATES = [
    ("history", "history*", "Loading the history…", "Nothing has changed yet."),
    ("map/usage", "usage*", "Loading the use of every pool…", "There are no pools yet."),
    ("scan", "scan", "Loading the last scan…", "Nothing has been scanned yet."),
    ("broker", "brokers", "Asking every endpoint of your profile…", "Your certificate"),
    ("pools", "live", "Loading…", "There are no pools yet. Make the first with New pool."),
    ("hosts", "live", "Loading…", "No hosts are known yet"),
    ("masks", "live", "Loading…", "There are no pools yet."),
    ("map", "live", "Loading…", "No pools share hosts."),
    ("exchange", "live", "Loading…", "There are no pools yet."),
    ("history", "live", "Loading the history…", "Nothing has changed yet."),
    ("map/usage", "live", "Loading", "There are no pools yet."),
]


@pytest.mark.parametrize(("name", "asked", "loading", "empty"), STATES, ids=[f"{one[0]} {one[1]}" for one in STATES])
def test_loading_failed_and_empty_do_not_look_alike(
    empty_manager: Manager, blank_page: Open, name: str, asked: str, loading: str, empty: str
) -> None:
    page = blank_page(empty_manager)
    said = page.get_by_role("main")
    held = Held(page, f"**/api/{asked}")
    page.goto(f"{empty_manager.new_address()}/{name}")
    held.wait()
    expect(said.get_by_text(loading).first).to_be_visible()
    # Nor is there a count of what has not arrived yet.
    assert not re.search(r"\b0\b|no pools|nothing has", said.inner_text(), re.IGNORECASE)
    if asked == "live":
        expect(page.get_by_text("Connecting…")).to_be_visible()
    picture(page, f"loading-{name.replace('/', '-')}-{asked.strip('*')}")
    held.release()
    expect(said.get_by_text(empty).first).to_be_visible()
    expect(said.get_by_text(loading)).to_have_count(0)

    held.hold()
    page.reload()
    held.wait()
    held.fail()
    broken = "The Pool Manager does not answer" if asked == "live" else "Something broke."
    expect(said.get_by_text(broken).first).to_be_visible()
    if asked == "live":
        expect(said.get_by_text("Waiting for the Pool Manager.").first).to_be_visible()
    expect(said.get_by_text(loading)).to_have_count(0)
    expect(said.get_by_text(empty)).to_have_count(0)


def test_what_is_asked_with_a_click_says_so_until_it_is_there(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "pools.csv"
    file.write_text("pool,host\nnew,pc-01")

    def choose_pool() -> None:
        go(page, "Masks")
        page.get_by_role("link", name=re.compile("^fx")).click()

    def test_mask() -> None:
        page.get_by_label("Exclude mask").fill("pc-02")

    def choose_file() -> None:
        go(page, "Import, export")
        page.get_by_label("File", exact=True).set_input_files(file)

    def look_at_native() -> None:
        page.get_by_role("button", name="Look at them").click()

    for asked, do, loading, there in (
        ("masks*", choose_pool, "Loading the masks of fx…", "Names the pool's own hosts"),
        ("pattern", test_mask, "Testing the mask…", "Runs on"),
        ("import/plan", choose_file, "Looking at what would change…", "new: create with 1 host"),
        ("native", look_at_native, "Asking the broker for Afanasy's own pools…", "/local/gpu"),
    ):
        held = Held(page, f"**/api/{asked}")
        do()
        held.wait()
        expect(page.get_by_text(loading)).to_be_visible()
        held.release()
        expect(page.get_by_text(there).first).to_be_visible()
        expect(page.get_by_text(loading)).to_have_count(0)


def test_another_pool_s_history_is_not_shown_for_this_one_s(page: Page, elsewhere: Client) -> None:
    elsewhere.update_pool("fx", description="Only of fx")
    go(page, "History")
    expect(page.get_by_text("Only of fx")).to_be_visible()
    held = Held(page, "**/api/history*")
    page.get_by_label("Pool", exact=True).select_option("gpu")
    held.wait()
    expect(page.get_by_text("Loading the history…")).to_be_visible()
    expect(page.get_by_text("Only of fx")).to_have_count(0)
    held.release()
    expect(page.get_by_role("row")).to_have_count(2)


def test_an_import_is_cancelled(page: Page, elsewhere: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "pools.csv"
    file.write_text("pool,host\n" + "".join(f"new-{number},pc-01\n" for number in range(9)))
    go(page, "Import, export")
    card = page.get_by_role("article", name="Import a file")
    card.get_by_label("File").set_input_files(file)
    expect(card.get_by_role("listitem")).to_have_count(9)
    gate = Gate(monkeypatch, "create_pool")
    card.get_by_role("button", name="Make 9 changes").click()
    expect(card.get_by_text("Importing pools.csv…")).to_be_visible()
    assert gate.reached.wait(20)
    with page.expect_response("**/api/import/cancel"):
        card.get_by_role("button", name="Cancel").click()
    gate.released.set()
    expect(card.get_by_role("alert")).to_contain_text("1 of 9 changes made before this: The import was cancelled.")
    # What is missing can be imported at once.
    expect(card.get_by_role("listitem")).to_have_count(8)
    picture(page, "import-cancelled")
    assert [pool.name for pool in elsewhere.list_pools().pools] == ["fx", "gpu", "new-0", "night"]


def test_two_tabs_of_a_browser_show_the_same(page: Page, manager: Manager) -> None:
    with page.context.expect_page() as opened:
        page.get_by_role("button", name="Open another tab").click()
    other = opened.value
    row(other, "Pools", "fx").click()
    other.get_by_role("button", name="Delete").click()
    other.get_by_role("dialog").get_by_role("button", name="Delete pool").click()
    for tab in (page, other):
        expect(row(tab, "Pools", "fx")).to_have_count(0)


@pytest.mark.parametrize("how", [{"modifiers": ["ControlOrMeta"]}, {"button": "middle"}])
def test_a_page_that_is_opened_in_a_tab_of_its_own_is_let_in(page: Page, how: dict[str, Any]) -> None:
    with page.context.expect_page() as opened:
        page.get_by_role("navigation", name="Pages").get_by_role("link", name="Hosts").click(**how)
    expect(row(opened.value, "Hosts", "gpu-1")).to_be_visible()
    expect(row(page, "Pools", "fx")).to_be_visible()
    # For good: a reload finds it, too, and so does going back.
    opened.value.reload()
    expect(row(opened.value, "Hosts", "gpu-1")).to_be_visible()


def test_the_token_leaves_the_address_at_once(manager: Manager, browser: Browser) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        seen: list[str] = []
        page.on("request", lambda request: seen.append(page.url) if "/api/" in request.url else None)
        page.goto(f"{manager.origin}/static/icon.svg")
        page.goto(f"{manager.address}/hosts/gpu")
        expect(row(page, "Hosts", "gpu-1")).to_be_visible()
        # Before anything is asked for, the exchange of the token among it.
        assert set(seen) == {f"{manager.origin}/#/hosts/gpu"}
        page.go_back()
        page.go_forward()
        assert page.url == f"{manager.origin}/#/hosts/gpu"
        expect(row(page, "Hosts", "gpu-1")).to_be_visible()
        assert manager.token not in page.evaluate(
            "JSON.stringify([...Object.entries(sessionStorage), document.cookie])"
        )


def test_the_browser_is_opened_by_way_of_a_file(
    manager: Manager, browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    file = tmp_path / "open.html"
    serving.open_browser(manager.new_address, file)
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(opened[0])
        expect(row(page, "Pools", "fx")).to_be_visible()
        assert page.url == f"{manager.origin}/"
    # Going back to it would look as if somebody else had the token, too.
    until(lambda: not file.exists())


def closed(page: Page, title: str) -> None:
    """The page says why it shows nothing, and what to do."""
    expect(page.get_by_role("heading", level=1, name=title)).to_be_visible()
    expect(page.get_by_role("alert")).to_contain_text("in the terminal where afpools manager runs")
    expect(page.get_by_role("navigation")).to_have_count(0)


def test_a_tab_without_a_session_says_what_to_do(manager: Manager, page: Page) -> None:
    other = page.context.new_page()
    other.goto(f"{manager.origin}/#/hosts")
    closed(other, "This tab has no session")
    expect(other.get_by_role("alert")).to_contain_text("Open another tab")
    picture(other, "no-session")
    # A new address in the same tab: only what is after the # changes.
    other.goto(manager.new_address())
    expect(row(other, "Pools", "fx")).to_be_visible()
    expect(row(page, "Pools", "fx")).to_be_visible()


def test_an_address_that_does_not_fit_says_what_to_do(manager: Manager, page: Page) -> None:
    other = page.context.new_page()
    for address in ("#token=", "#token=wrong", "#token=wrong/hosts"):
        other.goto(f"{manager.origin}/{address}")
        closed(other, "This address does not fit")
        assert "token" not in other.url


def test_an_address_that_somebody_else_has_used_ends_his_session_and_says_so(
    manager: Manager, page: Page, browser: Browser, elsewhere: Client
) -> None:
    address = manager.new_address()
    thief = Manager(lambda: address)
    thief.log_in()
    assert thief.read("usage").status == 200
    with browser.new_context(color_scheme="dark") as context:
        late = context.new_page()
        late.goto(address)
        closed(late, "This address was used before")
        expect(late.get_by_role("alert")).to_contain_text("somebody else had the address")
        picture(late, "used-address-dark")
    assert thief.read("usage").status == 401
    assert thief.write("pools/delete", pool="fx").status == 401
    # And the other tab is none of his.
    elsewhere.create_pool("after", ["pc-01"])
    expect(row(page, "Pools", "after")).to_be_visible()


def test_a_tab_whose_address_is_used_again_is_told(manager: Manager, open_page: Open) -> None:
    address = manager.new_address()
    page = open_page(Manager(lambda: address))
    expect(row(page, "Pools", "fx")).to_be_visible()
    assert manager.exchange(token_in(address)).code == "used_token"
    closed(page, "This session has ended")
    page.reload()
    closed(page, "This tab has no session")


def test_where_the_manager_has_ended_its_address_says_so(
    manager: Manager, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.route("**/api/session", lambda route: route.abort())
        page.goto(manager.address)
        closed(page, "The Pool Manager does not answer")


def test_a_manager_that_was_started_anew_is_told_from_one_that_is_gone(
    place: Studio, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = place.profile("anna", Role.MANAGER)
    with running(profile) as first:
        page = open_page(first)
        expect(row(page, "Pools", "fx")).to_be_visible()
    expect(page.get_by_text("The Pool Manager does not answer")).to_be_visible()
    expect(row(page, "Pools", "fx")).to_be_visible()
    with running(profile, first.port) as again:
        closed(page, "This session has ended")
        page.goto(again.address)
        expect(row(page, "Pools", "fx")).to_be_visible()
        expect(page.get_by_role("button", name="New pool")).to_be_enabled()


def test_everything_that_can_be_used_has_a_name(page: Page) -> None:
    tree = page.context.new_cdp_session(page)
    row(page, "Pools", "fx").click()
    for name in ("Pools", "Hosts", "Masks", "Map", "History", "Import, export", "Scan", "Broker"):
        go(page, name)
        page.wait_for_timeout(300)
        nameless = [
            node["role"]["value"]
            for node in tree.send("Accessibility.getFullAXTree")["nodes"]
            if not node["ignored"]
            and node["role"]["value"]
            in ("button", "link", "textbox", "searchbox", "combobox", "checkbox", "radio", "grid", "dialog", "image")
            and not node.get("name", {}).get("value", "").strip()
        ]
        assert nameless == [], name


def test_a_reader_sees_everything_and_changes_nothing(start: Callable[..., Manager], open_page: Open) -> None:
    page = open_page(start("bert", Role.READER))
    expect(page.get_by_text("Read only")).to_be_visible()
    row(page, "Pools", "fx").click()
    for name in ("New pool", "Edit", "Delete"):
        expect(page.get_by_role("button", name=name, exact=True)).to_be_disabled()
    go(page, "Hosts")
    row(page, "Hosts", "gpu-3").click()
    expect(page.get_by_role("button", name="Add gpu-3 to night")).to_be_disabled()
    go(page, "History")
    expect(page.get_by_text("The history needs a manager profile")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)


def test_names_are_text_wherever_they_are_shown(page: Page, server: AfServer, elsewhere: Client) -> None:
    server.renders = farm([*RENDERS, EVIL])
    until(lambda: EVIL in {host.name for host in elsewhere.list_hosts().hosts})
    elsewhere.create_pool("<b onclick=alert(2)>", [EVIL, "pc-01"], description="<script>alert(3)</script>")
    expect(row(page, "Pools", "<b onclick=alert(2)>")).to_be_visible()
    row(page, "Pools", "<b onclick=alert(2)>").click()
    expect(page.get_by_role("listitem").filter(has_text=EVIL)).to_be_visible()
    for name in ("Hosts", "Masks", "Map", "History"):
        go(page, name)
        if name != "Map":
            expect(page.get_by_text("<b onclick=alert(2)>").first).to_be_attached()
    go(page, "Hosts")
    page.get_by_label("Filter hosts").fill("onerror")
    row(page, "Hosts", EVIL).click()
    page.get_by_role("button", name=f"Add {EVIL} to fx").click()
    expect(page.get_by_text(f"Added {EVIL} to fx")).to_be_visible()
    assert EVIL in elsewhere.get_pool("fx").hosts
    go(page, "Import, export")
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV", exact=True).click()
    page.get_by_label("File", exact=True).set_input_files(download.value.path())
    expect(page.get_by_text("Nothing to do: 4 pools as in the file.")).to_be_visible()
    assert page.locator("img[src=x], main b[onclick]").count() == 0


@contextmanager
def hostile_site(manager: Manager, host: str, got: list[str]) -> Iterator[str]:
    """The address of another account's web server, which writes down everything that it is sent."""
    body = Path(__file__).with_name("hostile.html").read_text().replace("ORIGIN", manager.origin).encode()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            got.append(f"{self.requestline}\n{self.headers}\n{self.rfile.read(length).decode()}")
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_OPTIONS = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://{host}:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()


# Ports do not count for cookies, nor for what is the same site: behind another port is another account's web server.
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_another_account_s_web_server_gets_nothing(page: Page, manager: Manager, elsewhere: Client, host: str) -> None:
    secret = page.evaluate("sessionStorage.getItem('secret')")
    sent: list[str] = []
    with hostile_site(manager, host, sent) as address:
        # In a tab of its own, and in one that has a session.
        other = page.context.new_page()
        with page.context.expect_page() as opened:
            page.get_by_role("button", name="Open another tab").click()
        expect(row(opened.value, "Pools", "fx")).to_be_visible()
        for tab in (other, opened.value):
            tab.goto(address)
            tab.get_by_role("button", name="Win").click()
            tab.wait_for_function("window.got")
            got = tab.evaluate("window.got")
            # An opaque answer has no text.
            assert set(got.values()) <= {"", "no"}, got
            assert len(got) == 10
        assert other.evaluate(
            "[document.cookie, ...Object.values(sessionStorage), ...Object.values(localStorage)]"
        ) == [""]
        other.close()
    assert page.context.cookies() == []
    assert len(sent) >= 2
    for request in sent:
        assert "cookie" not in request.lower()
        assert "authorization" not in request.lower()
        for thing in (secret, "#token", manager.token):
            assert thing not in request
    assert [pool.name for pool in elsewhere.list_pools().pools] == ["fx", "gpu", "night"]
    # And ours still works.
    elsewhere.create_pool("after", ["pc-01"])
    expect(row(page, "Pools", "after")).to_be_visible()


# Stays in the browser when the page that has registered it is gone, and answers whatever is asked of its origin.
SERVICE_WORKER = """
self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("fetch", (event) => event.respondWith(
  new Response("<!doctype html><h1>Stolen</h1>", { headers: { "Content-Type": "text/html" } })));
"""
REGISTERS = """<!doctype html><script>
const workers = navigator.serviceWorker;
workers.register("/worker.js").then(() => workers.ready).then(() => { window.ready = true; });
</script>"""


def test_who_had_the_usual_address_before_gets_no_token(
    browser: Browser, place: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            script = self.path == "/worker.js"
            self.send_response(200)
            self.send_header("Content-Type", "text/javascript" if script else "text/html")
            self.end_headers()
            self.wfile.write((SERVICE_WORKER if script else REGISTERS).encode())

        def log_message(self, *_: object) -> None:
            pass

    with browser.new_context() as context:
        page = context.new_page()
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, args=(0.02,)).start()
            port = server.server_address[1]
            page.goto(f"http://127.0.0.1:{port}/")
            page.wait_for_function("window.ready")
            server.shutdown()
        monkeypatch.setattr(serving, "DEFAULT_PORT", port)
        with running(place.profile("anna", Role.MANAGER), None) as manager:
            assert manager.port == port
            page.goto(manager.address)
            expect(row(page, "Pools", "fx")).to_be_visible()
            # And all that takes a page that the browser trusts works here, too.
            page.get_by_role("button", name="New pool").click()
            page.get_by_role("dialog").get_by_label("Name").fill("comp")
            page.get_by_role("dialog").get_by_role("button", name="Create pool").click()
            expect(row(page, "Pools", "comp")).to_be_visible()
            assert page.evaluate("isSecureContext")
        # What the fixed address would have given away.
        page.goto(f"http://127.0.0.1:{port}/#token=secret")
        expect(page.get_by_role("heading", name="Stolen")).to_be_visible()


def test_the_theme_is_chosen_and_kept(page: Page) -> None:
    page.get_by_role("button", name="Theme: system").click()
    page.get_by_role("button", name="Theme: light").click()
    page.get_by_role("button", name="Theme: dark").wait_for()
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.reload()
    expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark == "rgb(16, 18, 22)"


def test_a_large_farm_is_shown_in_part(
    tmp_path: Path, server: AfServer, open_page: Open, start: Callable[..., Manager], place: Studio
) -> None:
    names = [f"pc-{number:04}" for number in range(1, 1701)] + [f"gpu-{number}" for number in range(1, 301)]
    server.renders = farm(names)
    with Client(Profile.load(str(place.profile("carl", Role.MANAGER))), timeout=30) as client:
        until(lambda: len(client.list_hosts().hosts) >= 2000)
        for number in range(197):
            first = number * 8 + 1
            client.create_pool(f"show-{number:03}", [f"pc-[{first:04}-{first + 60:04}]"])
    for width, height, scheme in ((1366, 768, "light"), (3840, 2160, "dark")):
        page = open_page(start(), width, height, scheme)
        expect(page.get_by_role("heading", level=2, name=re.compile("^Pools 20[0-9]"))).to_be_visible()
        picture(page, f"large-pools-{width}-{scheme}")
        assert page.get_by_role("row").count() < 150
        # The pool that is chosen moves to another place, and does not take the list along.
        page.get_by_role("button", name="Hosts", exact=True).click()
        page.get_by_role("grid", name="Pools", exact=True).focus()
        page.keyboard.press("Home")
        rows = page.locator(".table.pools .scroll")
        rows.evaluate("rows => (rows.scrollTop = 3000)")
        with Client(Profile.load(str(place.profile("carl", Role.MANAGER))), timeout=30) as client:
            client.create_pool(f"all-{9999 - width}", ["pc-[0001-1700]"])  # each before the last
        expect(page.get_by_role("heading", level=2, name=re.compile("^Pools 20[1-9]"))).to_be_visible()
        expect(page.get_by_role("grid", name="Pools", exact=True)).to_have_attribute(
            "aria-activedescendant", re.compile("^pool-[1-9]")
        )
        page.wait_for_timeout(200)
        assert rows.evaluate("rows => rows.scrollTop") > 2000
        assert page.get_by_role("grid", name="Pools", exact=True).get_by_role("row").count() > 15
        go(page, "Hosts")
        page.get_by_role("grid", name="Hosts", exact=True).focus()
        page.keyboard.press("End")
        expect(row(page, "Hosts", "pc-1700")).to_be_visible()
        assert page.get_by_role("row").count() < 150
        picture(page, f"large-hosts-{width}-{scheme}")
        go(page, "Map")
        expect(page.get_by_role("list", name="Pools that share hosts").get_by_role("listitem").first).to_be_visible()
        picture(page, f"large-map-{width}-{scheme}")
