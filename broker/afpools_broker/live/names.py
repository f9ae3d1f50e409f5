"""The present name of a pool that was renamed after a job was sent: pure functions.

Strategy: a job's note has the pool's name and its revision at that time, and history has the revisions before and after
each change. So the pool that the job means is found by its revision, and followed through its later names; a new pool
that has the old name now is not mistaken for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..pools.changes import MOVE_JOBS
from ..pools.history import Step
from ..pools.pool import Pool
from ..pools.undo import REACH


class PoolNames:
    """Follows pools through their changes of name.

    Args:
        trail: what happened to pools, newest first, as `PoolStore.trail`.
        pools: the present pools, by name.
    """

    def __init__(self, trail: Iterable[Step], pools: Mapping[str, Pool]) -> None:
        self._pools = pools
        # For each name and revision that a pool ever had: its present name, empty if it no longer exists.
        self._now: dict[tuple[str, str], set[str]] = {}
        self._given_up: set[str] = set()  # names of pools that were deleted or renamed
        steps = list(trail)
        self._is_cut = len(steps) >= REACH
        self._build(steps)

    def _build(self, trail: list[Step]) -> None:
        called: dict[str, str] = {}  # the final name of the pool that has this name at this time; empty: gone
        revived: set[str] = set()
        for step in trail:
            name = step.pool
            if not name or step.op == MOVE_JOBS:
                continue
            if not step.after or step.diff.name:
                self._given_up.add(step.diff.name[0] if step.diff.name else name)
            if not step.after:
                # A deletion that was undone did not end the pool.
                if name not in revived:
                    called[name] = ""
                revived.discard(name)
                self._note(name, step.before, called)
            elif not step.before:
                self._note(name, step.after, called)
                if step.undoes:
                    revived.add(name)
                else:
                    # The pool that had the name before was another pool.
                    called[name] = ""
            else:
                self._note(name, step.after, called)
                old = step.diff.name[0] if step.diff.name else name
                if old != name:
                    called[old], called[name] = called.get(name, name), ""
                self._note(old, step.before, called)

    def _note(self, name: str, revision: str, called: Mapping[str, str]) -> None:
        now = called.get(name, name)
        self._now.setdefault((name, revision), set()).add(now if now in self._pools else "")

    def now(self, name: str, revision: str) -> str | None:
        """The present name of the pool that had this name at this revision.

        Returns:
            Empty if it was deleted; None if more than one pool may be meant.
        """
        known = self._now.get((name, revision))
        if known is None:
            # It has not changed since, or history does not reach that far back.
            return self._by_name(name, revision)
        if len(known) > 1:
            # A pool was deleted and made again exactly as it was: that one is meant.
            known = known - {""}
        return next(iter(known)) if len(known) == 1 else None

    def _by_name(self, name: str, revision: str) -> str | None:
        pool = self._pools.get(name)
        if pool is None:
            return ""
        # If history has no such revision of a pool with this name, that pool may have been made after the job's was
        # deleted.
        is_sure = pool.revision == revision or not (name in self._given_up or self._is_cut)
        return name if is_sure else None
