"""Turns a request into its answer; the only place that checks roles.

Strategy: `answer` never waits. What can be answered from memory is returned at once, as bytes; what needs a database or
much computing is returned as a function, which the listener runs on a worker; the listener sends the result when it is
ready. The table of operations says what can be asked for, and who answers it.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from dataclasses import dataclass

from . import __version__, protocol
from .config import FarmSection, LimitsSection
from .credentials.peers import utcnow
from .farm.system_job import SystemJobKeeper
from .live.keeper import FenceKeeper
from .monitoring.audit import shown
from .monitoring.peer_log import PeerLog, host_of
from .monitoring.statistics import Statistics
from .operations import OPERATIONS, Call, Operation, Parts, Sender, Turn, decode
from .operations.base import HealthSource
from .picture.kept_answers import KeptAnswers
from .picture.moment import Moment
from .picture.snapshot import SnapshotKeeper
from .protocol import Code, RequestRefused, Role
from .store import PoolStore, StoreUnavailable


@dataclass(frozen=True, slots=True)
class Later:
    """A slow answer: `work` makes it, on a worker. Writes have their own workers, so that reads never wait for a
    store."""

    work: Callable[[], bytes]
    writes: bool


class Service:
    """Answers requests.

    Args:
        name: this broker's own name.
        keeper: the current snapshot, and the way to change it.
        store: for history, which is not part of the snapshot.
        health: answers `health`.
        limits: how large a request may be, and how many; called anew each time, since they may change.
        peer_log: for lines that a peer can cause.
        statistics: counts requests and errors.
        farm: how far the list of renders is trusted.
        system_job: keeps post commands on their pool; None if there is no afserver.
        live: keeps the fences of running jobs; None if that is not enabled.
        clock: the time, with its zone.
    """

    def __init__(
        self,
        *,
        name: str,
        keeper: SnapshotKeeper,
        store: PoolStore,
        health: HealthSource,
        limits: Callable[[], LimitsSection],
        peer_log: PeerLog,
        statistics: Statistics,
        farm: FarmSection,
        system_job: SystemJobKeeper | None = None,
        live: FenceKeeper | None = None,
        clock: Callable[[], dt.datetime] = utcnow,
    ) -> None:
        self._parts = Parts(
            name=name,
            keeper=keeper,
            store=store,
            health=health,
            limits=limits,
            farm=farm,
            system_job=system_job,
            live=live,
            clock=clock,
        )
        self._peer_log = peer_log
        self._statistics = statistics
        self._kept: KeptAnswers[Moment] = KeptAnswers()

    def set_farm(self, farm: FarmSection) -> None:
        """Changes how far the list of renders is trusted."""
        self._parts.farm = farm

    def answer(self, sender: Sender, data: bytes) -> bytes | Later:
        """The answer to one request, or a function that returns it and may take long.

        Args:
            sender: who sent the request, already authenticated.
            data: the request as it came, at most `[limits] message_bytes` long.
        """
        began = time.monotonic()
        moment = None
        if self._parts.keeper.is_loaded:
            moment = self._parts.moment()
            kept = self._kept.find(data, moment)
            if kept is not None:
                operation, answer = kept
                self._statistics.answered(operation, sender.transport, time.monotonic() - began)
                return answer
        return self._answer(Call(self._parts, sender, moment), data)

    def _answer(self, call: Call, data: bytes) -> bytes | Later:
        request = operation = None
        try:
            request = protocol.decode_request(data)
            call.request_id = request.id
            operation = _operation(request.op)
            self._statistics.request(operation.op, call.sender.transport)
            self._check_role(operation, call.sender, request.id)
            asked = decode(operation, request.params)
            turn = asked.turn(call)
        except RequestRefused as refusal:
            request_id = request.id if request else protocol.guess_id(data)
            if operation:
                self._took(operation, call)
            return self._refuse(request_id, operation.op if operation else "", call.sender.transport, refusal)
        except Exception:  # noqa: BLE001 - logged with its traceback, but not as often as the sender likes
            request_id = protocol.guess_id(data)
            self._log_bug(call.sender, "", request_id, "Reading a request failed", data)
            return self._failed(request_id, "", call.sender.transport)
        request_id = request.id
        if turn is not Turn.AT_ONCE:
            return Later(lambda: self._finish(request_id, asked, call, data, late=True), turn is Turn.WRITING)
        answer = self._finish(request_id, asked, call, data)
        if asked.of_moment and call.known_moment is not None:
            self._kept.keep(data, call.known_moment, asked.op, answer)
        return answer

    def _check_role(self, operation: type[Operation], sender: Sender, request_id: str) -> None:
        """
        Raises:
            RequestRefused: `forbidden`.
        """
        if operation.role is not Role.MANAGER or sender.peer.role is Role.MANAGER:
            return
        self._peer_log.say(
            f"{sender.peer.name} {host_of(sender.address)}",
            operation.op,
            "Refused: %r (%s) at %s asked for %s, which needs a manager profile (request %s)",
            sender.peer.name,
            sender.peer.role,
            sender.address,
            operation.op,
            shown(request_id),
            fields={
                "outcome": "refused",
                "who": sender.peer.name,
                "role": sender.peer.role.value,
                "address": sender.address,
                "op": operation.op,
                "request": request_id,
            },
        )
        raise RequestRefused(
            Code.FORBIDDEN,
            f"To {operation.purpose} you need a manager profile; {sender.peer.name!r} is a "
            f"{sender.peer.role}. Ask whoever runs the farm for one (request {shown(request_id)}).",
        )

    def _took(self, operation: type[Operation], call: Call) -> None:
        self._statistics.took(operation.op, call.sender.transport, call.seconds)

    def _finish(self, request_id: str, asked: Operation, call: Call, data: bytes, *, late: bool = False) -> bytes:
        transport = call.sender.transport
        try:
            result = asked.answer(call)
            if late and asked.of_moment:
                # The moment is that of the request.
                result.grow_older(call.seconds)
            return protocol.encode_answer(request_id, result)
        except RequestRefused as refusal:
            return self._refuse(request_id, asked.op, transport, refusal)
        except StoreUnavailable as error:
            unavailable = RequestRefused(Code.STORE_UNAVAILABLE, str(error))
            return self._refuse(request_id, asked.op, transport, unavailable)
        except Exception:  # noqa: BLE001 - as above
            self._log_bug(call.sender, asked.op, request_id, f"Answering {asked.op} failed", data)
            return self._failed(request_id, asked.op, transport)
        finally:
            self._took(type(asked), call)

    # Answers for requests that a listener refuses before the service sees them. `data` is the request, and
    # `transport` the listener's name.

    def too_busy(self, data: bytes, transport: str) -> bytes:
        """No worker is free."""
        return self._turn_away(data, transport, "The broker has too many requests waiting. Try again in a moment.")

    def rate_limited(self, data: bytes, transport: str) -> bytes:
        """The client, or its credential from all addresses together, asks too often."""
        return self._turn_away(
            data, transport, "You ask more often than this broker allows ([limits] requests_per_second). Slow down."
        )

    def full(self, data: bytes, reason: str, transport: str) -> bytes:
        """There is no room for one more connection; `reason` is a clause."""
        return self._turn_away(data, transport, f"There are too many connections: {reason}. Try again in a moment.")

    def unread_answers(self, data: bytes, transport: str) -> bytes:
        """The client has not read earlier answers."""
        return self._turn_away(
            data, transport, "Too many answers to you have not been read yet. Read them, then ask again."
        )

    def not_valid_any_more(self, data: bytes, reason: str, transport: str) -> bytes:
        """The credential was valid when the connection was opened; `reason` is a clause."""
        message = f"Your credential is no longer valid: {reason}. Ask for a new profile."
        return self._turn_away(data, transport, message, Code.FORBIDDEN)

    def too_large(self, size: int, transport: str) -> bytes:
        """The request is over the limit, and was not read."""
        message = (
            f"The request is {size:,} bytes; this broker accepts {self._parts.limits().message_bytes:,} at most. "
            "Split the change into smaller ones."
        )
        return self._turn_away(b"", transport, message, Code.TOO_LARGE)

    def _turn_away(self, data: bytes, transport: str, message: str, code: Code = Code.RATE_LIMITED) -> bytes:
        return self._refuse(protocol.guess_id(data), "", transport, RequestRefused(code, message))

    def _refuse(self, request_id: str, operation: str, transport: str, refusal: RequestRefused) -> bytes:
        self._statistics.error(operation, transport, refusal.code)
        return protocol.encode_error(request_id, refusal.code, refusal.message, refusal.made)

    def _log_bug(self, sender: Sender, operation: str, request_id: str, what: str, data: bytes) -> None:
        said = f"{what} (request {shown(request_id)}); the request was {data[:2000]!r}"
        self._peer_log.bug(sender.peer.name, operation, said)

    def _failed(self, request_id: str, operation: str, transport: str) -> bytes:
        """The answer to a request that hit a bug of ours; everything needed to find it is in the log."""
        return self._refuse(
            request_id,
            operation,
            transport,
            RequestRefused(
                Code.INTERNAL,
                f"The broker failed to answer; its log says why (request {shown(request_id)}). Please report it.",
            ),
        )


def _operation(name: str) -> type[Operation]:
    """
    Raises:
        RequestRefused: `unknown_op`.
    """
    operation = OPERATIONS.get(name)
    if operation is None:
        raise RequestRefused(
            Code.UNKNOWN_OP,
            f"There is no operation {name!r} here (broker version {__version__}). There are: {', '.join(OPERATIONS)}.",
        )
    return operation
