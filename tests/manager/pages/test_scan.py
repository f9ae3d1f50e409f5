"""The Pool Manager in a browser: the scan."""

from __future__ import annotations

import re
from ipaddress import IPv4Interface

import pytest
from playwright.sync_api import Page, expect

from afpools import Client
from afpools_tools.manager import scan_job
from afpools_tools.network.addresses import ThisMachine

from ..browser import picture
from .conftest import go, row

pytestmark = [pytest.mark.heavy, pytest.mark.xdist_group("chromium"), pytest.mark.timeout(180)]


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
