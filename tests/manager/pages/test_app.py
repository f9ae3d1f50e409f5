"""The Pool Manager in a browser: what holds on every page."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from tests.afserver import AfServer
from tests.studio import Studio

from afpools import Client
from afpools.profile import Profile
from afpools_broker.protocol import Role

from ..browser import picture
from ..conftest import Manager, until
from .conftest import EVIL, RENDERS, Open, farm, go, row

pytestmark = [pytest.mark.heavy, pytest.mark.xdist_group("chromium"), pytest.mark.timeout(180)]


def test_everything_that_can_be_used_has_a_name(page: Page) -> None:
    tree = page.context.new_cdp_session(page)
    row(page, "Pools", "fx").click()
    for name in ("Pools", "Hosts", "Jobs", "Masks", "Map", "History", "Import, export", "Scan", "Broker"):
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
        # The chosen pool moves to another place, and the list does not scroll with it.
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
