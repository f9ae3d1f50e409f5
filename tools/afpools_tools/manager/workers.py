"""Threads for blocking calls.

Strategy: one daemon thread for each call. At the end of a program, Python waits for the threads of asyncio, anyio and
`concurrent.futures`, so a broker that does not answer, or a large file, would delay Ctrl-C.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

_T = TypeVar("_T")


async def in_thread(work: Callable[[], _T]) -> _T:
    """Returns or raises what `work` does. If the caller is cancelled, `work` continues, and its result is lost."""
    outcome: Future[_T] = Future()
    # From here on, it cannot be cancelled.
    outcome.set_running_or_notify_cancel()

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised again in the caller
            outcome.set_exception(error)

    threading.Thread(target=run, name="afpools-work", daemon=True).start()
    return await asyncio.wrap_future(outcome)
