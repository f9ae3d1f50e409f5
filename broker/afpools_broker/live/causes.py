"""Why fences move, in a few words: pure functions."""

from __future__ import annotations

from ..pools.history import Entry


def described(entry: Entry) -> str:
    """A change in a few words, as the cause of a move."""
    diff = entry.diff
    words = []
    if diff.added:
        words.append(f"{_some(diff.added)} joined {entry.pool!r}")
    if diff.removed:
        words.append(f"{_some(diff.removed)} left {entry.pool!r}")
    if diff.name and all(diff.name):
        words.append(f"{diff.name[0]!r} was renamed {diff.name[1]!r}")
    return f"{', '.join(words) or f'{entry.pool!r} changed'} ({entry.who})"


def _some(hosts: tuple[str, ...]) -> str:
    return ", ".join(hosts[:3]) + (f" and {len(hosts) - 3:,} more" if len(hosts) > 3 else "")
