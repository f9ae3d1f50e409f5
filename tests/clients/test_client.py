"""Calls get their answer, or an error that explains itself, in time: whatever the broker and the network do."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import zmq
import zmq.auth
from tests.clients.conftest import StartBroker, within
from tests.clients.scripted_broker import HELLO, Script, ScriptedBroker, Studio, Talk, result
from zmq.auth.thread import ThreadAuthenticator

import afpools
from afpools import AfpoolsError, BrokerRefused, BrokerUnreachable, Client, Endpoint, Mask, ProfileError, zmtp
from afpools.transport import _refused_key

MASK: dict[str, Any] = {
    "pool": "fx",
    "revision": "r1",
    "mask": "(?!(?:pc-01|pc-03)$).*",
    "mask_type": "regex",
    "style": "complement",
    "pool_hosts": 2,
    "excluded_hosts": 3,
    "known_hosts": 5,
    "covers_future_hosts": True,
    "age": 0.1,
    "farm_age": 1.5,
}


def unreachable(client: Client) -> str:
    with pytest.raises(BrokerUnreachable) as raised:
        client.hello()
    assert all(url for url, _ in raised.value.attempts)
    return str(raised.value)


# --- good answers


def test_a_call_is_answered(studio: Studio, start: StartBroker) -> None:
    broker = start()
    with Client(studio.profile(broker.url)) as client:
        assert client.hello().name == "anna"
    [request] = broker.requests
    assert (request["v"], request["op"], request["params"]) == (1, "hello", {})


def test_a_mask_arrives_whole(studio: Studio, start: StartBroker) -> None:
    broker = start(result(MASK))
    with Client(studio.profile(broker.url)) as client:
        assert client.exclude_mask("fx") == Mask(**MASK)
    assert broker.requests[0]["params"] == {"pool": "fx", "style": "complement", "accept": ["regex", "find"]}


def test_results_become_objects_and_keys_of_a_newer_broker_are_ignored(studio: Studio, start: StartBroker) -> None:
    answers: dict[str, Any] = {
        "pools.list": {"revision": "r", "age": 1, "pools": [{"name": "fx", "hosts": 2, "revision": "a", "new": 1}]},
        "pools.get": {"pool": {"name": "fx", "hosts": ["pc-01"], "revision": "a", "new": 1}, "age": 2.0},
        "hosts.list": {"hosts": [{"name": "pc-01", "states": ["online"], "new": 1}], "age": 0.0, "farm_age": None},
        "history.list": {
            "entries": [
                {
                    "id": "1",
                    "when": "2026-08-01T10:00:00Z",
                    "who": "anna",
                    "op": "pools.create",
                    "pool": "fx",
                    "diff": {"added": ["pc-01"]},
                    "before": "",
                    "after": "a",
                    "hosts": 1,
                    "new": 1,
                }
            ]
        },
        "health": {"status": "healthy", "problems": [], "new": {}},
    }
    broker = start(lambda talk, request: talk.answer(request, answers[request["op"]]))
    with Client(studio.profile(broker.url)) as client:
        pools = client.list_pools()
        assert (pools.revision, pools.age, pools.unchanged) == ("r", 1, False)
        assert pools.pools == (afpools.PoolSummary("fx", 2, "a"),)
        assert client.get_pool("fx") == afpools.Pool("fx", ("pc-01",), "a", age=2.0)
        hosts = client.list_hosts()
        assert hosts == afpools.HostList((afpools.HostSummary("pc-01", ("online",)),), 0.0, None)
        [entry] = client.history("fx", limit=10)
        assert (entry.who, entry.diff, entry.hosts) == ("anna", {"added": ["pc-01"]}, 1)
        assert client.health()["status"] == "healthy"
        assert client.request("health") == answers["health"]
    assert broker.requests[3]["params"] == {"pool": "fx", "limit": 10}


def test_an_unchanged_list_has_no_pools(studio: Studio, start: StartBroker) -> None:
    broker = start(result({"revision": "r", "age": 0.0, "unchanged": True}))
    with Client(studio.profile(broker.url)) as client:
        pools = client.list_pools(if_revision="r")
    assert (pools.unchanged, pools.pools) == (True, ())
    assert broker.requests[0]["params"] == {"if_revision": "r"}


def test_writes_carry_an_id_of_their_own(studio: Studio, start: StartBroker) -> None:
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


def test_one_text_is_not_taken_for_many_hosts(studio: Studio, closed_port: int) -> None:
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
    """Each request gets the next one."""
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


def test_pools_that_never_stand_still_do_not_keep_the_list_of_hosts_from_being_read(
    studio: Studio, start: StartBroker
) -> None:
    turns = [
        each for turn in range(3) for each in (page("a", following="a", revision=f"r{turn}"), page("b", revision="x"))
    ]
    broker = start(in_turn(*turns))
    with Client(studio.profile(broker.url)) as client:
        hosts = client.list_hosts()
    assert ([host.name for host in hosts.hosts], hosts.revision) == (["a", "b"], "")


def test_a_list_of_hosts_without_an_end_is_not_read_for_ever(studio: Studio, start: StartBroker) -> None:
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


def test_a_closed_client_connects_anew(studio: Studio, start: StartBroker) -> None:
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


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("bad_request", afpools.BadRequest),
        ("unsupported_version", afpools.UnsupportedVersion),
        ("unknown_op", afpools.UnknownOp),
        ("forbidden", afpools.Forbidden),
        ("unknown_pool", afpools.UnknownPool),
        ("pool_exists", afpools.PoolExists),
        ("empty_pool", afpools.EmptyPool),
        ("conflict", afpools.Conflict),
        ("mask_not_expressible", afpools.MaskNotExpressible),
        ("farm_unavailable", afpools.FarmUnavailable),
        ("store_unavailable", afpools.StoreUnavailable),
        ("too_large", afpools.TooLarge),
        ("rate_limited", afpools.RateLimited),
        ("internal", afpools.InternalError),
        ("of_a_newer_broker", BrokerRefused),
    ],
)
def test_each_error_code_has_its_class(
    studio: Studio, start: StartBroker, code: str, kind: type[BrokerRefused]
) -> None:
    broker = start(lambda talk, request: talk.refuse(request, code, "No, because."))
    with Client(studio.profile(broker.url)) as client, pytest.raises(BrokerRefused) as raised:
        client.hello()
    assert type(raised.value) is kind
    assert (raised.value.code, raised.value.message, str(raised.value)) == (code, "No, because.", "No, because.")


def test_a_refusal_of_a_request_that_was_not_read_counts(studio: Studio, start: StartBroker) -> None:
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


def raw(data: bytes) -> Callable[[Talk, dict[str, Any]], None]:
    return lambda talk, request: talk.send(b"", data)


@pytest.mark.parametrize(
    ("script", "text"),
    [
        (raw(b"rubbish"), "what is not JSON: b'rubbish'"),
        (raw(b"\xff\xfe"), "what is not JSON"),
        (raw(b"[" * 100_000), "what is not JSON"),
        (raw(b"[]"), "what is not a JSON object"),
        (lambda talk, request: talk.answer(request, HELLO, v=2), "answers in version 2 of the protocol, we use 1"),
        (lambda talk, request: talk.answer(request, HELLO, id="other"), "answered another request"),
        (lambda talk, request: talk.answer(request, HELLO, id=""), "answered another request"),
        (lambda talk, request: talk.answer(request, HELLO, ok=1), "neither a result nor an error"),
        (lambda talk, request: talk.answer(request, None), "neither a result nor an error"),
        (lambda talk, request: talk.answer(request, {}, ok=False, error={}), "without code and message"),
        (lambda talk, request: talk.answer(request, {"name": "\ud800"}), "what is not JSON"),
        (result({**HELLO, "name": 3}), "a hello with 3 as 'name'"),
        (result({}), "a hello without 'broker'"),
        (lambda talk, request: talk.send(b"", b"{}", b"{}"), "an answer in frames of 0 and 2 and 2 bytes"),
        (lambda talk, request: talk.send(b"{}"), "an answer in frames of 2 bytes"),
        (
            lambda talk, request: (talk.envelope(b"not empty"), talk.answer(request, HELLO)),
            "an answer in frames of 9 and",
        ),
        (lambda talk, request: talk.socket.sendall(b"\xffrubbish, and more"), "does not speak our protocol"),
        (lambda talk, request: talk.socket.sendall(b"\x02" + b"\x7f" * 8), "does not speak our protocol: a message of"),
        (lambda talk, request: talk.close(), "closed the connection while we were waiting for the answer"),
        (
            lambda talk, request: (talk.socket.sendall(b"\x01\x00\x00\x20half"), talk.close()),
            "closed the connection while we were waiting for the answer",
        ),
    ],
)
def test_a_bad_answer_is_no_answer_and_the_next_broker_is_asked(
    studio: Studio, start: StartBroker, script: Callable[[Talk, dict[str, Any]], None], text: str
) -> None:
    bad, good = start(script), start()
    assert text in unreachable(Client(studio.profile(bad.url)))
    with Client(studio.profile(bad.url, good.url)) as client:
        assert client.hello().broker == "scripted"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"pool": "other"}, "the mask of 'other' when asked for 'fx'"),
        ({"mask_type": "find"}, "a mask of the type 'find', which was not requested"),
        ({"mask_type": "glob"}, "a mask of the type 'glob'"),
        ({"mask": None}, "a mask with None as 'mask'"),
        ({"covers_future_hosts": 1}, "a mask with 1 as 'covers_future_hosts'"),
    ],
)
def test_a_mask_that_was_not_asked_for_is_no_mask(
    studio: Studio, start: StartBroker, changes: dict[str, Any], text: str
) -> None:
    broker = start(result({**MASK, **changes}))
    with Client(studio.profile(broker.url)) as client, pytest.raises(BrokerUnreachable, match=text):
        client.exclude_mask("fx", accept=["regex"])


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


def test_a_port_without_tls_is_recognised(studio: Studio) -> None:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        port = router.bind_to_random_port("tcp://127.0.0.1")
        assert "does not speak TLS (is it the port for CURVE?)" in unreachable(
            Client(studio.profile(f"tls://127.0.0.1:{port}"))
        )


def test_a_broker_that_speaks_no_tls_1_3_is_not_spoken_to(studio: Studio, start: StartBroker) -> None:
    broker = start(newest_tls=ssl.TLSVersion.TLSv1_2)
    assert "it does not speak TLS 1.3" in unreachable(Client(studio.profile(broker.url)))
    assert not broker.requests


# --- certificates


def test_an_expired_certificate_of_the_broker_is_named(studio: Studio, start: StartBroker) -> None:
    broker = start(certificate=studio.issue("old", "127.0.0.1", days=-1))
    assert "the broker's certificate has expired" in unreachable(Client(studio.profile(broker.url)))


def test_a_broker_of_another_studio_is_not_trusted(studio: Studio, start: StartBroker, tmp_path: Path) -> None:
    foreign = Studio(tmp_path / "foreign").issue("broker", "127.0.0.1")
    broker = start(certificate=foreign)
    assert "not from the authority in our ca.pem" in unreachable(Client(studio.profile(broker.url)))


def test_a_certificate_that_breaks_the_rules_for_certificates_is_not_trusted(
    studio: Studio, start: StartBroker
) -> None:
    broker = start(certificate=studio.issue("broker", "127.0.0.1", names_key=False))
    assert "certificate is not accepted: Missing Authority Key Identifier" in unreachable(
        Client(studio.profile(broker.url))
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_certificate_for_another_name_is_not_trusted(studio: Studio, start: StartBroker, host: str) -> None:
    broker = start(certificate=studio.issue("other", "broker.lan"))
    text = unreachable(Client(studio.profile(f"tls://{host}:{broker.port}")))
    assert f"the broker's certificate is not for '{host}'" in text


def test_a_common_name_does_not_stand_in_for_a_name(studio: Studio, start: StartBroker) -> None:
    broker = start(certificate=studio.issue("localhost"))
    assert "is not for 'localhost'" in unreachable(Client(studio.profile(f"tls://localhost:{broker.port}")))


@pytest.mark.parametrize(("days", "text"), [(-1, "our certificate expired on 20"), (1, "client.pem: unknown ca")])
def test_a_refused_client_certificate_is_named(
    studio: Studio, start: StartBroker, tmp_path: Path, days: int, text: str
) -> None:
    issuer = studio if days < 0 else Studio(tmp_path / "foreign")
    profile = studio.profile(start().url, client=issuer.issue("client", days=days))
    assert text in unreachable(Client(profile))


def test_a_broker_that_hangs_up_after_the_handshake_gives_a_hint(studio: Studio, start: StartBroker) -> None:
    # What the real one does with a revoked certificate: it knows after the handshake.
    class Hanging(ScriptedBroker):
        def _talk(self, connection: Any) -> None:
            connection.close()

    with Hanging(studio) as broker:
        text = unreachable(Client(studio.profile(broker.url)))
        assert "may not accept our certificate (revoked?), or be full or stopping" in text


def error_command(reason: bytes) -> bytes:
    body = b"\x05ERROR" + bytes((len(reason),)) + reason
    return bytes((4, len(body))) + body


@pytest.mark.parametrize("in_handshake", [True, False])
def test_a_broker_that_says_why_it_does_not_talk_to_us_is_quoted_and_the_next_is_asked(
    studio: Studio, start: StartBroker, in_handshake: bool
) -> None:
    reason = "It has 40 connections of 'anna' already, which is its share. Close some."

    class Full(ScriptedBroker):
        def _talk(self, connection: Any) -> None:
            ours = zmtp.Connection(socket_type="ROUTER", as_server=True, accepts=frozenset({"REQ"}), max_message=99)
            greeting = ours.data_to_send()
            connection.sendall((greeting[:64] if in_handshake else greeting) + error_command(reason.encode()))
            while connection.recv(100):
                pass

    other = start()
    with Full(studio) as full:
        text = unreachable(Client(studio.profile(full.url)))
        assert text == f"No broker answered. {full.url}: the broker refused the connection: {reason}"
        with Client(studio.profile(full.url, other.url)) as client:
            client.hello()


def test_a_connection_ended_with_a_reason_while_it_was_idle_is_replaced(studio: Studio, start: StartBroker) -> None:
    def script(talk: Talk, request: dict[str, Any]) -> None:
        talk.answer(request, HELLO)
        if len(broker.requests) == 1:
            talk.socket.sendall(error_command(b"idle for too long"))
            talk.close()

    broker = start(script)
    with Client(studio.profile(broker.url)) as client:
        client.hello()
        client.hello()
    assert broker.accepted == 2


def test_a_renewed_certificate_counts_at_the_next_connection(studio: Studio, start: StartBroker) -> None:
    broker = start()
    profile = studio.profile(broker.url, client=studio.issue("anna", days=-1))
    client = Client(profile)
    assert "expired" in unreachable(client)
    shutil.copy(studio.issue("anna"), profile.client_file)
    client.hello()
    client.close()


@pytest.mark.parametrize("name", ["ca.pem", "client.pem"])
def test_a_file_that_is_no_certificate_is_named(studio: Studio, start: StartBroker, name: str) -> None:
    profile = studio.profile(start().url)
    Path(profile.folder, name).write_text("rubbish")
    with pytest.raises(ProfileError, match=f"{name} does not hold a certificate"):
        Client(profile).hello()


def test_a_key_with_a_passphrase_is_an_error_and_no_question(studio: Studio, start: StartBroker) -> None:
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
        load_pem_private_key,
    )

    profile = studio.profile(start().url)
    path = Path(profile.client_file)
    key = load_pem_private_key(path.read_bytes(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    path.write_bytes(path.read_bytes().partition(b"-----BEGIN PRIVATE KEY")[0] + locked)
    with pytest.raises(ProfileError, match="has a passphrase"):
        Client(profile).hello()


# --- connections that end


@pytest.mark.parametrize("wait", [0.0, 0.05], ids=["at once", "a little later"])
def test_a_connection_that_the_broker_closed_is_replaced(studio: Studio, start: StartBroker, wait: float) -> None:
    broker = start()
    with Client(studio.profile(broker.url)) as client:
        client.hello()
        broker.hang_up()
        time.sleep(wait)  # with and without the end having arrived here
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


def test_a_connection_idle_for_long_is_not_trusted(
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
    # Whether the second answer is there by the end of the first call, between the two, or later, is the network's
    # choice.
    assert texts
    for text in texts:
        assert re.search(r"two answers to one request|before it was asked|answered another request", text)


def test_an_answer_before_it_was_asked_ends_the_connection_and_nothing_is_sent(
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
        # Not before it is here.
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
def test_an_endpoint_that_swallows_everything_leaves_time_for_the_next(studio: Studio, start: StartBroker) -> None:
    broker = start()
    with socket.create_server(("127.0.0.1", 0)) as blackhole:
        url = f"tls://127.0.0.1:{blackhole.getsockname()[1]}"
        with Client(studio.profile(url, broker.url), timeout=3.0) as client:
            client.hello()
            broker.hang_up()
            client.hello()  # the one that answered is asked first now
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
def test_a_broker_in_trouble_sends_the_request_on_to_the_next(studio: Studio, start: StartBroker, code: str) -> None:
    troubled = start(lambda talk, request: talk.refuse(request, code))
    done = {"change": "1", "pool": "fx", "revision": "", "hosts": 0, "added": [], "removed": []}
    sound = start(result(done))
    with Client(studio.profile(troubled.url, sound.url)) as client:
        client.delete_pool("fx")
    ids = [broker.requests[0]["params"]["request_id"] for broker in (troubled, sound)]
    assert ids[0] == ids[1]


def test_a_refusal_tells_more_than_a_silence(studio: Studio, start: StartBroker, closed_port: int) -> None:
    troubled = start(lambda talk, request: talk.refuse(request, "store_unavailable", made=False))
    with pytest.raises(afpools.StoreUnavailable):
        Client(studio.profile(troubled.url, f"tls://127.0.0.1:{closed_port}")).delete_pool("fx")


def test_an_ordinary_refusal_is_final(studio: Studio, start: StartBroker) -> None:
    first, second = start(lambda talk, request: talk.refuse(request, "unknown_pool")), start()
    with Client(studio.profile(first.url, second.url)) as client, pytest.raises(afpools.UnknownPool):
        client.get_pool("fx")
    assert not second.requests


# --- names


@pytest.mark.heavy
def test_an_address_that_swallows_everything_leaves_time_for_the_next_address(
    studio: Studio, start: StartBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = start()
    with socket.socket() as full, ExitStack() as stack:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        # Linux drops what is more than one connection waiting to be accepted.
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        addresses = [
            (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port))
            for port in (full.getsockname()[1], broker.port)
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)
        with Client(studio.profile(f"tls://localhost:{broker.port}"), timeout=4.0) as client:
            client.hello()


def test_a_name_server_that_hangs_costs_no_more_than_the_timeout(
    studio: Studio, start: StartBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = threading.Event()
    calls: list[str] = []

    def hang(host: str, *args: Any, **kwargs: Any) -> Any:
        calls.append(host)
        stop.wait(30)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    broker = start()
    client = Client(studio.profile("tls://broker.lan:5571"), timeout=0.3)
    for _ in range(2):
        with within(0.3):
            assert "looking up the name 'broker.lan'" in unreachable(client)
    assert calls == ["broker.lan"], "the second call waits for the look-up of the first"
    with within(4), Client(studio.profile("tls://broker.lan:5571", broker.url), timeout=4) as client:
        client.hello()
    stop.set()


def test_an_unknown_name_is_named(studio: Studio) -> None:
    text = unreachable(Client(studio.profile("tls://no-such-host.invalid:5571"), timeout=10))
    assert "the name 'no-such-host.invalid' cannot be looked up" in text


def test_a_name_that_is_no_name_is_an_error_and_not_a_hang(studio: Studio) -> None:
    assert "cannot be looked up" in unreachable(Client(studio.profile(f"tls://{'x' * 100}.lan:5571"), timeout=10))


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


# --- CURVE


@pytest.fixture
def curve(tmp_path: Path) -> Iterator[tuple[Endpoint, Path]]:
    """A libzmq ROUTER that says hello over CURVE, and the client's key file that it takes."""
    keys = tmp_path / "listed"
    keys.mkdir()
    _, secret_file = zmq.auth.create_certificates(keys, "client")
    context = zmq.Context()
    authenticator = ThreadAuthenticator(context)
    authenticator.start()
    authenticator.configure_curve(domain="*", location=str(keys))
    router = context.socket(zmq.ROUTER)
    public, router.curve_secretkey = zmq.curve_keypair()
    router.curve_server = True
    port = router.bind_to_random_port("tcp://127.0.0.1")
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            if router.poll(20):
                *envelope, body = router.recv_multipart()
                answer = {"v": 1, "id": json.loads(body)["id"], "ok": True, "result": HELLO}
                router.send_multipart([*envelope, json.dumps(answer).encode()])
        router.close(0)

    thread = threading.Thread(target=serve)
    thread.start()
    yield Endpoint(f"curve://127.0.0.1:{port}", public.decode()), Path(secret_file)
    stop.set()
    thread.join()
    authenticator.stop()
    context.destroy(0)


