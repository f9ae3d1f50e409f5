"""How long jobs have waited without interruption, which each broker keeps in its own memory.

Strategy: only what was seen counts. Every look at which jobs, pools and farm are confirmed is told here, with the jobs
that wait at that time; a job that does not, or is not as it was, starts anew, and so do all of them after a time in
which nothing was confirmed. So a broker that has just started, or was paused, never counts too much. The brokers that
do not hold the lease count as well: where one of them takes over, nothing is lost but what it did not see itself.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping

from .jobs import Job
from .plan import Verdict
from .spill import Spill

GAP_SECONDS = 10.0
"""The longest time in seconds between two looks that counts as waiting. Without a monitor, afserver's jobs are read
every 5 s."""


class Waiting:
    """Counts how long jobs wait."""

    def __init__(self) -> None:
        self._since: dict[int, tuple[Hashable, float]] = {}
        self._seen = float("-inf")

    def count(self, seen: float, waiting: Mapping[int, Hashable]) -> None:
        """Adds one look.

        Args:
            seen: when that was so; seconds since some moment.
            waiting: by serial, the jobs that wait; a value differs from the one before when the count starts anew.
        """
        before = self._since if 0 <= seen - self._seen <= GAP_SECONDS else {}
        self._since = {
            serial: before[serial] if serial in before and before[serial][0] == as_it_is else (as_it_is, seen)
            for serial, as_it_is in waiting.items()
        }
        self._seen = seen

    def seconds(self, serial: int) -> float:
        """How long a job had waited without interruption when last seen; 0 for one that does not wait."""
        told = self._since.get(serial)
        return self._seen - told[1] if told is not None else 0.0

    def is_over(self, serial: int, as_it_is: Hashable, after: float, now: float) -> bool:
        """Whether a job has waited for this many seconds and was unchanged at the last look."""
        told = self._since.get(serial)
        is_known = told is not None and told[0] == as_it_is and 0 <= now - self._seen <= GAP_SECONDS
        return is_known and self.seconds(serial) >= after

    def seconds_by_serial(self) -> dict[int, float]:
        """How long each waiting job has waited."""
        return {serial: self._seen - since for serial, (_, since) in self._since.items()}


class JobsWaiting(Waiting):
    """Counts how long jobs with a second pool wait.

    Args:
        clock: seconds since some moment.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock = clock

    def look(self, jobs: Mapping[int, Job], verdicts: Mapping[int, Verdict]) -> None:
        """Adds the jobs as they are confirmed now, by number."""
        waiting = {
            job.serial: _as_it_is(job, verdict.spill)
            for number, verdict in verdicts.items()
            if verdict.spill is not None and (job := jobs.get(number)) is not None and _is_waiting(job)
        }
        self.count(self._clock(), waiting)

    def has_waited(self, job: Job, verdict: Verdict) -> bool:
        """Whether a job has waited for as long as its second pool wants; `verdict` is the last one about it."""
        spill = verdict.spill
        if spill is None or not _is_waiting(job):
            return False
        return self.is_over(job.serial, _as_it_is(job, spill), spill.after, self._clock())


def _is_waiting(job: Job) -> bool:
    """Whether a job has tasks that could run, but none that runs. A job that is paused, or waits for another, does not
    wait for a machine."""
    return job.state == "ready" and job.tasks_ready > 0


def _as_it_is(job: Job, spill: Spill) -> Hashable:
    """What stays the same while a job waits: its fence, its note, its progress, and the second pool that it waits
    for."""
    return job.fence, job.tasks_done, job.tasks_ready, spill.pool
