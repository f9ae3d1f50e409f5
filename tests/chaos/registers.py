"""What a register can have held, given all requests. Pure.

Strategy: a write takes effect at one moment between its first request and its answer, or at any moment after its
request where the answer never came. A value is impossible in a window when nobody had asked for it before the window
ended, or when every write of it was over before another acknowledged write of the register began, and that one was
over before the window began. For a register that is only written blindly this is exact, not only necessary.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass

from .history import NOTHING, Operation, Outcome


@dataclass(frozen=True)
class Write:
    """One write to one register. `end` is infinite and `sure` false where it may have been made, now or later."""

    start: float
    end: float
    value: str
    sure: bool
    operation: Operation | None = None


class Register:
    """All writes to one register. It begins empty."""

    def __init__(self) -> None:
        self._writes = [Write(-math.inf, -math.inf, NOTHING, sure=True)]
        self.refused: list[Operation] = []

    def add(self, write: Write) -> None:
        """Adds one write, in any order."""
        self._writes.append(write)

    def freeze(self) -> None:
        """Prepares for queries; nothing may be added afterwards."""
        sure = sorted((w for w in self._writes if w.sure), key=lambda w: w.start)
        self._starts = [w.start for w in sure]
        # For each position, the certain write from there on that ended first.
        self._first_over: list[Write] = []
        first: Write | None = None
        for write in reversed(sure):
            if first is None or write.end < first.end:
                first = write
            self._first_over.append(first)
        self._first_over.reverse()
        self._of: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for write in self._writes:
            over = self._overwritten(write)
            self._of[write.value].append((write.start, over.end if over else math.inf))

    def _overwritten(self, write: Write) -> Write | None:
        """The acknowledged write that first certainly replaced this one."""
        position = bisect_right(self._starts, write.end)
        return self._first_over[position] if position < len(self._starts) else None

    def may_hold(self, value: str, begin: float, end: float) -> bool:
        """Whether the register can have held `value` at some moment of a window."""
        return any(start <= end and gone >= begin for start, gone in self._of.get(value, ()))

    def asked_for(self, value: str, before: float) -> bool:
        """Whether a write that may have been made had asked for `value` by then."""
        return any(start <= before for start, _ in self._of.get(value, ()))

    def gone_since(self, value: str) -> float:
        """When `value` was last certainly gone."""
        return max((gone for _, gone in self._of.get(value, ())), default=-math.inf)

    def last_sure(self) -> Write:
        """The acknowledged write that ended last."""
        return max((w for w in self._writes if w.sure), key=lambda w: w.end)

    def refusal_of(self, value: str) -> Operation | None:
        """A write of `value` whose client was told that it was not made."""
        for operation in self.refused:
            if any(cell.value == value for cell in operation.sets):
                return operation
        return None

    def possible(self, value: str, begin: float, end: float) -> int:
        """How many writes of `value`, sure or not, can have taken effect in a window."""
        return sum(w.value == value and w.start <= end and w.end >= begin for w in self._writes[1:])


Registers = dict[str, dict[str, Register]]
"""The registers by scope and key."""


def untouched() -> Register:
    """A register that nobody ever wrote to."""
    register = Register()
    register.freeze()
    return register


def build(operations: tuple[Operation, ...], replacements: list[Operation]) -> Registers:
    """All registers, ready for queries.

    Args:
        operations: of a history.
        replacements: those of them that overwrite whole scopes.
    """
    found: Registers = defaultdict(lambda: defaultdict(Register))
    for operation in operations:
        for cell in operation.sets:
            register = found[cell.scope][cell.key]
            if operation.outcome is Outcome.REFUSED:
                register.refused.append(operation)
                continue
            sure = is_sure(operation, cell.scope, replacements)
            end = operation.end if sure and operation.end is not None else math.inf
            register.add(Write(operation.start, end, cell.value, sure, operation))
    for scope in found.values():
        for register in scope.values():
            register.freeze()
    return found


def is_sure(operation: Operation, scope: str, replacements: list[Operation]) -> bool:
    """Whether an operation has certainly set its registers of this scope. A write in progress while an operator
    replaced the collection may have gone into the old one."""
    return operation.outcome is Outcome.OK and not any(
        scope in other.overwrites and other is not operation and overlap(operation, other) for other in replacements
    )


def overlap(one: Operation, other: Operation) -> bool:
    """Whether two operations were in progress at the same moment."""
    return one.start <= end_of(other) and other.start <= end_of(one)


def end_of(operation: Operation) -> float:
    """When the outcome was known; infinite for never."""
    return math.inf if operation.end is None else operation.end
