"""What the clients of a run were told, and what the store held at the end.

Strategy: the checker must not know pools, masks or transports, so that it can be tested on histories a few lines long.
Whatever is asked of a broker is therefore written down in terms of registers. A register is a scope and a key, and
holds a text; the empty text is "nothing there":

    ("pools", "fx")                  MEMBER while there is a pool of this name
    ("hosts:fx", "pc-01")            MEMBER while the host is in the pool
    ("description:fx", "")           the description
    ("registered", "pc-01")          MEMBER while the host is registered by hand

A write sets registers, whatever they held before. A read shows whole scopes, or tells of single keys.
All times are seconds on CLOCK_MONOTONIC, which the processes of one machine share.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec import Struct

MEMBER = "member"
NOTHING = ""

# A scope's keys and what they hold.
Listing = dict[str, str]


class Outcome(StrEnum):
    """What a client knows about its request."""

    OK = "ok"
    REFUSED = "refused"
    """A broker refused. For a write: the change was not made."""
    UNKNOWN = "unknown"
    """The outcome is unknown. A write may have been made, or may still be made."""


class Cell(Struct, frozen=True):
    """What one register holds or should hold."""

    scope: str
    key: str
    value: str


class Operation(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request of one client, with all its attempts.

    Args:
        actor: the process that asked.
        op: the operation on the wire; for what an operator does in the database, a word for that.
        start: when it was asked first.
        end: when its outcome was known; None where it never was.
        outcome: what the client was told.
        who: the credential's name, empty for an operator.
        transport: `tls` or `curve`.
        endpoint: the URL that answered last.
        request_id: of a write.
        attempts: how many calls it took.
        code: of a refusal.
        message: of a refusal, or why nothing is known.
        change: id of the line of history that a write was given; empty for one that changed nothing.
        sets: what a write makes the registers hold.
        needs: what registers have to hold just before a write, or it is refused.
        claims: what a refusal claims of registers: that they hold this.
        overwrites: scopes that an operator replaced as a whole: other writes to them at the same time may be lost.
        shows: what a read showed, as a whole: what a scope does not list is not there.
        tells: what a read said of these keys, and of no others of their scopes.
        age: of a read: since when, in seconds, the store has not confirmed it.
    """

    actor: str
    op: str
    start: float
    end: float | None
    outcome: Outcome
    who: str = ""
    transport: str = ""
    endpoint: str = ""
    request_id: str = ""
    attempts: int = 1
    code: str = ""
    message: str = ""
    change: str = ""
    sets: tuple[Cell, ...] = ()
    needs: tuple[Cell, ...] = ()
    claims: tuple[Cell, ...] = ()
    overwrites: tuple[str, ...] = ()
    shows: dict[str, Listing] = {}
    tells: dict[str, Listing] = {}
    age: float = 0.0

    @property
    def key(self) -> str:
        """How the store recognises this request."""
        return f"{self.who}:{self.request_id}"


class Line(Struct, frozen=True):
    """One line of the store's own history. `before` and `after` are a pool's revisions, empty for no pool."""

    id: str
    key: str
    op: str
    pool: str
    before: str
    after: str


class Final(Struct, frozen=True):
    """What the store holds after the last write, read past the brokers.

    Args:
        at: when it was read.
        holds: every scope.
        lines: its history, in the order of ids, without those that changed nothing.
        doubled: names that more than one pool has.
    """

    at: float
    holds: dict[str, Listing]
    lines: tuple[Line, ...] = ()
    doubled: tuple[str, ...] = ()


class Revocation(Struct, frozen=True):
    """A credential that was revoked, and when."""

    who: str
    at: float


class Exit(Struct, frozen=True):
    """A broker process that ended though nobody had asked it to.

    Args:
        broker: its name.
        at: when that was seen.
        status: exit status; -6 for signal 6.
        log: the last lines it wrote.
    """

    broker: str
    at: float
    status: int
    log: tuple[str, ...] = ()


class Attack(Struct, frozen=True):
    """A time during which a peer did its worst to the first broker."""

    name: str
    start: float
    end: float


class Fence(Struct, frozen=True):
    """A mask that took effect at some moment.

    Args:
        at: since when.
        job: whose it was.
        pool: where that job is to run.
        lets_in: of all hosts that are known to the run, those that it does not exclude.
    """

    at: float
    job: str
    pool: str
    lets_in: tuple[str, ...]


class History(Struct, frozen=True):
    """Everything that the checker looks at.

    Args:
        operations: of all clients and of the operator.
        final: None where it was not read.
        revocations: in the order of time.
        exits: of brokers, in the order of time.
        attacks: in the order of time.
        healthy: actors that nobody's attack may keep from being answered.
        healed: since when nothing is broken any more; None where that was not waited for.
        fences: every mask that a job had, in the order of time.
    """

    operations: tuple[Operation, ...]
    final: Final | None = None
    revocations: tuple[Revocation, ...] = ()
    exits: tuple[Exit, ...] = ()
    attacks: tuple[Attack, ...] = ()
    healthy: tuple[str, ...] = ()
    healed: float | None = None
    fences: tuple[Fence, ...] = ()


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Operation)


class Recorder:
    """Appends operations to a file as they happen.

    A write is also recorded before it is sent, with an unknown outcome, so that its request is known even if its
    process is killed.

    Args:
        file: opened for appending, unbuffered.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def record(self, operation: Operation) -> None:
        """Writes one line, at once."""
        self._file.write(_encoder.encode(operation) + b"\n")


def read(files: Iterable[Path]) -> Iterator[Operation]:
    """The operations in files that `Recorder` wrote, each with its last record."""
    for file in files:
        started: dict[str, Operation] = {}
        for line in file.read_bytes().split(b"\n")[:-1]:
            operation = _decoder.decode(line)
            if operation.request_id:
                started[operation.request_id] = operation
            else:
                yield operation
        yield from started.values()
