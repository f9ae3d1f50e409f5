"""Afanasy's own pools as pools of ours: which exist, what they are called here, what importing one does.

Strategy: each render says in which pool of Afanasy's hierarchy it is (`/local/farm`). It is in exactly one, and nothing
else is asked of afserver. An import makes a pool of each native pool of the renders that are directly in it; those of
the pools below belong to these. (A pool that follows a native one has its whole branch: `mirror`.) Pure functions of a
snapshot.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec

from ..farm.farm import Farm
from ..picture.snapshot import Snapshot
from ..protocol import DESCRIPTION_CHARACTERS, NativePool, PoolName
from .changes import Swap
from .pool import Pool, fingerprint


def native_pools(farm: Farm) -> dict[str, tuple[str, ...]]:
    """The sorted renders of each native pool that has any, by its path. Afanasy before 3.0 has no native pools."""
    found: dict[str, list[str]] = {}
    for render in farm.renders:
        if render.native_pool:
            found.setdefault(render.native_pool, []).append(render.name)
    return {path: tuple(sorted(set(found[path]))) for path in sorted(found)}


def native_name(path: str) -> str:
    """What a native pool is called here: `local/farm` for `/local/farm`, `/` for the root.

    The name is the whole path, so that a second import finds the same pool again, whichever other pools there are by
    then. A path that is not allowed as a name here becomes a similar name with a few digits that are unique to the
    path.
    """
    name = path if path == "/" else path.removeprefix("/")
    try:
        if path == "/" or (path == f"/{name}" and not name.startswith("/") and name.isprintable()):
            return msgspec.convert(name, PoolName)
    except msgspec.ValidationError:
        pass
    visible = "".join(letter if letter.isprintable() else " " for letter in path).strip(" /")
    return f"{visible[:57].rstrip()} {fingerprint(path)[:6]}".strip()


def native_swap(snapshot: Snapshot, path: str, hosts: tuple[str, ...]) -> Swap:
    """What importing a native pool does to ours: it makes a new pool, or adds to the present one the hosts that it
    lacks. One that follows a native pool stays as it is.

    Args:
        snapshot: the pools and the farm, whose spelling of names tells which renders are already in them.
        path: the native pool.
        hosts: its renders.
    """
    name = native_name(path)
    present = snapshot.contents.pools.get(name)
    if present is None:
        return Swap("", Pool(name, hosts, f"Afanasy's pool {path}"[:DESCRIPTION_CHARACTERS]))
    if present.follows:
        return Swap(present.revision, present)
    members = snapshot.fences.members[name]
    return Swap(
        present.revision,
        replace(present, hosts=(*present.hosts, *(host for host in hosts if host not in members))),
    )


def native_preview(snapshot: Snapshot, path: str, hosts: tuple[str, ...]) -> NativePool:
    """What importing a native pool would do now. Arguments as for `native_swap`."""
    swap = native_swap(snapshot, path, hosts)
    assert swap.result is not None
    name = swap.result.name
    present = snapshot.contents.pools[name].hosts if swap.expects else ()
    return NativePool(
        path=path,
        pool=name,
        created=not swap.expects,
        hosts=list(hosts),
        added=list(swap.result.hosts[len(present) :]),
        change="",
    )
