"""What an administrator or the system does to a running broker: SIGHUP, other clocks, no descriptors left."""

from __future__ import annotations

import signal

from ..clock import compiler
from . import Fault


class Hangup(Fault):
    name = "sighup"
    about = "SIGHUP: read the configuration again, and keep serving"

    def begin(self) -> str:
        for broker in self.world.brokers:
            broker.signal(signal.SIGHUP)
        return "all brokers"


class Descriptors(Fault):
    name = "descriptors"
    about = "a broker may not open a single file or connection more (prlimit)"

    def begin(self) -> str:
        broker = self.world.brokers[0]
        self.undo.callback(broker.limit_descriptors, None)
        broker.limit_descriptors(0)
        return broker.name


class Clock(Fault):
    name = "clock"
    about = "the brokers' clocks are set forward by an hour, or back by fifty seconds, and right again"

    @classmethod
    def unavailable(cls) -> str:
        return "" if compiler() else "it needs g++"

    def begin(self) -> str:
        seconds = self.dice.choice((3600, -50))
        assert self.world.clock is not None
        self.undo.callback(self.world.clock.step, 0)
        self.world.clock.step(seconds)
        return f"{seconds:+} s"


FAULTS: list[type[Fault]] = [Hangup, Descriptors, Clock]
