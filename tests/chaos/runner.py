"""One run: a world, its clients, the faults of a schedule in sequence, and a verdict at the end."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pymongo.errors import PyMongoError
from tests.command import AFPOOLS

from .checker import ALLOWANCE, check
from .clock import Clock
from .faults import Fault, NotCarriedOut, every
from .faults.disks import FILE_BYTES, MEMBER_BYTES, small_disks
from .findings import Finding
from .founding import founded
from .history import Attack, History, Operation, Outcome
from .measures import Period, Row, Watch, rows, too_much
from .proxy import Network
from .schedule import Step, plan
from .stores import MongoSet, SqliteFile, mongo_set
from .world import POOLS, Size, World

_SAY_SECONDS = 5.0
_RECOVERED_WITHIN = 45.0
_ENOUGH_WITHIN = 90.0
# Longer than a lease that nobody renews: a keeper that has just died must be replaced.
_STILL_SECONDS = 16.0
_CURRENT_WITHIN = 60.0


@dataclass(frozen=True)
class Options:
    """The parameters of a run.

    Args:
        seed: of everything that chance decides.
        seconds: how long faults keep coming.
        store: `replica-set` or `sqlite`.
        faults: names of those that may come.
        size: how much of everything.
        allowance: see `checker.check`.
        pace: see `schedule.plan`.
        memory: MB that a broker may take.
        writes: so many have to be acknowledged, or the run takes longer.
        command: what starts a broker.
    """

    seed: int
    seconds: float
    store: str
    faults: Sequence[str]
    size: Size = field(default_factory=Size)
    allowance: float = ALLOWANCE
    pace: float = 1.0
    memory: float = 600.0
    writes: int = 0
    command: Sequence[str] = (str(AFPOOLS), "serve")


@dataclass(frozen=True)
class Result:
    """The outcome of a run. `undone` are the faults that could not be carried out, and why."""

    history: History
    findings: list[Finding]
    table: list[Row]
    undone: list[str]
    interrupted: bool


def run(folder: Path, options: Options, say: Callable[[str], None]) -> Result:
    """Runs it. Ctrl-C ends the faults, and what was seen so far is judged; a second one ends everything.

    Args:
        folder: for everything; has to exist.
        options: what is wanted.
        say: gets a line now and then.

    Raises:
        RuntimeError: something of the run itself cannot be started.
    """
    known = every()
    least = {name: known[name].least for name in options.faults}
    steps = plan(options.seed, options.seconds, least, options.pace)
    with (
        small_disks() as disk,
        founded(
            folder,
            partial(_store, folder, options.store, disk),
            brokers=2 if options.store == "replica-set" else 1,
            size=options.size,
            command=options.command,
            clock=Clock(folder) if "clock" in options.faults else None,
        ) as place,
    ):
        place.start_actors(options.seed)
        with Watch(place.brokers) as watch:
            faults = _Faults(place, watch, say)
            interrupted = False
            try:
                faults.carry_out(steps, known, until=options.seconds)
                _wait_for_writes(place, options.writes)
            except KeyboardInterrupt:
                interrupted = True
                say("Interrupted: repairing, and judging what was seen so far. Ctrl-C again to leave at once.")
            place.heal()
            healed = time.monotonic()
            _wait_until_answered(place, healed)
            place.stop_actors()
            place.farm.wait_until_still(_STILL_SECONDS, within=_CURRENT_WITHIN)
            final = place.store.final(POOLS)
        say("Judging…")
        history = place.history(final, faults.attacks, healed)
        findings = [
            *check(history, allowance=options.allowance),
            *too_much(watch.samples, options.memory),
        ]
        table = rows(faults.periods, history.operations, watch.samples, findings)
    return Result(history, findings, table, faults.undone, interrupted)


def _store(
    folder: Path, kind: str, disk: Callable[[Path, int], None], network: Network
) -> contextlib.AbstractContextManager[MongoSet | SqliteFile]:
    if kind == "sqlite":
        return contextlib.nullcontext(SqliteFile(folder / "store", lambda place: disk(place, FILE_BYTES)))
    first = folder / "store" / "0"

    def prepare(place: Path) -> None:
        if place == first:
            disk(place, MEMBER_BYTES)

    return mongo_set(folder / "store", network, prepare)


class _Faults:
    """Begins and ends faults, and says what it does."""

    def __init__(self, place: World, watch: Watch, say: Callable[[str], None]) -> None:
        self.periods: list[Period] = []
        self.attacks: list[Attack] = []
        self.undone: list[str] = []
        self._place, self._watch, self._say = place, watch, say
        self._start = time.monotonic()
        self._said = 0.0
        self._doing = "no fault is active"

    def carry_out(self, steps: Sequence[Step], known: dict[str, type[Fault]], *, until: float) -> None:
        """All of them in sequence."""
        for step in steps:
            self._wait(self._start + step.at)
            self._one(step, known[step.fault](self._place, random.Random(step.seed)))
        self._wait(self._start + until)
        self._close_period()

    def _one(self, step: Step, fault: Fault) -> None:
        self._close_period()
        begun = time.monotonic()
        try:
            try:
                what = fault.begin()
                self._doing = f"{fault.name} ({what})" if what else fault.name
                self._tell()
                self._wait(time.monotonic() + step.seconds)
            finally:
                ended = time.monotonic()
                self._doing = f"after {fault.name}"
                self.periods.append(Period(fault.name, fault.is_attack, begun, ended, float("inf")))
                if fault.is_attack:
                    self.attacks.append(Attack(fault.name, begun, ended))
                fault.end()
        except (PyMongoError, NotCarriedOut) as error:
            # The database may be too busy for its operator as well; a fault that did not happen found nothing.
            self.undone.append(f"{fault.name}: {error}")

    def _close_period(self) -> None:
        if self.periods:
            last = self.periods.pop()
            self.periods.append(Period(last.fault, last.attack, last.begun, last.ended, time.monotonic()))

    def _wait(self, until: float) -> None:
        while (left := until - time.monotonic()) > 0:
            if time.monotonic() > self._said + _SAY_SECONDS:
                self._tell()
            time.sleep(min(left, 0.2))

    def _tell(self) -> None:
        self._said = time.monotonic()
        ends = f", a broker ended {len(self._watch.ends)} times" if self._watch.ends else ""
        self._say(f"{self._said - self._start:5.0f} s  {self._watch.now():5.0f} MB  {self._doing}{ends}")


def _wait_for_writes(place: World, count: int) -> None:
    """On a busy machine, a short run may be over before anything has happened."""
    until = time.monotonic() + _ENOUGH_WITHIN
    while count and acknowledged(place.operations()) < count and time.monotonic() < until:
        time.sleep(0.5)


def acknowledged(operations: Iterable[Operation]) -> int:
    """How many writes were reported as made."""
    return sum(o.outcome is Outcome.OK and bool(o.request_id and o.who) for o in operations)


def _wait_until_answered(place: World, since: float) -> None:
    """Waits until everybody has been answered again, or long enough; the checker reports clients that were not."""
    until = time.monotonic() + _RECOVERED_WITHIN
    waiting = {actor.spec.actor for actor in place.actors}
    while waiting and time.monotonic() < until:
        time.sleep(0.5)
        waiting -= {o.actor for o in place.operations() if _is_answer(o, since)}


def _is_answer(operation: Operation, since: float) -> bool:
    return operation.outcome is Outcome.OK and operation.start >= since
