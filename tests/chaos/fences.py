"""Whether jobs stayed in their pools: each mask is compared with the pool at that time. Pure.

The window of a mask. A broker moves a fence only while its store has confirmed the pools for less than five seconds,
and afserver carries out an action within a round. So each host that a mask allows must have been in the pool at some
moment of the time before it was set; a mask that stays while its pool changes is the change under way.
"""

from __future__ import annotations

from collections.abc import Iterator

from .findings import Finding, Kind
from .history import MEMBER, Fence, History
from .registers import Register, Registers, untouched

FENCE_SECONDS = 8.0
"""How long before a mask was set its pool may have been as it says: five seconds since the store's last confirmation,
two until a change made elsewhere is visible, and a round of afserver's."""


def check_fences(history: History, registers: Registers) -> Iterator[Finding]:
    """Jobs that were allowed outside their pools, and fences that are not current at the end.

    Args:
        history: what happened.
        registers: what pools held when.
    """
    yield from _let_out(history, registers)
    if history.final is None:
        return
    last = {fence.job: fence for fence in history.fences}
    for fence in last.values():
        holds = set(history.final.holds.get(f"hosts:{fence.pool}", {}))
        if set(fence.lets_in) != holds:
            missing, more = sorted(holds - set(fence.lets_in)), sorted(set(fence.lets_in) - holds)
            yield Finding(
                Kind.BEHIND,
                fence.at,
                f"In the end, the fence of {fence.job} in {fence.pool!r} keeps out {missing}, and lets in {more}.",
            )


def _let_out(history: History, registers: Registers) -> Iterator[Finding]:
    for fence in history.fences:
        known = registers.get(f"hosts:{fence.pool}", {})
        wrong = [host for host in fence.lets_in if not _was_in(known, host, fence)]
        if wrong:
            yield Finding(
                Kind.LET_OUT,
                fence.at,
                f"{fence.job} in {fence.pool!r} was let out of it: its mask let in {wrong}, not in the pool at any "
                f"time of the {FENCE_SECONDS:g} seconds before.",
            )


def _was_in(known: dict[str, Register], host: str, fence: Fence) -> bool:
    register = known.get(host) or untouched()
    return register.may_hold(MEMBER, fence.at - FENCE_SECONDS, fence.at)
