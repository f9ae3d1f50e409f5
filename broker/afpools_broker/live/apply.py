"""Sets masks at afserver: gently, and trusting only what is read back.

Strategy: afserver carries out actions once a second, and answers nobody meanwhile. So the size of a batch is limited by
how long afserver will work on it, which is learned from the times between its answers. Jobs that change alike share an
action; different actions go out at the same time, each over its own connection, because in sequence each would wait a
second. afserver reuses a number as soon as its job is deleted, and an action carries no serial, so each job is compared
just before the action and checked again just after.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import msgspec

from ..farm.afserver import Ask, FarmError
from .jobs import Job, read_jobs
from .plan import is_done

log = logging.getLogger("afpools.live")

TARGET_SECONDS = 0.15
"""How long afserver may work on one batch, in seconds. We promise 250 ms, and its load is not ours alone."""

# Jobs in one action, and actions in one batch. Each action has its own connection, which afserver keeps until its next
# round; half of the 1,024 files that a program may usually have open are left for its other clients.
_MOST_IDS = 50
_MOST_ACTIONS = 500

# Seconds, measured on 3.4.1 with two cores: for one job of an action, for setting the type, and for a byte of a regex.
_PER_ID, _PER_TYPE, _PER_BYTE = 0.0002, 0.00015, 0.0000012

# Anything shorter cannot be distinguished from the time that messages take.
_FELT_SECONDS = 0.004

# How long afserver sleeps between two rounds.
_ROUND_SECONDS = 1.0

USER = "afpools"
"""The name under which this program acts; it appears in each job's log."""


@dataclass(frozen=True)
class Move:
    """One job's change.

    Args:
        job: the job as it was when the change was planned.
        params: the action's parameters.
        only_idle: whether it is made only if no task of the job runs.
    """

    job: Job
    params: dict[str, Any]
    only_idle: bool = False

    @property
    def key(self) -> bytes:
        """A key that is equal for jobs that change alike."""
        return msgspec.json.encode(self.params, order="sorted")

    @property
    def seconds(self) -> float:
        """Roughly how long it takes afserver, in seconds."""
        mask: str = self.params.get("hosts_mask_exclude", "")
        regex = self.params.get("hosts_mask_type", self.job.hosts_mask_type) != "find"
        sets_type = "hosts_mask_type" in self.params
        return _PER_ID + (_PER_TYPE if sets_type else 0.0) + (_PER_BYTE * len(mask) if regex else 0.0)


@dataclass
class Outcome:
    """The outcome of a batch of moves.

    Args:
        done: jobs as they were read back, as wanted.
        made: the moves of these jobs.
        refused: jobs that afserver left as they were, or set to something else, each with the parameters that were
            wanted.
        gone: numbers of jobs that no longer exist.
        outdated: numbers of jobs that changed just before, and were left alone.
        struck: jobs that got the number of the intended job in the time between, and so its mask.
        read: every job as it was last read, None for one that is gone.
        seconds: how long afserver worked on it.
    """

    done: list[Job] = field(default_factory=list)
    made: list[Move] = field(default_factory=list)
    refused: list[tuple[Job, dict[str, Any]]] = field(default_factory=list)
    gone: list[int] = field(default_factory=list)
    outdated: list[int] = field(default_factory=list)
    struck: list[Job] = field(default_factory=list)
    read: dict[int, Job | None] = field(default_factory=dict)
    seconds: float = 0.0


class Pace:
    """Chooses the size of a batch, learned from how long afserver took."""

    def __init__(self) -> None:
        self.factor = 1.0
        """The factor by which this server is slower than the measured one."""

    def takes(self, move: Move) -> float:
        """The estimate of how many seconds afserver works on a move."""
        return move.seconds * self.factor

    def learn(self, expected: float, took: float) -> None:
        """Learns from how long afserver worked on what should have taken `expected` seconds by the first estimate."""
        if expected <= 0.0:
            return
        seen = min(max(took / expected, 0.2), 50.0)
        if seen > self.factor and expected < _FELT_SECONDS and took < 10 * _FELT_SECONDS:
            return  # it measured the network only
        # A slower server counts at once, a quicker one only in part.
        self.factor = seen if seen > self.factor else (self.factor + seen) / 2

    def some(self, moves: Sequence[Move]) -> list[Move]:
        """The first of these moves, as many as fit into one batch; at least one."""
        chosen: list[Move] = []
        left, actions = TARGET_SECONDS, 0
        kinds: dict[bytes, int] = {}
        for move in moves:
            left -= self.takes(move)
            count = kinds.get(move.key, 0)
            actions += count % _MOST_IDS == 0
            if chosen and (left < 0 or actions > _MOST_ACTIONS):
                break
            kinds[move.key] = count + 1
            chosen.append(move)
        return chosen


