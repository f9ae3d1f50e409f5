"""The parameters that the pages send."""

from __future__ import annotations

import msgspec
import pytest

from afpools_tools.manager.params import BadParameter, CreatePool, typed_hosts


def test_an_unknown_key_is_an_error() -> None:
    with pytest.raises(msgspec.ValidationError, match="unknown"):
        msgspec.json.decode(b'{"pool": "fx", "unknown": true}', type=CreatePool)


def test_parts_of_a_change_have_their_own_names() -> None:
    assert CreatePool(pool="fx", request_id="1f").part(2) == "1f-2"
    assert CreatePool(pool="fx").part(2) is None


def test_hosts_are_taken_as_people_type_them() -> None:
    assert typed_hosts("pc-01, gpu-[1,2]") == ["pc-01", "gpu-[1,2]"]
    assert typed_hosts(" ") == []
    with pytest.raises(BadParameter, match="No host is named"):
        typed_hosts(",")
