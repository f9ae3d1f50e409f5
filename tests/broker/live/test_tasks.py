"""Where tasks run, and which of them run outside their job's fence."""

from __future__ import annotations

import pytest
from tests.broker.live.conftest import Studio
from tests.broker.store.places import wait_until


@pytest.mark.parametrize("requeue", [False, True])
def test_tasks_that_run_outside_finish_there_or_are_sent_back(studio: Studio, requeue: bool) -> None:
    studio.settings = studio.settings._replace(requeue=requeue)
    job = studio.send("fx", tasks=2, rounds=1_000_000)
    wait_until(lambda: len(studio.server.ran) == 2)
    studio.look()
    studio.apply("pools.remove_hosts", "fx", "pc-01")
    studio.look()
    running = {task.host for _, _, task in studio.server.jobs[job].running()}
    assert running == ({"pc-03"} if requeue else {"pc-01", "pc-03"})
