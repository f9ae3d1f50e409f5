"""Processes that die, or stop as a machine does that swaps or sleeps."""

from __future__ import annotations

import signal

from ..stores import Member, MongoSet
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


class _OnMember(Fault):
    """Something that happens to the primary in one half of all cases, and to any member in the other."""

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


FAULTS: list[type[Fault]] = [KillBroker, StopBroker, KillMongod, StopMongod, NoMajority]
