"""What a change would do to the jobs on the farm: pure functions.

Strategy: each job gets the mask that it would have after the change, by the same rules that will make it, and both
masks are read on the farm's renders. Nothing is derived from lists of names.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta

from afpools.fence_note import Note

from ..picture.fences import Fences
from ..picture.snapshot import Snapshot
from ..pools.history import MovedJob
from ..pools.pool import Contents, Pool
from ..protocol import Result
from .intent import intent_of
from .jobs import Job
from .listing import Hosts, Listing
from .names import PoolNames
from .plan import LEFT_ALONE, Verdict, World, plan_for, with_pool
from .view import View

Name = TypeVar("Name")
Value = TypeVar("Value")

Then = Literal["moves", "same", "kept", "changed", "removed", "unmarked"]

_HOSTS_SHOWN = 20
_JOBS_SAID = 3


class LostTasks(Result):
    """Tasks that run on a host that their job loses."""

    name: Annotated[str, Meta(description="the host")]
    tasks: Annotated[int, Meta(description="how many of its tasks run there now")]


class PreviewedJob(Result):
    """What would happen to one job."""

    id: Annotated[int, Meta(description="its number")]
    serial: Annotated[int, Meta(description="as for `jobs.list`")]
    name: Annotated[str, Meta(description="the job's name")]
    user: Annotated[str, Meta(description="whose it is")]
    pool: Annotated[str, Meta(description="its pool now; empty if it names none")]
    gains: Annotated[list[str], Meta(description="renders that it would be allowed to use then, at most 20")]
    loses: Annotated[list[str], Meta(description="renders that it would not be allowed to use any more, at most 20")]
    gains_count: Annotated[int, Meta(description="how many it gains")]
    loses_count: Annotated[int, Meta(description="how many it loses")]
    running_on_lost: Annotated[list[LostTasks], Meta(description="tasks that run now on renders that it would lose")]
    online_before: Annotated[
        int | None, Meta(description="how many renders that it may use are online; null if not known")
    ]
    online_after: Annotated[int | None, Meta(description="the same for those that it could use then")]
    fence: Annotated[
        Then,
        Meta(
            description="`moves`; `same`: its mask stays; `kept`, `changed`, `removed`, `unmarked`: as in `jobs.list`"
        ),
    ]
    why: Annotated[str, Meta(description="a sentence, if its mask stays; else empty")]


class LostHost(Result):
    """A render that jobs would lose."""

    name: Annotated[str, Meta(description="the render")]
    jobs: Annotated[int, Meta(description="jobs that lose it")]
    tasks: Annotated[int, Meta(description="tasks of theirs that run there now")]


class GainedHost(Result):
    """A render that jobs would gain."""

    name: Annotated[str, Meta(description="the render")]
    jobs: Annotated[int, Meta(description="jobs that gain it")]


class PreviewResult(Result):
    jobs: Annotated[list[PreviewedJob], Meta(description="those whose hosts change come first")]
    total: Annotated[int, Meta(description="jobs that the change concerns")]
    gain: Annotated[int, Meta(description="jobs that gain a render")]
    lose: Annotated[int, Meta(description="jobs that lose one")]
    tasks_on_lost: Annotated[int, Meta(description="tasks that run now on a render that their job loses")]
    lost_hosts: Annotated[list[LostHost], Meta(description="each render that a job loses")]
    gained_hosts: Annotated[list[GainedHost], Meta(description="each render that a job gains")]
    without_machine: Annotated[list[int], Meta(description="ids of jobs that would no longer have a render online")]
    kept: Annotated[int, Meta(description="jobs that keep their last fence anyway")]
    running: Annotated[Literal["finish", "requeue"], Meta(description="what happens to the tasks on lost renders")]
    sentences: Annotated[list[str], Meta(description="the same, for people")]
    age: Annotated[float | None, Meta(description="seconds since afserver has confirmed its jobs")]


@dataclass(frozen=True)
class Outlook:
    """What would happen to one job.

    Args:
        job: as it is.
        pool: its pool now.
        before: renders that it may use now.
        after: renders that it could use then.
        tasks: how many of its tasks run on each render that it would lose.
        fence: as `PreviewedJob`.
        why: a sentence.
    """

    job: Job
    pool: str
    before: Sequence[str]
    after: Sequence[str]
    tasks: dict[str, int]
    fence: Then
    why: str

    @property
    def gains(self) -> list[str]:
        """Renders that it could use then but cannot use now."""
        return sorted(set(self.after) - set(self.before))

    @property
    def loses(self) -> list[str]:
        """The opposite."""
        return sorted(set(self.before) - set(self.after))


def world_with(snapshot: Snapshot, pool: Pool | None, others: Iterable[str] = ()) -> World:
    """Pools and farm as they would be with one pool changed.

    Args:
        snapshot: as they are.
        pool: the pool afterwards; None for a deletion.
        others: names of the pools that count besides.
    """
    # The other pools matter only for their known hosts, and those are known here.
    known = Pool("", tuple(snapshot.fences.known))
    pools = {name: snapshot.contents.pools[name] for name in others if name in snapshot.contents.pools}
    if pool:
        pools[pool.name] = pool
    contents = Contents(pools, known)
    fences = Fences(contents, snapshot.fences.farm, snapshot.fences.engines, snapshot.fences.names)
    return World(Snapshot(contents, snapshot.farm, fences), PoolNames((), contents.pools))


def outlooks(view: View, listing: Listing, hosts: Hosts, name: str, world: World, pool: Pool | None) -> list[Outlook]:
    """What a pool's change would do to its jobs.

    Args:
        view: the state of the fences.
        listing: describes the jobs of this view.
        hosts: the farm's renders.
        name: the pool's present name.
        world: the pools and the farm as they would be, from `world_with`.
        pool: the pool afterwards; None for a deletion.
    """
    jobs = listing.wanted(named=True, pool=name, user=None, ids=None, done=False)
    found = []
    for job in jobs:
        verdict = view.verdicts[job.id]
        note = verdict.note or intent_of(job).note
        if verdict.fence in LEFT_ALONE or note is None:
            found.append(_unmoved(job, verdict, hosts))
            continue
        note = _called(note, verdict, name, pool.name if pool else name)
        outlook = _outlook(job, verdict.pool, plan_for(job, note, world, _NOW), listing, hosts)
        if outlook.fence == "kept" and verdict.pool == name and (pool is None or not pool.hosts):
            # Nothing of this has happened yet.
            what = "be deleted" if pool is None else "be empty"
            outlook = replace(outlook, why=f"The pool {name!r} would {what}. The job keeps the fence that it has.")
        found.append(outlook)
    return found


def others_of(view: View, listing: Listing, name: str) -> set[str]:
    """The names of the other pools that fences of a pool's jobs depend on."""
    found = set()
    for job in listing.wanted(named=True, pool=name, user=None, ids=None, done=False):
        verdict = view.verdicts[job.id]
        found |= {verdict.pool, verdict.spill.pool if verdict.spill else name}
    return found - {name}


