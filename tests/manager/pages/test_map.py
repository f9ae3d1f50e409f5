"""The Pool Manager in a browser: the map of overlaps."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from ..browser import picture
from ..conftest import until
from .conftest import go

pytestmark = [pytest.mark.heavy, pytest.mark.xdist_group("chromium"), pytest.mark.timeout(180)]


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
