"""The Pool Manager in a browser: masks."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from afpools import Client

from ..browser import picture
from .conftest import go

pytestmark = [pytest.mark.heavy, pytest.mark.xdist_group("chromium"), pytest.mark.timeout(180)]


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
    # 117 kB, more than an address can hold.
    box.get_by_label("Exclude mask").fill("|".join(f"host-{number:07}" for number in range(9_000)))
    expect(box).to_contain_text("afserver cannot compile this")
