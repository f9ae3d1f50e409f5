"""All peers by name."""

from __future__ import annotations

from collections.abc import Callable

from . import Peer
from .over_curve import flood, forbidden, idle, leave, revoked, stopped, unread
from .over_tls import asking, half_command, half_message, no_certificate

_ALL = (
    *(idle, flood, stopped, unread, leave, revoked, forbidden),
    *(asking, half_message, half_command, no_certificate),
)

PEERS: dict[str, Callable[[Peer], None]] = {peer.__name__.replace("_", "-"): peer for peer in _ALL}