def test_a_curve_endpoint_is_used(studio: Studio, curve: tuple[Endpoint, Path]) -> None:
    endpoint, key = curve
    profile = studio.profile(endpoint)
    shutil.copy(key, profile.curve_file)
    with Client(profile) as client:
        for _ in range(3):
            assert client.hello().broker == "scripted"


def test_a_curve_key_that_is_not_listed_is_named(studio: Studio, curve: tuple[Endpoint, Path], tmp_path: Path) -> None:
    profile = studio.profile(curve[0])
    shutil.copy(zmq.auth.create_certificates(tmp_path, "other")[1], profile.curve_file)
    with within(3):
        assert "does not accept our CURVE key" in unreachable(Client(profile, timeout=3))


@contextmanager
def answering(status: bytes) -> Iterator[Endpoint]:
    """A libzmq ROUTER whose ZAP handler says the same of every key."""
    with zmq.Context() as context, context.socket(zmq.REP) as zap, context.socket(zmq.ROUTER) as router:
        zap.linger = router.linger = 0
        zap.bind("inproc://zeromq.zap.01")
        stop = threading.Event()

        def answer() -> None:
            while not stop.is_set():
                if zap.poll(20):
                    version, request_id, *_ = zap.recv_multipart()
                    zap.send_multipart([version, request_id, status, b"", b"", b""])

        thread = threading.Thread(target=answer)
        thread.start()
        public, router.curve_secretkey = zmq.curve_keypair()
        router.curve_server = True
        port = router.bind_to_random_port("tcp://127.0.0.1")
        try:
            yield Endpoint(f"curve://127.0.0.1:{port}", public.decode())
        finally:
            stop.set()
            thread.join()


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (b"400", "the broker does not accept our CURVE key (answer 400); is it listed there?"),
        (b"500", "the broker could not check our CURVE key (answer 500); its log says why"),
    ],
)
def test_what_a_broker_says_of_a_curve_key_is_told_and_the_next_is_asked(
    studio: Studio, start: StartBroker, status: bytes, text: str
) -> None:
    with answering(status) as refusing:
        profile = studio.profile(refusing)
        zmq.auth.create_certificates(profile.folder, "client")
        with within(0.5):
            assert text in unreachable(Client(profile, timeout=20))
        with Client(studio.profile(refusing, start().url), timeout=20) as client:
            client.hello()


