"""`afpools manager` as people start it."""

from __future__ import annotations

import errno
import http.client
import json
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.command import environment, run, running
from tests.studio import Studio

from afpools_broker.protocol import Role
from afpools_tools.manager import serving

from .conftest import Manager, token_in, until

pytestmark = pytest.mark.heavy


def address_in(text: str) -> str:
    return next(word for word in text.split() if word.startswith("http://"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_its_address_and_stops_at_once(place: Studio, tmp_path: Path, number: signal.Signals) -> None:
    profile = place.profile("anna", Role.MANAGER)
    with running(
        "manager", "--profile", profile, "--port", "0", "--no-browser", env=environment(tmp_path), folder=tmp_path
    ) as started:
        started.wait_for("Ctrl-C")
        address = address_in(started.out)
        parts = urlsplit(address)
        assert parts.hostname == "127.0.0.1"
        connection = http.client.HTTPConnection("127.0.0.1", parts.port or 0, timeout=10)
        origin = {"Origin": f"http://{parts.netloc}"}
        connection.request("POST", "/api/session", json.dumps({"token": token_in(address)}), origin)
        secret = json.load(connection.getresponse())["secret"]
        # The address is used up, and the terminal has another.
        started.wait_for("Open the next one")
        until(lambda: started.out.count("#token=") == 2)
        # A page is listening: it must not hold up the end.
        connection.request("GET", "/api/live", headers={"Authorization": f"Bearer {secret}"})
        assert json.loads(connection.getresponse().readline())["whole"]
        assert started.stop(number) == 0
        connection.close()


# Python runs this before a program: a broker that takes a change and never answers.
HANGS = """
import sys, threading
from afpools import Client

def hang(*_, **__):
    print("It hangs.", file=sys.stderr, flush=True)
    threading.Event().wait()

Client.create_pool = hang
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_is_under_way_does_not_hold_up_the_end(place: Studio, tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "sitecustomize.py").write_text(HANGS)
    with running(
        *("manager", "--profile", place.profile("anna", Role.MANAGER), "--port", "0", "--no-browser"),
        env=environment(tmp_path, PYTHONPATH=str(tmp_path)),
        folder=tmp_path,
    ) as started:
        started.wait_for("Ctrl-C")
        manager = Manager(lambda: address_in(started.out))
        manager.log_in()
        file = {"name": "f", "text": "pool,host\nfx,pc-01"}
        shown = manager.write("import/plan", **file).json["shown"]
        with ThreadPoolExecutor(1) as threads:
            answer = threads.submit(manager.write, "import/apply", **file, shown=shown)
            started.wait_for("It hangs.")
            assert started.stop(number) == 0
            assert answer.exception(20) or answer.result().status >= 500
        assert started.err == "It hangs.\n"


def test_a_port_that_is_taken_is_said(place: Studio, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        result = run(
            "manager", "--profile", place.profile("anna"), "--port", port, "--no-browser", env=environment(tmp_path)
        )
    assert result.status == 1
    assert f"Port {port}" in result.err
    assert "--port" in result.err


def test_each_manager_has_an_address_that_nobody_can_foresee() -> None:
    with serving.listen(None) as first, serving.listen(None) as second:
        hosts = [listening.getsockname()[0] for listening in (first, second)]
        assert all(host.startswith("127.") for host in hosts)
        assert len({*hosts, "127.0.0.1"}) == 3


def test_where_its_port_is_taken_everywhere_it_takes_another(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))
        other.listen()
        monkeypatch.setattr(serving, "DEFAULT_PORT", other.getsockname()[1])
        with serving.listen(None) as listening:
            assert listening.getsockname()[1] != serving.DEFAULT_PORT


def test_where_there_is_127_0_0_1_only_it_takes_that(monkeypatch: pytest.MonkeyPatch) -> None:
    listen_at = serving._listen_at

    def as_on_macos(host: str, port: int) -> socket.socket:
        if host != "127.0.0.1":
            raise OSError(errno.EADDRNOTAVAIL, "Can't assign requested address")
        return listen_at(host, port)

    monkeypatch.setattr(serving, "_listen_at", as_on_macos)
    with serving.listen(None) as listening:
        assert listening.getsockname()[0] == "127.0.0.1"


def test_two_managers_do_not_get_one_port() -> None:
    with serving.listen(0) as first:
        port = first.getsockname()[1]
        with pytest.raises(serving.CannotListen, match=f"Port {port}"), serving.listen(port):
            pass


def test_without_a_profile_it_says_what_to_do(tmp_path: Path) -> None:
    result = run("manager", "--no-browser", env=environment(tmp_path))
    assert result.status == 1
    assert "No profile was found" in result.err


def test_the_token_is_not_in_what_the_browser_is_started_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    serving.open_browser(lambda used: "http://127.0.0.1:5580/#token=secret", tmp_path / "open.html")
    assert "secret" not in opened[0]
    file = Path(opened[0].removeprefix("file://"))
    assert "#token=secret" in file.read_text()
    assert file.stat().st_mode & 0o077 == 0


def test_it_listens_on_one_address_only(place: Studio, tmp_path: Path) -> None:
    with running(
        "manager",
        "--profile",
        place.profile("anna"),
        "--port",
        "0",
        "--no-browser",
        env=environment(tmp_path),
        folder=tmp_path,
    ) as started:
        started.wait_for("Ctrl-C")
        port = urlsplit(address_in(started.out)).port or 0
        # A program that listens everywhere is reached by this address, too.
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port), timeout=10)
