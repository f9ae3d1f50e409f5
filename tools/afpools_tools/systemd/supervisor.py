"""Reports this process's state to the service manager that started it, if there is one.

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

# The socket's queue is short, and systemd may be busy.
_TELL_SECONDS = 0.5


class Supervisor:
    """Tells systemd that the process is ready, reloads its configuration, stops, or is alive.

    Args:
        environment: this process's. The variables for this process only are removed, so that child processes do not use
            them.
    """

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        # systemd.exec(5): the name of a socket in the abstract namespace begins with @.
        address = environment.pop("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        whose = environment.pop("WATCHDOG_PID", "")
        microseconds = environment.pop("WATCHDOG_USEC", "")
        ours = whose in ("", str(os.getpid()))
        self._patience = int(microseconds) / 1e6 if ours and microseconds.isdecimal() else 0.0
        self._stopped = threading.Event()

    @property
    def is_there(self) -> bool:
        """Whether there is a service manager to report to."""
        return bool(self._address)

    def ready(self) -> None:
        """The process serves, or has finished reloading its configuration."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """The process reloads its configuration; `ready` ends this state."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The process is stopping, and sends no more heartbeats."""
        self._stopped.set()
        self._tell("STOPPING=1")

    def watch(self, is_alive: Callable[[float], bool], status: Callable[[], str]) -> None:
        """From now on, sends heartbeats on a separate thread, as long as the process is alive.

        Args:
            is_alive: returns whether it is; gets the number of seconds that the check may take.
            status: returns a line for `systemctl status`; called once a minute.
        """
        if self.is_there:
            thread = threading.Thread(
                target=self._watch, args=(is_alive, status), name="afpools-supervisor", daemon=True
            )
            thread.start()

    def _watch(self, is_alive: Callable[[float], bool], status: Callable[[], str]) -> None:
        # A third of systemd's time limit, so that one heartbeat may be late.
        pause = self._patience / 3 if self._patience else _STATUS_SECONDS
        said = float("-inf")
        while not self._stopped.is_set():
            if self._patience and is_alive(pause):
                self._tell("WATCHDOG=1")
            now = time.monotonic()
            if now - said >= _STATUS_SECONDS:
                said = now
                with contextlib.suppress(Exception):  # a bug in a line for people must not end the heartbeats
                    self._tell(f"STATUS={' '.join(status().split())}")
            self._stopped.wait(pause)

    def _tell(self, *lines: str) -> None:
        if not self.is_there:
            return
        # Whatever is wrong with the socket, the broker keeps serving; if systemd hears nothing, it acts by itself.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
            connection.settimeout(_TELL_SECONDS)
            connection.sendto("\n".join(lines).encode(), self._address)
