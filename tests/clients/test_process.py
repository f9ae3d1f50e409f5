"""A process that is forked from one that uses the library: both work, each over its own connections."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.studio import Studio, studio

from afpools import Client, Profile
from afpools_broker.protocol import Role

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows does not fork."),
]

# The beginning of all programs below. A child that hangs is ended by its alarm, and distinguished from one that fails.
BEGIN = """
import json, multiprocessing, os, signal, sys, threading, time
from afpools import Client, Profile
from afpools.pool_menu import PoolMenu

folder, scheme = sys.argv[1:]
profile = Profile.load(folder)
profile = profile._replace(endpoints=tuple(e for e in profile.endpoints if e.scheme == scheme)[:1])

def in_child(work):
    pid = os.fork()
    if not pid:
        signal.alarm(60)
        work()
        sys.exit(0)
    return pid

def ended(pid):
    "0 for a child that ended well."
    return os.waitpid(pid, 0)[1]

def connections(client):
    return client.health()["connections"].get(scheme.upper(), 0)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    with studio(tmp_path_factory.mktemp("fork")) as made:
        folder = made.profile("anna", Role.MANAGER)
        with Client(Profile.load(str(folder)), timeout=30) as client:
            client.create_pool("fx", ["pc-01"])
        yield made


def run(place: Studio, scheme: str, program: str, **changes: Any) -> Any:
    """Runs a program of these lines, and returns the JSON that it prints."""
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + program, str(place.profile("anna")), scheme],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **changes,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


both = pytest.mark.parametrize("scheme", ["tls", "curve"])


@both
def test_four_children_and_their_parent_all_get_answers(place: Studio, scheme: str) -> None:
    found = run(
        place,
        scheme,
        """
client = Client(profile, timeout=20)
client.hello()
mine = client._own.connection
before = connections(client)

def ask():
    for _ in range(20):
        assert client.get_pool("fx").hosts == ("pc-01",)
    assert client._own.connection is not mine

pids = [in_child(ask) for _ in range(4)]
for _ in range(20):
    assert client.get_pool("fx").hosts == ("pc-01",)
ends = [ended(pid) for pid in pids]
client.hello()
print(json.dumps([ends, client._own.connection is mine]))
""",
    )
    assert found == [[0, 0, 0, 0], True]


@both
def test_a_child_that_closes_or_ends_leaves_the_parents_session_alone(place: Studio, scheme: str) -> None:
    found = run(
        place,
        scheme,
        """
import gc
with Client(profile, timeout=20) as client:
    client.hello()
    mine = client._own.connection

    def close():
        client.close()
        client._owned._made = {}
        gc.collect()

    ends = [ended(in_child(close)), ended(in_child(lambda: None)), ended(in_child(lambda: client.__exit__()))]
    for _ in range(3):
        client.hello()
    print(json.dumps([ends, client._own.connection is mine]))
""",
    )
    assert found == [[0, 0, 0], True]


@both
def test_a_fork_in_the_middle_of_another_threads_call_breaks_nothing(place: Studio, scheme: str) -> None:
    found = run(
        place,
        scheme,
        """
client = Client(profile, timeout=20)
stop, wrong = threading.Event(), []

def load():
    while not stop.is_set():
        try:
            client.get_pool("fx")
        except Exception as error:
            wrong.append(str(error))

threads = [threading.Thread(target=load) for _ in range(3)]
for thread in threads:
    thread.start()
ends = []
for _ in range(10):
    # Nearly always held by one of the threads.
    while not client._own.lock.locked():
        pass
    ends.append(ended(in_child(lambda: client.get_pool("fx"))))
stop.set()
for thread in threads:
    thread.join()
print(json.dumps([ends, wrong]))
""",
    )
    assert found == [[0] * 10, []]


def test_a_fork_waits_briefly_for_what_it_must_not_interrupt(place: Studio) -> None:
    found = run(
        place,
        "tls",
        """
from afpools import process

def child_sees(seconds, hold):
    process._LONGEST_WAIT = seconds
    inside, left = threading.Event(), []

    def work():
        with process.Uncut():
            inside.set()
            hold()
        left.append(1)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    inside.wait()
    return ended(in_child(lambda: sys.exit(len(left) + 2 * len(process._uncut)))) >> 8

print(json.dumps([child_sees(60, lambda: time.sleep(0.2)), child_sees(0.05, lambda: time.sleep(600))]))
sys.stdout.flush(); os._exit(0)
""",
    )
    assert found == [1, 0]


@both
def test_multiprocessing_forks_too(place: Studio, scheme: str) -> None:
    found = run(
        place,
        scheme,
        """
client = Client(profile, timeout=20)
client.hello()

def ask(number):
    return client.get_pool("fx").name

with multiprocessing.get_context("fork").Pool(2) as pool:
    names = pool.map_async(ask, range(20)).get(60)
client.hello()
print(json.dumps(names))
""",
    )
    assert found == ["fx"] * 20


def test_the_parents_connection_ends_when_the_parent_closes_it_while_a_child_lives(place: Studio) -> None:
    found = run(
        place,
        "tls",
        """
watching = Client(profile, timeout=20)
before = connections(watching)
client = Client(profile, timeout=20)
client.hello()
read, write = os.pipe()
pid = in_child(lambda: (os.close(write), os.read(read, 1)))
client.close()
end = time.monotonic() + 60
while (now := connections(watching)) > before and time.monotonic() < end:
    time.sleep(0.05)
os.close(write)
print(json.dumps([before, now, ended(pid)]))
""",
    )
    assert found[0] == found[1]
    assert found[2] == 0


def test_a_menu_with_a_request_in_progress_works_in_the_child(place: Studio, tmp_path: Path) -> None:
    found = run(
        place,
        "tls",
        """
gate = threading.Event()
find = PoolMenu._ask

def slowly(menu, *rest):
    gate.wait(60)
    find(menu, *rest)

menu = PoolMenu(folder, folder=os.environ["CACHE"], timeout=20)
PoolMenu._ask = slowly
assert menu.current().refreshing
PoolMenu._ask = find

def look():
    # No request is in progress here yet.
    assert not menu.latest().refreshing
    assert menu.current().refreshing
    assert [pool.name for pool in menu.wait(30).pools] == ["fx"]

end = ended(in_child(look))
gate.set()
print(json.dumps([end, [pool.name for pool in menu.wait(30).pools]]))
""",
        env={"CACHE": str(tmp_path)},
    )
    assert found == [0, ["fx"]]


def test_the_child_does_not_wait_for_a_lookup_of_the_parent(place: Studio) -> None:
    found = run(
        place,
        "tls",
        """
import socket
from afpools.lookup import Lookup
resolve, gate = socket.getaddrinfo, threading.Event()
socket.getaddrinfo = lambda *args, **more: gate.wait(60) and resolve(*args, **more)
Lookup.start("localhost", 1)
socket.getaddrinfo = resolve

def look():
    lookup = Lookup.start("localhost", 1)
    assert lookup.done.wait(30) and lookup.addresses

end = ended(in_child(look))
gate.set()
print(json.dumps(end))
""",
    )
    assert found == 0
