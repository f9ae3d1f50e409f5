"""Data from the network: ZMTP in both roles, requests to the broker, answers to a client."""

from __future__ import annotations

import contextlib
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

from tests.desk import MANAGER, READER, Desk, open_desk
from tests.fuzz.mutations import changed_json, damaged
from tests.fuzz.target import Check, Target, stateless

from afpools import AfpoolsError, job_results, results, zmtp
from afpools.calls import read_answer
from afpools.errors import BrokerRefused
from afpools.results import BadAnswer
from afpools_broker.operations import OPERATIONS
from afpools_broker.protocol import Code

# --- ZMTP -----------------------------------------------------------------------------------------------------------

_GREETING = b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32)
_MAX_MESSAGE = 2000


def _ready(kind: bytes) -> bytes:
    body = b"\x05READY\x0bSocket-Type" + len(kind).to_bytes(4, "big") + kind + b"\x08Identity\x00\x00\x00\x00"
    return bytes((4, len(body))) + body


def _conversation(kind: bytes) -> bytes:
    request = b'{"v": 1, "id": "7", "op": "hello"}'
    return (
        _GREETING
        + _ready(kind)
        + b"\x01\x00\x00"
        + bytes([len(request)])
        + request
        + b"\x04\x0a\x04PING\x00\x19abc"
        + b"\x01\x00\x02"
        + (300).to_bytes(8, "big")
        + b"x" * 300
        + b"\x04\x08\x04PONGabc"
    )


class _Heard:
    """What one end understands of bytes that arrive in these chunks."""

    def __init__(self, end: zmtp.Connection, data: bytes, sizes: Callable[[], int]) -> None:
        self.events: list[zmtp.Event] = []
        self.failure = ""
        at = 0
        try:
            while at < len(data):
                size = sizes()
                self.events += end.receive_data(data[at : at + size])
                at += size
                # Nothing is kept for frames that are not allowed.
                assert len(end._buffer) <= max(_MAX_MESSAGE, zmtp.MAX_COMMAND) + 9
        except zmtp.RemoteProtocolError as error:
            self.failure = str(error)
            assert self.failure
            assert not end.ready
            # Nor for a lost peer.
            assert not end._buffer
            assert not end._frames
            assert _fails(end), "It keeps listening after a failure."
        self.sent = end.data_to_send()


def _fails(end: zmtp.Connection) -> bool:
    try:
        end.receive_data(b"\0\0")
    except zmtp.RemoteProtocolError:
        return True
    return False


def _zmtp(socket_type: str, accepts: frozenset[str]) -> Check:
    def check(data: bytes) -> None:
        def end() -> zmtp.Connection:
            return zmtp.Connection(
                socket_type=socket_type, as_server=socket_type == "ROUTER", accepts=accepts, max_message=_MAX_MESSAGE
            )

        # Byte by byte, an error shows soonest, and everything before it has been received.
        slowly = _Heard(end(), data, lambda: 1)
        for heard in (_Heard(end(), data, lambda: len(data)), _Heard(end(), data, _sizes(data))):
            assert bool(heard.failure) == bool(slowly.failure), (heard.failure, slowly.failure)
            if slowly.failure:
                assert heard.events == slowly.events[: len(heard.events)]
                assert slowly.sent.startswith(heard.sent) or heard.sent == slowly.sent
            else:
                assert (heard.events, heard.sent) == (slowly.events, slowly.sent)
        messages = [event for event in slowly.events if isinstance(event, zmtp.Message)]
        assert not messages or isinstance(slowly.events[0], zmtp.Ready)
        for message in messages:
            assert sum(map(len, message.frames)) <= _MAX_MESSAGE
            assert len(message.frames) <= zmtp.MAX_FRAMES
        _said_again(messages)

    return check


def _sizes(data: bytes) -> Callable[[], int]:
    random = Random(zlib.crc32(data))
    return lambda: random.choice((1, 2, 3, 9, 64, 100, 500))


