"""Threads for what blocks.

Strategy: one daemon thread for each piece of work. Python waits for the threads of asyncio, anyio and
`concurrent.futures` when a program ends, so a broker that does not answer, or a large file, would hold up Ctrl-C.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

_T = TypeVar("_T")


async def in_thread(work: Callable[[], _T]) -> _T:
    """What `work` returns, or raises. If nobody waits for it any more, it continues, and its result is lost."""
    outcome: Future[_T] = Future()
    # From here on nobody can cancel it.
    outcome.set_running_or_notify_cancel()

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            outcome.set_exception(error)

    threading.Thread(target=run, name="afpools-work", daemon=True).start()
    return await asyncio.wrap_future(outcome)
