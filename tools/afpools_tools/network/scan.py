"""Finds the machines in a network: a library for `afpools scan` and the Pool Manager.

Strategy: a scan finds addresses that answer, and their names. It knows nothing of the farm; what the farm makes of a
machine (`mark`) is worked out afterwards from the broker's list of hosts, so that a result that was kept is shown as
things are now. Everything runs in one asyncio task, and ends when that task is cancelled. How to connect and how to
ask for a name are handed in.

A machine is alive when a TCP connection to it is accepted or refused: no raw sockets, no privileges. Renders themselves
listen nowhere (CGRU 3: they ask afserver), so the ports are those of the systems that they run on.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import errno
import re
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import msgspec
import platformdirs

from afpools import HostSummary

from .addresses import NothingScanned, ScanError, Target, ThisMachine

_T = TypeVar("_T")

PORTS = (22, 445, 135, 3389, 5900, 548, 80)
"""Linux and macOS (SSH), Windows (SMB, RPC, Remote Desktop), VNC, a Mac's file sharing, and devices with a web page.
One that refuses is as good an answer as one that listens; more than one is for firewalls that swallow the others."""

RATE = 200.0
"""Connections begun in a second. Little beside what a file server does, and gentle on the tables of switches."""

WAIT = 1.0
"""Seconds that a port gets to answer. A local network takes one millisecond, a tunnel to another site a tenth."""

_NAME_SECONDS = 2.0
"""For a name. A name server that is there takes milliseconds; one that is not must not hold up the scan."""

_LOOKUPS_AT_ONCE = 16
_ADDRESSES_AT_ONCE = 50
"""With all seven ports of each in progress, 350 sockets: well within the 1,024 files that a process may open on
Linux."""

_MOST_PORTS = 16


# --- what is found --------------------------------------------------------------------------------------------------


class Finding(msgspec.Struct, frozen=True):
    """A machine that answered.

    Attributes:
        address: where.
        resolved: its name, as the name service has it; empty where it has none. Somebody else wrote it.
        port: the first that answered.
        accepted: whether the port accepted the connection; else it refused, which only a machine that is there can.
        this_machine: the address is our own.
    """

    address: IPv4Address
    resolved: str
    port: int
    accepted: bool
    this_machine: bool


class ScanResult(msgspec.Struct, frozen=True):
    """What a scan has found, to its end or until it was cancelled.

    Attributes:
        network: what was scanned.
        started: when, in UTC.
        seconds: how long it took.
        addresses: how many there are in the network.
        tried: how many of them were tried to the end.
        findings: sorted by address.
        trouble: why connections could not even be begun, the first reason; empty where all could. Then machines may
            be missing.
    """

    network: IPv4Network
    started: dt.datetime
    seconds: float
    addresses: int
    tried: int
    findings: tuple[Finding, ...]
    trouble: str = ""
    version: Literal[1] = 1

    @property
    def complete(self) -> bool:
        """Whether all addresses were tried."""
        return self.tried == self.addresses


class Progress(NamedTuple):
    """How far a scan is: addresses tried, of how many, and machines found."""

    tried: int
    addresses: int
    found: int


class Machine(NamedTuple):
    """A finding, and what the farm makes of it.

    Attributes:
        finding: what was found.
        name: in the farm's spelling; empty where the name service has none that a host can have.
        host: what the broker knows of it; None where it is new (or where no broker was asked).
    """

    finding: Finding
    name: str
    host: HostSummary | None

    @property
    def is_render(self) -> bool:
        """Whether afserver knows it, online or offline."""
        return self.host is not None and bool(self.host.states)

    @property
    def pools(self) -> tuple[str, ...]:
        """The pools it is in."""
        return self.host.pools if self.host else ()


# --- the scan -------------------------------------------------------------------------------------------------------

Connect = Callable[[IPv4Address, int], Awaitable[None]]
"""Connects to a port and hangs up; an `OSError` where that fails. Cancelled when it takes too long."""

Resolve = Callable[[IPv4Address], Awaitable[str]]
"""The name of an address, empty if there is none."""


class Settings(NamedTuple):
    """How a network is scanned.

    Attributes:
        ports: which are tried, in this order, until one answers.
        rate: connections begun in a second, at most.
        wait: seconds that each port gets to answer.
    """

    ports: tuple[int, ...] = PORTS
    rate: float = RATE
    wait: float = WAIT

    def checked(self) -> Settings:
        """The same.

        Raises:
            ScanError: a value makes no sense.
        """
        wrong = [port for port in self.ports if not 1 <= port <= 65535]
        if wrong or not 1 <= len(self.ports) <= _MOST_PORTS:
            raise ScanError(
                f"{wrong[0]} is not a valid port (use 1 to 65535)."
                if wrong
                else f"{len(self.ports)} ports to try: give 1 to {_MOST_PORTS} of them."
            )
        if not 1 <= self.rate <= 10_000:
            raise ScanError(f"{self.rate:g} connections a second: give 1 to 10,000.")
        if not 0.01 <= self.wait <= 60:
            raise ScanError(f"{self.wait:g} seconds for an answer: give 0.01 to 60.")
        return self

    def seconds(self, addresses: int) -> float:
        """How long a scan of so many addresses takes at most, the lookup of names aside: as if none answered."""
        at_this_rate = addresses * len(self.ports) / self.rate
        return max(at_this_rate, addresses / _ADDRESSES_AT_ONCE * self.wait) + self.wait


class Scanner:
    """One scan of one network. Used from one event loop; to end it early, cancel the task that awaits `run`.

    Args:
        target: which addresses. No other is ever connected to.
        machine: the one this runs on.
        settings: how.
        connect: how to connect; for tests.
        resolve: how to find a name; for tests.

    Raises:
        ScanError: a setting makes no sense.
    """

    def __init__(
        self,
        target: Target,
        machine: ThisMachine,
        settings: Settings | None = None,
        *,
        connect: Connect | None = None,
        resolve: Resolve | None = None,
    ) -> None:
        self.target = target
        self.settings = (settings or Settings()).checked()
        self._addresses = target.addresses
        self._own = {interface.ip for interface in machine.interfaces}
        self._own_name = machine.name
        self._connect = connect or connect_tcp
        self._resolve = resolve or name_service()
        self._pace = _Pace(self.settings.rate)
        self._started = dt.datetime.now(dt.UTC)
        self._seconds = 0.0
        self._tried = 0
        self._findings: list[Finding] = []
        self._trouble = ""

    @property
    def progress(self) -> Progress:
        """How far it is."""
        return Progress(self._tried, len(self._addresses), len(self._findings))

    @property
    def expected_seconds(self) -> float:
        """How long it takes at most, the lookup of names aside."""
        return self.settings.seconds(len(self._addresses))

    def result(self) -> ScanResult:
        """What was found so far. After `run` has returned, all of it; after it was cancelled, what it had by then."""
        return ScanResult(
            network=self.target.network,
            started=self._started,
            seconds=round(self._seconds, 1),
            addresses=len(self._addresses),
            tried=self._tried,
            findings=tuple(sorted(self._findings, key=lambda finding: finding.address)),
            trouble=self._trouble,
        )

    async def run(self, on_progress: Callable[[Progress], None] = lambda _progress: None) -> ScanResult:
        """Scans. To be called once.

        Args:
            on_progress: called in the event loop after each address.
        """
        self._started, began = dt.datetime.now(dt.UTC), time.monotonic()
        # One iterator for all: whoever is free takes the next address.
        waiting = iter(self._addresses)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(_ADDRESSES_AT_ONCE, len(self._addresses))):
                    group.create_task(self._try_each(waiting, on_progress))
        finally:
            self._seconds = time.monotonic() - began
        return self.result()

    async def _try_each(self, waiting: Iterator[IPv4Address], on_progress: Callable[[Progress], None]) -> None:
        for address in waiting:
            answer = await self._probe(address)
            if answer is not None:
                port, accepted = answer
                own = address in self._own
                # What afrender calls itself is the system's name, whatever the name service says of the address.
                resolved = self._own_name if own else await self._name_of(address)
                self._findings.append(Finding(address, resolved, port, accepted, own))
            self._tried += 1
            on_progress(self.progress)

    async def _name_of(self, address: IPv4Address) -> str:
        try:
            async with asyncio.timeout(_NAME_SECONDS):
                return await self._resolve(address)
        except (OSError, TimeoutError):
            return ""

    async def _probe(self, address: IPv4Address) -> tuple[int, bool] | None:
        """The first port of an address that answers and whether it accepts; None where none does."""
        async with _tasks(self._knock(address, port) for port in self.settings.ports) as knocks:
            for done in asyncio.as_completed(knocks):
                answer = await done
                if answer is not None:
                    return answer
        return None

    async def _knock(self, address: IPv4Address, port: int) -> tuple[int, bool] | None:
        await self._pace.turn()
        try:
            async with asyncio.timeout(self.settings.wait):
                await self._connect(address, port)
        except (ConnectionRefusedError, ConnectionResetError):
            return port, False
        except TimeoutError:
            return None
        except OSError as error:
            # Nobody answers at that address. Every other error is about us: no route, no more sockets, not allowed.
            if error.errno not in (errno.EHOSTUNREACH, errno.EHOSTDOWN):
                self._trouble = self._trouble or error.strerror or str(error)
            return None
        return port, True


@contextlib.asynccontextmanager
async def _tasks(coroutines: Iterable[Coroutine[Any, Any, _T]]) -> AsyncIterator[list[asyncio.Task[_T]]]:
    """Tasks that do not outlive the block."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Pace:
    """Lets through one after the other, so many a second. Whoever is cancelled while waiting costs nobody time."""

    def __init__(self, rate: float) -> None:
        self._interval = 1 / rate
        self._next = 0.0
        self._lock = asyncio.Lock()

    async def turn(self) -> None:
        async with self._lock:
            await asyncio.sleep(max(0.0, self._next - time.monotonic()))
            now = time.monotonic()
            # A sleep always takes a little longer: that is caught up with, a pause is not.
            self._next = (self._next if now - self._next < self._interval else now) + self._interval


