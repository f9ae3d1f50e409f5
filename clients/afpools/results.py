"""What the calls return: small immutable objects, made from the broker's JSON and checked as they are made.

Strategy: each class has a function that reads it. Keys that a newer broker adds are ignored. A required key that is
missing, or has a value of the wrong type, makes the whole answer invalid: a mask that cannot be relied on is not a
mask.
"""

from __future__ import annotations

from .records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional, Tuple, TypeVar

    _T = TypeVar("_T")

MASK_TYPES = ("regex", "find", "any")
READINGS = ("regex", "find", "either")


class BadAnswer(Exception):
    """An answer is not what the protocol says. The message is a clause about the broker."""


class Hello(Record):
    """Who we are to the broker.

    `operations` are those our role may ask for, `message_bytes` is the largest request it takes.
    """

    broker: str
    version: str
    protocol: int
    name: str
    role: str
    operations: Tuple[str, ...]
    message_bytes: int


class PoolSummary(Record):
    """A pool as a menu shows it; `hosts` counts its hosts.

    `renders` says how many of those are renders of the farm, `online` how many of them are online. They are None if the
    broker does not know: without afserver, with an old list of renders, and (`online` only) while the whole farm is
    offline. `follows` is the one of Afanasy's own pools whose renders it has; empty if people choose its hosts.
    `spill_to` is a second pool, empty for none, that its jobs may use too after `spill_after` seconds without a running
    task.
    """

    name: str
    hosts: int
    revision: str
    description: str = ""
    colour: str = ""
    renders: Optional[int] = None
    online: Optional[int] = None
    follows: str = ""
    spill_to: str = ""
    spill_after: int = 0


class PoolList(Record):
    """All pools, sorted by name.

    `age` is the time in seconds since the broker's database last confirmed them. `unchanged` means that they are still
    as they were at the revision in the request; `pools` is then empty.
    """

    pools: Tuple[PoolSummary, ...]
    revision: str
    age: float
    unchanged: bool = False


class Pool(Record):
    """One pool with its hosts as they were entered. `age`: see `PoolList`; the rest: see `PoolSummary`."""

    name: str
    hosts: Tuple[str, ...]
    revision: str
    description: str = ""
    colour: str = ""
    age: float = 0.0
    follows: str = ""
    spill_to: str = ""
    spill_after: int = 0


class HostSummary(Record):
    """One host. `states` are among online, offline, busy, nimby, paused, sick; none for a host the farm does not
    know."""

    name: str
    states: Tuple[str, ...] = ()
    address: str = ""
    engine: str = ""
    native_pool: str = ""
    registered: bool = False
    pools: Tuple[str, ...] = ()


class HostList(Record):
    """Every host known to the broker. `age`: see `PoolList`; `farm_age` is the time in seconds since afserver last
    confirmed its renders, None if there is no afserver or it has never been seen; `farm_unseen` is set in the latter
    case. `farm_is_stale` is set if afserver's list is older than the studio allows (`flag_after`); older brokers do not
    say.

    `revision` changes when a pool changes, or the set of known hosts. It is empty if pools changed so often that the
    pages of the list were read in different states, and from a broker older than this library."""

    hosts: Tuple[HostSummary, ...]
    age: float
    farm_age: Optional[float] = None
    farm_unseen: bool = False
    farm_is_stale: bool = False
    revision: str = ""


