"""`make bench`, the part about growth: what one change of one pool costs, beside the same with a tenth of the pools.

Strategy: two whole brokers run side by side, each a process of its own on a store of its own, one with all the pools of
a row and one with a tenth of them, each pool as large as there. They take turns, so that whatever else the machine does
meets both, and medians are compared. `--large` has the rows that take minutes; `--json` keeps what was measured for
`tests.draw_growth` and docs/performance.md.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from tests.afserver import AfServer, renders_answer
from tests.bench_masks import verdict
from tests.mongod import single_server, three_members, with_database
from tests.studio import point, settings

from afpools import Client
from afpools.profile import Profile
from afpools_broker.broker import Broker
from afpools_broker.credentials.peers import Peer
from afpools_broker.operations import Sender
from afpools_broker.protocol import Role
from afpools_broker.service import Later
from afpools_broker.store import open_store
from afpools_broker.store.archive import PoolRecord
from afpools_tools.commands.output import table
from afpools_tools.commands.serve import _SWITCH_SECONDS
from afpools_tools.credentials.authority import Authority

_HOSTS = 10_000
_ROUNDS = 4
_CHANGES = 12  # per round and side
_MOST_READ = 50  # pools
_AFTER_EACH = 10  # masks asked for after each change
_READS_SECONDS = 2.5
_READ_PAUSE = 0.001
_WRITE_PAUSE = 0.1
_SETTLE = 1.2  # seconds after which every follower of the store has seen the last change
_MOST_GROWTH = 1.5


@dataclass(frozen=True)
class Size:
    """A row: a number of pools with a number of hosts each."""

    pools: int
    members: int

    @property
    def memberships(self) -> int:
        return self.pools * self.members

    @property
    def tenth(self) -> Size:
        return Size(self.pools // 10, self.members)

    @property
    def read(self) -> int:
        """How many pools readers ask for, the first ones. None of them is changed."""
        return min(_MOST_READ, self.pools // 2)

    def __str__(self) -> str:
        return f"{_HOSTS:,} / {self.pools:,} / {self.memberships:,}"


QUICK = (Size(100, 50), Size(1_000, 50))
LARGE = (Size(1_000, 500), Size(10_000, 50), Size(500, 10_000))


class Numbers(msgspec.Struct, kw_only=True):
    """What was measured of one broker: medians, in seconds unless another unit is given.

    Args:
        wait: that an author waits for his answer.
        cpu: of the broker for one change, whatever follows it included.
        unchanged_mask: from the request's bytes to the answer's, right after another pool changed.
        changed_mask: the same of the pool that changed, for the first time since.
        changed_list: `pools.list`, for the first time since a change.
        p99: of readers.
        p99_while_written: of readers, with a writer ten times a second.
        bytes_a_membership: of memory, beyond what a broker without pools takes.
        start: until a broker knows the pools.
    """

    pools: int
    memberships: int
    wait: float
    cpu: float
    unchanged_mask: float
    changed_mask: float
    changed_list: float
    p99: float
    p99_while_written: float
    bytes_a_membership: float
    start: float


class Row(msgspec.Struct, kw_only=True):
    """A row of the table: all the data, and a tenth of it."""

    store: str
    full: Numbers
    tenth: Numbers


class Report(msgspec.Struct, kw_only=True):
    """Everything that was measured, as it is saved."""

    hosts: int
    processors: int
    rows: list[Row]


def hosts() -> list[str]:
    """The farm's renders."""
    return [f"pc-{number:05}" for number in range(_HOSTS)]


def pool_name(number: int) -> str:
    """The name of a pool."""
    return f"pool-{number:05}"


def _records(size: Size) -> Iterator[PoolRecord]:
    known = hosts()
    for number in range(size.pools):
        first = number * 7919 % _HOSTS  # prime: pools overlap in ever other ways
        members = known[first : first + size.members] + known[: max(0, first + size.members - _HOSTS)]
        yield PoolRecord(name=pool_name(number), hosts=tuple(members), description="", colour="")


# The broker, a separate process


def _serve(pipe: Connection, folder: str, uri: str, farm: str) -> None:
    """Runs a broker, and carries out requests from the pipe: the name of a method of `_Inside` and its arguments."""
    sections: dict[str, dict[str, Any]] = {"store": {"uri": uri}, "farm": {"server": farm}}
    sys.setswitchinterval(_SWITCH_SECONDS)
    broker = Broker(settings(Path(folder), sections))
    began = time.perf_counter()
    with broker:
        while not broker._keeper.is_loaded:
            time.sleep(0.005)
        inside = _Inside(broker, time.perf_counter() - began)
        while broker._keeper.current.farm is None:
            time.sleep(0.005)
        pipe.send(None)
        while (asked := pipe.recv()) is not None:
            name, *arguments = asked
            pipe.send(getattr(inside, name)(*arguments))


