"""Who may use the running Pool Manager, and who may not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from afpools_broker.protocol import Role
from afpools_tools.manager import app
from afpools_tools.manager.api import LONG_READS, READS, WRITES
from afpools_tools.manager.session import Session

from .conftest import Manager, token_in, until

POOL = {"pool": "fx", "hosts": "pc-[01-03]"}


def test_a_token_opens_one_session_once(start: Callable[..., Manager]) -> None:
    manager = start()
    manager.log_in()
    assert manager.read("usage").status == 200
    assert manager.exchange(manager.token).code == "used_token"


def test_a_token_used_a_second_time_ends_the_session_it_opened(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "_SIGN_OF_LIFE", 1000)
    other = Manager(manager.new_address)
    other.log_in()
    with manager.stream() as messages:
        assert next(messages)["whole"]
        # Now another holder of the address asks; or we do, and the other was first.
        assert manager.exchange(manager.token).status == 403
        assert manager.read("usage").code == "no_session"
        # The stream ends without waiting for news.
        for _ in messages:
            pass
    assert other.read("usage").status == 200


def test_a_used_address_is_followed_by_a_fresh_one() -> None:
    printed: list[str] = []
    session = Session("127.0.0.1", 5580)

    def show() -> None:
        printed.append(session.new_address(used=show))

    show()
    for count in (1, 2, 3):
        assert len(printed) == count
        secret, used = session.exchange(token_in(printed[-1]))
        assert session.knows(secret)
        used()
    assert len(set(printed)) == 4


def test_the_next_address_is_shown_after_the_answer(start: Callable[..., Manager]) -> None:
    shown: list[str] = []
    manager = start()
    address = manager.new_address(lambda: shown.append("next"))
    assert manager.exchange(token_in(address)).status == 200
    until(lambda: shown == ["next"])
    assert manager.exchange(token_in(address)).status == 403
    assert shown == ["next"]


@pytest.mark.parametrize("token", ["", "wrong", "ü", "\x00", "A" * 900])
def test_a_wrong_token_opens_nothing(start: Callable[..., Manager], token: str) -> None:
    manager = start()
    assert manager.exchange(token).code == "unknown_token"
    # And the right one still works.
    manager.log_in()


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"token": 1}', b"{}", b'{"token": "\\ud800"}', b"\xff"])
def test_an_invalid_token_is_refused_with_a_sentence(start: Callable[..., Manager], body: bytes) -> None:
    manager = start()
    assert manager.ask("/api/session", "POST", body, Origin=manager.origin).code == "bad_request"


def test_strangers_cannot_send_much(start: Callable[..., Manager]) -> None:
    manager = start()
    assert manager.exchange("A" * 2000).status == 413


def test_without_the_secret_nothing_is_answered(manager: Manager) -> None:
    names = [*READS, *LONG_READS, *WRITES, "live", "export", "no-such-thing"]
    for name in names:
        for method in ("GET", "POST"):
            for headers in (
                {},
                {"Authorization": ""},
                {"Authorization": "Bearer"},
                {"Authorization": "Bearer "},
                {"Authorization": "Bearer guess"},
                {"Authorization": f"Basic {manager.secret}"},
                {"Authorization": f"Bearer {manager.secret}x"},
                {"Authorization": f"Bearer {manager.token}"},
                {"Cookie": f"secret={manager.secret}; afpools-manager-{manager.port}={manager.secret}"},
            ):
                refused = manager.ask(f"/api/{name}", method, {}, Origin=manager.origin, **headers)
                assert (refused.status, refused.code) == (401, "no_session"), (name, method, headers)


def test_no_cookie_is_ever_set(start: Callable[..., Manager]) -> None:
    manager = start()
    answers = [
        manager.ask("/"),
        manager.exchange(manager.token),
        manager.ask("/static/app.js"),
        manager.ask("/nowhere"),
    ]
    assert [answer.status for answer in answers] == [200, 200, 200, 404]
    assert not any("set-cookie" in answer.headers for answer in answers)


def test_the_page_without_a_session_holds_nothing(manager: Manager) -> None:
    shell = manager.ask("/")
    assert shell.status == 200
    assert shell.headers["cache-control"] == "no-store"
    assert manager.secret.encode() not in shell.body
    assert b"anna" not in shell.body


def test_another_pool_managers_secret_and_token_are_rejected(start: Callable[..., Manager]) -> None:
    one, other = start(), start()
    one.log_in()
    assert other.ask("/api/usage", **one.authorization).status == 401
    assert one.exchange(other.token).code == "unknown_token"
    other.log_in()


# Browsers may take localhost for [::1], where somebody else can listen on our port.
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "localhost:{port}", "[::1]:{port}", ""]
)
def test_another_name_for_this_machine_is_refused(manager: Manager, host: str) -> None:
    given = host.format(port=manager.port)
    for path in ("/", "/api/usage", "/static/base.css"):
        refused = manager.ask(path, Host=given, **manager.authorization)
        assert refused.status == 421
        assert manager.origin in refused.body.decode()


def test_a_change_needs_the_secret_and_our_origin(manager: Manager) -> None:
    path, good = "/api/pools/create", {"Origin": manager.origin, **manager.authorization}
    for missing in good:
        headers = {name: value for name, value in good.items() if name != missing}
        assert manager.ask(path, "POST", POOL, **headers).status in (401, 403)
    for wrong in ("http://evil.example", f"http://localhost:{manager.port}", manager.origin.upper(), "null"):
        assert manager.ask(path, "POST", POOL, **{**good, "Origin": wrong}).status == 403
        assert manager.ask("/api/session", "POST", {"token": "x"}, Origin=wrong).status == 403
    assert manager.read("pool?pool=fx").code == "unknown_pool"
    assert manager.ask(path, "POST", POOL, **good).status == 200
    assert manager.read("pool?pool=fx").json["hosts"] == ["pc-01", "pc-02", "pc-03"]


def test_another_site_s_page_may_not_even_read(manager: Manager) -> None:
    for headers in (
        {"Origin": "http://evil.example"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ):
        assert manager.read("usage", **headers).status == 403


def test_every_answer_carries_the_headers(manager: Manager) -> None:
    for path in ("/", "/static/app.js", "/api/usage", "/nowhere", "/api/nowhere"):
        headers = manager.ask(path, **manager.authorization).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["cache-control"] == ("no-cache" if path.startswith("/static/") else "no-store")
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers


@pytest.mark.parametrize("path", ["/static/../session.py", "/static/%2e%2e/session.py", "/static/..%2fsession.py"])
def test_only_the_pages_files_are_served(manager: Manager, path: str) -> None:
    assert manager.ask(path, **manager.authorization).status == 404


def test_a_reader_cannot_change_anything(start: Callable[..., Manager]) -> None:
    manager = start("bert", Role.READER)
    manager.log_in()
    refused = manager.write("pools/create", **POOL)
    assert (refused.status, refused.code) == (409, "forbidden")
    with manager.stream() as messages:
        status = next(message["status"] for message in messages if message.get("status", {}).get("reachable"))
    assert status["role"] == "reader"
    assert "pools.create" not in status["operations"]
