from collections.abc import Callable

from . import handlers as handlers

online_access: bool

class _Timers:
    def is_registered(self, function: Callable[[], float | None]) -> bool: ...
    def register(
        self, function: Callable[[], float | None], *, first_interval: float = ..., persistent: bool = ...
    ) -> None: ...
    def unregister(self, function: Callable[[], float | None]) -> None: ...

timers: _Timers
