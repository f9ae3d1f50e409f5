"""Which broker gets a call.

Strategy: a call is one request and one answer, over a connection that stays open for the next call. This module decides
how the time is divided among the endpoints, when to try the next one, and which error to raise when none is left. How a
connection is made is in transport.py, what an answer must look like in results.py.
"""

from __future__ import annotations

import json
import os
import time
from _thread import allocate_lock  # threading.Lock, without all that threading imports

from .errors import AfpoolsError, BrokerRefused, BrokerUnreachable, OutcomeUnknown, ProfileError, refusal
from .process import PerProcess, importing
from .profile import Endpoint, Profile, find_profile
from .results import BadAnswer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional, Tuple, TypeVar

    from . import transport

    _T = TypeVar("_T")

PROTOCOL = 1

# Refusals because of this one broker's state: another broker may accept the request (docs/wire.md).
_TRY_NEXT = frozenset({"store_unavailable", "farm_unavailable", "rate_limited", "internal"})

# Refusals that leave open whether a change was made: the database did not confirm it in time, or the broker has a bug.
# If the broker says that it changed nothing, nothing was changed.
_LEAVE_OPEN = frozenset({"store_unavailable", "internal"})

# Pause between two rounds over all brokers for a change whose outcome is unknown, in seconds; doubled each time.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 0.8

# A connection that has been unused for longer, in seconds, is replaced. A new one costs a few milliseconds; one that a
# firewall has dropped, or that did not survive the laptop's sleep, costs a whole timeout.
_TRUSTED_IDLE = 15.0


class _Own:
    """The part of a client that each process has for itself: a connection, and the lock for using it."""

    def __init__(self) -> None:
        self.lock = allocate_lock()
        self.connection: Optional[transport.Connection] = None

    def drop(self) -> None:
        """Ends the connection."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.close()

    def abandon(self) -> None:
        """In a forked child, drops the connection of the parent."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.abandon()


