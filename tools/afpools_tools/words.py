"""Numbers, time spans and hosts in words, for the command line and the browser."""

from __future__ import annotations

from collections.abc import Iterable


def plural(count: int, word: str) -> str:
    """`1 host`, `2 hosts`."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def ranges(hosts: Iterable[str]) -> str:
    """Hosts folded into ranges: `gpu-[1-8],pc-[01-40]`."""
    # Imported on use: commands that only read load nothing else of the broker.
    from afpools_broker.pools.folding import fold

    return fold(hosts)


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(text: str) -> int:
    """The seconds in a time span like `30m`, `2h`, `90s` or `1d`.

    Raises:
        ValueError: it is none of these.
    """
    number, unit = text.strip()[:-1], text.strip()[-1:].lower()
    if unit not in _UNITS or not (number.isascii() and number.isdigit()):
        raise ValueError(f"{text!r} is not a time span: write it like 30m, 2h or 1d.")
    return int(number) * _UNITS[unit]


def duration(seconds: float) -> str:
    """A time span in words: `3 hours`."""
    for name, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {name}s"
    return f"{seconds:.0f} s"
