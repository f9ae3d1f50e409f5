"""What a mask is for, on a real farm: jobs go to an afserver (`AFPOOLS_AFSERVER=host:port`), and the hosts that ran
them are looked at. The farm needs at least three renders that are online and free, and that nobody minds being used."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.broker.store.places import wait_until
from tests.studio import studio

from afpools import Client, MaskNotExpressible
from afpools.profile import Profile
from afpools_broker.config import parse_server
from afpools_broker.farm.afserver import ask
from afpools_broker.farm.farm import parse_renders
from afpools_broker.farm.monitor import Monitor
from afpools_broker.protocol import Role

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.xdist_group("afserver"),
    pytest.mark.skipif(not os.environ.get("AFPOOLS_AFSERVER"), reason="AFPOOLS_AFSERVER names no afserver"),
]

_TASKS = 8
_SECONDS = 60.0


def afserver(request: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(bytes(ask(parse_server(os.environ["AFPOOLS_AFSERVER"]), request, timeout=5)))
    return answer


def online() -> list[str]:
    body = json.dumps(afserver({"get": {"type": "renders"}})).encode()
    return sorted(render.name for render in parse_renders(body) if "online" in render.states)


def run_job(mask: str, mask_type: str) -> set[str]:
    """Sends a job with an exclude mask, waits for its end, and returns the hosts that ran it."""
    block = {
        "flags": 1,
        "name": "sleep",
        "service": "generic",
        "parser": "generic",
        "capacity": 1000,
        "working_directory": "/",
        "command": "sleep 0.2 # @#@",
        "frame_first": 1,
        "frame_last": _TASKS,
        "frames_per_task": 1,
        "frames_inc": 1,
    }
    job = {
        "name": "afpools: which hosts run this?",
        "user_name": "afpools",
        "host_name": "afpools",
        "priority": 99,
        "time_creation": int(time.time()),
        "hosts_mask_exclude": mask,
        "hosts_mask_type": mask_type,
        "blocks": [block],
    }
    number = afserver({"job": job})["id"]
    try:
        deadline = time.monotonic() + _SECONDS
        while True:
            state = afserver({"get": {"type": "jobs", "ids": [number]}})["jobs"][0].get("state", "")
            if "DON" in state:
                break
            assert time.monotonic() < deadline, f"the job did not end; it is {state!r}"
            time.sleep(0.3)
        progress = afserver({"get": {"type": "jobs", "ids": [number], "mode": "progress"}})
        return {task["hst"] for task in progress["job_progress"]["progress"][0]}
    finally:
        delete = {"type": "jobs", "ids": [number], "operation": {"type": "delete"}}
        afserver({"action": {"user_name": "afpools", "host_name": "afpools", **delete}})


@pytest.fixture(scope="module")
def manager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with (
        studio(
            tmp_path_factory.mktemp("real-farm"), farm={"server": os.environ["AFPOOLS_AFSERVER"], "interval": 1.0}
        ) as place,
        Client(Profile.load(str(place.profile("anna", Role.MANAGER))), timeout=5.0) as client,
    ):
        hosts = online()
        assert len(hosts) >= 3, f"the farm has too few renders online: {hosts}"
        wait_until(lambda: client.health()["farm"]["age"] is not None)
        client.create_pool("two", [hosts[0].upper(), hosts[2]])
        # On a farm with pc-1 and pc-10 that is the case that `find` cannot express.
        client.create_pool("longest", [max(hosts, key=lambda host: (any(host.startswith(o) for o in hosts), host))])
        client.create_pool("all", hosts)
        yield client


def test_events_report_what_renders_do(manager: Client) -> None:
    server = parse_server(os.environ["AFPOOLS_AFSERVER"])
    monitor = Monitor.register(lambda request: ask(server, request, timeout=5))
    assert monitor is not None, "this afserver answers monitors otherwise than 3.4.1"
    run_job(manager.exclude_mask("two").mask, "regex")
    ids = {render["name"]: render["id"] for render in afserver({"get": {"type": "renders"}})["renders"]}
    members = {ids[host] for host in online() if host in {name.lower() for name in manager.get_pool("two").hosts}}
    events = monitor.fetch()
    assert events is not None
    assert members & set(events.changed)


@pytest.mark.parametrize("accept", [("regex",), ("find",), ("regex", "find")], ids="+".join)
@pytest.mark.parametrize("style", ["list", "compact", "complement"])
@pytest.mark.parametrize("pool", ["two", "longest", "all"])
def test_a_job_runs_in_its_pool_and_nowhere_else(
    manager: Client, pool: str, style: str, accept: tuple[str, ...]
) -> None:
    farm = set(online())
    inside = {host.lower() for host in manager.get_pool(pool).hosts} & farm
    try:
        mask = manager.exclude_mask(pool, style=style, accept=accept)
    except MaskNotExpressible:
        assert accept == ("find",)
        assert any(host.startswith(other) for host in inside for other in farm - inside)
        return
    for mask_type in ("regex", "find") if mask.mask_type == "any" else (mask.mask_type,):
        ran = run_job(mask.mask, mask_type)
        assert ran
        assert ran <= inside, f"{mask} let the job run on {ran - inside}"


def test_the_trap_is_real() -> None:
    """A mask with a regex in it, read as `find`, fences nothing: this project exists to prevent that."""
    hosts = online()
    assert run_job(f"(?!{hosts[0]}$).*", "find") - {hosts[0]}