class Caller:
    """Sends calls to the brokers of a profile, one at a time, and keeps the connection for the next.

    Args, errors: as `afpools.Client`, which has a method for each call.
    """

    def __init__(self, profile: Optional[Profile] = None, timeout: float = 2.0) -> None:
        if timeout <= 0:
            raise ValueError(f"timeout must be more than 0 seconds, not {timeout!r}")
        self.profile = find_profile() if profile is None else profile
        self.timeout = timeout
        self._owned = PerProcess(_Own, _Own.abandon)
        self._preferred: Optional[Endpoint] = None
        self._usable: List[Endpoint] = []
        self._skipped: List[Tuple[Endpoint, str]] = []

    def close(self) -> None:
        """Ends the connection. Waits for another thread's current call, if there is one."""
        own = self._own
        with own.lock:
            own.drop()

    @property
    def _own(self) -> _Own:
        own: _Own = self._owned.get()
        return own

    def _call(self, op: str, params: Dict[str, Any], read: Callable[[Any], _T], at_least: float = 0.0) -> _T:
        until = time.monotonic() + max(self.timeout, at_least)
        # Here, not at the top: it imports socket and ssl, and `import afpools` must cost a host application nothing.
        try:
            with importing:
                from . import transport  # noqa: F401
        except ImportError as error:
            raise AfpoolsError(
                "The Python of this program cannot make encrypted connections: {}. Often another Python's modules "
                "come first (PYTHONPATH, PYTHONHOME, a Blender started with --python-use-system-env): start the "
                "program without them, or ask for its ssl module to be fixed.".format(error)
            ) from None
        own = self._own
        if not own.lock.acquire(timeout=self.timeout):
            raise BrokerUnreachable([("this client", f"other threads kept it busy for {self.timeout:g} seconds")])
        try:
            return self._ask_all(op, params, read, until)
        finally:
            own.lock.release()

    def _ask_all(self, op: str, params: Dict[str, Any], read: Callable[[Any], _T], until: float) -> _T:
        asking = _Asking(op, params, until)
        pause = _FIRST_PAUSE
        while True:
            result = self._ask_each(asking, read)
            if result is not None:
                return result
            if not asking.unknown or time.monotonic() + pause >= until:
                break
            # The broker may be back by then, or the one that refused may have learned of the change.
            time.sleep(pause)
            asking.rounds += 1
            pause = min(2 * pause, _LONGEST_PAUSE)
        if asking.unknown:
            raise OutcomeUnknown(asking.attempts, params["request_id"])
        raise asking.refused or BrokerUnreachable(asking.attempts)

    def _ask_each(self, asking: _Asking, read: Callable[[Any], _T]) -> Optional[_T]:
        """One round over the brokers.

        Returns:
            The result from the broker that answered; None (which is never a result) if none did.

        Raises:
            BrokerRefused: one refused, and the others would refuse as well.
        """
        from .transport import TransportError

        endpoints = self._endpoints()
        # Each broker gets a share of the time that is left, so that one that never answers leaves time for the others.
        # The share is for a broker, not an endpoint: one that is slow at its TLS port is no faster at its CURVE port.
        untried = set(map(_broker, endpoints))
        shares: Dict[str, float] = {}
        # Their other endpoints would say the same, and take as long to say it.
        refused = set()
        for endpoint in endpoints:
            now = time.monotonic()
            broker = _broker(endpoint)
            if broker in refused:
                continue
            if broker in untried:
                shares[broker] = now + (asking.until - now) / len(untried)
                untried.remove(broker)
            if now >= shares[broker]:
                if not asking.rounds:
                    asking.failed(endpoint, "no time was left to try it")
                continue
            try:
                result = read(self._ask(endpoint, asking, shares[broker]))
            except (TransportError, BadAnswer) as error:
                self._own.drop()
                asking.failed(endpoint, str(error), sent=isinstance(error, BadAnswer))
            except ProfileError as error:
                if not asking.unknown:
                    raise
                asking.failed(endpoint, str(error))
            except BrokerRefused as error:
                if not asking.goes_on_after(endpoint, error):
                    self._preferred = endpoint
                    raise
                refused.add(broker)
            except BaseException:
                # Interrupted somewhere between request and answer: the state of the connection is unknown.
                self._own.drop()
                raise
            else:
                self._preferred = endpoint
                return result
        # If the same broker could be tried over TLS, an artist need not read that CURVE needs pyzmq.
        for endpoint, why in self._skipped:
            if _broker(endpoint) not in shares:
                asking.failed(endpoint, why)
        return None

    def _endpoints(self) -> List[Endpoint]:
        """The endpoints that this program can use, in the order to try them."""
        if not self._usable:
            from .transport import unusable

            whys = [(endpoint, unusable(self.profile, endpoint)) for endpoint in self.profile.endpoints]
            self._usable = [endpoint for endpoint, why in whys if why is None]
            self._skipped = [(endpoint, why) for endpoint, why in whys if why is not None]
        if not self._usable:
            raise ProfileError(
                f"The profile {self.profile.folder} has no endpoint that this program can use."
                + "".join(f"\n  {endpoint.url}: {why}." for endpoint, why in self._skipped)
            )
        if self._preferred is None:
            return self._usable
        first = self._usable.index(self._preferred)
        return self._usable[first:] + self._usable[:first]

    def _ask(self, endpoint: Endpoint, asking: _Asking, until: float) -> Dict[str, Any]:
        """One request to one broker, over the open connection if it leads there and still works."""
        from .transport import ConnectionLost, connect

        own = self._own
        connection = own.connection
        if connection is not None:
            if connection.endpoint == endpoint and time.monotonic() < connection.used_at + _TRUSTED_IDLE:
                try:
                    return asking.exchange(connection, until)
                except ConnectionLost:
                    pass  # closed because it was idle, or the broker was restarted: a new connection will tell
            own.drop()
        own.connection = connect(self.profile, endpoint, until)
        return asking.exchange(own.connection, until)


