"""How parameters and fields of results are described for people."""

from __future__ import annotations

from afpools_broker.operations.fields import fields_of
from afpools_broker.operations.pools import PoolsRename


def test_the_most_specific_description_of_a_parameter_is_used() -> None:
    fields = {field.name: field for field in fields_of(PoolsRename)}
    assert (fields["pool"].title, fields["new_name"].title) == ("pool's name", "new name")
    assert fields["pool"].description == fields["new_name"].description != ""
    assert fields["pool"].default == ""
    assert fields["if_revision"].default == "null"
