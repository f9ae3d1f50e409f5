"""One client of a run: asks through the client library, and records what it was told.

Strategy: what an outcome means is decided here and nowhere else. A write whose outcome nobody told is sent again with
the same request id, as the library's documentation asks for. Once one attempt has an unknown outcome, no refusal of a
later one settles the whole: only "made" does.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from afpools import AfpoolsError, BrokerRefused, Client, Mask, OutcomeUnknown, WriteResult
from afpools.profile import Profile

from .history import MEMBER, NOTHING, Cell, Listing, Operation, Outcome, Recorder

# A call's own deadline, the library's default.
TIMEOUT = 2.0
_ATTEMPTS = 5
_BETWEEN_ATTEMPTS = 0.3

_T = TypeVar("_T")


class Spec(Struct, frozen=True):
    """The parameters of a client process.

    Args:
        actor: its name in the history.
        profile: folder of its credential, with the endpoints that it may use.
        record: file that its history goes to.
        seed: for its choices.
        pools: names of those that are there from beginning to end.
        pause: seconds between two requests, on average.
        quiet: while there is a file of this name, writers change nothing.
        reconnects: after so many requests, a new connection; 0 for never.
    """

    actor: str
    profile: str
    record: str
    seed: int
    pools: tuple[str, ...]
    pause: float
    quiet: str = ""
    reconnects: int = 0


class Asker:
    """Asks, and records.

    Args:
        spec: who it is.
        recorder: where its history goes.
    """

    def __init__(self, spec: Spec, recorder: Recorder) -> None:
        self.spec = spec
        self._profile = Profile.load(spec.profile)
        self._client = Client(self._profile, timeout=TIMEOUT)
        self._recorder = recorder
        self._asked = 0

    @property
    def client(self) -> Client:
        """The client; only for use inside `read` and `write`."""
        return self._client

    def read(self, op: str, ask: Callable[[], _T], shows: Callable[[_T], dict[str, Any]]) -> None:
        """Asks once.

        Args:
            op: the operation on the wire.
            ask: the call.
            shows: `shows`, `tells` and `age` of the operation, from its result.
        """
        self._asked += 1
        if self.spec.reconnects and self._asked % self.spec.reconnects == 0:
            self._client.close()
        start = time.monotonic()
        try:
            result = ask()
        except AfpoolsError as error:
            outcome, code = outcome_of(error)
            self._note(op, start, time.monotonic(), outcome, code=code, message=str(error))
            return
        end = time.monotonic()
        self._note(op, start, end, Outcome.OK, **shows(result))

    def write(
        self,
        op: str,
        ask: Callable[[str], WriteResult],
        sets: tuple[Cell, ...],
        *,
        needs: tuple[Cell, ...] = (),
        there: tuple[Cell, ...] = (),
    ) -> Operation:
        """Asks until a broker reports the outcome, a few times at most.

        Args:
            op: the operation on the wire.
            ask: the call, with a request id.
            sets: what it makes registers hold.
            needs: what they have to hold before, or it is refused.
            there: what it needs besides, and is told to be missing with `unknown_pool`.
        """
        request_id = os.urandom(8).hex()
        start = time.monotonic()

        def note(end: float | None, outcome: Outcome, **more: object) -> Operation:
            common = {"request_id": request_id, "sets": sets, "needs": needs, **more}
            return self._note(op, start, end, outcome, **common)

        note(None, Outcome.UNKNOWN)
        message = code = ""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                result = ask(request_id)
            except AfpoolsError as error:
                outcome, code = outcome_of(error)
                message = str(error)
                if outcome is Outcome.REFUSED and attempt == 1:
                    claims = _claims(code, needs, there)
                    return note(time.monotonic(), outcome, code=code, message=message, claims=claims)
                time.sleep(_BETWEEN_ATTEMPTS)
            else:
                return note(time.monotonic(), Outcome.OK, attempts=attempt, change=result.change)
        return note(None, Outcome.UNKNOWN, attempts=_ATTEMPTS, code=code, message=message)

    def _note(self, op: str, start: float, end: float | None, outcome: Outcome, **more: object) -> Operation:
        # The client does not say which broker answered; its next call would go there first.
        answered = getattr(self._client, "_preferred", None)
        endpoint = answered.url if answered else ""
        operation = Operation(
            actor=self.spec.actor,
            who=self._profile.name,
            op=op,
            start=start,
            end=end,
            outcome=outcome,
            transport=endpoint.partition(":")[0],
            endpoint=endpoint,
            **more,  # type: ignore[arg-type]
        )
        self._recorder.record(operation)
        return operation


def outcome_of(error: AfpoolsError) -> tuple[Outcome, str]:
    """What a failed call says about its request, and the code of the refusal."""
    if isinstance(error, OutcomeUnknown):
        return Outcome.UNKNOWN, ""
    # For a change, `BrokerUnreachable` means that it was sent to nobody.
    return Outcome.REFUSED, error.code if isinstance(error, BrokerRefused) else "unreachable"


def _claims(code: str, needs: tuple[Cell, ...], there: tuple[Cell, ...]) -> tuple[Cell, ...]:
    """What a refusal says about the store."""
    match code:
        case "pool_exists":
            return tuple(Cell(cell.scope, cell.key, MEMBER) for cell in needs if cell.value == NOTHING)
        case "unknown_pool":
            return tuple(Cell(cell.scope, cell.key, NOTHING) for cell in there)
    return ()


def members(names: Iterable[str]) -> Listing:
    """A listing in which these keys are members."""
    return dict.fromkeys(names, MEMBER)


def lets_in(mask: Mask, hosts: Iterable[str]) -> Listing:
    """Which of these hosts a job with this regex mask would run on, as a member each; the others as absent."""
    # Literals, alternatives, classes, one lookahead: what std::regex and Python read alike.
    excluded = re.compile(mask.mask)
    return {host: NOTHING if mask.mask and excluded.fullmatch(host) else MEMBER for host in hosts}


@contextlib.contextmanager
def asker() -> Iterator[tuple[Asker, Callable[[], bool]]]:
    """The client that this process's first argument describes, and whether it should keep asking."""
    spec = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Spec)
    leave = False

    def asked_to_leave(*_: object) -> None:
        nonlocal leave
        leave = True

    signal.signal(signal.SIGTERM, asked_to_leave)
    parent = os.getppid()
    with Path(spec.record).open("ab", buffering=0) as file:
        yield Asker(spec, Recorder(file)), lambda: not leave and os.getppid() == parent
