"""A change that may have been made is never called "not made"; it is made once, however often it is sent."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import zmq
from tests.clients.conftest import StartBroker, within
from tests.clients.scripted_broker import HELLO, Studio, Talk, result
from tests.studio import point
from tests.studio import studio as real_studio

import afpools
from afpools import BrokerUnreachable, Client, Endpoint, OutcomeUnknown, Profile
from afpools_broker.protocol import Role

DONE = {"change": "1", "pool": "fx", "revision": "a", "hosts": 1, "added": ["pc-01"], "removed": []}

# Refusals that this broker makes before it writes anything.
REFUSALS = ["bad_request", "forbidden", "unknown_pool", "pool_exists", "conflict", "too_large", "rate_limited"]


@pytest.fixture
def one_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """No broker is asked twice, so that a test need not wait for a deadline."""
    monkeypatch.setattr("afpools.calls._FIRST_PAUSE", 1e9)


def hang_up(talk: Talk, request: dict[str, Any]) -> None:
    """Accepts a request, and leaves its outcome open."""
    talk.close()


def refuse(code: str, **more: Any) -> Callable[[Talk, dict[str, Any]], None]:
    return lambda talk, request: talk.refuse(request, code, "Because.", **more)


def create(client: Client) -> Any:
    return client.create_pool("fx", ["pc-01"])


def import_native(client: Client) -> Any:
    return client.import_native(["/local/fx"])


def low_level(client: Client) -> Any:
    return client.request("pools.create", {"pool": "fx", "request_id": "mine"})


@pytest.mark.usefixtures("one_round")
@pytest.mark.parametrize("code", [*REFUSALS, "store_unavailable", "farm_unavailable", "internal", "of_a_newer_broker"])
def test_a_refusal_by_the_next_broker_does_not_settle_what_the_first_did(
    studio: Studio, start: StartBroker, code: str
) -> None:
    first, second = start(hang_up), start(refuse(code, made=False))
    with Client(studio.profile(first.url, second.url)) as client, pytest.raises(OutcomeUnknown) as raised:
        create(client)
    assert str(raised.value).startswith("It is not known whether the change was made.\n")
    assert [url for url, _ in raised.value.attempts] == [first.url, second.url]
    assert raised.value.attempts[1][1] == "it refused: Because."
    assert "not made" not in str(raised.value)
    assert {request["params"]["request_id"] for broker in (first, second) for request in broker.requests} == {
        raised.value.request_id
    }


@pytest.mark.usefixtures("one_round")
@pytest.mark.parametrize("change", [create, import_native, low_level, lambda client: client.undo("1")])
@pytest.mark.parametrize(
    "script",
    [
        hang_up,
        lambda talk, request: talk.send(b"", b"rubbish"),
        lambda talk, request: talk.answer(request, {}, ok="perhaps"),
        lambda talk, request: talk.answer(request, DONE, id="another"),
        refuse("store_unavailable"),
        refuse("internal"),
    ],
    ids=["hangs up", "rubbish", "no answer", "another's answer", "store_unavailable", "internal"],
)
def test_an_outcome_that_one_broker_leaves_open_is_open(
    studio: Studio, start: StartBroker, script: Any, change: Callable[[Client], Any]
) -> None:
    with Client(studio.profile(start(script).url)) as client, pytest.raises(OutcomeUnknown):
        change(client)


@pytest.mark.usefixtures("one_round")
def test_a_result_that_cannot_be_read_leaves_the_outcome_open(studio: Studio, start: StartBroker) -> None:
    with Client(studio.profile(start(result({"new": 1})).url)) as client, pytest.raises(OutcomeUnknown):
        create(client)


@pytest.mark.parametrize("code", [*REFUSALS, "store_unavailable", "farm_unavailable", "internal"])
def test_a_refusal_is_final_if_no_attempt_is_open(
    studio: Studio, start: StartBroker, closed_port: int, code: str
) -> None:
    sure = start(refuse("store_unavailable", made=False))
    refusing = start(refuse(code, made=False))
    with Client(studio.profile(f"tls://127.0.0.1:{closed_port}", refusing.url)) as client:
        with pytest.raises(afpools.BrokerRefused) as raised:
            create(client)
        assert raised.value.code == code
    with Client(studio.profile(sure.url, refusing.url)) as client, pytest.raises(afpools.BrokerRefused):
        create(client)


def test_a_change_that_was_never_sent_was_not_made(studio: Studio, closed_port: int) -> None:
    with Client(studio.profile(f"tls://127.0.0.1:{closed_port}")) as client, pytest.raises(BrokerUnreachable):
        create(client)


def test_reads_have_no_unknown_outcome(studio: Studio, start: StartBroker) -> None:
    first, second = start(hang_up), start(refuse("unknown_pool"))
    with Client(studio.profile(first.url, second.url)) as client, pytest.raises(afpools.UnknownPool):
        client.get_pool("fx")
    with Client(studio.profile(first.url)) as client, pytest.raises(BrokerUnreachable):
        client.import_native(dry_run=True)


def test_the_first_broker_is_asked_again_and_its_word_counts(studio: Studio, start: StartBroker) -> None:
    asked: list[str] = []

    def at_last(talk: Talk, request: dict[str, Any]) -> None:
        asked.append(request["params"]["request_id"])
        if len(asked) < 3:
            talk.close()
        else:
            talk.answer(request, DONE)

    first, second = start(at_last), start(refuse("pool_exists"))
    with Client(studio.profile(first.url, second.url), timeout=60) as client:
        assert create(client).change == "1"
    assert len(asked) == 3
    assert len(second.requests) == 2
    assert len({*asked, *(request["params"]["request_id"] for request in second.requests)}) == 1


@pytest.mark.usefixtures("one_round")
def test_the_outcome_of_a_request_lost_on_an_open_connection_is_open_too(studio: Studio, start: StartBroker) -> None:
    def script(talk: Talk, request: dict[str, Any]) -> None:
        if request["op"] == "hello":
            talk.answer(request, HELLO)
        elif len(broker.requests) == 2:
            talk.close()
        else:
            talk.refuse(request, "pool_exists")

    broker = start(script)
    with Client(studio.profile(broker.url)) as client:
        client.hello()
        with pytest.raises(OutcomeUnknown):
            create(client)
    assert (broker.accepted, len(broker.requests)) == (2, 3)


@pytest.mark.heavy
def test_retries_end_at_the_deadline_and_are_reported_in_few_lines(studio: Studio, start: StartBroker) -> None:
    first, second = start(hang_up), start(lambda talk, request: talk.refuse(request, "conflict", request["id"]))
    with within(2.0), Client(studio.profile(first.url, second.url), timeout=2.0) as client:  # noqa: SIM117
        with pytest.raises(OutcomeUnknown) as raised:
            create(client)
    assert len(second.requests) > 2
    assert len(raised.value.attempts) <= 4


@pytest.mark.usefixtures("one_round")
def test_credentials_that_became_invalid_meanwhile_do_not_hide_an_open_change(
    studio: Studio, start: StartBroker
) -> None:
    profile = studio.profile(start(hang_up).url, Endpoint("curve://127.0.0.1:1", zmq.curve_keypair()[0].decode()))
    Path(profile.curve_file).write_text("no keys\n")
    with Client(profile) as client, pytest.raises(OutcomeUnknown, match=r"holds no secret key|cannot be read"):
        create(client)


# --- two real brokers on one database

# Stops itself after a change is in the store, and before its author is told.
STOPPING_BROKER = """
import os, signal, sys, threading
from pathlib import Path
from tests.studio import settings
from afpools_broker.broker import Broker
from afpools_broker.store.sqlite import SqliteStore

