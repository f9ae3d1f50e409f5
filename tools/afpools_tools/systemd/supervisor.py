"""The service manager that has started this process, as far as it wants to be told how the process is.

The protocol is systemd's, sd_notify(3): datagrams to the socket that `NOTIFY_SOCKET` names. Without it, nothing here
has any effect.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, MutableMapping

_STATUS_SECONDS = 60.0

# A queue of datagrams is short, and systemd may be busy.
_TELL_SECONDS = 0.5


class Supervisor:
    """Tells systemd that the process is ready, reads its configuration again, stops, and is alive.

    Args:
        environment: of this process. What is meant for it alone is taken out, so that nobody whom it starts uses it.
    """

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        # systemd.exec(5): a socket in the abstract namespace is written with @.
        address = environment.pop("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        whose = environment.pop("WATCHDOG_PID", "")
        microseconds = environment.pop("WATCHDOG_USEC", "")
        ours = whose in ("", str(os.getpid()))
        self._patience = int(microseconds) / 1e6 if ours and microseconds.isdecimal() else 0.0
        self._stopped = threading.Event()

    @property
    def is_there(self) -> bool:
        """Whether there is anybody to tell."""
        return bool(self._address)

    def ready(self) -> None:
        """The process serves, or has read its configuration again."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """The process reads its configuration again; `ready` ends that."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The process ends, and is not asked for signs of life any more."""
        self._stopped.set()
        self._tell("STOPPING=1")

    def watch(self, is_alive: Callable[[float], bool], status: Callable[[], str]) -> None:
        """Gives signs of life from now on, on a thread of its own, for as long as the process deserves it.

        Args:
            is_alive: whether it does; may take so many seconds to find out.
            status: a line for `systemctl status`, asked for once a minute.
        """
        if self.is_there:
            thread = threading.Thread(
                target=self._watch, args=(is_alive, status), name="afpools-supervisor", daemon=True
            )
            thread.start()

    def _watch(self, is_alive: Callable[[float], bool], status: Callable[[], str]) -> None:
        # A third of what systemd waits: one sign may be late.
        pause = self._patience / 3 if self._patience else _STATUS_SECONDS
        said = float("-inf")
        while not self._stopped.is_set():
            if self._patience and is_alive(pause):
                self._tell("WATCHDOG=1")
            now = time.monotonic()
            if now - said >= _STATUS_SECONDS:
                said = now
                with contextlib.suppress(Exception):  # a defect in a line for people must not end the signs of life
                    self._tell(f"STATUS={' '.join(status().split())}")
            self._stopped.wait(pause)

    def _tell(self, *lines: str) -> None:
        if not self.is_there:
            return
        # Whatever has become of the socket, the broker serves; and systemd acts by itself where it hears nothing.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
            connection.settimeout(_TELL_SECONDS)
            connection.sendto("\n".join(lines).encode(), self._address)
