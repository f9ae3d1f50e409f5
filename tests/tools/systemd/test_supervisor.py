"""What systemd is told: by `Supervisor` alone, and by `afpools serve` as a process."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.command import environment, running
from tests.studio import Studio

from afpools_tools.systemd.supervisor import Supervisor


class Systemd:
    """The socket on which systemd listens."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.settimeout(30)

    def hear(self) -> dict[str, str]:
        """The next message."""
        lines = self._socket.recv(65536).decode().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def hear_of(self, key: str) -> dict[str, str]:
        """The next message that has this key."""
        while key not in (message := self.hear()):
            pass
        return message

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["a file", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Systemd]:
    name = str(tmp_path / "notify") if request.param == "a file" else f"@afpools-test-{os.urandom(8).hex()}"
    made = Systemd(name)
    yield made
    made.close()


def test_states_are_sent_in_sd_notifys_format(systemd: Systemd) -> None:
    variables = {"NOTIFY_SOCKET": systemd.address, "PATH": "/bin"}
    supervisor = Supervisor(variables)
    assert variables == {"PATH": "/bin"}  # whoever is started by us must not speak for us
    before = time.monotonic_ns() // 1000
    supervisor.reloading()
    told = systemd.hear()
    assert told.keys() == {"RELOADING", "MONOTONIC_USEC"}
    assert before <= int(told["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
    supervisor.ready()
    supervisor.stopping()
    assert [systemd.hear(), systemd.hear()] == [{"READY": "1"}, {"STOPPING": "1"}]


def test_without_systemd_nothing_happens() -> None:
    supervisor = Supervisor({"WATCHDOG_USEC": "1000"})
    supervisor.ready()
    supervisor.watch(lambda wait: pytest.fail("asked"), lambda: pytest.fail("asked"))
    assert not supervisor.is_there


def test_a_missing_socket_does_no_harm(tmp_path: Path) -> None:
    Supervisor({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()
    Supervisor({"NOTIFY_SOCKET": str(tmp_path / ("long" * 100))}).ready()


def test_signs_of_life_are_sent_as_long_as_the_broker_works(systemd: Systemd) -> None:
    alive = [True, True, False, True]
    supervisor = Supervisor({"NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": "30000"})

    def is_alive(wait: float) -> bool:
        assert wait == pytest.approx(0.01)
        if len(alive) == 1:
            supervisor.stopping()
        return alive.pop(0)

    supervisor.watch(is_alive, lambda: "healthy;\n2 pools")
    assert systemd.hear() == {"WATCHDOG": "1"}
    assert systemd.hear() == {"STATUS": "healthy; 2 pools"}
    assert systemd.hear() == {"WATCHDOG": "1"}
    assert systemd.hear() == {"STOPPING": "1"}


def test_a_failing_status_does_not_end_the_signs_of_life(systemd: Systemd) -> None:
    def status() -> str:
        raise ValueError("a bug")

    supervisor = Supervisor({"NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": "30000"})
    supervisor.watch(lambda wait: True, status)
    assert [systemd.hear(), systemd.hear()] == [{"WATCHDOG": "1"}] * 2
    supervisor.stopping()


@pytest.mark.parametrize("variables", [{"WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}, {}])
def test_without_a_watchdog_no_signs_of_life_are_sent(systemd: Systemd, variables: dict[str, str]) -> None:
    supervisor = Supervisor({"NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": "30000"} | variables)
    if not variables:
        supervisor = Supervisor({"NOTIFY_SOCKET": systemd.address})
    supervisor.watch(lambda wait: pytest.fail("asked"), lambda: "healthy")
    assert systemd.hear() == {"STATUS": "healthy"}
    supervisor.stopping()


@pytest.mark.heavy
def test_a_listener_that_hangs_is_noticed(place: Studio) -> None:
    broker = place.broker
    assert broker.is_alive(10)
    for listener in broker._listeners:
        if listener.name == "TLS":
            listener._loop.call_soon_threadsafe(time.sleep, 1.0)  # type: ignore[attr-defined]
    assert not broker.is_alive(0.2)
    assert broker.is_alive(10)
    assert broker.status().startswith(("healthy; 0 pools, 0 connections.", "degraded; 0 pools, 0 connections."))


@pytest.mark.heavy
def test_a_broker_reports_to_systemd_from_its_start_to_its_end(config: Path, systemd: Systemd, tmp_path: Path) -> None:
    env = environment(tmp_path, NOTIFY_SOCKET=systemd.address, WATCHDOG_USEC="3000000")
    with running("serve", "-c", config, env=env, folder=tmp_path) as broker:
        assert systemd.hear() == {"READY": "1"}
        assert systemd.hear_of("WATCHDOG") == {"WATCHDOG": "1"}
        broker.process.send_signal(signal.SIGHUP)
        assert systemd.hear_of("RELOADING")["RELOADING"] == "1"
        assert systemd.hear_of("READY") == {"READY": "1"}
        assert broker.stop() == 0
        assert systemd.hear_of("STOPPING") == {"STOPPING": "1"}
