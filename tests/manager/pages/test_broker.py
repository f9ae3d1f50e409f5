"""The Pool Manager in a browser: the broker, and what every page says about it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from tests.afserver import AfServer
from tests.studio import studio

from afpools import Client
from afpools.profile import Profile
from afpools_broker.protocol import Role

from ..browser import picture
from ..conftest import running
from .conftest import Open, go, row

pytestmark = [pytest.mark.heavy, pytest.mark.xdist_group("chromium"), pytest.mark.timeout(180)]


def test_the_broker_page_shows_the_state_of_things(page: Page) -> None:
    go(page, "Broker")
    cards = page.get_by_role("article")
    expect(cards.filter(has_text="tls://")).to_contain_text("Healthy")
    expect(cards.filter(has_text="curve://")).to_contain_text("Healthy")
    expect(cards.filter(has_text="tls://")).to_contain_text("30 renders")
    expect(cards.filter(has_text="Your profile")).to_contain_text("valid until")
    picture(page, "broker")


def test_the_brokers_problems_are_visible_on_every_page(page: Page, server: AfServer) -> None:
    link = page.get_by_role("navigation", name="Pages").get_by_role("link", name=re.compile("^Broker"))
    expect(link).to_have_text("Broker")
    server.mood = "cut"
    expect(link).to_have_text("Broker1 problem", timeout=60_000)
    link.click()
    expect(page.get_by_role("article").filter(has_text="tls://")).to_contain_text("Degraded")
    server.mood = "well"
    expect(link).to_have_text("Broker", timeout=60_000)


def test_if_the_broker_is_unreachable_the_page_says_so_and_recovers(tmp_path: Path, open_page: Open) -> None:
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


def test_before_a_broker_has_answered_nothing_is_said_about_pools(tmp_path: Path, open_page: Open) -> None:
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
