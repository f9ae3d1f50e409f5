"""A change that afserver accepts but does not make is tried a few times, and then not again for a while."""

from __future__ import annotations

from typing import Any

import pytest
from tests.broker.live.test_plan import job

from afpools.fence_note import Note
from afpools_broker.live import refusals as module
from afpools_broker.live.jobs import Job
from afpools_broker.live.plan import Verdict
from afpools_broker.live.refusals import Refusals


@pytest.fixture
def shot() -> Job:
    return job(Note("fx", "", "", "either", ""), "pc-09", "regex")


def moves(mask: str) -> dict[str, Any]:
    return {"hosts_mask_exclude": mask, "custom_data": object()}


def test_the_same_change_is_tried_three_times_and_then_reported_as_refused(shot: Job) -> None:
    refusals, verdict = Refusals(), Verdict("behind", params=moves("pc-02"))
    for _ in range(3):
        assert refusals.overlaid(shot, verdict) is verdict
        refusals.refused(shot, moves("pc-02"))
    assert refusals.overlaid(shot, verdict).fence == "refused"
    # afserver may make a different change.
    assert refusals.may_try(shot, moves("pc-03"))


def test_it_is_tried_again_after_a_while_and_forgotten_with_its_job(shot: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    refusals = Refusals()
    for _ in range(3):
        refusals.refused(shot, moves("pc-02"))
    later = module.time.monotonic() + 3600
    with monkeypatch.context() as patch:
        patch.setattr("afpools_broker.live.refusals.time.monotonic", lambda: later)
        assert refusals.may_try(shot, moves("pc-02"))
    assert not refusals.may_try(shot, moves("pc-02"))
    refusals.keep_only(())
    assert refusals.may_try(shot, moves("pc-02"))
