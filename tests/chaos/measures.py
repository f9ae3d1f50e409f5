"""What a run measured: memory, answers of healthy readers, lines in the log; and the table that follows from it.

Strategy: a run is cut into periods, one for each fault: from its beginning to the beginning of the next. What is before
the fault is what the period before it ended with. A table has one row for each kind of fault.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from .brokers import BrokerProcess
from .findings import Finding, Kind
from .history import Exit, Operation, Outcome

_SAMPLE_SECONDS = 0.25
_BEFORE_SECONDS = 4.0

_FALSE = (Kind.FALSE_NO, Kind.STALE, Kind.INVENTED, Kind.FALSE_REASON, Kind.UNASKED, Kind.UNRECORDED, Kind.REVOKED)


@dataclass(frozen=True)
class Sample:
    """What the brokers used together at one moment: resident memory of the largest in MB, lines of all logs."""

    at: float
    memory: float
    lines: int


class Watch:
    """Observes the brokers all the time, and restarts one that has ended by itself, as systemd would.

    Args:
        brokers: all of them.
    """

    def __init__(self, brokers: Sequence[BrokerProcess]) -> None:
        self.samples: list[Sample] = []
        self.ends: list[Exit] = []
        self._brokers = brokers
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chaos-watch", daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(90)

    def _run(self) -> None:
        while not self._stop.wait(_SAMPLE_SECONDS):
            for broker in self._brokers:
                found = broker.noticed_end()
                if found is not None:
                    self.ends.append(found)
                    broker.start()
            memory = max(broker.memory() for broker in self._brokers)
            self.samples.append(Sample(time.monotonic(), memory, sum(broker.log_lines() for broker in self._brokers)))

    def now(self) -> float:
        """The memory seen last, in MB."""
        return self.samples[-1].memory if self.samples else 0.0


@dataclass(frozen=True)
class Period:
    """One fault, and the time until the next.

    Args:
        fault: its name.
        attack: whether it was a peer's doing.
        begun: when it was begun.
        ended: when it was taken back.
        until: when the next one began.
    """

    fault: str
    attack: bool
    begun: float
    ended: float
    until: float


@dataclass
class Row:
    """One kind of fault, all its periods together. Memory in MB, times in seconds."""

    fault: str
    times: int = 0
    memory_before: float = 0.0
    memory_peak: float = 0.0
    memory_after: float = 0.0
    before: list[float] = field(default_factory=list)
    during: list[float] = field(default_factory=list)
    failed: int = 0
    gap: float = 0.0
    lines: int = 0
    lost: int = 0
    twice: int = 0
    false: int = 0
    other: int = 0
    ends: int = 0


def rows(
    periods: Sequence[Period],
    operations: Sequence[Operation],
    samples: Sequence[Sample],
    findings: Sequence[Finding],
) -> list[Row]:
    """A row for each kind of fault, in the order of their names.

    Args:
        periods: of the run, in the order of time.
        operations: of all clients.
        samples: of the brokers, in the order of time.
        findings: each counts for the period in which it shows.
    """
    reads: dict[bool, list[Operation]] = {True: [], False: []}
    for operation in operations:
        if operation.actor.startswith(("healthy-", "reader-")):
            reads[operation.actor.startswith("healthy-")].append(operation)
    made: dict[str, Row] = {}
    for period in periods:
        row = made.setdefault(period.fault, Row(period.fault))
        row.times += 1
        _add_samples(row, period, samples)
        # A peer harms the clients of its own broker; a fault can be avoided by using another broker.
        _add_reads(row, period, reads[period.attack])
        for finding in findings:
            if period.begun <= finding.at < period.until:
                _count(row, finding.kind)
    return sorted(made.values(), key=lambda row: row.fault)


def _add_samples(row: Row, period: Period, samples: Sequence[Sample]) -> None:
    before = [s for s in samples if s.at < period.begun][-4:] or list(samples[:1])
    within = [s for s in samples if period.begun <= s.at <= period.until]
    if not before or not within:
        return
    row.memory_before = max(row.memory_before, max(s.memory for s in before))
    row.memory_peak = max(row.memory_peak, max(s.memory for s in within))
    row.memory_after = max(row.memory_after, within[-1].memory)
    row.lines += max(0, within[-1].lines - before[-1].lines)


def _add_reads(row: Row, period: Period, reads: Sequence[Operation]) -> None:
    for read in reads:
        if read.end is None:
            continue
        took = read.end - read.start
        if period.begun - _BEFORE_SECONDS <= read.start < period.begun and read.outcome is Outcome.OK:
            row.before.append(took)
        if period.begun <= read.start < period.ended:
            if read.outcome is Outcome.OK:
                row.during.append(took)
            else:
                row.failed += 1
    row.gap = max(row.gap, longest_gap(reads, period.begun, period.until))


def longest_gap(reads: Sequence[Operation], begin: float, end: float) -> float:
    """The longest time, in seconds, that one of the actors in `reads` had no answer in a window."""
    answered: dict[str, list[float]] = defaultdict(list)
    for read in reads:
        if read.end is not None and begin < read.end < end:
            answered[read.actor] += [read.end] if read.outcome is Outcome.OK else []
    gaps = [0.0]
    for moments in answered.values():
        known = [begin, *moments, end]
        gaps += [later - sooner for sooner, later in pairwise(known)]
    return max(gaps)


def too_much(samples: Sequence[Sample], limit: float) -> Iterator[Finding]:
    """A finding for each time that a broker went over `limit` MB."""
    over = False
    for sample in samples:
        if sample.memory > limit and not over:
            yield Finding(Kind.MEMORY, sample.at, f"A broker had {sample.memory:.0f} MB; {limit:.0f} are allowed.")
        over = sample.memory > limit


def _count(row: Row, kind: Kind) -> None:
    row.lost += kind is Kind.LOST
    row.twice += kind is Kind.TWICE
    row.false += kind in _FALSE
    row.ends += kind is Kind.EXIT
    row.other += kind in (Kind.SHUT_OUT, Kind.STUCK, Kind.MEMORY)


HEADS = (
    *("fault", "times", "memory MB: before, peak, after", "p50 / p99 ms before", "p50 / p99 ms during", "failed"),
    *("longest gap s", "log lines", "lost", "twice", "false", "other", "broker"),
)


def cells(row: Row) -> Iterator[str]:
    """A row of the table, in the order of `HEADS`."""
    yield from (row.fault, f"{row.times}")
    yield f"{row.memory_before:.0f}, {row.memory_peak:.0f}, {row.memory_after:.0f}"
    yield from (_quantiles(row.before), _quantiles(row.during), f"{row.failed}", f"{row.gap:.1f}")
    yield from (f"{row.lines:,}", f"{row.lost}", f"{row.twice}", f"{row.false}", f"{row.other}")
    yield "alive" if not row.ends else f"died {row.ends} times"


def _quantiles(seconds: Sequence[float]) -> str:
    if not seconds:
        return "-"
    ordered = sorted(seconds)
    return f"{ordered[len(ordered) // 2] * 1000:.1f} / {ordered[len(ordered) * 99 // 100] * 1000:.0f}"


CLIENT_HEADS = ("client", "answered", "refused", "unknown", "p50 / p99 ms", "longest gap s")


def clients(operations: Sequence[Operation]) -> list[tuple[str, ...]]:
    """A row for each client, in the order of `CLIENT_HEADS`. The gap is the longest between two answers."""
    asked: dict[str, list[Operation]] = defaultdict(list)
    for operation in operations:
        if operation.who:
            asked[operation.actor].append(operation)
    return [_client(actor, asked[actor]) for actor in sorted(asked)]


def _client(actor: str, asked: Sequence[Operation]) -> tuple[str, ...]:
    counts = Counter(operation.outcome for operation in asked)
    answered = [o for o in asked if o.outcome is Outcome.OK and o.end is not None]
    gap = longest_gap(asked, min(o.start for o in asked) - 1e-6, max(o.end or o.start for o in asked))
    return (
        actor,
        *(f"{counts[outcome]:,}" for outcome in (Outcome.OK, Outcome.REFUSED, Outcome.UNKNOWN)),
        _quantiles([o.end - o.start for o in answered if o.end is not None]),
        f"{gap:.1f}",
    )


def markdown(table: Sequence[Row]) -> str:
    """The table as Markdown for a document."""
    lines = [HEADS, ("---",) * len(HEADS), *(tuple(cells(row)) for row in table)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
