"""The state of the farm: asks afserver for its renders and its users.

Strategy: anything unexpected is an error that leaves the last good list as it was; no answer is ever believed in part.
If afserver reports events, only the renders that changed are asked for. All of them are asked for if one was added or
removed, if anything is in doubt, and once a minute.
"""

from __future__ import annotations

import datetime as dt
import logging
import re
import sys
import threading
import time
import zlib
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import msgspec
from msgspec import Struct

from ..pools.pool import unique
from ..protocol import RequestRefused
from ..store import PoolStore, StoreUnavailable
from .afserver import MAX_ANSWER, FarmError, ask
from .monitor import DELAY, LONGEST_SILENCE, Monitor

log = logging.getLogger("afpools.farm")

_T = TypeVar("_T")

# afserver escapes line ends, tabs, quotes and backslashes in a name, and no other control character (af::strEscape),
# which JSON forbids within a string. The pattern also finds what is already escaped, so that it can be left alone.
_ESCAPED_OR_CONTROL = re.compile(rb"\\.|[\x00-\x08\x0b\x0c\x0e-\x1f]", re.DOTALL)

# How many bytes of an invalid answer, on either side of what is wrong with it, go into the error.
_SHOWN = 40

# afserver writes the state as words of three letters (jw_stateRender in its name_afjson.cpp); these are the ones that
# matter for a host. NbY is the nimby that allows its own user's jobs, NBY the one that allows no jobs.
_STATES = {
    "ONL": "online",
    "OFF": "offline",
    "RUN": "busy",
    "NbY": "nimby",
    "NBY": "nimby",
    "PAU": "paused",
    "SIC": "sick",
}


class Render(Struct, frozen=True, array_like=True, gc=False):
    """One machine of the farm.

    `states` are some of online, offline, busy, nimby, paused, sick, in that order.
    """

    # Without garbage collection, which a struct of texts does not need, each is a quarter smaller.

    name: str
    states: tuple[str, ...] = ()
    address: str = ""
    engine: str = ""
    native_pool: str = ""


@dataclass(frozen=True)
class Farm:
    """The renders that the farm has, online or not, and when that was true.

    Args:
        renders: as afserver listed them.
        seen: when afserver listed them.
        known_since: when this process got the list, in seconds of `time.monotonic`.
        regex_users: the users whose jobs' masks are read as regex if the job sets no type; None if afserver has never
            listed its users. Masks of all other users are read as find.
    """

    renders: tuple[Render, ...]
    seen: dt.datetime
    known_since: float = field(default_factory=time.monotonic)
    regex_users: frozenset[str] | None = None

    @cached_property
    def regex_users_folded(self) -> frozenset[str]:
        """The same names, case-folded."""
        return frozenset(map(str.casefold, self.regex_users or ()))

    @cached_property
    def online(self) -> frozenset[str]:
        """The names of the renders that are online."""
        return frozenset(render.name for render in self.renders if "online" in render.states)

    def confirmed(self, seen: dt.datetime, regex_users: frozenset[str] | None) -> Farm:
        """The same renders, which afserver has just confirmed; what was derived from them is kept."""
        farm = Farm(self.renders, seen, regex_users=regex_users)
        vars(farm)["online"] = self.online
        return farm

    def age(self, now: dt.datetime) -> float:
        """Seconds since the list was true. Setting the clock back does not make a list younger."""
        return max(0.0, (now - self.seen).total_seconds(), time.monotonic() - self.known_since)


class _Address(Struct, gc=False):
    ip: str = ""


class _Render(Struct, gc=False):
    name: str
    id: Annotated[int, msgspec.Meta(ge=0, lt=2**31)] = 0
    state: str = ""
    engine: str = ""
    pool: str = ""
    address: _Address = msgspec.field(default_factory=_Address)


class _List(NamedTuple):
    """Renders, and the number that afserver has for each, in the same order."""

    renders: tuple[Render, ...]
    ids: array[int]


class _Renders(Struct):
    # Still raw JSON: decoding every string of a whole farm's answer, most of them unused, would take more memory than
    # the answer.
    renders: list[msgspec.Raw]


class _User(Struct, gc=False):
    name: str
    # Listed only if somebody has set it (measured on 3.4.1); older versions do not have it.
    hosts_mask_type: Literal["", "find", "regex"] = ""


class _Users(Struct):
    users: list[_User]


