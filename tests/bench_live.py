"""How soon running jobs follow their pool, and what afserver's other clients feel of it: `python -m tests.bench_live`.

The afserver is the stand-in with a real one's timing: a round each second, and each action as long as it took 3.4.1.
With `AFPOOLS_AFSERVER=host:port` a real one takes its place; all jobs that the bench sends there are deleted again.
For each of them its system job then runs a task for two seconds, because they have custom data: take one that is only
for this.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tests.broker.store.places import change, create, following, wait_until

from afpools.fence_note import Note, fingerprint, with_note
from afpools_broker.config import parse_server
from afpools_broker.farm.afserver import ask
from afpools_broker.farm.farm import FarmWatch
from afpools_broker.live.jobs import parse_jobs, read_jobs
from afpools_broker.live.keeper import FenceKeeper, Settings
from afpools_broker.picture.job_mask import job_mask
from afpools_broker.picture.snapshot import SnapshotKeeper
from afpools_broker.protocol import MASK_BYTES, MaskParams
from afpools_broker.store import open_store

_TIMEOUT = 60.0
# How many jobs are observed while their fences move.
_SAMPLE = 100
_USER = "afpools-bench"

Address = tuple[str, int]


def percentile(values: list[float], share: float) -> float:
    """The smallest value that this fraction of them does not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


@contextmanager
def farm(renders: list[str]) -> Iterator[Address]:
    """A real afserver if there is one, otherwise the stand-in."""
    if where := os.environ.get("AFPOOLS_AFSERVER"):
        yield parse_server(where)
        return
    command = [sys.executable, "-m", "tests.working_afserver", *renders]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield "127.0.0.1", int(server.stdout.readline())
        server.communicate()


class Bench:
    """One farm with jobs, and one keeper."""

    def __init__(self, address: Address, stack: ExitStack) -> None:
        self.address = address
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        self.store = open_store(f"sqlite:///{Path(folder)}/pools.db")
        stack.callback(self.store.close)
        self.keeper: SnapshotKeeper = stack.enter_context(following(self.store))
        FarmWatch(address, interval=5, timeout=_TIMEOUT, store=self.store, changed=self.keeper.see_farm).poll()
        self.renders = sorted(self.keeper.current.fences.farm)

    def ask(self, request: dict[str, Any]) -> memoryview:
        return ask(self.address, request, timeout=_TIMEOUT)

    def jobs(self) -> dict[int, str]:
        """The masks of our jobs, by number."""
        jobs = parse_jobs(self.ask({"get": {"type": "jobs", "users": [_USER]}}))
        return {job.id: job.hosts_mask_exclude for job in jobs if job.user_name == _USER}

    def mask(self, pool: str, exclude: str) -> str:
        """What a job of this pool has when it is sent."""
        params = MaskParams(pool=pool, style="complement", exclude=exclude, max_bytes=MASK_BYTES)
        return job_mask(self.keeper.current.fences, params, "find").text

    def send(self, pool: str, count: int, different: bool) -> None:
        """Sends jobs that wait; different: each has its own exclude mask, so that no two change alike."""
        revision = self.keeper.current.pool(pool).revision

        def one(number: int) -> None:
            exclude = f"ws-{number:05}" if different else ""
            mask = self.mask(pool, exclude)
            note = Note(pool, revision, exclude, "either", fingerprint(mask, "regex"))
            block = {"flags": 1, "name": "b", "service": "generic", "capacity": 300, "parser": "generic"}
            block |= {"command": "sleep 1 # @#@", "working_directory": "/"}
            block |= {"frame_first": 1, "frame_last": 3, "frames_per_task": 1, "frames_inc": 1}
            job = {"name": f"bench {number}", "user_name": _USER, "host_name": "bench", "priority": 99, "offline": True}
            job |= {"hosts_mask_exclude": mask, "hosts_mask_type": "regex", "custom_data": with_note("", note)}
            self.ask({"job": {**job, "time_creation": int(time.time()), "branch": "/jobs", "blocks": [block]}})

        with ThreadPoolExecutor(16) as threads:
            list(threads.map(one, range(count)))

    def delete(self) -> None:
        ids = list(self.jobs())
        action = {"user_name": _USER, "host_name": "bench", "type": "jobs", "operation": {"type": "delete"}}
        for start in range(0, len(ids), 200):
            self.ask({"action": {**action, "ids": ids[start : start + 200]}})


