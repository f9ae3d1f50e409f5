"""What must not let a job out of its pool, or keep others from following theirs: odd jobs, lost answers, pauses."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from tests.broker.live.conftest import Studio

from afpools.fence_note import Note, fingerprint, with_note
from afpools_broker.farm.farm import FarmError
from afpools_broker.live import apply, keeper, names
from afpools_broker.live.jobs import parse_jobs

WIDER = "(?!pc-0[134]$).*"


@pytest.mark.parametrize(
    "odd",
    [
        b'"name":"caf\xe9"',
        b'"name":"a\nb"',
        rb'"name":"\ud800"',
        b'"hosts_mask_type":"glob"',
        b'"custom_data":{"a":1}',
        b'"custom_data":null',
        b'"pools":{"/local":1.5}',
    ],
)
def test_an_odd_job_does_not_hide_the_others(odd: bytes) -> None:
    jobs = parse_jobs(b'{"jobs":[{"id":2,%s},{"id":3,"name":"a\\"b\\u00fc"}]}' % odd)
    assert [(job.id, job.name) for job in jobs][-1] == (3, 'a"bü')


@pytest.mark.parametrize("odd", [{"exclude": "pc-01\ud800"}, {"pool": "fx\udfff"}, {"by": "\ud800"}])
def test_a_note_that_cannot_be_sent_keeps_no_other_job_from_following(studio: Studio, odd: dict[str, str]) -> None:
    note = Note("fx", "", "", "either", fingerprint("pc-02", "regex"))._replace(**odd)
    studio.server.send(
        "odd", hosts_mask_exclude="pc-02", hosts_mask_type="regex", custom_data=with_note("", note), offline=True
    )
    job = studio.send("fx", offline=True)
    studio.apply("pools.add_hosts", "fx", "pc-04")
    studio.look()
    assert (studio.mask(job), studio.fence(job)) == (WIDER, "current")


def test_a_job_whose_fence_cannot_be_worked_out_keeps_no_other_from_following(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = studio.send("fx", "bad", offline=True), studio.send("fx", offline=True)
    real = keeper.plan

    def plan(job: Any, *arguments: Any) -> Any:
        if job.name == "bad":
            raise RecursionError
        return real(job, *arguments)

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


def test_a_job_that_is_hit_by_mistake_is_paused_although_the_answer_never_came(
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


def test_a_keeper_that_was_paused_between_planning_and_acting_works_it_out_again(studio: Studio) -> None:
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


def test_deep_and_huge_custom_data_of_others_is_harmless(studio: Studio) -> None:
    for text in ("[" * 100_000, '{"a":' * 980 + "1" + "}" * 980, '{"afpools":' + "9" * 10_000 + "}", "x" * 2_000_000):
        studio.server.send("odd", custom_data=text, offline=True)
    inner = {"deep": json.loads("[" * 900 + "]" * 900), "big": "x" * 1_000_000}
    job = studio.send("fx", offline=True, custom_data=json.dumps(inner))
    studio.apply("pools.add_hosts", "fx", "pc-04")
    studio.look()
    assert studio.mask(job) == WIDER
    assert json.loads(studio.server.job(job)["custom_data"])["big"] == inner["big"]


def test_another_pool_of_the_same_name_is_not_mistaken_for_the_one_that_a_job_means(studio: Studio) -> None:
    job = studio.send("fx", offline=True)
    mask = studio.mask(job)
    # It was sent at a revision that history does not know: the pool's document was edited by hand.
    studio.server.jobs[job].shown["custom_data"] = with_note(
        "", Note("fx", "by-hand", "", "either", fingerprint(mask, "regex"))
    )
    studio.apply("pools.delete", "fx")
    studio.pool("fx", "pc-05")
    studio.look()
    assert (studio.fence(job), studio.mask(job)) == ("kept", mask)
    assert "which one is meant is not known" in studio.why(job)


def test_a_pool_that_was_edited_by_hand_and_never_given_up_is_followed(studio: Studio) -> None:
    job = studio.send("fx", offline=True)
    studio.server.jobs[job].shown["custom_data"] = with_note(
        "", Note("fx", "by-hand", "", "either", fingerprint(studio.mask(job), "regex"))
    )
    studio.apply("pools.add_hosts", "fx", "pc-04")
    studio.look()
    assert studio.mask(job) == WIDER


def test_where_history_does_not_reach_back_a_name_alone_is_not_followed(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = studio.send("fx", offline=True)
    mask = studio.mask(job)
    monkeypatch.setattr(names, "REACH", 2)
    monkeypatch.setattr(keeper, "REACH", 2)
    for host in ("pc-02", "pc-04", "pc-05"):
        studio.apply("pools.add_hosts", "fx", host)
    studio.look()
    assert (studio.fence(job), studio.mask(job)) == ("kept", mask)


def test_a_log_that_cannot_be_read_keeps_no_other_job_from_following(studio: Studio) -> None:
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


def test_jobs_that_take_long_to_work_out_come_last_and_are_not_moved_by_what_was_known_before(
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
