"""The Pool Manager in a browser: history."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from afpools import Client

from ..browser import picture
from ..conftest import until
from .conftest import Held, go, row

pytestmark = [pytest.mark.heavy, pytest.mark.xdist_group("chromium"), pytest.mark.timeout(180)]


def test_history_lists_who_changed_what(page: Page, elsewhere: Client) -> None:
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
    # The name has been taken in the meantime.
    expect(lines.filter(has_text="renamed").first.get_by_role("button")).to_have_count(0)
    expect(lines.filter(has_text="renamed").first.get_by_role("cell").last).not_to_be_empty()
    picture(page, "history")
    removed.get_by_role("button", name=re.compile("^Undo")).click()
    until(lambda: {"pc-05", "pc-06"} < set(elsewhere.get_pool("night").hosts))
    expect(lines.nth(1)).to_contain_text("night")
    expect(lines.nth(1)).to_contain_text("pc-[05-06]")


def test_another_pools_history_is_not_shown_as_this_ones(page: Page, elsewhere: Client) -> None:
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