class Mask(Record):
    """An exclude mask that keeps a job on a pool.

    `mask_type` is what the job's `hosts_mask_type` must say, `any` if both types read the mask alike. `why` says why
    `style` is not the one that was requested; empty if it is. Ages: see `HostList`; `farm_is_stale` is set if the mask
    depends on a list of renders that is older than the studio allows. An empty `mask` is right for a pool that has
    every known host. `untyped_as` is how this farm reads the masks of this user's jobs if a job has no type (`regex`,
    `find`, or `either` if the broker cannot know); empty from a broker older than this library. `pool_renders` and
    `pool_online`: as `renders` and `online` of `PoolSummary`. `unfollowed` is set by `apply_pool`: a sentence if the
    job's fence will not follow the pool; else empty.
    """

    pool: str
    revision: str
    mask: str
    mask_type: str
    style: str
    pool_hosts: int
    excluded_hosts: int
    known_hosts: int
    covers_future_hosts: bool
    age: float
    farm_age: Optional[float] = None
    why: str = ""
    farm_is_stale: bool = False
    untyped_as: str = ""
    pool_renders: Optional[int] = None
    pool_online: Optional[int] = None
    unfollowed: str = ""

    @property
    def warning(self) -> str:
        """Sentences for whoever sends a job with this mask: that none of the pool's machines could run it now, or that
        its fence will not follow the pool. Empty if neither is the case."""
        return " ".join(filter(None, (cannot_run(self.pool, self.pool_renders, self.pool_online), self.unfollowed)))


def cannot_run(pool: str, renders: Optional[int], online: Optional[int]) -> str:
    """A sentence for whoever sends a job to a pool, if none of its hosts could run the job now.

    Args:
        pool: its name.
        renders: as `PoolSummary.renders`, or `Mask.pool_renders`.
        online: as `PoolSummary.online`, or `Mask.pool_online`.

    Returns:
        Empty if one could, or if that is not known.
    """
    if renders == 0:
        return f"No host of the pool {pool!r} is a machine of this farm: the job will wait until one joins it."
    if renders is None or online != 0:
        return ""
    which = "The only render" if renders == 1 else f"Each of the {renders:,} renders"
    return f"{which} of the pool {pool!r} is offline: the job will wait until one is online."


class WriteResult(Record):
    """What a change did.

    `change` is the id of its entry in the history, empty if everything was already as requested; `pool` is the pool's
    name now, `revision` its revision, empty for a deletion; `hosts` says how many hosts it has now. `unchecked` is a
    sentence for people if the broker could not tell whether the hosts that were added are on the farm; else empty.
    """

    change: str
    pool: str
    revision: str
    hosts: int
    added: Tuple[str, ...] = ()
    removed: Tuple[str, ...] = ()
    unchecked: str = ""


class SystemPool(Record):
    """Where the post commands of jobs run.

    `pool` is the pool that was chosen; empty for none, None if nobody has chosen. `state` is a sentence about the
    current state, `problem` says whether somebody must look at it, `settled` whether the broker has looked at
    afserver's system job since the pool was chosen.
    """

    pool: Optional[str]
    state: str
    problem: bool
    settled: bool


class HistoryEntry(Record):
    """One change: who did what, when (ISO 8601), from which revision to which.

    `diff` has `name`, `description`, `colour` as [before, after] and the lists `added`, `removed` and `jobs` (those
    that were moved), each only if something changed, and `follows` as [before, after] for a pool that followed one of
    Afanasy's before or after; `hosts` says how many there were after it. `undoes` is the id of
    the change that this one undid, else empty; `undoable` says whether this one can be undone now, `why_not` why it
    cannot. `verb` is what was done, as it stands before the pool's name (`added hosts to`); empty from older brokers.
    """

    id: str
    when: str
    who: str
    op: str
    pool: str
    diff: Dict[str, Any]
    before: str
    after: str
    hosts: int = 0
    undoes: str = ""
    undoable: bool = False
    why_not: str = ""
    verb: str = ""


class NativePool(Record):
    """One of Afanasy's own pools: its `path` there, the name of our `pool`; `created` if there was none, `hosts` its
    renders, `added` those that our pool lacked; `change` is the id of the entry in the history, empty for none."""

    path: str
    pool: str
    created: bool
    hosts: Tuple[str, ...]
    added: Tuple[str, ...]
    change: str = ""


_REQUIRED: Any = object()


