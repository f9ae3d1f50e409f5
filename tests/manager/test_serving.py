"""`afpools manager` as people start it."""

from __future__ import annotations

import errno
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.command import environment, running
from tests.studio import Studio

from afpools_broker.protocol import Role
from afpools_tools.manager import serving

from .conftest import Manager

pytestmark = pytest.mark.heavy


def address_in(text: str) -> str:
    return next(word for word in text.split() if word.startswith("http://"))


# Python runs this before a program: a broker that accepts a change and never answers.
HANGS = """
import sys, threading
from afpools import Client

def hang(*_, **__):
    print("It hangs.", file=sys.stderr, flush=True)
    threading.Event().wait()

Client.create_pool = hang
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_requests_under_way_do_not_delay_the_end(place: Studio, tmp_path: Path, number: signal.Signals) -> None:
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


def test_each_pool_manager_has_an_unpredictable_address() -> None:
    with serving.listen(None) as first, serving.listen(None) as second:
        hosts = [listening.getsockname()[0] for listening in (first, second)]
        assert all(host.startswith("127.") for host in hosts)
        assert len({*hosts, "127.0.0.1"}) == 3


def test_if_its_port_is_taken_everywhere_it_uses_another(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))
        other.listen()
        monkeypatch.setattr(serving, "DEFAULT_PORT", other.getsockname()[1])
        with serving.listen(None) as listening:
            assert listening.getsockname()[1] != serving.DEFAULT_PORT


def test_if_there_is_only_127_0_0_1_it_uses_that(monkeypatch: pytest.MonkeyPatch) -> None:
    listen_at = serving._listen_at

    def as_on_macos(host: str, port: int) -> socket.socket:
        if host != "127.0.0.1":
            raise OSError(errno.EADDRNOTAVAIL, "Can't assign requested address")
        return listen_at(host, port)

    monkeypatch.setattr(serving, "_listen_at", as_on_macos)
    with serving.listen(None) as listening:
        assert listening.getsockname()[0] == "127.0.0.1"


def test_two_pool_managers_do_not_get_the_same_port() -> None:
    with serving.listen(0) as first:
        port = first.getsockname()[1]
        with pytest.raises(serving.CannotListen, match=f"Port {port}"), serving.listen(port):
            pass


def test_the_token_is_not_in_the_browsers_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    serving.open_browser(lambda used: "http://127.0.0.1:5580/#token=secret", tmp_path / "open.html")
    assert "secret" not in opened[0]
    file = Path(opened[0].removeprefix("file://"))
    assert "#token=secret" in file.read_text()
    assert file.stat().st_mode & 0o077 == 0
