"""Threads for blocking work."""

from __future__ import annotations

import asyncio
import threading

import pytest

from afpools_tools.manager.workers import in_thread


def test_results_and_errors_of_work_come_back() -> None:
    assert asyncio.run(in_thread(lambda: threading.current_thread() is threading.main_thread())) is False

    def broken() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        asyncio.run(in_thread(broken))


def test_abandoned_work_does_not_delay_the_end() -> None:
    release = threading.Event()

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(in_thread(release.wait), 0.01)

    try:
        asyncio.run(give_up())
    finally:
        release.set()
