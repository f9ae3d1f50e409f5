"""Log lines that a peer can cause.

Strategy: a line is limited by who caused it and what it is about, never by its text, because a text can quote the
peer's own bytes and so be new each time. `what` is always from a fixed set of our own words. A second limit applies to
all such lines together, because addresses and names are not a fixed set.
"""

from __future__ import annotations

import ipaddress
import logging
import re
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Mapping

from .lines import FIELDS

log = logging.getLogger("afpools.connections")

# A plug-in with a revoked certificate retries ten times a second as long as it is open, and must not flood the log.
_REPEAT_SECONDS = 60.0

# If there are more kinds of lines than this, the oldest may be logged again early; that is all.
_REMEMBERED = 2000

# For all lines of all peers: bursts of this many, refilled at this rate. Ten a second are 860,000 lines a day at the
# very worst, some 130 MB.
_BURST, _PER_SECOND = 100.0, 10.0


class PeerLog:
    """Writes lines about peers, each kind of line once a minute for each peer. Safe to use from any thread.

    Args:
        clock: seconds, increasing.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._said: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()
        self._left, self._left_at = _BURST, clock()
        self._dropped = 0

    def say(
        self,
        who: str,
        what: str,
        text: str,
        *args: object,
        level: int = logging.WARNING,
        fields: Mapping[str, str] | None = None,
    ) -> None:
        """Writes one line, or counts it if it was logged within the last minute.

        Args:
            who: an address without its port, or the name in a credential.
            what: which kind of line, from a fixed set; never what a peer sent.
            text: the line, as `logging` takes it.
            args: the line's arguments.
            level: as in `logging`.
            fields: for programs that read the line, as in audit.py.
        """
        if not log.isEnabledFor(level):
            return
        with self._lock:
            now = self._clock()
            key = (who, what)
            said_at, suppressed = self._said.get(key, (float("-inf"), 0))
            if now < said_at + _REPEAT_SECONDS:
                self._said[key] = (said_at, suppressed + 1)
                return
            self._left = min(_BURST, self._left + (now - self._left_at) * _PER_SECOND)
            self._left_at = now
            if self._left < 1.0:
                self._dropped += 1
                return
            self._left -= 1.0
            self._said[key] = (now, 0)
            self._said.move_to_end(key)
            while len(self._said) > _REMEMBERED:
                self._said.popitem(last=False)
            dropped, self._dropped = self._dropped, 0
        if dropped:
            log.warning("%d log lines about other peers were left out, because peers caused too many lines.", dropped)
        again = f" (and {suppressed:,} more times since the last such line)" if suppressed else ""
        log.log(level, "%s%s", text % args, again, extra={FIELDS: fields or {}})

    def bug(self, who: str, what: str, text: str) -> None:
        """Logs the exception that is being handled, with its traceback. A peer that has found a bug of ours can cause
        it as often as it likes. Arguments as for `say`."""
        self.say(who, f"bug {what}", "%s\n%s", text, traceback.format_exc().rstrip(), level=logging.ERROR)


def host_of(address: str) -> str:
    """An address without its port: a peer has a new port each time it tries, and libzmq reports some addresses without
    it.

    Args:
        address: `10.0.0.7:51234`, `[fe80::1]:51234`, or either without its port.
    """
    return re.sub(r"(?<=[\]\d]):\d+$", "", address) if "]" in address or address.count(":") == 1 else address


def network_of(address: str) -> str:
    """The network that an address counts as: itself, or for IPv6 its /64, because one machine can use every address in
    it.

    Args:
        address: IPv4 or IPv6, with or without a zone (`fe80::1%eth0`). Anything else counts as itself.
    """
    if ":" not in address:
        return address
    try:
        found = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if found.ipv4_mapped is not None:  # on a dual-stack listener, IPv4 looks like this
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Network((found, 64), strict=False))
