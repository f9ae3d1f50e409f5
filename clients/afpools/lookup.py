"""Names of brokers to addresses, within a time limit.

Strategy: a look-up runs on a thread of its own, because the system gives `getaddrinfo` no time limit, and with a name
server away it takes ten seconds and more.
"""

from __future__ import annotations

import socket
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Tuple

    Address = Tuple[int, int, int, str, Any]
    """As `socket.getaddrinfo` gives them."""


class Lookup:
    """One look-up of one name; made by `start`.

    Attributes:
        addresses: what was found, once `done` is set.
        error: why there is none.
        done: set at the end.
    """

    # Callers who gave up leave their look-up running; the next one for the same name waits for it instead of
    # starting another thread.
    _running: Dict[Tuple[str, int], Lookup] = {}
    _lock = threading.Lock()

    def __init__(self, host: str, port: int) -> None:
        self.addresses: List[Address] = []
        self.error = ""
        self.done = threading.Event()
        self._key = (host, port)

    @classmethod
    def start(cls, host: str, port: int) -> Lookup:
        """Begins to look a name up, or joins who does so already."""
        with cls._lock:
            lookup = cls._running.get((host, port))
            if lookup is None:
                lookup = cls._running[(host, port)] = cls(host, port)
                threading.Thread(target=lookup._run, name="afpools-lookup", daemon=True).start()
            return lookup

    def _run(self) -> None:
        host, port = self._key
        try:
            self.addresses = list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except OSError as error:
            self.error = error.strerror or str(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, somebody waits for it (UnicodeError for one)
            self.error = str(error)
        finally:
            with self._lock:
                del self._running[self._key]
            self.done.set()
