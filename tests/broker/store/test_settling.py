"""What a change does to a pool is decided in one place, for every store."""

from __future__ import annotations

import datetime as dt

import pytest
from tests.broker.store.places import add, create, delete, rename

from afpools_broker.pools.pool import Pool
from afpools_broker.protocol import Code, RequestRefused
from afpools_broker.store.settling import names, settle, to_milliseconds

FX = Pool("fx", ("pc-01",))


def test_a_change_is_settled_with_its_history_entry() -> None:
    settled = settle(add("fx", "pc-02"), FX)
    assert (settled.before, settled.after) == (FX, Pool("fx", ("pc-01", "pc-02")))
    assert settled.after is not None
    assert (settled.entry.before, settled.entry.after) == (FX.revision, settled.after.revision)
    assert settled.entry.when == to_milliseconds(settled.entry.when)


def test_the_change_itself_decides_on_a_refusal() -> None:
    with pytest.raises(RequestRefused) as refused:
        settle(add("fx", "pc-02"), None)
    assert refused.value.code is Code.UNKNOWN_POOL


def test_only_a_new_name_may_be_another_pools() -> None:
    assert settle(create("fx"), None).takes_name
    assert settle(rename("fx", "gpu"), FX).takes_name
    assert not settle(add("fx", "pc-02"), FX).takes_name
    assert not settle(delete("fx"), FX).takes_name


def test_an_entry_sorts_after_the_known_ones() -> None:
    last = settle(create("fx"), None).entry.id
    far = f"{int(last[:14], 16) + 10**9:014x}{last[14:]}"
    assert settle(add("fx", "pc-02"), FX, follows=far).entry.id > far


def test_history_finds_a_renamed_pool_under_both_names() -> None:
    assert set(names(settle(rename("fx", "gpu"), FX).entry)) == {"fx", "gpu"}
    assert names(settle(delete("fx"), FX).entry) == ("fx",)


def test_a_time_loses_the_precision_that_a_database_does_not_keep() -> None:
    when = dt.datetime(2026, 12, 1, 4, 0, 0, 123_987, tzinfo=dt.UTC)
    assert to_milliseconds(when).microsecond == 123_000
