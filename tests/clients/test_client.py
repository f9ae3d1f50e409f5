"""Calls get their answer as objects, or an error that explains itself, whatever the broker does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.clients.conftest import StartBroker, unreachable, within
from tests.clients.scripted_broker import HELLO, MASK, Script, Studio, Talk, result

import afpools
from afpools import BrokerUnreachable, Client, Mask

# --- good answers


def test_a_call_is_answered(studio: Studio, start: StartBroker) -> None:
    broker = start()
    with Client(studio.profile(broker.url)) as client:
        assert client.hello().name == "anna"
    [request] = broker.requests
    assert (request["v"], request["op"], request["params"]) == (1, "hello", {})


def test_a_mask_arrives_completely(studio: Studio, start: StartBroker) -> None:
    broker = start(result(MASK))
    with Client(studio.profile(broker.url)) as client:
        assert client.exclude_mask("fx") == Mask(**MASK)
    assert broker.requests[0]["params"] == {"pool": "fx", "style": "complement", "accept": ["regex", "find"]}


def test_an_unchanged_list_has_no_pools(studio: Studio, start: StartBroker) -> None:
    broker = start(result({"revision": "r", "age": 0.0, "unchanged": True}))
    with Client(studio.profile(broker.url)) as client:
        pools = client.list_pools(if_revision="r")
    assert (pools.unchanged, pools.pools) == (True, ())
    assert broker.requests[0]["params"] == {"if_revision": "r"}


def test_every_write_carries_its_own_id(studio: Studio, start: StartBroker) -> None:
    done = {"change": "1", "pool": "fx", "revision": "a", "hosts": 1, "added": ["pc-01"], "removed": []}
    broker = start(result(done))
    with Client(studio.profile(broker.url)) as client:
        assert client.create_pool("fx", ["pc-01"]) == afpools.WriteResult("1", "fx", "a", 1, ("pc-01",))
        client.rename_pool("fx", "vfx", if_revision="a", request_id="mine")
        client.delete_pool("fx")
        client.add_hosts("fx", ("pc-02",))
        client.remove_hosts("fx", iter(["pc-02"]))
        client.update_pool("fx", colour="#ff0000")
        client.register_hosts(["pc-[01-40]"])
        client.forget_hosts(["pc-40"])
    ids = [request["params"].pop("request_id") for request in broker.requests]
    assert ids[1] == "mine"
    assert len(set(ids)) == 8
    assert [(request["op"], request["params"]) for request in broker.requests] == [
        ("pools.create", {"pool": "fx", "hosts": ["pc-01"], "description": "", "colour": ""}),
        ("pools.rename", {"pool": "fx", "new_name": "vfx", "if_revision": "a"}),
        ("pools.delete", {"pool": "fx"}),
        ("pools.add_hosts", {"pool": "fx", "hosts": ["pc-02"]}),
        ("pools.remove_hosts", {"pool": "fx", "hosts": ["pc-02"]}),
        ("pools.update", {"pool": "fx", "colour": "#ff0000"}),
        ("hosts.register", {"hosts": ["pc-[01-40]"]}),
        ("hosts.forget", {"hosts": ["pc-40"]}),
    ]


def test_a_string_is_not_mistaken_for_a_list_of_hosts(studio: Studio, closed_port: int) -> None:
    client = Client(studio.profile(f"tls://127.0.0.1:{closed_port}"))
    with pytest.raises(TypeError, match=r"write \['pc-01'\]"):
        client.add_hosts("fx", "pc-01")


def test_an_answer_of_a_hundred_thousand_hosts_is_read(studio: Studio, start: StartBroker) -> None:
    hosts = [{"name": f"render-{number:06d}", "states": ["online", "busy"]} for number in range(100_000)]
    broker = start(result({"hosts": hosts, "age": 0.0, "farm_age": 1.0}))
    with Client(studio.profile(broker.url), timeout=30) as client:
        assert len(client.list_hosts().hosts) == 100_000


def page(*names: str, following: Any = None, revision: str = "r1") -> Any:
    hosts = [{"name": name} for name in names]
    return result({"hosts": hosts, "age": 0.0, "farm_age": 1.0, "next": following, "revision": revision})


def in_turn(*scripts: Script) -> Script:
    """Each request gets the next answer."""
    left = iter(scripts)
    return lambda talk, request: next(left)(talk, request)


def test_a_list_of_hosts_is_read_page_by_page(studio: Studio, start: StartBroker) -> None:
    broker = start(in_turn(page("a", "b", following="b"), page("c")))
    with Client(studio.profile(broker.url)) as client:
        hosts = client.list_hosts()
    assert [host.name for host in hosts.hosts] == ["a", "b", "c"]
    assert hosts.revision == "r1"
    assert [request["params"].get("after") for request in broker.requests] == [None, "b"]


def test_pages_between_which_a_pool_was_changed_are_read_again(studio: Studio, start: StartBroker) -> None:
    broker = start(
        in_turn(
            page("a", following="a", revision="r1"),
            page("b", revision="r2"),
            page("a", following="a", revision="r2"),
            page("b", "c", revision="r2"),
        )
    )
    with Client(studio.profile(broker.url)) as client:
        hosts = client.list_hosts()
    assert ([host.name for host in hosts.hosts], hosts.revision) == (["a", "b", "c"], "r2")


def test_constantly_changing_pools_do_not_keep_the_list_of_hosts_from_being_read(
    studio: Studio, start: StartBroker
) -> None:
    turns = [
        each for turn in range(3) for each in (page("a", following="a", revision=f"r{turn}"), page("b", revision="x"))
    ]
    broker = start(in_turn(*turns))
    with Client(studio.profile(broker.url)) as client:
        hosts = client.list_hosts()
    assert ([host.name for host in hosts.hosts], hosts.revision) == (["a", "b"], "")


def test_an_endless_list_of_hosts_is_not_read_forever(studio: Studio, start: StartBroker) -> None:
    broker = start(page("a", following="a"))
    with Client(studio.profile(broker.url)) as client, pytest.raises(BrokerUnreachable, match="come to an end"):
        client.list_hosts()


def test_a_broker_without_pages_is_asked_for_all_hosts(studio: Studio, start: StartBroker) -> None:
    broker = start(in_turn(lambda talk, request: talk.refuse(request, "bad_request"), page("a")))
    with Client(studio.profile(broker.url)) as client:
        assert [host.name for host in client.list_hosts().hosts] == ["a"]
    assert [request["params"] for request in broker.requests] == [{"limit": 10_000}, {}]


def test_a_connection_serves_many_calls(studio: Studio, start: StartBroker) -> None:
    broker = start()
    with Client(studio.profile(broker.url)) as client:
        for _ in range(10):
            client.hello()
    assert (len(broker.requests), broker.accepted) == (10, 1)


def test_a_closed_client_connects_again(studio: Studio, start: StartBroker) -> None:
    broker = start()
    client = Client(studio.profile(broker.url))
    client.hello()
    client.close()
    client.close()
    client.hello()
    client.close()
    assert broker.accepted == 2


def test_pings_that_came_meanwhile_are_answered(studio: Studio, start: StartBroker) -> None:
    talks: list[Talk] = []

    def script(talk: Talk, request: dict[str, Any]) -> None:
        talks.append(talk)
        talk.answer(request, HELLO)
        talk.zmtp.send_ping(10, b"there?")
        talk.flush()

    broker = start(script)
    with Client(studio.profile(broker.url)) as client:
        for _ in range(3):
            client.hello()
    assert broker.accepted == 1


# --- refusals


def test_a_refusal_of_an_unread_request_counts(studio: Studio, start: StartBroker) -> None:
    broker = start(lambda talk, request: talk.refuse({"id": ""}, "too_large"))
    with Client(studio.profile(broker.url)) as client, pytest.raises(afpools.TooLarge):
        client.hello()


def test_a_refusal_leaves_the_connection_open(studio: Studio, start: StartBroker) -> None:
    broker = start(lambda talk, request: talk.refuse(request, "unknown_pool"))
    with Client(studio.profile(broker.url)) as client:
        for _ in range(3):
            with pytest.raises(afpools.UnknownPool):
                client.get_pool("fx")
    assert broker.accepted == 1


# --- brokers that misbehave


@pytest.mark.heavy
def test_a_broker_that_does_not_answer_costs_no_more_than_the_timeout(studio: Studio, start: StartBroker) -> None:
    silent = start(lambda talk, request: None)
    with within(1.5):
        assert "timed out while waiting for the answer" in unreachable(Client(studio.profile(silent.url), timeout=1.5))


@pytest.mark.heavy
def test_a_broker_that_dribbles_gains_no_time(studio: Studio, start: StartBroker) -> None:
    stop = threading.Event()

    def dribble(talk: Talk, request: dict[str, Any]) -> None:
        talk.zmtp.send_message([b"", b"x" * 200])
        for byte in talk.zmtp.data_to_send():
            if stop.wait(0.05):
                return
            talk.socket.sendall(bytes([byte]))

    broker = start(dribble)
    with within(1.5):
        assert "timed out while waiting for the answer" in unreachable(Client(studio.profile(broker.url), timeout=1.5))
    stop.set()


@pytest.mark.heavy
def test_a_broker_that_reads_nothing_costs_no_more_than_the_timeout(studio: Studio, start: StartBroker) -> None:
    def script(talk: Talk, request: dict[str, Any]) -> None:
        talk.answer(request, HELLO)
        stop.wait(60)

    stop = threading.Event()
    broker = start(script)
    client = Client(studio.profile(broker.url), timeout=2.0)
    client.hello()
    with within(2.0), pytest.raises(BrokerUnreachable, match="timed out while sending the request"):
        client.register_hosts(["x" * 1000] * 20_000)
    stop.set()


# --- the library as it is copied into host applications

CLIENTS = Path(afpools.__file__).parents[1]


def run(python: str, code: str, **environment: str) -> str:
    done = subprocess.run(
        [python, "-c", code],
        env={**os.environ, "PYTHONPATH": str(CLIENTS), **environment},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def python_3_7() -> str | None:
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    for found in (*versions.glob("3.7.*/bin/python"), shutil.which("python3.7")):
        # pyenv puts a python3.7 into PATH that only says that it is not switched on.
        if found and subprocess.run([found, "-c", ""], capture_output=True).returncode == 0:
            return str(found)
    return None


def test_the_library_runs_on_python_3_7(studio: Studio, start: StartBroker) -> None:
    def script(talk: Talk, request: dict[str, Any]) -> None:
        talk.answer(request, MASK)
        if request["op"] == "health":
            talk.close()

    python = python_3_7()
    if python is None:
        pytest.skip("there is no python3.7 here")
    broker = start(script)
    code = """
