"""Jobs that follow their pool on a real farm: an afserver (`AFPOOLS_AFSERVER=host:port`) with renders pc-01 to pc-05
that are online and free, and that nobody minds being used."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.broker.store.places import change, create, following, wait_until

from afpools.fence_note import Note, fingerprint, with_note
from afpools_broker.config import parse_server
from afpools_broker.farm.afserver import ask
from afpools_broker.farm.farm import FarmWatch
from afpools_broker.live.jobs import read_log
from afpools_broker.live.keeper import FenceKeeper, Settings
from afpools_broker.picture.job_mask import job_mask
from afpools_broker.protocol import MASK_BYTES, MaskParams
from afpools_broker.store import open_store

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.xdist_group("afserver"),
    pytest.mark.skipif(not os.environ.get("AFPOOLS_AFSERVER"), reason="AFPOOLS_AFSERVER names no afserver"),
]


class Farm:
    """The real farm, a pool fx with pc-01, a long job on it, and a keeper of its fence."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.address = parse_server(os.environ["AFPOOLS_AFSERVER"])
        self.requeue = False
        store = open_store(f"sqlite:///{folder}/pools.db", timeout=20)
        stack.callback(store.close)
        self.keeper = stack.enter_context(following(store))
        FarmWatch(self.address, interval=60, timeout=20, store=store, changed=self.keeper.see_farm).poll()
        self.keeper.apply(create("fx", "pc-01"))
        self.job = self._send()
        stack.callback(lambda: self.act({"operation": {"type": "delete"}}))
        self.fences = FenceKeeper(
            self.raw,
            self.address,
            keeper=self.keeper,
            store=store,
            name="test",
            settings=lambda: Settings(self.requeue, timeout=20),
        )
        self.fences.start()
        stack.callback(lambda: self.fences.stop(wait=10))
        wait_until(lambda: self.job in self.fences.view.verdicts and self.fences.lease.is_ours)

    def raw(self, request: dict[str, Any]) -> memoryview:
        return ask(self.address, request, timeout=20)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(bytes(self.raw(request)), strict=False)
        return answer

    def act(self, what: dict[str, Any]) -> None:
        action = {"user_name": "anna", "host_name": "ws-04", "type": "jobs", "ids": [self.job], **what}
        self.ask({"action": action})

    def _send(self) -> int:
        params = MaskParams(pool="fx", style="complement", max_bytes=MASK_BYTES)
        mask = job_mask(self.keeper.current.fences, params, "find").text
        note = Note("fx", self.keeper.current.pool("fx").revision, "", "either", fingerprint(mask, "regex"))
        block = {"flags": 1, "name": "b", "service": "generic", "parser": "generic", "capacity": 1000}
        block |= {"working_directory": "/", "command": "sleep 3 # @#@"}
        block |= {"frame_first": 1, "frame_last": 500, "frames_per_task": 1, "frames_inc": 1}
        job = {"name": "afpools: follows its pool", "user_name": "afpools", "host_name": "here", "priority": 99}
        job |= {"branch": "/jobs", "time_creation": 1, "blocks": [block], "custom_data": with_note("", note)}
        return int(self.ask({"job": {**job, "hosts_mask_exclude": mask, "hosts_mask_type": "regex"}})["id"])

    def hosts(self) -> set[str]:
        """Where the job runs now."""
        renders = self.ask({"get": {"type": "renders"}})["renders"]
        return {each["name"] for each in renders for task in each.get("tasks", ()) if task["job_id"] == self.job}

    def change(self, op: str, host: str) -> None:
        self.keeper.apply(change(op, "fx", host))


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Farm]:
    with ExitStack() as stack:
        yield Farm(tmp_path, stack)


def test_a_host_that_joins_takes_tasks_and_one_that_left_finishes_its_own_and_gets_no_more(farm: Farm) -> None:
    wait_until(lambda: farm.hosts() == {"pc-01"})
    farm.change("pools.add_hosts", "pc-03")
    wait_until(lambda: farm.hosts() == {"pc-01", "pc-03"})
    farm.change("pools.remove_hosts", "pc-01")
    wait_until(lambda: farm.hosts() == {"pc-03"})
    # Meanwhile another task of three seconds has come and gone on the other host.
    farm.change("pools.add_hosts", "pc-04")
    wait_until(lambda: farm.hosts() == {"pc-03", "pc-04"})
    assert farm.fences.view.moved == 3


def test_tasks_outside_are_sent_back_if_configured(farm: Farm) -> None:
    farm.requeue = True
    wait_until(lambda: farm.hosts() == {"pc-01"})
    farm.change("pools.add_hosts", "pc-03")
    farm.change("pools.remove_hosts", "pc-01")
    wait_until(lambda: farm.hosts() == {"pc-03"})


def test_a_mask_changed_by_a_person_is_left_alone_and_the_person_is_named(farm: Farm) -> None:
    farm.act({"params": {"hosts_mask_exclude": "pc-05"}})
    farm.change("pools.add_hosts", "pc-03")
    wait_until(lambda: farm.fences.view.verdicts[farm.job].why.startswith("Changed by anna@ws-04, "))
    assert farm.ask({"get": {"type": "jobs", "ids": [farm.job]}})["jobs"][0]["hosts_mask_exclude"] == "pc-05"


def test_a_mask_that_a_person_sets_in_the_same_second_as_we_do_is_restored(farm: Farm) -> None:
    mover = farm.fences._mover
    may_act, edits = mover._may_act, [{"hosts_mask_exclude": "pc-05"}]

    def just_before() -> None:
        if edits:
            threading.Thread(target=farm.act, args=({"params": edits.pop()},)).start()
            time.sleep(0.2)  # afserver has it before ours; both wait for its next round
        may_act()

    mover._may_act = just_before
    farm.change("pools.add_hosts", "pc-03")
    wait_until(lambda: farm.fences.view.verdicts[farm.job].why.startswith("Changed by anna@ws-04, "))
    assert farm.ask({"get": {"type": "jobs", "ids": [farm.job]}})["jobs"][0]["hosts_mask_exclude"] == "pc-05"
    assert [line for line in read_log(farm.raw, farm.job) if "afpools@test" in line]
    assert not edits
