"""Hosts by name: as people type them, those that no render answers for, and others in their place.

Strategy: each pool is a change of its own, in the history as any other. The new host is added before the old one is
taken out, so that a pool is never short of one, and whatever was interrupted can be done again: a pool that is done
does not have the old host any more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import NamedTuple, Protocol

from afpools import Client, HostList, HostSummary

from .errors import ToolError

# Seconds. The broker looks every second; an answer this old was given without its database.
STALE = 5


class HostError(ToolError):
    """No host is known by this name, or none can be."""


class Made(Protocol):
    """What the history says of a change that was just made."""

    @property
    def change(self) -> str: ...


class Step(NamedTuple):
    """What was done to one pool.

    Args:
        pool: its name.
        added: whether the new host was not in it.
        changes: ids of the lines in the history.
        follows: the one of Afanasy's own pools that it follows, and whose hosts nobody changes here; then nothing was
            done. Else empty.
    """

    pool: str
    added: bool
    changes: tuple[str, ...]
    follows: str = ""


def split_hosts(arguments: Iterable[str]) -> list[str]:
    """Host names and ranges as people type them, where commas part them as well: `a,pc-[1,3]` is `a` and `pc-[1,3]`."""
    return [part for text in arguments for part in re.split(r"[,\s]+(?![^\[]*\])", text) if part]


def expand_hosts(patterns: Iterable[str], *, leaving: bool = False) -> list[str]:
    """The names that host names and ranges stand for.

    Args:
        patterns: names and ranges.
        leaving: they are to be taken out of pools, where names stand that could not be entered today.

    Raises:
        HostError: one of them is neither a name nor a range, or they stand for too many.
    """
    # These import msgspec, which takes longer than most commands take in all.
    from afpools_broker.pools.hosts import expand
    from afpools_broker.protocol import RequestRefused

    try:
        return list(expand(list(patterns), leaving=leaving))
    except RequestRefused as refusal:
        raise HostError(refusal.message) from None


def is_farm_known(hosts: HostList) -> bool:
    """Whether afserver has said lately which renders there are."""
    return hosts.farm_age is not None and not hosts.farm_is_stale


def is_on_farm(host: HostSummary) -> bool:
    """Whether a render answers for this host, be it offline; where the farm is known."""
    return bool(host.states or host.engine)


def find_host(hosts: Iterable[HostSummary], name: str) -> HostSummary:
    """The host of this name, whatever its case where that leaves no doubt.

    Raises:
        HostError: there is none.
    """
    by_name = {host.name: host for host in hosts}
    if name in by_name:
        return by_name[name]
    alike = [host for host in by_name.values() if host.name.casefold() == name.casefold()]
    if len(alike) == 1:
        return alike[0]
    # As below: what `host list` needs of this module is there sooner.
    from afpools_broker.pools.nearest import nearest

    guess = nearest(name, by_name)
    raise HostError(f"No host {name} is known." + (f" Did you mean {guess}?" if guess else ""))


def entered_as(present: Iterable[str], hosts: Collection[str], known: Collection[str]) -> list[str]:
    """How these hosts are written in a pool.

    Args:
        present: the pool's hosts as they were entered.
        hosts: names as the broker spells them.
        known: all names of hosts as the broker spells them: one of these means itself.
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
        by: the other one's name; None for none.
        known: as for `entered_as`.
        new_hosts: take a name that no machine of the farm has, too.
        request: gives the `request_id` of a change, for its pool and `add` or `remove`; None for one of its own.
        remove: takes the host out of a pool, under a `request_id`; without it, this function does.

    Raises:
        AfpoolsError: a change was refused, or its outcome is not known. Those before it stay.
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
