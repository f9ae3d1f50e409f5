"""The operations by which a pool follows one of Afanasy's own, and stops following it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from typing import Annotated

from msgspec import Meta

from ..picture.moment import Moment
from ..pools.changes import Change, asked_for
from ..pools.mirror import renders_within, tidy, why_not_there
from ..pools.pool import Pool
from ..protocol import Code, Colour, Description, NativePath, RequestRefused
from .base import Call
from .pools import check_new_name
from .writing import PoolWrite


@dataclass(frozen=True)
class _Beginning:
    """The deed that makes a pool which follows one of Afanasy's; or the reason why it cannot, which is raised only when
    it is certain that the same request has not already succeeded."""

    asked: PoolsFollow
    hosts: tuple[str, ...]
    refusal: RequestRefused | None

    def becomes(self, present: Pool | None) -> Pool | None:
        """As `Deed.becomes`."""
        made = self.asked.becomes(present)
        if self.refusal is not None:
            raise self.refusal
        return made and replace(made, hosts=self.hosts)

    def takes_hosts(self, present: Pool | None) -> bool:
        """As `Deed.takes_hosts`."""
        return False


class PoolsFollow(PoolWrite, kw_only=True):
    """Make a pool that follows one of Afanasy's own: it has the renders of `/local/farm` and of the pools below that,
    and a render that joins or leaves there joins or leaves here.

    The brokers do that, and nobody else changes its hosts until it is unfollowed. Its name, description and colour can
    be changed as always, and it can be deleted. If afserver does not answer, or no longer has the pool, ours keeps its
    hosts.
    """

    op = "pools.follow"
    purpose = "have pools follow Afanasy's own"
    did = "it began to follow Afanasy's pool"
    verb = "began to follow Afanasy's pool with"

    path: Annotated[
        NativePath,
        Meta(
            title="pool of Afanasy's",
            description="a path, like /local/farm",
            extra={"means": "Afanasy's name of its pool"},
        ),
    ]
    description: Description = ""
    colour: Colour = ""

    def __post_init__(self) -> None:
        check_new_name(self.pool)

    def plan(self, call: Call, moment: Moment) -> Change:
        hosts: tuple[str, ...] = ()
        refusal = _unseen(moment)
        farm = moment.snapshot.farm
        if refusal is None and farm is not None:
            hosts = renders_within(farm, tidy(self.path))
            if not hosts:
                refusal = RequestRefused(Code.BAD_REQUEST, why_not_there(farm, self.path))
        return replace(self.change(call.who), deed=_Beginning(self, hosts, refusal))

    def asked(self) -> tuple[object, ...]:
        # Not its renders: the farm's may have changed by the time the request is repeated.
        usual = asked_for(self.pool, description=self.description, colour=self.colour, if_revision=self.if_revision)
        return (*usual, tidy(self.path))

    def becomes(self, present: Pool | None) -> Pool | None:
        if self.if_revision is not None:
            raise RequestRefused(Code.BAD_REQUEST, "A new pool has no revision yet; leave if_revision out.")
        if present is not None:
            raise RequestRefused(Code.POOL_EXISTS, _exists(present, tidy(self.path)))
        return Pool(self.pool, (), self.description, self.colour, tidy(self.path))


def _unseen(moment: Moment) -> RequestRefused | None:
    """Why the contents of a pool of Afanasy's are unknown now; None if they are known."""
    if moment.farm.by_hand:
        why = "This broker has no afserver: set server in the section [farm] of broker.toml."
    elif moment.snapshot.farm is None:
        why = "The broker has never seen the farm's renders. Check that afserver runs and that [farm] server names it."
    elif moment.farm_is_stale:
        why = f"The list of renders is {moment.farm_age or 0:.0f} seconds old. Find out why afserver does not answer."
    else:
        return None
    return RequestRefused(Code.FARM_UNAVAILABLE, f"What is in Afanasy's pools is not known. {why}")


def _exists(present: Pool, path: str) -> str:
    name = shlex.quote(present.name)
    if present.follows == path:
        return f"The pool {present.name!r} follows Afanasy's pool {path!r} already."
    if present.follows:
        other = f"it follows Afanasy's pool {present.follows!r}"
        return f"There is a pool {present.name!r} already, and {other}. Choose another name with --as."
    return (
        f"There is a pool {present.name!r} already, whose hosts people have chosen. Choose another name with --as, or "
        f"first rename that pool: afpools pool rename {name} NEW_NAME."
    )


class PoolsUnfollow(PoolWrite, kw_only=True):
    """Let a pool be changed by people again. It keeps the hosts that it has."""

    op = "pools.unfollow"
    purpose = "change what pools follow"
    did = "it ceased to follow Afanasy's pool"
    verb = "ceased to follow Afanasy's pool with"

    def changed(self, present: Pool) -> Pool:
        return replace(present, follows="")
