"""Pools as plain values, and the rules for their names."""

from __future__ import annotations

from dataclasses import replace

import pytest

from afpools_broker.pools.pool import (
    Contents,
    Pool,
    as_afrender_would,
    has_domain,
    pool_follows,
    refuse_lookalike,
    unique,
    unknown_pool,
    with_system_pool,
)
from afpools_broker.protocol import Code, RequestRefused

FX = Pool("fx", ("pc-01", "pc-02"), "Effects", "#ff0000")


def test_a_revision_depends_on_a_pools_contents_but_not_on_the_order_of_its_hosts() -> None:
    assert FX.revision == replace(FX, hosts=("pc-02", "pc-01")).revision
    others = [
        replace(FX, name="fz"),
        replace(FX, hosts=("pc-01",)),
        replace(FX, description=""),
        replace(FX, colour=""),
        replace(FX, follows="/local"),
    ]
    assert len({FX.revision, *(other.revision for other in others)}) == 1 + len(others)


def test_a_revision_is_the_same_in_every_version_of_the_broker() -> None:
    # Brokers of several versions run at the same time while a studio updates them.
    assert FX.revision == "37ef192d1e48"


def test_the_system_pool_is_chosen_or_none_or_has_never_been_chosen() -> None:
    registered = Pool("", ("lt-01",))
    assert Contents(registered=registered).system_pool is None
    assert Contents(registered=with_system_pool(registered, "post")).system_pool == "post"
    assert Contents(registered=with_system_pool(registered, "")).system_pool == ""
    assert with_system_pool(registered, "post").hosts == ("lt-01",)


def test_a_missing_pool_is_refused_with_what_may_have_been_meant() -> None:
    refusal = unknown_pool("fz", ["fx", "night"])
    assert refusal.code is Code.UNKNOWN_POOL
    assert refusal.message == "There is no pool 'fz'. Did you mean 'fx'?"
    assert "renamed or deleted" in unknown_pool("fz").message


def test_a_suggested_command_can_be_pasted() -> None:
    assert "afpools pool unfollow 'night shift'" in pool_follows(Pool("night shift", follows="/local")).message


@pytest.mark.parametrize(("name", "said"), [("fx", "exists already"), ("FX", "looks like that of the pool")])
def test_a_name_that_is_taken_or_looks_like_a_taken_one_is_refused(name: str, said: str) -> None:
    with pytest.raises(RequestRefused, match=said) as refused:
        refuse_lookalike(name, ["fx"])
    assert refused.value.code is Code.POOL_EXISTS
    refuse_lookalike("gpu", ["fx"])


@pytest.mark.parametrize(
    ("name", "cut"),
    [
        ("PC-01", "pc-01"),
        ("pc-01.studio.lan", "pc-01"),
        ("pc-01.studio.lan.", "pc-01"),
        ("10.1.2.3", "10.1.2.3"),
        ("FE80::1", "fe80::1"),
        (".lan", ".lan"),
        ("10.1.2.lan", "10"),
    ],
)
def test_a_render_names_itself_without_a_domain_and_addresses_have_none(name: str, cut: str) -> None:
    assert as_afrender_would(name) == cut
    assert has_domain(name) is (("." in name and cut != name.lower()) or name == ".lan")


def test_each_name_appears_once_in_order_of_first_use() -> None:
    assert unique(["b", "a", "b"]) == ("b", "a")
