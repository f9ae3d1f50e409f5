"""Names that several documents claim, and what people decide about them: no server."""

from __future__ import annotations

from typing import Any

import bson
import pytest
from bson.raw_bson import RawBSONDocument

from afpools_broker.store.mongo.claims import Conflict, Decisions, conflicts, plan, undecided


def document(identity: int, name: object, *hosts: str) -> RawBSONDocument:
    fields: dict[str, Any] = {"_id": identity, "name": name, "clients": [{"hostname": host} for host in hosts]}
    return RawBSONDocument(bson.encode(fields))


@pytest.fixture
def found() -> list[Conflict]:
    """Two documents of fx, and one without a name."""
    return conflicts(
        [document(1, "fx", "pc-01"), document(2, "fx", "pc-02", "pc-01"), document(3, 7, "pc-09"), document(4, "gpu")]
    )


def becomes(found: list[Conflict], **decided: Any) -> dict[str, tuple[str, tuple[str, ...]] | None]:
    """What each document becomes through a decision: a name and hosts, or None if it is deleted."""
    return {
        step.claim.id: step.becomes and (step.becomes.name, step.becomes.hosts)
        for step in plan(found, Decisions(**decided))
    }


def test_names_of_single_documents_are_not_in_conflict(found: list[Conflict]) -> None:
    assert [(conflict.name, [claim.id for claim in conflict.claims]) for conflict in found] == [
        ("", ["3"]),
        ("fx", ["1", "2"]),
    ]


def test_decisions_apply_to_the_documents_they_name(found: list[Conflict]) -> None:
    assert becomes(found, keep=["1"]) == {"2": None}
    assert becomes(found, merge=["fx"]) == {"1": ("fx", ("pc-01", "pc-02")), "2": None}
    assert becomes(found, rename={"2": "new", "3": "lost"}) == {
        "2": ("new", ("pc-02", "pc-01")),
        "3": ("lost", ()),  # its hosts are unreadable, and it keeps its document's
    }
    assert becomes(found, delete=["3"]) == {"3": None}


def test_hosts_are_merged_before_any_document_is_deleted(found: list[Conflict]) -> None:
    assert [step.becomes is None for step in plan(found, Decisions(merge=["fx"]))] == [False, True]


@pytest.mark.parametrize(
    ("decided", "said"),
    [
        ({"keep": ["9"]}, "No document 9"),
        ({"keep": ["1", "2"]}, "Only one document"),
        ({"merge": ["gpu"]}, "No two documents"),
        ({"rename": {"1": " x"}}, "cannot be a pool's name"),
        ({"delete": ["1"], "rename": {"1": "new"}}, "two decisions about the document 1"),
        ({"keep": ["1"], "delete": ["1"]}, "two decisions about the document 1"),
        ({"keep": ["1"], "merge": ["fx"]}, "not both"),
        ({"merge": ["fx"], "delete": ["1", "2"]}, "Nothing is left to merge"),
    ],
)
def test_an_impossible_decision_is_refused_with_its_value(
    found: list[Conflict], decided: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        plan(found, Decisions(**decided))


def test_the_remaining_decisions_are_listed(found: list[Conflict]) -> None:
    assert undecided(found, plan(found, Decisions(rename={"3": "lost"}))) == [found[1]]
    assert undecided(found, plan(found, Decisions(keep=["2"], delete=["3"]))) == []