def _said_again(messages: list[zmtp.Message]) -> None:
    """What was received can be sent, and is received the same."""
    one = zmtp.Connection(socket_type="REQ", as_server=False, accepts=frozenset({"REP"}), max_message=_MAX_MESSAGE)
    other = zmtp.Connection(socket_type="REP", as_server=True, accepts=frozenset({"REQ"}), max_message=_MAX_MESSAGE)
    one.receive_data(other.data_to_send())
    for message in messages:
        one.send_message(message.frames)
    assert other.receive_data(one.data_to_send())[1:] == messages


def _changed_zmtp(data: bytes, random: Random) -> bytes:
    # Few of the greeting's 64 bytes may change, and everything after it is more interesting.
    if len(data) > 64 and random.randint(0, 9):
        return data[:64] + damaged(data[64:], random)
    return damaged(data, random)


# --- requests -------------------------------------------------------------------------------------------------------

_MASK = {
    "pool": "fx",
    "style": "compact",
    "accept": ["regex", "find"],
    "exclude": "pc-0[45]",
    "exclude_type": "either",
    "user": "anna",
    "future_hosts": "wanted",
    "max_bytes": 24576,
}

# Every operation with every parameter it has.
REQUESTS: dict[str, dict[str, Any]] = {
    "hello": {},
    "health": {},
    "pools.list": {"if_revision": "0"},
    "pools.get": {"pool": "fx"},
    "hosts.list": {"after": "pc-01", "limit": 3},
    "mask": _MASK,
    "farm.system_pool": {},
    "farm.set_system_pool": {"pool": "fx", "request_id": "11"},
    "history.list": {"pool": "fx", "limit": 5, "before": "0"},
    "pools.check": {"pool": "fx", "hosts": ["PC-[01-03]"], "leaving": ["pc-01"], "new_hosts": False},
    "pools.create": {
        "pool": "gpu",
        "hosts": ["pc-[01-03]"],
        "description": "d",
        "colour": "#ff8800",
        "new_hosts": False,
        "request_id": "1",
    },
    "pools.rename": {"pool": "fx", "new_name": "vfx", "request_id": "2", "if_revision": "0"},
    "pools.delete": {"pool": "fx", "request_id": "3"},
    "pools.add_hosts": {"pool": "fx", "hosts": ["PC-04.studio.lan", "ws-[1-3]"], "new_hosts": True, "request_id": "4"},
    "pools.remove_hosts": {"pool": "fx", "hosts": ["pc-01"], "request_id": "5"},
    "pools.update": {
        "pool": "fx",
        "description": "",
        "colour": "",
        "spill_to": "gpu",
        "spill_after": 1800,
        "request_id": "6",
    },
    "pools.follow": {
        "pool": "farm",
        "path": "/local/farm",
        "description": "",
        "colour": "",
        "request_id": "15",
    },
    "pools.unfollow": {"pool": "farm", "request_id": "16"},
    "pools.import_native": {"dry_run": False, "paths": ["/local/farm"], "request_id": "7"},
    "history.undo": {"entry": "0", "request_id": "8"},
    "hosts.register": {"hosts": ["lt-[1-2]"], "request_id": "9"},
    "hosts.forget": {"hosts": ["lt-1"], "request_id": "10"},
    "jobs.list": {"pool": "fx", "user": "anna", "ids": [812], "others": True, "done": True, "limit": 5},
    "jobs.move": {"jobs": [{"id": 812, "serial": 4711}], "pool": "fx", "request_id": "12"},
    "jobs.adopt": {"jobs": [{"id": 812}], "request_id": "13"},
    "jobs.requeue": {"jobs": [{"id": 812}], "pool": "fx", "hosts": ["pc-01"], "request_id": "14"},
    "pools.preview": {
        "pool": "fx",
        "add_hosts": ["pc-01"],
        "remove_hosts": ["pc-02"],
        "delete": False,
        "new_name": "vfx",
        "entry": "0",
        "jobs": [{"id": 812, "serial": 4711}],
        "limit": 5,
    },
}

