"""What is remembered of a change to another authority."""

from __future__ import annotations

import datetime as dt

import pytest

from afpools_tools.credentials.files import AuthorityError
from afpools_tools.credentials.progress import Progress, end_progress, in_progress, read_progress, write_progress


def test_what_is_known_is_there_again(tmp_path):
    assert read_progress(tmp_path) == Progress()
    since = dt.datetime(2026, 12, 1, 5, tzinfo=dt.UTC)
    known = Progress("ab").trust(["east"]).trust(["west"]).show(["west"]).carry({"anna": since, "bert": since})
    write_progress(tmp_path, known.forget(["bert"]))
    assert read_progress(tmp_path) == Progress("ab", frozenset({"east", "west"}), {"anna": since}, frozenset({"west"}))
    assert in_progress(tmp_path)
    end_progress(tmp_path)
    assert not in_progress(tmp_path)
    end_progress(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"to": "ab", "trusting": 1, "carried": {}, "showing": []}'])
def test_a_damaged_file_is_named_with_what_to_do(tmp_path, text):
    write_progress(tmp_path, Progress("ab"))
    path = tmp_path / "ca" / "succession.json"
    path.write_text(text)
    with pytest.raises(AuthorityError, match=r"succession\.json: it is damaged\. Remove it"):
        read_progress(tmp_path)
