"""The wire format: the limits of its types, and sentences for values outside them."""

from __future__ import annotations

import msgspec
import pytest

from afpools_broker.protocol import VERSION, Colour, Description, HostPatterns, PoolName, Request, SecondPool, SpillText


@pytest.mark.parametrize("name", ["fx", "night shift", "local/farm", "é", "x" * 64])
def test_a_pool_may_be_called(name: str) -> None:
    assert msgspec.convert(name, PoolName) == name
    assert msgspec.convert(name, SecondPool) == name
    assert msgspec.convert(f"1800 {name}", SpillText) == f"1800 {name}"


@pytest.mark.parametrize("name", ["", " fx", "fx ", "fx\n", "a\tb", "a\x7f", "x" * 65])
def test_a_pool_may_not_be_called(name: str) -> None:
    for value, kind in ((name, PoolName), (name or " ", SecondPool), (f"1800 {name}", SpillText)):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(value, kind)


@pytest.mark.parametrize(("colour", "valid"), [("#ff0000", True), ("", True), ("red", False), ("#ff00001", False)])
def test_a_colour_is_six_digits_or_none(colour: str, valid: bool) -> None:
    if valid:
        assert msgspec.convert(colour, Colour) == colour
    else:
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(colour, Colour)


def test_texts_and_lists_are_limited() -> None:
    assert msgspec.convert("x" * 1000, Description)
    for value, kind in (("x" * 1001, Description), ([], HostPatterns), (["x" * 1025], HostPatterns)):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(value, kind)


def test_an_envelope_has_only_known_fields() -> None:
    request = msgspec.json.decode(b'{"v": 1, "op": "hello"}', type=Request)
    assert (request.v, request.id, bytes(request.params)) == (VERSION, "", b"{}")
    for data in (b'{"v": 1}', b'{"v": "1", "op": "hello"}', b'{"v": 1, "op": "hello", "x": 1}', b"[]"):
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(data, type=Request)
