"""One keeper at a time among several brokers, as processes that are killed, paused and continued."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.broker.live.conftest import Studio
from tests.broker.store.places import wait_until

pytestmark = pytest.mark.heavy

Start = Callable[[str], "subprocess.Popen[bytes]"]


@pytest.fixture
def start(studio: Studio, tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as stack:

        def start(name: str) -> subprocess.Popen[bytes]:
            uri, port = f"sqlite:///{tmp_path}/pools.db", str(studio.server.address[1])
            command = [sys.executable, "-m", "tests.broker.live.keeping", name, uri, port]
            process = subprocess.Popen(command, stdin=subprocess.PIPE)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        yield start


def who_acts(studio: Studio, since: int = 0) -> set[str]:
    """The brokers that have changed a job."""
    return {action["host_name"] for action in studio.server.actions[since:] if "params" in action}


def move(studio: Studio, job: int, op: str) -> None:
    """Changes the pool, and waits until the job has followed."""
    before = studio.mask(job)
    studio.apply(op, "fx", "pc-05")
    wait_until(lambda: studio.mask(job) != before)


def test_another_takes_over_from_a_keeper_that_was_killed(studio: Studio, start: Start) -> None:
    job = studio.send("fx", offline=True)
    first = start("first")
    move(studio, job, "pools.add_hosts")
    start("second")
    first.kill()
    move(studio, job, "pools.remove_hosts")
    assert who_acts(studio) == {"first", "second"}


def test_a_keeper_that_was_paused_does_nothing_more_once_it_wakes_up(studio: Studio, start: Start) -> None:
    job = studio.send("fx", offline=True)
    first = start("first")
    move(studio, job, "pools.add_hosts")
    os.kill(first.pid, signal.SIGSTOP)
    start("second")
    move(studio, job, "pools.remove_hosts")
    assert who_acts(studio) == {"first", "second"}
    since = len(studio.server.actions)
    os.kill(first.pid, signal.SIGCONT)
    for op in ("pools.add_hosts", "pools.remove_hosts", "pools.add_hosts", "pools.remove_hosts"):
        move(studio, job, op)
    assert who_acts(studio, since) == {"second"}


def test_a_keeper_that_stops_leaves_the_lease_to_another_at_once(studio: Studio, start: Start) -> None:
    job = studio.send("fx", offline=True)
    first = start("first")
    move(studio, job, "pools.add_hosts")
    start("second")
    assert first.stdin is not None
    first.stdin.close()
    first.wait()
    move(studio, job, "pools.remove_hosts")
    assert who_acts(studio) == {"first", "second"}
