"""The state of every broker in a profile, for the page Broker."""

from __future__ import annotations

import datetime as dt
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cryptography import x509

from afpools import AfpoolsError, BrokerUnreachable, Client
from afpools.profile import Endpoint, Profile

# Seconds that the page waits for each endpoint.
_ENDPOINT_TIMEOUT = 3.0


def brokers(profile: Profile) -> dict[str, Any]:
    """The state of every endpoint of the profile, all asked at the same time."""
    with ThreadPoolExecutor(len(profile.endpoints)) as threads:
        endpoints = list(threads.map(lambda endpoint: _endpoint_health(profile, endpoint), profile.endpoints))
    return {
        "profile": {"folder": profile.folder, "name": profile.name, "role": profile.role},
        "credentials": _own_credentials(profile),
        "endpoints": endpoints,
    }


def _endpoint_health(profile: Profile, endpoint: Endpoint) -> dict[str, Any]:
    found: dict[str, Any] = {"url": endpoint.url, "broker": endpoint.broker or ""}
    began = time.monotonic()
    try:
        with Client(profile._replace(endpoints=(endpoint,)), timeout=_ENDPOINT_TIMEOUT) as client:
            found["hello"] = client.hello()._asdict()
            found["connected_ms"] = round((time.monotonic() - began) * 1000, 1)
            found["health"] = client.health()
    except AfpoolsError as error:
        # The page already shows the address.
        attempts = error.attempts if isinstance(error, BrokerUnreachable) else ()
        found["error"] = "; ".join(why for _, why in attempts) or str(error)
    return found


def _own_credentials(profile: Profile) -> list[dict[str, Any]]:
    """When the profile's certificates expire."""
    found: list[dict[str, Any]] = []
    for what, path in (("Your certificate", profile.client_file), ("The studio's authority", profile.ca_file)):
        try:
            certificate = x509.load_pem_x509_certificate(Path(path).read_bytes())
        except (OSError, ValueError) as error:
            found.append({"what": what, "path": path, "error": f"It cannot be read: {error}."})
            continue
        until = certificate.not_valid_after_utc
        days = (until - dt.datetime.now(dt.UTC)).days
        found.append({"what": what, "path": path, "expires": until.isoformat(), "days_left": days})
    return found
