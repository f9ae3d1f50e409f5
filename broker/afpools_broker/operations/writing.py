"""What the operations that change something have in common, and how a change is made.

Strategy: an operation that writes says what becomes of its pool, as a pure function (`becomes`), and what must be
looked at first (`plan`). Everything after that is the same for all, and is here: changes are planned again for as long
as somebody else is quicker, no host is forgotten with its pool, and the system pool stays so under a new name.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from typing import Annotated

from msgspec import Meta

from ..picture.moment import Moment
from ..pools.changes import Change, Check, PlanOutdated, asked_for, check_revision
from ..pools.history import Entry
from ..pools.pool import Pool, fingerprint, unknown_pool
from ..pools.vetting import Vet, vetting
from ..protocol import Code, PoolName, RequestId, RequestRefused, Result, Revision, Role
from ..store import StoreUnavailable
from .base import Call, Operation, Parts, Turn, refuse_late

log = logging.getLogger("afpools.service")

_REPLAN_SECONDS = 0.02


class WriteResult(Result):
    """What every operation that writes is answered with, `pools.import_native` excepted."""

    change: Annotated[
        str, Meta(description="the id of the history entry; empty if everything was as asked for already")
    ]
    pool: Annotated[
        str, Meta(description="the pool's name now; before, for a deletion; empty for the list of registered hosts")
    ]
    revision: Annotated[str, Meta(description="the pool's revision now; empty for a deletion")]
    hosts: Annotated[int, Meta(description="how many hosts there are now")]
    added: Annotated[list[str], Meta(description="the hosts that were added")]
    removed: Annotated[list[str], Meta(description="the hosts that were removed")]
    unchecked: Annotated[
        str,
        Meta(description="a sentence, if hosts were added and nobody could tell whether the farm has them; else empty"),
    ] = ""


class Write(Operation, kw_only=True):
    """Base of all operations that make one change."""

    role = Role.MANAGER
    result = WriteResult

    request_id: RequestId
    if_revision: Revision | None = None

    @property
    def target(self) -> str:
        """Name of the pool that it changes; empty for the list of hosts registered by hand."""
        return ""

    def turn(self, call: Call) -> Turn:
        return Turn.WRITING

    def answer(self, call: Call) -> WriteResult:
        call.refuse_late()
        entry = make(call, lambda: self.plan(call, call.parts.moment()), call.began)
        return WriteResult(
            change=entry.id if entry.changed else "",
            pool=entry.pool,
            revision=entry.after,
            hosts=entry.hosts,
            added=list(entry.diff.added),
            removed=list(entry.diff.removed),
            unchecked=why_unchecked(call.parts) if entry.unchecked else "",
        )

    def plan(self, call: Call, moment: Moment) -> Change:
        """The change to be made; asked for again for each attempt.

        Args:
            call: who asks, and what there is to work with.
            moment: of this attempt.

        Raises:
            RequestRefused: it cannot be made. Only reads until now, so certainly nothing was changed.
            StoreUnavailable: the same.
        """
        return self.change(call.who)

    def change(self, who: str, *, vet: Check | None = None, unchecked: bool = False) -> Change:
        """This very change; arguments as for `Change`."""
        return Change(
            op=self.op,
            who=who,
            request_id=self.request_id,
            pool=self.target,
            asked=self.asked(),
            deed=self,
            vet=vet,
            unchecked=unchecked,
        )

    def asked(self) -> tuple[object, ...]:
        """Everything asked for, as `asked_for` has it."""
        return asked_for(self.target, if_revision=self.if_revision)

    def becomes(self, present: Pool | None) -> Pool | None:
        """As `Deed` has it."""
        if present is None:
            raise unknown_pool(self.target)
        check_revision(self.target, self.if_revision, present)
        return self.changed(present)

    def changed(self, present: Pool) -> Pool | None:
        """What it makes of a pool that is there, at the revision that was named. Pure.

        Raises:
            RequestRefused: that cannot be done to this pool.
        """
        raise NotImplementedError

    def takes_hosts(self, present: Pool | None) -> bool:
        """As `Deed` has it."""
        return False

    def settled(self, call: Call) -> None:
        """Called after the change was made."""


class PoolWrite(Write, kw_only=True):
    """Base of those that change a pool."""

    pool: PoolName

    @property
    def target(self) -> str:
        return self.pool


# --- what is looked at before a change is made ------------------------------------------------------------------------


def newcomers(vet: Vet) -> Check:
    """Looks at the hosts that are new to a pool."""

    def check(before: Pool | None, after: Pool | None) -> None:
        if after is None:
            return
        present = before.hosts if before else ()
        have = frozenset(present)
        if joining := [host for host in after.hosts if host not in have]:
            vet(after.name, present, joining)

    return check


def vetted(write: Write, call: Call, moment: Moment, *, new_hosts: bool) -> Change:
    """A change that puts hosts into a pool, with what looks at them.

    Args:
        write: what was asked for.
        call: who asks.
        moment: has the farm that the hosts are compared with.
        new_hosts: machines that the farm has not seen are wanted, too.
    """
    fences = moment.snapshot.fences
    unseen = moment.farm.by_hand or moment.farm_age is None
    vet = vetting(
        fences.spelling,
        None if new_hosts or unseen else fences.farm,
        registered=fences.registered,
        stale=(moment.farm_age or 0.0) if moment.farm_is_stale else 0.0,
    )
    return write.change(call.who, vet=newcomers(vet), unchecked=unseen and not new_hosts)


def why_unchecked(parts: Parts) -> str:
    """Why nobody can tell whether the farm has the hosts that joined a pool."""
    if parts.farm.by_hand:
        return "The names could not be checked: this broker has no afserver to ask which machines there are."
    return "The names could not be checked: the broker has never seen the farm."


def keep_system_pool(parts: Parts) -> Check:
    """Refuses to delete the pool that post commands are kept on."""

    def check(before: Pool | None, after: Pool | None) -> None:
        if after is None and before is not None and before.name == parts.keeper.current.contents.system_pool:
            raise RequestRefused(
                Code.CONFLICT,
                f"Post commands are kept on the pool {before.name!r}. Choose another pool for them first: afpools farm "
                "system-pool NAME, or --none to let them run on any render.",
            )

    return check


# --- making a change --------------------------------------------------------------------------------------------------


def make(call: Call, plan: Callable[[], Change], began: float) -> Entry:
    """Makes a change, planned again for as long as somebody else is quicker.

    Args:
        call: who asks, and what there is to work with.
        plan: says what is to be changed; called for each attempt.
        began: from when on the sender waits, of `time.monotonic`.

    Raises:
        RequestRefused: it was not made, or its outcome is not known.
    """
    keeper, by_hand = call.parts.keeper, call.parts.farm.by_hand
    while True:
        change = _planned(plan)
        if by_hand and change.deed.takes_hosts(keeper.current.contents.pools.get(change.pool)):
            _register_members(call.parts, change)
        try:
            entry = keeper.apply(change)
        except PlanOutdated:
            refuse_late(began)
            # What was planned with is older than the store; a replica set takes a moment to agree on it.
            time.sleep(_REPLAN_SECONDS)
            continue
        if by_hand and change.pool:
            _register_leavers(call.parts, change, entry)
        _follow_rename(call.parts, change, entry)
        if isinstance(change.deed, Write):
            change.deed.settled(call)
        if entry.changed:
            log.info("%s by %r at %s: %s", entry.op, entry.who, call.sender.address, _described(entry))
        return entry


def _planned(plan: Callable[[], Change]) -> Change:
    """
    Raises:
        RequestRefused: with `made` false, because a plan only reads.
    """
    try:
        return plan()
    except StoreUnavailable as error:
        raise RequestRefused(Code.STORE_UNAVAILABLE, str(error), made=False) from None
    except RequestRefused as refusal:
        raise RequestRefused(refusal.code, refusal.message, made=False) from None


def _register_members(parts: Parts, change: Change) -> None:
    """Without afserver, what was registered or is in a pool is all that is known. A host that leaves its pool must not
    be forgotten with it, or the others' masks would not keep it out any more.

    So all members are registered before the change, while the pool still has them. Those that another broker added
    since this one last read the store are only known from what the store then took out, and registered after it.
    """
    fences = parts.keeper.current.fences
    _register_hosts(parts, change, fences.members.get(change.pool, frozenset()) - fences.farm)


def _register_leavers(parts: Parts, change: Change, entry: Entry) -> None:
    """Registers what the store took out, with what is registered already: so the same request again is recognised, and
    does not take back that one of these hosts was forgotten since.

    Raises:
        RequestRefused: with what was made and what was not; the same request again does the rest.
    """
    try:
        _register_hosts(parts, change, parts.keeper.current.fences.spelled(entry.diff.removed))
    except RequestRefused as refusal:
        raise RequestRefused(
            refusal.code,
            "The change was made, but the hosts that left the pool may not be registered yet, and masks may not "
            f"keep them out: {refusal.message} Sending it again with the same request_id registers them.",
        ) from None


def _register_hosts(parts: Parts, change: Change, hosts: Collection[str]) -> None:
    """Registers hosts, as the farm spells them; `change` is the one that makes it necessary."""
    from .hosts import HostsRegister  # which is a write itself

    if hosts:
        # A change may take two such steps, and may be sent again: each step has one id of its own.
        names = sorted(hosts)
        step = HostsRegister(request_id=f"{change.request_id} {fingerprint(names)}", hosts=names)
        parts.keeper.apply(step.change(change.who))


def _follow_rename(parts: Parts, change: Change, entry: Entry) -> None:
    """The system pool stays the system pool under its new name."""
    from .farm import FarmSetSystemPool  # which is a write itself

    old, new = entry.diff.name or ("", "")
    if not old or not new or parts.keeper.current.contents.system_pool != old:
        return
    # A rename may be sent again: this step has an id of its own.
    step = FarmSetSystemPool(request_id=f"{change.request_id} {fingerprint('system pool', old, new)}", pool=new)
    parts.keeper.apply(step.change(change.who))


def _described(entry: Entry) -> str:
    """What changed, for the log."""
    if not entry.pool and entry.diff.description:
        return entry.diff.description[1]
    counts = [f"+{len(entry.diff.added)}"] * bool(entry.diff.added)
    counts += [f"-{len(entry.diff.removed)}"] * bool(entry.diff.removed)
    hosts = f" ({', '.join(counts)} hosts)" if counts else ""
    return f"pool {entry.pool!r}{hosts}" if entry.pool else f"registered hosts{hosts}"
