"""`afpools` as people and programs start it: in this process, as a separate process, and at a terminal."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

AFPOOLS = Path(sys.executable).with_name("afpools")


class Result(NamedTuple):
    """What a command leaves behind."""

    status: int
    out: str
    err: str


def environment(home: Path, **variables: str) -> dict[str, str]:
    """An environment that contains only what the test put there."""
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith("AFPOOLS_") and key != "CGRU_LOCATION"
    }
    for key in ("COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
        kept.pop(key, None)
    # Tests read a broker's log as people do, though not at a terminal.
    kept["AFPOOLS_BROKER_LOG_FORMAT"] = "text"
    return {**kept, "HOME": str(home), "TERM": "xterm-256color", **variables}


def run(*arguments: object, env: dict[str, str], cwd: Path | None = None, **options: Any) -> Result:
    """Runs a command to its end, with no terminal anywhere."""
    done = subprocess.run(
        [str(AFPOOLS), *map(str, arguments)],
        env=env,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        **({"stdin": subprocess.DEVNULL} if "input" not in options else {}),
        **options,
    )
    return Result(done.returncode, done.stdout, done.stderr)


class Terminal:
    """A command at a terminal of 80 columns.

    Args:
        arguments: the command's.
        env: its environment.
        cwd: where it is started.
        columns: how wide the terminal is.
    """

    def __init__(self, *arguments: object, env: dict[str, str], cwd: Path | None = None, columns: int = 80) -> None:
        self.shown = ""
        self._read = 0
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [str(AFPOOLS), *map(str, arguments)],
            env={**env, "COLUMNS": str(columns)},
            cwd=cwd,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)

    def wait_for(self, text: str, seconds: float = 60.0) -> str:
        """What was shown since the last call, up to and including a text."""
        until = time.monotonic() + seconds
        while text not in self.shown[self._read :]:
            if not self._receive(until):
                raise AssertionError(f"{text!r} was not shown, but:\n{self.shown}")
        start, self._read = self._read, self.shown.index(text, self._read) + len(text)
        return self.shown[start : self._read]

    def answer(self, question: str, text: str) -> str:
        """Types an answer to a question, and returns what was shown before it."""
        shown = self.wait_for(question)
        # Its very end: a hidden prompt, all but its last space, is shown before the terminal stops echoing.
        until = time.monotonic() + 15.0
        while not self.shown.endswith(": "):
            if not self._receive(until):
                raise AssertionError(f"No answer was waited for after {question!r}, but:\n{self.shown}")
        self._read = len(self.shown)
        os.write(self._master, f"{text}\n".encode())
        return shown

    def finish(self, seconds: float = 60.0) -> int:
        """Waits for the end, and returns the exit status."""
        until = time.monotonic() + seconds
        while self._receive(until):
            pass
        return self.process.wait(max(0.1, until - time.monotonic()))

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)

    def _receive(self, until: float) -> bool:
        if not select.select([self._master], [], [], max(0.0, until - time.monotonic()))[0]:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # on Linux this means that the other side is closed
            return False
        self.shown += data.decode().replace("\r\n", "\n")
        return bool(data)


@contextlib.contextmanager
def terminal(*arguments: object, **options: Any) -> Iterator[Terminal]:
    """A `Terminal` that is closed when the block ends."""
    made = Terminal(*arguments, **options)
    try:
        yield made
    finally:
        made.close()


class Running:
    """A command that serves, with its output in files."""

    def __init__(self, *arguments: object, env: dict[str, str], folder: Path) -> None:
        self._out, self._err = folder / "running.out", folder / "running.err"
        with self._out.open("w") as out, self._err.open("w") as err:
            self.process = subprocess.Popen(
                [str(AFPOOLS), *map(str, arguments)], env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def err(self) -> str:
        return self._err.read_text()

    def wait_for(self, text: str, seconds: float = 60.0) -> None:
        until = time.monotonic() + seconds
        while text not in self.out + self.err:
            assert self.process.poll() is None, self.err
            assert time.monotonic() < until, self.out + self.err
            time.sleep(0.02)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Sends a signal, and returns the exit status."""
        self.process.send_signal(number)
        return self.process.wait(30)


@contextlib.contextmanager
def running(*arguments: object, **options: Any) -> Iterator[Running]:
    """A `Running` command that is stopped when the block ends."""
    made = Running(*arguments, **options)
    try:
        yield made
    finally:
        if made.process.poll() is None:
            made.process.kill()
            made.process.wait()
