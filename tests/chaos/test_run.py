"""Short runs with real processes: nothing is found if brokers are truthful, and every lie if one is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from tests.conftest import need_mongod

from .findings import Finding, Kind
from .runner import Options, Result, acknowledged, run
from .world import ROOT, Size

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(240)]

SMALL = Size(scale=0.05)

# How soon a change is seen is measured elsewhere, on a quiet machine: here, one that is never seen has to be found.
PATIENT = 30.0

ENOUGH = 80


def told(result: Result) -> list[Finding]:
    """The findings of a run in which enough happened."""
    assert result.undone == []
    assert acknowledged(result.history.operations) >= ENOUGH
    # Waiting times mean nothing on a machine that does other work as well.
    return [finding for finding in result.findings if finding.kind is not Kind.SHUT_OUT]


def test_the_death_of_brokers_and_members_of_a_replica_set_breaks_no_promise(tmp_path: Path) -> None:
    need_mongod()
    options = Options(
        1, 12, "replica-set", ("kill-broker", "kill-mongod"), SMALL, allowance=PATIENT, pace=0.4, writes=ENOUGH
    )
    assert told(run(tmp_path, options, print)) == []


def test_a_killed_broker_on_sqlite_and_peers_that_leave_half_way_break_no_promise(tmp_path: Path) -> None:
    options = Options(1, 9, "sqlite", ("kill-broker", "leave"), SMALL, allowance=PATIENT, pace=0.25, writes=ENOUGH)
    assert told(run(tmp_path, options, print)) == []


def test_a_lying_store_is_detected(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "tests.chaos.sabotage", "serve")
    options = Options(1, 5, "sqlite", (), SMALL, command=command, writes=2 * ENOUGH)
    found = {finding.kind for finding in told(run(tmp_path, options, print))}
    assert {Kind.LOST, Kind.UNASKED, Kind.FALSE_NO, Kind.STALE, Kind.BEHIND} <= found


def test_a_keeper_that_lets_jobs_out_of_their_pools_is_detected(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "tests.chaos.loose_keeper", "serve")
    options = Options(1, 5, "sqlite", (), SMALL, allowance=PATIENT, command=command, writes=ENOUGH)
    assert {finding.kind for finding in told(run(tmp_path, options, print))} == {Kind.LET_OUT, Kind.BEHIND}


def test_ctrl_c_judges_what_was_seen_and_leaves_neither_a_process_nor_a_file_behind(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.chaos", "--store=sqlite", "--faults=kill-broker", "--seed=5", "--scale=0.05"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "no fault is active" in line:
            break
    process.send_signal(signal.SIGINT)
    rest = process.stdout.read()
    assert process.wait(120) == 130, rest
    assert "Nothing was wrong." in rest
    assert rest.splitlines()[-1].startswith("Again: make chaos SEED=5 ")
    assert list(tmp_path.iterdir()) == []
    assert [p.pid for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(p.info["cmdline"] or ())] == []
