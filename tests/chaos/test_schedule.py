"""A schedule depends only on its seed, uses every fault in turn, and ends in time."""

from __future__ import annotations

import itertools
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from .schedule import HOLDS, PAUSE, plan

SEEDS = st.integers(0, 2**32)
FAULTS = st.dictionaries(st.sampled_from("abcdefg"), st.floats(0, 20))


@given(SEEDS, st.floats(0, 2000), FAULTS)
def test_faults_come_in_sequence_and_all_end_in_time(seed: int, seconds: float, faults: dict[str, float]) -> None:
    steps = plan(seed, seconds, faults)
    for step, following in itertools.pairwise(steps):
        assert step.at + step.seconds + PAUSE[0] - 0.05 <= following.at
    for step in steps:
        assert max(HOLDS[0], faults[step.fault]) - 0.01 <= step.seconds <= max(HOLDS[1], faults[step.fault]) + 0.01
        assert step.at + step.seconds <= seconds


@given(SEEDS, FAULTS)
def test_no_fault_comes_again_before_all_the_others(seed: int, faults: dict[str, float]) -> None:
    counts = Counter(dict.fromkeys(faults, 0))
    for step in plan(seed, 600, faults):
        assert counts[step.fault] == min(counts.values())
        counts[step.fault] += 1


@given(SEEDS)
def test_a_seed_gives_the_same_schedule_however_the_faults_are_named(seed: int) -> None:
    assert plan(seed, 300, {"a": 0, "b": 9}) == plan(seed, 300, {"b": 9, "a": 0})


def test_another_seed_gives_another_schedule() -> None:
    assert len({tuple(plan(seed, 300, dict.fromkeys("abc", 0.0))) for seed in range(20)}) == 20