@pytest.mark.heavy
def test_a_full_broker_over_curve_is_not_said_to_refuse_our_key(studio: Studio, start: StartBroker) -> None:
    with answering(b"300") as full:
        profile = studio.profile(full)
        zmq.auth.create_certificates(profile.folder, "client")
        with within(2.0):
            told = unreachable(Client(profile, timeout=2.0))
        assert "is the broker full or stopping?" in told or "the broker may be full or stopping" in told
        assert "does not accept" not in told
        with Client(studio.profile(full, start().url), timeout=8.0) as client:
            client.hello()


def test_the_number_for_a_full_broker_is_no_refusal_of_the_key() -> None:
    assert _refused_key(300) == "the broker is full or stopping (answer 300); try again shortly"


def test_a_wrong_server_key_is_named(studio: Studio, curve: tuple[Endpoint, Path]) -> None:
    profile = studio.profile(curve[0]._replace(server_key=zmq.curve_keypair()[0].decode()))
    shutil.copy(curve[1], profile.curve_file)
    with within(3):
        assert "is server_key the broker's" in unreachable(Client(profile, timeout=3))


def test_a_closed_curve_port_costs_little_of_the_time(
    studio: Studio, start: StartBroker, curve: tuple[Endpoint, Path], closed_port: int
) -> None:
    profile = studio.profile(curve[0]._replace(url=f"curve://127.0.0.1:{closed_port}"), start().url)
    shutil.copy(curve[1], profile.curve_file)
    with within(0.5), Client(profile, timeout=20) as client:
        client.hello()