import afpools
with afpools.Client(timeout=10) as client:
    client.health()
    print(client.exclude_mask("fx").mask)
"""
    assert run(python, code, AFPOOLS_PROFILE=studio.profile(broker.url).folder) == MASK["mask"]
    assert broker.accepted == 2


def test_importing_it_pulls_in_nothing_heavy() -> None:
    heavy = {"ssl", "socket", "zmq", "asyncio", "logging", "inspect", "dataclasses", "urllib.parse"}
    heavy.add("afpools.job_results")  # which only the calls about jobs need
    assert run(sys.executable, f"import sys, afpools; print({heavy!r} & set(sys.modules))") == "set()"


def test_every_public_name_can_be_imported() -> None:
    code = "from afpools import *; import afpools; print([name for name in afpools.__all__ if name not in globals()])"
    assert run(sys.executable, code) == "[]"
    with pytest.raises(AttributeError, match="no attribute 'Jobs'"):
        getattr(afpools, "Jobs")  # noqa: B009 - mypy knows that it is not there


def test_a_python_without_a_working_ssl_is_reported_as_such(studio: Studio, tmp_path: Path) -> None:
    # As if another Python's modules came first.
    (tmp_path / "_ssl.py").write_text("raise ImportError('undefined symbol: SSL_new')")
    profile = studio.profile("tls://127.0.0.1:1").folder
    script = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from afpools import AfpoolsError, Client\n"
        f"try: Client({profile!r}).hello()\n"
        "except AfpoolsError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert "cannot make encrypted connections: undefined symbol: SSL_new" in done.stdout
    assert "PYTHONPATH" in done.stdout
