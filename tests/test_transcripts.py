"""Version 1 of the wire stays what it is: every broker answers the recorded requests as the recorded one did, or says
more; and the client library reads what that one said."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests import transcript
from tests.desk import Desk, open_desk

from afpools import results
from afpools_broker.operations import OPERATIONS

TRANSCRIPT = Path(__file__).parent / "data" / "wire" / "1.jsonl"


@pytest.fixture
def desk(tmp_path: Path) -> Any:
    with open_desk(tmp_path / "pools.sqlite") as made:
        yield made


def test_a_client_of_the_recorded_version_is_answered_alike(desk: Desk) -> None:
    different = {
        f"{line['request']['op']} ({number})": found["differences"]
        for number, (line, found) in enumerate(transcript.replay(desk, transcript.read(TRANSCRIPT)))
        if found["differences"]
    }
    assert not different


READERS: dict[str, Callable[[Any], Any]] = {
    "hello": results.read_hello,
    "pools.list": results.read_pools,
    "pools.get": results.read_pool,
    "hosts.list": results.read_hosts,
    "mask": results.read_mask,
    "history.list": results.read_history,
}


def test_this_client_reads_what_a_broker_of_the_recorded_version_said() -> None:
    read = 0
    for line in transcript.read(TRANSCRIPT):
        reader = READERS.get(line["request"]["op"])
        if reader is not None and line["answer"]["ok"]:
            reader(invented(line["answer"]["result"]))
            read += 1
    assert read > 15


def invented(value: Any) -> Any:
    """A recorded answer with something in place of what differs each time."""
    if isinstance(value, dict):
        return {key: invented(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [invented(inner) for inner in value]
    made_up = {"~number": 0.5, "~text": "a text", "~time": "2026-11-23T12:00:00+00:00"}
    return made_up.get(value, value) if isinstance(value, str) else value


def test_the_transcript_has_every_operation_that_needs_no_running_jobs() -> None:
    asked = {line["request"]["op"] for line in transcript.read(TRANSCRIPT) if line["answer"]["ok"]}
    later = {"health", "farm.system_pool", "farm.set_system_pool"}
    jobs = {op for op in OPERATIONS if op.startswith("jobs.")} | {"pools.preview"}
    # Of after version 0.1.0, or about Afanasy's own pools.
    newer = {"pools.follow", "pools.unfollow", "pools.import_native", "pools.check"}
    assert asked == set(OPERATIONS) - later - jobs - newer


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda answer: answer["result"].pop("name"), ".result.name is missing"),
        (lambda answer: answer["result"].update(role="manager"), ".result.role is 'manager', not 'reader'"),
        (lambda answer: answer["result"].update(protocol=1.0), ".result.protocol is 1.0, not 1"),
        (lambda answer: answer["result"]["operations"].remove("mask"), ".result.operations has no 'mask'"),
        (lambda answer: answer.update(new="more"), ""),
        (lambda answer: answer["result"]["operations"].append("new.operation"), ""),
    ],
)
def test_a_difference_is_found(change: Callable[[Any], Any], said: str) -> None:
    recorded = transcript.read(TRANSCRIPT)[0]["answer"]
    now = copy.deepcopy(invented(recorded))
    change(now)
    found = list(transcript._differences(recorded, now, {}, ""))
    assert (said in json.dumps(found)) if said else not found
