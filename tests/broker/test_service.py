"""The service answers every operation, decides by role alone, and gives each malformed request its error."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.desk import READER, Desk

from afpools_broker.operations import OPERATIONS
from afpools_broker.protocol import Code, Role


def test_each_refusal_has_its_code(desk: Desk) -> None:
    desk.ok("pools.create", pool="empty")
    desk.ok("pools.create", pool="p", hosts=["pc-01"])
    desk.ok("hosts.register", hosts=["pc-0"])
    assert desk.code("mask", pool="none") == Code.UNKNOWN_POOL
    assert desk.code("mask", pool="empty") == Code.EMPTY_POOL
    assert desk.code("mask", pool="p", accept=["find"]) == Code.MASK_NOT_EXPRESSIBLE
    assert desk.code("pools.create", pool="p") == Code.POOL_EXISTS
    assert desk.code("pools.rename", pool="p", new_name="empty") == Code.POOL_EXISTS
    assert desk.code("pools.add_hosts", pool="p", hosts=["a b"]) == Code.BAD_REQUEST
    assert desk.code("pools.add_hosts", pool="p", hosts=["a[1-999999]"]) == Code.TOO_LARGE


@pytest.mark.parametrize("op", [op.op for op in OPERATIONS.values() if op.role is Role.MANAGER])
def test_a_reader_may_not_do_what_needs_a_manager(desk: Desk, op: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        answer = desk.ask(op, READER, pool="fx")
    assert answer["error"]["code"] == Code.FORBIDDEN
    assert "manager" in answer["error"]["message"]
    assert f"'blender' (reader) at 127.0.0.1:40000 asked for {op}" in caplog.text
    assert desk.ok("history.list")["entries"] == []


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "bad_request"),
        (b"\xff\xfe", "bad_request"),
        (b"[]", "bad_request"),
        (b"[" * 100_000, "bad_request"),
        (b'{"v":1,"id":"7","op":"mask","params":{"pool":' + b"[" * 3000 + b"}}", "bad_request"),
        ('{"v":1,"id":"7","op":"pools.create","params":{"pool":"f\u200bx","request_id":"1"}}'.encode(), "bad_request"),
        (
            b'{"v":1,"id":"7","op":"pools.create","params":{"pool":"fx","colour":"#ff8800\\n","request_id":"1"}}',
            "bad_request",
        ),
        (
            b'{"v":1,"id":"7","op":"pools.create","params":{"pool":"fx","if_revision":"x","request_id":"1"}}',
            "bad_request",
        ),
        (b'{"v":1,"id":"7","op":"nonsense"}', "unknown_op"),
        (b'{"v":2,"id":"7","what":"ever"}', "unsupported_version"),
        (b'{"v":1,"id":"7","op":"mask","params":{}}', "bad_request"),
        (b'{"v":1,"id":"7","op":"mask","params":{"pool":"fx","stile":"list"}}', "bad_request"),
        (b'{"v":1,"id":"7","op":"mask","params":{"pool":""}}', "bad_request"),
        (b'{"v":1,"id":"7","op":"mask","params":[]}', "bad_request"),
        (b'{"v":1,"id":"7","op":"mask","params":{"pool":"fx"},"role":"manager"}', "bad_request"),
        (b'{"v":1,"id":"7","op":"pools.create","params":{"pool":"fx"}}', "bad_request"),
        (b'{"v":1,"id":"' + b"7" * 100 + b'","op":"hello"}', "bad_request"),
    ],
)
def test_malformed_requests_are_answered(desk: Desk, data: bytes, code: str) -> None:
    answer = desk.raw(data)
    assert (answer["ok"], answer["error"]["code"]) == (False, code)
    assert answer["id"] == ("7" if b'"id":"7"' in data and b"[[" not in data else "")


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        (
            {"pool": " fx"},
            "The pool's name must be 1 to 64 characters long, all of them visible, with no spaces at either end.",
        ),
        (
            {"pool": "fx", "style": "short"},
            "its style must be list, compact or complement (Invalid enum value 'short')",
        ),
        ({"pool": "fx", "accept": ["glob"]}, "its accept must be a list of regex, find, or both"),
        (
            {"pol": "fx"},
            "Object contains unknown field `pol`. It takes: pool, style, accept, exclude, exclude_type, user, ",
        ),
    ],
)
def test_a_wrong_parameter_is_named_with_what_it_must_be(desk: Desk, params: dict[str, Any], sentence: str) -> None:
    assert sentence in desk.ask("mask", **params)["error"]["message"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        json_values.map(lambda value: json.dumps(value).encode()),
        st.builds(
            lambda op, params: json.dumps({"v": 1, "id": "x", "op": op, "params": params}).encode(),
            st.sampled_from(sorted(OPERATIONS)) | st.text(max_size=10),
            st.dictionaries(
                st.sampled_from(["pool", "hosts", "request_id", "new_name", "style", "accept", "limit", "colour"]),
                json_values,
                max_size=5,
            ),
        ),
    )
)
def test_no_request_takes_the_service_down(desk: Desk, data: bytes) -> None:
    answer = desk.raw(data)
    assert answer["v"] == 1
    if not answer["ok"]:
        assert answer["error"]["code"] in set(Code)
        # `health` has no part behind it here; nothing else may ever be a bug.
        assert answer["error"]["code"] != Code.INTERNAL or b"health" in data
        assert "Traceback" not in answer["error"]["message"]


def test_a_bug_is_logged_in_full_and_reported_without_a_traceback(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    answer = desk.ask("health")
    assert answer["error"]["code"] == Code.INTERNAL
    assert "NotImplementedError" not in json.dumps(answer)
    assert "NotImplementedError" in caplog.text


def test_requests_and_errors_are_counted(desk: Desk) -> None:
    desk.ask("hello")
    desk.ask("mask", pool="none")
    desk.raw(b'{"v":1,"op":"' + b"x" * 60 + b'"}')
    assert desk.statistics.requests == {"hello": 1, "mask": 1}
    assert desk.statistics.errors_now() == {"mask": {"unknown_pool": 1}, "unreadable": {"unknown_op": 1}}


def test_people_are_answered_in_their_own_words(desk: Desk) -> None:
    for op, purpose in (("pools.delete", "delete pools"), ("history.list", "see who changed what")):
        message = desk.ask(op, READER, pool="fx")["error"]["message"]
        assert message == (
            f"To {purpose} you need a manager profile; 'blender' is a reader. Ask whoever runs the farm for one "
            "(request 7)."
        )
    for letter in ("\u200b", "\u3164", "\u115f", "\u2800", "\u00a0"):
        message = desk.ask("pools.create", pool=f"f{letter}x")["error"]["message"]
        assert message == (f"The name 'f\\u{ord(letter):04x}x' has characters that cannot be seen: leave them out.")
    answers = [
        desk.ask("pools.create", pool="x" * 65),
        desk.ask("pools.create", pool="fx", colour="red"),
        desk.ask("pools.create", pool="fx", hosts=["a,b"]),
        desk.ask("pools.create", pool="fx", description="x" * 1001),
        desk.ask("history.undo", entry="nonsense"),
        desk.ask("history.list", limit=0),
    ]
    for answer in answers:
        message = answer["error"]["message"]
        assert answer["error"]["code"] == Code.BAD_REQUEST
        assert not any(
            word in message for word in ("pools.", "history.list", "history.undo", "It takes", "regex", "parameters")
        ), message
