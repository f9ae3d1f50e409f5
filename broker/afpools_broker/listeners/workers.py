"""Threads for answers that wait for a database or need much computing.

Strategy: clients take turns, however much each of them asks for. A client that asks for a thousand masks waits for its
own thousand; everybody else waits only for those being made at the moment. No client may have all threads at once.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Hashable

from ..service import Later

log = logging.getLogger("afpools.connections")


class Workers:
    """A few threads for reading and a few for writing, and a limit on how many requests may wait."""

    # Reads are mostly masks that have not been made yet. Writes: a store makes them one at a time anyway, and one that
    # hangs must not take the readers' threads.
    _READING, _READS_WAITING = 6, 256
    _WRITING, _WRITES_WAITING = 2, 32

    # For one client at a time. Two reads, so that one that waits for the database does not hold up its masks. Each
    # further thread would be one more that the listeners compete with for Python's lock.
    _READS_OF_ONE, _WRITES_OF_ONE = 2, 1

    def __init__(self) -> None:
        self._turns = {
            False: _Turns("afpools-reader", self._READING, self._READS_WAITING, self._READS_OF_ONE),
            True: _Turns("afpools-writer", self._WRITING, self._WRITES_WAITING, self._WRITES_OF_ONE),
        }

    def submit(self, client: Hashable, later: Later, done: Callable[[bytes], None]) -> bool:
        """Makes an answer on a worker, and then calls `done` with it on the same thread.

        Args:
            client: the client whose turn it takes.
            later: the work.
            done: gets the answer.

        Returns:
            False, without doing anything, if too many are already waiting.
        """

        def run() -> None:
            try:
                done(later.work())
            except Exception:  # `work` answers its own bugs; this one is in a listener
                log.exception("An answer could not be handed back")

        return self._turns[later.writes].submit(client, run)

    def stop(self) -> None:
        """Starts nothing new. Work in progress ends by itself, because of the store's timeout."""
        for turns in self._turns.values():
            turns.stop()


class _Turns:
    """Threads that serve clients in turn.

    Args:
        name: the threads' name.
        threads: how many.
        waiting: how many pieces of work may wait; at most an eighth of them for one client.
        at_once: how many threads one client may have.
    """

    def __init__(self, name: str, threads: int, waiting: int, at_once: int) -> None:
        self._waiting = waiting
        self._of_one = waiting // 8
        self._at_once = at_once
        self._changed = threading.Condition()
        self._queues: dict[Hashable, deque[Callable[[], None]]] = {}
        self._next: deque[Hashable] = deque()  # clients with something to do that may have a thread now
        self._running: Counter[Hashable] = Counter()
        self._count = 0
        self._stopped = False
        for number in range(threads):
            threading.Thread(target=self._run, name=f"{name}-{number}", daemon=True).start()

    def submit(self, client: Hashable, work: Callable[[], None]) -> bool:
        with self._changed:
            queue = self._queues.get(client)
            if self._stopped or self._count >= self._waiting or (queue and len(queue) >= self._of_one):
                return False
            self._count += 1
            if queue is None:
                queue = self._queues[client] = deque()
            queue.append(work)
            if len(queue) == 1 and self._running[client] < self._at_once:
                self._next.append(client)
                self._changed.notify()
            return True

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._queues.clear()
            self._next.clear()
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._next:
                    if self._stopped:
                        return
                    self._changed.wait()
                client = self._next.popleft()
                work = self._queues[client].popleft()
                self._count -= 1
                self._running[client] += 1
                if self._queues[client] and self._running[client] < self._at_once:
                    self._next.append(client)
                    self._changed.notify()
            try:
                work()
            finally:
                with self._changed:
                    self._finish(client)

    def _finish(self, client: Hashable) -> None:
        was_held_back = self._running[client] == self._at_once
        self._running[client] -= 1
        if not self._running[client]:
            del self._running[client]
        queue = self._queues.get(client)
        if queue:
            if was_held_back:
                self._next.append(client)
                self._changed.notify()
        elif queue is not None and client not in self._running:
            del self._queues[client]