# The other half: how our client reads a broker's answers.
_READERS: dict[str, Callable[[Any], object]] = {
    "hello": results.read_hello,
    "pools.list": results.read_pools,
    "pools.get": results.read_pool,
    "hosts.list": results.read_hosts,
    "mask": results.read_mask,
    "farm.system_pool": results.read_system_pool,
    "pools.check": results.read_check,
    "history.list": results.read_history,
    "pools.import_native": results.read_native,
    "jobs.list": job_results.read_jobs,
    **dict.fromkeys(("jobs.move", "jobs.adopt", "jobs.requeue"), job_results.read_ordered),
}

_CODES = {code.value for code in Code}

# Pools from earlier inputs stay; from this many on a new store is quicker.
_INPUTS_PER_DESK = 3000


class _Requests:
    """Sends inputs to one service in turn, which keeps its state, as in a studio."""

    def __init__(self, folder: Path, desks: contextlib.ExitStack) -> None:
        self._folder, self._desks = folder, desks
        self._inputs = 0
        self._desk = self._open()

    def _open(self) -> Desk:
        self._desks.close()
        desk = self._desks.enter_context(
            open_desk(self._folder / f"{self._inputs}.sqlite", afserver=lambda _: memoryview(b"{}"))
        )
        desk.ok("pools.create", pool="fx", hosts=["pc-01", "pc-03"])
        return desk

    def __call__(self, data: bytes) -> None:
        self._inputs += 1
        if self._inputs % _INPUTS_PER_DESK == 0:
            self._desk = self._open()
        before = self._desk.store.load()
        self._answered(data, self._desk.answer(data, READER))
        assert self._desk.store.load() == before, "A reader has changed something."
        self._answered(data, self._desk.answer(data, MANAGER))
        # The pool may have been deleted or renamed, and most seeds are about it.
        if "fx" not in self._desk.keeper.current.contents.pools:
            self._desk.ok("pools.create", pool="fx", hosts=["pc-01", "pc-03"])

    @staticmethod
    def _answered(data: bytes, said: bytes) -> None:
        answer = json.loads(said)
        assert answer["v"] == 1
        request = _request(data)
        # A request that is too long to be searched for its id is refused without; see `protocol.guess_id`.
        assert request is None or answer["id"] in (request.get("id", ""), "")
        if not answer["ok"]:
            assert answer.keys() == {"v", "id", "ok", "error"}
            error = answer["error"]
            assert error["code"] in _CODES
            assert error["message"]
            assert "Traceback" not in error["message"]
            # No request may cause an internal error, except `health`, which this desk does not have.
            assert error["code"] != Code.INTERNAL or b"health" in data, error
            assert _is_refused(said, answer["id"]), "The client does not see a refusal."
            return
        assert request is not None, "It understands what is no JSON."
        assert answer["id"] == request.get("id", "")
        _READERS.get(request["op"], results.read_write)(read_answer(said, answer["id"]))


def _is_refused(said: bytes, request_id: str) -> bool:
    try:
        read_answer(said, request_id)
    except BrokerRefused:
        return True
    return False


