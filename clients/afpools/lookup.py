"""Looks up the addresses of brokers by name, within a time limit.

Strategy: each look-up runs on its own thread, because `getaddrinfo` has no time limit: if the name server is
unreachable, it takes ten seconds or more.
"""

from __future__ import annotations

# getaddrinfo would import it on the look-up's thread, where a fork could interrupt the import.
import encodings.idna  # noqa: F401
import os
import socket
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Tuple

    Address = Tuple[int, int, int, str, Any]
    """What `socket.getaddrinfo` returns."""


class Lookup:
    """One look-up of one name; made by `start`.

    Attributes:
        addresses: what was found, once `done` is set.
        error: why there is none.
        done: set at the end.
    """

    # Callers who gave up leave their look-up running; the next caller for the same name waits for it instead of
    # starting another thread. Kept per process, because a forked child does not have its parent's threads.
    _running: Dict[Tuple[int, str, int], Lookup] = {}

    def __init__(self, host: str, port: int) -> None:
        self.addresses: List[Address] = []
        self.error = ""
        self.done = threading.Event()
        self._key = (os.getpid(), host, port)

    @classmethod
    def start(cls, host: str, port: int) -> Lookup:
        """Starts to look a name up, or joins a look-up that is already running."""
        new = cls(host, port)
        # Atomic for other threads. One of them could hold a lock when the process is forked.
        lookup = cls._running.setdefault(new._key, new)
        if lookup is new:
            try:
                threading.Thread(target=new._run, name="afpools-lookup", daemon=True).start()
            except RuntimeError as error:  # the system has no more threads
                new.error = str(error)
                new._end()
        return lookup

    def _run(self) -> None:
        _, host, port = self._key
        try:
            self.addresses = list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except OSError as error:
            self.error = error.strerror or str(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, somebody waits for it (UnicodeError for one)
            self.error = str(error)
        finally:
            self._end()

    def _end(self) -> None:
        del self._running[self._key]
        self.done.set()
