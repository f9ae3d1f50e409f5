"""Jobs that were hit by mistake: each got the number of a job that was meant, just before the action, and so its mask.

Strategy: what such a job's own mask was, nobody can tell, so it must not run: it is paused, and health names it. An
action to pause carries no serial either, so the job is looked at just before and just after as well.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Collection, Iterable

from ..farm.afserver import Ask
from .apply import Mover
from .jobs import Job, read_jobs

log = logging.getLogger("afpools.live")


class Struck:
    """Pauses jobs that were hit, and knows what people have to be told of them.

    Args:
        ask: sends one request to afserver; raises `FarmError`.
        mover: carries out what pauses them.
    """

    def __init__(self, ask: Ask, mover: Mover) -> None:
        self._ask, self._mover = ask, mover
        self._hit: deque[Job] = deque()  # not paused yet
        self._texts: dict[int, str] = {}

    def __contains__(self, job: Job) -> bool:
        return job.serial in self._texts

    @property
    def texts(self) -> tuple[str, ...]:
        """Sentences about jobs that somebody has to look at."""
        return tuple(self._texts.values())

    def hit(self, jobs: Iterable[Job]) -> None:
        """These are to be paused. Safe to call from any thread."""
        self._hit.extend(jobs)

    def keep_only(self, serials: Collection[int]) -> None:
        """Forgets jobs that are gone."""
        self._texts = {serial: text for serial, text in self._texts.items() if serial in serials}

    def pause(self) -> set[int]:
        """Pauses those that were hit; returns the numbers of jobs that have changed by that.

        Raises:
            FarmError: afserver does not answer. It is tried again the next time.
        """
        changed = set()
        while self._hit:
            job = self._hit[0]
            now = self._read(job.id)
            # Gone, or somebody has given it another mask: then it is not for us to stop it.
            if now is not None and (now.serial, now.hosts_mask_exclude) == (job.serial, job.hosts_mask_exclude):
                self._mover.operate([self._mover.action([job.id], operation={"type": "pause"})])
                self._note(job, self._read(job.id))
                changed.add(job.id)
            self._hit.popleft()
        return changed

    def _read(self, number: int) -> Job | None:
        return read_jobs(self._ask, {number}).get(number)

    def _note(self, job: Job, after: Job | None) -> None:
        if after is None:
            return
        if after.serial == job.serial:
            text = (
                f"Job {job.id} {job.name!r} of {job.user_name!r} got the number of a job that was deleted just then, "
                "and that job's mask. It is paused: delete it and send it again, or set its masks and start it."
            )
        elif after.state == "paused":
            text = (
                f"Job {after.id} {after.name!r} of {after.user_name!r} got the number of a job that was deleted just "
                "then, and was paused in its place. Its masks are its own: start it, if it is meant to run."
            )
        else:
            return
        self._texts[after.serial] = text
        log.error("%s", text)