async def connect_tcp(address: IPv4Address, port: int) -> None:
    """Connects to a port, and hangs up without having said anything.

    Raises:
        OSError: it does not accept.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as knock:
        knock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(knock, (str(address), port))


def name_service() -> Resolve:
    """Asks the system for names, as many at a time as a name server likes.

    The system's own call (getnameinfo) knows of every source of names there is, but it cannot be cancelled. So each
    question has a thread that nobody waits for when time is up, and that keeps its place in the queue until it is done:
    however slow the name server, there are never more.
    """
    places = asyncio.Semaphore(_LOOKUPS_AT_ONCE)

    async def resolve(address: IPv4Address) -> str:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[str] = loop.create_future()

        def give(name: str) -> None:
            places.release()
            if not answer.done():
                answer.set_result(name)

        def ask() -> None:
            try:
                name = socket.getnameinfo((str(address), 0), socket.NI_NAMEREQD)[0]
            except (OSError, UnicodeError):
                name = ""
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: the scan is over
                loop.call_soon_threadsafe(give, name)

        await places.acquire()
        threading.Thread(target=ask, name=f"name of {address}", daemon=True).start()
        return await answer

    return resolve


# --- what the farm makes of it --------------------------------------------------------------------------------------

# A first label by RFC 1123, and the underscore that Windows allows. What a name service says is somebody else's text:
# a bracket in it would be read as a range of hosts, and `_gateway` is systemd's word for the router.
_LABEL = re.compile(r"[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?")


def farm_name(resolved: str) -> str:
    """The name that a render on this machine would have; empty where the name service's is none that a host can have.

    Args:
        resolved: the name service's answer, a domain and capitals included.
    """
    from afpools_broker.pools.pool import as_afrender_would

    name = as_afrender_would(resolved)
    if name == "localhost" or not _LABEL.fullmatch(name) or re.fullmatch(r"[0-9.]+", resolved):
        return ""
    return name


def mark(findings: Iterable[Finding], hosts: Sequence[HostSummary]) -> list[Machine]:
    """Says of each finding which of the broker's hosts it is: the one of its name, else the render at its address.

    An offline render's address may have gone to another machine since, so it counts only for one that has no name.

    Args:
        findings: of a scan, just now or a while ago.
        hosts: what `Client.list_hosts` answers.
    """
    from afpools_broker.pools.hosts import Spelling

    # What a name service says has a domain, and `farm_name` cuts it as well.
    spelling = Spelling((host.name for host in hosts), names="cut")
    by_name = {host.name: host for host in hosts}
    by_address: dict[str, HostSummary] = {}
    # Two renders on one machine: the one that is online, else the first by name.
    for host in sorted(hosts, key=lambda host: ("online" in host.states, host.name), reverse=True):
        if host.address and host.states:
            by_address.setdefault(host.address, host)
    marked = []
    for finding in findings:
        name = farm_name(finding.resolved)
        known = by_name.get(spelling.of(finding.resolved)) if name else None
        if known is None:
            there = by_address.get(str(finding.address))
            known = there if there and ("online" in there.states or not name) else None
        marked.append(Machine(finding, known.name if known else name, known))
    return marked


# --- the last result ------------------------------------------------------------------------------------------------


def last_result_file() -> Path:
    """Where the last result is kept: in this user's folder for state."""
    return Path(platformdirs.user_state_dir("afanasy-pools")) / "last-scan.json"


