"""A pool's mask joined with a job's own, which is read as its user's masks are."""

from __future__ import annotations

import pytest
from tests.desk import Desk

from afpools_broker.masks.exclude import hosts_matched
from afpools_broker.protocol import Code

PREFIXED = ["pc-01", "pc-02", "pc-03", "pc-04", "pc-1", "pc-10"]


def test_an_own_mask_of_a_user_whose_type_is_regex_means_exactly_what_it_says(desk: Desk) -> None:
    desk.ok("pools.create", pool="fx", hosts=["pc-01", "pc-03", "pc-04", "pc-1", "pc-10"], new_hosts=True)
    desk.see(*PREFIXED, regex_users=frozenset({"rex"}))
    one = desk.ok("mask", pool="fx", exclude="pc-1", user="rex")
    assert (one["untyped_as"], one["mask_type"], one["pool_hosts"]) == ("regex", "regex", 4)
    assert hosts_matched(one["mask"], PREFIXED) == {"pc-02", "pc-1"}
    some = desk.ok("mask", pool="fx", exclude="pc-0[34]", user="rex")
    assert hosts_matched(some["mask"], PREFIXED) == {"pc-02", "pc-03", "pc-04"}
    assert "could not compile" in desk.ask("mask", pool="fx", exclude="pc-0[", user="rex")["error"]["message"]
    # For all other users it is a beginning, and a type set by the job takes precedence over its user's.
    assert desk.ok("mask", pool="fx", exclude="pc-1", user="anna")["pool_hosts"] == 3
    assert desk.ok("mask", pool="fx", exclude="pc-1", user="rex", exclude_type="find")["pool_hosts"] == 3
    assert desk.ok("mask", pool="fx", user="anna")["untyped_as"] == "find"


def test_a_regex_user_is_not_given_find_which_would_change_the_jobs_other_masks(desk: Desk) -> None:
    desk.ok("pools.create", pool="fx", hosts=["pc-10"], new_hosts=True)
    desk.see("pc-10", "node.1", regex_users=frozenset({"rex"}))
    for style in ("list", "compact"):
        assert desk.ok("mask", pool="fx", style=style, user="anna")["mask_type"] == "find"
        assert desk.ok("mask", pool="fx", style=style, user="rex")["mask_type"] == "regex"


def test_on_a_farm_of_old_engines_every_own_mask_is_a_regex(desk: Desk) -> None:
    desk.ok("pools.create", pool="fx", hosts=["pc-01", "pc-03", "pc-04", "pc-1", "pc-10"], new_hosts=True)
    desk.see(*PREFIXED, engine="3.3.1")
    for user in ({}, {"user": "anna"}):
        result = desk.ok("mask", pool="fx", exclude="pc-1", **user)
        assert result["untyped_as"] == "regex"
        assert hosts_matched(result["mask"], PREFIXED) == {"pc-02", "pc-1"}


@pytest.mark.parametrize(("size", "refused"), [(24 * 1024, False), (24 * 1024 + 2, True)])
def test_a_job_s_own_mask_is_measured_in_bytes(desk: Desk, size: int, refused: bool) -> None:
    desk.ok("pools.create", pool="fx", hosts=["pc-01"])
    answer = desk.ask("mask", pool="fx", exclude="é" * (size // 2), exclude_type="find")
    assert answer["error"]["code"] == (Code.BAD_REQUEST if refused else Code.MASK_NOT_EXPRESSIBLE)
    assert f"{size:,} bytes long, and 24,576 are allowed" in answer["error"]["message"] or not refused
