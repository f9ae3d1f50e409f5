"""Which names look alike to people."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afpools_broker.pools.lookalikes import appearance, groups, lookalike, spelled_out, unseen

TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)


@pytest.mark.parametrize(
    "other",
    [
        "FX Night",
        "fx  night",
        "\uff26\uff38 night",
        "fx\u00a0night",
        "fx\u200b night",
        "\u3164fx night",
    ],
)
def test_names_that_people_confuse_look_alike(other: str) -> None:
    assert lookalike(other, ["day", "fx night"]) == "fx night"


@pytest.mark.parametrize("other", ["fxnight", "fx-night", "fx nights", "ffx night"])
def test_names_that_people_tell_apart_do_not_look_alike(other: str) -> None:
    assert lookalike(other, ["fx night"]) == ""


@given(TEXTS)
def test_a_name_looks_like_all_its_forms(name: str) -> None:
    looks = appearance(name)
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert appearance(unicodedata.normalize(form, name)) == looks  # type: ignore[arg-type]
    assert appearance(looks) == looks
    assert appearance(f"{name}\u200b\ufe0f\u3164") == looks
    assert groups([name, f"{name}\u2060"]) == [tuple(sorted([name, f"{name}\u2060"]))]


@given(TEXTS)
def test_invisible_characters_are_spelled_out(name: str) -> None:
    assert not unseen(spelled_out(name))


def test_emoji_may_say_how_they_are_drawn() -> None:
    assert not unseen("\u2764\ufe0f")
    assert all(map(unseen, ("\u3164", "fx\u115f", "f\u200bx", "fx\u2800")))
