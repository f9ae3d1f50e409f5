"""Which mask a job should have: properties over many pools, farms and changes of both."""

from __future__ import annotations

import datetime as dt

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from afpools.fence_note import Note, SpillNote, fingerprint, parse_note, with_note
from afpools_broker.farm.farm import Farm, Render
from afpools_broker.live.jobs import Job
from afpools_broker.live.names import PoolNames
from afpools_broker.live.plan import World, allowed, is_done, plan
from afpools_broker.picture.snapshot import Snapshot
from afpools_broker.pools.pool import Contents, Pool

NOW = dt.datetime(2026, 12, 1, tzinfo=dt.UTC)
HOSTS = ["pc-01", "pc-02", "pc-1", "pc-10", "pc-11", "ws.one", "LT-PC-07", "gpu-8"]
hosts = st.lists(st.sampled_from(HOSTS), unique=True)


def world(members: list[str], renders: list[str], **others: list[str]) -> World:
    farm = Farm(tuple(Render(name, ("online",), engine="3.4.1") for name in renders), NOW, regex_users=frozenset())
    pools = {"fx": members, **others}
    contents = Contents({name: Pool(name, tuple(named)) for name, named in pools.items()})
    snapshot = Snapshot.of(contents, farm, None, by_hand=False, names="whole")
    return World(snapshot, PoolNames((), contents.pools))


def job(note: Note, mask: str, mask_type: str) -> Job:
    data = with_note('{"shot": 1}', note)
    assert data is not None
    return Job(
        2,
        serial=7,
        hosts_mask_exclude=mask,
        hosts_mask_type=mask_type,
        custom_data=data,
        user_name="anna",  # type: ignore[arg-type]
    )


@given(hosts, st.lists(st.sampled_from(HOSTS), unique=True, min_size=1), st.sampled_from(["", "pc-1", "pc-01|gpu"]))
def test_a_moved_job_may_use_its_pool_and_nothing_else_and_is_then_current(
    members: list[str], renders: list[str], exclude: str
) -> None:
    before = job(Note("fx", "0", exclude, "find", fingerprint("old", "regex")), "old", "regex")
    there = world(members, renders)
    verdict = plan(before, there, NOW)
    if verdict.params is None:
        # No host is left for it, so it keeps its fence.
        assert verdict.fence == "kept"
        return
    after = msgspec.structs.replace(before, **verdict.params)
    assert is_done(after, verdict.params)
    starts = tuple(part for part in exclude.split("|") if part)
    # The spelling of hosts that are not on the farm is tested elsewhere.
    wanted = {host for host in members if host in renders and not (starts and host.startswith(starts))}
    every = sorted({*renders, "registers-later"})
    assert set(allowed(after, every)) == wanted
    assert plan(after, there, NOW).fence == "current"
    note = parse_note(after.custom_data)
    assert note is not None
    assert (note.exclude, note.pool) == (exclude, "fx")


@given(hosts, hosts, st.sampled_from(["", "pc-1"]), st.sampled_from(["", "2026-12-01T00:00:00Z"]), st.booleans())
def test_a_job_may_use_its_second_pool_once_it_has_waited_and_never_another_host(
    members: list[str], seconds: list[str], exclude: str, since: str, waited: bool
) -> None:
    spill = SpillNote("night", "0", 60, since)
    there = world(members, HOSTS, night=seconds)
    before = job(Note("fx", "0", exclude, "find", fingerprint("old", "regex"), spill=spill), "old", "regex")
    verdict = plan(before, there, NOW, waited=waited)
    if verdict.params is None:
        assert verdict.fence == "kept"
        return
    after = msgspec.structs.replace(before, **verdict.params)
    wanted = {*members, *(seconds if since or waited else ())}
    wanted = {host for host in wanted if not (exclude and host.startswith(exclude))}
    assert set(allowed(after, [*HOSTS, "registers-later"])) == wanted
    assert verdict.spill is not None
    assert verdict.spill.is_open == bool((since or waited) and seconds)
    again = plan(after, there, NOW)
    assert (again.fence, again.spill and again.spill.is_open) == ("current", verdict.spill.is_open)


@given(hosts, st.sampled_from(["", "find", "regex"]), st.text(max_size=10))
def test_a_mask_that_somebody_changed_is_never_touched(members: list[str], mask_type: str, mask: str) -> None:
    changed = job(Note("fx", "0", "", "either", "no such mask"), mask, mask_type)
    assert plan(changed, world(members, HOSTS), NOW).params is None


@given(hosts)
def test_a_missing_pool_or_a_farm_never_seen_changes_nothing(members: list[str]) -> None:
    ours = job(Note("gone", "0", "", "either", fingerprint("old", "regex")), "old", "regex")
    assert plan(ours, world(members, HOSTS), NOW).fence == "kept"
    unseen = Snapshot.of(Contents({"gone": Pool("gone", tuple(members))}), None, None, by_hand=False)
    assert plan(ours, World.of(unseen), NOW).fence == "kept"
