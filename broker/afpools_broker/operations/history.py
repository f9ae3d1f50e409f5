"""The operations about what was changed, and how to take that back."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import msgspec
from msgspec import Meta

from ..picture.moment import Moment
from ..pools.changes import MOVE_JOBS, Change, check_revision
from ..pools.history import MIRROR, MIRRORED, REPAIR, REPAIRED, Entry
from ..pools.pool import Contents, Pool
from ..pools.undo import REACH, Undoing
from ..protocol import Code, PoolName, RequestRefused, Result, Role
from ..store import PoolStore
from .base import Call, Operation
from .writing import Write, WriteResult, keep_system_pool


class HistoryEntry(Result):
    """One change."""

    id: Annotated[str, Meta(description="sorts by time")]
    when: Annotated[dt.datetime, Meta(description="to the millisecond")]
    who: Annotated[str, Meta(description="the name in the credential, or `broker` and the name of one")]
    op: Annotated[
        str, Meta(description="the operation; `pools.mirror` if a broker gave a pool the hosts of the one it follows")
    ]
    pool: Annotated[str, Meta(description="the pool's name after the change; before it, for a deletion")]
    diff: Annotated[
        msgspec.Raw,
        Meta(
            description="`name`, `description`, `colour` as [before, after] and the lists `added`, `removed` and "
            "`jobs` (those that were moved), each only if something changed; `follows` as [before, after] for a pool "
            "that followed one of Afanasy's before or after; `spill` as [before, after], each the seconds and the name "
            "of its second pool"
        ),
    ]
    before: Annotated[str, Meta(description="the pool's revision before; empty if there was none")]
    after: Annotated[str, Meta(description="the pool's revision after; empty if there is none")]
    hosts: Annotated[int, Meta(description="how many hosts there were after the change")]
    undoes: Annotated[str, Meta(description="the id of the entry that an undo took back; else empty")]
    undoable: Annotated[bool, Meta(description="`history.undo` would take it back now")]
    why_not: Annotated[str, Meta(description="a sentence: why it would not; else empty")]
    verb: Annotated[str, Meta(description="what was done, before the pool's name: `added hosts to`")]


class HistoryListResult(Result):
    entries: Annotated[list[HistoryEntry], Meta(description="the newest first")]


class HistoryList(Operation):
    """What was changed, the newest first."""

    op = "history.list"
    role = Role.MANAGER
    purpose = "see who changed what"
    result = HistoryListResult

    pool: Annotated[PoolName | None, Meta(extra={"means": "only changes of the pool that had this name then"})] = None
    limit: Annotated[int, Meta(ge=1, le=500, title="number of changes", description="a number from 1 to 500")] = 50
    before: Annotated[
        Annotated[str, Meta(max_length=64)] | None,
        Meta(description="the id of an entry", extra={"means": "the last one of the page before this"}),
    ] = None

    def answer(self, call: Call) -> HistoryListResult:
        store, keeper = call.parts.store, call.parts.keeper
        entries = store.history(pool=self.pool, limit=self.limit, before=self.before)
        if not entries:
            return HistoryListResult(entries=[])
        undoing = undoing_since(store, entries[-1].id, lambda _names: keeper.current.contents)
        return HistoryListResult(entries=[_public(entry, undoing.why_not(entry)) for entry in entries])


@dataclass(frozen=True)
class _TakingBack:
    """What an undo does to its pool; or the reason why it cannot be done, which is raised only when it is certain that
    the same request has not already succeeded."""

    undoing: Undoing
    entry: Entry
    if_revision: str | None

    def becomes(self, present: Pool | None) -> Pool | None:
        """As `Deed.becomes`."""
        result = self.undoing.plan(self.entry).becomes(present)
        check_revision(self.undoing.pool_of(self.entry), self.if_revision, present)
        return result

    def takes_hosts(self, present: Pool | None) -> bool:
        """As `Deed.takes_hosts`."""
        try:
            return self.undoing.plan(self.entry).takes_hosts(present)
        except RequestRefused:
            return False


class HistoryUndo(Write, kw_only=True):
    """Take back one change and leave the others as they are. If they conflict, the answer is a `conflict` or
    `pool_exists` that says who did what. Undoing a deletion brings the pool back. An undo is a change like any other,
    and can itself be undone."""

    op = "history.undo"
    purpose = "take back changes"
    did = "a change was undone"
    verb = "took back a change of"

    entry: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=64,
            title="change",
            description="one that the history shows",
            extra={"means": "the `id` of an entry"},
        ),
    ]

    def answer(self, call: Call) -> WriteResult:
        entry = call.parts.store.entry(self.entry)
        if entry is None or entry.op != MOVE_JOBS:
            return super().answer(call)
        from .jobs import move_back  # which imports this module

        trail = undoing_since(call.parts.store, entry.id, lambda _names: call.parts.keeper.current.contents)
        return move_back(call, self.request_id, entry, trail)

    def plan(self, call: Call, moment: Moment) -> Change:
        parts = call.parts
        entry = parts.store.entry(self.entry)
        if entry is None:
            raise RequestRefused(
                Code.BAD_REQUEST,
                f"There is no change {self.entry!r} in the history. Take one that the history shows.",
            )
        # In this order: if a change is made meanwhile, the trail may lack its step, but the pools never lack its
        # effect.
        undoing = undoing_since(parts.store, entry.id, lambda names: parts.keeper.reload(names).contents)
        return Change(
            op=self.op,
            who=call.who,
            request_id=self.request_id,
            pool=undoing.pool_of(entry),
            asked=self.asked(),
            deed=_TakingBack(undoing, entry, self.if_revision),
            vet=keep_system_pool(parts),
            undoes=entry.id,
        )

    def asked(self) -> tuple[object, ...]:
        return self.entry, self.if_revision


def undoing_since(store: PoolStore, since: str, contents: Callable[[set[str]], Contents]) -> Undoing:
    """
    Args:
        store: provides the history.
        since: id of the oldest entry that may be undone.
        contents: returns the contents, in which at least the pools with the given names are new enough.
    """
    from . import OPERATIONS  # which contains these two

    trail = store.trail(since=since, limit=REACH)
    names = {name for step in trail for name in (step.pool, *(step.diff.name or ()))}
    did = {name: operation.did for name, operation in OPERATIONS.items() if operation.did}
    return Undoing(trail, contents(names), did)


_VERBS = {REPAIR: REPAIRED, MIRROR: MIRRORED}


def _public(entry: Entry, why_not: str) -> HistoryEntry:
    """A history entry for managers."""
    from . import OPERATIONS  # which contains these two

    operation = OPERATIONS.get(entry.op)
    return HistoryEntry(
        id=entry.id,
        when=entry.when,
        who=entry.who,
        op=entry.op,
        pool=entry.pool,
        diff=msgspec.Raw(msgspec.json.encode(entry.diff)),
        before=entry.before,
        after=entry.after,
        hosts=entry.hosts,
        undoes=entry.undoes,
        undoable=not why_not,
        why_not=why_not,
        verb=operation.verb if operation else _VERBS.get(entry.op, entry.op),
    )
