"""One request to afserver, and its answer.

Strategy: one short TCP connection for each request, as afserver's JSON protocol requires (request and answer both
framed `AFANASY <bytes> JSON<body>`; measured on CGRU 3.4.1), with a deadline for the whole of it.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

import msgspec

Ask = Callable[[dict[str, Any]], memoryview]
"""Sends one request and returns the body of its answer; raises `FarmError`."""

MAX_ANSWER = 256 * 1024 * 1024
"""afserver describes a render in about 600 bytes, so this is room for 400,000, and stops a server that never ends its
answer."""

# A header is `AFANASY `, at most ten digits, and ` JSON`.
_MAX_HEADER = 32


class FarmError(Exception):
    """afserver could not be asked, or its answer made no sense. The message says which server and what happened."""


def ask(address: tuple[str, int], request: dict[str, Any], *, timeout: float) -> memoryview:
    """Sends one request to afserver and returns the body of its answer.

    Args:
        address: host and port.
        request: JSON-encodable.
        timeout: seconds for the whole exchange.

    Raises:
        FarmError: afserver is unreachable or too slow, or its answer is truncated or badly framed.
    """
    where = f"afserver at {address[0]}:{address[1]}"
    body = msgspec.json.encode(request)
    deadline = time.monotonic() + timeout
    try:
        with socket.create_connection(address, timeout=timeout) as connection:
            connection.sendall(b"AFANASY %d JSON%s" % (len(body), body))
            return _read_answer(connection, deadline, where)
    except TimeoutError:
        raise FarmError(f"{where} did not answer within {timeout:g} seconds.") from None
    except OSError as error:
        raise FarmError(f"{where} cannot be reached: {error.strerror or error}.") from None
    except UnicodeError:  # from the resolver, for a name like `af..lan`
        raise FarmError(f"{where} cannot be reached: {address[0]!r} is not a host name.") from None


def _read_answer(connection: socket.socket, deadline: float, where: str) -> memoryview:
    received = bytearray()
    while (start := received.find(b"JSON", 0, _MAX_HEADER)) < 0:
        if len(received) >= _MAX_HEADER:
            raise FarmError(f"{where} does not speak Afanasy's protocol: it sent {bytes(received[:_MAX_HEADER])!r}.")
        chunk = bytearray(_MAX_HEADER)
        received += chunk[: _receive(connection, memoryview(chunk), deadline, where, len(received))]
    words = bytes(received[:start]).split()
    if len(words) != 2 or words[0] != b"AFANASY" or not words[1].isdigit():
        raise FarmError(f"{where} does not speak Afanasy's protocol: it sent {bytes(received[:start])!r}.")
    needed = int(words[1])
    if needed > MAX_ANSWER:
        raise FarmError(f"{where} announced an answer of {needed:,} bytes; {MAX_ANSWER:,} is the limit.")
    # Received straight into its buffer: a large farm's answer is 60 MB, and copies of it would add up.
    body = memoryview(bytearray(needed))
    got = min(len(received) - start - 4, needed)
    body[:got] = received[start + 4 : start + 4 + got]
    while got < needed:
        got += _receive(connection, body[got:], deadline, where, got)
    return body


def _receive(connection: socket.socket, place: memoryview, deadline: float, where: str, before: int) -> int:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    connection.settimeout(left)
    count = connection.recv_into(place)
    if not count:
        raise FarmError(f"{where} closed the connection in the middle of its answer ({before:,} bytes).")
    return count
