"""Fingerprints show which documents differ, at once or in pieces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.broker.store.mongo.conftest import Documents
from tests.broker.store.places import PATIENT, add, create, rename

from afpools_broker.protocol import Code, RequestRefused
from afpools_broker.store.mongo import MongoStore
from afpools_broker.store.mongo.documents import key_of
from afpools_broker.store.mongo.fingerprints import finished

_EDITS = st.lists(st.tuples(st.sampled_from(["put", "swap", "drop", "read"]), st.integers(0, 7)), max_size=6)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(turns=st.lists(_EDITS, max_size=3), piece=st.integers(1, 4), in_one_go=st.booleans())
def test_exactly_the_differences_from_what_was_read_are_reported(
    uri: str, database: Documents, turns: list[list[tuple[str, int]]], piece: int, in_one_go: bool
) -> None:
    """At once or in pieces; also if a pool was read meanwhile and then restored."""
    pools = database["pools"]
    pools.delete_many({})
    pools.insert_many([{"_id": number, "name": f"{number}", "clients": [{"hostname": "a"}]} for number in range(5)])
    store = MongoStore(uri, timeout=PATIENT)
    for _piece in store.scan():
        pass
    read = {document["_id"]: document for document in pools.find()}
    for edits in turns:
        for edit, number in edits:
            if edit == "read":
                store.read([key_of(number)])
                read.pop(number, None)
                read |= {document["_id"]: document for document in pools.find({"_id": number})}
            elif edit == "drop":
                pools.delete_one({"_id": number})
            else:
                host = "a" if edit == "put" else "A"
                pools.replace_one({"_id": number}, {"name": f"{number}", "clients": [{"hostname": host}]}, upsert=True)
        store._piece, store._in_pieces_until = piece, float("-inf" if in_one_go else "inf")
        there = {document["_id"]: document for document in pools.find()}
        differing = {key_of(each) for each in read.keys() | there.keys() if read.get(each) != there.get(each)}
        assert set(finished(store._everything.comparing()) or ()) == differing
        assert set(store._everything.unread) == differing
        store.read(differing)
        assert not store._everything.unread
        read = there
    store.close()


def _between_mark_and_read(store: MongoStore, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], object]) -> None:
    """Makes something happen to the database after the next marks are taken and before the marked pools are read."""
    mark = store._mark

    def once(*args: Any) -> bool:
        marked = mark(*args)
        monkeypatch.setattr(store, "_mark", mark)
        meanwhile()
        return marked

    monkeypatch.setattr(store, "_mark", once)


@pytest.mark.parametrize("has_change", [True, False], ids=["ours", "the earlier project's"])
def test_a_name_that_is_taken_back_is_reported_even_to_those_who_have_read_it(
    store: MongoStore, other: MongoStore, database: Documents, monkeypatch: pytest.MonkeyPatch, has_change: bool
) -> None:
    store.apply(create("fx", "a"))
    if not has_change:
        database.pools.update_one({}, {"$unset": {"change": ""}})
    before = database.pools.find_one()
    list(store.scan())
    looks = iter([None, RequestRefused(Code.POOL_EXISTS, "Another broker has just given it.")])

    def look(_settled: object) -> None:
        if (refusal := next(looks)) is not None:
            # It has the name at this moment, and somebody who has marked it before reads it.
            found.update(store.read(key))
            raise refusal

    key = [key for piece in store.scan() for key in piece.rows if key]
    found: dict[Any, Any] = {}
    monkeypatch.setattr(other, "_refuse_lookalike", look)
    mark = store._mark
    monkeypatch.setattr(store, "_mark", lambda _query, noted: noted.update(marks) is None)
    marks: dict[Any, Any] = {}
    mark({}, marks)
    with pytest.raises(RequestRefused):
        other.apply(rename("fx", "gx"))
    monkeypatch.setattr(store, "_mark", mark)
    assert [row.pool.name for row in found.values()] == ["gx"]
    after = database.pools.find_one()
    assert before is not None
    assert after is not None
    assert {**after, "change": before.get("change")} == {"change": None, **before}
    assert [entry.op for entry in store.history()] == ["pools.create"]
    assert set(finished(store._everything.comparing()) or ()) == set(key)
    assert store.read(key)[key[0]].pool == store.load().pools["fx"]
    store.apply(add("fx", "b"))
    assert "taken_back" not in str(database.pools.find_one())


def test_a_pool_that_came_after_the_marks_and_has_gone_again_is_reported(
    store: MongoStore, other: MongoStore, database: Documents, monkeypatch: pytest.MonkeyPatch
) -> None:
    list(store.scan())
    _between_mark_and_read(store, monkeypatch, lambda: other.apply(create("fx", "a")))
    (key,) = store.read([], ["fx"])
    database.pools.delete_many({})
    assert set(finished(store._ours.comparing()) or ()) == {key}
    assert set(finished(store._everything.comparing()) or ()) == {key}
    assert store.read([key]) == {}
    assert not finished(store._everything.comparing())
