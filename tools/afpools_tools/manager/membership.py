"""Changes of pool membership that consist of several changes at the broker.

Strategy: each pool is a separate change with its own request id. If the outcome of one is not known, the page sends the
same request again: what was made is not made twice, and what is missing is made. A request id belongs to one change, so
the hosts that a request has named are kept until its outcome is known, because by then they may be out of their pools.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from afpools import AfpoolsError, BrokerRefused, Client, HostSummary, OutcomeUnknown
from afpools_broker.pools.hosts import Spelling

from ..errors import ToolError
from ..hosts import Made, find_host, replace_host
from .live import Live
from .params import Assign, BadParameter, Leave, Replace, typed_hosts

# For how many removals with an unknown outcome the named hosts are kept.
_UNSETTLED = 100

STOPPED = "The Pool Manager was stopped before this could be done."


class Membership:
    """Puts hosts into pools and takes them out. Threads may share it.

    Args:
        client: makes the changes.
        live: knows the hosts in the broker's spelling.
        stopping: set when the Pool Manager is about to end: everything after the current step is left out.
    """

    def __init__(self, client: Client, live: Live, stopping: threading.Event) -> None:
        self._client = client
        self._live = live
        self._stopping = stopping
        self._leaving: dict[str | None, list[str]] = {}
        self._replaced: dict[str | None, HostSummary] = {}

    def assign(self, params: Assign) -> dict[str, Any]:
        """Puts hosts into pools and takes them out of others. Each pool is a separate change: what can be done is done,
        and what cannot is reported with the broker's error code.

        Raises:
            OutcomeUnknown: of one of them it is not known. The same again does what is missing.
        """
        hosts = params.hosts + typed_hosts(params.typed)
        done: list[dict[str, Any]] = []
        failed: list[dict[str, str]] = []

        def change(pool: str, make: Callable[[str | None], Made]) -> None:
            if self._stopping.is_set():
                failed.append({"pool": pool, "code": "", "message": STOPPED})
                return
            try:
                made: Any = make(params.part(len(done) + len(failed)))
                done.append(made._asdict())
            except OutcomeUnknown:
                raise
            except AfpoolsError as error:
                code = error.code if isinstance(error, BrokerRefused) else ""
                failed.append({"pool": pool, "code": code, "message": str(error)})

        def add(pool: str, name: str | None) -> Made:
            return self._client.add_hosts(pool, hosts, new_hosts=params.new_hosts, request_id=name)

        for pool in params.add:
            change(pool, partial(add, pool))
        for pool in params.remove:
            change(pool, partial(self._remove, pool, hosts))
        # A request whose outcome is known is not repeated.
        for number in range(len(done) + len(failed)):
            self._leaving.pop(params.part(number), None)
        return {"done": done, "failed": failed}

    def _remove(self, pool: str, hosts: Sequence[str], request_id: str | None) -> Made:
        """Takes hosts out of a pool, however they are spelled there. If the request is repeated, it names the hosts as
        it did the first time, although they may be out by then, because a request id belongs to one change."""
        leaving = self._leaving.get(request_id)
        if leaving is None:
            spelling, wanted = Spelling(self._live.view.hosts), frozenset(hosts)
            entered = [name for name in self._client.get_pool(pool).hosts if spelling.of(name) in wanted]
            leaving = entered or list(hosts)
        if request_id is not None:
            self._leaving[request_id] = leaving
            while len(self._leaving) > _UNSETTLED:
                self._leaving.pop(next(iter(self._leaving)), None)
        return self._client.remove_hosts(pool, leaving, request_id=request_id)

    def replace(self, params: Replace) -> dict[str, Any]:
        """Replaces a host by another in all its pools. Each pool is one or two separate changes.

        Raises:
            OutcomeUnknown: of one of them it is not known. The same again does what is missing.
        """
        by = typed_hosts(params.by)
        if len(by) != 1 or "[" in by[0]:
            raise BadParameter("Name one host to take its place.")
        return self._leave(params, by[0], new_hosts=params.new_hosts)

    def leave(self, params: Leave) -> dict[str, Any]:
        """Takes a host out of all its pools.

        Raises:
            OutcomeUnknown: as for `replace`.
        """
        return self._leave(params, None)

    def _leave(self, params: Leave, by: str | None, *, new_hosts: bool = False) -> dict[str, Any]:
        changes: list[str] = []
        known = self._client.list_hosts().hosts
        names = {host.name for host in known}

        def request(pool: str, what: str) -> str | None:
            return params.part(f"{_fingerprint(pool)}-{what}")

        try:
            # A repeated request is about the same pools as the first time.
            host = self._replaced.get(params.request_id) or find_host(known, params.host)
            if params.request_id is not None:
                self._replaced[params.request_id] = host
                while len(self._replaced) > _UNSETTLED:
                    self._replaced.pop(next(iter(self._replaced)), None)
            steps = replace_host(
                self._client,
                host,
                by,
                names,
                new_hosts=new_hosts,
                request=request,
                remove=lambda pool, name: self._remove(pool, [host.name], name),
            )
            for step in steps:
                changes += step.changes
                if self._stopping.is_set():
                    return {"done": changes, "failed": STOPPED}
            if by is None and params.host in {host.name for host in self._client.list_hosts().hosts if host.registered}:
                forgotten = self._client.forget_hosts([params.host], request_id=params.part("forget"))
                changes.append(forgotten.change)
        except OutcomeUnknown:
            raise
        except (AfpoolsError, ToolError) as error:
            return {"done": changes, "failed": str(error)}
        return {"done": changes, "failed": ""}


def _fingerprint(pool: str) -> str:
    """A short form of a pool's name for a `request_id`."""
    return hashlib.sha256(pool.encode()).hexdigest()[:12]