class _Asking:
    """One call in progress: what was asked, and what is known so far.

    Args:
        op: the operation.
        params: its parameters; a change has a `request_id`.
        until: when the call ends, on `time.monotonic`.

    Attributes:
        until: the same.
        rounds: how often all brokers were asked.
        refused: the first refusal.
        unknown: whether the change may have been made, or may yet be, by a broker that did not say so.
    """

    def __init__(self, op: str, params: Dict[str, Any], until: float) -> None:
        self._body = {"v": PROTOCOL, "op": op, "params": params}
        self._is_change = "request_id" in params
        self.until = until
        self.rounds = 0
        self._first: List[Tuple[str, str]] = []
        self._latest: Dict[str, str] = {}
        self.refused: Optional[BrokerRefused] = None
        self.unknown = False

    def exchange(self, connection: transport.Connection, until: float) -> Dict[str, Any]:
        """Asks over a connection; returns the result.

        Raises:
            TransportError: there was no answer in time.
            BadAnswer: there was one that is not what the protocol says.
            BrokerRefused: the broker refuses.
        """
        from .transport import TransportError

        request_id = random_id()
        request = json.dumps({**self._body, "id": request_id}).encode("ascii")
        try:
            answer = connection.exchange(request, until)
        except TransportError as error:
            self.unknown = self.unknown or (error.sent and self._is_change)
            raise
        return read_answer(answer, request_id)

    def failed(self, endpoint: Endpoint, why: str, sent: bool = False) -> None:
        """Notes an attempt without an answer; `sent`: the broker may have received the request."""
        self.unknown = self.unknown or (sent and self._is_change)
        if self.rounds:
            self._latest[endpoint.url] = why
        else:
            self._first.append((endpoint.url, why))

    @property
    def attempts(self) -> List[Tuple[str, str]]:
        """The outcome of each attempt in the first round and in the last: a URL and a clause."""
        return self._first + [attempt for attempt in self._latest.items() if attempt not in self._first]

    def goes_on_after(self, endpoint: Endpoint, error: BrokerRefused) -> bool:
        """Notes a refusal, and decides whether other brokers are asked.

        A refusal says what one broker did with one attempt. It proves nothing about an earlier attempt that may still
        be in progress: brokers look for the `request_id` first, so the change had not been made when this broker
        looked, but a broker that hangs may make it an hour later.
        """
        self.refused = self.refused or error
        leaves_open = error.code in _LEAVE_OPEN and error.made is not False
        self.failed(endpoint, f"it refused: {error}", sent=leaves_open)
        return self.unknown or error.code in _TRY_NEXT


def read_answer(data: bytes, request_id: str) -> Dict[str, Any]:
    """The result in an answer.

    Raises:
        BrokerRefused: it is a refusal.
        BadAnswer: it does not answer our request.
    """
    try:
        answer = json.loads(data.decode("utf-8"))
        if b"\\u" in data:
            # JSON can hold half of a surrogate pair, which no interface can show. Our brokers never send one.
            json.dumps(answer, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        raise BadAnswer(f"it sent what is not JSON: {data[:40]!r}") from None
    if not isinstance(answer, dict):
        raise BadAnswer(f"it sent what is not a JSON object: {data[:40]!r}")
    if answer.get("v") != PROTOCOL:
        raise BadAnswer(
            f"it answers in version {answer.get('v')!r} of the protocol, we use {PROTOCOL}; update the older program"
        )
    ok, answer_id = answer.get("ok"), answer.get("id")
    # A broker that could not read a request (because it is too large, for example) does not know its id. Nothing else
    # is in progress on this connection, so the refusal is for our request.
    if answer_id != request_id and not (ok is False and answer_id == ""):
        raise BadAnswer(f"it answered another request ({answer_id!r}, not {request_id!r})")
    if ok is True and isinstance(answer.get("result"), dict):
        result: Dict[str, Any] = answer["result"]
        return result
    error = answer.get("error")
    if ok is not False or not isinstance(error, dict):
        raise BadAnswer("it sent an answer that has neither a result nor an error")
    code, message, made = error.get("code"), error.get("message"), error.get("made")
    if not isinstance(code, str) or not isinstance(message, str):
        raise BadAnswer("it sent an error without code and message")
    raise refusal(code, message, False if made is False else None)


def _broker(endpoint: Endpoint) -> str:
    return endpoint.broker or endpoint.url


def random_id() -> str:
    """32 hexadecimal digits, like `uuid4().hex`, without importing uuid."""
    return os.urandom(16).hex()
