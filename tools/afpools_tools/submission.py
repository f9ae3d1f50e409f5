"""Sends a job as CGRU's afjob.py does, with a pool, and follows it until it ends.

Strategy: afjob.py itself makes and sends the job, in a separate process, so a command line means the same here as
there. afserver is then asked about this one job, by number and serial, because afserver reuses numbers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from afpools.choice import POOL_VARIABLE, WITHOUT
from afpools_broker.farm.afserver import FarmError, ask
from afpools_broker.live.jobs import Job, parse_jobs

from .errors import ToolError
from .plugins.sources import plugin_sources

Outcome = Literal["done", "errors", "deleted"]

# Seconds for one answer from afserver, and between two requests.
_ANSWER_SECONDS = 10.0
_LOOK_SECONDS = 1.0
PATIENCE = 120.0
"""How long afserver may be unreachable while a job is followed, in seconds: with thousands of jobs, it takes half a
minute to restart."""


class SubmissionError(ToolError):
    """A job was not sent."""


class Lost(ToolError):
    """The outcome of a job that was sent is not known."""


@dataclass(frozen=True)
class Sent:
    """A job on the farm, from afserver's answer."""

    id: int
    serial: int | None


@dataclass(frozen=True)
class Progress:
    """A job's progress: how many tasks are done, and how many there are."""

    done: int
    tasks: int
    state: str


class Cgru:
    """An installation of CGRU, and its Python.

    Args:
        place: its folder.
        environment: this process's.
        profile: for the client library; if None, it looks for one.
    """

    def __init__(self, place: Path, environment: Mapping[str, str], profile: Path | None = None) -> None:
        self.place = place.resolve()
        python = [self.place / "lib" / "python", self.place / "afanasy" / "python"]
        path = [*map(str, python), *filter(None, [environment.get("PYTHONPATH")])]
        self._environment = {
            **environment,
            "CGRU_LOCATION": str(self.place),
            "AF_ROOT": str(self.place / "afanasy"),
            "PYTHONPATH": os.pathsep.join(path),
        }
        if profile is not None:
            self._environment["AFPOOLS_PROFILE"] = str(profile.resolve())

    def send(self, arguments: Sequence[str], pool: str) -> Sent:
        """Runs afjob.py; its standard error is passed on to ours.

        Args:
            arguments: afjob.py's.
            pool: the pool's name, empty for none.

        Raises:
            SubmissionError: the job was not sent; the message says why.
        """
        ours = plugin_sources("afstarter") / "afjob_pools.py"
        script = ours if pool else self.place / "afanasy" / "python" / "afjob.py"
        done = self._run([str(script), *arguments], {POOL_VARIABLE: pool or WITHOUT})
        if done.returncode:
            raise SubmissionError(done.stderr.strip() or done.stdout.strip() or "afjob.py failed and did not say why.")
        sys.stderr.write(done.stderr)
        for line in reversed(done.stdout.splitlines()):
            sent = _answer(line)
            if sent is not None:
                return sent
        raise SubmissionError(f"afserver did not accept the job. afjob.py said: {done.stdout.strip()}")

    def server(self) -> tuple[str, int]:
        """The address of afserver in CGRU's configuration.

        Raises:
            Lost: the configuration does not say it.
        """
        program = "import cgruconfig, json; print(json.dumps([cgruconfig.VARS[k] for k in %r]))"
        done = self._run(["-c", program % (("af_servername", "af_serverport"),)], {})
        try:
            host, port = json.loads(done.stdout.splitlines()[-1])
            return str(host), int(port)
        except (LookupError, ValueError, TypeError):
            raise Lost(f"CGRU's configuration in {self.place} does not say where afserver is: {done.stderr}") from None

    def _run(self, arguments: list[str], variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - CGRU's own script
            [sys.executable, *arguments],
            env={**self._environment, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )


def _answer(line: str) -> Sent | None:
    """The job in a line from afjob.py, if the line is afserver's answer to a new job."""
    try:
        answer: Any = json.loads(line)
        return Sent(int(answer["id"]), answer.get("serial")) if answer["id"] else None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def follow(
    sent: Sent,
    server: tuple[str, int],
    on_progress: Callable[[Progress], None] = lambda _progress: None,
    wait: Callable[[float], None] = time.sleep,
) -> Outcome:
    """Waits until a job ends, however long that takes.

    Args:
        sent: the job.
        server: afserver's host and port.
        on_progress: called after each request.
        wait: sleeps for a number of seconds.

    Raises:
        Lost: afserver has not answered for `PATIENCE` seconds.
    """
    for job in _looks(sent, server, wait):
        if job is None:
            return "deleted"
        on_progress(Progress(job.tasks_done, job.tasks, job.state))
        words = job.words.split()
        if "DON" in words:
            return "done"
        # As long as other tasks can run, the job continues.
        if "ERR" in words and not job.running_tasks_num and not {"RDY", "RUN"} & set(words):
            return "errors"
    raise AssertionError("looks do not end")


def _looks(sent: Sent, server: tuple[str, int], wait: Callable[[float], None]) -> Iterator[Job | None]:
    request = {"get": {"type": "jobs", "ids": [sent.id]}}
    answered = time.monotonic()
    while True:
        try:
            told = parse_jobs(ask(server, request, timeout=_ANSWER_SECONDS))
        except FarmError as error:
            if time.monotonic() - answered >= PATIENCE:
                raise Lost(f"What becomes of job {sent.id} is not known: {error} It may still be running.") from None
        else:
            answered = time.monotonic()
            # Numbers are reused: another serial means another job.
            yield next((job for job in told if job.id == sent.id and sent.serial in (None, job.serial)), None)
        wait(_LOOK_SECONDS)
