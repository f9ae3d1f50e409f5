"""Writers never wait for the reader."""

from __future__ import annotations

import fcntl
import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from afpools_broker.monitoring.logs import CAPACITY, Outlet

SMALL = 4096
LINE = 100


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Reading end and writing end of a pipe that holds one page."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, SMALL)
    yield reading, writing
    os.close(reading)
    os.close(writing)


def wait_until(condition: Callable[[], object]) -> None:
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def line(number: int) -> bytes:
    return f"{number} ".encode().ljust(LINE - 1, b".") + b"\n"


class Reader:
    """Reads a pipe to its end, on its own thread."""

    def __init__(self, descriptor: int) -> None:
        self.data = b""
        self._descriptor = descriptor
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        while data := os.read(self._descriptor, 65536):
            self.data += data

    @property
    def lines(self) -> list[bytes]:
        return self.data.splitlines(keepends=True)


# --- a place to write to --------------------------------------------------------------------------------------------


def test_unread_lines_are_counted_and_the_count_appears_in_their_place(pipe):
    reading, writing = pipe
    outlet = Outlet(writing, capacity=10 * SMALL)
    for number in range(5000):
        outlet.put(line(number))
    reader = Reader(reading)
    wait_until(lambda: b"dropped" in reader.data)
    outlet.put(line(5000))
    wait_until(lambda: line(5000) in reader.data)
    gap = next(one for one in reader.lines if b"dropped" in one)
    kept = reader.lines.index(gap)
    assert reader.lines == [*map(line, range(kept)), gap, line(5000)]
    assert gap.endswith(f" WARNING {5000 - kept} log lines were dropped because nobody read the log.\n".encode())


def test_a_reader_that_is_slow_gets_every_line_or_its_count_in_order(pipe):
    reading, writing = pipe
    outlet = Outlet(writing, capacity=4 * SMALL)
    received = b""
    for number in range(3000):
        outlet.put(line(number))
        if number % 3 == 0:
            received += os.read(reading, 2 * LINE)
    reader = Reader(reading)
    wait_until(lambda: accounted(received + reader.data) == 3000)


def accounted(data: bytes) -> int:
    """How many lines there are, including dropped ones, each in its place."""
    expected = 0
    for one in data.splitlines(keepends=True):
        if dropped := re.search(rb"(\d+) log lines? w\w+ dropped", one):
            expected += int(dropped[1])
        elif one.endswith(b"\n"):
            assert one == line(expected)
            expected += 1
    return expected


def test_a_burst_is_kept_until_it_is_read(pipe):
    reading, writing = pipe
    outlet = Outlet(writing)
    for number in range(20_000):
        outlet.put(line(number))
    reader = Reader(reading)
    outlet.flush(60)
    wait_until(lambda: len(reader.lines) == 20_000)
    assert reader.lines == list(map(line, range(20_000)))


def test_waiting_lines_are_limited_in_bytes_whatever_their_length(pipe):
    outlet = Outlet(pipe[1])
    for text in (b"\n", b"." * 100_000 + b"\n"):
        for _ in range(2 * CAPACITY // (len(text) + 64)):
            outlet.put(text)
    held = sum(sys.getsizeof(entry) for entry in outlet._queue)
    assert held <= CAPACITY + SMALL


def test_several_threads_lose_nothing(pipe):
    reading, writing = pipe
    outlet, reader = Outlet(writing), Reader(reading)
    threads = [
        threading.Thread(target=lambda first: [outlet.put(line(first + n)) for n in range(1000)], args=(1000 * first,))
        for first in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    outlet.flush(60)
    wait_until(lambda: len(reader.lines) == 4000)
    assert sorted(reader.lines) == sorted(map(line, range(4000)))


def test_a_non_blocking_pipe_loses_nothing(pipe):
    reading, writing = pipe
    os.set_blocking(writing, False)
    outlet = Outlet(writing)
    for number in range(1000):
        outlet.put(line(number))
    reader = Reader(reading)
    outlet.flush(30)
    wait_until(lambda: len(reader.lines) == 1000)
    assert reader.lines == list(map(line, range(1000)))


@pytest.mark.parametrize("place", ["full pipe", "closed pipe", "full disk"])
def test_the_end_does_not_wait_long_for_a_reader(pipe, place):
    reading, writing = pipe
    if place == "closed pipe":
        # In its place, or the next file would get the number and the fixture would close that file.
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, reading)
        os.close(null)
    if place == "full disk":
        writing = os.open("/dev/full", os.O_WRONLY)
    outlet = Outlet(writing)
    for number in range(1000):
        outlet.put(line(number))
    flushed = threading.Thread(target=outlet.flush, args=(1e9,), daemon=True)
    flushed.start()
    flushed.join(30)
    assert not flushed.is_alive()


# --- a whole process ------------------------------------------------------------------------------------------------


class Script:
    """Python with `open_log("info")` done, and its standard error at the other end of a small pipe."""

    def __init__(self, text: str, begin_with: str = "logs.open_log('info')", **options: object) -> None:
        self.reading, writing = os.pipe()
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, SMALL)
        begin = "import logging, os, sys, time\nfrom afpools_broker.monitoring import logs\n" + begin_with
        program = f"{begin}\n{text}"
        options = {"stdout": subprocess.PIPE, "stderr": writing, **options}
        self.process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, **options)  # type: ignore[call-overload]
        os.close(writing)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        os.close(self.reading)


