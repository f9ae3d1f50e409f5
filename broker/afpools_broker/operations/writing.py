"""What operations that change something have in common, and how a change is made.

Strategy: an operation that writes says what becomes of its pool, as a pure function (`becomes`), and what must be
checked first (`plan`). Everything after that is the same for all of them, and is here: changes are planned again as
long as somebody else is quicker, no host is forgotten with its pool, and the system pool stays the system pool under a
new name.
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
from ..pools.pool import Pool, came_and_gone, fingerprint, unknown_pool
from ..pools.vetting import Vet, vetting
from ..protocol import Code, PoolName, RequestId, RequestRefused, Result, Revision, Role
from ..store import StoreUnavailable
from .base import Call, Operation, Parts, Turn, refuse_late

log = logging.getLogger("afpools.service")

_REPLAN_SECONDS = 0.02


class WriteResult(Result):
    """The result of every operation that writes, except `pools.import_native`."""

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
        """The change to make; called anew for each attempt.

        Args:
            call: the request, and what it is answered with.
            moment: the moment of this attempt.

        Raises:
            RequestRefused: it cannot be made. Until now there were only reads, so it is certain that nothing was
                changed.
            StoreUnavailable: the same.
        """
        return self.change(call.who)

    def change(self, who: str, *, vet: Check | None = None, unchecked: bool = False) -> Change:
        """The change for this request; arguments as for `Change`."""
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
        """Everything asked for, as from `asked_for`."""
        return asked_for(self.target, if_revision=self.if_revision)

    def becomes(self, present: Pool | None) -> Pool | None:
        """As `Deed.becomes`."""
        if present is None:
            raise unknown_pool(self.target)
        check_revision(self.target, self.if_revision, present)
        return self.changed(present)

    def changed(self, present: Pool) -> Pool | None:
        """What it makes of an existing pool at the named revision. Pure.

        Raises:
            RequestRefused: that cannot be done to this pool.
        """
        raise NotImplementedError

    def takes_hosts(self, present: Pool | None) -> bool:
        """As `Deed.takes_hosts`."""
        return False

    def settled(self, call: Call) -> None:
        """Called after the change has been made."""


class PoolWrite(Write, kw_only=True):
    """Base of the operations that change a pool."""

    pool: PoolName

    @property
    def target(self) -> str:
        return self.pool


# --- checks before a change is made ------------------------------------------------------------------------


def newcomers(vet: Vet) -> Check:
    """Checks the hosts that are new to a pool."""

    def check(before: Pool | None, after: Pool | None) -> None:
        if after is None:
            return
        present = before.hosts if before else ()
        joining, _ = came_and_gone(present, after.hosts)
        if joining:
            vet(after.name, present, joining)

    return check


def vetted(write: Write, call: Call, moment: Moment, *, new_hosts: bool) -> Change:
    """A change that puts hosts into a pool, with the check for them.

    Args:
        write: what was asked for.
        call: the request.
        moment: provides the farm that the hosts are compared with.
        new_hosts: whether machines that the farm has not seen are allowed.
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
    """Why it was not possible to check whether the farm has the hosts that joined a pool."""
    if parts.farm.by_hand:
        return "The names could not be checked: this broker has no afserver to ask which machines there are."
    return "The names could not be checked: the broker has never seen the farm."


def keep_system_pool(parts: Parts) -> Check:
    """Refuses to delete the system pool."""

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
    """Makes a change; plans it again as long as somebody else is quicker.

    Args:
        call: the request, and what it is answered with.
        plan: makes the change; called for each attempt.
        began: when the sender began to wait, in seconds of `time.monotonic`.

    Raises:
        RequestRefused: it was not made, or its outcome is unknown.
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
            # The plan was made from data older than the store's; a replica set takes a moment to agree.
            time.sleep(_REPLAN_SECONDS)
            continue
        if by_hand and change.pool:
            _register_leavers(call.parts, change, entry)
        _follow_rename(call.parts, change, entry)
        if isinstance(change.deed, Write):
            change.deed.settled(call)
        if entry.changed:
            call.did(entry.op, _described(entry))
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
    """Without afserver, the registered hosts and the members of pools are the only known hosts. A host that leaves its
    pool must not be forgotten with it, or the masks of other pools would no longer exclude it.

    So all members are registered before the change, while the pool still has them. Members that another broker added
    since this one last read the store are known only from what the store then took out, and are registered afterwards.
    """
    fences = parts.keeper.current.fences
    _register_hosts(parts, change, fences.members.get(change.pool, frozenset()) - fences.farm)


def _register_leavers(parts: Parts, change: Change, entry: Entry) -> None:
    """Registers what the store took out and what is already registered. That way a repeated request is recognised, and
    does not register again a host that has been forgotten since.

    Raises:
        RequestRefused: the message says what was made and what was not; the same request again does the rest.
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
    from .hosts import HostsRegister  # which itself uses this module

    if hosts:
        # A change may need two such steps, and may be sent again, so each step has its own id.
        names = sorted(hosts)
        step = HostsRegister(request_id=f"{change.request_id} {fingerprint(names)}", hosts=names)
        parts.keeper.apply(step.change(change.who))


def _follow_rename(parts: Parts, change: Change, entry: Entry) -> None:
    """Keeps the system pool the system pool under its new name."""
    from .farm import FarmSetSystemPool  # which itself uses this module

    old, new = entry.diff.name or ("", "")
    if not old or not new or parts.keeper.current.contents.system_pool != old:
        return
    # A rename may be sent again, so this step has its own id.
    step = FarmSetSystemPool(request_id=f"{change.request_id} {fingerprint('system pool', old, new)}", pool=new)
    parts.keeper.apply(step.change(change.who))


def _described(entry: Entry) -> str:
    """The change in words, for the log."""
    if not entry.pool and entry.diff.description:
        return entry.diff.description[1]
    counts = [f"+{len(entry.diff.added)}"] * bool(entry.diff.added)
    counts += [f"-{len(entry.diff.removed)}"] * bool(entry.diff.removed)
    hosts = f" ({', '.join(counts)} hosts)" if counts else ""
    return f"pool {entry.pool!r}{hosts}" if entry.pool else f"registered hosts{hosts}"