def keep(result: ScanResult, file: Path | None = None) -> None:
    """Keeps a result, readable by this user only, in the place of the one before.

    Raises:
        ScanError: it cannot be written. The one before stays.
    """
    from ..credentials.files import AuthorityError, write

    try:
        write(file or last_result_file(), msgspec.json.encode(result, enc_hook=str), secret=True)
    except AuthorityError as error:
        raise ScanError(f"The result was not kept. {error}") from None


def last_result(file: Path | None = None) -> ScanResult:
    """The result that was kept last.

    Raises:
        NothingScanned: there is none.
        ScanError: it cannot be read.
    """
    file = file or last_result_file()
    try:
        kept: ScanResult = msgspec.json.decode(file.read_bytes(), type=ScanResult, dec_hook=_from_text)
    except FileNotFoundError:
        raise NothingScanned("Nothing has been scanned yet. Do it now: afpools scan") from None
    except OSError as error:
        raise ScanError(f"{file} cannot be read: {error.strerror}. Scan again, or see to its permissions.") from None
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise ScanError(f"{file} is damaged, or was written by another version. Scan again: afpools scan") from None
    return kept


def _from_text(kind: type[Any], text: Any) -> Any:
    if not isinstance(text, str):  # a number would be taken for an address, too
        raise ValueError(f"{text!r} is not a text")  # noqa: TRY004 - what msgspec expects of a hook
    return kind(text)
