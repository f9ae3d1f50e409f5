"""Who is let in, and who is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from afpools_broker.protocol import Role

from .conftest import Manager

POOL = {"pool": "fx", "hosts": "pc-[01-03]"}


def test_the_address_opens_one_browser_once(start: Callable[..., Manager]) -> None:
    manager = start()
    first = manager.ask(manager.opening)
    assert first.status == 200
    cookie = first.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert manager.ask(manager.opening).status == 403
    # The same browser may reload it.
    assert manager.ask(manager.opening, Cookie=cookie.partition(";")[0]).status == 200


@pytest.mark.parametrize("token", ["", "wrong", "ü", "%00", "A" * 100_000])
def test_a_wrong_token_opens_nothing(start: Callable[..., Manager], token: str) -> None:
    manager = start()
    refused = manager.ask(f"/?token={token}" if token.isascii() else "/?token=%C3%BC")
    assert refused.status in (400, 403)
    assert "set-cookie" not in refused.headers
    # And the right one goes on to work.
    assert manager.ask(manager.opening).status == 200


def test_without_the_cookie_there_is_nothing_to_see(start: Callable[..., Manager]) -> None:
    manager = start()
    assert manager.ask("/").status == 403
    for path in ("session", "live", "pool?pool=fx", "brokers", "no-such-thing"):
        assert manager.ask(f"/api/{path}").status == 401
        assert manager.ask(f"/api/{path}", Cookie=f"afpools-manager-{manager.port}=guess").status == 401


@pytest.mark.parametrize("other", ['theme={"dark": true}', "a b=c", "alone", "x=\u00fc", "empty="])
def test_cookies_of_other_programs_on_this_machine_do_not_matter(manager: Manager, other: str) -> None:
    for cookies in (f"{other}; {manager.cookie}", f"{manager.cookie}; {other}"):
        assert manager.ask("/api/session", Cookie=cookies).status == 200
    assert manager.ask("/api/session", Cookie=other).status == 401


def test_another_manager_s_cookie_is_not_ours(start: Callable[..., Manager]) -> None:
    one, other = start(), start()
    one.log_in()
    assert other.ask("/api/session", Cookie=one.cookie).status == 401
    assert other.ask("/api/session", Cookie=one.cookie.replace(str(one.port), str(other.port))).status == 401


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1", "localhost:1", ""])
def test_another_name_for_this_machine_is_refused(manager: Manager, host: str) -> None:
    given = host.format(port=manager.port)
    for path in ("/", "/api/session", "/static/base.css", manager.opening):
        assert manager.ask(path, Host=given, Cookie=manager.cookie).status == 421


def test_localhost_is_ours_too(manager: Manager) -> None:
    assert manager.ask("/api/session", Host=f"localhost:{manager.port}", Cookie=manager.cookie).status == 200


def test_a_change_needs_the_csrf_token_and_our_origin(manager: Manager) -> None:
    path, good = "/api/pools/create", {"Cookie": manager.cookie, "Origin": manager.origin, "X_CSRF_Token": manager.csrf}
    for missing in good:
        headers = {name: value for name, value in good.items() if name != missing}
        assert manager.ask(path, "POST", POOL, **headers).status in (401, 403)
    for wrong in ({"X_CSRF_Token": "guess"}, {"Origin": "http://evil.example"}, {"Origin": "null"}):
        assert manager.ask(path, "POST", POOL, **{**good, **wrong}).status == 403
    assert manager.read("pool?pool=fx").code == "unknown_pool"
    assert manager.ask(path, "POST", POOL, **good).status == 200
    assert manager.read("pool?pool=fx").json["hosts"] == ["pc-01", "pc-02", "pc-03"]


def test_another_site_s_page_may_not_even_read(manager: Manager) -> None:
    for headers in (
        {"Origin": "http://evil.example"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ):
        assert manager.read("session", **headers).status == 403


def test_every_answer_carries_the_headers(manager: Manager) -> None:
    for path in ("/", "/static/app.js", "/api/session", "/nowhere", "/api/nowhere"):
        headers = manager.ask(path, Cookie=manager.cookie).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers


@pytest.mark.parametrize("path", ["/static/../session.py", "/static/%2e%2e/session.py", "/static/..%2fsession.py"])
def test_only_the_pages_files_are_served(manager: Manager, path: str) -> None:
    assert manager.ask(path, Cookie=manager.cookie).status == 404


def test_a_reader_changes_nothing(start: Callable[..., Manager]) -> None:
    manager = start("bert", Role.READER)
    manager.log_in()
    refused = manager.write("pools/create", **POOL)
    assert (refused.status, refused.code) == (409, "forbidden")
    with manager.stream() as messages:
        status = next(message["status"] for message in messages if message.get("status", {}).get("reachable"))
    assert status["role"] == "reader"
    assert "pools.create" not in status["operations"]