_decode_renders = msgspec.json.Decoder(_Renders, strict=False).decode
_decode_render = msgspec.json.Decoder(_Render, strict=False).decode
_decode_users = msgspec.json.Decoder(_Users, strict=False).decode
_decode_kept = msgspec.msgpack.Decoder(Render).decode
_decode_kept_users = msgspec.msgpack.Decoder(frozenset[str]).decode


def parse_renders(body: bytes | memoryview, last: tuple[Render, ...] = ()) -> tuple[Render, ...]:
    """The renders in afserver's answer to `{"get": {"type": "renders"}}`.

    Args:
        body: the answer.
        last: the previous renders; unchanged ones are taken from there, so that two lists of a large farm take little
            more memory than one.

    Raises:
        FarmError: the answer is not a list of renders.
    """
    return _parse_list(body, last).renders


def _parse_list(body: bytes | memoryview, last: Iterable[Render]) -> _List:
    before = {render.name: render for render in last}
    return _escaped_if_need_be(body, lambda text: _parse(text, before))


def parse_regex_users(body: bytes | memoryview) -> frozenset[str]:
    """The users whose jobs' masks are read as regex, in afserver's answer to `{"get": {"type": "users"}}`.

    Raises:
        FarmError: the answer is not a list of users.
    """
    return _escaped_if_need_be(body, _parse_users)


def _escaped_if_need_be(body: bytes | memoryview, parse: Callable[[bytes | memoryview], _T]) -> _T:
    try:
        return parse(body)
    except FarmError:
        escaped = _ESCAPED_OR_CONTROL.sub(_escape_control, body)
        if escaped == body:
            raise
    return parse(escaped)


def _parse_users(body: bytes | memoryview) -> frozenset[str]:
    try:
        return frozenset(user.name for user in _decode_users(body).users if user.hosts_mask_type == "regex")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        shown = bytes(memoryview(body)[: 2 * _SHOWN])
        raise FarmError(f"afserver's list of users makes no sense ({error}): {shown!r}.") from None


def _parse(body: bytes | memoryview, before: dict[str, Render]) -> _List:
    renders: list[Render] = []
    ids = array("i")
    piece = body
    try:
        for piece in _decode_renders(body).renders:
            render = _decode_render(piece)
            if render.name:
                renders.append(_render(render, before.get(render.name)))
                ids.append(render.id)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FarmError(f"afserver's list of renders {_what_is_wrong(piece, error)}.") from None
    return _List(tuple(renders), ids)


def _what_is_wrong(piece: bytes | memoryview, error: Exception) -> str:
    """Why something could not be read, with the part of it that shows why. Depending on its version, msgspec says where
    text stops being UTF-8 or does not, so that place is searched for here."""
    try:
        str(piece, "utf-8")
    except UnicodeDecodeError as found:
        around = found.object[max(0, found.start - _SHOWN) : found.start + _SHOWN]
        return f"is not UTF-8 ({found.reason}), near {around!r}"
    return f"makes no sense ({error}): {bytes(memoryview(piece)[: 2 * _SHOWN])!r}"


def _escape_control(found: re.Match[bytes]) -> bytes:
    text = found[0]
    return text if text.startswith(b"\\") else b"\\u%04x" % text[0]


def _render(read: _Render, before: Render | None) -> Render:
    render = Render(
        name=before.name if before else read.name,
        states=_states(read.state),
        address=read.address.ip,
        # Thousands of renders share a few values: each is stored once.
        engine=sys.intern(read.engine),
        native_pool=sys.intern(read.pool),
    )
    return before if before == render else render


@lru_cache(maxsize=256)
def _states(text: str) -> tuple[str, ...]:
    words = frozenset(text.split())
    return unique(state for word, state in _STATES.items() if word in words)


def _same_hosts(first: tuple[Render, ...], second: tuple[Render, ...]) -> bool:
    """Whether both are the same hosts, ignoring their states."""
    return first is second or (
        len(first) == len(second)
        and all(
            one is other or msgspec.structs.replace(one, states=other.states) == other
            for one, other in zip(first, second, strict=True)
        )
    )


def pack(renders: tuple[Render, ...], regex_users: frozenset[str] | None = None) -> bytes:
    """The renders as a store keeps them: a list of 100,000 is about 2 MB, well within MongoDB's 16.

    The users follow as a separate part: a broker of an older version does not look there.
    """
    users = b"" if regex_users is None else zlib.compress(msgspec.msgpack.encode(sorted(regex_users)))
    return zlib.compress(msgspec.msgpack.encode(renders)) + users


