"""Why a CURVE handshake failed, by libzmq's numbers: a word for the log's bookkeeping, and a clause for people."""

from __future__ import annotations

import errno

import zmq

HANDSHAKE_FAILURES: dict[int, tuple[str, str]] = {
    zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH: (
        "no CURVE",
        "it does not encrypt with CURVE; that client lacks the broker's key",
    ),
    zmq.PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC: (
        "server key",
        "it was encrypted for another broker; its server key is wrong",
    ),
    zmq.PROTOCOL_ERROR_ZMTP_KEY_EXCHANGE: ("keys", "its CURVE keys do not match"),
    zmq.PROTOCOL_ERROR_ZMTP_MALFORMED_COMMAND_HELLO: ("HELLO", "it does not use CURVE as libzmq does"),
}
NOT_ZEROMQ = "no ZeroMQ", "it does not speak ZeroMQ (a browser or a scanner?)"


def unfinished(number: int, seconds: float) -> tuple[str, str]:
    """Why a handshake was not finished.

    Args:
        number: what the system said, as in `errno`.
        seconds: how long a handshake may take.
    """
    if number in (errno.ETIMEDOUT, errno.EAGAIN):
        return "slow handshake", f"it did not finish its handshake within {seconds:g} seconds"
    return "hung up", "it hung up during the handshake, as a client without the broker's key may"
