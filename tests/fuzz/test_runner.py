"""`make fuzz` keeps its findings: once, shortened, and where `make test` tries them again."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.fuzz import __main__ as runner
from tests.fuzz.target import bounded


def refuses_bangs(data: bytes) -> None:
    assert b"!" not in data
    if b"?" in data:
        raise ValueError


def test_a_finding_is_kept_once_and_shortened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "FINDINGS", tmp_path)
    account = runner.Account("target")
    trial = runner.Trial(account, refuses_bangs, time.monotonic() + 60)
    for data in (b"good", b"x" * 500 + b"!" + b"y" * 300, b"another!", b"a question?"):
        trial(data)
    assert account.inputs == 4
    assert sorted(file.read_bytes() for file in (tmp_path / "target").iterdir()) == [b"!", b"?"]
    assert [problem.split(" at ")[0] for problem in account.findings.values()] == ["AssertionError", "ValueError"]


def test_an_input_that_takes_too_long_or_too_much_is_a_finding() -> None:
    def never_ends(data: bytes) -> None:
        try:
            while True:
                pass
        except Exception:  # noqa: BLE001 - what code under test might do
            pass

    with pytest.raises(AssertionError, match="more than 3 seconds"):
        bounded(never_ends)(b"")
    # The limit applies until the process ends, so this needs a separate process. That begins with its parent's size, so
    # the input must use more memory than any process that runs tests.
    program = "from tests.fuzz.target import bounded\nbounded(lambda data: bytes(data) * (3 << 30))(b'x')"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert re.search(r"AssertionError: It takes \d{3,4} MB of memory", ran.stderr)


@pytest.mark.heavy
def test_all_targets_are_run_and_counted(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.fuzz", "--minutes", "0.05", "--only", "answers", "ranges", "--seed", "1"]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "2 targets" in ran.stdout
    assert "answers" in ran.stdout.splitlines()[2]
    assert ran.stdout.splitlines()[-1].split()[-1] == "0"
