"""What can be wrong in a run."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """The kind of error. The text appears in the table of results."""

    LOST = "acknowledged and lost"
    TWICE = "applied twice"
    FALSE_NO = '"not made" was false'
    UNASKED = "in the store, asked by nobody"
    STALE = "old, shown as fresh"
    INVENTED = "shown, asked by nobody"
    FALSE_REASON = "refused for a false reason"
    UNRECORDED = "history and pools disagree"
    REVOKED = "revoked and still answered"
    EXIT = "a broker ended by itself"
    MEMORY = "a broker took too much memory"
    SHUT_OUT = "one peer shut out another"
    LET_OUT = "a job was let out of its pool"
    BEHIND = "a fence is not current in the end"
    STUCK = "not answered after everything was repaired"


@dataclass(frozen=True)
class Finding:
    """One thing that was false.

    Args:
        kind: what is wrong.
        at: when it shows.
        text: who was told what, and why it cannot be.
    """

    kind: Kind
    at: float
    text: str
