"""Real MongoDB servers for tests: a single one, and a replica set whose members can be killed.

Every server listens on 127.0.0.1 on a port the system chose, keeps its files in a temporary folder, and is gone when
its context ends.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pymongo
from pymongo.errors import PyMongoError

_START_SECONDS = 30
_REPLICA_SET = "afpools"


def binary() -> Path | None:
    """The mongod to test with: `$AFPOOLS_MONGOD`, the development extra's, or the machine's own; None without any."""
    named = os.environ.get("AFPOOLS_MONGOD")
    if named:
        return Path(named)
    # Not imported: the package asks for more than its binary.
    for location in _locations("fiftyone"):
        found = Path(location, "db", "bin", "mongod")
        if found.is_file():
            return found
    installed = shutil.which("mongod")
    return Path(installed) if installed else None


def _locations(package: str) -> list[str]:
    spec = importlib.util.find_spec(package)
    return list(spec.submodule_search_locations or ()) if spec else []


def with_database(uri: str, database: str) -> str:
    """`uri` with the name of a database in it."""
    head, _, options = uri.partition("?")
    return f"{head.rstrip('/')}/{database}" + (f"?{options}" if options else "")


class Server:
    """One mongod process.

    Args:
        folder: for its files; has to exist.
        arguments: further command line arguments.
        options: what a client needs besides the address, such as `tls=True`.
    """

    def __init__(self, folder: Path, *arguments: str, **options: Any) -> None:
        self._folder = folder
        self._arguments = arguments
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    @property
    def uri(self) -> str:
        """The address of this very server, whatever replica set it belongs to."""
        return f"mongodb://{self.address}/?directConnection=true"

    def start(self) -> None:
        """Starts it, again on the port it had before, and waits until it answers."""
        # Another program can take a port after we have looked for a free one and before mongod binds it.
        for _attempt in range(1 if self.port else 5):
            port = self.port or _free_port()
            if self._start(port):
                self.port = port
                return
        raise RuntimeError(f"mongod does not start:\n{(self._folder / 'mongod.log').read_text()[-3000:]}")

    def _start(self, port: int) -> bool:
        mongod = binary()
        assert mongod is not None
        command = [
            *(str(mongod), "--bind_ip", "127.0.0.1", "--port", str(port), "--dbpath", str(self._folder)),
            *("--logpath", str(self._folder / "mongod.log"), "--logappend", "--nounixsocket"),
            *("--wiredTigerCacheSizeGB", "0.25", "--setParameter", "diagnosticDataCollectionEnabled=false"),
            *self._arguments,
        ]
        # Ctrl-C is for the parent process, which decides what ends and when.
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        deadline = time.monotonic() + _START_SECONDS
        with pymongo.MongoClient[Any](f"mongodb://127.0.0.1:{port}/?directConnection=true", **self._options) as client:
            while time.monotonic() < deadline and self._process.poll() is None:
                try:
                    with pymongo.timeout(1):
                        client.admin.command("ping")
                except PyMongoError:
                    time.sleep(0.05)
                else:
                    return True
        self.kill()
        return False

    def kill(self) -> None:
        """Ends it as a power cut would."""
        self._signal(signal.SIGKILL)

    def stop(self) -> None:
        """Ends it as an administrator would."""
        self._signal(signal.SIGTERM)

    def pause(self) -> None:
        """Freezes it: it neither answers nor closes its connections."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Lets it continue from where it was paused."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(_START_SECONDS)
            self._process = None

    @property
    def running(self) -> bool:
        """Whether the process exists."""
        return self._process is not None and self._process.poll() is None


class ReplicaSet:
    """Three servers that elect a primary within about two seconds."""

    def __init__(self, members: list[Server]) -> None:
        self.members = members

    @property
    def uri(self) -> str:
        """The address of the whole set."""
        return f"mongodb://{','.join(member.address for member in self.members)}/?replicaSet={_REPLICA_SET}"

    def initiate(self) -> None:
        """Makes one set of the running servers."""
        config = {
            "_id": _REPLICA_SET,
            "members": [{"_id": number, "host": member.address} for number, member in enumerate(self.members)],
            # A studio's set takes ten seconds to notice that its primary is gone; a test need not.
            "settings": {"electionTimeoutMillis": 1500, "heartbeatIntervalMillis": 300},
        }
        with pymongo.MongoClient(self.members[0].uri) as client:
            client.admin.command("replSetInitiate", config)
        self.wait()

    def wait(self, *, primary: bool = True) -> None:
        """Waits until every running member is up to date and, if `primary`, one of them takes writes."""
        deadline = time.monotonic() + _START_SECONDS
        states: dict[str, str] = {}
        while time.monotonic() < deadline:
            states = self.states()
            running = [states.get(member.address, "") for member in self.members if member.running]
            if all(state in ("PRIMARY", "SECONDARY") for state in running) and ("PRIMARY" in running or not primary):
                try:
                    with pymongo.MongoClient(self.uri, w="majority") as client, pymongo.timeout(5):
                        client["wait"]["wait"].update_one({"_id": 1}, {"$inc": {"n": 1}}, upsert=True)
                except PyMongoError:
                    continue
                return
            time.sleep(0.1)
        raise RuntimeError(f"The replica set is not ready: {states}")

    def states(self) -> dict[str, str]:
        """What each running member reports about itself, by address."""
        return {member.address: _state(member) for member in self.members if member.running}

    @property
    def primary(self) -> Server:
        """The member that accepts writes now."""
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            for member in self.members:
                if member.running and _state(member) == "PRIMARY":
                    return member
            time.sleep(0.1)
        raise RuntimeError(f"The replica set has no primary: {self.states()}")

    def step_down(self) -> None:
        """Makes the primary hand over."""
        with pymongo.MongoClient(self.primary.uri) as client:
            client.admin.command("replSetStepDown", 10, secondaryCatchUpPeriodSecs=5)

    def restore(self) -> None:
        """Starts whatever was killed, and waits until the set is whole."""
        for member in self.members:
            if not member.running:
                member.kill()
                member.start()
        self.wait()


def _state(member: Server) -> str:
    try:
        with pymongo.MongoClient[dict[str, Any]](member.uri) as client, pymongo.timeout(2):
            hello = client.admin.command("hello")
    except PyMongoError:
        return "DOWN"
    return "PRIMARY" if hello.get("isWritablePrimary") else "SECONDARY" if hello.get("secondary") else "OTHER"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def single_server(folder: Path, *arguments: str) -> Iterator[Server]:
    """A server without a replica set, until the context ends."""
    server = Server(folder, *arguments)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@contextmanager
def three_members(folder: Path, make: Callable[..., Server] = Server) -> Iterator[ReplicaSet]:
    """A replica set, until the context ends.

    Args:
        folder: for its files; has to exist.
        make: what makes a member, with the arguments of `Server`.
    """
    members = []
    for number in range(3):
        (folder / str(number)).mkdir()
        members.append(make(folder / str(number), "--replSet", _REPLICA_SET, "--oplogSize", "50"))
    try:
        for member in members:
            member.start()
        replica_set = ReplicaSet(members)
        replica_set.initiate()
        yield replica_set
    finally:
        for member in members:
            member.kill()
