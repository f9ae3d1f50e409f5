"""docs/wire.md agrees with the table of operations."""

from __future__ import annotations

from pathlib import Path

from afpools_broker.operations import OPERATIONS
from afpools_broker.operations.fields import fields_of
from afpools_broker.operations.page import operations, replaced

PAGE = Path(__file__).parents[3] / "docs/wire.md"


def test_the_page_agrees_with_the_table_of_operations() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == replaced(page), "Make it again: python -m afpools_broker.operations.page docs/wire.md"


def test_it_has_every_operation_with_every_parameter_and_every_field_of_a_result() -> None:
    text = operations()
    for operation in OPERATIONS.values():
        assert f"#### `{operation.op}`" in text
        for field in (*fields_of(operation), *fields_of(operation.result)):
            assert f"| `{field.name}` | " in text
    # Everything listed there is explained.
    assert " |  |" not in text
