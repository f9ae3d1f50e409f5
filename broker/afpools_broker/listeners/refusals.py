"""Counts and logs peers that were refused or disconnected, for people who set up workstations."""

from __future__ import annotations

from ..monitoring.peer_log import PeerLog, host_of, network_of
from ..monitoring.statistics import Statistics


class Refusals:
    """Counts and logs refused peers.

    Args:
        statistics: counts every one.
        peer_log: writes each kind of refusal once a minute for each address.
    """

    def __init__(self, statistics: Statistics, peer_log: PeerLog) -> None:
        self._statistics = statistics
        self._peer_log = peer_log

    def refuse(self, listener: str, address: str, what: str, reason: str) -> None:
        """Notes one peer that was refused.

        Args:
            listener: `CURVE` or `TLS`.
            address: the peer's, `host:port`.
            what: the kind of refusal, from a fixed set.
            reason: a clause that ends the sentence "connection from … refused:". May quote the peer.
        """
        self._statistics.refused(listener, what)
        self._say(listener, address, "refused", what, reason)

    def close(self, listener: str, address: str, what: str, reason: str) -> None:
        """Notes one peer that had been admitted and no longer is; arguments as for `refuse`."""
        self._say(listener, address, "closed", what, reason)

    def _say(self, listener: str, address: str, how: str, what: str, reason: str) -> None:
        self._peer_log.say(
            # The owner of an IPv6 network has more addresses than can be counted one by one.
            network_of(host_of(address).strip("[]")),
            f"{listener} {how} {what}",
            "%s: connection from %s %s: %s",
            listener,
            address,
            how,
            reason,
            fields={"outcome": how, "transport": listener, "address": address, "what": what, "reason": reason},
        )
