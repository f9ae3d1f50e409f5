"""What happens to a person's edit that arrives in the same second as ours and is therefore overwritten."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from tests.broker.live.conftest import Studio

from afpools_broker.farm.afserver import FarmError
from afpools_broker.live.apply import Move, Mover, Outcome, Pace
from afpools_broker.live.jobs import Job
from afpools_broker.live.overwritten import lost_edit

LINE = "Wed 25 Nov 08:18.50: {} 127.0.0.1: jobs params: shot@anna:  {}"
OURS = LINE.format("afpools@broker-1", '"custom_data" set to "{"n": 2}"\n"hosts_mask_exclude" set to "pc-02"')
BEFORE = Job(2, hosts_mask_exclude="pc-01", hosts_mask_type="regex", custom_data='{"n": 1}')
MOVE = Move(BEFORE, {"custom_data": '{"n": 2}'})


def just_before(studio: Studio, job: int, **params: Any) -> None:
    """Makes sure that a person's edit is carried out right before our next action."""
    server = studio.server

    def edit() -> None:
        server.before_actions = None
        server.by_hand_now(job, **params)

    server.before_actions = edit


def test_a_mask_that_a_person_set_in_the_same_second_is_restored(studio: Studio) -> None:
    jobs = [studio.send("fx", f"shot {n}", offline=True) for n in range(3)]
    studio.look()
    just_before(studio, jobs[1], hosts_mask_exclude="pc-05", annotation='"custom_data" set to "x"')
    studio.apply("pools.add_hosts", "fx", "pc-04")
    studio.look()
    assert [studio.mask(job) for job in jobs] == ["(?!pc-0[134]$).*", "pc-05", "(?!pc-0[134]$).*"]
    assert [studio.fence(job) for job in jobs] == ["current", "changed", "current"]
    studio.look()
    assert studio.why(jobs[1]).startswith("Changed by bob@ws-04, ")
    studio.apply("pools.add_hosts", "fx", "pc-05")
    studio.look()
    assert studio.mask(jobs[1]) == "pc-05"


def test_the_type_is_restored_with_its_mask(studio: Studio) -> None:
    job = studio.send("fx", offline=True)
    studio.look()
    before = studio.mask(job)
    just_before(studio, job, hosts_mask_type="find")
    studio.apply("pools.add_hosts", "fx", "pc-04")
    studio.look()
    assert studio.server.fence(job) == (before, "find")
    assert studio.fence(job) == "changed"


def test_custom_data_that_a_person_wrote_in_the_same_second_is_kept_and_the_job_follows_its_pool(
    studio: Studio,
) -> None:
    job = studio.send("fx", offline=True)
    studio.look()
    mine = {**json.loads(studio.server.job(job)["custom_data"]), "shot": 'a "quoted"\nline'}
    just_before(studio, job, custom_data=json.dumps(mine, indent=1))
    studio.apply("pools.add_hosts", "fx", "pc-04")
    studio.look()
    assert studio.mask(job) == "(?!pc-0[134]$).*"
    assert json.loads(studio.server.job(job)["custom_data"])["shot"] == 'a "quoted"\nline'
    assert studio.fence(job) == "current"
    studio.apply("pools.add_hosts", "fx", "pc-05")
    studio.look()
    assert studio.mask(job) == "(?!pc-0[1345]$).*"


def test_a_note_that_a_person_removed_in_the_same_second_stays_removed_and_the_fence_stays_narrow(
    studio: Studio,
) -> None:
    job = studio.send("fx", offline=True)
    studio.look()
    just_before(studio, job, custom_data="")
    studio.apply("pools.remove_hosts", "fx", "pc-03")
    studio.look()
    assert "custom_data" not in studio.server.job(job)
    assert not studio.server.jobs[job].lets("pc-03", 0)


def test_a_job_that_a_person_hid_in_the_same_second_is_hidden(studio: Studio) -> None:
    job = studio.send("fx", offline=True)
    studio.look()
    just_before(studio, job, hidden=True)
    studio.apply("pools.add_hosts", "fx", "pc-04")
    studio.look()
    assert (studio.server.job(job)["hidden"], studio.fence(job)) == (True, "current")
    assert studio.mask(job) == "(?!pc-0[134]$).*"


def test_an_edit_made_while_another_is_restored_is_restored_too(studio: Studio) -> None:
    job = studio.send("fx", offline=True)
    studio.look()
    server = studio.server
    edits = ["pc-05", "pc-04"]

    def edit() -> None:
        if edits:
            server.by_hand_now(job, hosts_mask_exclude=edits.pop(0))

    server.before_actions = edit
    studio.apply("pools.add_hosts", "fx", "pc-04")
    studio.look()
    assert (studio.mask(job), studio.fence(job)) == ("pc-04", "changed")


