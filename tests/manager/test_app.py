"""Requests between page and program, well formed or not."""

from __future__ import annotations

from typing import Any

import pytest

from afpools import Client, OutcomeUnknown
from afpools_tools.manager.api import WRITES

from .conftest import Manager


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"pool": "\xed\xa0\x80"}'])
def test_a_body_that_is_not_json_is_refused(manager: Manager, body: bytes) -> None:
    headers = {"Origin": manager.origin, **manager.authorization}
    assert manager.ask("/api/pools/create", "POST", body, **headers).status == 400
    assert manager.read("usage").status == 200


@pytest.mark.parametrize("path", WRITES)
def test_half_a_typed_character_is_reported(manager: Manager, path: str) -> None:
    refused = manager.ask(
        f"/api/{path}", "POST", b'{"pool": "\\ud800"}', Origin=manager.origin, **manager.authorization
    )
    assert refused.status == 400
    assert "half of a character" in refused.json["error"]["message"]


@pytest.mark.parametrize("path", ["pool?pool=%ED%A0%80", "pool?pool=%FF", "%ED%A0%80", "history?before=%ED%A0%80"])
def test_half_a_character_in_an_address_is_handled(manager: Manager, path: str) -> None:
    assert manager.read(path).status < 500


def test_a_change_whose_outcome_is_unknown_is_not_reported_as_failed(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(*_: Any, **__: Any) -> Any:
        raise OutcomeUnknown([("tls://broker", "timed out while waiting for the answer")], "r1")

    monkeypatch.setattr(Client, "create_pool", lose)
    answer = manager.write("pools/create", pool="fx")
    assert (answer.status, answer.json["error"]["code"]) == (503, "outcome_unknown")
    assert answer.json["error"]["message"].startswith("It is not known whether the change was made. tls://broker: ")
