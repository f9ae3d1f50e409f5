"""Afanasy's own pools as pools of ours."""

from __future__ import annotations

import datetime as dt

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afpools_broker.farm.farm import Farm, Render
from afpools_broker.picture.snapshot import Snapshot
from afpools_broker.pools.native import native_name, native_pools, native_preview, native_swap
from afpools_broker.pools.pool import Contents, Pool
from afpools_broker.protocol import PoolName

NOW = dt.datetime(2026, 12, 1, tzinfo=dt.UTC)
PLACES = {"pc-01": "/local/farm", "pc-02": "/local/farm", "pc-03": "/local", "pc-04": ""}


def farm(places: dict[str, str]) -> Farm:
    return Farm(tuple(Render(name, ("online",), native_pool=path) for name, path in places.items()), NOW)


def snapshot(*pools: Pool) -> Snapshot:
    contents = Contents({pool.name: pool for pool in pools})
    return Snapshot.of(contents, farm(PLACES), None, by_hand=False)


def test_a_native_pool_has_the_renders_that_are_directly_in_it() -> None:
    assert native_pools(farm(PLACES)) == {"/local": ("pc-03",), "/local/farm": ("pc-01", "pc-02")}


def test_a_farm_that_does_not_report_pools_has_none() -> None:
    assert native_pools(farm({"pc-01": "", "pc-02": ""})) == {}


@pytest.mark.parametrize(("path", "name"), [("/local/farm", "local/farm"), ("/", "/"), ("/night shift", "night shift")])
def test_a_native_pool_is_called_by_its_whole_path(path: str, name: str) -> None:
    assert native_name(path) == name


@given(st.sets(st.text(min_size=1, max_size=90).map("/{}".format), min_size=2, max_size=2))
def test_every_native_pool_gets_a_valid_unique_name(paths: set[str]) -> None:
    names = {msgspec.convert(native_name(path), PoolName) for path in paths}
    assert len(names) == 2


def test_an_import_makes_a_pool_or_adds_what_the_present_one_lacks() -> None:
    hosts = ("pc-01", "pc-02")
    made = native_swap(snapshot(), "/local/farm", hosts)
    assert (made.expects, made.result) == ("", Pool("local/farm", hosts, "Afanasy's pool /local/farm"))
    # pc-01 is already in it, under another spelling.
    present = Pool("local/farm", ("PC-01.studio.lan", "of-ours"))
    added = native_swap(snapshot(present), "/local/farm", hosts)
    assert added.expects == present.revision
    assert added.result is not None
    assert added.result.hosts == ("PC-01.studio.lan", "of-ours", "pc-02")


def test_an_import_leaves_a_following_pool_alone() -> None:
    present = Pool("local/farm", ("pc-01",), follows="/local/farm")
    assert native_swap(snapshot(present), "/local/farm", ("pc-01", "pc-02")).result == present


def test_a_preview_says_what_an_import_would_add() -> None:
    preview = native_preview(snapshot(Pool("local/farm", ("pc-01",))), "/local/farm", ("pc-01", "pc-02"))
    assert (preview.pool, preview.created, preview.added) == ("local/farm", False, ["pc-02"])
    assert native_preview(snapshot(), "/local", ("pc-03",)).created
