"""What travels on the wire: messages, operations, error codes.

Strategy: this file is the one definition. A request is decoded into the `msgspec` struct of its operation, which checks
every type, length and unknown key; after that nobody checks again. Results are structs too, so that what a client
may rely on can be read here. Nothing in this module knows of sockets, stores or masks.

    {"v": 1, "id": "7f3a", "op": "mask", "params": {"pool": "fx"}}
    {"v": 1, "id": "7f3a", "ok": true, "result": {...}}
    {"v": 1, "id": "7f3a", "ok": false, "error": {"code": "unknown_pool", "message": "..."}}
"""

from __future__ import annotations

import datetime as dt
import enum
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from .lookalikes import spelled_out, unseen

VERSION = 1

# A pool's name is shown in menus and typed on command lines: short, and no invisible characters.
PoolName = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^(?!\s)[^\x00-\x1f\x7f]+(?<!\s)\Z")]
# One host or one ClusterShell range (`pc-[01-40]`). 1,024 is room for a long range, and more than DNS allows a name.
HostPattern = Annotated[str, Meta(min_length=1, max_length=1024)]
# The message limit bounds the sum; this bounds the loop.
HostPatterns = Annotated[list[HostPattern], Meta(min_length=1, max_length=100_000)]
Description = Annotated[str, Meta(max_length=1000)]
Colour = Annotated[str, Meta(pattern=r"^(#[0-9a-fA-F]{6})?\Z")]
RequestId = Annotated[str, Meta(min_length=1, max_length=64)]
Revision = Annotated[str, Meta(min_length=1, max_length=64)]

# Afanasy sets no limit; a line of a configuration file is where such names come from.
NativePath = Annotated[str, Meta(min_length=1, max_length=1024)]

Dialect = Literal["regex", "find"]
MaskType = Literal["regex", "find", "any"]
Style = Literal["list", "compact", "complement"]
Reading = Literal["regex", "find", "either"]
FutureHosts = Literal["required", "wanted"]


class Role(enum.StrEnum):
    """What a credential allows. `MANAGER` may do everything that `READER` may."""

    READER = "reader"
    MANAGER = "manager"


class Code(enum.StrEnum):
    """Error codes, the machine-readable half of every refusal."""

    BAD_REQUEST = "bad_request"
    UNSUPPORTED_VERSION = "unsupported_version"
    UNKNOWN_OP = "unknown_op"
    FORBIDDEN = "forbidden"
    UNKNOWN_POOL = "unknown_pool"
    UNKNOWN_HOST = "unknown_host"
    POOL_EXISTS = "pool_exists"
    EMPTY_POOL = "empty_pool"
    CONFLICT = "conflict"
    MASK_NOT_EXPRESSIBLE = "mask_not_expressible"
    FARM_UNAVAILABLE = "farm_unavailable"
    STORE_UNAVAILABLE = "store_unavailable"
    TOO_LARGE = "too_large"
    RATE_LIMITED = "rate_limited"
    INTERNAL = "internal"


