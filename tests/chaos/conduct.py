"""Whether everybody was treated as promised: rejected after revocation, served under attack and after repair. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

from .findings import Finding, Kind
from .history import History, Outcome

REVOKED_WITHIN = 5.0
"""Seconds after which a revoked credential gets no more answers (docs/operating.md, "Credentials")."""

SHUT_OUT_AFTER = 5.0
"""Seconds without an answer: two calls with the client library's deadline of two seconds each in sequence."""


def check_conduct(history: History) -> Iterator[Finding]:
    """What was wrong with how clients were treated, and brokers that ended by themselves."""
    yield from _revoked(history)
    yield from _shut_out(history)
    yield from _stuck(history)
    for found in history.exits:
        yield Finding(
            Kind.EXIT, found.at, f"The broker {found.broker} ended with status {found.status}. " + " / ".join(found.log)
        )


def _revoked(history: History) -> Iterator[Finding]:
    revoked = {r.who: r.at for r in history.revocations}
    for operation in history.operations:
        at = revoked.get(operation.who, math.inf)
        if operation.outcome is Outcome.OK and operation.start > at + REVOKED_WITHIN:
            yield Finding(
                Kind.REVOKED,
                operation.start,
                f"{operation.who} was answered {operation.op} over {operation.transport} "
                f"{operation.start - at:.1f} s after its credential was revoked.",
            )


def _shut_out(history: History) -> Iterator[Finding]:
    for attack in history.attacks:
        for actor in history.healthy:
            answered = [o.end for o in history.operations if o.actor == actor and o.outcome is Outcome.OK and o.end]
            moments = [attack.start, *(end for end in answered if attack.start < end < attack.end), attack.end]
            gap, since = max((later - sooner, sooner) for sooner, later in pairwise(moments))
            if gap > SHUT_OUT_AFTER:
                yield Finding(
                    Kind.SHUT_OUT, since, f"{actor} got no answer for {gap:.1f} s while {attack.name} was under way."
                )


def _stuck(history: History) -> Iterator[Finding]:
    if history.healed is None:
        return
    revoked = {revocation.who for revocation in history.revocations}
    last: dict[str, float] = {}
    for operation in history.operations:
        if operation.who and operation.who not in revoked and operation.actor != "setup":
            answered = operation.start if operation.outcome is Outcome.OK else -math.inf
            last[operation.actor] = max(last.get(operation.actor, -math.inf), answered)
    for actor, answered in last.items():
        if answered < history.healed:
            yield Finding(
                Kind.STUCK, history.healed, f"{actor} was not answered again after everything had been repaired."
            )