def batches(moves: Sequence[Move]) -> list[list[Move]]:
    """Groups moves that change alike; into at least two parts if there is more than one move, so that the time between
    the answers shows how long afserver works."""
    alike: dict[bytes, list[Move]] = {}
    for move in moves:
        alike.setdefault(move.key, []).append(move)
    size = _MOST_IDS if len(alike) > 1 else min(_MOST_IDS, -(-len(moves) // 2))
    return [group[start : start + size] for group in alike.values() for start in range(0, len(group), size)]


class Mover:
    """Carries out moves at afserver.

    Args:
        ask: sends one request to afserver; raises `FarmError`.
        address: afserver's host and port, for many requests at once.
        timeout: seconds for one answer.
        host: this broker's name, which appears in the jobs' logs.
        may_act: raises `lease.NotOurs` if this broker must not act; called right before each action is written.
    """

    def __init__(
        self,
        ask: Ask,
        address: tuple[str, int],
        *,
        timeout: Callable[[], float],
        host: str,
        may_act: Callable[[], None],
    ) -> None:
        self._ask, self._address, self._timeout, self._host, self._may_act = ask, address, timeout, host, may_act
        self.pace = Pace()
        self._unseen: list[Move] = []  # possibly sent, and not checked since

    def catch_up(self) -> Outcome:
        """Checks the moves that were being sent when afserver stopped answering or the lease ran out.

        Raises:
            FarmError: afserver still does not answer.
        """
        outcome = Outcome()
        if self._unseen:
            self._look_after(self._unseen, outcome)
            self._unseen = []
            outcome.refused.clear()  # afserver may not have carried it out yet
        return outcome

    def carry_out(self, moves: Sequence[Move]) -> Outcome:
        """Carries out the first of these moves, as many as fit into one batch, and reads back the outcome.

        Raises:
            FarmError: afserver does not answer. It is not known what was done; the next check will show it.
            NotOurs: this broker does not hold the lease.
        """
        chosen = self.pace.some(moves)
        outcome = Outcome()
        before = read_jobs(self._ask, {move.job.id for move in chosen})
        ready = []
        for move in chosen:
            job = before.get(move.job.id)
            outcome.read[move.job.id] = job
            if job is None:
                outcome.gone.append(move.job.id)
            elif job.fence != move.job.fence or (move.only_idle and job.running_tasks_num):
                outcome.outdated.append(move.job.id)
            else:
                ready.append(move)
        if ready:
            # afserver may carry out an action without ever answering, and the number may belong to another job by then.
            self._unseen += ready
            outcome.seconds = self._send(batches(ready))
            self._look_after(ready, outcome)
            self._unseen = []
        return outcome

    def _send(self, parts: list[list[Move]]) -> float:
        """Sends actions in parallel; returns how long afserver worked on them."""
        actions = [self.action([move.job.id for move in part], params=part[0].params) for part in parts]
        answered = ask_together(self._address, actions, timeout=self._timeout(), before_each=self._may_act)
        parts_by_time = sorted(zip(answered, parts, strict=True), key=lambda each: each[0])
        took = expected = 0.0
        for (before, _), (at, part) in pairwise(parts_by_time):
            planned = sum(map(self.pace.takes, part))
            # An action that missed a round waited for the next, and that was not work.
            slept = at - before > _ROUND_SECONDS > 3 * planned
            took += at - before - _ROUND_SECONDS * slept
            expected += sum(move.seconds for move in part)
        self.pace.learn(expected, took)
        # The work before the first answer cannot be seen.
        return took + sum(map(self.pace.takes, parts_by_time[0][1]))

    def _look_after(self, moves: Sequence[Move], outcome: Outcome) -> None:
        after = read_jobs(self._ask, {move.job.id for move in moves})
        for move in moves:
            job = after.get(move.job.id)
            outcome.read[move.job.id] = job
            if job is None:
                outcome.gone.append(move.job.id)
            elif job.serial != move.job.serial:
                # It is another job now. If it does not have what was set, it came after the action, and nothing is
                # wrong.
                if job.custom_data == move.params["custom_data"]:
                    outcome.struck.append(job)
                else:
                    outcome.outdated.append(job.id)
            elif is_done(job, move.params):
                outcome.done.append(job)
                outcome.made.append(move)
            else:
                outcome.refused.append((job, move.params))

    def action(self, ids: Sequence[int], **what: Any) -> dict[str, Any]:
        """A request that acts on jobs; `what` is `params`, or an `operation` with `block_ids`."""
        return {"action": {"user_name": USER, "host_name": self._host, "type": "jobs", "ids": list(ids), **what}}

    def operate(self, actions: Sequence[dict[str, Any]]) -> None:
        """Sends actions in parallel; the caller checks their effect.

        Raises:
            FarmError, NotOurs: as `carry_out`.
        """
        for some in _at_most(actions, _MOST_ACTIONS):
            ask_together(self._address, some, timeout=self._timeout(), before_each=self._may_act)


def _at_most(values: Sequence[dict[str, Any]], size: int) -> Iterator[Sequence[dict[str, Any]]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]


def ask_together(
    address: tuple[str, int],
    requests: Sequence[dict[str, Any]],
    *,
    timeout: float,
    before_each: Callable[[], None] = lambda: None,
) -> list[float]:
    """Sends requests to afserver at the same time, each over its own connection.

    Args:
        address: host and port.
        requests: JSON-encodable.
        timeout: seconds for all of them together.
        before_each: called right before a request is written; if it raises, the request is not sent.

    Returns:
        When each was answered, in seconds of `time.monotonic`. The content of the answers is not trusted anyway.

    Raises:
        FarmError: one of them was not answered.
    """

    async def exchange(request: dict[str, Any]) -> float:
        reader, writer = await asyncio.open_connection(*address)
        try:
            body = msgspec.json.encode(request)
            before_each()
            writer.write(b"AFANASY %d JSON%s" % (len(body), body))
            head = await reader.readuntil(b"JSON")
            await reader.readexactly(int(head.split()[1]))
            return time.monotonic()
        finally:
            writer.close()

    async def all_of_them() -> list[float]:
        async with asyncio.timeout(timeout):
            answers = await asyncio.gather(*map(exchange, requests), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return [answer for answer in answers if not isinstance(answer, BaseException)]

    where = f"afserver at {address[0]}:{address[1]}"
    try:
        return asyncio.run(all_of_them())
    except TimeoutError:
        raise FarmError(f"{where} did not answer within {timeout:g} seconds.") from None
    except OSError as error:
        raise FarmError(f"{where} cannot be reached: {error.strerror or error}.") from None
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, IndexError):
        raise FarmError(f"{where} closed the connection, or sent an answer that makes no sense.") from None
