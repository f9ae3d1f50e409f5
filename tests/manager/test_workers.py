"""Threads for what blocks."""

from __future__ import annotations

import asyncio
import threading

import pytest

from afpools_tools.manager.workers import in_thread


def test_what_work_returns_or_raises_comes_back() -> None:
    assert asyncio.run(in_thread(lambda: threading.current_thread() is threading.main_thread())) is False

    def broken() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        asyncio.run(in_thread(broken))


def test_work_that_nobody_waits_for_does_not_hold_up_the_end() -> None:
    release = threading.Event()

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(in_thread(release.wait), 0.01)

    try:
        asyncio.run(give_up())
    finally:
        release.set()
