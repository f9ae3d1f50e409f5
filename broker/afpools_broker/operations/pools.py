"""The operations that change a pool."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import msgspec
from msgspec import Meta

from afpools.choice import WITHOUT
from afpools.fence_note import SPILL_SECONDS

from ..picture.moment import Moment
from ..pools.changes import Change, asked_for, without
from ..pools.hosts import expand
from ..pools.lookalikes import spelled_out, unseen
from ..pools.pool import Pool, pool_exists, refuse_lookalike, spill_text, unique, unknown_pool
from ..protocol import (
    Code,
    Colour,
    Description,
    HostPattern,
    HostPatterns,
    Hosts,
    NewHosts,
    PoolName,
    RequestRefused,
    Result,
    Role,
    SecondPool,
    SpillSeconds,
    sentence,
)
from .base import Call, Operation
from .writing import PoolWrite, keep_system_pool, vetted, why_unchecked


def check_new_name(name: str) -> None:
    """
    Raises:
        ValueError: the name has characters that cannot be seen, or it is what clients say for no pool.
    """
    if name == WITHOUT:
        raise ValueError(f"the name {name!r} means that a job has no pool: choose another name")
    # Two pools that look alike in a menu would send a job to the wrong machines. Existing names may be anything.
    if unseen(name):
        raise ValueError(f"the name {spelled_out(name)} has characters that cannot be seen: leave them out")


class PoolsCreate(PoolWrite, kw_only=True):
    """Make a pool. Its hosts are checked as for `pools.add_hosts`."""

    op = "pools.create"
    purpose = "make pools"
    did = "it was created"
    verb = "created"

    hosts: Hosts = msgspec.field(default_factory=list)
    description: Description = ""
    colour: Colour = ""
    new_hosts: NewHosts = False

    def __post_init__(self) -> None:
        check_new_name(self.pool)

    def plan(self, call: Call, moment: Moment) -> Change:
        hosts = expand(self.hosts, moment.snapshot.fences.farm)
        return vetted(msgspec.structs.replace(self, hosts=list(hosts)), call, moment, new_hosts=self.new_hosts)

    def asked(self) -> tuple[object, ...]:
        return asked_for(
            self.pool,
            hosts=self.hosts,
            description=self.description,
            colour=self.colour,
            if_revision=self.if_revision,
        )

    def becomes(self, present: Pool | None) -> Pool | None:
        if self.if_revision is not None:
            raise RequestRefused(Code.BAD_REQUEST, "A new pool has no revision yet; leave if_revision out.")
        if present is not None:
            raise pool_exists(self.pool)
        return Pool(self.pool, tuple(self.hosts), self.description, self.colour)


class PoolsCheckResult(Result):
    unchecked: Annotated[str, Meta(description="as for writes")]


class PoolsCheck(Operation):
    """Would this pool take these hosts? Changes nothing, and is refused exactly as `pools.add_hosts` would be, or as
    `pools.create` if there is no such pool."""

    op = "pools.check"
    role = Role.MANAGER
    purpose = "see what pools would take"
    result = PoolsCheckResult

    pool: PoolName
    hosts: Hosts = msgspec.field(default_factory=list)
    leaving: Annotated[
        list[HostPattern],
        Meta(
            max_length=100_000,
            description="a list of hosts, each at most 1,024 characters long",
            extra={"means": "hosts of the pool that are to be taken out before"},
        ),
    ] = msgspec.field(default_factory=list)
    new_hosts: NewHosts = False

    def answer(self, call: Call) -> PoolsCheckResult:
        moment = call.parts.moment()
        pools = moment.snapshot.contents.pools
        current = pools.get(self.pool)
        kind: type[PoolsCreate | PoolsAddHosts] = PoolsCreate if current is None else PoolsAddHosts
        if current is None:
            refuse_lookalike(self.pool, pools)
        else:
            leaving = frozenset(self.leaving)
            current = replace(current, hosts=tuple(host for host in current.hosts if host not in leaving))
        try:
            wanted = kind(pool=self.pool, hosts=self.hosts, new_hosts=self.new_hosts, request_id="check")
        except ValueError as error:
            raise RequestRefused(Code.BAD_REQUEST, sentence(error)) from None
        change = wanted.plan(call, moment)
        change.apply(current)
        return PoolsCheckResult(unchecked=why_unchecked(call.parts) if change.unchecked and self.hosts else "")


class PoolsRename(PoolWrite, kw_only=True):
    """Give a pool another name."""

    op = "pools.rename"
    purpose = "rename pools"
    did = "it was renamed"
    verb = "renamed"

    new_name: Annotated[PoolName, Meta(title="new name")]

    def __post_init__(self) -> None:
        check_new_name(self.new_name)

    def asked(self) -> tuple[object, ...]:
        return asked_for(self.pool, new_name=self.new_name, if_revision=self.if_revision)

    def changed(self, present: Pool) -> Pool:
        return replace(present, name=self.new_name)


class PoolsDelete(PoolWrite, kw_only=True):
    """Delete a pool; the system pool cannot be deleted."""

    op = "pools.delete"
    purpose = "delete pools"
    did = "it was deleted"
    verb = "deleted"

    def plan(self, call: Call, moment: Moment) -> Change:
        return self.change(call.who, vet=keep_system_pool(call.parts))

    def changed(self, present: Pool) -> None:
        return None

    def takes_hosts(self, present: Pool | None) -> bool:
        return True


class PoolsAddHosts(PoolWrite, kw_only=True):
    """Put hosts into a pool. A host that is neither a render nor registered is an `unknown_host`, unless `new_hosts`
    says that such machines are not set up yet."""

    op = "pools.add_hosts"
    purpose = "add hosts to pools"
    did = "hosts were added"
    verb = "added hosts to"

    hosts: HostPatterns
    new_hosts: NewHosts = False

    def plan(self, call: Call, moment: Moment) -> Change:
        hosts = expand(self.hosts, moment.snapshot.fences.farm)
        return vetted(msgspec.structs.replace(self, hosts=list(hosts)), call, moment, new_hosts=self.new_hosts)

    def asked(self) -> tuple[object, ...]:
        return asked_for(self.pool, hosts=self.hosts, if_revision=self.if_revision)

    def changed(self, present: Pool) -> Pool:
        return replace(present, hosts=unique((*present.hosts, *self.hosts)))


class PoolsRemoveHosts(PoolWrite, kw_only=True):
    """Take hosts out of a pool. If one of them is not in it, the answer is a `bad_request`, and none is taken out."""

    op = "pools.remove_hosts"
    purpose = "take hosts out of pools"
    did = "hosts were removed"
    verb = "removed hosts from"

    hosts: HostPatterns

    def plan(self, call: Call, moment: Moment) -> Change:
        hosts = expand(self.hosts, moment.snapshot.fences.farm, leaving=True)
        return msgspec.structs.replace(self, hosts=list(hosts)).change(call.who)

    def asked(self) -> tuple[object, ...]:
        return asked_for(self.pool, hosts=self.hosts, if_revision=self.if_revision)

    def changed(self, present: Pool) -> Pool:
        return without(present, self.hosts)

    def takes_hosts(self, present: Pool | None) -> bool:
        return True


class PoolsUpdate(PoolWrite, kw_only=True):
    """Change a pool's description, colour or second pool; null leaves each as it is.

    A job that waits too long may use the hosts of the second pool too, see [Live pools](live.md). What the job says
    itself counts before that.
    """

    op = "pools.update"
    purpose = "change pools"
    did = "its description, colour or second pool was changed"
    verb = "changed"

    description: Description | None = None
    colour: Colour | None = None
    spill_to: SecondPool | None = None
    spill_after: SpillSeconds = SPILL_SECONDS

    def __post_init__(self) -> None:
        if self.spill_to == self.pool:
            raise ValueError("a pool cannot be its own second pool: choose another, or none")

    def plan(self, call: Call, moment: Moment) -> Change:
        pools = moment.snapshot.contents.pools

        def vet(_before: Pool | None, _after: Pool | None) -> None:
            if self.spill_to and self.spill_to not in pools:
                # `unknown_pool` is about the pool that is changed.
                raise RequestRefused(Code.BAD_REQUEST, unknown_pool(self.spill_to, pools).message)

        return self.change(call.who, vet=vet)

    def asked(self) -> tuple[object, ...]:
        usual = asked_for(self.pool, description=self.description, colour=self.colour, if_revision=self.if_revision)
        # As before for whoever does not ask for it: brokers of other versions recognise the same request.
        return usual if self.spill_to is None else (*usual, spill_text(self.spill_to, self.spill_after))

    def changed(self, present: Pool) -> Pool:
        return replace(
            present,
            spill=present.spill if self.spill_to is None else spill_text(self.spill_to, self.spill_after),
            description=present.description if self.description is None else self.description,
            colour=present.colour if self.colour is None else self.colour,
        )
