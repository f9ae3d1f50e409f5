"""The hosts of a pool that follows one of Afanasy's own: pure functions of a list of renders.

Strategy: what afserver says counts, and its silence does not. A render that it lists in another of its pools has left
ours. One that it no longer lists was deleted, or afserver has lost its list: time tells. A pool of Afanasy's without
renders is empty if afserver says that there is such a pool; if not, ours keeps its last hosts: a server that has
lost its pools has not emptied them.

A pool of Afanasy's is its whole branch: `/local` has the renders of `/local/farm`, too. afserver counts them like that
(`renders_total`, server/poolsrv.cpp) and schedules like that: in a job's `pools`, a path means every pool whose path
begins with it (`Work::getPoolPriority`, libafanasy/afwork.cpp). That comparison is of text, so `/local` also means
`/localhost` there; here it does not, since nobody who makes such a pool wants it.
"""

from __future__ import annotations

import enum
import shlex
import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

from ..farm.farm import Farm
from .changes import Change, Swap
from .history import MIRROR
from .native import native_pools
from .nearest import listed, nearest
from .pool import Pool

_PATHS_SHOWN = 8


class Existence(enum.Enum):
    """Whether afserver has a pool for which it lists no render."""

    THERE = enum.auto()
    GONE = enum.auto()
    UNKNOWN = enum.auto()


class Mirrored(NamedTuple):
    """Works out the new state of a pool that follows one of Afanasy's.

    Args:
        hosts: what it has in it.
        problem: a sentence, if it keeps hosts because it cannot be followed now; else empty.
    """

    hosts: tuple[str, ...]
    problem: str = ""


def is_within(native_pool: str, path: str) -> bool:
    """Whether one of Afanasy's pools is the same as another, or in its branch."""
    return native_pool == path or (native_pool.startswith(path if path.endswith("/") else f"{path}/"))


def renders_within(farm: Farm, path: str) -> tuple[str, ...]:
    """The renders of a branch, online or not; sorted."""
    return tuple(sorted({render.name for render in farm.renders if is_within(render.native_pool, path)}))


def mirrored(pool: Pool, where: Mapping[str, str], existence: Existence, deleted: Collection[str] = ()) -> Mirrored:
    """
    Args:
        pool: it follows one of Afanasy's.
        where: of each render that afserver lists, the pool of Afanasy's that it is in; empty if that is not said.
        existence: counts where no render is in that pool.
        deleted: hosts that are not listed, and have not been for so long that they count as deleted.
    """
    path, have = pool.follows, set(pool.hosts)
    # Thousands of renders are in a few pools.
    branch = {native for native in set(where.values()) if is_within(native, path)}
    joining = sorted(name for name, native in where.items() if native in branch and name not in have)
    is_empty = not branch
    if is_empty and existence is not Existence.THERE:
        return Mirrored(pool.hosts, _kept(pool, existence))
    # A host about which nothing is known stays.
    branch.add("")
    stay = [host for host in pool.hosts if where.get(host, "") in branch]
    hosts = [host for host in stay if host not in deleted]
    if not hosts and not joining and stay:
        # All remaining renders at once: the server has lost its renders, rather than somebody having deleted them all.
        kept = replace(pool, hosts=tuple(stay))
        return Mirrored(kept.hosts, f"afserver lists none of the renders of its pool {path!r} any more. {_keeps(kept)}")
    return Mirrored((*hosts, *joining))


def mirror_change(pool: Pool, hosts: tuple[str, ...], *, who: str) -> Change:
    """The change that gives these hosts to a pool, if the pool has not changed since they were worked out.

    Args:
        pool: as it was.
        hosts: what is in the pool that it follows.
        who: the broker, as history names it.
    """
    return Change(
        op=MIRROR,
        who=who,
        # Each has a new id, because the same state may occur again.
        request_id=uuid.uuid4().hex,
        pool=pool.name,
        asked=(pool.name, pool.follows, hosts),
        deed=Swap(pool.revision, replace(pool, hosts=hosts)),
    )


def _kept(pool: Pool, existence: Existence) -> str:
    if existence is Existence.UNKNOWN:
        return f"What is in afserver's pool {pool.follows!r} is not known now. {_keeps(pool)}"
    return (
        f"afserver has no pool {pool.follows!r} any more. {_keeps(pool)} Make that pool again in Afanasy, or run "
        f"`afpools pool unfollow {shlex.quote(pool.name)}`."
    )


def _keeps(pool: Pool) -> str:
    count = len(pool.hosts)
    if not count:
        return f"The pool {pool.name!r}, which follows it, has no hosts."
    return f"The pool {pool.name!r}, which follows it, keeps its last {count:,} host{'s' * (count != 1)}."


def tidy(path: str) -> str:
    """A path as afserver writes it: without a slash at its end, except for the root."""
    return path.rstrip("/") or "/"


def why_not_there(farm: Farm, path: str) -> str:
    """The message for somebody who wants to follow a pool of Afanasy's that has no render."""
    paths = branches(native_pools(farm))
    text = f"No render of the farm is in a pool {path!r} of Afanasy."
    if not paths:
        return f"{text} No render says that it is in any."
    meant = _meant(path, paths)
    return f"{text} Did you mean {meant}?" if meant else f"{text} There are: {listed(paths, _PATHS_SHOWN)}."


def branches(paths: Iterable[str]) -> list[str]:
    """These pools of Afanasy's and all those above them, sorted."""
    found: dict[str, None] = {}
    for path in paths:
        found["/"] = None
        parts = path.strip("/").split("/") if path != "/" else []
        for count in range(1, len(parts) + 1):
            found[f"/{'/'.join(parts[:count])}"] = None
    return sorted(found)


def _meant(path: str, paths: Collection[str]) -> str:
    """The path that somebody may have meant, who has omitted its beginning or mistyped it; otherwise empty."""
    ending = f"/{path.strip('/')}"
    whole = [there for there in paths if there == ending or there.endswith(ending)]
    return whole[0] if whole else nearest(ending, paths)
