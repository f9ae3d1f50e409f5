"""Lines of the log: for people, for programs, for the journal."""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
import pty
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.desk import READER, Desk

from afpools_broker.monitoring.lines import FIELDS, Lines, lines_for


def record(level: int = logging.WARNING, message: str = "no pool %r", **more: object) -> logging.LogRecord:
    made = logging.LogRecord("afpools.connections", level, "", 0, message, ("fx",), None)
    made.__dict__.update(more)
    return made


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path / "log", os.O_CREAT | os.O_WRONLY)
    yield descriptor
    os.close(descriptor)


def failed() -> logging.LogRecord:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        return record(logging.ERROR, exc_info=sys.exc_info())


def test_text_has_a_time_with_its_zone_the_level_and_the_message() -> None:
    date, time, level, message = Lines().format(record()).split(" ", 3)
    moment = dt.datetime.fromisoformat(f"{date} {time}")
    assert moment.utcoffset() is not None
    assert abs(dt.datetime.now(dt.UTC) - moment) < dt.timedelta(minutes=5)
    assert (level, message) == ("WARNING", "no pool 'fx'")


def test_json_is_one_object_a_line_whatever_the_message() -> None:
    line = Lines(as_json=True).format(record(message='"%s"\n\x1b\u2028', **{FIELDS: {"op": "mask"}}))
    assert "\n" not in line
    said = json.loads(line)
    assert dt.datetime.fromisoformat(said.pop("time")).utcoffset() is not None
    assert said == {"level": "warning", "logger": "afpools.connections", "message": '"fx"\n\x1b\u2028', "op": "mask"}


def test_json_has_the_traceback_in_the_same_object() -> None:
    line = Lines(as_json=True).format(failed())
    assert "\n" not in line
    assert "ValueError: two\nlines" in json.loads(line)["traceback"]


@pytest.mark.parametrize(
    ("level", "prefix"),
    [(logging.DEBUG, "<7>"), (logging.INFO, "<6>"), (logging.WARNING, "<4>"), (logging.ERROR, "<3>"), (50, "<2>")],
)
def test_the_journal_gets_the_level_in_front_and_no_time(level: int, prefix: str) -> None:
    assert Lines(for_journal=True).format(record(level)) == f"{prefix}no pool 'fx'"


def test_each_line_of_a_traceback_has_its_level_for_the_journal() -> None:
    lines = Lines(for_journal=True).format(failed()).splitlines()
    assert len(lines) > 3
    assert all(line.startswith("<3>") for line in lines)


def test_auto_is_json_for_a_file_and_text_for_a_terminal_and_for_the_journal(file: int) -> None:
    reading, terminal = pty.openpty()
    found = os.fstat(file)
    journal = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
    try:
        assert lines_for("auto", file, {}).as_json
        assert not lines_for("text", file, {}).as_json
        assert not lines_for("auto", terminal, {}).as_json
        assert lines_for("json", terminal, {}).as_json
        assert lines_for("auto", file, journal).format(record()) == "<4>no pool 'fx'"
        assert lines_for("json", file, journal).format(record()).startswith('<4>{"time": ')
    finally:
        os.close(reading)
        os.close(terminal)


def test_an_inherited_variable_of_the_journal_does_not_count_for_another_output(file: int) -> None:
    assert lines_for("text", file, {"JOURNAL_STREAM": "1:2"}).format(record()).endswith(" WARNING no pool 'fx'")


def test_an_error_and_the_log_show_the_same_request(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    data = b'{"v":1,"id":"7f3a0c55aaaa","op":"pools.create","params":{"pool":"fx","request_id":"1"}}'
    message = desk.raw(data, READER)["error"]["message"]
    assert "(request 7f3a0c55)" in message
    assert "(request 7f3a0c55)" in caplog.text


def test_a_bug_is_found_in_the_log_by_what_its_error_shows(
    desk: Desk, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("afpools_broker.operations.reading.PoolsGet.answer", lambda *_: 1 / 0)
    answer = desk.raw(b'{"v":1,"id":"0badc0de-1234","op":"pools.get","params":{"pool":"fx"}}')
    assert answer["error"]["code"] == "internal"
    assert "(request 0badc0de)" in answer["error"]["message"]
    assert "(request 0badc0de)" in caplog.text
    assert "ZeroDivisionError" in caplog.text
