"""Asks a C++ program on libstdc++'s std::regex what afserver would do with a mask; `oracle.cpp` says how."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

SOURCE = Path(__file__).with_name("oracle.cpp")


@dataclass(frozen=True)
class Verdict:
    """What afserver does with one mask.

    Args:
        compiled: whether it could read the mask at all; where not, the job runs anywhere.
        states: of the automaton, 0 for `find`.
        compile_seconds: how long that took.
        match_seconds: how long one name takes, averaged over the names, in the quickest round.
        excluded: the names the job is kept off.
        error: what std::regex says.
    """

    compiled: bool
    states: int
    compile_seconds: float
    match_seconds: float
    excluded: frozenset[str]
    error: str


class OracleDied(AssertionError):
    """The program crashed on this mask, and so would afserver."""


class Oracle:
    """The running program.

    Args:
        binary: made by `build`.
    """

    def __init__(self, binary: Path) -> None:
        self._process = subprocess.Popen([binary], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        # The request during which it died may still be unwritten.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait(10)

    def kill(self) -> None:
        """Kills it at once, from any thread; a waiting caller gets an error."""
        self._process.kill()

    def ask(self, mask: str, dialect: str, names: Iterable[str], *, rounds: int = 1) -> Verdict:
        """What afserver makes of the mask, as `find` or as `regex`. More rounds make the measured time more
        accurate."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked = list(names)
        words = [dialect, str(rounds), *("x" + text.encode().hex() for text in (mask, *asked))]
        self._process.stdin.write(" ".join(words) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise OracleDied(f"the oracle died of {mask!r}: {self._process.wait(10)}")
        compiled, states, compile_ns, match_ns, bits, error = answer.rstrip("\n").split(" ", 5)
        return Verdict(
            compiled=compiled == "1",
            states=int(states),
            compile_seconds=int(compile_ns) / 1e9,
            match_seconds=int(match_ns) / 1e9,
            excluded=frozenset(name for name, bit in zip(asked, bits[1:], strict=True) if bit == "1"),
            error=error,
        )

    def excludes(self, mask: str, mask_type: str, names: Sequence[str]) -> frozenset[str]:
        """The names a mask excludes in each dialect it is declared for; they must agree."""
        verdicts = [self.ask(mask, dialect, names) for dialect in ("find", "regex") if mask_type in (dialect, "any")]
        assert all(verdict.compiled for verdict in verdicts), (mask, verdicts[-1].error)
        assert len({verdict.excluded for verdict in verdicts}) == 1, f"{mask!r} means two things"
        return verdicts[0].excluded


def build(compiler: str, folder: Path) -> Path:
    """Compiles the program into a folder, unless somebody has done so already."""
    binary = folder / "oracle"
    if not binary.exists():
        # Several workers may do this at the same time: each writes its own file, and the last rename wins.
        made = folder / f"oracle-{os.getpid()}"
        subprocess.run([compiler, "-O2", "-std=c++14", "-o", made, SOURCE], check=True)
        made.rename(binary)
    return binary
