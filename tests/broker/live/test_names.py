"""The present name of a pool that was renamed, deleted or made again after a job was sent."""

from __future__ import annotations

import pytest
from tests.broker.live.conftest import WIDER, Studio

from afpools.fence_note import Note, fingerprint, with_note
from afpools_broker.live import names, trail


def test_a_deleted_pools_jobs_keep_the_last_fence_and_follow_again_once_that_is_undone(studio: Studio) -> None:
    job = studio.send("fx", offline=True)
    mask = studio.mask(job)
    studio.apply("pools.delete", "fx")
    studio.look()
    assert (studio.fence(job), studio.mask(job)) == ("kept", mask)
    assert "The pool 'fx' was deleted." in studio.why(job)
    studio.pool("fx", "pc-02")
    studio.look()
    assert studio.fence(job) == "kept"  # a different pool with this name


def test_a_renamed_pool_is_followed_even_if_another_has_its_old_name(studio: Studio) -> None:
    job = studio.send("fx", offline=True)
    studio.look()
    studio.apply("pools.rename", "fx", new_name="effects")
    studio.pool("fx", "pc-02")
    studio.look()
    assert (studio.note(job).pool, studio.mask(job)) == ("effects", "(?!pc-0[13]$).*")
    studio.apply("pools.add_hosts", "effects", "pc-05")
    studio.look()
    assert studio.mask(job) == "(?!pc-0[135]$).*"


def test_another_pool_with_the_same_name_is_not_mistaken_for_the_one_that_a_job_means(studio: Studio) -> None:
    job = studio.send("fx", offline=True)
    mask = studio.mask(job)
    # It was sent at a revision that is not in history: the pool's document was edited by hand.
    studio.server.jobs[job].shown["custom_data"] = with_note(
        "", Note("fx", "by-hand", "", "either", fingerprint(mask, "regex"))
    )
    studio.apply("pools.delete", "fx")
    studio.pool("fx", "pc-05")
    studio.look()
    assert (studio.fence(job), studio.mask(job)) == ("kept", mask)
    assert "which pool is meant is not known" in studio.why(job)


def test_a_pool_that_was_edited_by_hand_and_never_given_up_is_followed(studio: Studio) -> None:
    job = studio.send("fx", offline=True)
    studio.server.jobs[job].shown["custom_data"] = with_note(
        "", Note("fx", "by-hand", "", "either", fingerprint(studio.mask(job), "regex"))
    )
    studio.apply("pools.add_hosts", "fx", "pc-04")
    studio.look()
    assert studio.mask(job) == WIDER


def test_a_name_alone_is_not_followed_if_history_does_not_reach_back(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = studio.send("fx", offline=True)
    mask = studio.mask(job)
    monkeypatch.setattr(names, "REACH", 2)
    monkeypatch.setattr(trail, "REACH", 2)
    for host in ("pc-02", "pc-04", "pc-05"):
        studio.apply("pools.add_hosts", "fx", host)
    studio.look()
    assert (studio.fence(job), studio.mask(job)) == ("kept", mask)
