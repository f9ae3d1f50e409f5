"""The state of the fences in numbers."""

from __future__ import annotations

import time

from afpools_broker.live.jobs import Job
from afpools_broker.live.plan import Verdict
from afpools_broker.live.spill import Spill
from afpools_broker.live.view import View

OPEN = Spill("night", "r1", 60, "2026-12-01T04:00:00Z", "", own=True)
SHUT = Spill("night", "", 60, "2026-12-01T04:00:00Z", "The second pool is gone.", own=True)


def test_finished_jobs_and_jobs_without_a_pool_are_not_counted() -> None:
    jobs = {number: Job(number, words=" DON" if number == 5 else " RDY") for number in range(2, 8)}
    verdicts = {
        2: Verdict("current", "fx", spill=OPEN),
        3: Verdict("current", "fx", spill=SHUT),
        4: Verdict("none"),
        5: Verdict("current", "fx", spill=OPEN),
        6: Verdict("kept", "fx"),
        9: Verdict("current", "fx", spill=OPEN),  # gone
    }
    view = View(jobs, verdicts)
    assert (view.kept, view.spilled) == (3, 1)


def test_the_fence_that_has_waited_longest_says_how_far_behind_they_are() -> None:
    now = time.monotonic()
    assert View().behind == 0.0
    assert View(due={7: now - 5, 8: now - 50}).behind >= 50
