"""`make chaos`: faults and attacks for minutes, and a verdict on everything that clients were told meanwhile.

    python -m tests.chaos --minutes 5 --seed 7 --faults kill-mongod,swap

Exit status: 0 nothing was wrong, 1 something was, 2 it could not run, 130 it was interrupted and nothing was wrong.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table

from .faults import every
from .faults.disks import own_mounts
from .measures import CLIENT_HEADS, HEADS, cells, clients, markdown
from .runner import Options, Result, run
from .world import Size

_SHOWN_OF_A_KIND = 5


def main() -> int:
    """Runs it."""
    own_mounts()
    arguments = _parser().parse_args()
    known = every()
    if arguments.list:
        for name, fault in known.items():
            print(f"{name:18} {fault.about}{_but(fault.unavailable())}")
        return 0
    options = _options(arguments)
    again = (
        f"make chaos SEED={options.seed} MINUTES={arguments.minutes:g} STORE={options.store} "
        f"FAULTS={','.join(options.faults)} SCALE={options.size.scale:g}"
    )
    console = Console(highlight=False, soft_wrap=True)
    console.width = max(console.width, 170)  # the table is wider than most terminals, and unreadable if wrapped
    console.print(again)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ExitStack() as stack:
        folder = arguments.keep
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="afpools-chaos-")))
        else:
            folder.mkdir(parents=True)
        try:
            result = run(folder.absolute(), options, console.print)
        except KeyboardInterrupt:
            return 130
        except RuntimeError as error:
            console.print(f"{error}", markup=False)
            return 2
    _report(console, result)
    if arguments.markdown:
        arguments.markdown.write_text(markdown(result.table))
    console.print(f"\nAgain: {again}")
    if result.findings or result.undone:
        return 1
    return 130 if result.interrupted else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=(__doc__ or "").partition(":")[2])
    parser.add_argument("--seed", type=int, help="repeats the run that had it; without it, a new one")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long faults keep coming (%(default)g)")
    parser.add_argument("--store", choices=("replica-set", "sqlite"), default="replica-set")
    parser.add_argument("--faults", default="all", help="names, separated by commas; `attacks`, `faults` or `all`")
    parser.add_argument("--scale", type=float, default=1.0, help="of the attacks; 1 is what was seen to do harm")
    parser.add_argument("--memory", type=float, default=600.0, help="MB that a broker may take (%(default)g)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there as well")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep histories and logs there; must not exist")
    parser.add_argument("--list", action="store_true", help="list the faults there are")
    return parser


def _options(arguments: argparse.Namespace) -> Options:
    known = every()
    groups = {
        "all": list(known),
        "attacks": [name for name, fault in known.items() if fault.is_attack],
        "faults": [name for name, fault in known.items() if not fault.is_attack],
    }
    wanted = groups.get(arguments.faults) or arguments.faults.split(",")
    chosen = []
    for name in wanted:
        if name not in known:
            sys.exit(f"There is no fault {name!r}. There are: {', '.join(known)}; and all, attacks, faults.")
        why = known[name].unavailable()
        if arguments.store not in known[name].stores:
            why = f"it is not for --store {arguments.store}"
        if why and arguments.faults not in groups:
            sys.exit(f"The fault {name} is not possible here: {why}.")
        if why:
            print(f"without {name}: {why}", flush=True)
        else:
            chosen.append(name)
    seed = random.SystemRandom().randrange(10**6) if arguments.seed is None else arguments.seed
    return Options(
        seed, arguments.minutes * 60, arguments.store, chosen, Size(scale=arguments.scale), memory=arguments.memory
    )


def _but(why: str) -> str:
    return f" (not here: {why})" if why else ""


def _report(console: Console, result: Result) -> None:
    counts: Counter[str] = Counter()
    for finding in result.findings:
        counts[finding.kind] += 1
        if counts[finding.kind] <= _SHOWN_OF_A_KIND:
            console.print(f"\n{finding.kind}: {finding.text}", markup=False)
    table = Table(*HEADS, title="Healthy readers of the attacked broker for attacks, of both brokers for faults")
    for fault in result.table:
        table.add_row(*cells(fault))
    each = Table(*CLIENT_HEADS)
    for row in clients(result.history.operations):
        each.add_row(*row)
    console.print()
    console.print(table)
    console.print(each)
    for undone in result.undone:
        console.print(f"Not carried out: {undone}", markup=False)
    fences = result.history.fences
    console.print(f"{len(fences):,} masks on {len({fence.job for fence in fences})} running jobs were judged.")
    if not result.findings:
        console.print("Nothing was wrong.")
    for kind, count in counts.items():
        console.print(f"{count:5} × {kind}")


if __name__ == "__main__":
    sys.exit(main())
