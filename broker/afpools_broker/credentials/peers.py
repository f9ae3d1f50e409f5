"""Who is at the other end of a connection."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from ..protocol import Role


class CredentialRefused(Exception):
    """The peer may not connect. The message is a clause for the end of a log line."""


@dataclass(frozen=True, slots=True)
class Peer:
    """An authenticated sender.

    Args:
        name: in its credential.
        role: what it may do.
    """

    name: str
    role: Role


@dataclass(frozen=True, slots=True)
class TlsPeer:
    """An authenticated sender and what is needed to check whether its certificate is still valid.

    Args:
        peer: who it is.
        issuer: the id of the authority that signed its certificate.
        serial: the serial of its certificate; two authorities may have used the same one.
        not_after: when its certificate expires.
    """

    peer: Peer
    issuer: bytes
    serial: int
    not_after: dt.datetime


def utcnow() -> dt.datetime:
    """The time, with its zone."""
    return dt.datetime.now(dt.UTC)
