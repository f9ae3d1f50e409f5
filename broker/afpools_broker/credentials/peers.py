"""Who is at the other end of a connection."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from ..protocol import Role


class CredentialRefused(Exception):
    """A peer that may not connect. The message is a clause for the end of a log line."""


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
    """An authenticated sender with what is needed to see whether its certificate is still good.

    Args:
        peer: who it is.
        issuer: the id of the authority that has signed its certificate.
        serial: of its certificate; two authorities may have given the same.
        not_after: when its certificate expires.
    """

    peer: Peer
    issuer: bytes
    serial: int
    not_after: dt.datetime


def utcnow() -> dt.datetime:
    """The time, with its zone."""
    return dt.datetime.now(dt.UTC)
