"""Hosts by name: as people type them, those that are not on the farm, and replacing them.

Strategy: each pool is a separate change in the history. The new host is added before the old one is removed, so that a
pool never lacks a host, and an interrupted command can be repeated: a pool that is done no longer has the old host.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import NamedTuple, Protocol

from afpools import Client, HostList, HostSummary

from .errors import ToolError

# Seconds. The broker checks its database every second; an older answer was given without the database.
STALE = 5


class HostError(ToolError):
    """No host with this name is known, or the name is not valid."""


class Made(Protocol):
    """The history's entry for a change that was just made."""

    @property
    def change(self) -> str: ...


class Step(NamedTuple):
    """What was done to one pool.

    Args:
        pool: its name.
        added: whether the new host was not in it.
        changes: ids of the entries in the history.
        follows: the one of Afanasy's own pools that it follows, and whose hosts nobody changes here; then nothing was
            done. Else empty.
    """

    pool: str
    added: bool
    changes: tuple[str, ...]
    follows: str = ""


def split_hosts(arguments: Iterable[str]) -> list[str]:
    """Host names and ranges as people type them, also separated by commas: `a,pc-[1,3]` is `a` and `pc-[1,3]`."""
    return [part for text in arguments for part in re.split(r"[,\s]+(?![^\[]*\])", text) if part]


def expand_hosts(patterns: Iterable[str], *, leaving: bool = False) -> list[str]:
    """The names that host names and ranges expand to.

    Args:
        patterns: names and ranges.
        leaving: they will be removed from pools, which may contain names that are no longer accepted.

    Raises:
        HostError: one of them is neither a name nor a range, or they expand to too many.
    """
    # These import msgspec, which takes longer than most whole commands.
    from afpools_broker.pools.hosts import expand
    from afpools_broker.protocol import RequestRefused

    try:
        return list(expand(list(patterns), leaving=leaving))
    except RequestRefused as refusal:
        raise HostError(refusal.message) from None


def is_farm_known(hosts: HostList) -> bool:
    """Whether afserver has recently confirmed its renders."""
    return hosts.farm_age is not None and not hosts.farm_is_stale


def is_on_farm(host: HostSummary) -> bool:
    """Whether this host is a render, online or offline. Only meaningful if the farm is known."""
    return bool(host.states or host.engine)


def find_host(hosts: Iterable[HostSummary], name: str) -> HostSummary:
    """The host with this name, ignoring case if that is unambiguous.

    Raises:
        HostError: there is none.
    """
    by_name = {host.name: host for host in hosts}
    if name in by_name:
        return by_name[name]
    alike = [host for host in by_name.values() if host.name.casefold() == name.casefold()]
    if len(alike) == 1:
        return alike[0]
    # Imported here for the same reason: `host list` uses this module without it.
    from afpools_broker.pools.nearest import nearest

    guess = nearest(name, by_name)
    raise HostError(f"No host {name} is known." + (f" Did you mean {guess}?" if guess else ""))


def entered_as(present: Iterable[str], hosts: Collection[str], known: Collection[str]) -> list[str]:
    """How these hosts are spelled in a pool.

    Args:
        present: the pool's hosts as they were entered.
        hosts: names in the broker's spelling.
        known: the names of all hosts in the broker's spelling: each of these means itself.
    """
    from afpools_broker.pools.pool import as_afrender_would

    wanted = {host.casefold() for host in hosts}

    def is_meant(entry: str) -> bool:
        if entry in known:
            return entry in hosts
        return entry.casefold() in wanted or as_afrender_would(entry) in wanted

    return [entry for entry in present if is_meant(entry)]


def replace_host(
    client: Client,
    host: HostSummary,
    by: str | None,
    known: Collection[str],
    *,
    new_hosts: bool = False,
    request: Callable[[str, str], str | None] = lambda _pool, _what: None,
    remove: Callable[[str, str | None], Made] | None = None,
) -> Iterator[Step]:
    """Takes a host out of all its pools, one after the other, and puts another in; not of those that follow Afanasy's.

    Args:
        client: with a manager profile.
        host: the host, with its pools.
        by: the other host's name; None for none.
        known: as for `entered_as`.
        new_hosts: also accept a name that no machine on the farm has.
        request: returns the `request_id` of a change, given its pool and `add` or `remove`; if None, each change makes
            its own.
        remove: takes the host out of a pool, under a `request_id`; if not given, this function does.

    Raises:
        AfpoolsError: a change was refused, or its outcome is not known. The changes before it stay.
    """
    follows = {pool.name: pool.follows for pool in client.list_pools().pools}
    for pool in host.pools:
        if path := follows.get(pool, ""):
            yield Step(pool, False, (), path)
            continue
        changes = []
        if by is not None:
            added = client.add_hosts(pool, [by], new_hosts=new_hosts, request_id=request(pool, "add"))
            changes.append(added.change)
        name = request(pool, "remove")
        if remove is not None:
            changes.append(remove(pool, name).change)
        elif entries := entered_as(client.get_pool(pool).hosts, [host.name], known):
            changes.append(client.remove_hosts(pool, entries, request_id=name).change)
        yield Step(pool, by is not None and bool(changes[0]), tuple(filter(None, changes)))
