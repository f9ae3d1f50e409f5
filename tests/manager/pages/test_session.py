"""The Pool Manager in a browser: tabs, tokens and other people's pages."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from tests.studio import Studio

from afpools import Client
from afpools_broker.protocol import Role
from afpools_tools.manager import serving

from ..browser import picture
from ..conftest import Manager, running, token_in, until
from .conftest import Open, row

pytestmark = [pytest.mark.heavy, pytest.mark.xdist_group("chromium"), pytest.mark.timeout(180)]


def test_two_tabs_of_a_browser_show_the_same(page: Page, manager: Manager) -> None:
    with page.context.expect_page() as opened:
        page.get_by_role("button", name="Open another tab").click()
    other = opened.value
    row(other, "Pools", "fx").click()
    other.get_by_role("button", name="Delete").click()
    other.get_by_role("dialog").get_by_role("button", name="Delete pool").click()
    for tab in (page, other):
        expect(row(tab, "Pools", "fx")).to_have_count(0)


@pytest.mark.parametrize("how", [{"modifiers": ["ControlOrMeta"]}, {"button": "middle"}])
def test_a_page_opened_in_a_separate_tab_is_admitted(page: Page, how: dict[str, Any]) -> None:
    with page.context.expect_page() as opened:
        page.get_by_role("navigation", name="Pages").get_by_role("link", name="Hosts").click(**how)
    expect(row(opened.value, "Hosts", "gpu-1")).to_be_visible()
    expect(row(page, "Pools", "fx")).to_be_visible()
    # Permanently: a reload also finds it, and so does going back.
    opened.value.reload()
    expect(row(opened.value, "Hosts", "gpu-1")).to_be_visible()


def test_the_token_leaves_the_address_at_once(manager: Manager, browser: Browser) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        seen: list[str] = []
        page.on("request", lambda request: seen.append(page.url) if "/api/" in request.url else None)
        page.goto(f"{manager.origin}/static/icon.svg")
        page.goto(f"{manager.address}/hosts/gpu")
        expect(row(page, "Hosts", "gpu-1")).to_be_visible()
        # Before any request, even before the exchange of the token.
        assert set(seen) == {f"{manager.origin}/#/hosts/gpu"}
        page.go_back()
        page.go_forward()
        assert page.url == f"{manager.origin}/#/hosts/gpu"
        expect(row(page, "Hosts", "gpu-1")).to_be_visible()
        assert manager.token not in page.evaluate(
            "JSON.stringify([...Object.entries(sessionStorage), document.cookie])"
        )


def test_the_browser_is_opened_through_a_file(
    manager: Manager, browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    file = tmp_path / "open.html"
    serving.open_browser(manager.new_address, file)
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(opened[0])
        expect(row(page, "Pools", "fx")).to_be_visible()
        assert page.url == f"{manager.origin}/"
    # Going back to it would look as if somebody else had the token, too.
    until(lambda: not file.exists())


def closed(page: Page, title: str) -> None:
    """The page says why it shows nothing, and what to do."""
    expect(page.get_by_role("heading", level=1, name=title)).to_be_visible()
    expect(page.get_by_role("alert")).to_contain_text("in the terminal where afpools manager runs")
    expect(page.get_by_role("navigation")).to_have_count(0)


def test_a_tab_without_a_session_says_what_to_do(manager: Manager, page: Page) -> None:
    other = page.context.new_page()
    other.goto(f"{manager.origin}/#/hosts")
    closed(other, "This tab has no session")
    expect(other.get_by_role("alert")).to_contain_text("Open another tab")
    picture(other, "no-session")
    # A new address in the same tab: only what is after the # changes.
    other.goto(manager.new_address())
    expect(row(other, "Pools", "fx")).to_be_visible()
    expect(row(page, "Pools", "fx")).to_be_visible()


def test_a_wrong_address_says_what_to_do(manager: Manager, page: Page) -> None:
    other = page.context.new_page()
    for address in ("#token=", "#token=wrong", "#token=wrong/hosts"):
        other.goto(f"{manager.origin}/{address}")
        closed(other, "This address is not valid")
        assert "token" not in other.url


def test_an_address_that_somebody_else_has_used_ends_that_session_and_says_so(
    manager: Manager, page: Page, browser: Browser, elsewhere: Client
) -> None:
    address = manager.new_address()
    thief = Manager(lambda: address)
    thief.log_in()
    assert thief.read("usage").status == 200
    with browser.new_context(color_scheme="dark") as context:
        late = context.new_page()
        late.goto(address)
        closed(late, "This address was used before")
        expect(late.get_by_role("alert")).to_contain_text("somebody else had the address")
        picture(late, "used-address-dark")
    assert thief.read("usage").status == 401
    assert thief.write("pools/delete", pool="fx").status == 401
    # And the other tab does not belong to that session.
    elsewhere.create_pool("after", ["pc-01"])
    expect(row(page, "Pools", "after")).to_be_visible()


def test_a_tab_whose_address_is_used_again_is_told(manager: Manager, open_page: Open) -> None:
    address = manager.new_address()
    page = open_page(Manager(lambda: address))
    expect(row(page, "Pools", "fx")).to_be_visible()
    assert manager.exchange(token_in(address)).code == "used_token"
    closed(page, "This session has ended")
    page.reload()
    closed(page, "This tab has no session")


def test_the_address_of_a_stopped_pool_manager_says_so(
    manager: Manager, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.route("**/api/session", lambda route: route.abort())
        page.goto(manager.address)
        closed(page, "The Pool Manager does not answer")


def test_a_restarted_pool_manager_is_distinguished_from_a_stopped_one(
    place: Studio, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = place.profile("anna", Role.MANAGER)
    with running(profile) as first:
        page = open_page(first)
        expect(row(page, "Pools", "fx")).to_be_visible()
    expect(page.get_by_text("The Pool Manager does not answer")).to_be_visible()
    expect(row(page, "Pools", "fx")).to_be_visible()
    with running(profile, first.port) as again:
        closed(page, "This session has ended")
        page.goto(again.address)
        expect(row(page, "Pools", "fx")).to_be_visible()
        expect(page.get_by_role("button", name="New pool")).to_be_enabled()


@contextmanager
def hostile_site(manager: Manager, host: str, got: list[str]) -> Iterator[str]:
    """The address of another account's web server, which records everything that it receives."""
    body = Path(__file__).with_name("hostile.html").read_text().replace("ORIGIN", manager.origin).encode()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            got.append(f"{self.requestline}\n{self.headers}\n{self.rfile.read(length).decode()}")
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_OPTIONS = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://{host}:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()


