"""A second pool for jobs that wait too long: which one a job has, and its state. Pure functions.

Strategy: the job's own word counts before its pool's. A job stays in its pool wherever the second one is not known for
certain, has no hosts, or no right mask of both can be made; the reason is a sentence. A job that spilled stays spilled
until its work is done or it is moved: machines that are free again in its own pool do not take the others away from it,
because a fence that goes back and forth is one that nobody understands.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from afpools.fence_note import NO_SPILL, Note, SpillNote

from ..pools.pool import Pool
from .names import PoolNames


@dataclass(frozen=True)
class Spill:
    """A job's second pool.

    Args:
        pool: what it is called now; what it was called, if it does not exist any more.
        revision: its revision now; empty if it does not exist any more.
        after: seconds without a running task until the job may use it too.
        since: when the job was allowed to (ISO 8601); empty if it has not been.
        why: a sentence: why the job stays in its own pool, whatever the other fields say; else empty.
        own: the job says so itself, not its pool.
    """

    pool: str
    revision: str
    after: int
    since: str
    why: str
    own: bool

    @property
    def is_open(self) -> bool:
        """Whether the job may use the second pool now."""
        return bool(self.since) and not self.why


def spill_of(note: Note, pool: str, names: PoolNames, pools: Mapping[str, Pool]) -> Spill | None:
    """The second pool of a job; None if it has none.

    Args:
        note: the job's.
        pool: what its pool is called now.
        names: what pools are called now.
        pools: those that there are.
    """
    said = note.spill
    if said is not None and not said.of_pool:
        if not said.pool:
            return None
        own, called, after, since = True, names.now(said.pool, said.revision), said.after, said.since
        wanted = said.pool
    else:
        wanted, after = pools[pool].spill_to, pools[pool].spill_after
        if not wanted:
            return None
        own, called, since = False, wanted if wanted in pools else "", ""
        # What the pool said earlier about another second pool no longer counts.
        if said is not None and called and names.now(said.pool, said.revision) == called:
            since = said.since
    if called == pool:
        return None
    if not called:
        which = "does not exist any more" if called == "" else "was deleted or renamed: which one is meant is not known"
        return Spill(wanted, "", after, since, stays_in(f"The second pool {wanted!r} {which}."), own)
    return Spill(called, pools[called].revision, after, since, "", own)


def stays_in(why: str) -> str:
    """Why a job stays in its own pool, for people."""
    return f"{why} The job stays in its own pool."


def noted(said: SpillNote | None, spill: Spill | None, *, since: str) -> SpillNote | None:
    """What a job's note says about its second pool from now on.

    Args:
        said: what it says now.
        spill: its second pool, as `spill_of` finds it.
        since: when the job was allowed to use it; empty if it has not been.
    """
    own = said is not None and not said.of_pool
    if spill is None or not since:
        # The noted revision stays: it identifies the pool, whatever has that name now.
        return stays(said)
    if own and said is not None and not spill.revision:
        return said._replace(since=since)
    if not spill.revision:
        return said
    return SpillNote(spill.pool, spill.revision, spill.after, since, of_pool=not own)


def stays(said: SpillNote | None) -> SpillNote | None:
    """What a note says about the second pool of a job that is back in its own pool."""
    if said is None or said.of_pool:
        return None
    return said._replace(since="") if said.pool else NO_SPILL


def as_time(text: str) -> dt.datetime | None:
    """The time in a note; None if there is none."""
    try:
        when = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    return when if when.tzinfo else when.replace(tzinfo=dt.UTC)


def in_words(seconds: float) -> str:
    """A number of seconds, for people: `30 minutes`."""
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size and seconds % size == 0:
            count = int(seconds // size)
            return f"{count} {unit}" + ("" if count == 1 else "s")
    return f"{seconds:.0f} seconds"
