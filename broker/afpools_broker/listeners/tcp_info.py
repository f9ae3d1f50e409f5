"""What the kernel knows about one TCP connection: how much it received, how much the peer has acknowledged.

libzmq says nothing about the bytes it holds for a peer, in either direction, and its high-water marks count messages.
The kernel counts every byte, and asking it takes a microsecond.
"""

from __future__ import annotations

import socket
import struct
import sys
from typing import NamedTuple

# struct tcp_info of linux/tcp.h, since Linux 4.6: tcpi_unacked, tcpi_bytes_acked and tcpi_bytes_received,
# tcpi_notsent_bytes.
_UNACKED = struct.Struct("=24xI")
_BYTES = struct.Struct("=QQ8xI")
_BYTES_AT = 120
_SIZE = _BYTES_AT + _BYTES.size
_TCP_INFO = getattr(socket, "TCP_INFO", 11)


class TcpInfo(NamedTuple):
    """Byte counts since the connection was opened.

    Args:
        received: bytes that the kernel received, whether or not they were read.
        acknowledged: how many of the bytes sent the peer's kernel has.
        all_sent: whether everything that was written to the socket is acknowledged.
    """

    received: int
    acknowledged: int
    all_sent: bool


def tcp_info(connection: socket.socket) -> TcpInfo | None:
    """The counts; None if this system does not report them, or the connection is gone."""
    if sys.platform != "linux":
        return None
    try:
        data = connection.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _SIZE)
    except OSError:
        return None
    if len(data) < _SIZE:
        return None
    acknowledged, received, not_sent = _BYTES.unpack_from(data, _BYTES_AT)
    (unacked,) = _UNACKED.unpack_from(data)
    return TcpInfo(received, acknowledged, not unacked and not not_sent)