apply = SqliteStore.apply

def apply_and_stop(store, change):
    entry = apply(store, change)
    os.kill(os.getpid(), signal.SIGSTOP)
    threading.Event().wait()  # this thread may keep running for a moment
    return entry

SqliteStore.apply = apply_and_stop
with Broker(settings(Path(sys.argv[1]), {})) as broker:
    print(broker.port("TLS"), broker.port("CURVE"), flush=True)
    sys.stdin.read()
"""


@contextmanager
def stopping_broker(folder: Path) -> Iterator[tuple[int, int]]:
    """A broker in a separate process; yields its ports."""
    process = subprocess.Popen(
        [sys.executable, "-c", STOPPING_BROKER, str(folder)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        tls, curve = map(int, process.stdout.readline().split())
        yield tls, curve
    finally:
        process.kill()
        process.communicate()


@pytest.mark.heavy
@pytest.mark.parametrize("scheme", ["tls", "curve"])
def test_a_broker_stopped_after_writing_does_not_make_the_change_undone(tmp_path: Path, scheme: str) -> None:
    with ExitStack() as stack:
        place = stack.enter_context(real_studio(tmp_path))
        folder = place.profile("anna", Role.MANAGER)
        tls, curve = stack.enter_context(stopping_broker(tmp_path))
        endpoints = []
        for name, ports in (("first", (tls, curve)), ("second", (place.tls_port, place.curve_port))):
            point(folder, tls=ports[0], curve=ports[1])
            found = next(e for e in Profile.load(str(folder)).endpoints if e.scheme == scheme)
            endpoints.append(found._replace(broker=name))
        profile = Profile.load(str(folder))
        place.broker._keeper.refuse_writes("It is stopping.")
        with Client(profile._replace(endpoints=tuple(endpoints)), timeout=3.0) as client:
            client.hello()
            with pytest.raises(OutcomeUnknown, match="cannot make changes now") as raised, within(3.0):
                create(client)
        with Client(profile._replace(endpoints=(endpoints[1],)), timeout=20) as other:
            end = time.monotonic() + 60
            while not (made := other.list_pools().pools):
                assert time.monotonic() < end, "the change was in the store when its broker stopped"
                time.sleep(0.05)
            assert [pool.name for pool in made] == ["fx"]
            place.broker._keeper.refuse_writes("")
            repeated = other.create_pool("fx", ["pc-01"], request_id=raised.value.request_id)
            assert (repeated.pool, repeated.added) == ("fx", ("pc-01",))
            assert len(other.history()) == 1
