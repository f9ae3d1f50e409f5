"""Why fences move, in a few words."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from afpools_broker.live.causes import described
from afpools_broker.pools.history import Diff, Entry


@pytest.mark.parametrize(
    ("diff", "words"),
    [
        ({"added": ("pc-01",), "removed": ("pc-02",)}, "pc-01 joined 'fx', pc-02 left 'fx' (anna)"),
        ({"added": tuple("abcdef")}, "a, b, c and 3 more joined 'fx' (anna)"),
        ({"name": ("effects", "fx")}, "'effects' was renamed 'fx' (anna)"),
        ({"name": ("", "fx")}, "'fx' changed (anna)"),
        ({"description": ("", "new")}, "'fx' changed (anna)"),
    ],
)
def test_a_change_is_described_by_what_it_did_and_who_made_it(diff: dict[str, Any], words: str) -> None:
    entry = Entry(
        id="1",
        when=dt.datetime.now(dt.UTC),
        who="anna",
        op="pools.update",
        pool="fx",
        diff=Diff(**diff),
        before="r1",
        after="r2",
        hosts=1,
        key="anna:1",
        digest="d",
    )
    assert described(entry) == words
