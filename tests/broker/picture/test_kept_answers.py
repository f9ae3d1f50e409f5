"""A repeated request is answered from kept bytes, and differs only in the time it takes."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.desk import NOW, READER, Desk, open_desk

from afpools_broker import protocol
from afpools_broker.picture.kept_answers import KeptAnswers, part


@pytest.fixture
def desk(tmp_path) -> Iterator[Desk]:
    with open_desk(tmp_path / "pools.sqlite") as desk:
        desk.ok("pools.create", pool="fx", hosts=["pc-01", "pc-03"])
        yield desk


_FIRST = b'{"v":1,"id":"%s","op":"mask","params":{"pool":"fx"}}'
_LAST = b'{"v": 1, "op": "mask", "params": {"pool": "fx"}, "id": "%s"}'


@pytest.mark.parametrize("form", [_FIRST, _LAST, b'{"v": 1, "id": "%s", "op": "pools.list"}'])
def test_a_repeated_request_is_not_parsed_again_and_gets_the_same_answer_except_its_id(
    desk: Desk, form: bytes, monkeypatch
) -> None:
    monkeypatch.setattr(type(desk.keeper), "age", property(lambda _: 0.0))
    desk.answer(form % b"1", READER)
    first = desk.raw(form % b"2", READER)
    monkeypatch.setattr(protocol, "decode_request", lambda _: pytest.fail("it was read again"))
    assert desk.raw(form % b"Z9", READER) == {**first, "id": "Z9"}


def test_each_repeated_request_is_counted(desk: Desk) -> None:
    before = desk.statistics.requests["mask"]
    for _ in range(5):
        desk.answer(_FIRST % b"1")
    assert desk.statistics.requests["mask"] == before + 5


def test_each_repeated_refusal_is_counted(desk: Desk) -> None:
    for number in range(3):
        assert desk.raw(b'{"v":1,"id":"%d","op":"mask","params":{"pool":"none"}}' % number)["id"] == str(number)
    assert desk.statistics.errors_now()["mask"] == {"unknown_pool": 3}


def test_a_change_is_visible_to_the_next_request(desk: Desk) -> None:
    for hosts in ("pc-02|pc-04|pc-05", "pc-04|pc-05"):
        for _ in range(3):
            assert desk.raw(_FIRST % b"1")["result"]["mask"] == hosts
        desk.ok("pools.add_hosts", pool="fx", hosts=["pc-02"])


def test_an_age_grows_while_the_request_stays_the_same(desk: Desk) -> None:
    for seconds in (0.0, 0.1, 0.2, 61.0):
        desk.now[0] = NOW + dt.timedelta(seconds=seconds)
        for _ in range(3):
            result = desk.raw(_FIRST % b"1")["result"]
            assert (result["farm_age"], result["farm_is_stale"]) == (seconds, seconds > 60)
    desk.now[0] = NOW + dt.timedelta(days=1)
    assert desk.raw(_FIRST % b"1")["error"]["code"] == "farm_unavailable"


@given(st.text(max_size=70), st.sampled_from(["first", "last"]), st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
def test_any_id_comes_back(desk: Desk, request_id: str, place: str, compact: bool) -> None:
    request: dict[str, object] = {"v": 1, "op": "pools.get", "params": {"pool": "fx"}}
    request = {"v": 1, "id": request_id, **request} if place == "first" else {**request, "id": request_id}
    data = json.dumps(request, separators=(",", ":") if compact else None).encode()
    for _ in range(2):
        answer = desk.raw(data)
        assert answer["ok"] == (len(request_id) <= 64)
        assert answer["id"] == (request_id if len(request_id) <= 64 else "")


@pytest.mark.parametrize(
    "data",
    [
        b'{"v":1,"id":"1","op":"pools.list","id":"2"}',
        b'{"v":1,"id":"1","op":"pools.list","i\\u0064":"2"}',
        b'{"v":1,"id":"1\\n","op":"pools.list"}',
        b'{"v":1,"id":"","op":"pools.list"}',
        b'{"v":1,"id":"' + b"1" * 65 + b'","op":"pools.list"}',
        b'{"v":1,"id":"1',
        b'{"v":1,"op":"pools.get","params":{"pool":"x", "id":"1"}}',
        b'{"v":1,"op":"pools.list","id":"\xc3\xa4"}',
        b'{"v":1,"op":"pools.list","no id":"1"}',
        b'{"v":1,"id":"1","op":"mask","params":{"pool":"' + b"x" * 1024 + b'"}}',
        b"",
    ],
)
def test_a_request_whose_id_is_not_plain_is_parsed(data: bytes) -> None:
    assert part(data) is None


_POOL = b'{"v":1,"id":"%b","op":"pools.get","params":{"pool":"%d"}}'


def test_kept_answers_are_limited_and_belong_to_one_moment() -> None:
    kept: KeptAnswers[int] = KeptAnswers()
    for number in range(10_000):
        kept.keep(_POOL % (b"a", number), 1, "mask", b'{"v":1,"id":"a","ok":true,"result":' + b"x" * 10_000)
        found = kept.find(_POOL % (b"b", number), 1)
        assert found is not None
        assert found[0] == "mask"
        assert found[1].startswith(b'{"v":1,"id":"b","ok":true,')
    there = sum(kept.find(_POOL % (b"a", number), 1) is not None for number in range(10_000))
    assert 0 < there * 10_000 <= 4 * 1024 * 1024
    assert kept.find(_POOL % (b"a", 9999), 2) is None


def test_large_answers_and_refusals_are_not_kept() -> None:
    kept: KeptAnswers[int] = KeptAnswers()
    kept.keep(_POOL % (b"a", 1), 1, "mask", b'{"v":1,"id":"a","ok":true,"result":' + b"x" * 100_000)
    kept.keep(_POOL % (b"a", 2), 1, "mask", b'{"v":1,"id":"a","ok":false,"error":{}}')
    assert kept.find(_POOL % (b"a", 1), 1) is kept.find(_POOL % (b"a", 2), 1) is None


def test_an_id_at_the_end_is_not_confused_with_one_at_the_beginning() -> None:
    kept: KeptAnswers[int] = KeptAnswers()
    kept.keep(b'{"v": 1, "op": "pools.list", "id": "a"}', 1, "pools.list", b'{"v":1,"id":"a","ok":true,"result":1}')
    assert kept.find(b'{"v": 1, "op": "pools.list", "id": "b"}', 1) is not None
    assert kept.find(b'{"v":1,"id":"b"{"v": 1, "op": "pools.list", "id": "', 1) is None
    assert kept.find(b'{"v":1,"id":"b{"v": 1, "op": "pools.list", "id": "', 1) is None
