"""Pools that follow a real farm's own: an afserver (`AFPOOLS_AFSERVER=host:port`) with renders pc-01 to pc-05 that are
online and free, and that nobody minds being moved about."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.broker.store.places import change, following, wait_until

from afpools_broker.config import parse_server
from afpools_broker.farm.afserver import ask
from afpools_broker.farm.farm import FarmWatch
from afpools_broker.farm.native_mirror import NativeMirror
from afpools_broker.store import open_store

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.xdist_group("afserver"),
    pytest.mark.skipif(not os.environ.get("AFPOOLS_AFSERVER"), reason="AFPOOLS_AFSERVER names no afserver"),
]

PATH = "/afpools"


class Farm:
    """The real farm with a separate pool for this test, and the parts of a broker that follow it."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.address = parse_server(os.environ["AFPOOLS_AFSERVER"])
        self.homes = {name: render["pool"] for name, render in self.renders.items()}
        stack.callback(self.tidy)
        self.act("pools", 1, {"type": "add_pool", "name": PATH.strip("/")})
        self.act("pools", self.pools[PATH]["id"], {"type": "add_pool", "name": "gpu"})
        store = open_store(f"sqlite:///{folder}/pools.db", timeout=20)
        stack.callback(store.close)
        keeper = stack.enter_context(following(store))
        self.keeper = keeper
        keeper.apply(change("pools.follow", "farm", path=PATH))
        watch = FarmWatch(self.address, interval=1, timeout=20, store=store, changed=keeper.see_farm)
        self.mirror = NativeMirror(self.raw, keeper, name="one")
        for part in (watch, self.mirror):
            part.start()
            stack.callback(part.stop, wait=20)

    def raw(self, request: dict[str, Any]) -> memoryview:
        return ask(self.address, request, timeout=20)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(bytes(self.raw(request)), strict=False)
        return answer

    def act(self, kind: str, number: int, operation: dict[str, Any]) -> None:
        action = {"user_name": "anna", "host_name": "ws-04", "type": kind, "ids": [number], "operation": operation}
        self.ask({"action": action})

    @property
    def renders(self) -> dict[str, dict[str, Any]]:
        return {each["name"]: each for each in self.ask({"get": {"type": "renders"}})["renders"]}

    @property
    def pools(self) -> dict[str, dict[str, Any]]:
        return {each["name"]: each for each in self.ask({"get": {"type": "pools"}})["pools"]}

    def move(self, render: str, path: str) -> None:
        """afserver does not move a busy render, so this retries until it has."""

        def is_moved() -> bool:
            told = self.renders[render]
            if told["pool"] != path:
                self.act("renders", told["id"], {"type": "set_pool", "name": path})
            return bool(self.renders[render]["pool"] == path)

        wait_until(is_moved)

    def delete_pools(self) -> None:
        """Deletes the test's own pools, once afserver, which counts once a second, sees no renders in them."""
        for path in (f"{PATH}/gpu", PATH):
            if path in self.pools:
                wait_until(lambda path=path: not self.pools[path]["renders_total"])  # type: ignore[misc]
                wait_until(lambda path=path: self._delete(path))  # type: ignore[misc]

    def _delete(self, path: str) -> bool:
        there = self.pools.get(path)
        if there is not None:
            self.act("pools", there["id"], {"type": "delete"})
        return there is None

    def tidy(self) -> None:
        for name, home in self.homes.items():
            self.move(name, home)
        self.delete_pools()

    def hosts(self) -> set[str]:
        return set(self.keeper.current.pool("farm").hosts)


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Farm]:
    with ExitStack() as stack:
        yield Farm(tmp_path, stack)


def test_a_pool_follows_a_real_farms_own_and_keeps_its_hosts_when_that_is_gone(farm: Farm) -> None:
    farm.move("pc-01", PATH)
    wait_until(lambda: farm.hosts() == {"pc-01"})
    farm.move("pc-03", f"{PATH}/gpu")
    wait_until(lambda: farm.hosts() == {"pc-01", "pc-03"})
    farm.move("pc-01", "/")
    wait_until(lambda: farm.hosts() == {"pc-03"})
    farm.move("pc-03", "/")
    # Afanasy's pool exists, and has no renders.
    wait_until(lambda: farm.hosts() == set())
    assert farm.mirror.problems(is_stale=False) == []
    farm.move("pc-05", PATH)
    wait_until(lambda: farm.hosts() == {"pc-05"})
    # There is no look in between: when the broker looks again, that pool is gone.
    farm.mirror.stop(wait=20)
    farm.move("pc-05", "/")
    farm.delete_pools()
    late = NativeMirror(farm.raw, farm.keeper, name="late")
    wait_until(lambda: late.look() is None and late.problems(is_stale=False) != [])
    assert farm.hosts() == {"pc-05"}
    assert late.problems(is_stale=False)[0].startswith("afserver has no pool '/afpools' any more.")
