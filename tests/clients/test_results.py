"""What calls return: objects, made from a broker's answers and checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.clients.conftest import StartBroker, unreachable
from tests.clients.scripted_broker import HELLO, MASK, Studio, Talk, result

import afpools
from afpools import BrokerUnreachable, Client


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
def test_an_invalid_answer_does_not_count_and_the_next_broker_is_asked(
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
def test_a_mask_that_was_not_requested_is_refused(
    studio: Studio, start: StartBroker, changes: dict[str, Any], text: str
) -> None:
    broker = start(result({**MASK, **changes}))
    with Client(studio.profile(broker.url)) as client, pytest.raises(BrokerUnreachable, match=text):
        client.exclude_mask("fx", accept=["regex"])
