"""Which broker gets a call: connections that end, brokers in turn, threads. All of it in time."""

from __future__ import annotations

import re
import select
import socket
import threading
import time
from typing import Any

import pytest
from tests.clients.conftest import StartBroker, unreachable, within
from tests.clients.scripted_broker import HELLO, MASK, ScriptedBroker, Studio, Talk, result

import afpools
from afpools import AfpoolsError, BrokerUnreachable, Client, Endpoint

# --- connections that end


@pytest.mark.parametrize("wait", [0.0, 0.05], ids=["at once", "a little later"])
def test_a_connection_that_the_broker_closed_is_replaced(studio: Studio, start: StartBroker, wait: float) -> None:
    broker = start()
    with Client(studio.profile(broker.url)) as client:
        client.hello()
        broker.hang_up()
        time.sleep(wait)  # whether or not the end has arrived here
        client.hello()
    assert broker.accepted == 2


def test_a_restarted_broker_is_found_again(studio: Studio, start: StartBroker) -> None:
    broker = start()
    with Client(studio.profile(broker.url)) as client:
        client.hello()
        broker.stop()
        with within(2):
            assert "refused" in unreachable(client)
        with ScriptedBroker(studio, port=broker.port):
            client.hello()


def test_a_long_idle_connection_is_not_trusted(
    studio: Studio, start: StartBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = start()
    with Client(studio.profile(broker.url)) as client:
        client.hello()
        monkeypatch.setattr("afpools.calls._TRUSTED_IDLE", 0.0)
        client.hello()
    assert broker.accepted == 2


def test_an_answer_that_nobody_asked_for_does_not_reach_the_next_call(studio: Studio, start: StartBroker) -> None:
    def twice(talk: Talk, request: dict[str, Any]) -> None:
        for _ in range(2):
            talk.answer(request, {**HELLO, "name": request["id"]})

    broker = start(twice)
    names, texts = [], []
    with Client(studio.profile(broker.url)) as client:
        for _ in range(4):
            try:
                names.append(client.hello().name)
            except BrokerUnreachable as error:
                texts.append(str(error))
    assert len(set(names)) == len(names)
    # It depends on the network whether the second answer arrives by the end of the first call, between the two, or
    # later.
    assert texts
    for text in texts:
        assert re.search(r"two answers to one request|before it was asked|answered another request", text)


def test_an_answer_before_the_request_ends_the_connection_and_nothing_is_sent(
    studio: Studio, start: StartBroker
) -> None:
    answered = threading.Event()

    def script(talk: Talk, request: dict[str, Any]) -> None:
        talk.answer(request, HELLO)
        if len(broker.requests) == 1:
            answered.wait(30)
            talk.answer({"id": "unasked"}, HELLO)

    broker = start(script)
    with Client(studio.profile(broker.url), timeout=20) as client:
        client.hello()
        answered.set()
        assert client._own.connection
        # Not before it has arrived.
        assert select.select([client._own.connection._socket], [], [], 30)[0]
        assert "it sent an answer before it was asked" in unreachable(client)
        assert len(broker.requests) == 1
        client.hello()


# --- more than one broker


def test_the_next_broker_is_asked_when_one_is_down(studio: Studio, start: StartBroker, closed_port: int) -> None:
    broker = start()
    with Client(studio.profile(f"tls://127.0.0.1:{closed_port}", broker.url)) as client:
        client.hello()
        client.hello()
    assert broker.accepted == 1


@pytest.mark.heavy
def test_a_silent_endpoint_leaves_time_for_the_next(studio: Studio, start: StartBroker) -> None:
    broker = start()
    with socket.create_server(("127.0.0.1", 0)) as blackhole:
        url = f"tls://127.0.0.1:{blackhole.getsockname()[1]}"
        with Client(studio.profile(url, broker.url), timeout=3.0) as client:
            client.hello()
            broker.hang_up()
            client.hello()  # the one that answered is now asked first
        blackhole.settimeout(0)
        blackhole.accept()[0].close()
        with pytest.raises(BlockingIOError):
            blackhole.accept()
    assert broker.accepted == 2


@pytest.mark.heavy
def test_a_slow_broker_gets_the_time_of_all_its_endpoints(studio: Studio, start: StartBroker, blackhole: str) -> None:
    def slow(talk: Talk, request: dict[str, Any]) -> None:
        time.sleep(2.5)
        talk.answer(request, {"name": "anna"})

    endpoints = [Endpoint(start(slow).url, broker="b"), Endpoint(blackhole, broker="b")]
    with Client(studio.profile(*endpoints), timeout=4.0) as client:
        assert client.request("hello") == {"name": "anna"}


@pytest.mark.heavy
def test_all_endpoints_together_cost_no_more_than_the_timeout(
    studio: Studio, start: StartBroker, blackhole: str, closed_port: int
) -> None:
    silent = start(lambda talk, request: None)
    profile = studio.profile(blackhole, silent.url, f"tls://127.0.0.1:{closed_port}", blackhole)
    with within(3):
        text = unreachable(Client(profile, timeout=3))
    assert [line.split(": ")[0].strip() for line in text.splitlines()[1:]] == [e.url for e in profile.endpoints]
    assert "timed out while shaking hands" in text
    assert "timed out while waiting for the answer" in text
    assert "the connection was refused (is the broker running" in text


@pytest.mark.parametrize("code", ["store_unavailable", "farm_unavailable", "rate_limited", "internal"])
def test_a_failing_brokers_request_goes_to_the_next_one(studio: Studio, start: StartBroker, code: str) -> None:
    troubled = start(lambda talk, request: talk.refuse(request, code))
    done = {"change": "1", "pool": "fx", "revision": "", "hosts": 0, "added": [], "removed": []}
    sound = start(result(done))
    with Client(studio.profile(troubled.url, sound.url)) as client:
        client.delete_pool("fx")
    ids = [broker.requests[0]["params"]["request_id"] for broker in (troubled, sound)]
    assert ids[0] == ids[1]


def test_a_refusal_is_reported_rather_than_a_silence(studio: Studio, start: StartBroker, closed_port: int) -> None:
    troubled = start(lambda talk, request: talk.refuse(request, "store_unavailable", made=False))
    with pytest.raises(afpools.StoreUnavailable):
        Client(studio.profile(troubled.url, f"tls://127.0.0.1:{closed_port}")).delete_pool("fx")


def test_an_ordinary_refusal_is_final(studio: Studio, start: StartBroker) -> None:
    first, second = start(lambda talk, request: talk.refuse(request, "unknown_pool")), start()
    with Client(studio.profile(first.url, second.url)) as client, pytest.raises(afpools.UnknownPool):
        client.get_pool("fx")
    assert not second.requests


# --- threads


def test_twenty_threads_share_one_client(studio: Studio, start: StartBroker) -> None:
    def echo(talk: Talk, request: dict[str, Any]) -> None:
        talk.answer(request, {**MASK, "pool": request["params"]["pool"]})

    broker = start(echo)
    failures: list[BaseException] = []
    with Client(studio.profile(broker.url), timeout=20) as client:

        def ask(number: int) -> None:
            try:
                for turn in range(10):
                    assert client.exclude_mask(f"{number}-{turn}").pool == f"{number}-{turn}"
            except (AfpoolsError, AssertionError) as error:
                failures.append(error)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failures
    assert (len(broker.requests), broker.accepted) == (200, 1)


@pytest.mark.heavy
def test_waiting_for_other_threads_counts(studio: Studio, start: StartBroker) -> None:
    asked = threading.Event()
    silent = start(lambda talk, request: asked.set())
    client = Client(studio.profile(silent.url), timeout=3.0)
    other = threading.Thread(target=unreachable, args=(client,))
    other.start()
    assert asked.wait(30)
    client.timeout = 0.2
    assert "other threads kept it busy" in unreachable(client)
    other.join()