class _Inside:
    """What can be measured only inside the broker's process."""

    def __init__(self, broker: Broker, start: float) -> None:
        self._broker = broker
        self._start = start
        self._sender = Sender(Peer("bench", Role.READER), "127.0.0.1:1")

    def ports(self) -> tuple[int, int]:
        return self._broker.port("TLS"), self._broker.port("CURVE")

    def start(self) -> float:
        return self._start

    def cpu(self) -> float:
        return time.process_time()

    def memory(self) -> int:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def answer(self, request: bytes) -> float:
        """Seconds from the bytes of a request to those of its answer."""
        began = time.perf_counter()
        answer = self._broker._service.answer(self._sender, request)
        if isinstance(answer, Later):
            answer = answer.work()
        took = time.perf_counter() - began
        assert b'"ok":true' in answer[:200], answer[:1000]
        return took


@dataclass
class Place:
    """A broker with its store, and a connected manager."""

    size: Size
    ask: Callable[..., Any]
    author: Client
    profile: Path
    memory: int = 0
    samples: dict[str, list[float]] = field(default_factory=dict)
    changes: int = 0

    def note(self, name: str, *values: float) -> None:
        self.samples.setdefault(name, []).extend(values)

    def median(self, name: str) -> float:
        return statistics.median(self.samples[name])

    def next_pool(self) -> tuple[int, bool]:
        """The number of the pool to change, and whether a host leaves or comes back."""
        turn, self.changes = self.changes // 2, self.changes + 1
        return self.size.pools - 1 - turn * 37 % (self.size.pools - self.size.read), self.changes % 2 == 1


@contextmanager
def _place(folder: Path, size: Size, uri: str, farm: str, authority: Authority) -> Iterator[Place]:
    store = open_store(uri, timeout=60)
    store.restore(_records(size), writes_end=0)
    store.close()
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(theirs, str(folder), uri, farm), daemon=True)
    process.start()
    try:
        if not ours.poll(120):
            raise RuntimeError("the broker does not know the pools yet")
        ours.recv()

        def ask(*asked: object) -> Any:
            ours.send(asked)
            return ours.recv()

        name = f"author-{size.pools}"
        profile = authority.profile_path(name)
        if not profile.exists():
            authority.issue_profile(name, Role.MANAGER)
        tls, curve = ask("ports")
        point(profile, tls=tls, curve=curve)
        time.sleep(_SETTLE)  # the broker looks for new credentials each second
        with Client(Profile.load(str(profile)), timeout=60) as author:
            yield Place(size, ask, author, profile, ask("memory"))
    finally:
        ours.send(None)
        process.join(5)
        process.kill()


class _StillFarm(AfServer):
    """An afserver whose renders never change, and which need not look whether they have."""

    def close(self) -> None:
        self.stop()

    def _renders_by_id(self) -> dict[int, str]:
        return {}


# What is measured


def _mask_request(number: int) -> bytes:
    params = {"pool": pool_name(number), "style": "complement"}
    return msgspec.json.encode({"v": 1, "id": str(time.monotonic_ns()), "op": "mask", "params": params})


def _list_request() -> bytes:
    return b'{"v":1,"id":"1","op":"pools.list","params":{}}'


def _change(author: Client, number: int, leaves: bool, *, look: bool = True) -> float:
    known = hosts()
    name, host = pool_name(number), known[number * 7919 % _HOSTS]
    began = time.perf_counter()
    (author.remove_hosts if leaves else author.add_hosts)(name, [host])
    took = time.perf_counter() - began
    if look and (host in author.get_pool(name).hosts) == leaves:
        raise RuntimeError(f"the author of a change does not see it: {host} in {name}")
    return took