def test_an_edit_is_restored_although_afserver_did_not_answer_in_between(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = studio.send("fx", offline=True)
    studio.look()
    just_before(studio, job, hosts_mask_exclude="pc-05")
    carry_out = Mover.carry_out
    silent = [True]

    def fails_once(mover: Mover, moves: Sequence[Move]) -> Outcome:
        if moves[0].params.get("hosts_mask_exclude") == "pc-05" and silent.pop():
            silent.append(False)
            raise FarmError("afserver did not answer within 3 seconds.")
        return carry_out(mover, moves)

    monkeypatch.setattr(Mover, "carry_out", fails_once)
    studio.apply("pools.add_hosts", "fx", "pc-04")
    with pytest.raises(FarmError):
        studio.look()
    studio.look()
    assert (studio.mask(job), studio.fence(job)) == ("pc-05", "changed")


def test_edits_that_do_not_fit_into_one_batch_are_restored_one_after_the_other(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = studio.server
    jobs = [studio.send("fx", f"shot {n}", offline=True) for n in range(12)]
    studio.look()

    def edit() -> None:
        server.before_actions = None
        for job in jobs:
            server.by_hand_now(job, hosts_mask_exclude="pc-05")

    server.before_actions = edit
    fences = studio.fences
    studio.apply("pools.add_hosts", "fx", "pc-04")
    fences.lease.ask()
    monkeypatch.setattr(fences.overwritten, "look", lambda *_: Outcome())
    studio.look()
    monkeypatch.undo()
    monkeypatch.setattr(Pace, "some", lambda _pace, moves: list(moves[:1]))
    for _ in range(40):
        fences.look(at_once=True)
        fences._take_in(fences.overwritten.look(fences._reader.jobs.get, 12))
    assert {studio.mask(job) for job in jobs} == {"pc-05"}


def test_changes_that_come_faster_than_logs_are_read_do_not_fill_the_memory(studio: Studio) -> None:
    overwritten = studio.fences.overwritten
    for _ in range(3):
        overwritten.watch([MOVE] * 10_000)
    assert len(overwritten) == 20_000


def test_jobs_are_not_touched_again_if_nobody_else_changed_them(studio: Studio) -> None:
    job = studio.send("fx", offline=True)
    studio.look()
    for mask in ("pc-05", studio.mask(job)):
        studio.server.by_hand(job, hosts_mask_exclude=mask)  # and set back
    studio.look()
    del studio.server.actions[:]
    studio.apply("pools.add_hosts", "fx", "pc-04")
    studio.look()
    assert len([action for action in studio.server.actions if "params" in action]) == 1
    assert not len(studio.fences.overwritten)


@pytest.mark.parametrize(
    ("lines", "lost"),
    [
        ([], None),
        ([OURS], None),
        ([LINE.format("anna@ws", '"hosts_mask_exclude" set to "pc-09"')], None),  # ours is no longer there
        ([LINE.format("anna@ws", '"hosts_mask_exclude" set to "pc-09"'), OURS], {"hosts_mask_exclude": "pc-09"}),
        ([LINE.format("anna@ws", '"hosts_mask_exclude" invalid pattern "(("'), OURS], {"hosts_mask_exclude": "(("}),
        ([LINE.format("anna maria@ws", '"hosts_mask_exclude" set to "pc-09"'), OURS], {"hosts_mask_exclude": "pc-09"}),
        (
            [LINE.format("anna@ws", '"hosts_mask_exclude" set to "pc-09"').replace("params", "restart params"), OURS],
            {"hosts_mask_exclude": "pc-09"},
        ),
        ([LINE.format("anna@studio@ws", '"hosts_mask_exclude" set to "pc-09"'), OURS], {"hosts_mask_exclude": "pc-09"}),
        ([LINE.format("a@" * 50_000, '"hosts_mask_exclude" set to "pc-09"').replace(" 127.0.0.1", ""), OURS], None),
        ([LINE.format("anna@ws", '"hosts_mask_exclude" set to "pc-01"'), OURS], None),
        ([LINE.format("anna@ws", '"hosts_mask_type" set to "glob"'), OURS], None),
        ([LINE.format("anna@ws", '"annotation" set to "a"\n"need_os" set to "b"'), OURS], None),
        ([LINE.format("anna@ws", '\bBlock[\'b\']: \n"hosts_mask_exclude" set to "pc-09"'), OURS], None),
        ([LINE.format("anna@ws", '"hosts_mask_exclude" set to "pc-09"'), OURS, OURS], None),
        ([OURS, LINE.format("anna@ws", '"hosts_mask_exclude" set to "pc-09"')], None),
        (
            [LINE.format(who, f'"hosts_mask_exclude" set to "{who}"') for who in ("anna@ws", "bob@ws")] + [OURS],
            {"hosts_mask_exclude": "bob@ws"},
        ),
        (
            [
                LINE.format("anna@ws", '"hosts_mask_exclude" set to "pc-09"\n"need_os" set to "linux"'),
                LINE.format("bob@ws", '"hosts_mask_type" set to "find"\n"time_wait" set to 7'),
                OURS,
            ],
            {"hosts_mask_exclude": "pc-09", "hosts_mask_type": "find"},
        ),
    ],
)
def test_a_lost_edit_is_found_in_the_log(lines: list[str], lost: dict[str, str] | None) -> None:
    edit = lost_edit(lines, MOVE)
    assert (dict(edit.values) if edit else None) == lost
