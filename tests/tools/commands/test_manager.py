"""`afpools manager` as a process."""

from __future__ import annotations

import http.client
import json
import signal
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.command import environment, run, running
from tests.manager.conftest import token_in, until
from tests.studio import Studio

from afpools_broker.protocol import Role

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
        # The address has been used, and the terminal shows another.
        started.wait_for("Open the next one")
        until(lambda: started.out.count("#token=") == 2)
        # A page is listening: it must not delay the end.
        connection.request("GET", "/api/live", headers={"Authorization": f"Bearer {secret}"})
        assert json.loads(connection.getresponse().readline())["whole"]
        assert started.stop(number) == 0
        connection.close()


def test_a_taken_port_is_reported(place: Studio, tmp_path: Path) -> None:
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


def test_without_a_profile_it_says_what_to_do(tmp_path: Path) -> None:
    result = run("manager", "--no-browser", env=environment(tmp_path))
    assert result.status == 1
    assert "No profile was found" in result.err


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
        # A program that listens everywhere can be reached at this address, too.
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port), timeout=10)
