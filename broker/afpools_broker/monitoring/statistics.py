"""Counts of requests, answers and connections since the broker started."""

from __future__ import annotations

import threading
from collections import Counter

from ..protocol import Code


class Statistics:
    """Counts since the broker started; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.requests: Counter[str] = Counter()
        self.errors: dict[str, Counter[str]] = {}
        self.connections: Counter[str] = Counter()
        self.refused_connections = 0

    def request(self, operation: str) -> None:
        """Counts a request; `operation` is a name from `OPERATIONS`, never the client's own text."""
        with self._lock:
            self.requests[operation] += 1

    def error(self, operation: str, code: Code) -> None:
        """Counts an error answer; `operation` as for `request`, empty if it is not known."""
        with self._lock:
            self.errors.setdefault(operation or "unreadable", Counter())[code.value] += 1

    def errors_now(self) -> dict[str, dict[str, int]]:
        """Errors so far, by operation and code."""
        with self._lock:
            return {operation: dict(codes) for operation, codes in self.errors.items()}

    def connection(self, listener: str, change: int) -> None:
        """Counts a connection that was opened (1) or closed (-1)."""
        with self._lock:
            self.connections[listener] += change

    def refused(self) -> None:
        """Counts a connection that was refused."""
        with self._lock:
            self.refused_connections += 1
