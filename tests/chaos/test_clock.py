"""Stepping changes only the wall clock of one running process."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .clock import Clock, compiler

_SAY = """\
import datetime as dt, sys, time
for _ in sys.stdin:
    print(dt.datetime.now(dt.UTC), time.monotonic(), flush=True)
"""


@pytest.mark.skipif(not compiler(), reason="There is no g++.")
def test_the_wall_clock_of_a_running_process_is_stepped_and_nothing_else(tmp_path: Path) -> None:
    clock = Clock(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", _SAY],
        env={**os.environ, **clock.variables},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for step in (0, 3600, -50):
            clock.step(step)
            before = dt.datetime.now(dt.UTC), time.monotonic()
            process.stdin.write("now\n")
            process.stdin.flush()
            day, hour, steady = process.stdout.readline().split()
            after = dt.datetime.now(dt.UTC), time.monotonic()
            said = dt.datetime.fromisoformat(f"{day} {hour}") - dt.timedelta(seconds=step)
            # A difference of more than a second is the step.
            assert before[0] - dt.timedelta(seconds=1) <= said <= after[0] + dt.timedelta(seconds=1)
            assert before[1] <= float(steady) <= after[1]
        process.stdin.close()
