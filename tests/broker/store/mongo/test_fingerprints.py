"""Fingerprints show which documents differ, at once or in pieces."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.broker.store.mongo.conftest import Documents
from tests.broker.store.places import PATIENT

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
