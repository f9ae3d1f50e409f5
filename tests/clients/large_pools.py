"""Pools whose masks are longer than a command line can carry, and even than afserver can read.

`af.Job` sends its mask in JSON, so the first kind must arrive, through each host application's own code. The names are
drawn so that hardly two have a beginning in common: no mask of them is short.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from typing import Any

from tests.afserver import AfServer, renders_answer

from afpools import BrokerUnreachable, Client, MaskNotExpressible
from afpools.job import MAX_MASK_BYTES
from afpools_broker.protocol import COMMAND_LINE_BYTES

_NAMES = [hashlib.sha256(str(number).encode()).hexdigest()[:12] for number in range(14_000)]

LARGE = _NAMES[:3000]
TOO_LARGE = _NAMES[3000:10_000]


def grow(farm: AfServer, client: Client) -> None:
    """Gives the farm 14,000 more renders, and makes the pools `large` and `too large` of some of them."""
    farm.renders = renders_answer(_NAMES)
    deadline = time.monotonic() + 60
    while len(client.list_hosts().hosts) < len(_NAMES):
        assert time.monotonic() < deadline
    make_pools(client)
    make_masks(client)


def make_pools(client: Client) -> None:
    client.create_pool("large", LARGE)
    client.create_pool("too large", TOO_LARGE)


def make_masks(client: Client) -> None:
    """Makes the broker make the masks, which it keeps. Call it after all hosts are known: plug-ins wait two seconds for
    a mask, which is not long enough for these on a busy machine."""
    for pool in ("large", "too large"):
        deadline = time.monotonic() + 60
        while True:
            try:
                client.exclude_mask(pool, future_hosts="required", max_bytes=MAX_MASK_BYTES)
            except MaskNotExpressible:
                pass
            except BrokerUnreachable:
                assert time.monotonic() < deadline
                continue
            break


def assert_kept_on_large(job: dict[str, Any]) -> None:
    """The job's mask is a long one, as af.Job carries it, and allows every member and no other host."""
    mask = job["hosts_mask_exclude"]
    assert COMMAND_LINE_BYTES < len(mask) <= MAX_MASK_BYTES
    assert job["hosts_mask_type"] == "regex"
    excludes = re.compile(mask).fullmatch
    assert [name for name in _NAMES if not excludes(name)] == LARGE
    assert json.loads(job["custom_data"])["afpools"]["pool"] == "large"
