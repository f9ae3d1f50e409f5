"""The list of all known hosts as JSON, whole or in pages.

Strategy: hosts are listed by name, and a page begins after a name. So a client that walks through all pages gets every
host that existed throughout exactly once, whatever was added or removed meanwhile. Which pools a host is in is worked
out for one block of hosts at a time: for all of a large farm at once it would take more memory than everything else
here.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from functools import cached_property
from typing import NamedTuple

import msgspec

from ..farm.farm import Farm, Render
from ..pools.pool import Contents, fingerprint
from ..protocol import Code, HostSummary, RequestRefused
from .fences import Fences

_PAGE_BYTES = 1024 * 1024
# A client accepts 64 MiB. Half of that is 100,000 hosts in some ten pools each.
_MOST_AT_ONCE = 32 * 1024 * 1024
# The largest whole list that is kept: enough for 40,000 hosts.
_MOST_KEPT = 4 * 1024 * 1024
_BLOCK_MEMBERSHIPS = 500_000

# One list is made at a time: otherwise one client could occupy all threads with this.
_making = threading.Lock()


class Page(NamedTuple):
    """A part of the list.

    Args:
        hosts: a list of `HostSummary`, JSON.
        next: the name after which the next page begins; None at the end.
    """

    hosts: msgspec.Raw
    next: str | None


class _Block(NamedTuple):
    """What is known about the hosts of one section of the list."""

    start: int
    end: int
    pools_of: dict[str, list[str]]
    renders: dict[str, Render]


class HostList:
    """Every known host with what is known about it, sorted by name. Safe to use from any thread.

    Args:
        contents: what the store held.
        farm: the renders, None for a farm never seen.
        fences: what is derived from both.
    """

    def __init__(self, contents: Contents, farm: Farm | None, fences: Fences) -> None:
        self._contents = contents
        self._farm = farm
        self._fences = fences
        self._names = fences.known
        self._block = _Block(0, 0, {}, {})
        self._whole: msgspec.Raw | None = None

    @cached_property
    def revision(self) -> str:
        """Differs if a pool does, or if other hosts are known, but not with the states of renders. All brokers that
        know the same hosts and pools agree on it."""
        return fingerprint(self._fences.listing.revision, self._contents.registered.revision, self._names)

    def whole(self) -> msgspec.Raw:
        """All hosts: a list of `HostSummary`, JSON. Made on first use, and kept unless it is very large.

        Raises:
            RequestRefused: `too_large`.
        """
        with _making:
            made = self._whole
            if made is None:
                made, following = self._make(0, len(self._names), _MOST_AT_ONCE)
                if following is not None:
                    raise RequestRefused(
                        Code.TOO_LARGE,
                        f"The list of all {len(self._names):,} hosts with their pools has more than "
                        f"{_MOST_AT_ONCE:,} bytes. Update this program to one that asks for it in pages.",
                    )
                if len(memoryview(made)) <= _MOST_KEPT:
                    self._whole = made
            return made

    def page(self, after: str | None, limit: int) -> Page:
        """At most `limit` hosts after a name, and no more than about a megabyte of them; at least one, if any.

        Args:
            after: the name, which need not be in the list; None for the beginning.
            limit: at least 1.
        """
        start = 0 if after is None else bisect_right(self._names, after)
        with _making:
            return self._make(start, min(start + limit, len(self._names)), _PAGE_BYTES)

    def _make(self, start: int, end: int, most_bytes: int) -> Page:
        # One at a time: as objects, the hosts of a large farm would take far more memory than their text.
        text = bytearray(b"[")
        encoder = msgspec.json.Encoder()
        registered = self._fences.registered
        at = start
        while at < end and (at == start or len(text) < most_bytes):
            name = self._names[at]
            block = self._block_of(at)
            render = block.renders.get(name) or Render(name)
            summary = HostSummary(
                name=name,
                states=list(render.states),
                address=render.address,
                engine=render.engine,
                native_pool=render.native_pool,
                registered=name in registered,
                pools=block.pools_of.get(name, []),
            )
            if at > start:
                text += b","
            encoder.encode_into(summary, text, -1)
            at += 1
        text += b"]"
        return Page(msgspec.Raw(text), self._names[at - 1] if at < len(self._names) else None)

    def _block_of(self, at: int) -> _Block:
        if not self._block.start <= at < self._block.end:
            self._block = _Block(0, 0, {}, {})  # freed before the next is made
            self._block = self._make_block(at)
        return self._block

    def _make_block(self, at: int) -> _Block:
        members = self._fences.members
        each = max(1, sum(map(len, members.values())) // len(self._names))
        end = min(len(self._names), at + max(1, _BLOCK_MEMBERSHIPS // each))
        names = frozenset(self._names[at:end])
        pools_of: dict[str, list[str]] = {}
        for pool in sorted(members, key=str.casefold):
            its = members[pool]
            for host in names.intersection(its) if len(its) < len(names) else its & names:
                pools_of.setdefault(host, []).append(pool)
        renders = self._farm.renders if self._farm else ()
        return _Block(at, end, pools_of, {render.name: render for render in renders if render.name in names})
