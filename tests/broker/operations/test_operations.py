"""The table of operations: what each of them says about itself, and what brokers of other versions recognise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from afpools_broker.operations import OPERATIONS, Write
from afpools_broker.operations.fields import fields_of
from afpools_broker.operations.history import HistoryUndo
from afpools_broker.protocol import Role


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=lambda operation: operation.op)
def test_an_operation_says_what_people_need(operation: Any) -> None:
    assert operation.__doc__
    assert bool(operation.purpose) == (operation.role is Role.MANAGER)
    assert not issubclass(operation, Write) or operation.did
    assert bool(operation.did) == bool(operation.verb)
    for field in fields_of(operation):
        assert field.description, f"{operation.op} {field.name}"


def test_the_client_can_call_every_operation() -> None:
    text = (Path(__file__).parents[3] / "clients/afpools/client.py").read_text(encoding="utf-8")
    assert [op for op in OPERATIONS if f'"{op}"' not in text] == []


@pytest.mark.parametrize(
    ("op", "params", "digest"),
    [
        (
            "pools.create",
            {"pool": "fx", "hosts": ["b", "a"], "description": "d", "colour": "#ff8800"},
            "9ee13201219e",
        ),
        ("pools.create", {"pool": "fx"}, "7b1ab8970cc4"),
        ("pools.create", {"pool": "fx", "new_hosts": True}, "7b1ab8970cc4"),
        ("pools.rename", {"pool": "fx", "new_name": "gx", "if_revision": "0123"}, "5b00ca7bc068"),
        ("pools.delete", {"pool": "fx"}, "42efe9cc9c05"),
        ("pools.add_hosts", {"pool": "fx", "hosts": ["b", "a"]}, "10a5f207045f"),
        ("pools.remove_hosts", {"pool": "fx", "hosts": ["a"], "if_revision": "0123"}, "7c729666e7ed"),
        ("pools.update", {"pool": "fx", "description": "d"}, "e2c89347f548"),
        ("pools.update", {"pool": "fx", "colour": "", "if_revision": "0123"}, "56c63ca6a608"),
        ("hosts.register", {"hosts": ["b", "a"]}, "9aca69c352a6"),
        ("hosts.forget", {"hosts": ["a"]}, "0f9bd5f1587e"),
        ("farm.set_system_pool", {"pool": "fx"}, "a439b88b1875"),
        ("farm.set_system_pool", {"pool": None}, "549f2c128b67"),
        ("history.undo", {"entry": "0" * 24, "if_revision": "0123"}, "06215dd94482"),
    ],
)
def test_brokers_of_all_versions_recognise_each_other_s_requests(op: str, params: dict[str, Any], digest: str) -> None:
    # Each digest is what the first version made of that request.
    asked = OPERATIONS[op](request_id="r1", **params)
    assert isinstance(asked, Write)
    assert asked.change("anna").digest == digest


def test_an_undo_depends_on_nothing_but_what_was_asked_for() -> None:
    assert HistoryUndo(request_id="1", entry="2").asked() == ("2", None)
