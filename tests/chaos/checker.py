"""Finds what was false in a history. Pure: no clock, no network, no process.

Strategy: every rule is a necessary condition of what README, wire.md and operating.md promise, so a finding is never
noise; the rules together need not be complete. All of them come down to one question, which registers.py answers:
could a register have held this value at some moment of a window?

The window of a read. An answer with the age `a` says that the store confirmed this `a` seconds ago, and changes made
elsewhere are visible within two seconds. The answer was made between the request and its arrival, and `age` is rounded
to a tenth. So the contents must have been true at some moment between `start - age - 0.05 - allowance` and `end`. Using
the request's start rather than the answer's arrival gives the broker the benefit of the doubt for all the time that an
answer spent in queues, in a stopped process, or on a slow network.

The window of a refusal that claims something about the store (there is no such pool, the name is taken) is the request
itself, without an allowance: a write is decided in the store, not in a broker's memory.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from .conduct import check_conduct
from .fences import check_fences
from .findings import Finding, Kind
from .history import MEMBER, NOTHING, Final, History, Line, Operation, Outcome
from .registers import Register, Registers, build, end_of, is_sure, overlap, untouched

ALLOWANCE = 2.0
"""Seconds after which changes made elsewhere are visible (docs/operating.md, "The database")."""

ROUNDING = 0.05
"""Ages are rounded to a tenth of a second on the wire."""


def check(history: History, *, allowance: float = ALLOWANCE) -> list[Finding]:
    """Everything that was false, in the order of time.

    Args:
        history: what happened.
        allowance: seconds that a change may take to be seen. Less than `ALLOWANCE` would find what is allowed.
    """
    replacements = [o for o in history.operations if o.overwrites]
    registers = build(history.operations, replacements)
    findings = [
        *_reads(history.operations, registers, replacements, allowance),
        *_reasons(history.operations, registers, replacements),
        *_made_twice(history.operations, registers, replacements),
        *check_conduct(history),
        *check_fences(history, registers),
    ]
    if history.final is not None:
        findings += _final(history.final, registers)
        findings += _lines(history.operations, history.final, chained=not replacements)
    return sorted(findings, key=lambda finding: finding.at)


# --- reads ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Said:
    """What a read said about one scope: all of it, or only about these keys."""

    scope: str
    whole: bool
    items: frozenset[tuple[str, str]]


@dataclass
class _Reads:
    """All reads that said the same about one scope: those whose windows begin last and end first are the strictest."""

    begin: float
    latest: Operation
    end: float
    earliest: Operation

    def add(self, begin: float, read: Operation) -> None:
        if begin > self.begin:
            self.begin, self.latest = begin, read
        if end_of(read) < self.end:
            self.end, self.earliest = end_of(read), read


def _reads(
    operations: tuple[Operation, ...], registers: Registers, replacements: list[Operation], allowance: float
) -> Iterator[Finding]:
    shown: dict[_Said, _Reads] = {}
    for read in operations:
        if read.outcome is not Outcome.OK or read.end is None:
            continue
        begin = read.start - read.age - ROUNDING - allowance
        for whole, listings in ((True, read.shows), (False, read.tells)):
            for scope, listing in listings.items():
                if any(scope in r.overwrites and begin <= end_of(r) and r.start <= read.end for r in replacements):
                    continue  # While a collection is replaced, it is empty for a moment.
                same = _Said(scope, whole, frozenset(listing.items()))
                shown.setdefault(same, _Reads(begin, read, read.end, read)).add(begin, read)
    for said, reads in shown.items():
        known, listing = registers.get(said.scope, {}), dict(said.items)
        for key in {**listing, **known} if said.whole else listing:
            register = known.get(key) or untouched()
            yield from _one_value(said.scope, key, listing.get(key, NOTHING), reads, register)


def _one_value(scope: str, key: str, value: str, reads: _Reads, register: Register) -> Iterator[Finding]:
    if not register.asked_for(value, reads.end):
        yield _unheard_of(scope, key, value, reads.earliest, register)
    elif not register.may_hold(value, reads.begin, math.inf):
        read = reads.latest
        late = reads.begin - register.gone_since(value)
        yield Finding(
            Kind.STALE,
            read.start,
            f"{read.actor} asked for {read.op} over {read.transport} ({read.endpoint}) and was shown "
            f"{_described(scope, key, value)} with an age of {read.age:.1f} s. That had been over for "
            f"{late:.1f} s more than the age and the two seconds allow.",
        )


def _unheard_of(scope: str, key: str, value: str, read: Operation, register: Register) -> Finding:
    refused = register.refusal_of(value)
    if refused:
        return Finding(
            Kind.FALSE_NO,
            refused.start,
            f"{refused.actor} was told of {refused.op} {refused.request_id}: {refused.code}: {refused.message!r}. But "
            f"{read.actor} was shown {_described(scope, key, value)}, which only that change makes.",
        )
    return Finding(
        Kind.INVENTED,
        read.start,
        f"{read.actor} was shown {_described(scope, key, value)} by {read.op} before anybody had asked for that.",
    )


def _described(scope: str, key: str, value: str) -> str:
    name = f"{scope}/{key}" if key else scope
    if value == MEMBER:
        return name
    return f"{name} as {value!r}" if value else f"nothing at {name}"


# --- refusals ---------------------------------------------------------------------------------------------------------


def _reasons(
    operations: tuple[Operation, ...], registers: Registers, replacements: list[Operation]
) -> Iterator[Finding]:
    for operation in operations:
        if operation.outcome is not Outcome.REFUSED or operation.end is None:
            continue
        for cell in operation.claims:
            if any(cell.scope in r.overwrites and overlap(operation, r) for r in replacements):
                continue
            register = registers.get(cell.scope, {}).get(cell.key) or untouched()
            if not register.may_hold(cell.value, operation.start, operation.end):
                yield Finding(
                    Kind.FALSE_REASON,
                    operation.start,
                    f"{operation.actor} was told of {operation.op}: {operation.code}: {operation.message!r}. But "
                    f"{_described(cell.scope, cell.key, cell.value)} was not so at any time of the request.",
                )


def _made_twice(
    operations: tuple[Operation, ...], registers: Registers, replacements: list[Operation]
) -> Iterator[Finding]:
    """If several were told "created", the pool must have been deleted before each but the first."""
    made: dict[tuple[str, str], list[Operation]] = defaultdict(list)
    for operation in operations:
        for cell in operation.needs:
            if cell.value == NOTHING and is_sure(operation, cell.scope, replacements):
                made[cell.scope, cell.key].append(operation)
    for (scope, key), makers in made.items():
        first, last = min(m.start for m in makers), max(end_of(m) for m in makers)
        if len(makers) - 1 > registers[scope][key].possible(NOTHING, first, last):
            asked = ", ".join(f"{m.actor} ({m.request_id})" for m in makers)
            yield Finding(
                Kind.TWICE, makers[0].start, f"{scope}/{key} was made more than once, as {asked} were told: created."
            )


# --- the store in the end ---------------------------------------------------------------------------------------------


def _final(final: Final, registers: Registers) -> Iterator[Finding]:
    read = Operation(actor="the checker", op="the store itself", start=final.at, end=final.at, outcome=Outcome.OK)
    for scope in {**final.holds, **registers}:
        listing, known = final.holds.get(scope, {}), registers.get(scope, {})
        for key in {**listing, **known}:
            value = listing.get(key, NOTHING)
            register = known.get(key) or untouched()
            if not register.asked_for(value, math.inf):
                yield _unheard_of(scope, key, value, read, register)
            elif not register.may_hold(value, final.at, math.inf):
                write = register.last_sure()
                asked = write.operation
                assert asked is not None
                yield Finding(
                    Kind.LOST,
                    write.start,
                    f"{asked.actor} was told that {asked.op} {asked.request_id} was made, which sets "
                    f"{_described(scope, key, write.value)}. In the end the store holds "
                    f"{_described(scope, key, value)}.",
                )
    for name in final.doubled:
        yield Finding(Kind.TWICE, final.at, f"In the end the store holds more than one pool named {name!r}.")


def _lines(operations: tuple[Operation, ...], final: Final, *, chained: bool) -> Iterator[Finding]:
    asked = {operation.key: operation for operation in operations if operation.request_id}
    for key, count in Counter(line.key for line in final.lines).items():
        if count > 1:
            yield Finding(Kind.TWICE, _when(asked.get(key), final), f"The store's history has {key} {count} times.")
    for line in final.lines:
        operation = asked.get(line.key)
        if operation is None:
            yield Finding(
                Kind.UNASKED, final.at, f"The store's history has {line.op} of {line.pool!r} ({line.key}): no client's."
            )
        elif operation.outcome is Outcome.REFUSED:
            yield Finding(
                Kind.FALSE_NO,
                operation.start,
                f"{operation.actor} was told of {operation.op} {operation.request_id}: {operation.code}: "
                f"{operation.message!r}. The store's history says that it was made.",
            )
    there = {line.id for line in final.lines}
    for operation in asked.values():
        if operation.outcome is Outcome.OK and operation.change and operation.change not in there:
            yield Finding(
                Kind.UNRECORDED,
                operation.start,
                f"{operation.actor} was told that {operation.op} {operation.request_id} is the line "
                f"{operation.change} of the history, which is not there.",
            )
    if chained:
        yield from _broken_chains(asked, final)


def _broken_chains(asked: dict[str, Operation], final: Final) -> Iterator[Finding]:
    """Each change of a pool has to begin where the one before it ended, or one of the two was overwritten."""
    last: dict[str, Line] = {}
    for line in final.lines:
        before = last.get(line.pool)
        renamed_here = line.op == "pools.rename"
        if before is not None and line.before and not renamed_here and line.before != before.after:
            yield Finding(
                Kind.UNRECORDED,
                _when(asked.get(line.key), final),
                f"In the store's history, {line.op} of {line.pool!r} ({line.id}) begins at revision {line.before}; the "
                f"line before it ({before.id}) ended at {before.after or 'no pool'}.",
            )
        last[line.pool] = line


def _when(operation: Operation | None, final: Final) -> float:
    return final.at if operation is None else operation.start
