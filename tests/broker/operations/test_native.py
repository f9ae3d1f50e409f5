"""The operation that imports Afanasy's own pools."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.afserver import AfServer, recording
from tests.broker.conftest import manager
from tests.studio import studio

import afpools
from afpools import Client


def test_afanasys_own_pools_are_previewed_then_imported_then_up_to_date(anna: Client, farm: AfServer) -> None:
    answer = recording("renders_get")["answer"]
    renders = answer["renders"]
    for render, pool in zip(renders, ["/local/farm", "/local/farm", "/local", *["/"] * len(renders)], strict=False):
        render["pool"] = pool
    # Replaced as a whole, because the broker polls meanwhile.
    farm.renders = answer
    deadline = time.monotonic() + 30
    while len(preview := anna.import_native(dry_run=True)) < 3:
        assert time.monotonic() < deadline, preview
    assert anna.list_pools().pools == ()
    assert [pool.path for pool in preview] == ["/", "/local", "/local/farm"]
    assert all(pool.created and pool.added == pool.hosts and not pool.change for pool in preview)
    anna.create_pool("local/farm", [renders[0]["name"], "of-ours"], new_hosts=True)
    done = anna.import_native(["/local/farm"])
    assert [(pool.pool, pool.created, pool.added) for pool in done] == [("local/farm", False, (renders[1]["name"],))]
    assert set(anna.get_pool("local/farm").hosts) == {renders[0]["name"], renders[1]["name"], "of-ours"}
    assert anna.import_native(["/local/farm"])[0].change == ""
    anna.undo(done[0].change)
    assert set(anna.get_pool("local/farm").hosts) == {renders[0]["name"], "of-ours"}
    with pytest.raises(afpools.BadRequest, match="/nowhere"):
        anna.import_native(["/nowhere"])


def test_without_afserver_there_is_nothing_to_import(tmp_path: Path) -> None:
    with studio(tmp_path) as place, manager(place) as client, pytest.raises(afpools.FarmUnavailable):
        client.import_native(dry_run=True)
