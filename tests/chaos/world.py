"""A studio of real processes: databases, brokers, clients, a stand-in for afserver, and the network between them.

Strategy: everything is started by one thread, kept in one `ExitStack`, and gone when the block ends, whatever state it
is in by then. Clients and brokers reach each other, and brokers their database, through proxies only; the two healthy
readers, which measure what one client's behaviour means to others, go to the first broker directly.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import msgspec
from tests.afserver import AfServer, afserver, renders_answer
from tests.command import AFPOOLS, environment

from afpools_broker.protocol import Role
from afpools_tools.authority import Authority

from .asking import Asker, Spec
from .brokers import BrokerProcess
from .clock import Clock
from .history import MEMBER, Attack, Cell, Final, History, Operation, Outcome, Recorder, Revocation, read
from .proxy import Network, Proxy, free_ports
from .stores import MongoSet, SqliteFile

POOLS = ("fx", "gpu", "night")
"""The pools that are there from beginning to end."""

ANCHOR = "anchor"
"""A host that is in every pool from beginning to end: an empty one would have no mask."""

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Size:
    """How much of everything.

    Args:
        writers: processes that change pools.
        readers: processes that read, for each transport.
        pause: seconds between two requests of one of them.
        scale: of attacks, and of the limits that they are aimed at; 1 for broker.toml's defaults.
    """

    writers: int = 2
    readers: int = 1
    pause: float = 0.03
    scale: float = 1.0


@dataclass
class Actor:
    """One client's process."""

    spec: Spec
    process: subprocess.Popen[bytes]


@dataclass
class World:
    """What a fault can break.

    Args:
        folder: everything is in here.
        store: the database.
        network: what lies between the parts.
        brokers: in the order in which clients know them.
        authority: who issued the credentials.
        farm: stands in for afserver.
        size: of it all.
        recorder: for what is done by hand.
        fronts: proxies in front of the brokers, by broker and transport.
        clock: that of the brokers, None where it is the machine's.
    """

    folder: Path
    store: MongoSet | SqliteFile
    network: Network
    brokers: list[BrokerProcess]
    authority: Authority
    farm: AfServer
    size: Size
    recorder: Recorder
    fronts: dict[tuple[str, str], Proxy]
    actors: list[Actor] = field(default_factory=list)
    revocations: list[Revocation] = field(default_factory=list)
    clock: Clock | None = None

    @property
    def quiet(self) -> Path:
        """While this file is there, writers change nothing."""
        return self.folder / "quiet"

    # --- clients ---

    def profile(self, name: str, role: Role, endpoints: Sequence[tuple[BrokerProcess, str]], *, direct: bool) -> Path:
        """A credential of its own, that leads to these brokers over these transports; a copy, as workstations have it,
        which stays when the authority takes the original back.

        Args:
            name: in the credential.
            role: in the credential.
            endpoints: brokers and transports, in the order of preference.
            direct: past the proxies.
        """
        folder = self.folder / "profiles" / name
        shutil.copytree(self.authority.issue_profile(name, role), folder)
        file = folder / "profile.json"
        document = json.loads(file.read_text())
        known = {(e["broker"], e["url"].partition(":")[0]): e for e in document["endpoints"]}
        document["endpoints"] = [
            {
                **known[broker.name, transport],
                "url": f"{transport}://127.0.0.1:"
                f"{broker.ports[transport] if direct else self.fronts[broker.name, transport].port}",
            }
            for broker, transport in endpoints
        ]
        file.write_text(json.dumps(document))
        return folder

    def start_actor(self, kind: str, name: str, profile: Path, *, seed: int, reconnects: int = 0) -> None:
        """Starts a process that asks.

        Args:
            kind: `reader` or `writer`.
            name: in the history.
            profile: its credential.
            seed: for its choices.
            reconnects: see `Spec`.
        """
        spec = Spec(
            actor=name,
            profile=str(profile),
            record=str(self.folder / "history" / f"{name}.jsonl"),
            seed=seed,
            pools=POOLS,
            pause=self.size.pause,
            quiet=str(self.quiet),
            reconnects=reconnects,
        )
        file = self.folder / "history" / f"{name}.json"
        file.write_bytes(msgspec.json.encode(spec))
        self.actors.append(Actor(spec, self.run(f"tests.chaos.{kind}", str(file), log=name)))

    def run(self, module: str, *arguments: str, log: str) -> subprocess.Popen[bytes]:
        """Starts one of our own modules as a process, its output in a file of the run."""
        with (self.folder / "logs" / f"{log}.log").open("ab") as file:
            return subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    def start_actors(self, seed: int) -> None:
        """Starts writers and readers, those of each transport with the brokers in another order."""
        for number in range(self.size.writers):
            transport = ("tls", "curve")[number % 2]
            first = self.brokers[number % len(self.brokers) :] + self.brokers[: number % len(self.brokers)]
            endpoints = [(broker, transport) for broker in first]
            profile = self.profile(f"writer-{number}", Role.MANAGER, endpoints, direct=False)
            self.start_actor("writer", f"writer-{number}", profile, seed=seed + number)
        for transport in ("tls", "curve"):
            for number in range(self.size.readers):
                name = f"reader-{transport}-{number}"
                endpoints = [(broker, transport) for broker in reversed(self.brokers)]
                profile = self.profile(name, Role.READER, endpoints, direct=False)
                self.start_actor("reader", name, profile, seed=seed + 100 + number)
            name = f"healthy-{transport}"
            profile = self.profile(name, Role.READER, [(self.brokers[0], transport)], direct=True)
            # New connections as well: a port that is full shows to nobody who is in already.
            self.start_actor("reader", name, profile, seed=seed + 200, reconnects=10)

    def stop_actors(self) -> None:
        """Lets everybody finish the request under way, and waits for it."""
        for actor in self.actors:
            actor.process.terminate()
        for actor in self.actors:
            try:
                actor.process.wait(30)
            except subprocess.TimeoutExpired:
                actor.process.kill()
                actor.process.wait()

    def kill_actors(self) -> None:
        """Ends them at once."""
        for actor in self.actors:
            actor.process.kill()
            actor.process.wait()

    def operations(self) -> Iterator[Operation]:
        """What was recorded so far."""
        return read(sorted((self.folder / "history").glob("*.jsonl")))

    # --- the run as a whole ---

    def heal(self) -> None:
        """Takes back every fault."""
        self.quiet.unlink(missing_ok=True)
        for proxy in self.network.proxies:
            proxy.heal()
        for broker in self.brokers:
            broker.signal(signal.SIGCONT)
        self.store.heal()
        for broker in self.brokers:
            broker.limit_descriptors(None)
            if not broker.running:
                broker.start()

    def history(self, final: Final, attacks: Sequence[Attack], healed: float) -> History:
        """Everything that happened.

        Args:
            final: what the store held in the end.
            attacks: what peers did.
            healed: since when nothing was broken any more.
        """
        return History(
            tuple(self.operations()),
            final,
            tuple(self.revocations),
            tuple(found for broker in self.brokers for found in broker.exits),
            tuple(attacks),
            tuple(actor.spec.actor for actor in self.actors if actor.spec.actor.startswith("healthy-")),
            healed,
        )


