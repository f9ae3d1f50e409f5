"""The Pool Manager in a browser: hosts."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from afpools import Client

from ..browser import picture
from ..conftest import until
from .conftest import cells, go, row

pytestmark = [pytest.mark.heavy, pytest.mark.xdist_group("chromium"), pytest.mark.timeout(180)]


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


def test_only_dragged_hosts_are_dropped(page: Page, elsewhere: Client) -> None:
    go(page, "Hosts")
    row(page, "Hosts", "gpu-7").drag_to(page.get_by_role("heading", level=2, name=re.compile("^Hosts")))
    target = page.get_by_role("complementary", name="Pools").get_by_role("listitem").filter(has_text="night")
    # Something else, from elsewhere.
    data = page.evaluate_handle("new DataTransfer()")
    target.dispatch_event("dragover", {"dataTransfer": data})
    target.dispatch_event("drop", {"dataTransfer": data})
    page.wait_for_timeout(500)
    assert "gpu-7" not in elsewhere.get_pool("night").hosts


def test_selected_hosts_that_are_not_shown_are_counted(page: Page) -> None:
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
    elsewhere.create_pool("--", ["gpu-1"])
    elsewhere.register_hosts(["lonely"])
    go(page, "Hosts")
    pool = page.get_by_label("Pool", exact=True)
    heading = page.get_by_role("heading", level=2, name=re.compile("^Hosts"))
    pool.select_option("none")
    expect(heading).to_have_text("Hosts 1 of 31")
    pool.select_option("--")
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


def test_a_name_that_is_not_a_render_is_refused_with_a_suggestion(page: Page, elsewhere: Client) -> None:
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
