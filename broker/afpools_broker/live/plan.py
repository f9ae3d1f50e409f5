"""Which mask a job should have now: pure functions.

Strategy: the same engine and the same proof as at sending. If the right mask cannot be known or expressed, the job
keeps the one it has, and a sentence says why: a fence is never opened for lack of information.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, Literal

from afpools.fence_note import Note, SpillNote, fingerprint, with_note

from ..farm.engines import untyped_as
from ..masks.exclude import Mask, hosts_found, hosts_matched
from ..picture.job_mask import job_mask
from ..picture.snapshot import Snapshot
from ..pools.pool import Pool
from ..protocol import MASK_BYTES, Code, Dialect, MaskParams, Reading, RequestRefused
from .intent import Intent, intent_of
from .jobs import Job
from .names import PoolNames
from .spill import Spill, in_words, noted, spill_of, stays, stays_in

Fence = Literal["current", "behind", "kept", "changed", "removed", "unmarked", "none", "refused"]

LEFT_ALONE: frozenset[Fence] = frozenset({"changed", "removed", "unmarked"})
"""Fences that stay as they are until somebody asks for it."""

NO_POOL = "It names no pool."

# A name that no host has, to test whether a mask excludes hosts that register later.
_LATER_HOST = "afpools-host-to-come"


@dataclass(frozen=True)
class Verdict:
    """What to do about one job.

    Args:
        fence: `current`: nothing. `behind`: it has to move. `kept`: it keeps its last fence. `changed`: a person
            changed it. `removed`: a person removed its note. `unmarked`: its note does not say which mask was set.
            `none`: it names no pool. `refused`: afserver does not make the change; see `refusals`.
        pool: the present name of its pool; empty if it has none.
        why: a sentence for people; empty for `current`.
        params: the parameters of the action that moves it; None if nothing is to be done.
        note: our note on the job after that; for `removed`, the note that it had.
        spill: its second pool; None if it has none.
        opens: whether its second pool is added to its fence.
    """

    fence: Fence
    pool: str = ""
    why: str = ""
    params: dict[str, Any] | None = None
    note: Note | None = None
    spill: Spill | None = None
    opens: bool = False

    @property
    def is_lost(self) -> bool:
        """Whether its pool or its second pool may not have been found: history may not have had a new name yet."""
        return self.fence == "kept" or (self.spill is not None and not self.spill.revision)

    @property
    def may_open(self) -> bool:
        """Whether its second pool might be added, if the job waits long enough."""
        return self.fence == "current" and self.spill is not None and not (self.spill.since or self.spill.why)

    def is_of(self, pool: str) -> bool:
        """Whether the job's fence depends on a pool: its own, or the second one if it may use that."""
        return pool == self.pool or (self.spill is not None and self.spill.is_open and self.spill.pool == pool)


@dataclass(frozen=True, eq=False)
class World:
    """The pools and the farm that jobs are compared with.

    Args:
        snapshot: pools, and the farm's names.
        names: the present names of pools.
        farm_is_too_old: whether the list of renders is too old for a mask that names hosts.
        causes: by pool and revision, the change that made it, for people.
    """

    snapshot: Snapshot
    names: PoolNames
    farm_is_too_old: bool = False
    causes: dict[tuple[str, str], str] = field(default_factory=dict)

    @classmethod
    def of(cls, snapshot: Snapshot) -> World:
        """Pools and farm as they are, for jobs that name the pools as they are called now."""
        return cls(snapshot, PoolNames((), snapshot.contents.pools))

    @cached_property
    def _made(self) -> dict[tuple[object, ...], Mask | str]:
        return {}

    def mask(self, pool: str, note: Note, user: str, accept: tuple[Dialect, ...], second: str = "") -> Mask | str:
        """The mask that a job should have, or why there is none. It is made once for all jobs that want the same.

        Args:
            pool: the pool's name now.
            note: has the job's own exclude mask.
            user: the job's user.
            accept: the types that may be set on it.
            second: the name of another pool that it may use too; empty for none.
        """
        untyped = untyped_as(self.snapshot.farm, self.snapshot.fences.engines, user)
        key = (pool, second, note.exclude, note.exclude_type, untyped, accept)
        made = self._made.get(key)
        if made is None:
            made = self._made[key] = self._make(pool, second, note, untyped, accept)
        return made

    def _make(self, pool: str, second: str, note: Note, untyped: Reading, accept: tuple[Dialect, ...]) -> Mask | str:
        params = MaskParams(
            pool=pool,
            style="complement",
            accept=list(accept),
            exclude=note.exclude,
            exclude_type=note.exclude_type,  # type: ignore[arg-type]  # checked where the note was read
            future_hosts="wanted",
            max_bytes=MASK_BYTES,
        )
        try:
            mask = job_mask(self.snapshot.fences, params, untyped, second)
        except RequestRefused as refusal:
            return _why_none(pool, refusal)
        if not mask.covers_future_hosts and self.farm_is_too_old:
            return "The list of renders is too old for a mask that names the hosts to keep out."
        return mask

    @cached_property
    def known(self) -> list[str]:
        """Every known host."""
        return self.snapshot.fences.known