# Cookies and the same-site rule ignore ports, but another port may be another account's web server.
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_another_account_s_web_server_gets_nothing(page: Page, manager: Manager, elsewhere: Client, host: str) -> None:
    secret = page.evaluate("sessionStorage.getItem('secret')")
    sent: list[str] = []
    with hostile_site(manager, host, sent) as address:
        # In a separate tab, and in one that has a session.
        other = page.context.new_page()
        with page.context.expect_page() as opened:
            page.get_by_role("button", name="Open another tab").click()
        expect(row(opened.value, "Pools", "fx")).to_be_visible()
        for tab in (other, opened.value):
            tab.goto(address)
            tab.get_by_role("button", name="Win").click()
            tab.wait_for_function("window.got")
            got = tab.evaluate("window.got")
            # An opaque answer has no text.
            assert set(got.values()) <= {"", "no"}, got
            assert len(got) == 10
        assert other.evaluate(
            "[document.cookie, ...Object.values(sessionStorage), ...Object.values(localStorage)]"
        ) == [""]
        other.close()
    assert page.context.cookies() == []
    assert len(sent) >= 2
    for request in sent:
        assert "cookie" not in request.lower()
        assert "authorization" not in request.lower()
        for thing in (secret, "#token", manager.token):
            assert thing not in request
    assert [pool.name for pool in elsewhere.list_pools().pools] == ["fx", "gpu", "night"]
    # And ours still works.
    elsewhere.create_pool("after", ["pc-01"])
    expect(row(page, "Pools", "after")).to_be_visible()


SERVICE_WORKER = """
self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("fetch", (event) => event.respondWith(
  new Response("<!doctype html><h1>Stolen</h1>", { headers: { "Content-Type": "text/html" } })));
"""


REGISTERS = """<!doctype html><script>
const workers = navigator.serviceWorker;
workers.register("/worker.js").then(() => workers.ready).then(() => { window.ready = true; });
</script>"""


def test_a_previous_owner_of_the_usual_address_gets_no_token(
    browser: Browser, place: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            script = self.path == "/worker.js"
            self.send_response(200)
            self.send_header("Content-Type", "text/javascript" if script else "text/html")
            self.end_headers()
            self.wfile.write((SERVICE_WORKER if script else REGISTERS).encode())

        def log_message(self, *_: object) -> None:
            pass

    with browser.new_context() as context:
        page = context.new_page()
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, args=(0.02,)).start()
            port = server.server_address[1]
            page.goto(f"http://127.0.0.1:{port}/")
            page.wait_for_function("window.ready")
            server.shutdown()
        monkeypatch.setattr(serving, "DEFAULT_PORT", port)
        with running(place.profile("anna", Role.MANAGER), None) as manager:
            assert manager.port == port
            page.goto(manager.address)
            expect(row(page, "Pools", "fx")).to_be_visible()
            # And everything that needs a trusted page works here, too.
            page.get_by_role("button", name="New pool").click()
            page.get_by_role("dialog").get_by_label("Name").fill("comp")
            page.get_by_role("dialog").get_by_role("button", name="Create pool").click()
            expect(row(page, "Pools", "comp")).to_be_visible()
            assert page.evaluate("isSecureContext")
        # What the fixed address would have revealed.
        page.goto(f"http://127.0.0.1:{port}/#token=secret")
        expect(page.get_by_role("heading", name="Stolen")).to_be_visible()