def test_a_curve_endpoint_is_skipped_without_a_key(
    studio: Studio, start: StartBroker, curve: tuple[Endpoint, Path]
) -> None:
    with Client(studio.profile(curve[0], start().url)) as client:
        client.hello()


def test_without_pyzmq_or_another_endpoint_the_error_says_so(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    profile = studio.profile(Endpoint("curve://127.0.0.1:5570", zmq.curve_keypair()[0].decode()))
    Path(profile.curve_file).touch()
    monkeypatch.setitem(sys.modules, "zmq", None)
    with pytest.raises(ProfileError, match=r"no endpoint that this program can use.*\n.*needs pyzmq"):
        Client(profile).hello()


@pytest.mark.parametrize(("broker", "named"), [("one", False), ("another", True)])
def test_a_skipped_endpoint_is_named_where_its_broker_could_not_be_tried_otherwise(
    studio: Studio, closed_port: int, broker: str, named: bool
) -> None:
    tls = Endpoint(f"tls://127.0.0.1:{closed_port}", None, "one")
    curve = Endpoint("curve://127.0.0.1:1", zmq.curve_keypair()[0].decode(), broker)
    told = unreachable(Client(studio.profile(tls, curve)))
    assert "refused" in told
    assert ("skipped" in told) is named


def test_an_endpoint_of_a_later_version_is_skipped(studio: Studio, start: StartBroker) -> None:
    with Client(studio.profile("quic://127.0.0.1:1", start().url)) as client:
        client.hello()


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


def test_errors_are_of_one_family() -> None:
    assert issubclass(ProfileError, AfpoolsError)
    assert issubclass(BrokerUnreachable, AfpoolsError)
    assert issubclass(BrokerRefused, AfpoolsError)


def test_a_python_whose_ssl_cannot_be_imported_is_said_to_be_one(studio: Studio, tmp_path: Path) -> None:
    # As where another Python's modules come first.
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
