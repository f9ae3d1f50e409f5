"""Names of brokers to addresses, within a time limit.

Strategy: a look-up runs on a thread of its own, because the system gives `getaddrinfo` no time limit, and with a name
server away it takes ten seconds and more.
"""

from __future__ import annotations

# getaddrinfo would import it on the look-up's thread, where a fork could cut the import in two.
import encodings.idna  # noqa: F401
import os
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
    # starting another thread. With the process, because a forked child does not have its parent's threads.
    _running: Dict[Tuple[int, str, int], Lookup] = {}

    def __init__(self, host: str, port: int) -> None:
        self.addresses: List[Address] = []
        self.error = ""
        self.done = threading.Event()
        self._key = (os.getpid(), host, port)

    @classmethod
    def start(cls, host: str, port: int) -> Lookup:
        """Begins to look a name up, or joins who does so already."""
        new = cls(host, port)
        # One step to other threads; a lock could be held by one of them when the process is forked.
        lookup = cls._running.setdefault(new._key, new)
        if lookup is new:
            try:
                threading.Thread(target=new._run, name="afpools-lookup", daemon=True).start()
            except RuntimeError as error:  # the system has no more of them
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
