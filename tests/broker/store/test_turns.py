"""Only one of our threads or processes at a time writes a file or empties its log."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from tests.broker.store.files import opened, process
from tests.broker.store.places import add, create

from afpools_broker.store import StoreUnavailable


def test_none_of_ours_empties_the_log_or_probes_while_another_writes(path: Path) -> None:
    with opened(path) as writer, opened(path, timeout=0.2) as other:
        writer.apply(create("fx"))
        statements: list[str] = []
        with closing(sqlite3.connect(path)) as hinderer:  # keeps the log from being emptied after the change
            hinderer.execute("BEGIN")
            hinderer.execute("SELECT * FROM pools").fetchall()
            writer.apply(add("fx", "pc-01"))
        wal = path.with_name(f"{path.name}-wal")
        assert wal.stat().st_size

        def vet(*_names: object) -> None:
            stop = threading.Event()
            for sign in other.watch(stop):
                statements.append(f"seen {len(sign.keys or ())}")
                assert wal.stat().st_size
                stop.set()
            with pytest.raises(StoreUnavailable, match="busy: another broker or command writes there"):
                other.probe()

        writer.apply(replace(add("fx", "pc-02"), vet=vet))
        assert statements
        assert not wal.stat().st_size
        other.probe()


def test_a_turn_ends_with_its_process(path: Path) -> None:
    with opened(path) as store:
        store.apply(create("fx"))
        hold = (
            "import sys, pathlib, time; from afpools_broker.store.turns import turn\n"
            "with turn(pathlib.Path(sys.argv[1]).parent, 0) as ours:\n"
            "    assert ours; print('ready', flush=True); time.sleep(600)"
        )
        with process(hold, path) as holder, opened(path, timeout=0.2) as impatient:
            assert list(impatient.load().pools) == ["fx"]
            with pytest.raises(StoreUnavailable, match="busy"):
                impatient.apply(create("night"))
            holder.kill()
            holder.wait()
            impatient.apply(create("night"))
        assert sorted(store.load().pools) == ["fx", "night"]