def _why_none(pool: str, refusal: RequestRefused) -> str:
    if refusal.code is Code.EMPTY_POOL and "no hosts" in refusal.message:
        return f"The pool {pool!r} is empty."
    return refusal.message


def plan(job: Job, world: World, now: dt.datetime, *, waited: bool = False) -> Verdict:
    """Decides what to do about a job.

    Args:
        job: as it is.
        world: pools and farm.
        now: the time to note on a job that moves, with its zone.
        waited: whether it has waited so long for its pool that it may use its second pool too.
    """
    intent = intent_of(job)
    if intent.kind == "ours":
        assert intent.note is not None
        return plan_for(job, intent.note, world, now, waited=waited)
    note = intent.note
    if note is None:
        return Verdict("none", why=NO_POOL)
    pool = world.names.now(note.pool, note.revision) or note.pool
    if intent.kind == "unmarked":
        why = "It was sent by a plug-in of an earlier version, which did not note the mask"
        why += "." if note.exclude else ", nor what the job excludes itself."
        return Verdict("unmarked", pool, why)
    return Verdict("changed", pool, "A person changed its mask.")


def removed(note: Note, world: World) -> Verdict:
    """What is to be done about a job that no longer names its pool, and once had this note."""
    pool = world.names.now(note.pool, note.revision) or note.pool
    return Verdict("removed", pool, "A person removed its note.", note=note)


def plan_for(job: Job, note: Note, world: World, now: dt.datetime, *, by: str = "", waited: bool = False) -> Verdict:
    """Decides what to do about a job that wants what a note says, whatever mask it has.

    Args:
        job: as it is.
        note: what it should want.
        world: pools and farm.
        now: the time to note on a job that moves, with its zone.
        by: the cause of the move, for people; by default the last change of its pool.
        waited: as for `plan`.
    """
    pool = world.names.now(note.pool, note.revision)
    if not pool:
        gone = f"The pool {note.pool!r} was deleted"
        return _kept(note.pool, f"{gone}." if pool == "" else f"{gone} or renamed: which pool is meant is not known.")
    if world.snapshot.farm is None:
        return _kept(pool, "The broker has never seen the farm's list of renders.")
    fences, pools = world.snapshot.fences, world.snapshot.contents.pools
    accept = _types(job, typeless=fences.engines.all_old)
    mask = world.mask(pool, note, job.user_name, accept)
    moment = f"{now:%Y-%m-%dT%H:%M:%SZ}"
    spill = spill_of(note, pool, world.names, pools)
    both = partial(_both, job, note, pool, world, accept)
    if isinstance(mask, str):
        # A spilled job follows its second pool even if its own is empty.
        made = both(spill) if spill is not None and spill.is_open and not job.is_finished else mask
        if isinstance(made, str):
            return _kept(pool, mask)
        mask = made
    elif spill is not None:
        spill, mask = _spilled(job, spill, mask, moment if waited else "", both)
    if not mask.covers_future_hosts and keeps_out(job, _LATER_HOST):
        return _kept(pool, f"Its new mask would not exclude hosts that register later. {mask.why}".rstrip(), spill)
    mask_type = job.hosts_mask_type if mask.type == "any" or not job.hosts_mask_type else mask.type
    is_right = (job.hosts_mask_exclude, job.hosts_mask_type) == (mask.text, mask_type)
    said = noted(note.spill, spill, since=spill.since if spill else "")
    if is_right and note.pool == pool and _means(said) == _means(note.spill) and _says(job, note):
        return Verdict("current", pool, note=note, spill=spill)
    revision = pools[pool].revision
    cause = by or _cause_of_spill(job, note, spill, pools[pool], world) or _cause(world, note, pool, revision, is_right)
    after = note._replace(pool=pool, revision=revision, fingerprint=fingerprint(mask.text, mask_type), spill=said)
    after = after._replace(moved=moment, by=cause)
    custom_data = with_note(job.custom_data, after)
    if custom_data is None:
        return _kept(pool, "Its custom data is not a JSON object, so the mask that was set cannot be noted there.")
    params = params_for(job, mask.text, mask_type, custom_data)
    opens = spill is not None and spill.is_open and not (note.spill and note.spill.since)
    return Verdict("behind", pool, "Its fence has to move, and will within seconds.", params, after, spill, opens)


