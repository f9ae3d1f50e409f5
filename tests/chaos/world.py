"""A studio of real processes: databases, brokers, clients, a stand-in for afserver, and the network between them.

Strategy: clients and brokers reach each other, and brokers their database, through proxies only; the two healthy
readers, which measure what one client's behaviour means to others, go to the first broker directly.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from afpools_broker.protocol import Role
from afpools_tools.credentials.authority import Authority

from .asking import Spec
from .brokers import BrokerProcess
from .clock import Clock
from .farm import Farm
from .history import Attack, Final, History, Operation, Recorder, Revocation, read
from .proxy import Network, Proxy
from .stores import MongoSet, SqliteFile

POOLS = ("fx", "gpu", "night")
"""The pools that exist from beginning to end."""

ANCHOR = "anchor"
"""A host that is in every pool from beginning to end: an empty one would have no mask."""

KEYS_SECONDS = 1.5
"""After this many seconds, brokers know a new key: they check once a second."""

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Size:
    """The sizes of everything.

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
    farm: Farm
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
        """A separate credential that leads to these brokers over these transports; a copy, as on workstations, which
        remains when the authority revokes the original.

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
        """Starts a client process.

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
        wanted: list[tuple[str, str, Path, int, int]] = []
        for number in range(self.size.writers):
            name, transport = f"writer-{number}", ("tls", "curve")[number % 2]
            first = self.brokers[number % len(self.brokers) :] + self.brokers[: number % len(self.brokers)]
            profile = self.profile(name, Role.MANAGER, [(broker, transport) for broker in first], direct=False)
            wanted.append(("writer", name, profile, seed + number, 0))
        for transport in ("tls", "curve"):
            for number in range(self.size.readers):
                name = f"reader-{transport}-{number}"
                endpoints = [(broker, transport) for broker in reversed(self.brokers)]
                profile = self.profile(name, Role.READER, endpoints, direct=False)
                wanted.append(("reader", name, profile, seed + 100 + number, 0))
            name = f"healthy-{transport}"
            profile = self.profile(name, Role.READER, [(self.brokers[0], transport)], direct=True)
            # New connections as well, because clients that are already connected do not notice a full port.
            wanted.append(("reader", name, profile, seed + 200, 10))
        time.sleep(KEYS_SECONDS)
        for kind, name, profile, number, reconnects in wanted:
            self.start_actor(kind, name, profile, seed=number, reconnects=reconnects)

    def stop_actors(self) -> None:
        """Lets everybody finish the request in progress, and waits for it."""
        for actor in self.actors:
            actor.process.terminate()
        for actor in self.actors:
            try:
                actor.process.wait(30)
            except subprocess.TimeoutExpired:
                actor.process.kill()
                actor.process.wait()

    def kill_actors(self) -> None:
        """Kills them at once."""
        for actor in self.actors:
            actor.process.kill()
            actor.process.wait()

    def operations(self) -> Iterator[Operation]:
        """What has been recorded so far."""
        return read(sorted((self.folder / "history").glob("*.jsonl")))

    # --- the run as a whole ---

    def heal(self) -> None:
        """Ends every fault."""
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
        operations = tuple(self.operations())
        hosts = {cell.key for o in operations for cell in o.sets if cell.scope.startswith("hosts:")}
        return History(
            operations,
            final,
            tuple(self.revocations),
            tuple(found for broker in self.brokers for found in broker.exits),
            tuple(attacks),
            tuple(actor.spec.actor for actor in self.actors if actor.spec.actor.startswith("healthy-")),
            healed,
            self.farm.fences(hosts),
        )