def _changes(place: Place, idle: float) -> None:
    """A round of changes: how long each took, what they cost together, and masks between them."""
    began, before = time.monotonic(), place.ask("cpu")
    for _ in range(_CHANGES):
        number, leaves = place.next_pool()
        place.note("wait", _change(place.author, number, leaves))
    time.sleep(_SETTLE)
    cpu = place.ask("cpu") - before - idle * (time.monotonic() - began)
    place.note("cpu", cpu / _CHANGES)
    for turn in range(_CHANGES // 2):
        number, leaves = place.next_pool()
        _change(place.author, number, leaves)
        place.note("changed_mask", place.ask("answer", _mask_request(number)))
        for each in range(_AFTER_EACH):
            place.note(
                "unchanged_mask", place.ask("answer", _mask_request((turn * _AFTER_EACH + each) % place.size.read))
            )
        place.note("changed_list", place.ask("answer", _list_request()))


def _idle(place: Place) -> float:
    """Processors that the broker uses while there are no requests."""
    began, before = time.monotonic(), place.ask("cpu")
    time.sleep(_SETTLE)
    return float(place.ask("cpu") - before) / (time.monotonic() - began)


def _write_now_and_then(profile: str, size: Size, pipe: Connection) -> None:
    place = Place(size, print, Client(Profile.load(profile), timeout=60), Path(profile))
    pipe.send(None)
    while not pipe.poll(_WRITE_PAUSE):
        _change(place.author, *place.next_pool(), look=False)
    if place.changes % 2:  # so that the next one begins with a host that leaves
        _change(place.author, *place.next_pool())
    pipe.send(place.changes)


@contextmanager
def _writer(place: Place) -> Iterator[None]:
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_write_now_and_then, args=(str(place.profile), place.size, theirs), daemon=True)
    process.start()
    ours.recv()
    try:
        yield
    finally:
        ours.send(None)
        ours.recv()
        process.join(5)
        process.kill()


def _reads(place: Place) -> list[float]:
    """How long masks of unchanged pools take that one reader requests over TLS, one at a time."""
    chance = random.Random(1)
    pools = [pool_name(number) for number in range(place.size.read)]
    took: list[float] = []
    with Client(Profile.load(str(place.profile)), timeout=60) as reader:
        for pool in pools:
            reader.exclude_mask(pool, style="complement")
        until = time.perf_counter() + _READS_SECONDS
        while (began := time.perf_counter()) < until:
            reader.exclude_mask(chance.choice(pools), style="complement")
            took.append(time.perf_counter() - began)
            time.sleep(_READ_PAUSE)
    return took


