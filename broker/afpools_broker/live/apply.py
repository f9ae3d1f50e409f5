"""Sets masks at afserver: gently, and believing nothing but what is read back.

Strategy: afserver carries out actions once a second, and answers nobody while it does. So what goes out together is
sized by how long it will work, which is learned from the times between its answers. Jobs that change alike share an
action; different actions go out at the same time, over connections of their own, because one after the other each
would wait a second. A number is used again as soon as its job is deleted, and an action carries no serial: each job is
compared just before, and looked at again just after.
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

from ..farm.farm import FarmError
from .jobs import Ask, Job, read_jobs
from .plan import is_done

log = logging.getLogger("afpools.live")

TARGET_SECONDS = 0.15
"""How long afserver may work for what goes out together. 250 ms are promised, and its load is not ours alone."""

# Jobs in one action, and actions that go out together. Each action has a connection of its own, which afserver keeps
# until its next round; half of the 1,024 open files that a program usually may have stay for its other clients.
_MOST_IDS = 50
_MOST_ACTIONS = 500

# As measured on 3.4.1, on two cores: what one job of an action takes, what the type adds, and what a byte of a regex.
_PER_ID, _PER_TYPE, _PER_BYTE = 0.0002, 0.00015, 0.0000012

# What takes less cannot be told from the time that messages take.
_FELT_SECONDS = 0.004

# afserver sleeps so long between two rounds.
_ROUND_SECONDS = 1.0

USER = "afpools"
"""The name under which this program acts: it stands in each job's log."""


@dataclass(frozen=True)
class Move:
    """One job's change.

    Args:
        job: as it was when the change was worked out.
        params: of the action.
    """

    job: Job
    params: dict[str, Any]

    @property
    def key(self) -> bytes:
        """The same for jobs that change alike."""
        return msgspec.json.encode(self.params, order="sorted")

    @property
    def seconds(self) -> float:
        """What it takes afserver, about."""
        mask: str = self.params.get("hosts_mask_exclude", "")
        regex = self.params.get("hosts_mask_type", self.job.hosts_mask_type) != "find"
        sets_type = "hosts_mask_type" in self.params
        return _PER_ID + (_PER_TYPE if sets_type else 0.0) + (_PER_BYTE * len(mask) if regex else 0.0)


@dataclass
class Outcome:
    """What became of moves that went out together.

    Args:
        done: jobs as they were read back, each with what was wanted.
        made: the moves of these.
        refused: jobs that afserver left as they were, or set to something else, each with what was wanted.
        gone: numbers of jobs that are not there any more.
        outdated: numbers of jobs that changed just before, and were left alone.
        struck: jobs that got the number of a job that was meant, in the moment between, and so its mask.
        read: every job as it was read last, None for one that is gone.
        seconds: how long afserver worked.
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
    """How much goes out together, learned from how long afserver took."""

    def __init__(self) -> None:
        self.factor = 1.0
        """How much longer this server takes than the one that was measured."""

    def takes(self, move: Move) -> float:
        """Seconds that afserver works for a move, as far as is known."""
        return move.seconds * self.factor

    def learn(self, expected: float, took: float) -> None:
        """Takes in how long afserver worked for what should have taken `expected` seconds by the first estimate."""
        if expected <= 0.0:
            return
        seen = min(max(took / expected, 0.2), 50.0)
        if seen > self.factor and expected < _FELT_SECONDS and took < 10 * _FELT_SECONDS:
            return  # that was the network
        # Slower counts at once, quicker only in part.
        self.factor = seen if seen > self.factor else (self.factor + seen) / 2

    def some(self, moves: Sequence[Move]) -> list[Move]:
        """The first of these moves, as many as may go out together; at least one."""
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
    """Moves that change alike, together; in at least two parts where there is more than one, so that the time between
    the answers says how long afserver works."""
    alike: dict[bytes, list[Move]] = {}
    for move in moves:
        alike.setdefault(move.key, []).append(move)
    size = _MOST_IDS if len(alike) > 1 else min(_MOST_IDS, -(-len(moves) // 2))
    return [group[start : start + size] for group in alike.values() for start in range(0, len(group), size)]


class Mover:
    """Carries out moves.

    Args:
        ask: sends one request to afserver; raises `FarmError`.
        address: afserver's host and port, for many requests at once.
        timeout: seconds for one answer.
        host: this broker's name, which stands in the jobs' logs.
        may_act: raises `lease.NotOurs` where this broker must not; asked right before each action is written.
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
        self._unseen: list[Move] = []  # sent, perhaps, and not looked at since

    def catch_up(self) -> Outcome:
        """Looks at what was sent when afserver stopped answering, or the lease ran out.

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
        """Carries out the first of these moves, as many as may go out together, and reads back what came of it.

        Raises:
            FarmError: afserver does not answer. What was done is not known; looking again will tell.
            NotOurs: this broker holds no lease.
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
            elif job.fence != move.job.fence:
                outcome.outdated.append(move.job.id)
            else:
                ready.append(move)
        if ready:
            # afserver may carry out an action whose answer never comes, and the number may be another job's by then.
            self._unseen += ready
            outcome.seconds = self._send(batches(ready))
            self._look_after(ready, outcome)
            self._unseen = []
        return outcome

    def _send(self, parts: list[list[Move]]) -> float:
        """Sends actions at once; returns how long afserver worked."""
        actions = [self.action([move.job.id for move in part], params=part[0].params) for part in parts]
        answered = ask_together(self._address, actions, timeout=self._timeout(), before_each=self._may_act)
        parts_by_time = sorted(zip(answered, parts, strict=True), key=lambda each: each[0])
        took = expected = 0.0
        for (before, _), (at, part) in pairwise(parts_by_time):
            planned = sum(map(self.pace.takes, part))
            # What missed a round of afserver's waited for the next, and that was no work.
            slept = at - before > _ROUND_SECONDS > 3 * planned
            took += at - before - _ROUND_SECONDS * slept
            expected += sum(move.seconds for move in part)
        self.pace.learn(expected, took)
        # What came before the first answer was not seen.
        return took + sum(map(self.pace.takes, parts_by_time[0][1]))

    def _look_after(self, moves: Sequence[Move], outcome: Outcome) -> None:
        after = read_jobs(self._ask, {move.job.id for move in moves})
        for move in moves:
            job = after.get(move.job.id)
            outcome.read[move.job.id] = job
            if job is None:
                outcome.gone.append(move.job.id)
            elif job.serial != move.job.serial:
                # Another job now. Without what was set, it came after the action, and nothing is wrong.
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
        """Sends actions at once whose effect is looked at elsewhere.

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
        timeout: seconds for everything together.
        before_each: called right before a request is written; what it raises keeps it from being sent.

    Returns:
        When each was answered, as `time.monotonic` counts. What the answers say is not believed anyway.

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
        raise FarmError(f"{where} closed the connection, or answered what makes no sense.") from None
