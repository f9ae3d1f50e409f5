"""`make fuzz`: every target for its share of the time, and a table of the results.

Strategy: a process for each target, so that one that dies or fills its memory costs nobody else. Where atheris is
installed it chooses what to change by which branches an input reaches, and keeps what reached a new one in a corpus
for the next run; else changes are made blindly. A finding is kept the first time, as short as it can be made.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.util
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

FINDINGS = Path(__file__).with_name("findings")
CORPUS = Path(".fuzz")

_MEMORY = 4 << 30
_LONGEST = 1 << 16
# How many inputs are tried to make a finding shorter.
_SHORTENINGS = 300


@dataclass
class Account:
    """The result of one target."""

    name: str
    inputs: int = 0
    seconds: float = 0.0
    corpus: int = 0
    findings: dict[str, str] = field(default_factory=dict)


class Trial:
    """Counts inputs, and keeps findings.

    Args:
        account: is filled in.
        check: of the target.
        until: when it has to end, on `time.monotonic`.
    """

    def __init__(self, account: Account, check: Callable[[bytes], None], until: float) -> None:
        self.account, self.until = account, until
        self._check = check
        self._began = time.monotonic()
        self._known: set[str] = set()

    @property
    def over(self) -> bool:
        return time.monotonic() > self.until

    def __call__(self, data: bytes) -> None:
        self.account.inputs += 1
        self.account.seconds = time.monotonic() - self._began
        problem = self._problem(data)
        if problem and problem not in self._known:
            self._known.add(problem)
            self._keep(self._shortened(data, problem), problem)

    def _problem(self, data: bytes) -> str:
        """The error and its place, without values, so that repeats count as one finding; empty if there is none."""
        try:
            self._check(data)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 - pyo3's panics are no Exceptions
            frames = [
                frame for frame in traceback.extract_tb(error.__traceback__) if "site-packages" not in frame.filename
            ]
            return f"{type(error).__name__} at {Path(frames[-1].filename).name}:{frames[-1].lineno}"
        return ""

    def _shortened(self, data: bytes, problem: str) -> bytes:
        tries, size = 0, len(data) // 2
        while size and tries < _SHORTENINGS and not self.over:
            at = 0
            while at < len(data) and tries < _SHORTENINGS and not self.over:
                tries += 1
                shorter = data[:at] + data[at + size :]
                if self._problem(shorter) == problem:
                    data = shorter
                else:
                    at += size
            size //= 2
        return data

    def _keep(self, data: bytes, problem: str) -> None:
        folder = FINDINGS / self.account.name
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / hashlib.sha256(data).hexdigest()[:12]
        file.write_bytes(data)
        self.account.findings[str(file)] = problem


def run_one(name: str, *, seconds: float, seed: int, account_file: Path) -> None:
    """One target, in this process."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    guided = importlib.util.find_spec("atheris") is not None
    with _instrumented() if guided else contextlib.nullcontext():
        from tests.fuzz.target import bounded
        from tests.fuzz.targets import TARGETS
    target = TARGETS[name]
    account = Account(name)
    with tempfile.TemporaryDirectory() as folder, target.open(Path(folder)) as check:
        trial = Trial(account, bounded(check), time.monotonic() + seconds)

        def finish() -> None:
            account.corpus = sum(1 for _ in (CORPUS / name).glob("*"))
            account_file.write_text(json.dumps(asdict(account)))

        for data in target.seeds():
            trial(data)
        if guided:
            _guided(target, trial, seed, finish)
        else:
            random = Random(seed)
            while not trial.over:
                trial(target.draw(random))
            finish()


def _instrumented() -> contextlib.AbstractContextManager[None]:
    import atheris

    return atheris.instrument_imports(include=["afpools", "afpools_broker", "afpools_tools"])  # type: ignore[no-any-return]


def _guided(target: Any, trial: Trial, seed: int, finish: Callable[[], None]) -> None:
    """Does not return: libFuzzer ends the process."""
    import atheris

    corpus = CORPUS / target.name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(data)

    def try_one(data: bytes) -> None:
        trial(data)
        if trial.over:
            finish()
            os._exit(0)

    def mutate(data: bytes, longest: int, number: int) -> bytes:
        random = Random(number)
        # libFuzzer's own mutations do not know JSON, and find what nobody thought of.
        if not random.randint(0, 3):
            return bytes(atheris.Mutate(data, longest))
        for _ in range(random.choice((1, 1, 2, 4))):
            data = target.mutate(data, random)
        return data[:longest]

    options = [
        f"-seed={seed}",
        f"-max_len={_LONGEST}",
        "-timeout=120",
        "-rss_limit_mb=0",
        "-verbosity=0",
        f"-artifact_prefix={corpus}-",
    ]
    atheris.Setup(["fuzz", *options, str(corpus)], try_one, custom_mutator=mutate)
    atheris.Fuzz()


def run_all(names: Sequence[str], *, minutes: float, seed: int, jobs: int) -> int:
    """Runs all targets, some at a time, and prints a table.

    Returns:
        The number of findings.
    """
    share = minutes * 60 * jobs / len(names)
    guided = importlib.util.find_spec("atheris") is not None
    print(f"{len(names)} targets, {share:.0f} seconds each, seed {seed}, {'guided' if guided else 'blind'}", flush=True)
    print(f"{'target':<18} {'inputs':>12} {'a second':>9} {'corpus':>7}  findings", flush=True)

    def one(name: str) -> Account:
        with tempfile.TemporaryDirectory() as folder:
            account_file = Path(folder, "account.json")
            command = [sys.executable, "-m", "tests.fuzz", "--one", name, "--seconds", str(share), "--seed", str(seed)]
            ran = subprocess.run(
                [*command, "--account", str(account_file)],
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
            )
            if account_file.exists():
                return Account(**json.loads(account_file.read_text()))
            return Account(name, findings={f"died with {ran.returncode}": ran.stderr[-2000:]})

    accounts: list[Account] = []
    with ThreadPoolExecutor(jobs) as pool:
        for account in pool.map(one, names):
            accounts.append(account)
            rate = account.inputs / account.seconds if account.seconds else 0
            print(
                f"{account.name:<18} {account.inputs:>12,} {rate:>9,.0f} {account.corpus:>7,}  {len(account.findings)}",
                flush=True,
            )
            for file, problem in account.findings.items():
                print(f"    {file}: {problem}", flush=True)
    found = sum(len(account.findings) for account in accounts)
    print(f"{'in all':<18} {sum(account.inputs for account in accounts):>12,} {'':>9} {'':>7}  {found}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="for all targets together")
    parser.add_argument("--seed", type=int, default=None, help="of everything random; another each time by default")
    parser.add_argument("--only", nargs="*", default=[], help="these targets")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many at a time")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--account", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        run_one(given.one, seconds=given.seconds, seed=given.seed, account_file=given.account)
        return
    from tests.fuzz.targets import TARGETS

    if unknown := set(given.only) - TARGETS.keys():
        parser.error(f"There is no target {', '.join(unknown)}. There are: {', '.join(TARGETS)}.")
    seed = given.seed if given.seed is not None else time.time_ns() % 2**31
    sys.exit(1 if run_all(given.only or list(TARGETS), minutes=given.minutes, seed=seed, jobs=given.jobs) else 0)


if __name__ == "__main__":
    main()
