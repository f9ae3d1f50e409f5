"""Peers that do their worst to the first broker, each as a fault. What they do is in peers/."""

from __future__ import annotations

import subprocess
import time

import msgspec
from tests.afserver import renders_answer

from afpools_broker.protocol import Role

from ..history import Outcome, Revocation, read
from ..peers import PeerSpec
from ..peers.catalogue import PEERS
from ..world import KEYS_SECONDS
from . import Fault, NotCarriedOut

_ANSWERED_WITHIN = 10.0


class _Attack(Fault):
    """One peer, with its own reader credential."""

    is_attack = True
    least = 12.0

    def begin(self) -> str:
        broker = self.world.brokers[0]
        self._name = f"{self.name}-{self.dice.randrange(10**9)}"
        endpoints = [(broker, "tls"), (broker, "curve")]
        self._profile = self.world.profile(self._name, Role.READER, endpoints, direct=True)
        time.sleep(KEYS_SECONDS)
        document = msgspec.json.decode((self._profile / "profile.json").read_bytes())
        spec = PeerSpec(
            profile=str(self._profile),
            server_key=next(e["server_key"] for e in document["endpoints"] if "server_key" in e),
            tls=broker.ports["tls"],
            curve=broker.ports["curve"],
            scale=self.world.size.scale,
            seed=self.dice.randrange(2**32),
        )
        file = self.world.folder / "history" / f"{self._name}.peer.json"
        file.write_bytes(msgspec.json.encode(spec))
        self.undo.callback(
            self._end_peer, self.world.run("tests.chaos.peers", self.name, str(file), log=f"peer-{self.name}")
        )
        return self._name

    def _end_peer(self, process: subprocess.Popen[bytes]) -> None:
        ended = process.poll()
        process.kill()
        process.wait()
        if ended is not None:
            log = (self.world.folder / "logs" / f"peer-{self.name}.log").read_text()
            raise NotCarriedOut(f"the peer ended by itself ({ended}): {log.strip().rpartition(chr(10))[2]}")


def _about(peer: str) -> str:
    return (PEERS[peer].__doc__ or "").removesuffix(".")


class Unread(_Attack):
    """The farm is large meanwhile."""

    name = "unread"
    about = _about("unread")
    least = 20.0

    def begin(self) -> str:
        self.undo.callback(setattr, self.world.farm, "renders", self.world.farm.renders)
        count = max(200, int(6000 * self.world.size.scale))
        self.world.farm.renders = renders_answer([f"pc-{number:04d}" for number in range(1, count + 1)])
        # afserver is asked every five seconds.
        time.sleep(6)
        return super().begin()


class Revoked(_Attack):
    """Two ordinary readers have the same credential: they record what they are told."""

    name = "revoked"
    about = "a credential is revoked while its connections are open, and keeps asking over all of them"

    def begin(self) -> str:
        name = super().begin()
        self.undo.callback(self._end_readers, len(self.world.actors))
        for transport in ("tls", "curve"):
            self.world.start_actor("reader", f"{name}-{transport}", self._profile, seed=self.dice.randrange(2**32))
        self._wait_for_answers(name)
        self.world.authority.revoke(name)
        self.world.revocations.append(Revocation(name, time.monotonic()))
        return name

    def _wait_for_answers(self, name: str) -> None:
        files = [self.world.folder / "history" / f"{name}-{transport}.jsonl" for transport in ("tls", "curve")]
        until = time.monotonic() + _ANSWERED_WITHIN
        while time.monotonic() < until:
            if all(file.exists() and any(o.outcome is Outcome.OK for o in read([file])) for file in files):
                return
            time.sleep(0.1)

    def _end_readers(self, first: int) -> None:
        for actor in self.world.actors[first:]:
            actor.process.kill()
            actor.process.wait()
        del self.world.actors[first:]


# There are hundreds of handshakes first, or unread data must pile up.
_SLOW = ("idle", "half-message", "no-certificate")

_OWN = {fault.name: fault for fault in (Unread, Revoked)}

FAULTS: list[type[Fault]] = [
    _OWN.get(peer)
    or type(peer, (_Attack,), {"name": peer, "about": _about(peer), "least": 20.0 if peer in _SLOW else 12.0})
    for peer in PEERS
]