def _p99(times: list[float]) -> float:
    return sorted(times)[len(times) * 99 // 100]


def _measure(places: list[Place]) -> None:
    for place in places:
        for number in range(place.size.read):
            place.ask("answer", _mask_request(number))
        place.ask("answer", _list_request())
        _change(place.author, *place.next_pool())
        _change(place.author, *place.next_pool())
    for _ in range(_ROUNDS):
        for place in places:
            _changes(place, _idle(place))
    for _ in range(_ROUNDS // 2):
        for place in places:
            place.note("p99", _p99(_reads(place)))
            with _writer(place):
                place.note("p99_while_written", _p99(_reads(place)))


def _numbers(place: Place, nothing: int) -> Numbers:
    names = ("wait", "cpu", "unchanged_mask", "changed_mask", "changed_list", "p99", "p99_while_written")
    return Numbers(
        pools=place.size.pools,
        memberships=place.size.memberships,
        bytes_a_membership=(place.memory - nothing) / place.size.memberships,
        start=place.ask("start"),
        **{name: place.median(name) for name in names},
    )


KINDS = ("SQLite", "one mongod", "replica set")
_MOST_WAIT = {"SQLite": 0.05, "one mongod": 0.1, "replica set": 0.1}


class Stores:
    """The kinds of store, and the servers for them; each use gets a separate database.

    Args:
        folder: for their files.
        stack: ends them.
    """

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._servers: dict[str, str] = {}
        self._used = 0

    def new(self, kind: str) -> str:
        """The address of an empty store."""
        self._used += 1
        if kind == "SQLite":
            return f"sqlite:///{self._folder}/pools-{self._used}.sqlite"
        if kind not in self._servers:
            folder = self._folder / kind.replace(" ", "-")
            folder.mkdir()
            start = single_server if kind == "one mongod" else three_members
            self._servers[kind] = self._stack.enter_context(start(folder)).uri
        return with_database(self._servers[kind], f"growth{self._used}")


def measure(sizes: list[Size], kinds: list[str], said: Console) -> Iterator[Report]:
    """Measures every row; gives what has been measured so far after each.

    Args:
        sizes: of the rows.
        kinds: from `KINDS`.
        said: where progress goes.
    """
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="afpools-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        authority = Authority.create(folder / "certs")
        authority.issue_broker("broker", ["127.0.0.1", "localhost"])
        stores = Stores(folder, stack)
        server = stack.enter_context(closing(_StillFarm(renders_answer(hosts()))))
        farm = f"127.0.0.1:{server.address[1]}"
        for kind in kinds:
            with _place(folder, Size(0, 0), stores.new(kind), farm, authority) as place:
                nothing = place.memory
            for size in sizes:
                with ExitStack() as both:
                    places = [
                        both.enter_context(_place(folder, each, stores.new(kind), farm, authority))
                        for each in (size, size.tenth)
                    ]
                    _measure(places)
                    full, tenth = (_numbers(place, nothing) for place in places)
                rows.append(Row(store=kind, full=full, tenth=tenth))
                said.print(f"{kind}, {size}: {full.wait * 1000:.1f} ms, {full.cpu / tenth.cpu:.2f} x a tenth's CPU")
                yield Report(hosts=_HOSTS, processors=os.cpu_count() or 1, rows=rows)


# What is shown


def _milliseconds(value: float, most: float | None = None, digits: int = 1) -> Any:
    return verdict(value, f"{value * 1000:.{digits}f}", most=most)


def changes_table(report: Report, console: Console) -> None:
    """What a change costs, and how much more than with a tenth of the pools."""
    heads = ("author waits, ms", "x a tenth", "broker's CPU, ms", "x a tenth (< 1.5)", "list anew, ms", "x a tenth")
    rows = table("One change of one pool", "hosts / pools / memberships", "store", *heads, right=heads)
    for row in report.rows:
        full, tenth = row.full, row.tenth
        rows.add_row(
            f"{report.hosts:,} / {full.pools:,} / {full.memberships:,}",
            row.store,
            _milliseconds(full.wait, _MOST_WAIT[row.store]),
            f"{full.wait / tenth.wait:.2f}",
            _milliseconds(full.cpu),
            verdict(full.cpu / tenth.cpu, f"{full.cpu / tenth.cpu:.2f}", most=_MOST_GROWTH),
            _milliseconds(full.changed_list, digits=2),
            f"{full.changed_list / tenth.changed_list:.1f}",
        )
    console.print(rows)


def reads_table(report: Report, console: Console) -> None:
    """What readers notice of changes, and how much memory pools take."""
    heads = (
        "unchanged pool's mask, ms (< 0.1)",
        "changed pool's, ms",
        "reads' p99, ms",
        "with a writer (< 2 x)",
        "bytes a membership (< 60)",
        "start, s (< 10)",
    )
    rows = table("Reads while pools change", "hosts / pools / memberships", "store", *heads, right=heads)
    for row in report.rows:
        full = row.full
        rows.add_row(
            f"{report.hosts:,} / {full.pools:,} / {full.memberships:,}",
            row.store,
            _milliseconds(full.unchanged_mask, 0.0001, 3),
            _milliseconds(full.changed_mask),
            _milliseconds(full.p99, digits=2),
            _milliseconds(full.p99_while_written, 2 * full.p99, digits=2),
            verdict(full.bytes_a_membership, f"{full.bytes_a_membership:,.0f}", most=60),
            verdict(full.start, f"{full.start:.2f}", most=10),
        )
    console.print(rows)


def main() -> None:
    """Measures, prints, and saves the measurements if requested."""
    parser = argparse.ArgumentParser(description="What one change costs, by how much there is.")
    parser.add_argument("--large", action="store_true", help="the rows of 500,000 memberships and more, too")
    parser.add_argument("--row", action="append", metavar="POOLS/MEMBERSHIPS", help="this row; may be repeated")
    parser.add_argument("--store", action="append", choices=KINDS, help="this store; may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the numbers there as well")
    given = parser.parse_args()
    sizes = [*QUICK, *LARGE] if given.large else list(QUICK)
    if given.row:
        named = (tuple(map(int, text.replace(",", "").split("/"))) for text in given.row)
        sizes = [Size(pools, memberships // pools) for pools, memberships in named]
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, emoji=False, width=200)
    report = Report(hosts=_HOSTS, processors=os.cpu_count() or 1, rows=[])
    for report in measure(sizes, given.store or list(KINDS), Console(stderr=True, highlight=False)):
        if given.json:
            given.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    changes_table(report, console)
    console.print()
    reads_table(report, console)


if __name__ == "__main__":
    main()