class RequestRefused(Exception):
    """A request that gets an error answer.

    Args:
        code: the error code on the wire.
        message: what is wrong, which value it was, what to do next; shown to people as it is.
        made: False where a write certainly changed nothing here. `store_unavailable` leaves that open otherwise.
    """

    def __init__(self, code: Code, message: str, *, made: Literal[False] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.made = made


class Params(Struct, forbid_unknown_fields=True):
    """Base of all parameters. An unknown key is an error: a mistyped `if_revision` must not be ignored."""


class Result(Struct, kw_only=True):
    """Base of all results."""


# --- the envelope ---------------------------------------------------------------------------------------------------


class Request(Struct, frozen=True, forbid_unknown_fields=True):
    """The outer object of a request; `params` is decoded once `op` has said what it must be."""

    v: int
    op: Annotated[str, Meta(max_length=64)]
    id: Annotated[str, Meta(max_length=64)] = ""
    params: msgspec.Raw = msgspec.Raw(b"{}")


class Answer(Struct, frozen=True):
    """The outer object of a successful answer."""

    v: int
    id: str
    ok: bool
    result: Result


class ErrorBody(Struct, frozen=True, omit_defaults=True):
    """What was refused and why; `made` as in `RequestRefused`."""

    code: Code
    message: str
    made: Literal[False] | None = None


class ErrorAnswer(Struct, frozen=True):
    """The outer object of a refusal."""

    v: int
    id: str
    ok: bool
    error: ErrorBody


# --- reading --------------------------------------------------------------------------------------------------------


class Hello(Params):
    """`hello`: who am I to this broker, and what may I ask?"""


class HelloResult(Result):
    broker: str
    version: str
    protocol: int
    name: str
    role: Role
    operations: list[str]
    message_bytes: int


class Health(Params):
    """`health`: is everything behind this broker well?"""


class StoreHealth(Result):
    kind: str
    reachable: bool
    latency_ms: float | None
    writable: bool
    snapshot_age: float
    problems: list[str]


class FarmHealth(Result):
    """`post_commands` says in a sentence where the post commands of jobs run; empty where nobody has chosen a system
    pool."""

    source: Literal["afserver", "registered"]
    server: str
    reachable: bool
    age: float | None
    renders: int
    error: str
    post_commands: str = ""


class LiveHealth(Result):
    """How the fences of running jobs stand. `keeper` is the broker that keeps them, `keeping` whether that is this one.
    `jobs` counts the unfinished jobs that name a pool, `age` is since when afserver has not confirmed them, `behind`
    since when the fence that has waited longest has to move, both in seconds. `moved` and `refused` count since the
    broker started; `afserver_ms` is how long afserver worked for what was changed together last."""

    keeper: str
    keeping: bool
    jobs: int
    age: float | None
    behind: float
    moved: int
    refused: int
    afserver_ms: float
    problems: list[str]


class ExpiringCredential(Result):
    name: str
    kind: Literal["ca", "broker", "client", "curve", "crl"]
    expires: dt.datetime
    days_left: int


class HealthResult(Result):
    status: Literal["healthy", "degraded"]
    problems: list[str]
    broker: str
    version: str
    uptime: float
    pools: int
    store: StoreHealth
    farm: FarmHealth
    credentials: list[ExpiringCredential]
    connections: dict[str, int]
    requests: dict[str, int]
    errors: dict[str, dict[str, int]]
    refused_connections: int
    live: LiveHealth | None = None


class PoolsList(Params):
    """`pools.list`: names and sizes of all pools, sorted by name, and how many of their hosts are renders."""

    if_revision: Revision | None = None


class PoolSummary(Result, omit_defaults=True):
    """`renders` says how many of the pool's hosts are renders of the farm, `online` how many of those are online. Each
    is absent where that is not known: without afserver, where the list of renders is older than the studio wants it,
    and `online` while no render of the whole farm is."""

    name: str
    hosts: int
    revision: str
    description: str = ""
    colour: str = ""
    renders: int | None = None
    online: int | None = None


class PoolsListResult(Result, omit_defaults=True):
    """`revision` differs when any pool does, or how many of its hosts are renders or online. `age` is in seconds: since
    when the store has not confirmed this picture. `pools` is absent when `unchanged`."""

    revision: str
    age: float
    unchanged: bool = False
    pools: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class PoolsGet(Params):
    """`pools.get`: one pool with its hosts, as they were entered."""

    pool: PoolName


class PoolDetail(Result):
    name: str
    hosts: list[str]
    revision: str
    description: str
    colour: str


class PoolsGetResult(Result):
    pool: PoolDetail
    age: float


class HostsList(Params):
    """`hosts.list`: every host known here: the farm's renders, hosts registered by hand, members of pools.

    With `limit` it is a page of at most as many hosts, sorted by name, and of some megabyte: those that come behind
    `after`, which the page before has called `next`. Without, it is all of them, or `too_large`.
    """

    after: str | None = None
    limit: Annotated[int, Meta(ge=1, le=100_000)] | None = None

    def __post_init__(self) -> None:
        if self.after is not None and self.limit is None:
            raise ValueError("hosts.list takes after only together with limit")


class HostSummary(Result, omit_defaults=True):
    """`states` are of online, offline, busy, nimby, paused, sick; empty for a host the farm does not know."""

    name: str
    states: list[str] = []
    address: str = ""
    engine: str = ""
    native_pool: str = ""
    registered: bool = False
    pools: list[str] = []


class HostsListResult(Result):
    """`hosts` is a list of `HostSummary`, already JSON; `farm_unseen` is set where there is an afserver that has never
    answered, so that the hosts are not the farm's; `farm_is_stale` where its list of renders is older than the studio
    wants it. `next` is what to pass as `after` for the next page, null at the
    end. `revision` differs when a pool does, or which hosts are known: pages of one revision fit together, whatever
    renders have begun or ended meanwhile."""

    hosts: msgspec.Raw
    age: float
    farm_age: float | None
    farm_unseen: bool = False
    farm_is_stale: bool = False
    next: str | None = None
    revision: str = ""


COMMAND_LINE_BYTES = 24 * 1024
"""How long a mask may be that is passed on a command line (`afjob.py -hostsexcl`): Windows allows 32 KiB for all of its
arguments."""

MASK_BYTES = 64 * 1024
"""How long a mask may be that is sent to afserver with the job, as `af.Job` does. Measured on CGRU 3.4.1: it takes
masks of any length, and silently ignores those that std::regex cannot compile. 78,315 bytes (90,714 states) held,
92,835 bytes (107,851 states) did not. With 63 kB, each job took afserver 43 ms to read and 6 MB to keep; with 40 such
jobs waiting, no answer took longer than 22 ms, and all renders stayed online."""


class MaskParams(Params):
    """`mask`: the exclude mask that keeps a job on this pool's hosts.

    `accept` says which mask types the caller is able to set on a job. `exclude` is an exclude mask that the job has
    already, to be joined with the pool's, and `exclude_type` says how it is read: `either` is for a job that says no
    type. `user` is whose job it is: afserver reads the masks of some users as regex where the job says no type. Where
    that is not known, `either` excludes what one of the two readings excludes. With `future_hosts` `required`, no mask
    is given that lets hosts through that register later. `max_bytes` is how long the mask may be: by default, what the
    command line of a program can carry. More than `MASK_BYTES` counts as that.
    """

    pool: PoolName
    style: Style = "list"
    accept: Annotated[list[Dialect], Meta(min_length=1, max_length=2)] = msgspec.field(
        default_factory=lambda: ["regex", "find"]
    )
    exclude: Annotated[str, Meta(max_length=MASK_BYTES)] = ""
    exclude_type: Reading = "either"
    user: Annotated[str, Meta(max_length=256)] = ""
    future_hosts: FutureHosts = "wanted"
    max_bytes: Annotated[int, Meta(ge=1, lt=2**31)] = COMMAND_LINE_BYTES

    def __post_init__(self) -> None:
        # msgspec counts characters, and no character takes more than four bytes.
        if 4 * len(self.exclude) <= COMMAND_LINE_BYTES:
            return
        allowed = min(max(self.max_bytes, COMMAND_LINE_BYTES), MASK_BYTES)
        if (size := len(self.exclude.encode())) > allowed:
            raise ValueError(f"the job's own exclude mask is {size:,} bytes long, and {allowed:,} are allowed")


class FarmSystemPool(Params):
    """`farm.system_pool`: where do post commands run?"""


class FarmSystemPoolResult(Result):
    """`pool` is the pool that was chosen; empty for none, null where nobody has chosen. `state` says in a sentence how
    it stands, `problem` whether somebody must look at it. `settled` is set once this broker has looked at the system
    job since the pool was chosen."""

    pool: str | None
    state: str
    problem: bool
    settled: bool


class MaskResult(Result):
    """`mask_type` is what the job's `hosts_mask_type` must say; `any` where both dialects read the mask alike. `style`
    is what was given, and `why` says why it is not what was asked for; empty when it is. `farm_age` is in seconds;
    `farm_is_stale` is set on a mask that depends on a list of renders older than the studio wants it. `untyped_as` is
    how this farm reads the masks of this user's job where the job says no type; `either` where that is not known.
    `pool_renders` and `pool_online` are how many of the pool's hosts are renders, and online; null where that is not
    known, see `PoolSummary`."""

    pool: str
    revision: str
    mask: str
    mask_type: MaskType
    style: Style
    why: str
    pool_hosts: int
    excluded_hosts: int
    known_hosts: int
    covers_future_hosts: bool
    age: float
    farm_age: float | None
    farm_is_stale: bool
    untyped_as: Reading
    pool_renders: int | None
    pool_online: int | None


class HistoryList(Params):
    """`history.list`: the newest changes first; `before` is the id of the last entry of the page before."""

    pool: PoolName | None = None
    limit: Annotated[int, Meta(ge=1, le=500)] = 50
    before: Annotated[str, Meta(max_length=64)] | None = None


class HistoryEntry(Result):
    """One change: `before` and `after` are revisions, empty where there was or is no pool; `hosts` counts those after
    the change; `diff` has `name`, `description`, `colour` as [before, after] and the lists `added` and `removed`, each
    only where something changed. `undoes` is the id of the entry that an undo took back, else empty. `undoable` says
    whether `history.undo` would take this one back now, `why_not` why it would not."""

    id: str
    when: dt.datetime
    who: str
    op: str
    pool: str
    diff: msgspec.Raw
    before: str
    after: str
    hosts: int
    undoes: str
    undoable: bool
    why_not: str


class HistoryListResult(Result):
    entries: list[HistoryEntry]


# --- writing --------------------------------------------------------------------------------------------------------


class Write(Params, kw_only=True):
    """Base of all writes.

    `request_id` is made by the client, a new one for each change that somebody wants: the same one sent twice is
    applied once and answered twice alike. `if_revision` makes the write fail with `conflict` when the pool has moved
    on.
    """

    request_id: RequestId
    if_revision: Revision | None = None


def _check_new_name(name: str) -> None:
    # Two pools that look alike in a menu are a job on the wrong machines. Names that are there already may be anything.
    if unseen(name):
        raise ValueError(f"the name {spelled_out(name)} has characters in it that cannot be seen: leave them out")


class PoolsCreate(Write):
    """`pools.create`: make a pool. `new_hosts` as for `pools.add_hosts`."""

    pool: PoolName
    hosts: Annotated[list[HostPattern], Meta(max_length=100_000)] = []
    description: Description = ""
    colour: Colour = ""
    new_hosts: bool = False

    def __post_init__(self) -> None:
        _check_new_name(self.pool)


class PoolsRename(Write):
    pool: PoolName
    new_name: PoolName

    def __post_init__(self) -> None:
        _check_new_name(self.new_name)


class PoolsDelete(Write):
    pool: PoolName


class PoolsAddHosts(Write):
    """`pools.add_hosts`: put hosts into a pool. One that is neither a render nor registered is an `unknown_host`,
    unless `new_hosts` says that such machines are yet to come."""

    pool: PoolName
    hosts: HostPatterns
    new_hosts: bool = False


class PoolsCheck(Params):
    """`pools.check`: would this pool take these hosts? Changes nothing, and is refused as `pools.add_hosts` would be,
    or as `pools.create` where there is no such pool. `leaving` are hosts of the pool that are to be taken out before;
    `new_hosts` as for `pools.add_hosts`."""

    pool: PoolName
    hosts: Annotated[list[HostPattern], Meta(max_length=100_000)] = []
    leaving: Annotated[list[HostPattern], Meta(max_length=100_000)] = []
    new_hosts: bool = False


class PoolsCheckResult(Result):
    """`unchecked` as in `WriteResult`."""

    unchecked: str


class PoolsRemoveHosts(Write):
    pool: PoolName
    hosts: HostPatterns


class PoolsUpdate(Write):
    pool: PoolName
    description: Description | None = None
    colour: Colour | None = None


class HostsRegister(Write):
    """`hosts.register`: make hosts known before the farm has seen them."""

    hosts: HostPatterns


class HostsForget(Write):
    """`hosts.forget`: take back `hosts.register`. Renders and members of pools stay known."""

    hosts: HostPatterns


class FarmSetSystemPool(Write):
    """`farm.set_system_pool`: keep afserver's system job, which runs the post commands of all jobs, on this pool; null
    lets it run anywhere again. An exclude mask that a person has set on the system job is replaced."""

    pool: PoolName | None


class HistoryUndo(Write):
    """`history.undo`: take back one change, the others left as they are. An undo is a change like any other, and can be
    undone itself. `entry` is an id that `history.list` gave."""

    entry: Annotated[str, Meta(min_length=1, max_length=64)]


class WriteResult(Result):
    """`pool` is the pool's name now (before, for a deletion; empty for the list of registered hosts); `revision` is
    empty for a deletion; `hosts` counts the hosts there are now; `change` is the id of the history entry, empty when
    everything was as asked for already. `unchecked` is a sentence for people where hosts were added and nobody could
    tell whether the farm has them; else empty."""

    change: str
    pool: str
    revision: str
    hosts: int
    added: list[str]
    removed: list[str]
    unchecked: str = ""


class PoolsImportNative(Params, kw_only=True):
    """`pools.import_native`: make pools of Afanasy's own ones, or add the hosts that ours lack.

    Each of Afanasy's pools has those renders that are directly in it, not those of the pools below. No host is ever
    taken out of a pool of ours.

    `paths` are Afanasy's names of the pools, `/local/farm`; without them all that have a render. With `dry_run`
    nothing is changed, and no `request_id` is needed; otherwise it is, as for every write.
    """

    dry_run: bool = False
    paths: Annotated[list[NativePath], Meta(max_length=10_000)] | None = None
    request_id: RequestId | None = None

    def __post_init__(self) -> None:
        if not self.dry_run and self.request_id is None:
            raise ValueError("without dry_run it takes a request_id, a new one for each change that somebody wants")


class NativePool(Result):
    """One of Afanasy's pools: `path` there, `pool` here; `created` says that there was none here, `hosts` are its
    renders, `added` those that our pool lacked. `change` is the id of the history entry, empty when nothing was
    changed."""

    path: str
    pool: str
    created: bool
    hosts: list[str]
    added: list[str]
    change: str


class PoolsImportNativeResult(Result):
    """`farm_age` is since when, in seconds, afserver has not confirmed its renders."""

    pools: list[NativePool]
    farm_age: float


# --- the operations -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Operation:
    """One operation: the type of its parameters, who may call it, and what people call it: "to `purpose` you need a
    manager profile". It changes the store if the parameters are a `Write`."""

    name: str
    params: type[Params]
    role: Role
    purpose: str = ""


OPERATIONS: dict[str, Operation] = {
    operation.name: operation
    for operation in (
        Operation("hello", Hello, Role.READER),
        Operation("health", Health, Role.READER),
        Operation("pools.list", PoolsList, Role.READER),
        Operation("pools.get", PoolsGet, Role.READER),
        Operation("hosts.list", HostsList, Role.READER),
        Operation("mask", MaskParams, Role.READER),
        Operation("farm.system_pool", FarmSystemPool, Role.READER),
        Operation("history.list", HistoryList, Role.MANAGER, "see who changed what"),
        Operation("pools.check", PoolsCheck, Role.MANAGER, "see what pools would take"),
        Operation("pools.create", PoolsCreate, Role.MANAGER, "make pools"),
        Operation("pools.rename", PoolsRename, Role.MANAGER, "rename pools"),
        Operation("pools.delete", PoolsDelete, Role.MANAGER, "delete pools"),
        Operation("pools.add_hosts", PoolsAddHosts, Role.MANAGER, "add hosts to pools"),
        Operation("pools.remove_hosts", PoolsRemoveHosts, Role.MANAGER, "take hosts out of pools"),
        Operation("pools.update", PoolsUpdate, Role.MANAGER, "change pools"),
        Operation("pools.import_native", PoolsImportNative, Role.MANAGER, "import Afanasy's own pools"),
        Operation("history.undo", HistoryUndo, Role.MANAGER, "take back changes"),
        Operation("hosts.register", HostsRegister, Role.MANAGER, "register hosts"),
        Operation("hosts.forget", HostsForget, Role.MANAGER, "forget hosts"),
        Operation("farm.set_system_pool", FarmSetSystemPool, Role.MANAGER, "choose the system pool"),
    )
}

_request_decoder = msgspec.json.Decoder(Request)
_params_decoders: dict[str, msgspec.json.Decoder[Any]] = {
    name: msgspec.json.Decoder(operation.params) for name, operation in OPERATIONS.items()
}
_encoder = msgspec.json.Encoder()

# msgspec follows nested arrays by recursion.
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

# A request that cannot be read is read once more for its id, on the thread that everybody waits for; not if it is
# large.
_GUESSED_BYTES = 4096


def decode_request(data: bytes) -> Request:
    """Reads the outer object of a request.

    Raises:
        RequestRefused: `bad_request` or `unsupported_version`.
    """
    try:
        request = _request_decoder.decode(data)
    except _UNREADABLE as error:
        version = _guess(data, "v")
        if isinstance(version, int) and version != VERSION:
            raise _unsupported(version) from None
        raise RequestRefused(
            Code.BAD_REQUEST,
            f"The request is not a JSON object with v, id, op and params: {error}. "
            'An example: {"v": 1, "id": "1", "op": "pools.list", "params": {}}',
        ) from None
    if request.v != VERSION:
        raise _unsupported(request.v)
    return request


def guess_id(data: bytes) -> str:
    """The `id` of a request that could not be read, so that its sender can match the refusal; else empty."""
    value = _guess(data, "id")
    return value if isinstance(value, str) and len(value) <= 64 else ""


def _guess(data: bytes, key: str) -> object:
    if len(data) > _GUESSED_BYTES:
        return None
    try:
        value = msgspec.json.decode(data)
    except _UNREADABLE:
        return None
    return value.get(key) if isinstance(value, dict) else None


def _unsupported(version: int) -> RequestRefused:
    return RequestRefused(
        Code.UNSUPPORTED_VERSION,
        f"This broker speaks version {VERSION} of the protocol, the request is version {version}. "
        "Update the older of the two.",
    )


def decode_params(operation: Operation, raw: msgspec.Raw) -> Params:
    """Reads the parameters of an operation.

    Raises:
        RequestRefused: `bad_request`, naming the parameter and what it must be.
    """
    try:
        params: Params = _params_decoders[operation.name].decode(raw)
    except _UNREADABLE as error:
        raise RequestRefused(Code.BAD_REQUEST, _what_is_wrong(operation, error)) from None
    return params


def _what_is_wrong(operation: Operation, error: Exception) -> str:
    """What people can put right is said in their words; what only a program can be the cause of, in the protocol's."""
    what, _, path = str(error).partition(" - at `$.")
    key = path.partition("`")[0].partition("[")[0]
    if isinstance(error.__cause__, ValueError):
        return sentence(error.__cause__)
    if operation.name == "hosts.list":
        pass  # its limit is not the one that people type
    elif key in _TYPED:
        return f"The {_TYPED[key]} must be {_MEANT[key]}."
    fields = ", ".join(field.name for field in msgspec.structs.fields(operation.params)) or "none"
    meant = _MEANT.get(f"{operation.name} {key}") or _MEANT.get(key)
    wrong = f"its {key} must be {meant} ({what})" if meant else str(error)
    return f"The parameters of {operation.name} are wrong: {wrong}. It takes: {fields}."


def sentence(error: ValueError) -> str:
    """What one of the checks above has found, which is a clause, as a sentence."""
    what = str(error)
    return f"{what[0].upper()}{what[1:].removesuffix('.')}."


# Parameters that people type, and what they call them.
_TYPED = {
    "pool": "pool's name",
    "new_name": "new name",
    "hosts": "hosts",
    "description": "description",
    "colour": "colour",
    "exclude": "job's own exclude mask",
    "entry": "change",
    "limit": "number of changes",
}

# What a parameter must be, for people; the types above say it for programs.
_MEANT = {
    "pool": "1 to 64 characters long, all of them visible, with no spaces at either end",
    "new_name": "1 to 64 characters long, all of them visible, with no spaces at either end",
    "hosts": "a list of names and ranges, each at most 1,024 characters long",
    "leaving": "a list of hosts, each at most 1,024 characters long",
    "description": "a text of at most 1,000 characters",
    "colour": "#rrggbb, or empty",
    "style": "list, compact or complement",
    "accept": "a list of regex, find, or both",
    "exclude": "a mask of at most 64 KiB",
    "max_bytes": "a number of bytes, at least 1",
    "exclude_type": "regex, find or either",
    "future_hosts": "required or wanted",
    "user": "the name of a user, of at most 256 characters",
    "new_hosts": "true or false",
    "request_id": "a text of 1 to 64 characters, a new one for each change",
    "limit": "a number from 1 to 500",
    "hosts.list limit": "a number from 1 to 100,000",
    "entry": "one that the history shows",
    "paths": "a list of Afanasy's names of pools, like /local/farm",
}


def encode_answer(request_id: str, result: Result) -> bytes:
    """A successful answer as it goes on the wire."""
    return _encoder.encode(Answer(VERSION, request_id, True, result))


def encode_error(request_id: str, code: Code, message: str, made: Literal[False] | None = None) -> bytes:
    """A refusal as it goes on the wire; arguments as for `RequestRefused`."""
    return _encoder.encode(ErrorAnswer(VERSION, request_id, False, ErrorBody(code, message, made)))
