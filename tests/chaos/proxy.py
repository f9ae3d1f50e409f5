"""A network that does what it is told: TCP connections that stop, crawl, go one way only, or break.

Strategy: every connection between two parts of a run goes through a `Proxy`, all of them on one event loop in one
thread. What a partition holds back is kept and passed on when it ends, as TCP itself would send it again; a connection
that must not survive is reset. A rule may be about some processes only: whose connection it is, the system is asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Flag, auto

import psutil

_CHUNK = 65536


class Way(Flag):
    """A direction, seen from the connecting side."""

    NEITHER = 0
    THERE = auto()
    BACK = auto()
    BOTH = THERE | BACK


@dataclass(frozen=True)
class Rule:
    """What happens to connections.

    Args:
        stops: nothing passes this way.
        delay: seconds that everything takes.
        refuses: whoever connects is cut off at once.
        pids: only connections of these processes; all if there are none.
    """

    stops: Way = Way.NEITHER
    delay: float = 0.0
    refuses: bool = False
    pids: frozenset[int] = frozenset()


@dataclass(eq=False)
class _Link:
    port: int
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    def belongs_to(self, pids: frozenset[int]) -> bool:
        if not pids:
            return True
        for pid in pids:
            with contextlib.suppress(psutil.Error):
                if any(c.laddr and c.laddr.port == self.port for c in psutil.Process(pid).net_connections("tcp")):
                    return True
        return False

    def reset(self) -> None:
        for writer in self.writers:
            sock = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                # A reset rather than an orderly close: what a machine sends that was switched off and on again.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


class Proxy:
    """Passes on what comes to one port of 127.0.0.1 to another one.

    Args:
        network: whose event loop it runs on.
        target: where it leads.
        port: where it listens.
    """

    def __init__(self, network: Network, target: int, port: int) -> None:
        self._network = network
        self._target = target
        self.port = port
        self._links: set[_Link] = set()
        self._rule = Rule()
        self._stopped: set[_Link] = set()
        self._changed = asyncio.Event()

    def obey(self, rule: Rule) -> None:
        """Applies `rule` from now on, and no other."""
        self._network.call(self._obey(rule))

    def heal(self, *, reset: bool = False) -> None:
        """Applies no rule from now on; with `reset`, stopped connections break."""
        stopped = set(self._stopped)
        self.obey(Rule())
        if reset:
            self._network.call(self._reset(stopped))

    async def _obey(self, rule: Rule) -> None:
        self._rule = rule
        ruled = {link for link in self._links if link.belongs_to(rule.pids)}
        self._stopped = ruled if rule.stops else set()
        if rule.refuses:
            await self._reset(ruled)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _reset(self, links: set[_Link]) -> None:
        for link in links:
            link.reset()

    async def listen(self) -> None:
        """Opens the port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, backlog=1024)

    async def close(self) -> None:
        """Closes the port and breaks all connections."""
        self._server.close()
        await self._reset(set(self._links))

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")
        link = _Link(peer[1] if peer else 0, [writer])
        ruled = link.belongs_to(self._rule.pids)
        if self._rule.refuses and ruled:
            link.reset()
            return
        self._links.add(link)
        if self._rule.stops and ruled:
            self._stopped.add(link)
        try:
            await self._passes(link, Way.THERE)
            there, onward = await asyncio.open_connection("127.0.0.1", self._target)
            link.writers.append(onward)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(link, reader, onward, Way.THERE))
                both.create_task(self._pump(link, there, writer, Way.BACK))
        # Only the end of the network cancels this, and Python 3.11 logs an error for a task that ends cancelled here.
        except* (OSError, asyncio.CancelledError):
            pass
        finally:
            link.reset()
            self._links.discard(link)
            self._stopped.discard(link)

    async def _passes(self, link: _Link, way: Way) -> None:
        while self._rule.stops & way and link in self._stopped:
            await self._changed.wait()

    async def _pump(self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way) -> None:
        while data := await reader.read(_CHUNK):
            if self._rule.delay:
                await asyncio.sleep(self._rule.delay)
            await self._passes(link, way)
            writer.write(data)
            await writer.drain()
        # The end is also forwarded; data in progress the other way still arrives.
        with contextlib.suppress(OSError):
            writer.write_eof()


class Network:
    """Proxies, and the thread that runs them."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="chaos-network", daemon=True)
        self._thread.start()
        self.proxies: list[Proxy] = []

    def call(self, work: Coroutine[None, None, None]) -> None:
        """Does something on the thread, and waits for its end."""
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def proxy(self, target: int, port: int) -> Proxy:
        """A new proxy for the port `target`, at `port`."""
        made = Proxy(self, target, port)
        self.call(made.listen())
        self.proxies.append(made)
        return made

    def close(self) -> None:
        """Breaks everything, and ends the thread."""
        for proxy in self.proxies:
            self.call(proxy.close())
        self.call(_end_all_others())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


async def _end_all_others() -> None:
    """Cancels every other task of this loop, and waits until they end; otherwise, what a partition holds back would
    wait forever."""
    # A connection that is just being accepted becomes another task.
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        for task in others:
            task.cancel()
        await asyncio.wait(others)


@contextmanager
def network() -> Iterator[Network]:
    """A `Network` that is closed when the block ends."""
    made = Network()
    try:
        yield made
    finally:
        made.close()


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 below those that the system assigns to outgoing connections: with thousands of connections, a
    server that is restarted on its port might find it taken."""
    found: list[int] = []
    for port in random.SystemRandom().sample(range(10_000, 32_000), 5_000):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError("127.0.0.1 has no free ports between 10000 and 32000.")