def _request(data: bytes) -> dict[str, Any] | None:
    """The request as Python's own reader of JSON understands it; None where it does not."""
    try:
        # Skipped parts, as in an object with a repeated key, are not checked for half characters.
        value = json.loads(data.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


@contextlib.contextmanager
def _requests(folder: Path) -> Iterator[Check]:
    with contextlib.ExitStack() as desks:
        yield _Requests(folder, desks)


# --- answers --------------------------------------------------------------------------------------------------------

_RESULTS: tuple[dict[str, Any], ...] = (
    {
        "broker": "b", "version": "1", "protocol": 1, "name": "anna", "role": "reader", "operations": ["hello"],
        "message_bytes": 1048576,
    },
    {"revision": "r", "age": 0.1, "pools": [{"name": "fx", "hosts": 3, "revision": "r", "colour": "#ff8800"}]},
    {"revision": "r", "age": 0.1, "unchanged": True},
    {"pool": {"name": "fx", "hosts": ["pc-01"], "revision": "r", "description": "", "colour": ""}, "age": 0.0},
    {
        "hosts": [{"name": "pc-01", "states": ["online"], "address": "10.0.0.1", "engine": "3.4.1", "pools": ["fx"]}],
        "age": 0.0, "farm_age": None, "farm_unseen": False, "farm_is_stale": False,
    },
    {
        "pool": "fx", "revision": "r", "mask": "pc-02|pc-04", "mask_type": "any", "style": "list", "why": "",
        "pool_hosts": 1, "excluded_hosts": 2, "known_hosts": 3, "covers_future_hosts": False, "age": 0.0,
        "farm_age": 1.5, "farm_is_stale": False,
    },
    {"change": "1", "pool": "fx", "revision": "r", "hosts": 3, "added": ["pc-01"], "removed": []},
    {
        "entries": [
            {
                "id": "1", "when": "2026-11-23T12:00:00Z", "who": "anna", "op": "pools.create", "pool": "fx",
                "diff": {"added": ["pc-01"]}, "before": "", "after": "r", "hosts": 1, "undoes": "", "undoable": True,
                "why_not": "",
            }
        ]
    },
    {
        "pools": [
            {"path": "/local", "pool": "local", "created": True, "hosts": ["a"], "added": ["a"], "change": "1"}
        ],
        "farm_age": 1.0,
    },
)  # fmt: skip

_ANSWER_ID = "7f3a"


def check_answer(data: bytes) -> None:
    """An answer is read or reported as invalid: nothing else may reach a host application."""
    try:
        result = read_answer(data, _ANSWER_ID)
    except BadAnswer as error:
        assert str(error)
        return
    except AfpoolsError as error:
        assert str(error)
        return
    for read in {results.read_write, *_READERS.values()}:
        try:
            value = read(result)
        except BadAnswer as error:
            assert len(str(error)) < 300
        else:
            # What plug-ins do with it: sort it, write it into a menu, remember it.
            str(value).encode()
            if isinstance(value, results.PoolList):
                sorted(value.pools)
                "".join(pool.name for pool in value.pools).encode()
            for seconds in (getattr(value, "age", 0.0), getattr(value, "farm_age", 0.0) or 0.0):
                assert 0 <= seconds < float("inf"), seconds


TARGETS = (
    Target(
        "zmtp-server",
        stateless(_zmtp("ROUTER", frozenset({"REQ", "DEALER"}))),
        lambda: (
            _conversation(b"REQ"),
            _conversation(b"DEALER"),
            _GREETING + _ready(b"REQ") + b"\x04\x0d\x05ERROR\x06no way",
        ),
        _changed_zmtp,
    ),
    Target(
        "zmtp-client",
        stateless(_zmtp("REQ", frozenset({"REP", "ROUTER"}))),
        lambda: (_conversation(b"REP"), _conversation(b"ROUTER"), _GREETING + b"\x04\x0d\x05ERROR\x06no way"),
        _changed_zmtp,
    ),
    Target(
        "requests",
        _requests,
        lambda: tuple(
            json.dumps({"v": 1, "id": "7", "op": op, "params": REQUESTS.get(op, {})}).encode() for op in OPERATIONS
        ),
        changed_json,
    ),
    Target(
        "answers",
        stateless(check_answer),
        lambda: (
            *(json.dumps({"v": 1, "id": _ANSWER_ID, "ok": True, "result": result}).encode() for result in _RESULTS),
            b'{"v": 1, "id": "7f3a", "ok": false, "error": {"code": "unknown_pool", "message": "There is no pool."}}',
        ),
        changed_json,
    ),
)
