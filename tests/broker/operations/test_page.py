"""docs/wire.md says of the operations what their table says."""

from __future__ import annotations

from pathlib import Path

from afpools_broker.operations import OPERATIONS
from afpools_broker.operations.fields import fields_of
from afpools_broker.operations.page import operations, replaced

PAGE = Path(__file__).parents[3] / "docs/wire.md"


def test_the_page_says_of_the_operations_what_their_table_says() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == replaced(page), "Make it anew: python -m afpools_broker.operations.page docs/wire.md"


def test_it_has_every_operation_with_every_parameter_and_every_field_of_a_result() -> None:
    text = operations()
    for operation in OPERATIONS.values():
        assert f"#### `{operation.op}`" in text
        for field in (*fields_of(operation), *fields_of(operation.result)):
            assert f"| `{field.name}` | " in text
    # Whatever stands there is explained.
    assert " |  |" not in text
