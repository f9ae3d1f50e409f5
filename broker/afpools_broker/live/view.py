"""The state of the fences as of the last look: what the list of jobs, the health and the previews are made from."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from .jobs import Job
from .plan import Verdict, World


@dataclass(frozen=True, eq=False)
class View:
    """The state as of the last round.

    Args:
        jobs: by number.
        verdicts: what to do about each.
        world: the pools and farm that they were compared with; None before the first round.
        due: when each fence that has to move became due, by serial, in seconds of `time.monotonic`.
        problem: a sentence if the list cannot be relied on; otherwise empty.
        moved: fences that were moved since the broker started.
        refused: how many of these afserver did not make.
        struck: sentences about jobs that got another job's mask.
        seconds: how long afserver worked on the last batch.
        waited: how many seconds each job that waits for its second pool has waited so far, by serial.
    """

    jobs: Mapping[int, Job] = field(default_factory=dict)
    verdicts: Mapping[int, Verdict] = field(default_factory=dict)
    world: World | None = None
    due: Mapping[int, float] = field(default_factory=dict)
    problem: str = "The broker has not looked at afserver's jobs yet."
    moved: int = 0
    refused: int = 0
    struck: tuple[str, ...] = ()
    seconds: float = 0.0
    waited: Mapping[int, float] = field(default_factory=dict)

    @property
    def behind(self) -> float:
        """How long the fence that has waited longest has waited, in seconds."""
        return time.monotonic() - min(self.due.values()) if self.due else 0.0

    @property
    def kept(self) -> int:
        """How many unfinished jobs name a pool."""
        return sum(
            verdict.fence != "none" and not self.jobs[number].is_finished
            for number, verdict in self.verdicts.items()
            if number in self.jobs
        )

    @property
    def spilled(self) -> int:
        """How many unfinished jobs may use their second pool."""
        return sum(
            verdict.spill is not None and verdict.spill.is_open and not self.jobs[number].is_finished
            for number, verdict in self.verdicts.items()
            if number in self.jobs
        )
