"""Blocks addresses that open connections by the thousand, in the kernel, before anything is accepted.

Strategy: closing a connection costs the broker as much as opening it costs the peer: two thousand libzmq sockets that
reconnect as soon as they are closed keep libzmq's thread busy with nothing else. So a second socket listens on the same
port (socket(7), SO_REUSEPORT) that nobody accepts from, and a classic BPF program (SO_ATTACH_REUSEPORT_CBPF) directs
such an address there for a while. Its queue has room for one connection, so the kernel drops all further SYNs. The
peer's system retries after one second, then two, then four (RFC 6298): the peers slow down by themselves, and the
honest ones get in as soon as there is room.

Measured: with 20,000 such connections a second closed one by one, a healthy reader's p99 is five times what it is
without. A filter on the listening socket itself (SO_ATTACH_FILTER) blocks them as well, but Linux 6.18 does not allow
it for TCP without privileges. Systems other than Linux have neither; there, connections are closed one by one.
"""

from __future__ import annotations

import contextlib
import ctypes
import ipaddress
import socket
import struct
import sys
from collections import OrderedDict

# How long an address is blocked, and how many of its connections must be closed within a second first. Closing that
# many costs the broker a hundredth of a processor.
_SECONDS, _PATIENCE = 1.0, 200

# If there are too many, the oldest is admitted again; the kernel limits the size of a program.
_MOST = 200

# From Linux's asm-generic/socket.h, filter.h and bpf_common.h. Python does not have them.
_SO_ATTACH_REUSEPORT_CBPF = 51
_LOAD_BYTE, _LOAD_WORD, _AND, _IF_EQUAL, _JUMP, _RETURN = 0x30, 0x20, 0x54, 0x15, 0x05, 0x06
_IP_HEADER = 0xFFF00000  # SKF_NET_OFF


def _step(code: int, k: int, true: int = 0, false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, true, false, k)


# The sockets of a port are numbered in the order in which they began to listen.
_IN, _OUT = _step(_RETURN, 0), _step(_RETURN, 1)


def program(networks: list[str]) -> bytes:
    """A program that directs new connections from these networks to the second socket, all others to the first.

    Args:
        networks: as `network_of` writes them: IPv4 addresses, and IPv6 networks of 64 bits. Others are ignored.
    """
    four, six = bytearray(_step(_LOAD_WORD, _IP_HEADER + 12)), bytearray()
    for network in networks:
        with contextlib.suppress(ValueError):
            start = ipaddress.ip_network(network).network_address.packed
            if len(start) == 4:
                four += _step(_IF_EQUAL, int.from_bytes(start, "big"), false=1) + _OUT
            else:
                six += _step(_LOAD_WORD, _IP_HEADER + 8)
                six += _step(_IF_EQUAL, int.from_bytes(start[:4], "big"), false=3)
                six += _step(_LOAD_WORD, _IP_HEADER + 12)
                six += _step(_IF_EQUAL, int.from_bytes(start[4:8], "big"), false=1) + _OUT
    four += _IN
    version = _step(_LOAD_BYTE, _IP_HEADER) + _step(_AND, 0xF0) + _step(_IF_EQUAL, 0x40, true=1)
    return bytes(version + _step(_JUMP, len(four) // 8) + four + six + _IN)


class Doorkeeper:
    """The doorkeeper of one listening socket. Only the listener's thread uses it.

    Args:
        listening: the socket, which its owner keeps. It is already bound, alone, so that a port in use is noticed, and
            does not listen yet. Afterwards it does.
        backlog: as for `socket.listen`.
    """

    def __init__(self, listening: socket.socket, backlog: int) -> None:
        self._listening = listening
        self._outside: socket.socket | None = None
        self._closed: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._until: OrderedDict[str, float] = OrderedDict()
        if sys.platform != "linux":
            listening.listen(backlog)
            return
        with contextlib.suppress(OSError):
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listening.listen(backlog)
        with contextlib.suppress(OSError):  # then nobody is blocked
            self._attach([])
            self._outside = self._listen_outside()

    def _listen_outside(self) -> socket.socket:
        outside = socket.socket(self._listening.family, socket.SOCK_STREAM)
        try:
            for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
                outside.setsockopt(socket.SOL_SOCKET, option, 1)
            if outside.family == socket.AF_INET6:
                only = self._listening.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
                outside.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
            outside.bind(self._listening.getsockname())
            outside.setblocking(False)
            outside.listen(0)
        except OSError:
            outside.close()
            raise
        return outside

    def close(self) -> None:
        """Stops blocking. Call it before the socket itself is closed."""
        if self._outside is not None:
            self._outside.close()
            self._outside = None

    def note_closed(self, network: str, now: float) -> None:
        """Notes that a connection was closed because its address opens too many; after many of those, the address is
        blocked.

        Args:
            network: as `network_of` writes it.
            now: seconds, increasing.
        """
        since, count = self._closed.pop(network, (now, 0))
        if now > since + 1.0:
            since, count = now, 0
        if count < _PATIENCE:
            self._closed[network] = since, count + 1
            if len(self._closed) > _MOST:
                self._closed.popitem(last=False)
        elif self._outside is not None and network not in self._until:
            self._until[network] = now + _SECONDS
            if len(self._until) > _MOST:
                self._until.popitem(last=False)
            self._attach(self.kept_out)

    @property
    def kept_out(self) -> list[str]:
        """The networks that are blocked now."""
        return list(self._until)

    def look(self, now: float) -> None:
        """Admits the networks again whose time is over; `now` as for `note_closed`."""
        over = [network for network, until in self._until.items() if until <= now]
        if over:
            for network in over:
                del self._until[network]
            self._attach(self.kept_out)
            self._send_away()

    def _send_away(self) -> None:
        """Closes the one connection that the kernel has made meanwhile, so that its peer tries again."""
        if self._outside is not None:
            with contextlib.suppress(OSError):
                while True:
                    self._outside.accept()[0].close()

    def _attach(self, networks: list[str]) -> None:
        code = program(networks)
        place = ctypes.create_string_buffer(code, len(code))
        # struct sock_fprog: the number of steps and where they are.
        self._listening.setsockopt(
            socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, struct.pack("@HP", len(code) // 8, ctypes.addressof(place))
        )
