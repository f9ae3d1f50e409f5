"""The whole path at once, with real parts on both sides: replica set, single server, afserver's answers, stunnel."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pymongo
import pytest
import zmq
from tests.afserver import AfServer, afserver, renders_answer
from tests.conftest import need_mongod
from tests.mongod import ReplicaSet, Server, single_server, with_database
from tests.studio import Studio, studio

from afpools import BrokerUnreachable, Client, OutcomeUnknown, StoreUnavailable, UnknownPool
from afpools.profile import Profile
from afpools_broker.protocol import Role


def client(place: Studio, name: str, role: Role = Role.READER, timeout: float = 20.0) -> Client:
    return Client(Profile.load(str(place.profile(name, role))), timeout=timeout)


def wait_for(condition: Callable[[], Any], seconds: float = 60) -> None:
    """Waits until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not so after {seconds} seconds"
        time.sleep(0.02)


@contextmanager
def stunnel(place: Studio, profile: Path) -> Iterator[int]:
    """Debian's stunnel in client mode, as in docs/wire.md: a local port behind which is the broker's TLS port."""
    binary = shutil.which("stunnel")
    if binary is None:
        if os.environ.get("CI") == "true":
            pytest.fail("There is no stunnel: .ci/run installs Debian's stunnel4.", pytrace=False)
        pytest.skip("There is no stunnel (Debian: stunnel4).")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    configuration = place.folder / "stunnel.conf"
    configuration.write_text(
        f"foreground = yes\npid =\n[afpools]\nclient = yes\naccept = 127.0.0.1:{port}\n"
        f"connect = 127.0.0.1:{place.tls_port}\nCAfile = {profile}/ca.pem\ncert = {profile}/client.pem\n"
        "verifyChain = yes\ncheckIP = 127.0.0.1\n"
    )
    process = subprocess.Popen([binary, str(configuration)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: _is_open(port))
        yield port
    finally:
        process.terminate()
        process.wait(30)


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_the_seed_of_all_this(tmp_path: Path) -> None:
    """Farm pc-01 … pc-05 from afserver, pool {pc-01, pc-03}."""
    with afserver(renders_answer([f"pc-0{n}" for n in range(1, 6)])) as farm:
        address = f"127.0.0.1:{farm.address[1]}"
        with (
            studio(tmp_path, farm={"server": address}) as place,
            client(place, "anna", Role.MANAGER) as manager,
            client(place, "blender") as reader,
        ):
            manager.create_pool("fx", ["pc-01", "pc-03"])
            assert reader.exclude_mask("fx", style="list").mask == "pc-02|pc-04|pc-05"
            assert [pool.name for pool in reader.list_pools().pools] == ["fx"]


@pytest.mark.heavy
def test_a_stock_req_socket_behind_stunnel_gets_the_same_answer(tmp_path: Path) -> None:
    with studio(tmp_path) as place:
        with client(place, "anna", Role.MANAGER) as manager:
            manager.register_hosts(["pc-[01-05]"])
            manager.create_pool("fx", ["pc-01", "pc-03"])
        profile = place.profile("pipeline")
        question = b'{"v": 1, "id": "7f3a", "op": "mask", "params": {"pool": "fx"}}'
        with stunnel(place, profile) as port, zmq.Context.instance().socket(zmq.REQ) as sock:
            sock.linger, sock.rcvtimeo = 0, 30_000
            sock.connect(f"tcp://127.0.0.1:{port}")
            sock.send(question)
            behind_stunnel = json.loads(sock.recv())
            # libzmq's own heartbeats pass as well, and are answered.
            sock.send(b'{"v": 1, "op": "hello"}')
            assert json.loads(sock.recv())["result"]["name"] == "pipeline"
        with place.curve_request(profile) as sock:
            sock.send(question)
            over_curve = json.loads(sock.recv())
        assert behind_stunnel["result"]["mask"] == "pc-02|pc-04|pc-05"
        assert {**behind_stunnel["result"], "age": 0} == {**over_curve["result"], "age": 0}


@contextmanager
def two_brokers(tmp_path: Path, uri: str) -> Iterator[tuple[Studio, Studio]]:
    """Two brokers of one studio on one database."""
    database = with_database(uri, f"pools-{uuid.uuid4().hex[:8]}")
    store = {"uri": database}
    with ExitStack() as stack:
        first = stack.enter_context(studio(tmp_path, store=store, broker={"name": "broker"}))
        second = stack.enter_context(studio(tmp_path, store=store, broker={"name": "broker"}))
        yield first, second


def _sees_changes(first: Studio, second: Studio, uri: str) -> None:
    with (
        client(first, "anna", Role.MANAGER) as here,
        # Profiles are pointed at a broker when the client is made.
        client(second, "anna", Role.MANAGER) as there,
    ):
        here.register_hosts(["pc-[01-05]"])
        here.create_pool("fx", ["pc-01"])
        wait_for(lambda: [p.name for p in there.list_pools().pools] == ["fx"])
        there.add_hosts("fx", ["pc-03"])
        wait_for(lambda: here.exclude_mask("fx", style="list").mask == "pc-02|pc-04|pc-05")
        database = first.broker.config.store.uri.rpartition("/")[2].partition("?")[0]
        with pymongo.MongoClient(uri) as mongo:
            mongo[database].pools.update_one({"name": "fx"}, {"$push": {"clients": {"hostname": "pc-05"}}})
        for seen in (here, there):
            wait_for(lambda seen=seen: seen.exclude_mask("fx", style="list").mask == "pc-02|pc-04")


@pytest.mark.heavy
def test_two_brokers_on_a_replica_set_see_each_other_and_hands(tmp_path: Path, replica_set: ReplicaSet) -> None:
    with two_brokers(tmp_path, replica_set.uri) as (first, second):
        _sees_changes(first, second, replica_set.uri)


@pytest.mark.heavy
def test_two_brokers_on_a_single_server_see_each_other_and_hands(tmp_path: Path, mongod: str) -> None:
    with two_brokers(tmp_path, mongod) as (first, second):
        _sees_changes(first, second, mongod)


@pytest.mark.heavy
def test_a_primary_that_dies_costs_no_acknowledged_change(tmp_path: Path, replica_set: ReplicaSet) -> None:
    with (
        two_brokers(tmp_path, replica_set.uri) as (first, _),
        client(first, "anna", Role.MANAGER, timeout=20.0) as manager,
    ):
        manager.create_pool("fx")
        replica_set.primary.kill()
        acknowledged = []
        deadline = time.monotonic() + 120
        for number in range(20):
            request_id = f"add-{number}"
            while time.monotonic() < deadline:
                try:
                    manager.add_hosts("fx", [f"pc-{number}"], request_id=request_id)
                except (StoreUnavailable, BrokerUnreachable, OutcomeUnknown):
                    # Reads continue meanwhile, from memory.
                    assert manager.list_pools().pools[0].name == "fx"
                    time.sleep(0.2)
                    continue
                acknowledged.append(f"pc-{number}")
                break
        assert len(acknowledged) == 20
        assert sorted(manager.get_pool("fx").hosts) == sorted(acknowledged)
        entries = manager.history("fx", limit=100)
        assert len([entry for entry in entries if entry.op == "pools.add_hosts"]) == 20


@pytest.mark.heavy
def test_a_database_that_becomes_unreachable_and_comes_back(tmp_path: Path) -> None:
    with single_server_here(tmp_path / "mongod") as server:
        uri = with_database(server.uri, "afpools")
        with (
            studio(tmp_path / "studio", store={"uri": uri, "poll_seconds": 0.2}) as place,
            client(place, "anna", Role.MANAGER, timeout=20.0) as manager,
        ):
            manager.register_hosts(["pc-[01-05]"])
            manager.create_pool("fx", ["pc-01", "pc-03"])
            server.kill()
            wait_for(lambda: manager.health()["status"] == "degraded")
            with pytest.raises((StoreUnavailable, OutcomeUnknown), match=r"127\.0\.0\.1"):
                manager.add_hosts("fx", ["pc-02"])
            assert manager.exclude_mask("fx", style="list").mask == "pc-02|pc-04|pc-05"
            wait_for(lambda: manager.list_pools().age > 1)
            with pytest.raises(UnknownPool):
                manager.get_pool("none")
            server.start()
            wait_for(lambda: manager.health()["status"] == "healthy")
            manager.add_hosts("fx", ["pc-02"])
            assert len(manager.get_pool("fx").hosts) == 3
            wait_for(lambda: manager.list_pools().age < 2)


@pytest.mark.heavy
def test_a_broker_that_starts_without_its_database_says_so_and_finds_it_later(tmp_path: Path) -> None:
    with single_server_here(tmp_path / "mongod") as server:
        server.kill()
        with (
            studio(tmp_path / "studio", store={"uri": with_database(server.uri, "afpools")}) as place,
            client(place, "anna", Role.MANAGER) as manager,
        ):
            with pytest.raises(StoreUnavailable, match="does not know the pools yet"):
                manager.list_pools()
            assert manager.health()["status"] == "degraded"
            server.start()
            wait_for(lambda: manager.health()["status"] == "healthy")
            assert manager.list_pools().pools == ()


@contextmanager
def single_server_here(folder: Path) -> Iterator[Server]:
    """A separate mongod for a test to kill."""
    need_mongod()
    folder.mkdir()
    with single_server(folder) as server:
        yield server


@pytest.mark.heavy
def test_a_client_uses_the_other_broker_if_one_is_down(tmp_path: Path, replica_set: ReplicaSet) -> None:
    with two_brokers(tmp_path, replica_set.uri) as (first, second):
        profile = Profile.load(str(first.profile("anna", Role.MANAGER)))
        tls = profile.endpoints[0]
        both = tuple(
            tls._replace(url=f"tls://127.0.0.1:{place.tls_port}", broker=str(place.tls_port))
            for place in (first, second)
        )
        with Client(profile._replace(endpoints=both), timeout=20) as manager:
            manager.create_pool("fx", ["pc-01"])
            first.broker.stop()
            manager.add_hosts("fx", ["pc-02"])
            assert manager.get_pool("fx").hosts == ("pc-01", "pc-02")
            first.broker.stop()


@pytest.mark.heavy
def test_afserver_that_stops_answering_makes_the_list_older_not_shorter(tmp_path: Path) -> None:
    with afserver(renders_answer([f"pc-0{n}" for n in range(1, 6)])) as farm:
        address = f"127.0.0.1:{farm.address[1]}"
        with (
            studio(tmp_path, farm={"server": address, "interval": 0.1, "timeout": 0.5}) as place,
            client(place, "anna", Role.MANAGER) as manager,
        ):
            manager.create_pool("fx", ["pc-01", "pc-03"])
            for mood in ("silent", "cut", "rubbish", "dribble"):
                farm.mood = mood
                wait_for(lambda: manager.health()["farm"]["error"])
                assert manager.exclude_mask("fx", style="list").mask == "pc-02|pc-04|pc-05"
                farm.mood = "well"
                wait_for(lambda: not manager.health()["farm"]["error"])
            farm.renders = renders_answer([f"pc-0{n}" for n in range(1, 7)])
            wait_for(lambda: manager.exclude_mask("fx", style="list").mask == "pc-02|pc-04|pc-05|pc-06")


@pytest.mark.heavy
def test_afserver_killed_and_restarted_under_load_gives_no_wrong_mask(tmp_path: Path) -> None:
    farms = {True: [f"pc-0{n}" for n in range(1, 6)], False: [f"pc-0{n}" for n in range(1, 8)]}
    masks = {"|".join(name for name in farm if name not in ("pc-01", "pc-03")) for farm in farms.values()}
    server = AfServer(renders_answer(farms[True]))
    port = server.address[1]
    with studio(tmp_path, farm={"server": f"127.0.0.1:{port}", "interval": 0.05, "timeout": 1}) as place:
        profile = Profile.load(str(place.profile("anna", Role.MANAGER)))
        with Client(profile, timeout=30.0) as manager:
            manager.create_pool("fx", ["pc-01", "pc-03"])
            stop, wrong, count = threading.Event(), [], [0]

            def load() -> None:
                with Client(profile, timeout=30.0) as client:
                    while not stop.is_set():
                        for style in ("list", "complement"):
                            mask = client.exclude_mask("fx", style=style)
                            if (mask.mask not in masks) if style == "list" else (mask.mask != "(?!pc-0[13]$).*"):
                                wrong.append(mask)
                            count[0] += 1

            threads = [threading.Thread(target=load) for _ in range(3)]
            for thread in threads:
                thread.start()
            for turn in range(6):
                server.stop()
                time.sleep(0.2)
                # With its list from the start: the broker may ask before the next line runs.
                server = AfServer(renders_answer(farms[bool(turn % 2)]), port)
                wait_for(lambda: not manager.health()["farm"]["error"])
                so_far = count[0]
                wait_for(lambda so_far=so_far: count[0] > so_far + 10)
            stop.set()
            for thread in threads:
                thread.join()
            server.stop()
            assert wrong == []
            assert "mask" not in manager.health()["errors"]
