"""Debian's chromium with a page in it, and what it takes to start it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

CHROMIUM = Path(os.environ.get("AFPOOLS_CHROMIUM", "/usr/bin/chromium"))
SCREENSHOTS = Path(__file__).parents[1] / "screenshots"

_ARGUMENTS = (
    "--no-sandbox",  # there is no sandbox for root
    "--headless",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
)


def need_chromium() -> None:
    """Skips a test if there is no chromium; fails it if there must be one."""
    if not CHROMIUM.exists():
        why = f"There is no {CHROMIUM}. On Debian: apt install chromium; or name another in AFPOOLS_CHROMIUM."
        if os.environ.get("CI") == "true":
            pytest.fail(why, pytrace=False)
        pytest.skip(why)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser that is closed when the block ends."""
    need_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(_ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


class Watched:
    """Records what went wrong in a page, and what it loaded.

    Args:
        page: to be watched, before it loads anything.
    """

    def __init__(self, page: Page) -> None:
        self.problems: list[str] = []
        self.requested: list[str] = []
        page.on("pageerror", lambda error: self.problems.append(f"{error}"))
        page.on("console", self._said)
        page.on("request", lambda request: self.requested.append(request.url))
        page.on("dialog", lambda dialog: self.problems.append(f"A dialog: {dialog.message}"))

    def _said(self, message: ConsoleMessage) -> None:
        # A refusal is a failed request, which the page itself shows to people.
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            self.problems.append(message.text)


def picture(page: Page, name: str) -> None:
    """Takes a screenshot for people to look at."""
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")