def _spilled(
    job: Job, spill: Spill, mask: Mask, moment: str, both: Callable[[Spill], Mask | str]
) -> tuple[Spill, Mask]:
    """The state of a job's second pool after this, and the mask that the job then has.

    Args:
        job: as it is.
        spill: its second pool, as it stands now.
        mask: of its own pool alone.
        moment: now, if the job has waited long enough; else empty.
        both: makes the mask of both pools, or says why there is none.
    """
    if job.is_finished:
        # If somebody starts it again, it starts in its own pool.
        return replace(spill, since=""), mask
    if not spill.since and not moment:
        return spill, mask
    if not spill.since and not mask.covers_future_hosts:
        # Otherwise it could not return to its own pool.
        return replace(spill, why=stays_in("Its mask does not exclude hosts that register later.")), mask
    made = both(spill)
    if isinstance(made, Mask):
        return replace(spill, since=spill.since or moment), made
    return replace(spill, why=spill.why or stays_in(made)), mask


def _both(job: Job, note: Note, pool: str, world: World, accept: tuple[Dialect, ...], spill: Spill) -> Mask | str:
    """The mask of a job that may use its second pool too, or why it may not."""
    if spill.why:
        return spill.why
    if not world.snapshot.fences.members[spill.pool]:
        return f"The second pool {spill.pool!r} is empty."
    mask = world.mask(pool, note, job.user_name, accept, spill.pool)
    if isinstance(mask, Mask) and not mask.covers_future_hosts:
        return f"A mask of both pools would not exclude hosts that register later. {mask.why}".rstrip()
    return mask


def _means(said: SpillNote | None) -> SpillNote | None:
    """The parts of a note that must be written again if they differ."""
    return said and said._replace(revision="", after=0)


def _cause_of_spill(job: Job, note: Note, spill: Spill | None, pool: Pool, world: World) -> str:
    """Why a job's second pool makes it move, for people; empty if it does not."""
    before = note.spill
    was_open = before is not None and bool(before.since)
    if spill is not None and spill.is_open:
        if not was_open:
            return f"no task ran for {in_words(spill.after)}, so it may use {spill.pool!r} too"
        if before is not None and before.revision != spill.revision and note.revision == pool.revision:
            return world.causes.get((spill.pool, spill.revision), "") or f"{spill.pool!r} changed"
        return ""
    if not was_open or before is None:
        return ""
    if job.is_finished:
        return "its work is done"
    if spill is not None and spill.why:
        return f"{spill.pool!r} cannot be used any more"
    return f"{pool.name!r} no longer spills to {before.pool!r}"