class Probe:
    """A client that constantly asks for the renders."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self.seconds: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Probe:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        # At fixed times, or a slow answer would hide the requests that would have waited with it.
        due = time.monotonic()
        with ThreadPoolExecutor(100) as threads:
            while not self._stop.is_set():
                threads.submit(self._one, due)
                due += 0.02
                time.sleep(max(0.0, due - time.monotonic()))

    def _one(self, due: float) -> None:
        ask(self._address, {"get": {"type": "renders"}}, timeout=_TIMEOUT)
        self.seconds.append(time.monotonic() - due)


def measure(bench: Bench, change_pool: Callable[[], object], count: int) -> list[float]:
    """Seconds from a pool's change until the masks of some of its jobs had changed, as it was seen on the server.

    Reading all jobs repeatedly would load the server more than what is measured.
    """
    masks = bench.jobs()
    assert len(masks) >= count
    waiting = {number: masks[number] for number in sorted(masks)[:: max(1, count // _SAMPLE)]}
    began = time.monotonic()
    change_pool()
    delays: list[float] = []
    while waiting and time.monotonic() < began + _TIMEOUT:
        jobs = read_jobs(bench.ask, waiting)
        now = time.monotonic() - began
        for number in [number for number, mask in waiting.items() if jobs[number].hosts_mask_exclude != mask]:
            del waiting[number]
            delays.append(now)
        time.sleep(0.05)
    assert not waiting, f"{len(waiting)} jobs did not follow"
    return delays


def run(count: int, *, different: bool) -> None:
    """One line of the table."""
    with ExitStack() as stack:
        address = stack.enter_context(farm([f"pc-{number:03}" for number in range(1, 101)]))
        bench = Bench(address, stack)
        stack.callback(bench.delete)
        hosts = bench.renders
        bench.keeper.apply(create("fx", *hosts[: len(hosts) // 2]))
        bench.send("fx", count, different)
        keeper = FenceKeeper(
            bench.ask,
            address,
            keeper=bench.keeper,
            store=bench.store,
            name="bench",
            settings=lambda: Settings(timeout=_TIMEOUT),
        )
        keeper.start()
        stack.callback(lambda: keeper.stop(wait=10))
        wait_until(lambda: len(keeper.view.jobs) >= count and keeper.lease.is_ours and not keeper.view.problem)
        time.sleep(3)  # the monitor is registered, and its first events are read
        with Probe(address) as probe:
            time.sleep(3)
            alone, probe.seconds = probe.seconds, []
            delays: list[float] = []
            for turn in range(2):
                op = "pools.add_hosts" if turn % 2 == 0 else "pools.remove_hosts"
                delays += measure(bench, partial(bench.keeper.apply, change(op, "fx", hosts[-1])), count)
                time.sleep(1.5)
            during = probe.seconds
        kind = "each unlike" if different else "all alike"
        print(
            f"{count:>6,} jobs, {kind:<12} fence moved: p50 {statistics.median(delays):5.2f} s, p95 "
            f"{percentile(delays, 0.95):5.2f} s, last {max(delays):5.2f} s;  get renders p99: alone "
            f"{1000 * percentile(alone, 0.99):4.0f} ms, meanwhile {1000 * percentile(during, 0.99):4.0f} ms, "
            f"longest {1000 * max(during):4.0f} ms"
        )
        sys.stdout.flush()


def main() -> None:
    """Prints the table."""
    print(f"afserver: {os.environ.get('AFPOOLS_AFSERVER') or 'the stand-in, with the timing of 3.4.1'}")
    kinds = [(int(count), kind == "unlike") for count, kind in (each.split(":") for each in sys.argv[1:])]
    for count, different in kinds or [(1_000, False), (1_000, True), (5_000, False)]:
        run(count, different=different)


if __name__ == "__main__":
    main()
