"""`afpools pool spill`: a second pool for jobs that wait too long, as a TD types it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from tests.command import Result

Command = Callable[..., Result]


def second(manager: Command) -> tuple[str, int]:
    pool = json.loads(manager("pool", "show", "fx", "--json").out)
    return pool["spill_to"], pool["spill_after"]


def test_a_pool_gets_a_second_one_and_loses_it_again(manager: Command) -> None:
    manager("pool", "create", "fx")
    manager("pool", "create", "all")
    done = manager("pool", "spill", "fx", "--to", "all", "--after", "2h")
    assert done.out == "Jobs of fx may use all too after 2 hours without a running task.\n"
    assert second(manager) == ("all", 7200)
    assert "to all: its jobs may use that too after 2 hours without a running task" in manager("pool", "show", "fx").out
    assert manager("pool", "spill", "fx", "--to", "all", "--after", "2h").out.startswith("Nothing to do")
    assert "update fx: second pool all after 2 hours" in manager("pool", "history").out
    assert manager("pool", "spill", "fx", "--never").status == 0
    assert second(manager) == ("", 0)
    (last, *_) = json.loads(manager("pool", "history", "--json").out)
    undone = manager("pool", "undo", last["id"])
    assert (undone.status, second(manager)) == (0, ("all", 7200)), undone


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "give --to POOL, or --never"),
        (["--to", "all", "--never"], "give --to POOL, or --never"),
        (["--to", "all", "--after", "30"], "'30' is not a time span: write it like 30m, 2h or 1d."),
        (["--to", "all", "--after", "5s"], "'5s' is not a valid time to wait (use 1m to 30d)."),
        (["--to", "alll"], "There is no pool 'alll'. Did you mean 'all'?"),
        (["--to", "fx"], "A pool cannot be its own second pool"),
    ],
)
def test_what_is_no_second_pool_is_refused(manager: Command, arguments: list[str], why: str) -> None:
    manager("pool", "create", "fx")
    manager("pool", "create", "all")
    refused = manager("pool", "spill", "fx", *arguments)
    assert refused.status != 0
    assert why in " ".join(refused.err.replace("│", " ").split())
    assert second(manager) == ("", 0)
