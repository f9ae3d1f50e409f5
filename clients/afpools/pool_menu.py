"""The pools for an interface to show: immediately, even offline, and without ever waiting for the network.

Strategy: the interface's thread only reads `PoolMenu.current`, a finished picture. A short-lived thread asks the broker
and makes the next picture. The last good list is kept in a file, from which the first picture is made.
"""

from __future__ import annotations

import json
import os
import threading
import time
from _thread import start_new_thread
from binascii import crc32

from .cache import cache_folder, keep, recent_pools
from .choice import REQUIRED, WITHOUT, Standing, from_environment, standing
from .client import Client
from .errors import AfpoolsError, ProfileError
from .process import PerProcess, importing
from .profile import Profile, find_profile
from .results import PoolSummary, cannot_run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

# If a list is older than this, in seconds, the broker is asked again when it is shown.
FRESH = 30.0

# How long counts of renders stay valid, in seconds: renders come and go.
_COUNTS_HOLD = 120.0

# After a failure, an interface that draws itself sixty times a second should not ask sixty times.
_PATIENCE = 10.0

NO_POOL = "No pool"

DEFAULT, RECENT, OTHERS = "Default", "Recently used", "Pools"
"""Headings of a chooser."""

_CHOOSE, _DEFAULT = "Choose a pool", "Default: "


def pool_label(pool: PoolSummary) -> str:
    """A pool as every chooser shows it. A comma follows the name; no later comma is followed by a space."""
    return f"{pool.name}, {pool_machines(pool)}{_second_pool(pool)}"