@pytest.fixture
def script() -> Iterator[Callable[..., Script]]:
    made: list[Script] = []

    def start(text: str, **options: Any) -> Script:
        made.append(Script(text, **options))
        return made[-1]

    yield start
    for one in made:
        one.close()


EVERY_WAY = """
log = logging.getLogger("afpools")
for number in range(300):
    log.warning("number %d", number)
    print("printed", number, file=sys.stderr)
import warnings, threading, gc
warnings.warn("a warning")
from rich.console import Console
Console(stderr=True).print("rich " * 200)
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
class Bad:
    def __del__(self): raise ValueError("x" * 1000)
Bad()
logging.getLogger("pymongo").debug("whole documents")
logging.getLogger("asyncio").error("e" * 5000)
log.info("%d", "no number")
print("the end", flush=True)
"""


def test_no_way_of_writing_waits_and_the_process_ends(script):
    running = script(EVERY_WAY + "raise SystemExit(7)")
    assert running.process.stdout is not None
    assert running.process.stdout.readline() == b"the end\n"
    assert running.process.wait(30) == 7


def test_an_uncaught_exception_ends_the_process_though_nobody_reads_its_traceback(script):
    assert script("raise ValueError('x' * 100_000)").process.wait(30) == 1


def test_with_a_reader_everything_is_there_in_order(script):
    running = script(EVERY_WAY, stderr=subprocess.STDOUT)
    assert running.process.stdout is not None
    shown = running.process.stdout.read().decode()
    assert running.process.wait(30) == 0
    numbers = [int(number) for number in re.findall(r"number (\d+)\n", shown)]
    assert numbers == list(range(300))
    texts = ("printed 299", "a warning", "rich rich", "ZeroDivisionError", "ValueError: xxx", "eeee", "no number")
    places = [shown.index(text) for text in (*texts, "the end\n")]
    assert places == sorted(places)
    assert "whole documents" not in shown


def test_native_code_does_not_wait_when_it_prints(script):
    # As libzmq does before it aborts.
    running = script(
        "import ctypes\nfor _ in range(200): ctypes.CDLL(None).dprintf(2, b'%s', b'Assertion failed' * 100)\nos.abort()"
    )
    assert running.process.wait(30) == -signal.SIGABRT


def test_a_record_shows_the_state_when_it_was_logged(script):
    text = "known = ['a']\nlog = logging.getLogger('afpools')\nlog.info('known: %s', known)\nknown.append('b')"
    running = script(text)
    running.process.wait(30)
    assert os.read(running.reading, 4096).endswith(b" INFO    known: ['a']\n")


def test_a_reader_that_comes_back_is_told_how_much_it_missed(script):
    running = script(
        """
log = logging.getLogger("afpools")
for number in range(100_000):
    log.warning("number %d", number)
print("wrote", flush=True)
sys.stdin.read()
"""
    )
    assert running.process.stdout is not None
    assert running.process.stdout.readline() == b"wrote\n"
    reader = Reader(running.reading)
    wait_until(lambda: b"dropped" in reader.data)
    found = re.search(rb"WARNING (\d+) log lines were dropped because nobody read the log\.\n", reader.data)
    assert found is not None
    assert len(reader.lines) - 1 + int(found[1]) == 100_000


@pytest.mark.heavy
def test_lines_that_do_not_fit_on_a_full_disk_are_kept_until_they_do(script, tmp_path: Path):
    # A limit on the size of a file fails as a full disk does, half a line included, and can be taken away.
    file = tmp_path / "log"
    running = script(
        """
log = logging.getLogger("afpools")
sys.stdin.readline()
for number in range(100): log.warning("number %d", number)
print("wrote", flush=True)
sys.stdin.read()
""",
        stderr=file.open("ab"),
    )
    assert running.process.stdin is not None
    assert running.process.stdout is not None
    resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    running.process.stdin.write(b"\n")
    running.process.stdin.flush()
    assert running.process.stdout.readline() == b"wrote\n"
    wait_until(lambda: file.stat().st_size == 1000)
    resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    wait_until(lambda: file.read_text().endswith("number 99\n"))
    assert re.findall(r"number (\d+)\n", file.read_text()) == [str(number) for number in range(100)]


@pytest.mark.parametrize("closed", [(1,), (2,), (1, 2)])
def test_no_other_file_gets_the_number_of_a_closed_output(tmp_path: Path, closed: tuple[int, ...]):
    redirect = " ".join(f"{number}>&-" for number in closed)
    program = f"""
from afpools_broker.monitoring import logs
import os
logs.open_log("info")
opened = open({str(tmp_path / "opened")!r}, "w")
os.write(1, b"1")
os.write(2, b"2")
logs.logging.getLogger("afpools").warning("to nobody")
print("printed")
"""
    subprocess.run(["sh", "-c", f'exec "$0" -c "$1" {redirect}', sys.executable, program], check=True, timeout=30)
    assert (tmp_path / "opened").read_text() == ""


def test_with_json_whatever_a_process_writes_to_standard_error_is_json(script):
    running = script(EVERY_WAY + "raise SystemExit(7)", begin_with="logs.open_log('info', 'json')")
    reader = Reader(running.reading)
    assert running.process.wait(60) == 7
    reader.thread.join(60)
    lines = [json.loads(one) for one in reader.lines]
    assert sum(one["message"].startswith("number ") for one in lines) == 300
    assert any("ZeroDivisionError" in one["message"] for one in lines)
