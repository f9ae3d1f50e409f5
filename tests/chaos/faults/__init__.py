"""What is done to a run: one class per fault.

Strategy: a fault is begun, holds for a while, and is ended. For whatever `begin` does, it puts on `undo` what takes it
back, so that a fault of which only a part happened is ended like any other. What it has to choose comes from the dice
it is given, never from anywhere else.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from contextlib import ExitStack
from typing import ClassVar

from ..world import World


class NotCarriedOut(Exception):
    """A fault did not happen as intended, so the observations prove nothing. The message says why."""


class Fault(ABC):
    """Something that goes wrong.

    Args:
        world: what it is done to.
        dice: for its choices.
    """

    name: ClassVar[str]
    """The name on the command line and in the table of results."""

    about: ClassVar[str]
    """What it does, for people."""

    stores: ClassVar[frozenset[str]] = frozenset({"replica-set", "sqlite"})
    """The kinds of store that it can be done to."""

    is_attack: ClassVar[bool] = False
    """Whether a peer causes it: then nobody else may notice."""

    least: ClassVar[float] = 0.0
    """Seconds that it must last to show anything."""

    def __init__(self, world: World, dice: random.Random) -> None:
        self.world = world
        self.dice = dice
        self.undo = ExitStack()

    @classmethod
    def unavailable(cls) -> str:
        """Why this machine cannot do it; empty if it can."""
        return ""

    @abstractmethod
    def begin(self) -> str:
        """Starts the fault.

        Returns:
            To what or whom, for the line that a person watches; may be empty.
        """

    def end(self) -> None:
        """Ends the fault.

        Raises:
            NotCarriedOut: it was not what it should have been.
        """
        self.undo.close()


def every() -> dict[str, type[Fault]]:
    """All faults by name."""
    from . import attacks, disks, networks, processes, replacements, signals

    modules = (processes, signals, networks, disks, replacements, attacks)
    return {fault.name: fault for module in modules for fault in module.FAULTS}