def _says(job: Job, note: Note) -> bool:
    return intent_of(job) == Intent("ours", note)


def _types(job: Job, *, typeless: bool) -> tuple[Dialect, ...]:
    """The mask types that may be set on a job without giving its other masks another meaning."""
    if typeless or not job.hosts_mask_type:
        return ("regex",)
    return (job.hosts_mask_type,) if job.has_other_masks else ("regex", "find")


def _kept(pool: str, why: str, spill: Spill | None = None) -> Verdict:
    return Verdict("kept", pool, f"{why} The job keeps the fence that it has.", spill=spill)


def _cause(world: World, note: Note, pool: str, revision: str, is_right: bool) -> str:
    if note.pool != pool and is_right:
        return f"{note.pool!r} was renamed"
    if note.revision == revision:
        return "the farm's renders changed"
    return world.causes.get((pool, revision), "") or f"{pool!r} changed"


def params_for(job: Job, mask: str, mask_type: str, custom_data: str) -> dict[str, Any]:
    """The parameters of an action that gives a job a mask, and leaves everything else as it is.

    Args:
        job: as it is.
        mask, mask_type: what its exclude mask is to be, and how all its masks are read.
        custom_data: what that is to be.
    """
    params: dict[str, Any] = {"custom_data": custom_data}
    if mask != job.hosts_mask_exclude:
        params["hosts_mask_exclude"] = mask
    # Setting it makes afserver read all masks of the job and its blocks again.
    if mask_type != job.hosts_mask_type:
        params["hosts_mask_type"] = mask_type
    # Any action unhides a hidden job, and on 3.3.1 it empties the map of Afanasy's own pools (both measured).
    if job.hidden:
        params["hidden"] = True
    if job.pools:
        params["pools"] = job.pools
    return params


def is_done(job: Job, params: dict[str, Any]) -> bool:
    """Whether a job, read back, has what an action should have set."""
    return all(getattr(job, key) == value for key, value in params.items())


def allowed(job: Job, hosts: list[str]) -> list[str]:
    """Those of these hosts, sorted by name, on which at least one of a job's blocks may run."""
    out = _matched(job.hosts_mask_exclude, job.hosts_mask_type, hosts)
    left = [host for host in hosts if host not in out]
    if job.hosts_mask:
        wanted = _matched(job.hosts_mask, job.hosts_mask_type, left)
        left = [host for host in left if host in wanted]
    if not any(block.hosts_mask or block.hosts_mask_exclude for block in job.blocks):
        return left
    some: set[str] = set()
    for block in job.blocks:
        kept_out = _matched(block.hosts_mask_exclude, job.hosts_mask_type, left)
        taken = _matched(block.hosts_mask, job.hosts_mask_type, left) if block.hosts_mask else set(left)
        some |= taken - kept_out
    return [host for host in left if host in some]


def keeps_out(job: Job, host: str) -> bool:
    """Whether a job's exclude mask keeps it off a host. An unreadable mask keeps it off no host."""
    return host in _matched(job.hosts_mask_exclude, job.hosts_mask_type, [host])


def _matched(mask: str, mask_type: str, hosts: list[str]) -> set[str]:
    """The hosts that a mask matches; none if afserver could not compile it."""
    if mask_type == "find":
        return hosts_found(mask, hosts)
    try:
        return hosts_matched(mask, hosts)
    except ValueError:
        return set()


def with_pool(job: Job, pool: str, world: World, said: Note | None = None) -> Note:
    """What a job should want after a move to another pool: that pool, and its own exclude mask as before. If it names a
    second pool itself, it keeps that, and has to wait for it again.

    Args:
        job: as it is.
        pool: the pool.
        world: pools and farm.
        said: the note that it had, if it has been removed.
    """
    note = intent_of(job).note or said
    revision = world.snapshot.contents.pools[pool].revision
    if note is not None:
        return note._replace(pool=pool, revision=revision, spill=stays(note.spill))
    return Note(pool, revision, job.hosts_mask_exclude, job.hosts_mask_type or "regex")
