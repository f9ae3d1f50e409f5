"""A browser in front of a running Pool Manager, whose broker has a farm of thirty renders and three pools."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect
from tests.afserver import AfServer, afserver, renders_answer
from tests.studio import Studio, studio

from afpools import Client
from afpools.profile import Profile
from afpools_broker.protocol import Role

from ..browser import Watched, chromium
from ..conftest import Manager, until

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
    """Makes pages for a Pool Manager, each in its own browser profile. After the test it checks that nothing went wrong
    in any page, and that nothing was loaded from elsewhere."""
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
    """Opens a Pool Manager's address."""

    def open_page(manager: Manager, *size: int, **options: Any) -> Page:
        page = blank_page(manager, *size, **options)
        page.goto(manager.new_address())
        page.wait_for_url(f"{manager.origin}/")
        return page

    return open_page


@pytest.fixture
def manager(start: Callable[..., Manager]) -> Manager:
    """A Pool Manager that is not logged in: the browser does that."""
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


# Stays in the browser after the page that registered it is gone, and answers all requests to its origin.


class Held:
    """Holds back the Pool Manager's answers, so that a page can be seen before they arrive.

    Args:
        page: the page.
        pattern: the pattern of the addresses.
    """

    def __init__(self, page: Page, pattern: str) -> None:
        self._page, self._pattern = page, pattern
        self._waiting: list[Route] = []
        self._answer: Callable[[Route], None] = self._waiting.append
        page.route(pattern, lambda route: self._answer(route))

    def wait(self) -> None:
        """Waits until the page has sent a request."""
        end = time.monotonic() + 20
        while not self._waiting:
            assert time.monotonic() < end, f"{self._pattern} was not asked for."
            self._page.wait_for_timeout(50)

    def release(self) -> None:
        """Lets present and future requests be answered."""
        self._go_on(lambda route: route.continue_())

    def fail(self) -> None:
        """Refuses present and future requests."""
        error = {"error": {"code": "internal", "message": "Something broke."}}
        self._go_on(lambda route: route.fulfill(status=500, json=error))

    def hold(self) -> None:
        """Holds back future requests."""
        self._waiting.clear()
        self._answer = self._waiting.append

    def _go_on(self, answer: Callable[[Route], None]) -> None:
        self._answer = answer
        for route in self._waiting:
            answer(route)
