"""The operations that only read."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from .. import __version__
from ..picture.host_list import Page
from ..picture.tally import Listing
from ..protocol import VERSION, HealthResult, HostSummary, PoolName, PoolSpill, PoolSummary, Result, Revision, Role
from .base import Call, Operation, Turn


class HelloResult(Result):
    broker: Annotated[str, Meta(description="the broker's own name")]
    version: Annotated[str, Meta(description="of Afanasy Pools")]
    protocol: Annotated[int, Meta(description="the version of this protocol")]
    name: Annotated[str, Meta(description="the name in your credential")]
    role: Annotated[Role, Meta(description="of your credential")]
    operations: Annotated[list[str], Meta(description="what you may ask for")]
    message_bytes: Annotated[int, Meta(description="the largest request")]


class Hello(Operation):
    """Who am I to this broker, and what may I ask for?"""

    op = "hello"
    result = HelloResult

    def turn(self, call: Call) -> Turn:
        return Turn.AT_ONCE

    def answer(self, call: Call) -> HelloResult:
        from . import OPERATIONS  # which contains this one

        role = call.sender.peer.role
        return HelloResult(
            broker=call.parts.name,
            version=__version__,
            protocol=VERSION,
            name=call.who,
            role=role,
            operations=[op.op for op in OPERATIONS.values() if role is Role.MANAGER or op.role is Role.READER],
            message_bytes=call.parts.limits().message_bytes,
        )


class Health(Operation):
    """Is everything behind this broker well?"""

    op = "health"
    result = HealthResult

    def answer(self, call: Call) -> HealthResult:
        return call.parts.health.report()


class PoolsListResult(Result, omit_defaults=True):
    revision: Annotated[
        str,
        Meta(description="differs when any pool does, or how many of its hosts are renders or online"),
    ]
    age: Annotated[float, Meta(description="seconds since the database last confirmed this picture")]
    unchanged: Annotated[bool, Meta(description="true if that is the revision you named; else absent")] = False
    pools: Annotated[
        msgspec.Raw | msgspec.UnsetType, Meta(description="absent if `unchanged`", extra={"of": PoolSummary})
    ] = msgspec.UNSET

    def grow_older(self, seconds: float) -> None:
        self.age = round(self.age + seconds, 1)


class PoolsList(Operation):
    """Names and sizes of all pools, sorted by name, and how many of their hosts are renders."""

    op = "pools.list"
    result = PoolsListResult
    of_moment = True

    if_revision: Annotated[Revision | None, Meta(extra={"means": "what you have already"})] = None

    def turn(self, call: Call) -> Turn:
        moment = call.moment
        listing: Listing | None = moment.snapshot.fences.listing_at_hand
        if moment.can_count:
            tally = moment.snapshot.tally_at_hand
            listing = tally.listing_at_hand if tally else None
        if listing is not None and (listing.at_hand or listing.revision == self.if_revision):
            return Turn.AT_ONCE
        return Turn.LATER

    def answer(self, call: Call) -> PoolsListResult:
        moment = call.moment
        tally = moment.snapshot.tally if moment.can_count else None
        listing: Listing = moment.snapshot.listing if tally is None else tally.listing
        if self.if_revision == listing.revision:
            return PoolsListResult(revision=listing.revision, age=moment.age, unchanged=True)
        return PoolsListResult(revision=listing.revision, age=moment.age, pools=listing.pools)


class PoolDetail(Result, omit_defaults=True):
    """One pool with its hosts."""

    name: Annotated[str, Meta(description="the pool's")]
    hosts: Annotated[list[str], Meta(description="as they were entered")]
    revision: Annotated[str, Meta(description="the pool's")]
    description: Annotated[str, Meta(description="for people")]
    colour: Annotated[str, Meta(description="`#rrggbb`, or empty")]
    follows: Annotated[str, Meta(description="Afanasy's own pool that it follows; absent if it follows none")] = ""
    spill: Annotated[PoolSpill | None, Meta(description="its second pool; absent if it has none")] = None


class PoolsGetResult(Result):
    pool: Annotated[PoolDetail, Meta(description="that pool")]
    age: Annotated[float, Meta(description="as for `pools.list`")]


class PoolsGet(Operation):
    """One pool with its hosts."""

    op = "pools.get"
    result = PoolsGetResult
    of_moment = True

    pool: PoolName

    def turn(self, call: Call) -> Turn:
        return Turn.AT_ONCE

    def answer(self, call: Call) -> PoolsGetResult:
        moment = call.moment
        pool = moment.snapshot.pool(self.pool)
        detail = PoolDetail(
            name=pool.name,
            hosts=list(pool.hosts),
            revision=pool.revision,
            description=pool.description,
            colour=pool.colour,
            follows=pool.follows,
            spill=PoolSpill(pool=pool.spill_to, after=pool.spill_after) if pool.spill_to else None,
        )
        return PoolsGetResult(pool=detail, age=moment.age)


class HostsListResult(Result):
    hosts: Annotated[msgspec.Raw, Meta(description="sorted by name", extra={"of": HostSummary})]
    age: Annotated[float, Meta(description="as for `pools.list`")]
    farm_age: Annotated[
        float | None,
        Meta(description="seconds since afserver last confirmed its list of renders; null without one"),
    ]
    farm_unseen: Annotated[
        bool, Meta(description="there is an afserver but it has never answered, so these hosts are not the farm's")
    ] = False
    farm_is_stale: Annotated[
        bool, Meta(description="the list of renders is older than the studio wants it ([farm] flag_after)")
    ] = False
    next: Annotated[str | None, Meta(description="what to pass as `after` for the next page; null at the end")] = None
    revision: Annotated[
        str,
        Meta(
            description="differs if a pool does, or if other hosts are known: pages of one revision fit together, "
            "whatever renders have begun or ended meanwhile"
        ),
    ] = ""


class HostsList(Operation):
    """Every host known here: the farm's renders, hosts registered by hand, members of pools.

    With `limit`, the answer is a page of at most this many hosts, sorted by name, and of about a megabyte: those that
    come after `after`. Without it, the answer is all of them, or `too_large`.
    """

    op = "hosts.list"
    result = HostsListResult

    after: Annotated[
        str | None,
        Meta(description="a name that the broker gave", extra={"means": "what the page before this called `next`"}),
    ] = None
    limit: Annotated[
        Annotated[int, Meta(ge=1, le=100_000)] | None,
        Meta(description="a number from 1 to 100,000", extra={"means": "how many hosts a page has"}),
    ] = None

    def __post_init__(self) -> None:
        if self.after is not None and self.limit is None:
            raise ValueError("hosts.list takes after only together with limit")

    def answer(self, call: Call) -> HostsListResult:
        moment = call.moment
        hosts = moment.snapshot.hosts
        page = Page(hosts.whole(), None) if self.limit is None else hosts.page(self.after, self.limit)
        return HostsListResult(
            hosts=page.hosts,
            age=moment.age,
            farm_age=moment.farm_age,
            farm_unseen=moment.farm_age is None and not moment.farm.by_hand,
            farm_is_stale=moment.farm_is_stale,
            next=page.next,
            revision=hosts.revision,
        )
