"""Jobs whose pool cannot be obeyed are refused, others are sent."""

from __future__ import annotations

import sys
import types

import pytest

from afpools.guard import guard


def test_only_jobs_without_a_pool_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    class Job:
        def send(self) -> str:
            return "sent"

    af = types.ModuleType("af")
    af.Job = Job  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "af", af)
    chosen: list[str] = []
    said: list[str] = []
    guard("Too old.", lambda: chosen, said.append)
    guard("Again.", lambda: chosen, said.append)
    assert Job().send() == "sent"
    chosen.append("afanasy1 (fx)")
    with pytest.raises(RuntimeError, match=r"Too old\. The job was not sent, .*afanasy1 \(fx\)"):
        Job().send()
    assert len(said) == 1


def test_where_there_is_no_cgru_nothing_has_to_be_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "af", None)
    guard("Too old.", list, print)
