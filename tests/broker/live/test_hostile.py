"""Odd jobs, lost answers and pauses neither let a job out of its pool nor keep others from following theirs."""

from __future__ import annotations

import time
from typing import Any

import pytest
from tests.broker.live.conftest import WIDER, Studio

from afpools.fence_note import Note, fingerprint, with_note
from afpools_broker.farm.afserver import FarmError
from afpools_broker.live import apply, keeper


@pytest.mark.parametrize("odd", [{"exclude": "pc-01\ud800"}, {"pool": "fx\udfff"}, {"by": "\ud800"}])
def test_an_unsendable_note_does_not_keep_other_jobs_from_following(studio: Studio, odd: dict[str, str]) -> None:
    note = Note("fx", "", "", "either", fingerprint("pc-02", "regex"))._replace(**odd)
    studio.server.send(
        "odd", hosts_mask_exclude="pc-02", hosts_mask_type="regex", custom_data=with_note("", note), offline=True
    )
    job = studio.send("fx", offline=True)
    studio.apply("pools.add_hosts", "fx", "pc-04")
    studio.look()
    assert (studio.mask(job), studio.fence(job)) == (WIDER, "current")


def test_a_job_whose_fence_cannot_be_worked_out_does_not_keep_others_from_following(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = studio.send("fx", "bad", offline=True), studio.send("fx", offline=True)
    real = keeper.plan

    def plan(job: Any, *arguments: Any, **more: Any) -> Any:
        if job.name == "bad":
            raise RecursionError
        return real(job, *arguments, **more)

    monkeypatch.setattr(keeper, "plan", plan)
    studio.apply("pools.add_hosts", "fx", "pc-04")
    studio.look()
    assert (studio.mask(good), studio.fence(bad)) == (WIDER, "kept")


def _lose_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Actions are carried out, and their answers never come."""
    real = apply.ask_together

    def ask_together(*arguments: Any, **more: Any) -> list[float]:
        real(*arguments, **more)
        monkeypatch.setattr(apply, "ask_together", real)
        raise FarmError("afserver did not answer.")

    monkeypatch.setattr(apply, "ask_together", ask_together)


def test_a_job_that_got_another_jobs_mask_is_paused_although_the_answer_never_came(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = studio.send("fx", offline=True)
    studio.look()
    server = studio.server

    def swap() -> None:
        server.before_actions = None
        del server.jobs[job]
        assert server.send("other", tasks=3) == job

    server.before_actions = swap
    studio.apply("pools.add_hosts", "fx", "pc-04")
    _lose_answers(monkeypatch)
    with pytest.raises(FarmError):
        studio.look()
    studio.look()
    assert "OFF" in server.job(job)["state"]
    assert len(studio.fences.view.struck) == 1


def test_a_keeper_that_was_paused_between_planning_and_acting_plans_again(studio: Studio) -> None:
    job = studio.send("fx", offline=True)
    studio.look()
    studio.apply("pools.add_hosts", "fx", "pc-04")
    read = studio.fences._reader._ask

    def pause(request: dict[str, object]) -> memoryview:
        # The lease was renewed meanwhile: nobody else had asked for it.
        studio.fences._mover._ask = read
        studio.apply("pools.remove_hosts", "fx", "pc-01")
        return read(request)

    studio.fences._mover._ask = pause
    studio.look()
    ever = {mask for _, _, mask, _ in studio.server.masks}
    assert (studio.mask(job), WIDER in ever) == ("(?!pc-0[34]$).*", False)


def test_a_keeper_that_was_paused_after_it_read_the_jobs_reads_them_again(studio: Studio) -> None:
    job = studio.send("fx", offline=True)
    studio.look()
    studio.apply("pools.add_hosts", "fx", "pc-04")
    read, real = studio.fences._reader._ask, time.monotonic
    numbers: list[float] = []

    def pause(request: dict[str, object]) -> memoryview:
        answer = read(request)
        studio.fences._mover._ask = read
        studio.fences._acts_until = real() - 1
        numbers.append(studio.server.jobs[job].shown["serial"])
        studio.server.act(job, operation={"type": "delete"})
        assert studio.server.send("other", offline=True) == job
        return answer

    studio.fences._mover._ask = pause
    studio.look()
    assert numbers
    assert "custom_data" not in studio.server.job(job)


def test_an_unreadable_log_does_not_keep_other_jobs_from_following(studio: Studio) -> None:
    changed, job = studio.send("fx", offline=True), studio.send("fx", offline=True)
    studio.server.by_hand(changed, hosts_mask_exclude="pc-02")
    read = studio.fences._ask

    def ask(request: dict[str, Any]) -> memoryview:
        if request.get("get", {}).get("mode") == "log":
            raise FarmError("afserver did not answer.")
        return read(request)

    studio.fences._ask = ask
    studio.apply("pools.add_hosts", "fx", "pc-04")
    studio.look()
    assert (studio.mask(job), studio.fence(changed)) == (WIDER, "changed")


def test_jobs_that_take_long_to_plan_come_last_and_are_not_moved_by_outdated_plans(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = studio.send("fx", "slow", offline=True, exclude="pc-05|" + "x" * 100)
    job = studio.send("fx", offline=True)
    studio.look()
    monkeypatch.setattr(keeper, "_PLAN_SECONDS", -1.0)  # one at a time
    before = studio.mask(slow)
    studio.apply("pools.add_hosts", "fx", "pc-04")
    assert studio.fences.look(at_once=True)
    assert (studio.mask(job), studio.mask(slow)) == (WIDER, before)
    studio.look()
    assert (studio.mask(slow) != before, studio.fence(slow)) == (True, "current")
