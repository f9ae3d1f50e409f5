"""What all operations have in common: a name, a role, words for people, parameters, and a way to be answered.

Strategy: a class is an operation, and an instance of it is one request for that operation: its fields are the
parameters, checked as `msgspec` decodes them. Everything it needs comes as a `Call`. No operation knows about sockets
or the bytes of an answer, and none checks who asks: the service has already done that.
"""

from __future__ import annotations

import datetime as dt
import enum
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

from msgspec import Struct

from ..config import FarmSection, LimitsSection
from ..credentials.peers import Peer
from ..farm.system_job import SystemJobKeeper
from ..live.keeper import FenceKeeper
from ..monitoring import audit
from ..picture.moment import Moment, moment_of
from ..picture.snapshot import SnapshotKeeper
from ..protocol import Code, HealthResult, RequestRefused, Result, Role
from ..store import PoolStore

# Clients wait two seconds for an answer. A write that has waited this long in the queue is no longer made: its sender
# has been told that the outcome is unknown, and may have moved on.
_PATIENCE_SECONDS = 2.0


class Turn(enum.Enum):
    """Who answers a request."""

    AT_ONCE = enum.auto()
    """The listener's own thread, from memory: everybody else waits for it."""

    LATER = enum.auto()
    """A worker, because it needs a database or much computing."""

    WRITING = enum.auto()
    """One of the writing workers, so that reads never wait for a store."""


class HealthSource(Protocol):
    """Answers `health`."""

    def report(self) -> HealthResult: ...


@dataclass(kw_only=True)
class Parts:
    """The parts of a broker that operations work with.

    Args:
        name: this broker's own name.
        keeper: the current snapshot, and the way to change it.
        store: for history, which is not part of the snapshot.
        health: answers `health`.
        limits: how large a request may be, and how many; called anew each time, since they may change.
        farm: how far the list of renders is trusted.
        system_job: keeps post commands on their pool; None if there is no afserver.
        live: keeps the fences of running jobs; None if that is not enabled.
        clock: the time, with its zone.
    """

    name: str
    keeper: SnapshotKeeper
    store: PoolStore
    health: HealthSource
    limits: Callable[[], LimitsSection]
    farm: FarmSection
    system_job: SystemJobKeeper | None
    live: FenceKeeper | None
    clock: Callable[[], dt.datetime]

    def moment(self) -> Moment:
        """The present moment.

        Raises:
            RequestRefused: `store_unavailable`: this broker has not seen its store since it started.
        """
        return moment_of(self.keeper, self.farm, self.clock())


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sent a request.

    Args:
        peer: who it is, authenticated.
        address: for log lines.
        transport: the listener's name, for the statistics.
    """

    peer: Peer
    address: str
    transport: str = ""


class Call:
    """One request while it is being answered.

    Args:
        parts: what it is answered with.
        sender: who sent the request.
        moment: the moment to answer from, if it is already known.
    """

    __slots__ = ("began", "known_moment", "parts", "request_id", "sender")

    def __init__(self, parts: Parts, sender: Sender, moment: Moment | None = None) -> None:
        self.parts = parts
        self.sender = sender
        self.began = time.monotonic()
        self.known_moment = moment
        self.request_id = ""

    @property
    def moment(self) -> Moment:
        """The moment to answer from: the same throughout one request, since a newer snapshot may lack something that
        this one has.

        Raises:
            RequestRefused: what `Parts.moment` raises.
        """
        if self.known_moment is None:
            self.known_moment = self.parts.moment()
        return self.known_moment

    @property
    def who(self) -> str:
        """The sender's name, as history records it."""
        return self.sender.peer.name

    @property
    def seconds(self) -> float:
        """How long the request has been waiting for its answer, in seconds."""
        return time.monotonic() - self.began

    def did(self, op: str, what: str) -> None:
        """Notes in the log that the sender made a change; `what` in a few words."""
        audit.did(self.who, self.sender.address, op, self.request_id, what)

    def refuse_late(self) -> None:
        """
        Raises:
            RequestRefused: `store_unavailable`: the sender of the change no longer waits for it.
        """
        refuse_late(self.began)


def refuse_late(began: float) -> None:
    """
    Args:
        began: when the change was requested, in seconds of `time.monotonic`.

    Raises:
        RequestRefused: `store_unavailable`: that was too long ago.
    """
    if time.monotonic() > began + _PATIENCE_SECONDS:
        raise RequestRefused(
            Code.STORE_UNAVAILABLE,
            "This broker did not make the change in time: the database is slow, and too many changes were waiting. "
            "Try again.",
            made=False,
        )


class Operation(Struct, forbid_unknown_fields=True):
    """Base of all operations. An unknown parameter is an error: a mistyped `if_revision` must not be ignored.

    docs/wire.md is made from an operation's docstring and the descriptions of its parameters and result.
    """

    op: ClassVar[str]
    """Its name on the wire."""

    role: ClassVar[Role] = Role.READER
    """Who may ask for it."""

    purpose: ClassVar[str] = ""
    """What it is for, if it needs a manager: "To `purpose` you need a manager profile"."""

    did: ClassVar[str] = ""
    """What it did to a pool, as the rest of a sentence: "it was renamed". Empty if it changes nothing."""

    verb: ClassVar[str] = ""
    """The same as worded in history, before the pool's name: "renamed"."""

    result: ClassVar[type[Result]]
    """The type of its result."""

    of_moment: ClassVar[bool] = False
    """Its answer depends only on the moment, so the same request gets the same answer as long as the moment lasts."""

    def turn(self, call: Call) -> Turn:
        """Who answers this request.

        Raises:
            RequestRefused: nobody can answer it.
        """
        return Turn.LATER

    def answer(self, call: Call) -> Result:
        """
        Raises:
            RequestRefused: the answer is an error.
            StoreUnavailable: the store did not answer.
        """
        raise NotImplementedError
