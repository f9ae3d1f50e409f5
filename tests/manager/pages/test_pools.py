"""The Pool Manager in a browser: pools: the first page, and its dialogs."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from afpools import Client
from afpools_broker.protocol import DESCRIPTION_CHARACTERS, POOL_NAME_CHARACTERS

from ..browser import picture
from ..conftest import Lost, Manager
from .conftest import cells, go, row

pytestmark = [pytest.mark.heavy, pytest.mark.xdist_group("chromium"), pytest.mark.timeout(180)]


def test_a_pool_that_can_run_nothing_says_so_and_its_hosts_can_be_replaced_and_forgotten(
    page: Page, elsewhere: Client
) -> None:
    elsewhere.create_pool("render", ["pc-[01-04]", "old-1"], new_hosts=True)
    elsewhere.create_pool("retired", ["old-[1-3]"], new_hosts=True)
    expect(row(page, "Pools", "retired")).to_contain_text("no machine on the farm")
    # pc-01 … pc-04 are numbers 10 to 13 on the farm, and every fifth is offline.
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
    for label, most in (("Name", POOL_NAME_CHARACTERS), ("Description", DESCRIPTION_CHARACTERS)):
        expect(dialog.get_by_label(label)).to_have_attribute("maxlength", str(most))
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


def test_a_refusal_by_the_broker_is_shown_in_the_dialog(page: Page) -> None:
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
    # It was made, and there is no "the name is taken" afterwards.
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


def test_a_refusal_of_the_second_attempt_says_nothing_about_the_first(page: Page) -> None:
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


def test_if_the_pool_manager_stops_during_a_change_its_outcome_is_unknown(page: Page) -> None:
    go(page, "Hosts")
    row(page, "Hosts", "gpu-3").click()
    page.route("**/api/hosts/assign", lambda route: route.abort())
    page.get_by_role("button", name="Add gpu-3 to night").click()
    toast = page.locator(".toast").filter(has_text="It is not known whether the change was made.")
    expect(toast).to_contain_text("The Pool Manager does not answer")
    page.unroute("**/api/hosts/assign")
    toast.get_by_role("button", name="Try again").click()
    expect(page.get_by_text("Added gpu-3 to night")).to_be_visible()


def test_changes_that_somebody_else_made_meanwhile_stay(page: Page, elsewhere: Client) -> None:
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
    """What others have changed, according to the dialog."""
    return page.get_by_role("dialog").get_by_role("alert")


def test_a_pool_that_somebody_else_has_just_changed_is_deleted_only_on_confirmation(
    page: Page, elsewhere: Client
) -> None:
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
        elsewhere.add_hosts("fx", ["pc-20"])  # the second time it is already there
        route.continue_()

    page.route(path, change)
    with page.expect_response(path) as refused:
        submit.click()
    assert refused.value.status == 409
    if button == "Delete":
        expect(meanwhile(page)).to_contain_text("Added 1 host: pc-20")
        dialog.get_by_role("button", name="Continue with fx as it is now").click()
    else:
        # Another host does not conflict with a new name.
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
    # Fields that were not touched here are updated.
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
def test_a_pool_that_is_deleted_while_a_dialog_is_open_is_reported(page: Page, elsewhere: Client, button: str) -> None:
    row(page, "Pools", "fx").click()
    page.get_by_role("button", name=button).click()
    dialog = page.get_by_role("dialog")
    if button == "Edit":
        dialog.get_by_label("Description").fill("Typed for minutes")
    elsewhere.rename_pool("fx", "sim")
    expect(meanwhile(page)).to_contain_text("The pool fx no longer exists")
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


def test_counts_come_from_the_farm(page: Page) -> None:
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
