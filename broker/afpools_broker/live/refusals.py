"""Changes that afserver accepted but did not make: which, how often, and when to try again."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from .jobs import Job
from .plan import Verdict

_TRIES = 3
_RETRY_SECONDS = 60.0

# Each move carries the time at which it was planned.
_PASSING = "custom_data"


@dataclass
class _Refused:
    params: dict[str, Any]
    times: int
    until: float


class Refusals:
    """What afserver refused, by the jobs' serials."""

    def __init__(self) -> None:
        self._refused: dict[int, _Refused] = {}

    def refused(self, job: Job, params: dict[str, Any]) -> None:
        """Notes that a job does not have what was set. After a few tries there is a pause before the next."""
        last = self._refused.get(job.serial)
        times = last.times + 1 if last is not None and last.params == _lasting(params) else 1
        until = time.monotonic() + _RETRY_SECONDS if times >= _TRIES else 0.0
        self._refused[job.serial] = _Refused(_lasting(params), times, until)

    def may_try(self, job: Job, params: dict[str, Any]) -> bool:
        """Whether a change may be tried now."""
        last = self._refused.get(job.serial)
        return last is None or last.params != _lasting(params) or time.monotonic() >= last.until

    def keep_only(self, serials: Collection[int]) -> None:
        """Forgets jobs that are gone."""
        self._refused = {serial: each for serial, each in self._refused.items() if serial in serials}

    def overlaid(self, job: Job, verdict: Verdict) -> Verdict:
        """The verdict as people see it."""
        if verdict.params is None or self.may_try(job, verdict.params):
            return verdict
        why = "afserver accepts the change of its mask but does not make it; see afserver's log."
        return replace(verdict, fence="refused", why=why)


def _lasting(params: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in params.items() if key != _PASSING}
