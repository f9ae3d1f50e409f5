"""A studio whose running jobs follow their pools: a broker in front of an afserver that works."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.broker.live.conftest import put_job
from tests.broker.store.places import wait_until
from tests.studio import Studio, studio
from tests.working_afserver import WorkingAfServer

from afpools import Client, Profile
from afpools_broker.protocol import Role


@contextmanager
def live_office(folder: Path, server: WorkingAfServer, **sections: dict[str, Any]) -> Iterator[Studio]:
    """The studio, with a broker that looks at the farm five times a second."""
    farm = {"server": f"127.0.0.1:{server.address[1]}", "interval": 0.2}
    with studio(folder, farm=farm, live={"enabled": True}, **sections) as made:
        yield made


@contextmanager
def live_manager(office: Studio, who: str, hosts: int, **pools: list[str]) -> Iterator[Client]:
    """A manager of it, with pools, once the broker knows all hosts and keeps the fences."""
    with Client(Profile.load(str(office.profile(who, Role.MANAGER))), timeout=20) as client:
        wait_until(lambda: len(client.list_hosts().hosts) == hosts)
        for name, members in pools.items():
            client.create_pool(name, members)
        wait_until(lambda: client.jobs().keeping)
        yield client


def send_job(boss: Client, server: WorkingAfServer, pool: str = "fx", **more: object) -> int:
    """A job that the broker has seen."""
    mask = boss.exclude_mask(pool)
    number = put_job(server, mask.mask, pool, mask.revision, **more)
    wait_until(lambda: any(each.id == number for each in boss.jobs().jobs))
    return number
