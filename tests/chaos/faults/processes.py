"""Processes that die, or stop like a machine that swaps or sleeps."""

from __future__ import annotations

import signal
import threading

from ..brokers import BrokerProcess
from ..stores import Member, MongoSet
from ..world import World
from . import Fault

_REPLICA_SET = frozenset({"replica-set"})


class KillBroker(Fault):
    name = "kill-broker"
    about = "a broker is killed and started again"

    def begin(self) -> str:
        broker = self.dice.choice(self.world.brokers)
        self.undo.callback(broker.start)
        broker.kill()
        return broker.name


class StopBroker(Fault):
    name = "stop-broker"
    about = "a broker stops (SIGSTOP) and continues"

    def begin(self) -> str:
        broker = self.dice.choice(self.world.brokers)
        self.undo.callback(broker.signal, signal.SIGCONT)
        broker.signal(signal.SIGSTOP)
        return broker.name


class KillKeeper(Fault):
    name = "kill-keeper"
    about = "the broker that keeps the fences of running jobs is killed, and stays away until another has its lease"
    least = 20.0

    def begin(self) -> str:
        keeper = _keeper(self.world)
        self.undo.callback(keeper.start)
        keeper.kill()
        return keeper.name


class PauseKeeper(Fault):
    name = "pause-keeper"
    about = "the broker that keeps the fences stops (SIGSTOP), and continues once another has its lease"
    least = 20.0

    def begin(self) -> str:
        keeper = _keeper(self.world)
        self.undo.callback(keeper.signal, signal.SIGCONT)
        keeper.signal(signal.SIGSTOP)
        return keeper.name


class BlinkKeeper(Fault):
    name = "blink-keeper"
    about = "the broker that keeps the fences stops again and again, for less than its lease lasts"
    least = 15.0

    def begin(self) -> str:
        keeper = _keeper(self.world)
        over = threading.Event()
        thread = threading.Thread(target=self._blink, args=(keeper, over))
        self.undo.callback(keeper.signal, signal.SIGCONT)
        self.undo.callback(thread.join)
        self.undo.callback(over.set)
        thread.start()
        return keeper.name

    def _blink(self, keeper: BrokerProcess, over: threading.Event) -> None:
        while not over.is_set():
            keeper.signal(signal.SIGSTOP)
            over.wait(self.dice.uniform(0.5, 7.0))
            keeper.signal(signal.SIGCONT)
            over.wait(self.dice.uniform(0.05, 2.0))


def _keeper(world: World) -> BrokerProcess:
    """The broker that moved a fence last; the first one if none has yet."""
    return next((broker for broker in world.brokers if broker.name == world.farm.keeper), world.brokers[0])


class ForgetfulFarm(Fault):
    name = "restart-afserver"
    about = "afserver forgets its monitors, and all renders are off for a while"

    def begin(self) -> str:
        self.undo.callback(self.world.farm.renders_return)
        self.world.farm.restart()
        return ""


class _OnMember(Fault):
    """Something that happens to the primary in half of all cases, and to any member otherwise."""

    stores = _REPLICA_SET

    def choose(self) -> Member:
        store = self.world.store
        assert isinstance(store, MongoSet)
        primary = store.replica_set.primary
        chosen = self.dice.choice(store.members)
        if self.dice.random() < 0.5:
            chosen = next(member for member in store.members if member is primary)
        self.role = "primary" if chosen is primary else "secondary"
        return chosen


class KillMongod(_OnMember):
    name = "kill-mongod"
    about = "a member of the replica set is killed and started again"

    def begin(self) -> str:
        member = self.choose()
        self.undo.callback(_start_again, member)
        member.kill()
        return self.role


class StopMongod(_OnMember):
    name = "stop-mongod"
    about = "a member of the replica set stops (SIGSTOP) and continues, perhaps believing that it is still the primary"

    def begin(self) -> str:
        member = self.choose()
        self.undo.callback(member.resume)
        member.pause()
        return self.role


class NoMajority(Fault):
    name = "no-majority"
    about = "two of three members are killed and started again"
    stores = _REPLICA_SET

    def begin(self) -> str:
        store = self.world.store
        assert isinstance(store, MongoSet)
        for member in self.dice.sample(store.members, 2):
            self.undo.callback(_start_again, member)
            member.kill()
        return ""


def _start_again(member: Member) -> None:
    if not member.running:
        member.start()


FAULTS: list[type[Fault]] = [
    KillBroker,
    StopBroker,
    KillKeeper,
    PauseKeeper,
    BlinkKeeper,
    ForgetfulFarm,
    KillMongod,
    StopMongod,
    NoMajority,
]
