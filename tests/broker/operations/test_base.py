"""What every operation has in common: above all, a write that has waited too long is not carried out."""

from __future__ import annotations

import json
import time

from tests.desk import MANAGER, Desk

from afpools_broker.operations import Sender
from afpools_broker.protocol import Code
from afpools_broker.service import Later


def test_a_write_that_waited_in_the_queue_too_long_is_not_made(desk: Desk, monkeypatch) -> None:
    answer = desk.service.answer(
        Sender(MANAGER, "127.0.0.1:40000"), b'{"v":1,"op":"pools.create","params":{"pool":"late","request_id":"1"}}'
    )
    assert isinstance(answer, Later)
    later = time.monotonic() + 3
    monkeypatch.setattr("afpools_broker.operations.base.time.monotonic", lambda: later)
    error = json.loads(answer.work())["error"]
    assert (error["code"], error["made"]) == (Code.STORE_UNAVAILABLE, False)
    assert error["message"].startswith("This broker did not make the change in time")
    assert desk.ok("pools.list")["pools"] == []
