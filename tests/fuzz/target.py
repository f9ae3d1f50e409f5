"""What a target is, and the rule for all of them: an input takes a bounded time and a bounded amount of memory."""

from __future__ import annotations

import contextlib
import resource
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import FrameType

Check = Callable[[bytes], None]
"""Reads one input. Raises AssertionError for a wrong outcome; any other exception is as wrong."""

# In this process's CPU time, which does not depend on other work on the machine.
SECONDS = 3.0
MEGABYTES = 300


@dataclass(frozen=True)
class Target:
    """Something that reads what others wrote.

    Args:
        name: on the command line and as a folder's name.
        open: gives the check, for as long as the block lasts. Takes a folder to write into.
        seeds: gives good inputs.
        mutate: changes an input.
    """

    name: str
    open: Callable[[Path], AbstractContextManager[Check]]
    seeds: Callable[[], Sequence[bytes]]
    mutate: Callable[[bytes, Random], bytes]

    def draw(self, random: Random) -> bytes:
        """An input near one of the seeds."""
        data = random.choice(self.seeds())
        for _ in range(random.choice((1, 1, 1, 1, 2, 3))):
            data = self.mutate(data, random)
        return data


def stateless(check: Check) -> Callable[[Path], AbstractContextManager[Check]]:
    """For a check that needs nothing but its input."""

    @contextlib.contextmanager
    def opened(_: Path) -> Iterator[Check]:
        yield check

    return opened


class _Stopped(BaseException):
    # Not an Exception, which the code under test might well catch.
    pass


def bounded(check: Check) -> Check:
    """The check within its limits of time and memory."""

    def stop(_: int, __: FrameType | None) -> None:
        raise _Stopped

    def run(data: bytes) -> None:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        handler = signal.signal(signal.SIGVTALRM, stop)
        signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
        try:
            check(data)
        except _Stopped:
            raise AssertionError(f"It takes more than {SECONDS:g} seconds of computing.") from None
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.signal(signal.SIGVTALRM, handler)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
        assert grown <= MEGABYTES, f"It takes {grown} MB of memory."

    return run
