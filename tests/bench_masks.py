"""`make bench`, the part about masks: how long they take, how long they are, how std::regex handles them.

Strategy: each number stands under the target it must meet, and is red where it does not; a machine that does something
else as well may be the reason. What a mask says is not judged here, but in `tests/broker/masks/test_exclude.py`.
"""

from __future__ import annotations

import datetime as dt
import json
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.text import Text
from tests import oracle as judges
from tests.afserver import afserver, framed, renders_answer
from tests.made_mask import exclude_mask

from afpools import AfpoolsError, Client
from afpools.profile import Profile
from afpools_broker import protocol
from afpools_broker.config import FarmSection, LimitsSection
from afpools_broker.credentials.peers import Peer
from afpools_broker.farm.farm import Farm, FarmWatch, Render
from afpools_broker.monitoring.peer_log import PeerLog
from afpools_broker.monitoring.statistics import Statistics
from afpools_broker.operations import Sender
from afpools_broker.picture.snapshot import Snapshot, SnapshotKeeper
from afpools_broker.pools.pool import Contents, Pool
from afpools_broker.protocol import Dialect, Role, Style
from afpools_broker.service import Service
from afpools_broker.store import open_store
from afpools_tools.commands.output import table
from afpools_tools.setup import make_state

BOTH: tuple[Dialect, ...] = ("regex", "find")
STYLES: tuple[Style, ...] = ("list", "compact", "complement")
POOLS = {"scattered": 1, "runs of 10": 10, "runs of 50": 50}
POOL_SIZE = 500

_ROUNDS = 7


# Farms, for the tests of masks too


