"""The table of a run shows what the run measured, each fault in its own row."""

from __future__ import annotations

from .findings import Finding, Kind
from .history import Operation, Outcome
from .measures import Period, Sample, cells, clients, longest_gap, markdown, rows, too_much


def answer(actor: str, start: float, took: float = 0.01, outcome: Outcome = Outcome.OK) -> Operation:
    return Operation(actor=actor, op="pools.list", start=start, end=start + took, outcome=outcome)


KILL = Period("kill-broker", attack=False, begun=10, ended=15, until=20)
FLOOD = Period("flood", attack=True, begun=20, ended=25, until=30)
SAMPLES = [
    *(Sample(9, 60, 100), Sample(12, 0, 100), Sample(19, 61, 130)),
    *(Sample(21, 70, 140), Sample(24, 500, 1140), Sample(29, 80, 1150)),
]


def test_memory_and_lines_belong_to_the_fault_and_the_time_before() -> None:
    flood, kill = rows([KILL, FLOOD], [], SAMPLES, [])
    assert (kill.memory_before, kill.memory_peak, kill.memory_after, kill.lines) == (60, 61, 61, 30)
    assert (flood.memory_before, flood.memory_peak, flood.memory_after, flood.lines) == (61, 500, 80, 1020)


def test_an_attack_is_measured_on_healthy_readers_and_a_fault_on_clients_with_alternatives() -> None:
    reads = [
        *(answer("reader-tls-0", 9, 0.1), answer("reader-tls-0", 12, 0.2), answer("healthy-tls", 12, 9)),
        *(answer("healthy-tls", 19, 0.3), answer("healthy-tls", 22, 0.4), answer("reader-tls-0", 22, 9)),
        answer("healthy-tls", 23, 2, Outcome.REFUSED),
    ]
    flood, kill = rows([KILL, FLOOD], reads, SAMPLES, [])
    assert [round(took, 2) for took in (*kill.before, *kill.during)] == [0.1, 0.2]
    assert [round(took, 2) for took in (*flood.before, *flood.during)] == [0.3, 0.4]
    assert (kill.failed, flood.failed) == (0, 1)


def test_a_finding_counts_for_the_fault_in_whose_time_it_shows() -> None:
    found = [
        Finding(Kind.LOST, 11, ""),
        Finding(Kind.EXIT, 26, ""),
        Finding(Kind.STALE, 29, ""),
        Finding(Kind.TWICE, 5, ""),
    ]
    flood, kill = rows([KILL, FLOOD], [], SAMPLES, found)
    assert (kill.lost, kill.twice, kill.false, kill.ends) == (1, 0, 0, 0)
    assert (flood.lost, flood.false, flood.ends) == (0, 1, 1)
    assert list(cells(flood))[-1] == "died 1 times"


def test_the_longest_gap_is_that_of_the_client_that_waited_longest() -> None:
    reads = [
        *(answer("healthy-tls", moment) for moment in (11, 12, 13, 14)),
        *(answer("healthy-curve", moment) for moment in (11, 14)),
        answer("healthy-curve", 12, outcome=Outcome.UNKNOWN),
    ]
    assert round(longest_gap(reads, 10, 15), 2) == 3.0


def test_each_client_has_its_own_row() -> None:
    asked = [
        Operation(actor="writer-0", who="w", op="pools.create", start=start, end=start + 1, outcome=outcome)
        for start, outcome in ((1, Outcome.OK), (2, Outcome.REFUSED), (6, Outcome.OK))
    ]
    asked.append(Operation(actor="operator", op="swap", start=1, end=2, outcome=Outcome.OK))
    assert clients(asked) == [("writer-0", "2", "1", "0", "1000.0 / 1000", "5.0")]


def test_each_time_that_a_broker_uses_too_much_memory_is_found_once() -> None:
    assert [finding.at for finding in too_much(SAMPLES, 65)] == [21]
    assert [finding.at for finding in too_much([*SAMPLES, Sample(31, 10, 0), Sample(32, 99, 0)], 65)] == [21, 32]
    assert list(too_much(SAMPLES, 500)) == []


def test_the_table_is_markdown() -> None:
    lines = markdown(rows([KILL, FLOOD], [], SAMPLES, [])).splitlines()
    assert lines[0].startswith("| fault | times |")
    assert {line.count("|") for line in lines} == {lines[0].count("|")}
    assert len(lines) == 4