def unpack(data: bytes) -> tuple[tuple[Render, ...], frozenset[str] | None]:
    """The opposite of `pack`.

    Raises:
        FarmError: the data is not what `pack` made.
    """
    try:
        packed, rest = _decompressed(data)
        regex_users = _decode_kept_users(_decompressed(rest)[0]) if rest else None
        pieces = msgspec.msgpack.decode(packed, type=list[msgspec.Raw])
        states: dict[tuple[str, ...], tuple[str, ...]] = {}
        renders = tuple(
            Render(
                name=render.name,
                states=states.setdefault(render.states, render.states),
                address=render.address,
                engine=sys.intern(render.engine),
                native_pool=sys.intern(render.native_pool),
            )
            for render in map(_decode_kept, pieces)
        )
    except (zlib.error, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FarmError(f"The list of renders kept in the database cannot be read: {error}.") from None
    return renders, regex_users


def _decompressed(data: bytes) -> tuple[bytes, bytes]:
    """The first part, decompressed, and the parts that follow it, as they are.

    Raises:
        zlib.error: the data is not compressed.
        FarmError: the first part is too large.
    """
    unpacker = zlib.decompressobj()
    packed = unpacker.decompress(data, MAX_ANSWER)
    if unpacker.unconsumed_tail:
        raise FarmError(f"The list of renders kept in the database is larger than {MAX_ANSWER:,} bytes.")
    return packed, unpacker.unused_data


# Seconds between two requests for all renders if events say which ones changed: if afserver ever changes one without an
# event, we notice it after this time.
_WHOLE = 60

# Seconds between two saves of the list in the database, as long as only states have changed: a broker that starts while
# afserver is unreachable finds states, and the age of the list, that much older.
_SAVE = 60

# If more than this fraction of all renders changed, asking for all of them costs less than asking for those.
_FEW = 0.1


class FarmWatch:
    """Keeps the last good lists of renders and users, which it polls on its own thread.

    Args:
        address: afserver's host and port.
        interval: seconds between two polls.
        timeout: seconds for one request.
        store: keeps the list for a broker that is restarted while afserver is unreachable.
        changed: called with each new list, on the watch's thread.
    """

    def __init__(
        self,
        address: tuple[str, int],
        *,
        interval: float,
        timeout: float,
        store: PoolStore,
        changed: Callable[[Farm], None],
    ) -> None:
        self.server = f"{address[0]}:{address[1]}"
        self.error = "afserver has not been asked yet."
        self.farm: Farm | None = None
        self._said = ""
        self._said_of_users = ""
        self._address, self._interval, self._timeout = address, interval, timeout
        self._store, self._changed = store, changed
        self._saved: tuple[tuple[Render, ...], frozenset[str] | None] = ((), None)
        self._saved_at = float("-inf")
        self._monitor: Monitor | None = None
        self._no_monitor_until = float("-inf")
        self._list = _List((), array("i"))
        self._list_seen = dt.datetime.min.replace(tzinfo=dt.UTC)
        self._list_due = float("-inf")
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="afpools-farm", daemon=True)

    def start(self) -> None:
        """Starts polling."""
        self._thread.start()

    def stop(self, *, wait: float) -> None:
        """Ends the thread; waits at most `wait` seconds for a request in progress."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(wait)

    def set_pace(self, *, interval: float, timeout: float) -> None:
        """Sets the polling interval and the timeout of an answer, both in seconds; polls right away."""
        self._interval, self._timeout = interval, timeout
        self._wake.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                if self.farm is None:
                    self._recall()
                self.poll()
            except Exception:
                # Not even a bug may end the only thread that watches the farm.
                log.exception("Asking afserver failed")
                self.error = "The broker failed to ask afserver; its log says why."
            self._wake.wait(self._interval)
            self._wake.clear()

    def poll(self) -> None:
        """Polls once. An error is kept in `error`, and logged when it begins and when it ends, not each time."""
        try:
            renders, seen = self._renders()
        except FarmError as error:
            self.error = str(error)
            if self.error != self._said:
                log.warning("%s The last good list of renders stays in use, if there is one.", error)
                self._said = self.error
            return
        if self.error:
            log.info("afserver at %s answers: %d renders.", self.server, len(renders))
        self._said = ""
        self.error = ""
        users = self._regex_users()
        if self.farm is not None and renders is self.farm.renders:
            farm = self.farm.confirmed(seen, users)
        else:
            farm = Farm(renders, seen, regex_users=users)
        self._accept(farm)
        self._save(farm)

    def _renders(self) -> tuple[tuple[Render, ...], dt.datetime]:
        """The renders, and when afserver listed them; the same tuple as before if nothing has changed.

        Raises:
            FarmError: afserver does not answer, or not with a list.
        """
        # Kept again only after everything it reported has been read: afserver reports each event once, even if the
        # answer never arrives.
        monitor, self._monitor = self._monitor, None
        if monitor:
            seen = max(dt.datetime.now(dt.UTC) - dt.timedelta(seconds=DELAY), self._list_seen)
            # Fetched even if the whole list is due: afserver forgets a monitor that is silent.
            events = monitor.fetch()
            if events is None:
                monitor = None
            elif (
                time.monotonic() < self._list_due
                and not events.added
                and not events.deleted
                and self._update(set(events.changed))
            ):
                self._monitor = monitor
                return self._list.renders, seen
        # Before the list is read, or a change between the two would go unnoticed.
        monitor = monitor or self._register()
        last = self.farm.renders if self.farm else ()
        # The answer is freed as soon as it has been parsed.
        listed = _parse_list(self._ask({"get": {"type": "renders"}}), last)
        if not listed.renders:
            # afserver also lists offline renders: an empty list means that it has lost its renders, or is the wrong
            # server.
            raise FarmError(f"afserver at {self.server} lists no renders at all, not even offline ones.")
        self._list, self._list_seen = listed, dt.datetime.now(dt.UTC)
        self._list_due = time.monotonic() + _WHOLE
        self._monitor = monitor
        return listed.renders, self._list_seen

    def _ask(self, request: dict[str, Any]) -> memoryview:
        return ask(self._address, request, timeout=self._timeout)

    def _register(self) -> Monitor | None:
        if self._interval > LONGEST_SILENCE or time.monotonic() < self._no_monitor_until:
            return None
        try:
            monitor = Monitor.register(self._ask)
        except FarmError:
            # The list does not depend on the monitor, and reports its own errors.
            monitor = None
        if monitor is None:
            self._no_monitor_until = time.monotonic() + _WHOLE
        return monitor

    def _update(self, changed: set[int]) -> bool:
        """Reads the renders with these numbers again; False if the answer is unusable, so that all must be read.

        Raises:
            FarmError: afserver does not answer.
        """
        if not changed:
            return True
        renders, ids = self._list
        places = {number: place for place, number in enumerate(ids) if number in changed}
        if len(places) < len(changed) or len(changed) > max(1, _FEW * len(renders)):
            return False
        read = _parse_list(
            self._ask({"get": {"type": "renders", "ids": sorted(changed)}}),
            [renders[place] for place in places.values()],
        )
        if sorted(read.ids) != sorted(changed):
            return False
        new = list(renders)
        for number, render in zip(read.ids, read.renders, strict=True):
            place = places[number]
            if render.name != renders[place].name:
                return False
            new[place] = render
        if any(new[place] is not renders[place] for place in places.values()):
            self._list = _List(tuple(new), ids)
        return True

    def _regex_users(self) -> frozenset[str] | None:
        """Asks for the users. If that fails, returns the last known ones: a fence depends on the renders, which must
        not wait for the users."""
        try:
            users = parse_regex_users(self._ask({"get": {"type": "users"}}))
        except FarmError as error:
            if str(error) != self._said_of_users:
                log.warning("%s The last good list of users stays in use, if there is one.", error)
            self._said_of_users = str(error)
            return self.farm.regex_users if self.farm else None
        self._said_of_users = ""
        return users

    def _accept(self, farm: Farm) -> None:
        self.farm = farm
        self._changed(farm)

    def _recall(self) -> None:
        """Starts from the stored list, so that a broker restarted without afserver knows the farm."""
        try:
            kept = self._store.load_farm()
            if kept is not None and self.farm is None:
                now = dt.datetime.now(dt.UTC)
                # A list from the future was stored by a broker with a wrong clock: assume it is at least as old as it
                # is ahead.
                renders, regex_users = unpack(kept[0])
                self._accept(Farm(renders, now - abs(now - kept[1]), regex_users=regex_users))
        except (StoreUnavailable, FarmError) as error:
            log.warning("The stored list of renders is not available: %s", error)

    def _save(self, farm: Farm) -> None:
        kept = (farm.renders, farm.regex_users)
        if (
            time.monotonic() < self._saved_at + _SAVE
            and farm.regex_users == self._saved[1]
            and _same_hosts(farm.renders, self._saved[0])
        ):
            return
        try:
            self._store.save_farm(pack(*kept), farm.seen)
        except (StoreUnavailable, RequestRefused) as error:
            log.warning("The list of renders could not be stored: %s", error)
            return
        self._saved, self._saved_at = kept, time.monotonic()
