"""Which fault happens when, derived from a seed, so that a run that found something can be repeated. Pure.

Strategy: the faults are dealt like cards: each of them comes once before any comes twice, in an order that the seed
decides. What a fault has to choose (which broker, which member) it draws from a number that is dealt with it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

HOLDS = (4.0, 8.0)
"""Seconds that a fault lasts, the minimum and the maximum: the database elects a new primary within two, clients give
up after two, and credentials may count for five after they were revoked."""

PAUSE = (4.0, 6.0)
"""Seconds between two faults: recovery from each must be visible."""


@dataclass(frozen=True)
class Step:
    """One fault of a run.

    Args:
        at: seconds since the start of the run.
        seconds: how long it lasts.
        fault: its name.
        seed: for what it has to choose.
    """

    at: float
    seconds: float
    fault: str
    seed: int


def plan(seed: int, seconds: float, faults: Mapping[str, float], pace: float = 1.0) -> list[Step]:
    """The faults of a run, in the order of time, the last one over before the run is.

    Args:
        seed: the same one makes the same schedule.
        seconds: how long the run may take.
        faults: names of those that may come, and how many seconds each has to last at least.
        pace: less than 1 for one that hurries: everything takes so much of its time.
    """
    dice = random.Random(seed)
    steps: list[Step] = []
    deck: list[str] = []
    now = PAUSE[0] * pace
    while faults:
        if not deck:
            deck = dice.sample(sorted(faults), len(faults))
        fault = deck.pop()
        lasts = max(dice.uniform(*HOLDS), faults[fault]) * pace
        step = Step(round(now, 2), round(lasts, 2), fault, dice.randrange(2**32))
        now += step.seconds + dice.uniform(*PAUSE) * pace
        if now > seconds:
            break
        steps.append(step)
    return steps
