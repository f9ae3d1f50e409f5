"""Hosts by name: as people type them, and as pools have them. Operations on them are tested in test_host.py."""

from __future__ import annotations

import pytest

from afpools import HostSummary
from afpools_tools.hosts import HostError, entered_as, expand_hosts, find_host, split_hosts


def test_commas_and_spaces_separate_hosts_but_not_within_a_range() -> None:
    assert split_hosts(["a,pc-[1,3] b", "gpu-[1-8]"]) == ["a", "pc-[1,3]", "b", "gpu-[1-8]"]
    assert split_hosts([" , "]) == []


def test_ranges_are_expanded_and_an_invalid_one_is_an_error_of_this_library() -> None:
    assert expand_hosts(["pc-[1-2]", "desk"]) == ["pc-1", "pc-2", "desk"]
    with pytest.raises(HostError, match="neither a host name nor a range"):
        expand_hosts(["pc-["])


def test_a_host_is_found_whatever_its_case_if_that_is_unambiguous() -> None:
    known = [HostSummary(name) for name in ("PC-01", "pc-02", "Pc-02")]
    assert find_host(known, "pc-01").name == "PC-01"
    assert find_host(known, "pc-02").name == "pc-02"
    with pytest.raises(HostError, match=r"No host PC-02 is known\."):
        find_host(known, "PC-02")
    with pytest.raises(HostError, match="Did you mean"):
        find_host(known, "pc-0l")


def test_a_host_is_found_in_a_pool_however_it_is_spelled_there() -> None:
    assert entered_as(["PC-01.studio.lan", "pc-02"], ["pc-01"], ["pc-01", "pc-02"]) == ["PC-01.studio.lan"]
