"""What a job says about its fence, in its `custom_data`."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afpools.fence_note import (
    MAX_SPILL_SECONDS,
    MIN_SPILL_SECONDS,
    NO_SPILL,
    Note,
    SpillNote,
    fingerprint,
    is_of,
    parse_note,
    with_note,
)

NOTE = Note("fx", "r1", "pc-1", "find", fingerprint("(?!pc-01$).*", "regex"))

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
spills = st.just(NO_SPILL) | st.builds(
    SpillNote, texts.filter(bool), texts, st.integers(MIN_SPILL_SECONDS, MAX_SPILL_SECONDS), texts, st.booleans()
)
dialects = st.sampled_from(["regex", "find", "either"])
notes = st.builds(Note, texts.filter(bool), texts, texts, dialects, texts, texts, texts, spill=st.none() | spills)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts, lambda inner: st.lists(inner) | st.dictionaries(texts, inner)
)


@given(notes, st.dictionaries(texts, json_values, max_size=4))
def test_a_note_comes_back_as_it_was_and_so_does_everything_else(note: Note, others: dict[str, object]) -> None:
    custom_data = with_note(json.dumps(others), note)
    assert custom_data is not None
    assert parse_note(custom_data) == note
    assert {**json.loads(custom_data), "afpools": None} == {**others, "afpools": None}


@pytest.mark.parametrize("theirs", ["for anna", "[1]", "{", "7", "null", "[" * 100_000, 7, {"afpools": {}}])
def test_custom_data_that_is_not_a_json_object_has_no_room_for_a_note(theirs: object) -> None:
    assert with_note(theirs, NOTE) is None
    assert parse_note(theirs) is None


@pytest.mark.parametrize("nothing", [None, "", "  ", "{}"])
def test_empty_custom_data_has_room_for_a_note(nothing: object) -> None:
    assert parse_note(nothing) is None
    assert parse_note(with_note(nothing, NOTE)) == NOTE


@pytest.mark.parametrize(
    "ours", [[], {}, {"pool": ""}, {"pool": 7}, {"pool": "fx", "exclude": None}, {"pool": "fx", "exclude_type": "glob"}]
)
def test_an_unknown_note_is_not_a_note(ours: object) -> None:
    assert parse_note(json.dumps({"afpools": ours})) is None


@given(json_values)
def test_an_unreadable_second_pool_is_ignored_and_the_rest_of_the_note_counts(odd: object) -> None:
    note = parse_note(json.dumps({"afpools": {"pool": "fx", "revision": "r1", "spill": odd}}))
    assert note == Note("fx", "r1", spill=NO_SPILL)


def test_a_note_of_an_earlier_version_names_the_pool_and_fits_no_mask() -> None:
    note = parse_note('{"afpools": {"pool": "fx", "revision": "r1"}}')
    assert note == Note("fx", "r1")
    assert not is_of(note, "", "")


@pytest.mark.parametrize(
    ("mask", "mask_type", "same"),
    [
        ("(?!pc-01$).*", "regex", True),
        ("(?!pc-01$).*", "", True),  # afserver before 3.4.0 lists no type
        ("(?!pc-01$).*", "find", False),
        ("(?!pc-02$).*", "regex", False),
        ("", "regex", False),
    ],
)
def test_a_mask_that_somebody_changed_is_distinguished_from_the_one_that_was_set(
    mask: str, mask_type: str, same: bool
) -> None:
    assert is_of(NOTE, mask, mask_type) is same


def test_a_mask_set_without_a_type_is_recognised_however_the_farm_reads_it() -> None:
    note = NOTE._replace(fingerprint=fingerprint("pc-1", ""))
    assert [is_of(note, "pc-1", each) for each in ("", "find", "regex")] == [True] * 3
