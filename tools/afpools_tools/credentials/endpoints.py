"""Where clients find a studio's brokers: addresses, ports and CURVE keys, for profiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from .certificates import general_name
from .files import AuthorityError

TLS_PORT = 5571
CURVE_PORT = 5570


@dataclass(frozen=True)
class BrokerEndpoints:
    """Where to find one broker.

    Args:
        name: the broker's.
        addresses: host names and IP addresses in its certificate; profiles get the first.
        tls_port: for plug-ins.
        curve_port: for programs with pyzmq.
        server_key: its public CURVE key.
    """

    name: str
    addresses: list[str]
    tls_port: int
    curve_port: int
    server_key: str


def default_endpoints(brokers: Sequence[BrokerEndpoints]) -> list[str]:
    """The endpoints of all brokers, by their first address.

    Raises:
        AuthorityError: there is no broker.
    """
    if not brokers:
        raise AuthorityError(
            "There is no broker here to connect to. Make its credentials with `afpools certs broker NAME`, or "
            "name an --endpoint."
        )
    return [endpoint_url("tls", broker.addresses[0], broker.tls_port) for broker in brokers] + [
        endpoint_url("curve", broker.addresses[0], broker.curve_port) for broker in brokers
    ]


def resolve(endpoints: Sequence[str], brokers: Sequence[BrokerEndpoints]) -> list[dict[str, str]]:
    """Endpoints in the form that a profile has: TLS first, which every client can use, then CURVE with the broker's
    key.

    Args:
        endpoints: `tls://HOST:PORT` and `curve://HOST:PORT`.
        brokers: the studio's.

    Raises:
        AuthorityError: an endpoint does not lead to any of these brokers, or to several that cannot be told apart.
    """
    entries: list[dict[str, str]] = []
    for url in endpoints:
        scheme, host, port = _parse_url(url)
        wanted = general_name(host).value
        leads_to = [
            broker
            for broker in brokers
            if any(_same_address(general_name(address).value, wanted) for address in broker.addresses)
        ]
        if not leads_to:
            known = ", ".join(address for broker in brokers for address in broker.addresses) or "none"
            raise AuthorityError(
                f"{url}: no broker's certificate names {host!r}, and clients would refuse it (there are: {known}). "
                f"Make one that does: afpools certs broker NAME -a {host}"
            )
        entry = {"url": endpoint_url(scheme, host, port)}
        exact = [broker for broker in leads_to if (broker.tls_port if scheme == "tls" else broker.curve_port) == port]
        leads_to = exact or leads_to
        if len(leads_to) == 1:
            # Tells clients which endpoints belong to the same broker.
            entry["broker"] = leads_to[0].name
        if scheme == "curve":
            keys = {broker.server_key for broker in leads_to}
            if len(keys) > 1:
                raise AuthorityError(
                    f"{url} may be any of the brokers {', '.join(broker.name for broker in leads_to)}. Give each "
                    "its own --curve-port when you make it, so that their keys can be told apart."
                )
            entry["server_key"] = keys.pop()
        entries.append(entry)
    return sorted(entries, key=lambda entry: not entry["url"].startswith("tls:"))


def endpoint_url(scheme: str, host: str, port: int) -> str:
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _parse_url(url: str) -> tuple[str, str, int]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("tls", "curve") or not parts.hostname or not port or parts.netloc == "" or parts.path:
        raise AuthorityError(
            f"{url!r} is not an endpoint: write tls://HOST:{TLS_PORT} or curve://HOST:{CURVE_PORT}, IPv6 in [ ]."
        )
    return parts.scheme, parts.hostname, port


def _same_address(one: object, other: object) -> bool:
    if isinstance(one, str) and isinstance(other, str):
        return one.casefold() == other.casefold()
    return one == other