@contextmanager
def world(
    folder: Path,
    make_store: Callable[[Network], contextlib.AbstractContextManager[MongoSet | SqliteFile]],
    *,
    brokers: int,
    size: Size,
    command: Sequence[str] = (str(AFPOOLS), "serve"),
    clock: Clock | None = None,
) -> Iterator[World]:
    """A studio that runs until the block ends, with the pools that stay, and without clients yet.

    Args:
        folder: for everything; has to exist.
        make_store: makes the database.
        brokers: how many.
        size: of it all.
        command: what starts a broker.
        clock: that of the brokers; without, the machine's.
    """
    (folder / "history").mkdir()
    (folder / "logs").mkdir()
    with ExitStack() as stack:
        net = Network()
        stack.callback(net.close)
        store = stack.enter_context(make_store(net))
        farm = stack.enter_context(afserver())
        farm.renders = renders_answer([f"pc-{number:03d}" for number in range(1, 201)])
        authority = Authority.create(folder / "certs")
        made: list[BrokerProcess] = []
        fronts: dict[tuple[str, str], Proxy] = {}
        for name in ("alpha", "beta", "gamma")[:brokers]:
            tls, curve, tls_front, curve_front = free_ports(4)
            authority.issue_broker(name, ["127.0.0.1"], tls_port=tls, curve_port=curve)
            fronts[name, "tls"], fronts[name, "curve"] = net.proxy(tls, tls_front), net.proxy(curve, curve_front)
            config = folder / f"{name}.toml"
            config.write_text(_settings(name, store.uri, farm.address[1], tls, curve, size.scale))
            broker = BrokerProcess(
                name,
                list(command),
                config,
                folder / "logs" / f"{name}.log",
                {"tls": tls, "curve": curve},
                {**environment(folder), **(clock.variables if clock else {})},
            )
            stack.callback(broker.stop)
            broker.start()
            made.append(broker)
        file: BinaryIO = stack.enter_context((folder / "history" / "by-hand.jsonl").open("ab", buffering=0))
        place = World(folder, store, net, made, authority, farm, size, Recorder(file), fronts, clock=clock)
        stack.callback(place.kill_actors)
        _make_pools(place)
        yield place


def _settings(name: str, uri: str, farm: int, tls: int, curve: int, scale: float) -> str:
    return (
        f'[broker]\nname = "{name}"\n[store]\nuri = "{uri}"\n[farm]\nserver = "127.0.0.1:{farm}"\n'
        f"[tls]\nport = {tls}\n[curve]\nport = {curve}\n"
        # Soon enough that what waits for a heartbeat comes while a fault lasts.
        f"[limits]\nconnections = {max(50, int(2000 * scale))}\nheartbeat_seconds = 1\n"
    )


def _make_pools(place: World) -> None:
    """The pools that stay; asked for as every writer asks, so that the history begins with them."""
    profile = place.profile("setup", Role.MANAGER, [(place.brokers[0], "tls")], direct=True)
    spec = Spec("setup", str(profile), "", 0, POOLS, 0)
    asker = Asker(spec, place.recorder)
    for pool in POOLS:
        sets = (Cell("pools", pool, MEMBER), Cell(f"hosts:{pool}", ANCHOR, MEMBER))
        made = asker.write(
            "pools.create",
            lambda request_id, pool=pool: asker.client.create_pool(pool, [ANCHOR], request_id=request_id),  # type: ignore[misc]
            sets,
        )
        if made.outcome is not Outcome.OK:
            raise RuntimeError(f"The first pools cannot be made: {made.message}")
    asker.client.close()
