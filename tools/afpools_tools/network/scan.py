"""Finds the machines in a network: a library for `afpools scan` and the Pool Manager.

Strategy: a scan finds addresses that answer, and their names. It knows nothing about the farm; `mark` compares the
result with the broker's list of hosts afterwards, so that a saved result is shown with the farm's current state.
Everything runs in one asyncio task, and ends when that task is cancelled. The functions that connect and look up names
are passed in.

A machine is alive if it accepts or refuses a TCP connection: this needs no raw sockets and no privileges. Renders do
not listen on any port (in CGRU 3 they ask afserver), so the ports are those of their operating systems.
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
A refusal is as good an answer as an accepted connection. There are several ports because firewalls may drop some."""

RATE = 200.0
"""Connections opened per second. Few compared with a file server's, and gentle on the tables of switches."""

WAIT = 1.0
"""How long to wait for a port, in seconds. A local network takes a millisecond, a tunnel to another site 0.1 s."""

_NAME_SECONDS = 2.0
"""How long to wait for a name, in seconds. A working name server takes milliseconds; an unreachable one must not delay
the scan."""

_LOOKUPS_AT_ONCE = 16
_ADDRESSES_AT_ONCE = 50
"""Addresses at a time. With seven ports each, this makes 350 sockets: well below the 1,024 files that a process may
open on Linux."""

_MOST_PORTS = 16


# --- what is found --------------------------------------------------------------------------------------------------


class Finding(msgspec.Struct, frozen=True):
    """A machine that answered.

    Attributes:
        address: its address.
        resolved: its name from the name service, empty if there is none. Not trusted: somebody else wrote it.
        port: the first port that answered.
        accepted: whether the port accepted the connection; else it refused it, which also proves that there is a
            machine.
        this_machine: the address is our own.
    """

    address: IPv4Address
    resolved: str
    port: int
    accepted: bool
    this_machine: bool


class ScanResult(msgspec.Struct, frozen=True):
    """What a scan has found, until its end or until it was cancelled.

    Attributes:
        network: what was scanned.
        started: when, in UTC.
        seconds: how long the scan took.
        addresses: how many addresses the network has.
        tried: how many of them were tried completely.
        findings: sorted by address.
        trouble: the first reason why a connection could not even be started; empty if all could. If it is set, machines
            may be missing.
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
    """A scan's progress: addresses tried, of how many, and machines found."""

    tried: int
    addresses: int
    found: int


class Machine(NamedTuple):
    """A finding, and the farm's host that it belongs to.

    Attributes:
        finding: the machine that was found.
        name: in the farm's spelling; empty if the name service has no name that a host can have.
        host: the broker's entry for it; None if it is new (or if no broker was asked).
    """

    finding: Finding
    name: str
    host: HostSummary | None

    @property
    def is_render(self) -> bool:
        """Whether it is a render, online or offline."""
        return self.host is not None and bool(self.host.states)

    @property
    def pools(self) -> tuple[str, ...]:
        """The pools it is in."""
        return self.host.pools if self.host else ()


# --- the scan -------------------------------------------------------------------------------------------------------

Connect = Callable[[IPv4Address, int], Awaitable[None]]
"""Connects to a port and hangs up; raises `OSError` if that fails. Cancelled if it takes too long."""

Resolve = Callable[[IPv4Address], Awaitable[str]]
"""The name of an address, empty if there is none."""


class Settings(NamedTuple):
    """How to scan a network.

    Attributes:
        ports: the ports to try, in this order, until one answers.
        rate: the most connections to open per second.
        wait: seconds to wait for each port.
    """

    ports: tuple[int, ...] = PORTS
    rate: float = RATE
    wait: float = WAIT

    def checked(self) -> Settings:
        """The same settings, checked.

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
        """How long, in seconds, a scan of this many addresses takes at most (if none answers), without looking up
        names."""
        at_this_rate = addresses * len(self.ports) / self.rate
        return max(at_this_rate, addresses / _ADDRESSES_AT_ONCE * self.wait) + self.wait


class Scanner:
    """One scan of one network. Used from one event loop; to end it early, cancel the task that awaits `run`.

    Args:
        target: the addresses. No other address is ever connected to.
        machine: the machine that this runs on.
        settings: how to scan.
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
        """The scan's progress."""
        return Progress(self._tried, len(self._addresses), len(self._findings))

    @property
    def expected_seconds(self) -> float:
        """How long it takes at most, in seconds, without looking up names."""
        return self.settings.seconds(len(self._addresses))

    def result(self) -> ScanResult:
        """What has been found so far. After `run` has returned, everything; after it was cancelled, what it had by
        then."""
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
        """Scans. Call it only once.

        Args:
            on_progress: called in the event loop after each address.
        """
        self._started, began = dt.datetime.now(dt.UTC), time.monotonic()
        # All workers share one iterator: each takes the next address when it is free.
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
                # afrender uses the system's host name, whatever the name service says about the address.
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
        """The first port of an address that answers, and whether it accepts; None if no port does."""
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
            # No machine answers at that address. Every other error is about us: no route, no more sockets, not
            # permitted.
            if error.errno not in (errno.EHOSTUNREACH, errno.EHOSTDOWN):
                self._trouble = self._trouble or error.strerror or str(error)
            return None
        return port, True