class Fields:
    """The fields of one JSON object, each read as the type it must have."""

    def __init__(self, value: Any, what: str) -> None:
        if not isinstance(value, dict):
            raise BadAnswer(f"it sent {_short(value)} for {what}")
        self._value = value
        self._what = what

    def text(self, key: str, default: str = _REQUIRED) -> str:
        value = self._value.get(key, default)
        if isinstance(value, str):
            return value
        raise self._wrong(key, value)

    def optional_text(self, key: str) -> Optional[str]:
        return None if self._value.get(key) is None else self.text(key)

    def count(self, key: str, default: int = _REQUIRED) -> int:
        value = self._value.get(key, default)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        raise self._wrong(key, value)

    def optional_count(self, key: str) -> Optional[int]:
        return None if self._value.get(key) is None else self.count(key)

    def seconds(self, key: str, default: float = _REQUIRED) -> float:
        value = self._value.get(key, default)
        # Python's json accepts NaN and Infinity, which cannot be written in minutes.
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < float("inf"):
            return value
        raise self._wrong(key, value)

    def optional_seconds(self, key: str) -> Optional[float]:
        return None if self._value.get(key) is None else self.seconds(key)

    def flag(self, key: str, default: bool = _REQUIRED) -> bool:
        value = self._value.get(key, default)
        if isinstance(value, bool):
            return value
        raise self._wrong(key, value)

    def texts(self, key: str, default: Any = _REQUIRED) -> Tuple[str, ...]:
        value = self._value.get(key, default)
        if value is default and default is not _REQUIRED:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._wrong(key, value)
        return tuple(value)

    def mapping(self, key: str) -> Dict[str, Any]:
        value = self._value.get(key, _REQUIRED)
        if isinstance(value, dict):
            return value
        raise self._wrong(key, value)

    def optional(self, key: str, read: Callable[[Any], _T]) -> Optional[_T]:
        return None if self._value.get(key) is None else read(self._value[key])

    def each(self, key: str, read: Callable[[Any], _T]) -> List[_T]:
        value = self._value.get(key, _REQUIRED)
        if isinstance(value, list):
            return [read(item) for item in value]
        raise self._wrong(key, value)

    def _wrong(self, key: str, value: Any) -> BadAnswer:
        if value is _REQUIRED:
            return BadAnswer(f"it sent {self._what} without {key!r}")
        return BadAnswer(f"it sent {self._what} with {_short(value)} as {key!r}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def read_hello(result: Any) -> Hello:
    f = Fields(result, "a hello")
    return Hello(
        f.text("broker"),
        f.text("version"),
        f.count("protocol"),
        f.text("name"),
        f.text("role"),
        f.texts("operations"),
        f.count("message_bytes"),
    )


def _read_summary(value: Any) -> PoolSummary:
    f = Fields(value, "a pool")
    return PoolSummary(
        f.text("name"),
        f.count("hosts"),
        f.text("revision"),
        f.text("description", ""),
        f.text("colour", ""),
        f.optional_count("renders"),
        f.optional_count("online"),
        f.text("follows", ""),
        *_read_spill(f),
    )


def _read_spill(pool: Fields) -> Tuple[str, int]:
    spill = pool.optional("spill", lambda value: Fields(value, "a second pool"))
    return ("", 0) if spill is None else (spill.text("pool"), spill.count("after"))


def read_pools(result: Any) -> PoolList:
    f = Fields(result, "a list of pools")
    unchanged = f.flag("unchanged", False)
    pools = () if unchanged else tuple(f.each("pools", _read_summary))
    return PoolList(pools, f.text("revision"), f.seconds("age"), unchanged)


def read_pool(result: Any) -> Pool:
    outer = Fields(result, "an answer")
    f = Fields(outer.mapping("pool"), "a pool")
    return Pool(
        f.text("name"),
        f.texts("hosts"),
        f.text("revision"),
        f.text("description", ""),
        f.text("colour", ""),
        outer.seconds("age", 0.0),
        f.text("follows", ""),
        *_read_spill(f),
    )


def _read_host(value: Any) -> HostSummary:
    f = Fields(value, "a host")
    return HostSummary(
        f.text("name"),
        f.texts("states", ()),
        f.text("address", ""),
        f.text("engine", ""),
        f.text("native_pool", ""),
        f.flag("registered", False),
        f.texts("pools", ()),
    )


def read_hosts(result: Any) -> Tuple[HostList, Optional[str]]:
    """A page of the list of hosts, and the name that the next page follows; None at the end."""
    f = Fields(result, "a list of hosts")
    hosts = tuple(f.each("hosts", _read_host))
    page = HostList(
        hosts,
        f.seconds("age"),
        f.optional_seconds("farm_age"),
        f.flag("farm_unseen", False),
        f.flag("farm_is_stale", False),
        f.text("revision", ""),
    )
    return page, f.optional_text("next")


def joined(pages: List[HostList]) -> HostList:
    """One list made of its pages."""
    hosts = tuple([host for page in pages for host in page.hosts])
    return pages[-1]._replace(hosts=hosts, age=max(page.age for page in pages))


def read_mask(result: Any) -> Mask:
    f = Fields(result, "a mask")
    mask_type = f.text("mask_type")
    if mask_type not in MASK_TYPES:
        raise BadAnswer(
            f"it sent a mask of the type {_short(mask_type)}, which this version of the library does not know"
        )
    untyped_as = f.text("untyped_as", "")
    if untyped_as and untyped_as not in READINGS:
        raise BadAnswer(
            f"it says that masks are read as {_short(untyped_as)}, which this version of the library does not know"
        )
    return Mask(
        f.text("pool"),
        f.text("revision"),
        f.text("mask"),
        mask_type,
        f.text("style"),
        f.count("pool_hosts"),
        f.count("excluded_hosts"),
        f.count("known_hosts"),
        f.flag("covers_future_hosts"),
        f.seconds("age"),
        f.optional_seconds("farm_age"),
        f.text("why", ""),
        f.flag("farm_is_stale", False),
        untyped_as,
        f.optional_count("pool_renders"),
        f.optional_count("pool_online"),
    )


def read_write(result: Any) -> WriteResult:
    f = Fields(result, "the result of a change")
    return WriteResult(
        f.text("change"),
        f.text("pool"),
        f.text("revision"),
        f.count("hosts"),
        f.texts("added", ()),
        f.texts("removed", ()),
        f.text("unchecked", ""),
    )


def read_check(result: Any) -> str:
    return Fields(result, "what a pool would take").text("unchecked")


def read_system_pool(result: Any) -> SystemPool:
    f = Fields(result, "the system pool")
    return SystemPool(f.optional_text("pool"), f.text("state"), f.flag("problem"), f.flag("settled"))


def _read_entry(value: Any) -> HistoryEntry:
    f = Fields(value, "a line of history")
    return HistoryEntry(
        f.text("id"),
        f.text("when"),
        f.text("who"),
        f.text("op"),
        f.text("pool"),
        f.mapping("diff"),
        f.text("before"),
        f.text("after"),
        f.count("hosts", 0),
        f.text("undoes", ""),
        f.flag("undoable", False),
        f.text("why_not", ""),
        f.text("verb", ""),
    )


def read_history(result: Any) -> List[HistoryEntry]:
    return Fields(result, "the history").each("entries", _read_entry)


def _read_native(value: Any) -> NativePool:
    f = Fields(value, "one of Afanasy's pools")
    return NativePool(
        f.text("path"), f.text("pool"), f.flag("created"), f.texts("hosts"), f.texts("added"), f.text("change", "")
    )


def read_native(result: Any) -> List[NativePool]:
    return Fields(result, "Afanasy's pools").each("pools", _read_native)
