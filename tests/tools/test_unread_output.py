"""A broker whose log nobody reads, or nobody can write."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import psutil
import pytest
from tests.command import AFPOOLS, environment

from afpools import BrokerUnreachable, Client, Forbidden, Profile

pytestmark = pytest.mark.heavy


class Broker:
    """`afpools serve` with a reader's clients for both of its ports."""

    def __init__(self, process: psutil.Process, profile: Path) -> None:
        self.process = process
        self._profile = Profile.load(str(profile))
        self._ports = self._find_ports()

    def _find_ports(self) -> dict[str, int]:
        one, other = wait_for_ports(self.process, 2)
        try:
            with self.client("tls", one) as client:
                client.hello()
        except BrokerUnreachable:
            one, other = other, one
        return {"tls": one, "curve": other}

    def client(self, scheme: str, port: int | None = None) -> Client:
        endpoint = next(endpoint for endpoint in self._profile.endpoints if endpoint.scheme == scheme)
        endpoint = endpoint._replace(url=f"{scheme}://127.0.0.1:{port or self._ports[scheme]}")
        return Client(self._profile._replace(endpoints=(endpoint,)), timeout=10)

    def cause_log_lines(self) -> None:
        """One for each transport, at least."""
        for scheme in ("tls", "curve"):
            with self.client(scheme) as client:
                for _ in range(20):
                    with pytest.raises(Forbidden):
                        client.create_pool("fx", ["pc-01"])

    def answers(self) -> bool:
        for scheme in ("tls", "curve"):
            for _ in range(5):
                with self.client(scheme) as client:
                    client.list_pools()
        return True


@pytest.fixture
def profile(config: Path) -> Path:
    return config.parent / "certs" / "profiles" / "reader"


def wait_for_ports(process: psutil.Process, count: int) -> set[int]:
    """The ports that a process listens on, once there are that many. Its output cannot be read."""
    until = time.monotonic() + 60
    while True:
        assert time.monotonic() < until
        assert process.is_running()
        connections = process.net_connections("tcp")
        ports = {each.laddr.port for each in connections if each.status == psutil.CONN_LISTEN}
        if len(ports) == count:
            return ports
        time.sleep(0.05)


@contextmanager
def running_with_output(
    output: int, home: Path, *arguments: str, before: tuple[str, ...] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """`afpools` with all its output going to one place; `before` is a command that starts it, with the same output."""
    with subprocess.Popen(
        [*before, str(AFPOOLS), *arguments],
        env=environment(home),
        stdin=output if before else subprocess.DEVNULL,
        stdout=output,
        stderr=output,
    ) as process:
        try:
            yield process
        finally:
            for child in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else ():
                child.kill()
            process.kill()


def fill(descriptor: int) -> None:
    """Writes until nothing more fits, without changing the descriptor for other processes that share it."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    while poll.poll(100):
        os.write(descriptor, b"." * select.PIPE_BUF)


@pytest.mark.parametrize("place", ["full pipe", "closed pipe", "full disk", "stopped terminal"])
def test_it_answers_and_ends_whatever_happens_to_its_log(config, profile, tmp_path, place):
    with ExitStack() as ends:

        def closing(*descriptors: int) -> tuple[int, ...]:
            for descriptor in descriptors:
                ends.callback(os.close, descriptor)
            return descriptors

        if place == "full disk":
            (output,) = closing(os.open("/dev/full", os.O_WRONLY))
        elif place == "stopped terminal":
            other, output = closing(*pty.openpty())
        else:
            other, output = os.pipe()
            closing(output)
            fcntl.fcntl(output, fcntl.F_SETPIPE_SZ, 4096)
        process = ends.enter_context(running_with_output(output, tmp_path, "serve", "-c", str(config)))
        broker = Broker(psutil.Process(process.pid), profile)
        if place == "stopped terminal":
            os.write(other, b"\x13")
        if place == "closed pipe":
            os.close(other)
        if place == "full pipe":
            closing(other)
            fill(output)
        broker.cause_log_lines()
        assert broker.answers()
        process.terminate()
        assert process.wait(30) == 0


def wait_until(condition: Callable[[], object]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def is_python(process: psutil.Process) -> bool:
    try:
        return Path(process.exe()).samefile(sys.executable)
    except psutil.Error:
        return False


def test_a_terminal_that_stops_background_jobs_for_writing_does_not_stop_it(config, profile, tmp_path):
    master, slave = pty.openpty()
    try:
        shell = ("setsid", "--ctty", "--wait", "sh", "-c", 'set -m; stty tostop; "$@" & wait', "sh")
        with running_with_output(slave, tmp_path, "serve", "-c", str(config), before=shell) as process:
            # What setsid and the shell start is at first a copy of themselves.
            started = psutil.Process(process.pid)
            wait_until(lambda: [one for one in started.children(recursive=True) if is_python(one)])
            (found,) = [one for one in started.children(recursive=True) if is_python(one)]
            broker = Broker(found, profile)
            assert os.getpgid(broker.process.pid) != os.tcgetpgrp(master)
            broker.cause_log_lines()
            assert broker.answers()
            broker.process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
    finally:
        os.close(master)
        os.close(slave)


@pytest.mark.parametrize("command", ["up", "manager"])
def test_programs_that_print_a_greeting_serve_and_end_although_nobody_reads_it(profile, tmp_path, command):
    arguments = {
        "up": ("--state", str(tmp_path / "state"), "--curve-port", "0", "--tls-port", "0"),
        "manager": ("--profile", str(profile), "--no-browser", "--port", "0"),
    }
    reading, output = os.pipe()
    try:
        fcntl.fcntl(output, fcntl.F_SETPIPE_SZ, 4096)
        fill(output)
        with running_with_output(output, tmp_path, command, *arguments[command]) as process:
            ports = wait_for_ports(psutil.Process(process.pid), 2 if command == "up" else 1)
            if command == "manager":  # it listens before it can answer
                with pytest.raises(HTTPError):
                    urlopen(f"http://127.0.0.1:{ports.pop()}/nothing", timeout=30)
            process.terminate()
            assert process.wait(30) == 0
    finally:
        os.close(reading)
        os.close(output)