@contextlib.asynccontextmanager
async def _tasks(coroutines: Iterable[Coroutine[Any, Any, _T]]) -> AsyncIterator[list[asyncio.Task[_T]]]:
    """Cancels the tasks at the end of the block."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Pace:
    """Limits the rate. A task that is cancelled while it waits does not delay the others."""

    def __init__(self, rate: float) -> None:
        self._interval = 1 / rate
        self._next = 0.0
        self._lock = asyncio.Lock()

    async def turn(self) -> None:
        async with self._lock:
            await asyncio.sleep(max(0.0, self._next - time.monotonic()))
            now = time.monotonic()
            # A sleep always takes slightly too long. That is made up for; an idle time is not.
            self._next = (self._next if now - self._next < self._interval else now) + self._interval


async def connect_tcp(address: IPv4Address, port: int) -> None:
    """Connects to a port, and hangs up without sending anything.

    Raises:
        OSError: it does not accept the connection.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as knock:
        knock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(knock, (str(address), port))


def name_service() -> Resolve:
    """Asks the system for names, a limited number at a time.

    The system's own call (getnameinfo) uses every source of names, but it cannot be cancelled. So each question has its
    own thread. When the time is up nobody waits for it any more, but it keeps its slot until it is done: however slow
    the name server is, there are never more threads than slots.
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


# --- comparing with the farm ----------------------------------------------------------------------------------------

# A first label by RFC 1123, plus the underscore that Windows allows. A name service's answer is not trusted: a bracket
# in it would be read as a range of hosts, and `_gateway` is systemd's name for the router.
_LABEL = re.compile(r"[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?")


def farm_name(resolved: str) -> str:
    """The name that a render on this machine would have; empty if the name service's answer is not a possible host
    name.

    Args:
        resolved: the name service's answer, a domain and capitals included.
    """
    from afpools_broker.pools.pool import as_afrender_would

    name = as_afrender_would(resolved)
    if name == "localhost" or not _LABEL.fullmatch(name) or re.fullmatch(r"[0-9.]+", resolved):
        return ""
    return name


def mark(findings: Iterable[Finding], hosts: Sequence[HostSummary]) -> list[Machine]:
    """Finds the broker's host for each finding: the one with its name, else the render at its address.

    An offline render's address may since have gone to another machine, so it counts only for a finding without a name.

    Args:
        findings: a scan's, recent or old.
        hosts: the result of `Client.list_hosts`.
    """
    from afpools_broker.pools.hosts import Spelling

    # A name service's answer has a domain, which `farm_name` also cuts.
    spelling = Spelling((host.name for host in hosts), names="cut")
    by_name = {host.name: host for host in hosts}
    by_address: dict[str, HostSummary] = {}
    # If there are two renders on one machine: the one that is online, else the first by name.
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
    """Where the last result is kept: in this user's state folder."""
    return Path(platformdirs.user_state_dir("afanasy-pools")) / "last-scan.json"


def keep(result: ScanResult, file: Path | None = None) -> None:
    """Saves a result, readable by this user only, and replaces the previous one.

    Raises:
        ScanError: it cannot be written. The previous one stays.
    """
    from ..credentials.files import AuthorityError, write

    try:
        write(file or last_result_file(), msgspec.json.encode(result, enc_hook=str), secret=True)
    except AuthorityError as error:
        raise ScanError(f"The result was not kept. {error}") from None


def last_result(file: Path | None = None) -> ScanResult:
    """The result that was saved last.

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
    if not isinstance(text, str):  # a number would also be read as an address
        raise ValueError(f"{text!r} is not a text")  # noqa: TRY004 - what msgspec expects of a hook
    return kind(text)
