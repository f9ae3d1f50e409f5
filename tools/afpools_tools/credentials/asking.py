"""Asks each broker which authorities it trusts, which it shows, and which its clients have used.

Strategy: over TLS, because only TLS depends on an authority; with a certificate that lives for an hour and is never in
the folder, so that asking needs nobody's profile and does not look like a client that has moved.
"""

from __future__ import annotations

import datetime as dt
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from afpools import AfpoolsError, BrokerUnreachable, Client
from afpools.profile import Profile
from afpools_broker.protocol import Role

from .authority import Authority
from .certificates import sign_certificate
from .endpoints import BrokerEndpoints, endpoint_url
from .files import key_to_pem, to_pem, write

# Its log says who asked.
_NAME = "afpools-certs"

# Enough for a broker whose clock is wrong by half of it. Nothing keeps the key.
_LIFETIME = dt.timedelta(hours=1)

_MOST_AT_ONCE = 16


@dataclass(frozen=True)
class Seen:
    """When a client has used certificates of one authority."""

    first: dt.datetime
    last: dt.datetime


@dataclass(frozen=True)
class Answer:
    """What one broker says.

    Args:
        error: why it says nothing, as a clause; else empty.
        trusted: the ids of the authorities that it trusts, in hexadecimal.
        shown: the one that has issued its certificate; empty if none of them has.
        seen: clients that have connected, by the authority that has issued their certificate.
    """

    error: str = ""
    trusted: frozenset[str] = frozenset()
    shown: str = ""
    seen: Mapping[str, Mapping[str, Seen]] = field(default_factory=dict)


Ask = Callable[[Authority], Mapping[str, Answer]]
"""Asks every broker of a folder; the answers are by the brokers' names."""


def ask_brokers(authority: Authority, timeout: float = 5.0) -> dict[str, Answer]:
    """Asks every broker whose credentials are here, all at the same time.

    Args:
        authority: signs a certificate for asking.
        timeout: seconds for each.

    Raises:
        AuthorityError: the authority's key cannot be used.
    """
    brokers = authority.brokers()
    if not brokers:
        return {}
    with tempfile.TemporaryDirectory(prefix="afpools-certs-") as place:
        folder = Path(place)
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = sign_certificate(
            _NAME,
            Role.READER,
            key.public_key(),
            issuer=authority.signer,
            key=authority.ca_key(),
            now=authority.now(),
            lifetime=_LIFETIME,
        )
        write(folder / "ca.pem", authority.ca_pem())
        write(folder / "client.pem", to_pem(certificate) + key_to_pem(key), secret=True)
        with ThreadPoolExecutor(min(len(brokers), _MOST_AT_ONCE)) as threads:
            answers = list(threads.map(lambda broker: _ask(folder, broker, timeout), brokers))
    return {broker.name: answer for broker, answer in zip(brokers, answers, strict=True)}


def _ask(folder: Path, broker: BrokerEndpoints, timeout: float) -> Answer:
    own = folder / broker.name
    urls = [{"url": endpoint_url("tls", address, broker.tls_port)} for address in broker.addresses]
    write(own / "profile.json", json.dumps({"name": _NAME, "role": Role.READER, "endpoints": urls}))
    for name in ("ca.pem", "client.pem"):
        (own / name).symlink_to(folder / name)
    try:
        with Client(Profile.load(str(own)), timeout=timeout) as client:
            return read_report(client.health())
    except BrokerUnreachable as error:
        return Answer("; ".join(f"{url}: {why}" for url, why in error.attempts))
    except AfpoolsError as error:
        return Answer(str(error).rstrip("."))


def read_report(report: Mapping[str, Any]) -> Answer:
    """What a broker says about authorities in its answer to `health`."""
    found: Sequence[Mapping[str, Any]] = report.get("authorities", ())
    if not found:
        return Answer(f"its version, {report.get('version', 'unknown')}, does not say which authorities it trusts")
    return Answer(
        trusted=frozenset(str(each["id"]) for each in found),
        shown=next((str(each["id"]) for each in found if each["shown"]), ""),
        seen={
            str(each["id"]): {
                str(client["name"]): Seen(
                    dt.datetime.fromisoformat(client["first"]), dt.datetime.fromisoformat(client["last"])
                )
                for client in each["clients"]
            }
            for each in found
        },
    )
