"""Which renders or jobs have changed: a monitor at afserver, which receives events instead of asking for everything
again.

Strategy: afserver keeps the events of each monitor until they are fetched. It forgets a monitor that is silent for 16
seconds, and all of them when it restarts; their numbers are then used again. So each monitor carries its own mark, and
is looked up by its number both before and after its events are fetched: before, so as not to take the events of another
program that now has the number; after, because only then are the events known to be ours.
(The protocol as recorded from CGRU 3.4.1, and its server/monitorcontainer.cpp and server/threadrun.cpp.)
"""

from __future__ import annotations

import socket
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, NamedTuple, TypeVar

import msgspec
from msgspec import Struct

from .afserver import Ask

_T = TypeVar("_T")

LONGEST_SILENCE = 10.0
"""Seconds between two fetches ; well below the time after which afserver forgets a monitor
(`af_monitor_zombietime`)."""

DELAY = 1.0
"""The longest time in seconds until afserver reports an event: its main loop sleeps this long between two rounds."""

_USER = "afpools"
_SAID = ("Subscribed", "Permissions set")


Watched = Literal["renders", "jobs"]


class Events(NamedTuple):
    """The numbers of the renders or jobs that have changed since the last fetch."""

    added: list[int]
    changed: list[int]
    deleted: list[int]


class _Answer(Struct):
    # Null if nothing has happened (measured on 3.4.1).
    events: dict[str, list[int]] | None


class _Listed(Struct):
    id: int
    engine: str = ""


class _Registered(Struct):
    monitor: _Listed


class _Monitors(Struct):
    monitors: list[_Listed]


class _Info(Struct):
    kind: str
    text: str


class _Done(Struct):
    info: _Info


class Monitor:
    """One registration at afserver, watching its renders or its jobs. Make one with `register`."""

    def __init__(self, ask: Ask, watched: Watched, number: int, mark: str) -> None:
        self._ask, self._watched, self._number, self._mark = ask, watched, number, mark

    @classmethod
    def register(cls, ask: Ask, watched: Watched = "renders") -> Monitor | None:
        """Registers a monitor; None if afserver does not answer as 3.4.1 does.

        Args:
            ask: sends one request; called from two threads at once.
            watched: what it receives events about.

        Raises:
            FarmError: what `ask` raises.
        """
        host = socket.gethostname() or "localhost"
        # A monitor's engine is free text that afserver shows and returns.
        mark = f"afpools {uuid.uuid4().hex[:12]}"
        about = {"gui": False, "user_name": _USER, "host_name": host, "engine": mark}
        registered = _decoded(ask({"monitor": about}), _Registered)
        if registered is None or registered.monitor.id <= 0 or registered.monitor.engine != mark:
            return None
        number = registered.monitor.id
        operations: list[dict[str, Any]] = [{"type": "watch", "class": watched, "status": "subscribe"}]
        if watched == "jobs":
            # Only a monitor with permission to see everything receives events about other users' jobs.
            operations.append({"type": "watch", "class": "perm", "uid": 0})

        def done(operation: dict[str, Any]) -> bool:
            action = {"user_name": _USER, "host_name": host, "type": "monitors", "ids": [number]}
            answer = _decoded(ask({"action": {**action, "operation": operation}}), _Done)
            return answer is not None and answer.info.kind == "log" and answer.info.text.startswith(_SAID)

        # In one go, because afserver carries out actions once a second.
        with ThreadPoolExecutor(len(operations)) as pool:
            ready = all(list(pool.map(done, operations)))
        return cls(ask, watched, number, mark) if ready else None

    def fetch(self) -> Events | None:
        """The events since the last fetch, or since the registration; None if afserver has forgotten this monitor or
        answers anything else. Then what happened meanwhile is unknown.

        Raises:
            FarmError: what `ask` raises. Events may be lost then, too.
        """
        if not self._is_known():
            return None
        request = {"get": {"type": "monitors", "ids": [self._number], "mode": "events"}}
        answer = _decoded(self._ask(request), _Answer)
        if answer is None or not self._is_known():
            return None
        events = answer.events or {}
        added, changed, deleted = (events.get(f"{self._watched}_{what}", []) for what in ("add", "change", "del"))
        return Events(added, changed, deleted)

    def _is_known(self) -> bool:
        listed = _decoded(self._ask({"get": {"type": "monitors", "ids": [self._number]}}), _Monitors)
        return listed is not None and any(
            monitor.id == self._number and monitor.engine == self._mark for monitor in listed.monitors
        )


def _decoded(body: memoryview, kind: type[_T]) -> _T | None:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