def _called(note: Note, verdict: Verdict, name: str, called: str) -> Note:
    """A note with the names that its pools would have; `called` is the new name of the pool with this name."""
    said = note.spill
    if said is not None and verdict.spill is not None and said.pool:
        second = called if verdict.spill.pool == name else verdict.spill.pool
        said = said._replace(pool=second)
    return note._replace(pool=called if verdict.pool == name else verdict.pool, spill=said)


def outlooks_of_move(
    view: View, listing: Listing, hosts: Hosts, jobs: Iterable[Job], pool: str, world: World
) -> list[Outlook]:
    """What moving jobs to another pool would do to them; `world` is the present one."""
    found = []
    for job in jobs:
        now = view.verdicts[job.id]
        verdict = plan_for(job, with_pool(job, pool, world, now.note), world, _NOW)
        found.append(_outlook(job, now.pool, verdict, listing, hosts))
    return found


def outlooks_back(view: View, listing: Listing, hosts: Hosts, moved: Iterable[MovedJob], world: World) -> list[Outlook]:
    """What taking back a move would do to jobs; those that are no longer where it brought them stay."""
    found = []
    for each in moved:
        job = view.jobs.get(each.id)
        if job is None or job.serial != each.serial or view.verdicts[job.id].pool != each.after:
            continue
        if each.before in world.snapshot.contents.pools:
            found += outlooks_of_move(view, listing, hosts, [job], each.before, world)
        elif not each.before and (note := intent_of(job).note) is not None:
            after = hosts.of(msgspec.structs.replace(job, hosts_mask_exclude=note.exclude))
            lost = set(hosts.of(job)) - set(after)
            found.append(Outlook(job, each.after, hosts.of(job), after, listing.tasks_on(job, lost), "moves", ""))
    return found


_NOW = dt.datetime.fromtimestamp(0, dt.UTC)


def _unmoved(job: Job, verdict: Verdict, hosts: Hosts) -> Outlook:
    fence: Then = verdict.fence if verdict.fence in ("changed", "removed") else "unmarked"
    return Outlook(job, verdict.pool, hosts.of(job), hosts.of(job), {}, fence, verdict.why)