def studio(hosts: int, series: int = 30) -> list[str]:
    """A farm of many series of names, a third of them with numbers that are not padded."""
    kinds = [
        "pc",
        "gpu",
        "ws",
        "lt-pc",
        "render",
        "node",
        "rack3-",
        "cpu",
        "farm",
        "vfx",
        "anim",
        "comp",
        "sim",
        "light",
    ]
    names = []
    for n in range(series):
        base, pad = f"{kinds[n % len(kinds)]}{'abc'[n // len(kinds)]}-", 1 if n % 3 == 2 else 4
        names += [f"{base}{number:0{pad}}" for number in range(1, hosts // series + (n < hosts % series) + 1)]
    return names


def hexadecimal(hosts: int) -> list[str]:
    """A farm of random names, as machines in a cloud have them."""
    chance = random.Random(1)
    return [f"{chance.getrandbits(48):012x}" for _ in range(hosts)]


def pool_of(known: Sequence[str], hosts: int, run: int) -> set[str]:
    """This many hosts in runs of consecutive numbers, as in racks and rooms."""
    chance, pool = random.Random(2), set[str]()
    while len(pool) < hosts:
        at = chance.randrange(len(known) - run)
        pool.update(known[at : at + min(run, hosts - len(pool))])
    return pool


# What is measured


def verdict(value: float, shown: str, *, most: float | None = None, least: float | None = None) -> Text:
    """A number as a cell: green where it meets its target, red where it does not."""
    good = (most is None or value < most) and (least is None or value >= least)
    return Text(shown, "green" if good else "bold red")


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def first_mask(hosts: int, limit: float, console: Console) -> None:
    """The first mask after a pool has changed, and its length beside the list of all names."""
    known = studio(hosts)
    farm = Farm(tuple(Render(name, engine="3.4.1") for name in known), dt.datetime.now(dt.UTC))
    time_head, ratio_head = f"first mask (< {limit * 1000:.0f} ms)", "shorter than the names (≥ 50 x)"
    heads = ("slowest", "bytes", ratio_head)
    rows = table(
        f"{hosts:,} hosts, pool of {POOL_SIZE}", "asked for", "given", time_head, *heads, right=(time_head, *heads)
    )
    for kind, run in POOLS.items():
        pool = Pool("fx", tuple(sorted(pool_of(known, POOL_SIZE, run))))
        naive = len("|".join(set(known).difference(pool.hosts)))
        for style in STYLES:
            last = Snapshot.of(Contents({"fx": pool}), farm, None, by_hand=False)
            times = []
            for round_ in range(_ROUNDS):
                changed = Contents({"fx": replace(pool, hosts=pool.hosts[: -1 - round_])})
                began = time.perf_counter()
                last = Snapshot.of(changed, farm, last, by_hand=False)
                mask = last.fences.mask(("fx", style, BOTH))
                times.append(time.perf_counter() - began)
            rows.add_row(
                kind,
                style,
                f"{mask.style} ({mask.type})",
                verdict(statistics.median(times), f"{statistics.median(times) * 1000:.1f} ms", most=limit),
                f"{max(times) * 1000:.1f} ms",
                f"{len(mask.text):,}",
                verdict(naive / len(mask.text), f"{naive / len(mask.text):.0f} x", least=50),
            )
    console.print(rows)


def _asker(peer: Peer) -> Sender:
    return Sender(peer, "127.0.0.1:1")


class _NoHealth:
    def report(self) -> protocol.HealthResult:
        raise NotImplementedError


def repeated_mask(hosts: int, folder: Path, console: Console) -> None:
    """A mask that was made before, from the bytes of the request to the bytes of the answer."""
    known = studio(hosts)
    store = open_store(f"sqlite:///{folder}/repeated.sqlite", timeout=1.5)
    keeper = SnapshotKeeper(store, by_hand=False)
    service = Service(
        name="bench",
        keeper=keeper,
        store=store,
        health=_NoHealth(),
        limits=LimitsSection,
        peer_log=PeerLog(),
        statistics=Statistics(),
        farm=FarmSection("afserver"),
    )
    head = "repeated mask, in the broker (< 0.2 ms)"
    rows = table(f"{hosts:,} hosts, pool of {POOL_SIZE}", head, "99th percentile", right=(head, "99th percentile"))
    keeper.start(wait=5)
    try:
        keeper.see_farm(Farm(tuple(Render(name, engine="3.4.1") for name in known), dt.datetime.now(dt.UTC)))
        for kind, run in POOLS.items():
            asked = json.dumps(
                {
                    "v": 1,
                    "id": kind,
                    "op": "pools.create",
                    "params": {"pool": kind, "hosts": sorted(pool_of(known, POOL_SIZE, run)), "request_id": kind},
                }
            )
            created = service.answer(_asker(Peer("bench", Role.MANAGER)), asked.encode())
            assert not isinstance(created, bytes)
            created.work()
            asked = json.dumps({"v": 1, "id": "1", "op": "mask", "params": {"pool": kind}})
            request, asker = asked.encode(), _asker(Peer("bench", Role.READER))
            first = service.answer(asker, request)
            assert not isinstance(first, bytes)
            assert json.loads(first.work())["ok"]
            times = sorted(_seconds(lambda: service.answer(asker, request)) for _ in range(5000))  # noqa: B023
            middle = times[len(times) // 2]
            rows.add_row(
                kind,
                verdict(middle, f"{middle * 1000:.3f} ms", most=0.0002),
                f"{times[len(times) * 99 // 100] * 1000:.3f} ms",
            )
    finally:
        keeper.stop(wait=2)
        store.close()
    console.print(rows)


# Hosts, size of the pool, and whether the names are random. Of many more than 8,000 names std::regex compiles no list.
_MATCHED = ((20_000, 500, False), (8_000, 200, False), (4_000, 100, False), (4_000, 100, True), (1_000, 30, False))


def std_regex(oracle: judges.Oracle, console: Console) -> None:
    """What afserver's own regex library takes for our mask and for the list of all names.

    For each name it fills a table with 16 bytes for every state of the expression, and another one for a lookahead
    (bits/regex_executor.h), before it compares anything. What these take alone is measured with the same expression
    behind a byte that no name has, so that none of its branches is tried: no mask of as many states is quicker.
    """
    heads = ("names: compile", "match one", "mask: states", "compiles", "matches one", "faster (≥ 100 x)")
    heads += ("tables alone", "at best")
    rows = table("std::regex: hosts, pool", "style", *heads, right=heads)
    for hosts, size, noise in _MATCHED:
        known = hexadecimal(hosts) if noise else studio(hosts)
        probe = random.Random(3).sample(known, 200)
        for kind, run in POOLS.items():
            if noise and run > 1:
                continue
            pool = pool_of(known, size, run)
            simple = oracle.ask("|".join(name for name in known if name not in pool), "regex", probe, rounds=20)
            for style in STYLES[1:]:
                mask = exclude_mask(pool, known, accept=["regex"], style=style)
                if mask.style != style:
                    continue
                ours = oracle.ask(mask.text, "regex", probe, rounds=200)
                untried = mask.text.replace("(?!", "(?!~", 1) if mask.style == "complement" else f"~(?:{mask.text})"
                least = oracle.ask(untried, "regex", probe, rounds=200)
                ratio, best = simple.match_seconds / ours.match_seconds, simple.match_seconds / least.match_seconds
                rows.add_row(
                    f"{hosts:,}, {len(pool)} {'random names' if noise else kind}",
                    mask.style,
                    f"{simple.compile_seconds * 1000:.0f} ms" if simple.compiled else "never",
                    f"{simple.match_seconds * 1e6:.0f} µs" if simple.compiled else "-",
                    f"{ours.states:,}",
                    f"{ours.compile_seconds * 1000:.1f} ms",
                    f"{ours.match_seconds * 1e6:.2f} µs",
                    verdict(ratio, f"{ratio:.0f} x", least=100) if simple.compiled else "-",
                    f"{least.match_seconds * 1e6:.2f} µs",
                    f"{best:.0f} x" if simple.compiled else "-",
                )
    console.print(rows)


# A whole broker, as a process of its own, with nothing of ours loaded beside it.
_BROKER = """
import sys
from pathlib import Path
from afpools_broker.broker import Broker
from afpools_broker.config import load
ports = {"AFPOOLS_CURVE_PORT": "0", "AFPOOLS_TLS_PORT": "0"}
with Broker(load(Path(sys.argv[1], "broker.toml"), ports)) as broker:
    print(broker.port("TLS"), flush=True)
    sys.stdin.read()
"""


@contextmanager
def _broker(folder: Path) -> Iterator[tuple[int, int]]:
    """A broker's process id and TLS port."""
    command = [sys.executable, "-c", _BROKER, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.pid, int(process.stdout.readline())
        finally:
            process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def _memory(pid: int) -> tuple[float, float]:
    """The present and the peak memory of a process, in millions of bytes."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    now, peak = (re.search(rf"{key}:\s+(\d+) kB", status) for key in ("VmRSS", "VmHWM"))
    assert now is not None
    assert peak is not None
    return int(now[1]) * 1024 / 1e6, int(peak[1]) * 1024 / 1e6


def following_the_farm(hosts: int, folder: Path, console: Console) -> None:
    """The broker's cost of following the renders and their states."""
    rows = table(f"Asking afserver about {hosts:,} renders", "target", "CPU", right=("target", "CPU"))
    known = json.loads(_renders_body(studio(hosts), " ONL"))
    store = open_store(f"sqlite:///{folder}/farm.sqlite", timeout=5)
    keeper = SnapshotKeeper(store, by_hand=False)
    keeper.start(wait=5)
    with afserver(known) as server:
        # Within the interval, and without waiting for it.
        watch = FarmWatch(server.address, interval=5, timeout=60, store=store, changed=keeper.see_farm)

        def poll() -> float:
            began = time.thread_time()
            watch.poll()
            assert not watch.error, watch.error
            return time.thread_time() - began

        def poll_after_changes(renders: int) -> float:
            for render in known["renders"][:renders]:
                render["state"] = " ONL" if "RUN" in render["state"] else " ONL RUN"
            return poll()

        server.monitors = None
        poll()
        whole = statistics.median(poll() for _ in range(3))
        rows.add_row("the whole list, as from an afserver without events", "", f"{whole * 1000:.0f} ms")
        server.monitors = {}
        watch = FarmWatch(server.address, interval=5, timeout=60, store=store, changed=keeper.see_farm)
        poll()
        for renders, most in ((0, 0.1), (hosts // 100, 0.25)):
            took = statistics.median(poll_after_changes(renders) for _ in range(3))
            name = f"{renders:,} renders changed" if renders else "nothing changed"
            rows.add_row(name, f"< {most:g} of it", verdict(took, f"{took * 1000:.1f} ms", most=most * whole))
    keeper.stop(wait=5)
    store.close()
    console.print(rows)


def _renders_body(known: list[str], state: str) -> bytes:
    """afserver's answer for these renders, all in one state, each with its own address."""
    answer = renders_answer(known)
    for number, render in enumerate(answer["renders"]):
        render["state"] = state
        render["address"] = {**render["address"], "ip": f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"}
    return json.dumps(answer).encode()


def whole_broker(hosts: int, folder: Path, console: Console) -> None:
    """A broker that gets this many renders from afserver and makes masks of them."""
    known = studio(hosts)
    rows = table(f"A broker of {hosts:,} hosts", "target", "value", right=("target", "value"))
    with afserver() as server:
        bodies = [_renders_body(known, state) for state in (" ONL", " ONL RUN")]
        # The whole list each time, and only if it was requested: a broker asks about jobs and users as well.
        server.monitors, server.body_of_renders = None, bodies[0]
        size = len(framed(bodies[0])) / 1e6
        make_state(folder, farm=f"127.0.0.1:{server.address[1]}", curve_port=0, tls_port=0)
        profile = Profile.load(str(folder / "certs" / "profiles" / "manager"))
        with _broker(folder) as (pid, port):
            endpoint = profile.endpoints[0]._replace(url=f"tls://127.0.0.1:{port}")
            with Client(profile._replace(endpoints=(endpoint,)), timeout=30) as client:
                start, _ = _memory(pid)
                client.create_pool("probe", known[:1])
                _wait_for_the_farm(client)
                times = []
                for kind, run in POOLS.items():
                    client.create_pool(kind, sorted(pool_of(known, POOL_SIZE, run)))
                    for style in STYLES:
                        began = time.perf_counter()
                        client.exclude_mask(kind, style=style)
                        times.append(time.perf_counter() - began)
                # A list of renders all of which have changed, while the old one is in use, is the most it has to hold.
                for body in (*bodies, *bodies):
                    server.body_of_renders = body
                    asked = len(server.requests)
                    while len(server.requests) < asked + 2:
                        time.sleep(0.1)
                now, peak = _memory(pid)
                slowest = max(times)
                rows.add_row("renders as afserver sends them", "", f"{size:.0f} MB")
                rows.add_row(
                    "first mask of a pool, over TLS, slowest of 9",
                    "< 500 ms",
                    verdict(slowest, f"{slowest * 1000:.0f} ms", most=0.5),
                )
                rows.add_row("memory, without the farm", "", f"{start:.0f} MB")
                rows.add_row(
                    "memory, after masks and lists of renders", "< 200 MB", verdict(now, f"{now:.0f} MB", most=200)
                )
                rows.add_row("the most it ever had", "< 200 MB", verdict(peak, f"{peak:.0f} MB", most=200))
                client.list_hosts()
                rows.add_row("the most it ever had, after hosts.list", "", f"{_memory(pid)[1]:.0f} MB")
    console.print(rows)


def _wait_for_the_farm(client: Client) -> None:
    until = time.monotonic() + 30
    while True:
        try:
            client.exclude_mask("probe")
        except AfpoolsError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
        else:
            return


def main() -> None:
    """Measures everything."""
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, emoji=False, width=160)
    with tempfile.TemporaryDirectory(prefix="afpools-bench-") as name:
        folder = Path(name)
        first_mask(20_000, 0.05, console)
        console.print()
        repeated_mask(20_000, folder, console)
        console.print()
        if compiler := shutil.which("g++"):
            with judges.Oracle(judges.build(compiler, folder)) as oracle:
                std_regex(oracle, console)
        else:
            console.print("There is no g++ here, so what std::regex makes of a mask is not measured.")
        console.print()
        first_mask(100_000, 0.5, console)
        console.print()
        following_the_farm(100_000, folder, console)
        console.print()
        whole_broker(100_000, folder, console)


if __name__ == "__main__":
    main()
