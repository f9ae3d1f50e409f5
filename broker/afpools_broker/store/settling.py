"""What the stores have in common: the decision about one change, and the shape in which an entry is kept.

Strategy: pure functions. A store reads the pool, asks `settle` what becomes of it, and writes the answer atomically in
its own way.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from ..pools.changes import Change
from ..pools.history import Entry
from ..pools.pool import Pool


@dataclass(frozen=True)
class Settled:
    """What a change makes of a pool.

    Args:
        before: the pool as it was, None if there was none.
        after: the pool as it will be, None for a deletion.
        entry: the line of history for it.
    """

    before: Pool | None
    after: Pool | None
    entry: Entry

    @property
    def takes_name(self) -> bool:
        """True if `after` has a name that `before` did not have, and that another pool may have."""
        return self.after is not None and (self.before is None or self.after.name != self.before.name)


def settle(change: Change, current: Pool | None, *, follows: str = "") -> Settled:
    """Decides what `change` makes of the pool that was read.

    Args:
        change: what was asked for.
        current: the pool of the change's name, None if there is none.
        follows: id of the last known entry of this pool. An undo also sorts after the entry it undoes.

    Raises:
        RequestRefused: what `Change.apply` raises.
        PlanOutdated: what `Change.apply` raises.
    """
    after = change.apply(current)
    # To the millisecond, which is what MongoDB keeps: an entry must be the same when it is recalled.
    entry = change.entry(
        current, after, when=to_milliseconds(dt.datetime.now(dt.UTC)), follows=max(follows, change.undoes)
    )
    return Settled(current, after, entry)


def names(entry: Entry) -> tuple[str, ...]:
    """The names under which `history(pool=…)` finds an entry: before and after the change, each once."""
    left = [job.before for job in entry.diff.jobs]
    return tuple({name: None for name in (*(entry.diff.name or ()), entry.pool, *left) if name})


def to_milliseconds(when: dt.datetime) -> dt.datetime:
    """`when` without the microseconds that a database does not keep."""
    return when.replace(microsecond=when.microsecond // 1000 * 1000)