def _outlook(job: Job, pool: str, verdict: Verdict, listing: Listing, hosts: Hosts) -> Outlook:
    before = hosts.of(job)
    if verdict.params is None:
        return Outlook(job, pool, before, before, {}, "kept" if verdict.fence == "kept" else "same", verdict.why)
    keys = ("hosts_mask_exclude", "hosts_mask_type")
    changed = {key: verdict.params[key] for key in keys if key in verdict.params}
    if not changed:
        return Outlook(job, pool, before, before, {}, "same", "")
    after = hosts.of(msgspec.structs.replace(job, **changed))
    lost = set(before) - set(after)
    return Outlook(job, pool, before, after, listing.tasks_on(job, lost), "moves", "")


def result_of(
    found: list[Outlook], hosts: Hosts, *, limit: int, running: Literal["finish", "requeue"], age: float | None
) -> PreviewResult:
    """The answer of a preview.

    Args:
        found: what would happen to each job.
        hosts: the farm's renders.
        limit: the most jobs to name.
        running: what happens to tasks on lost renders.
        age: seconds since afserver has confirmed its jobs.
    """
    gained: dict[str, int] = {}
    lost: dict[str, LostHost] = {}
    for each in found:
        for host in each.gains:
            gained[host] = gained.get(host, 0) + 1
        for host in each.loses:
            entry = lost.setdefault(host, LostHost(name=host, jobs=0, tasks=0))
            entry.jobs += 1
            entry.tasks += each.tasks.get(host, 0)
    stranded = [each for each in found if hosts.online_among(each.before) and hosts.online_among(each.after) == 0]
    ordered = sorted(found, key=lambda each: (not each.loses, not each.gains, each.job.id))
    result = PreviewResult(
        jobs=[_previewed(each, hosts) for each in ordered[:limit]],
        total=len(found),
        gain=sum(bool(each.gains) for each in found),
        lose=sum(bool(each.loses) for each in found),
        tasks_on_lost=sum(sum(each.tasks.values()) for each in found),
        lost_hosts=[lost[host] for host in sorted(lost)],
        gained_hosts=[GainedHost(name=host, jobs=gained[host]) for host in sorted(gained)],
        without_machine=[each.job.id for each in stranded],
        kept=sum(each.fence == "kept" for each in found),
        running=running,
        sentences=[],
        age=age,
    )
    result.sentences = _sentences(result, found, stranded)
    return result


def _previewed(each: Outlook, hosts: Hosts) -> PreviewedJob:
    return PreviewedJob(
        id=each.job.id,
        serial=each.job.serial,
        name=each.job.name,
        user=each.job.user_name,
        pool=each.pool,
        gains=each.gains[:_HOSTS_SHOWN],
        loses=each.loses[:_HOSTS_SHOWN],
        gains_count=len(each.gains),
        loses_count=len(each.loses),
        running_on_lost=[LostTasks(name=host, tasks=count) for host, count in each.tasks.items()],
        online_before=hosts.online_among(each.before),
        online_after=hosts.online_among(each.after),
        fence=each.fence,
        why=each.why,
    )


def _sentences(result: PreviewResult, found: list[Outlook], stranded: list[Outlook]) -> list[str]:
    if not found:
        return ["No job on the farm is concerned."]
    said = []
    for count, hosts in _alike([(host.name, host.jobs) for host in result.gained_hosts]):
        said.append(f"{_jobs(count)} {'gains' if count == 1 else 'gain'} {_some(hosts)}.")
    for (count, tasks), hosts in _alike([(host.name, (host.jobs, host.tasks)) for host in result.lost_hosts]):
        now = f"; {_count(tasks, 'task')} {'runs' if tasks == 1 else 'run'} there now" if tasks else ""
        said.append(f"{_jobs(count)} {'loses' if count == 1 else 'lose'} {_some(hosts)}{now}.")
    for each in stranded[:_JOBS_SAID]:
        job = each.job
        said.append(f"Job {job.id} {job.name!r} of {job.user_name!r} would have no machine online.")
    if len(stranded) > _JOBS_SAID:
        said.append(f"{len(stranded) - _JOBS_SAID:,} more jobs would have no machine online.")
    for why, whose in _alike([(each.job.id, each.why) for each in found if each.fence not in ("moves", "same")]):
        stay = "stays as it is" if len(whose) == 1 else "stay as they are"
        said.append(f"{_jobs(len(whose))} {stay}: {why}")
    return said or ["No job on the farm gains or loses a host."]


def _alike(pairs: Iterable[tuple[Name, Value]]) -> Iterable[tuple[Value, list[Name]]]:
    """The names that have the same value, in order of appearance."""
    groups: dict[Value, list[Name]] = {}
    for name, value in pairs:
        groups.setdefault(value, []).append(name)
    return groups.items()


def _jobs(count: int) -> str:
    return _count(count, "job")


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def _some(hosts: Sequence[str]) -> str:
    shown = ", ".join(hosts[:5])
    return f"{shown} and {len(hosts) - 5:,} more" if len(hosts) > 5 else shown
