"""What a job wants: a mask that a person has set is left alone, and nothing is guessed."""

from __future__ import annotations

import pytest
from tests.broker.live.conftest import Studio


def test_a_mask_that_a_person_changed_is_left_alone_and_the_person_is_named(studio: Studio) -> None:
    job = studio.send("fx", offline=True)
    studio.look()
    studio.server.by_hand(job, user="anna", hosts_mask_exclude="pc-05")
    studio.apply("pools.add_hosts", "fx", "pc-04")
    studio.look()
    assert (studio.fence(job), studio.mask(job)) == ("changed", "pc-05")
    assert studio.why(job).startswith("Changed by anna@ws-04, ")


def test_a_mask_that_a_person_set_back_is_ours_again(studio: Studio) -> None:
    job = studio.send("fx", offline=True)
    studio.look()
    mask = studio.mask(job)
    studio.server.by_hand(job, hosts_mask_exclude="pc-05")
    studio.look()
    studio.server.by_hand(job, hosts_mask_exclude=mask)
    studio.apply("pools.add_hosts", "fx", "pc-04")
    studio.look()
    assert (studio.fence(job), studio.mask(job)) == ("current", "(?!pc-0[134]$).*")


def test_a_job_from_an_earlier_plug_in_is_left_alone(studio: Studio) -> None:
    job = studio.server.send(hosts_mask_exclude="pc-02", custom_data='{"afpools": {"pool": "fx", "revision": "1"}}')
    studio.look()
    assert (studio.fence(job), studio.mask(job)) == ("unmarked", "pc-02")


@pytest.mark.parametrize("theirs", ["", "for anna", "[1]", '{"shot": 1}'])
def test_a_job_that_names_no_pool_is_left_alone(studio: Studio, theirs: str) -> None:
    job = studio.server.send(hosts_mask_exclude="pc-02", custom_data=theirs)
    studio.look()
    assert (studio.fence(job), studio.mask(job)) == ("none", "pc-02")
