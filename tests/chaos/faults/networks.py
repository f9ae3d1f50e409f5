"""Networks that stop, go one way only, crawl, or break."""

from __future__ import annotations

from ..proxy import Proxy, Rule, Way
from ..stores import MongoSet
from . import Fault

_WAYS = {"both ways": Way.BOTH, "one way there": Way.THERE, "one way back": Way.BACK}


class _Partition(Fault):
    """Nothing passes some proxies, in both directions or in one; afterwards connections continue, or are reset."""

    stores = frozenset({"replica-set"})

    def hold(self, proxies: list[Proxy], pids: frozenset[int] = frozenset()) -> str:
        way = self.dice.choice(list(_WAYS))
        reset = self.dice.random() < 0.5
        for proxy in proxies:
            self.undo.callback(proxy.heal, reset=reset)
            proxy.obey(Rule(stops=_WAYS[way], pids=pids))
        return way


class PartitionMember(_Partition):
    name = "partition-member"
    about = "a member of the replica set, the primary in two of three cases, is cut off from everybody"

    def begin(self) -> str:
        store = self.world.store
        assert isinstance(store, MongoSet)
        primary = store.replica_set.primary
        member = self.dice.choice([*store.members, *(m for m in store.members if m is primary)])
        return f"{'primary' if member is primary else 'secondary'}, {self.hold([member.proxy])}"


class PartitionBroker(_Partition):
    name = "partition-broker"
    about = "a broker is cut off from the whole replica set, while the other one is not"

    def begin(self) -> str:
        store = self.world.store
        assert isinstance(store, MongoSet)
        broker = self.dice.choice(self.world.brokers)
        return f"{broker.name}, {self.hold([m.proxy for m in store.members], frozenset({broker.pid}))}"


class PartitionClients(_Partition):
    name = "partition-clients"
    about = "a broker is cut off from its clients"
    stores = frozenset({"replica-set", "sqlite"})

    def begin(self) -> str:
        broker = self.dice.choice(self.world.brokers)
        return f"{broker.name}, {self.hold([self.world.fronts[broker.name, t] for t in ('tls', 'curve')])}"


class Slow(Fault):
    name = "slow-network"
    about = "everything that passes takes a tenth to half of a second"

    def begin(self) -> str:
        delay = self.dice.choice((0.1, 0.25, 0.5))
        for proxy in self.world.network.proxies:
            self.undo.callback(proxy.heal)
            proxy.obey(Rule(delay=delay))
        return f"{delay} s"


class Reset(Fault):
    name = "reset"
    about = "a broker's clients are all cut off at once, and no new one gets through for a while"

    def begin(self) -> str:
        broker = self.dice.choice(self.world.brokers)
        for transport in ("tls", "curve"):
            proxy = self.world.fronts[broker.name, transport]
            self.undo.callback(proxy.heal)
            proxy.obey(Rule(refuses=True))
        return broker.name


FAULTS: list[type[Fault]] = [PartitionMember, PartitionBroker, PartitionClients, Slow, Reset]
