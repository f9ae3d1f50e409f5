"""SQLite files, opened here and by other processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.broker.store.places import PATIENT

from afpools_broker.picture.snapshot import SnapshotKeeper
from afpools_broker.pools.pool import Pool
from afpools_broker.store.sqlite import SqliteStore


@contextmanager
def opened(path: Path, timeout: float = PATIENT) -> Iterator[SqliteStore]:
    store = SqliteStore(path, timeout=timeout)
    yield store
    store.close()


@contextmanager
def process(code: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    """Starts another process that runs `code` with `path` as its argument, and waits until it is ready."""
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        try:
            assert other.stdout.readline() == "ready\n"
            yield other
        finally:
            other.kill()


HOLD_LOCK = """
import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN IMMEDIATE")
db.execute("DELETE FROM pools")
print("ready", flush=True)
time.sleep(600)
"""

WRITE_ON_AND_ON = """
import itertools, pathlib, sys
from afpools_broker.operations.pools import PoolsAddHosts
from afpools_broker.store.sqlite import SqliteStore
store = SqliteStore(pathlib.Path(sys.argv[1]), timeout=20)
for number in itertools.count():
    store.apply(PoolsAddHosts(request_id=str(number), pool="fx", hosts=[f"host-{number}"]).change("anna"))
    print("ready" if number == 0 else number, flush=True)
"""


def hosts(keeper: SnapshotKeeper) -> tuple[str, ...]:
    """The hosts of the pool fx, as the broker shows them."""
    return keeper.current.contents.pools.get("fx", Pool("fx")).hosts
