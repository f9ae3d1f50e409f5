"""Part of `make bench`: what the hook costs a program that never sends a job.

Strategy: fresh interpreters with the hook in their path and without it, taking turns, each timed from its start to its
end, in CPU. The medians are compared; a program that imports CGRU's `af` is shown beside them, but has no target.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from tests.bench_masks import verdict

from afpools_tools.commands.output import table
from afpools_tools.plugins.catalogue import hook_alone
from afpools_tools.plugins.install import install, plan

_ROUNDS = 100
_MOST = 2.0  # milliseconds

# As every program that Python starts, nothing else; and one that CGRU's job module is imported in.
_NOTHING, _AF = "pass", "import af"


def _milliseconds(program: str, path: str) -> float:
    """CPU time of a whole process, which other programs affect less than elapsed time."""
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", program], env={**kept, "PYTHONPATH": path}, check=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000


def main() -> None:
    """Measures and prints."""
    with tempfile.TemporaryDirectory(prefix="afpools-bench-") as name:
        hook, other, af = (Path(name, folder) for folder in ("hook", "other", "af"))
        install(hook_alone(), plan(hook_alone(), hook), "bench")
        # As many folders in the path without it.
        other.mkdir()
        af.mkdir()
        (af / "af.py").write_text("class Job:\n    def send(self):\n        pass\n")
        paths = [os.pathsep.join(map(str, (folder, af))) for folder in (other, hook)]
        rounds = [
            [_milliseconds(program, path) for program in (_NOTHING, _AF) for path in paths] for _ in range(_ROUNDS + 5)
        ][5:]
    columns = ("without the hook, ms", "with it, ms", "more (< 2)")
    rows = table("A fresh Python, start to end", *columns, right=columns)
    for at, what in ((0, "sends nothing"), (2, "imports CGRU's af")):
        without, with_it = (statistics.median(each[at + column] for each in rounds) for column in (0, 1))
        more = statistics.median(each[at + 1] - each[at] for each in rounds)
        shown = f"{more:.2f} ms"
        rows.add_row(what, f"{without:.1f}", f"{with_it:.1f}", shown if at else verdict(more, shown, most=_MOST))
    Console(highlight=False).print(rows)


if __name__ == "__main__":
    main()
