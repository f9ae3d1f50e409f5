#!/usr/bin/env python3
"""CGRU's afjob.py, with the job kept on a pool: the one that $AFPOOLS_POOL names.

Arguments, output and exit status are afjob.py's own. A job that cannot be kept on its pool is not sent: a message says
why, and the exit status is 1.
"""

from __future__ import annotations

import io
import os
import runpy
import sys

HERE = os.path.dirname(os.path.abspath(__file__))

# AfStarter's launcher reads it too.
POOL_VARIABLE = "AFPOOLS_POOL"


def add_library() -> None:
    """Makes `afpools` importable: it is beside this file if the plug-in is installed, and one folder up in the
    sources."""
    for folder in (HERE, os.path.dirname(HERE)):
        if os.path.isdir(os.path.join(folder, "afpools")):
            sys.path.insert(0, folder)
            return


def stock_afjob() -> str:
    """Where CGRU's afjob.py is.

    Raises:
        KeyError: this program was not started within CGRU.
    """
    return os.path.join(os.environ["AF_ROOT"], "python", "afjob.py")


def main() -> None:
    """Runs afjob.py with this program's arguments."""
    try:
        stock = stock_afjob()
    except KeyError:
        sys.exit("AF_ROOT is not set. Start this from CGRU's Keeper, or after its setup.sh.")
    pool = os.environ.get(POOL_VARIABLE, "")
    if not pool:
        sys.exit(f"{POOL_VARIABLE} is not set to a pool. Without a pool, run {stock} itself.")
    # Python would put it there for afjob.py itself.
    sys.path.insert(0, os.path.dirname(stock))
    add_library()
    import af

    from afpools import Client, PoolNotApplied
    from afpools.job import apply_on_send

    apply_on_send(af, lambda: pool, Client)
    sys.argv[0] = stock
    try:
        runpy.run_path(stock, run_name="__main__")
    except PoolNotApplied as error:
        sys.stdout.flush()
        # AfStarter reads the output as UTF-8, which is not the default on Windows.
        if isinstance(sys.stderr, io.TextIOWrapper):
            sys.stderr.reconfigure(encoding="utf-8", errors="backslashreplace")
        sys.exit(str(error))


if __name__ == "__main__":
    main()
