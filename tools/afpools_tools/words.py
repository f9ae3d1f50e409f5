"""Numbers, time spans and hosts in the words that people read, on the command line and in the browser."""

from __future__ import annotations

from collections.abc import Iterable


def plural(count: int, word: str) -> str:
    """`1 host`, `2 hosts`."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def ranges(hosts: Iterable[str]) -> str:
    """Hosts as people read them: `gpu-[1-8],pc-[01-40]`."""
    # Only where it is needed: reading commands load nothing else of the broker.
    from afpools_broker.pools.folding import fold

    return fold(hosts)


def duration(seconds: float) -> str:
    """A time span as people say it: `3 hours`."""
    for name, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {name}s"
    return f"{seconds:.0f} s"
