"""The databases of a run, and the way past the brokers: to what they hold, and to change it as an operator might.

Strategy: what is read here is read with the database's own driver and in plain words, not through the broker's code,
which is what is being judged.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pymongo
from pymongo.read_concern import ReadConcern
from tests.mongod import ReplicaSet, Server, three_members, with_database

from .history import MEMBER, Final, Line, Listing
from .proxy import Network, Proxy, free_ports

DATABASE = "afpools"

MAJORITY = ReadConcern("majority")
"""Everything that was acknowledged before the read began."""


class Member(Server):
    """A member of a replica set that everybody, the other members too, reaches through a proxy only.

    Args:
        folder: for its files.
        arguments: of mongod.
        network: where its proxy is.
    """

    def __init__(self, folder: Path, *arguments: str, network: Network) -> None:
        super().__init__(folder, *arguments)
        self.folder = folder
        self.port, outside = free_ports(2)
        self.proxy: Proxy = network.proxy(self.port, outside)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.proxy.port}"

    @property
    def uri(self) -> str:
        # Past the proxy: whoever breaks the network must still see what it does to the members.
        return f"mongodb://127.0.0.1:{self.port}/?directConnection=true"


class MongoSet:
    """A replica set of three, each member behind a proxy."""

    kind = "replica-set"

    def __init__(self, replica_set: ReplicaSet) -> None:
        self.replica_set = replica_set
        self.members: list[Member] = [member for member in replica_set.members if isinstance(member, Member)]
        self.uri = with_database(replica_set.uri, DATABASE)

    @contextmanager
    def database(self) -> Iterator[Any]:
        """The database as an operator sees it: the primary, past the proxies, writes by a majority."""
        primary = self.replica_set.primary
        with (
            pymongo.MongoClient[dict[str, Any]](primary.uri, w="majority", journal=True) as client,
            pymongo.timeout(20),
        ):
            yield client[DATABASE]

    def heal(self) -> None:
        """Restores it, whatever was done to it."""
        for member in self.members:
            member.proxy.heal()
            if member.running:
                member.resume()
        self.replica_set.restore()

    def final(self, pools: Sequence[str]) -> Final:
        """What it holds; of these pools, hosts and descriptions as well."""
        at = time.monotonic()
        with self.database() as database:
            database = database.with_options(read_concern=MAJORITY)
            found = list(database.pools.find({"deleted": {"$ne": True}}))
            registered = database.hosts.find_one({"_id": "registered"}) or {}
            # A change is in its pool first and in the history a moment later; whoever reads the history completes it.
            entries = {entry["_id"]: entry for entry in database.history.find({"changed": True})}
            for document in (*database.pools.find(), registered):
                change = document.get("change")
                if change and change.get("before") != change.get("after"):
                    entries.setdefault(change["id"], {**change, "_id": change["id"]})
        lines = tuple(
            Line(number, e["key"], e["op"], e["pool"], e["before"], e["after"]) for number, e in sorted(entries.items())
        )
        named = [(p["name"], [c["hostname"] for c in p["clients"]], p.get("description", "")) for p in found]
        return _final(at, pools, named, [c["hostname"] for c in registered.get("clients", ())], lines)


@contextmanager
def mongo_set(folder: Path, network: Network, prepare: Callable[[Path], None]) -> Iterator[MongoSet]:
    """A `MongoSet`, until the block ends.

    Args:
        folder: for its files; must not exist.
        network: where its proxies are.
        prepare: called with the folder of each member before it is used.
    """

    def make(place: Path, *arguments: str) -> Member:
        prepare(place)
        return Member(place, *arguments, network=network)

    folder.mkdir()
    with three_members(folder, make) as replica_set:
        yield MongoSet(replica_set)


class SqliteFile:
    """One SQLite file in a separate folder; arguments as for `mongo_set`."""

    kind = "sqlite"

    def __init__(self, folder: Path, prepare: Callable[[Path], None]) -> None:
        folder.mkdir()
        prepare(folder)
        self.folder = folder
        self.path = folder / "pools.sqlite"
        self.uri = f"sqlite:///{self.path}"

    def heal(self) -> None:
        """Nothing that was done to it stays."""

    def final(self, pools: Sequence[str]) -> Final:
        """What it holds; of these pools, hosts and descriptions as well."""
        at = time.monotonic()
        with closing(sqlite3.connect(self.path, timeout=20)) as db:
            rows = [
                (name, json.loads(hosts), description)
                for name, hosts, description in db.execute("SELECT name, hosts, description FROM pools")
            ]
            entries = [
                json.loads(text) for (text,) in db.execute("SELECT entry FROM history WHERE changed ORDER BY id")
            ]
        lines = tuple(Line(e["id"], e["key"], e["op"], e["pool"], e["before"], e["after"]) for e in entries)
        registered = [host for name, hosts, _ in rows if not name for host in hosts]
        return _final(at, pools, [row for row in rows if row[0]], registered, lines)


def _final(
    at: float,
    pools: Sequence[str],
    found: Sequence[tuple[str, Sequence[str], str]],
    registered: Sequence[str],
    lines: tuple[Line, ...],
) -> Final:
    holds: dict[str, Listing] = {
        "pools": {name: MEMBER for name, _, _ in found},
        "registered": dict.fromkeys(registered, MEMBER),
    }
    for name, hosts, description in found:
        if name in pools:
            holds[f"hosts:{name}"] = dict.fromkeys(hosts, MEMBER)
            holds[f"description:{name}"] = {"": description} if description else {}
    counts = Counter(name for name, _, _ in found)
    return Final(at, holds, lines, tuple(name for name, count in counts.items() if count > 1))