def _second_pool(pool: PoolSummary) -> str:
    """What a chooser shows of a second pool, for jobs that wait too long."""
    if not pool.spill_to:
        return ""
    return "; also {} after {:,} min".format(pool.spill_to.replace(", ", ","), pool.spill_after // 60)


def pool_machines(pool: PoolSummary) -> str:
    """How many of a pool's hosts could run a job now, as far as that is known."""
    if not pool.hosts:
        return "no hosts"
    if pool.renders is None:
        return _several(pool.hosts, "host")
    if not pool.renders:
        return "no machine on the farm"
    if pool.online is None:
        return _several(pool.renders, "render")
    return f"{pool.online:,} of {pool.renders:,} online"


def _several(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _as_counted(name: str) -> Tuple[List[Tuple[int, str]], str]:
    """Sorts pc-2 before pc-10, and fx beside FX."""
    parts: List[Tuple[int, str]] = []
    digits = text = ""
    for character in name.casefold() + "\0":
        if "0" <= character <= "9":
            digits += character
            continue
        if digits:
            parts += [(0, text), (int(digits), "")]
            digits = text = ""
        text += character
    return [*parts, (0, text)], name


NOTHING = Standing()
"""No pool, and none is required."""


class Menu:
    """A picture of the pools. Do not change it.

    Attributes:
        pools: in the order of their names.
        fetched: when the list was fetched, in seconds since 1970; None if there has never been one.
        refreshing: whether the broker is being asked at this moment.
        error: why the last try failed, in a sentence; empty if it did not.
        notice: a sentence that warns of what will soon go wrong; empty if nothing will.
        holds: what applies if nothing is chosen.
        recent: the pools that this user has lately sent jobs to, the last one first.

    A chooser keeps the name of a pool, `choice.WITHOUT` for no pool, or an empty string if nothing was chosen.
    """

    def __init__(
        self,
        pools: Tuple[PoolSummary, ...],
        fetched: Optional[float],
        refreshing: bool = False,
        error: str = "",
        notice: str = "",
        holds: Standing = NOTHING,
        recent: Sequence[str] = (),
    ) -> None:
        self.pools = pools
        self.fetched = fetched
        self.refreshing = refreshing
        self.error = error
        self.notice = notice
        self.holds = holds
        self.recent = recent
        self._sections: Optional[List[Tuple[str, List[str]]]] = None

    def but(
        self, refreshing: bool, error: str, recent: Optional[Sequence[str]] = None, holds: Optional[Standing] = None
    ) -> Menu:
        """The same list while the broker is asked again, or after it could not be asked."""
        recent = self.recent if recent is None else recent
        holds = self.holds if holds is None else holds
        return Menu(self.pools, self.fetched, refreshing, error, self.notice, holds, recent)

    def resolve(self, name: str) -> str:
        """The pool that a job gets if a chooser has this name; empty for no pool."""
        return self.holds.resolve(name)

    def find(self, name: str) -> Optional[PoolSummary]:
        """The pool with this name, None if the list does not have it."""
        return next((pool for pool in self.pools if pool.name == name), None)

    def counts_hold(self, now: Optional[float] = None) -> bool:
        """Whether this list is new enough to say which machines are online.

        Args:
            now: seconds since 1970, the present if None.
        """
        if self.fetched is None or self.error:
            return False
        return 0 <= (time.time() if now is None else now) - self.fetched < _COUNTS_HOLD

    def is_missing(self, name: str) -> bool:
        """Whether there is no such pool, or no pool at all and the studio requires one. False as long as that is not
        known: the list is old, or there is none."""
        pool = self.resolve(name)
        if not pool:
            return self.holds.required
        return self.fetched is not None and not self.error and self.find(pool) is None

    def label(self, name: str, counts: bool = True) -> str:
        """A pool's text in a chooser, whether or not this list has the pool.

        Args:
            name: empty if nothing was chosen.
            counts: False for a text that will be stored: it then leaves out machines that come and go.
        """
        pool = self.resolve(name)
        if not pool:
            return _CHOOSE if self.holds.required and not name else NO_POOL
        found = self.find(pool)
        if found is None:
            machines = "missing" if self.is_missing(pool) else "not checked yet"
        else:
            lasting = found._replace(renders=None, online=None)
            if not counts:
                lasting = lasting._replace(spill_to="")
            shown = pool_label(found if counts and self.counts_hold() else lasting)
            machines = shown[len(pool) + len(", ") :]
        if name:
            return f"{pool}, {machines}"
        # No comma with a space behind it, which only a pool's own label has.
        return f"{_DEFAULT}{pool} ({machines})".replace(", ", ",\u00a0")

    def named(self, label: str) -> str:
        """The name for a label that `choices` has given, now or earlier: a pool, `WITHOUT`, or an empty string."""
        pool, comma, _ = label.rpartition(", ")
        if comma:
            return pool
        if label == NO_POOL:
            return WITHOUT if self.resolve("") else ""
        return "" if label == _CHOOSE or label.startswith(_DEFAULT) else label.rpartition(" (")[0]

    def dated_label(self, name: str) -> str:
        """A pool's label for a place where it may be read much later, with the minute in which it was true; empty for
        no pool."""
        name = self.resolve(name)
        if not name:
            return ""
        label = self.label(name)
        if self.fetched is None or not (self.find(name) or self.is_missing(name)):
            return label
        return f"{label} ({time.strftime('%Y-%m-%d %H:%M', time.localtime(self.fetched))})"

    def sections(self, chosen: str = "") -> List[Tuple[str, List[str]]]:
        """The names to choose from in the order of every chooser, each name once, under headings.

        First what applies if nothing is chosen, and no pool if that is something else and the studio allows it; then
        the default and the pools used lately; then the rest by name, as people count: pc-2 comes before pc-10. Names
        that share a beginning up to the first `/` come together, after the others, with that beginning as their
        heading. The chosen pool comes last if the list does not have it.

        Args:
            chosen: what the chooser has.
        """
        if self._sections is None:
            self._sections = self._sorted()
        first = ["", WITHOUT] if self.resolve("") and not self.holds.required else [""]
        lacking = [chosen] if chosen not in first and (chosen == WITHOUT or self.find(chosen) is None) else []
        return [("", first), *self._sections, *([("", lacking)] if lacking else [])]

    def _sorted(self) -> List[Tuple[str, List[str]]]:
        # An older broker may have a pool with this name, which no chooser can say.
        left = {pool.name for pool in self.pools} - {WITHOUT}
        found: List[Tuple[str, List[str]]] = []

        def take(heading: str, names: Sequence[str]) -> None:
            names = [name for name in dict.fromkeys(names) if name in left]
            left.difference_update(names)
            if names:
                found.append((heading, names))

        take(DEFAULT, [self.holds.pool])
        take(RECENT, self.recent)
        groups: Dict[str, List[str]] = {}
        for name in sorted(left, key=_as_counted):
            head, slash, _ = name.partition("/")
            groups.setdefault(head if slash and head else "", []).append(name)
        others = groups.pop("", [])
        take(OTHERS if found or groups else "", others)
        for heading in groups:
            take(heading, groups[heading])
        return found

    def choices(self, chosen: str = "", counts: bool = True) -> List[Tuple[str, str]]:
        """The choices, as names and labels, in the order of `sections`.

        Args:
            chosen: what the chooser has.
            counts: as for `label`.
        """
        return [(name, self.label(name, counts)) for _, names in self.sections(chosen) for name in names]

    def refusal(self, name: str) -> str:
        """Why a job cannot be sent, in a sentence; empty if it can, or if that is not known."""
        if not self.is_missing(name):
            return ""
        name = self.resolve(name)
        if not name:
            return REQUIRED
        return f"{name} is missing: choose another pool" + (f", or {NO_POOL}." if not self.holds.required else ".")

    def warning(self, name: str) -> str:
        """What is wrong with a pool for a job that is sent now, in a sentence; empty if nothing is, or if that is not
        known."""
        if self.is_missing(name):
            return self.refusal(name)
        name = self.resolve(name)
        pool = self.find(name)
        if pool is None or not self.counts_hold():
            return ""
        if not pool.hosts:
            return f"The pool {name!r} has no hosts, so no job can be sent to it."
        return cannot_run(name, pool.renders, pool.online)

    def status(self, now: Optional[float] = None) -> str:
        """What to write below the list: if it is fresh, what will soon go wrong; else its age and what is wrong.

        Args:
            now: seconds since 1970, the present if None.
        """
        if self.fetched is None:
            if self.refreshing:
                return "Asking the broker for pools…"
            return self.error or "Pools have not been asked for yet."
        if not self.error:
            return self.notice
        return f"Pools of {_ago((time.time() if now is None else now) - self.fetched)} ago. {self.error}"


class _Asking:
    """What one process knows about asking the broker.

    Attributes:
        menu: the picture to show.
        lock: held while a request is being started.
        done: set when the broker has been asked.
        at: when it was asked last, on `time.monotonic`.
    """

    def __init__(self, menu: Menu) -> None:
        self.menu = menu
        self.lock = threading.Lock()
        self.done = threading.Event()
        self.done.set()
        self.at: Optional[float] = None


class PoolMenu:
    """The list of pools, kept for an interface. A forked child starts with its parent's list, and asks by itself.

    Args:
        profile_folder: where the profile is; if empty, `find_profile` looks for it.
        changed: called on the thread that asks, when there is a new picture. Most toolkits do not allow drawing there:
            set a flag or post an event.
        folder: where the last good list is remembered; the user's cache by default.
        timeout: seconds that the broker may take to answer.
    """

    def __init__(
        self,
        profile_folder: str = "",
        changed: Callable[[], None] = lambda: None,
        folder: Optional[str] = None,
        timeout: float = 2.0,
    ) -> None:
        self._profile_folder = profile_folder
        self._changed = changed
        # Another profile's pools may be another studio's, so each profile has its own file, which says whose it is.
        self._whose = profile_folder or os.environ.get("AFPOOLS_PROFILE", "")
        which = crc32(self._whose.encode("utf-8", "surrogatepass"))
        self._folder = folder or cache_folder()
        self._file = os.path.join(self._folder, f"pools-{which:08x}.json")
        self._timeout = timeout
        # As it was when the program started: AfStarter's launcher changes it for the program that sends the job.
        self._variable = from_environment()
        remembered = _remembered(self._file, self._whose)
        # Read here, from the same disk as the list of last time: a chooser must not show "No pool" for a job that will
        # get one.
        self._last = remembered.but(False, "", recent_pools(self._folder), self._holds(NOTHING))
        self._owned = PerProcess(lambda: _Asking(self._last))

    @property
    def _asking(self) -> _Asking:
        asking: _Asking = self._owned.get()
        return asking

    def current(self) -> Menu:
        """The picture to show. Never waits; if it is old, asks for a newer one in the background."""
        asking = self._asking
        fetched = asking.menu.fetched
        age = None if fetched is None else time.time() - fetched
        asked = None if asking.at is None else time.monotonic() - asking.at
        if (age is None or not 0 <= age < FRESH) and (asked is None or asked > _PATIENCE):
            self.refresh()
        return asking.menu

    def latest(self) -> Menu:
        """The current picture, without asking for a newer one."""
        return self._asking.menu

    def refresh(self) -> None:
        """Asks the broker in the background. Does nothing if it is already being asked. Never waits."""
        asking = self._asking
        with asking.lock:
            if not asking.done.is_set():
                return
            asking.at = time.monotonic()
            last = self._last
            asking.menu = last.but(True, last.error)
            asking.done.clear()
            # Not threading.Thread: its `start` waits until the thread runs, and the thread then holds the GIL for its
            # first 5 ms, while the interface is drawing. Like a daemon thread, this one ends with the program, which
            # need not wait for a broker that hangs.
            try:
                start_new_thread(self._ask, (asking,))
            except RuntimeError as error:  # the system has no more threads
                self._end(asking, last.but(False, f"The broker could not be asked: {error}."))

    def wait(self, timeout: float) -> Menu:
        """The picture once the broker has answered, for programs without an interface and for tests.

        Args:
            timeout: seconds.
        """
        asking = self._asking
        asking.done.wait(timeout)
        return asking.menu

    def _ask(self, asking: _Asking) -> None:
        last, recent = self._last, recent_pools(self._folder)
        holds = self._holds(last.holds)
        try:
            profile = Profile.load(self._profile_folder) if self._profile_folder else find_profile()
            with Client(profile, timeout=self._timeout) as client:
                pools = tuple(client.list_pools().pools)
        except AfpoolsError as error:
            menu = last.but(False, str(error), recent, holds)
        except Exception as error:  # noqa: BLE001 - the user must see it, and this thread has no other way to report it
            menu = last.but(False, f"The pools could not be read: {error!r}", recent, holds)
        else:
            now = time.time()
            with importing:
                from .certificate import expires_soon
            notice = expires_soon(profile.client_file, now)
            menu = Menu(pools, now, notice=notice, holds=holds, recent=recent)
            _remember(self._file, self._whose, menu)
        self._end(asking, menu)
        self._changed()

    def _holds(self, otherwise: Standing) -> Standing:
        """What applies if nothing is chosen; the other if the profile cannot be read, which the next request says."""
        try:
            return standing(self._profile_folder, self._variable)
        except ProfileError:
            return otherwise._replace(pool=self._variable or otherwise.pool)

    def _end(self, asking: _Asking, menu: Menu) -> None:
        self._last = asking.menu = menu
        asking.done.set()


def _remember(file: str, whose: str, menu: Menu) -> None:
    """Keeps the list for next time. If the disk is full or read-only, the current list still counts."""
    pools = [pool._asdict() for pool in menu.pools]
    keep(file, json.dumps({"profile": whose, "fetched": menu.fetched, "pools": pools}))


def _remembered(file: str, whose: str) -> Menu:
    """The list from last time; an empty one if there is none, or if it cannot be read."""
    try:
        with open(file, encoding="utf-8") as source:
            kept: Dict[str, Any] = json.load(source)
        if kept["profile"] != whose:
            return Menu((), None)
        pools = tuple(
            PoolSummary(
                str(pool["name"]),
                int(pool["hosts"]),
                str(pool["revision"]),
                str(pool["description"]),
                str(pool["colour"]),
                _count(pool.get("renders")),
                _count(pool.get("online")),
                spill_to=str(pool.get("spill_to") or ""),
                spill_after=_count(pool.get("spill_after")) or 0,
            )
            for pool in kept["pools"]
        )
        fetched = float(kept["fetched"])
        # Python's json accepts Infinity and half of a surrogate pair, and no interface can show either.
        texts = (text for pool in pools for text in (pool.name, pool.description, pool.spill_to))
        "".join(texts).encode("utf-8")
        return Menu(pools, fetched) if abs(fetched) < float("inf") else Menu((), None)
    except (OSError, ValueError, LookupError, TypeError, RecursionError, OverflowError):
        return Menu((), None)


def _count(kept: Any) -> Optional[int]:
    return None if kept is None else int(kept)


def _ago(seconds: float) -> str:
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return "a moment"
