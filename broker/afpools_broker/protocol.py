"""The wire format: the outer objects, error codes, and the types that several operations share.

Strategy: this file and `operations/` are the one definition. A request is decoded into the `msgspec` struct of its
operation, which checks every type, length and unknown key; after that nobody checks again. Results are structs too;
those that several parts of the broker make are here. Nothing in this module knows about sockets, stores or masks.

    {"v": 1, "id": "7f3a", "op": "mask", "params": {"pool": "fx"}}
    {"v": 1, "id": "7f3a", "ok": true, "result": {...}}
    {"v": 1, "id": "7f3a", "ok": false, "error": {"code": "unknown_pool", "message": "..."}}
"""

from __future__ import annotations

import datetime as dt
import enum
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from afpools.fence_note import MAX_SPILL_SECONDS, MIN_SPILL_SECONDS

VERSION = 1

POOL_NAME_CHARACTERS = 64
# A pool's name is shown in menus and typed on command lines: short, and no invisible characters.
_NAME = rf"(?!\s)[^\x00-\x1f\x7f]{{1,{POOL_NAME_CHARACTERS}}}(?<!\s)"
PoolName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=POOL_NAME_CHARACTERS,
        pattern=rf"^{_NAME}\Z",
        title="pool's name",
        description=f"1 to {POOL_NAME_CHARACTERS} characters long, all of them visible, with no spaces at either end",
    ),
]
# One host or one ClusterShell range (`pc-[01-40]`). 1,024 is room for a long range, and more than DNS allows a name.
HostPattern = Annotated[str, Meta(min_length=1, max_length=1024)]
# The limit on messages bounds their total size; this bounds their number.
Hosts = Annotated[
    list[HostPattern],
    Meta(
        max_length=100_000,
        title="hosts",
        description="a list of names and ranges, each at most 1,024 characters long",
        extra={"means": "`pc-07`, `pc-[01-40]`, `gpu-[1-8,12]`, `r[1-2]n[1-9/2]`, without `*` and `?`"},
    ),
]
HostPatterns = Annotated[Hosts, Meta(min_length=1)]
NewHosts = Annotated[
    bool,
    Meta(
        description="true or false",
        extra={"means": "accept hosts that are neither renders nor registered, since they are not set up yet"},
    ),
]
DESCRIPTION_CHARACTERS = 1000
Description = Annotated[
    str,
    Meta(
        max_length=DESCRIPTION_CHARACTERS,
        title="description",
        description=f"a text of at most {DESCRIPTION_CHARACTERS:,} characters",
    ),
]
Colour = Annotated[str, Meta(pattern=r"^(#[0-9a-fA-F]{6})?\Z", title="colour", description="#rrggbb, or empty")]
RequestId = Annotated[
    str,
    Meta(min_length=1, max_length=64, description="a text of 1 to 64 characters, a new one for each change"),
]
Revision = Annotated[str, Meta(min_length=1, max_length=64, description="a revision that the broker gave")]

# Afanasy sets no limit; such names come from a line of a configuration file.
NATIVE_PATH_CHARACTERS = 1024
NativePath = Annotated[str, Meta(min_length=1, max_length=NATIVE_PATH_CHARACTERS)]
# A pool's second pool as stores keep it: seconds and name, see `pools.pool.spill_text`.
SpillText = Annotated[str, Meta(pattern=rf"^([1-9][0-9]{{1,6}} {_NAME})?\Z")]
SecondPool = Annotated[
    str,
    Meta(
        max_length=POOL_NAME_CHARACTERS,
        pattern=rf"^({_NAME})?\Z",
        title="second pool",
        description="a pool's name, or empty",
        extra={"means": "a pool that its jobs may use too if they wait too long; empty for none"},
    ),
]
SpillSeconds = Annotated[
    int,
    Meta(
        ge=MIN_SPILL_SECONDS,
        le=MAX_SPILL_SECONDS,
        title="time until jobs spill",
        description=f"seconds, from {MIN_SPILL_SECONDS} to {MAX_SPILL_SECONDS} (30 days)",
        extra={"means": "in a row without a running task, until a job may use the second pool"},
    ),
]
Follows = Annotated[str, Meta(max_length=NATIVE_PATH_CHARACTERS)]

Dialect = Literal["regex", "find"]
MaskType = Literal["regex", "find", "any"]
Style = Literal["list", "compact", "complement"]
Reading = Literal["regex", "find", "either"]
FutureHosts = Literal["required", "wanted"]

COMMAND_LINE_BYTES = 24 * 1024
"""The longest mask that can be passed on a command line (`afjob.py -hostsexcl`), in bytes: Windows allows 32 KiB for
all arguments together."""

MASK_BYTES = 64 * 1024
"""The longest mask that can be sent to afserver with the job, as `af.Job` does, in bytes. Measured on CGRU 3.4.1: it
accepts masks of any length, and silently ignores those that std::regex cannot compile. 78,315 bytes (90,714 states)
worked, 92,835 bytes (107,851 states) did not. With 63 kB, each job took afserver 43 ms to read and 6 MB to store; with
40 such jobs waiting, no answer took longer than 22 ms, and all renders stayed online."""


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
        made: False if a write certainly changed nothing. Otherwise `store_unavailable` leaves that open.
    """

    def __init__(self, code: Code, message: str, *, made: Literal[False] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.made = made


class Result(Struct, kw_only=True):
    """Base of all results."""

    def grow_older(self, seconds: float) -> None:
        """The same result, after what it was made from has become this many seconds older."""


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


# --- parts of results -----------------------------------------------------------------------------------------------


class StoreHealth(Result):
    """The database, as the broker sees it."""

    kind: Annotated[str, Meta(description="`mongodb` or `sqlite`")]
    reachable: Annotated[bool, Meta(description="it answers")]
    latency_ms: Annotated[
        float | None, Meta(description="how long its last answer took, in milliseconds; null if there was none")
    ]
    writable: Annotated[bool, Meta(description="it takes changes")]
    snapshot_age: Annotated[float, Meta(description="seconds since it last confirmed the pools")]
    problems: Annotated[list[str], Meta(description="a sentence for each document that cannot be read")]


class FarmHealth(Result):
    """afserver, as the broker sees it."""

    source: Annotated[
        Literal["afserver", "registered"],
        Meta(description="`afserver`, or `registered` if the hosts registered by hand are the farm"),
    ]
    server: Annotated[str, Meta(description="afserver's address; empty if there is none")]
    reachable: Annotated[bool, Meta(description="it answers")]
    age: Annotated[
        float | None,
        Meta(description="seconds since its list of renders was last confirmed; null without one"),
    ]
    renders: Annotated[int, Meta(description="how many renders there are")]
    error: Annotated[str, Meta(description="a sentence: why it does not answer; else empty")]
    post_commands: Annotated[
        str,
        Meta(description="a sentence: where the post commands of jobs run; empty if nobody has chosen a system pool"),
    ] = ""


class LiveHealth(Result):
    """The state of the fences of running jobs."""

    keeper: Annotated[str, Meta(description="the broker that keeps the fences of running jobs")]
    keeping: Annotated[bool, Meta(description="that is this one")]
    jobs: Annotated[int, Meta(description="how many unfinished jobs name a pool")]
    age: Annotated[float | None, Meta(description="seconds since afserver last confirmed them")]
    behind: Annotated[float, Meta(description="how long the fence that has waited longest has had to move, in seconds")]
    spilled: Annotated[int, Meta(description="how many of them may use their second pool")]
    moved: Annotated[int, Meta(description="how many fences were moved since the broker started")]
    refused: Annotated[int, Meta(description="how many could not be moved")]
    afserver_ms: Annotated[
        float, Meta(description="how long afserver worked on the last batch of changes, in milliseconds")
    ]
    problems: Annotated[list[str], Meta(description="one sentence each")]


class ExpiringCredential(Result):
    """A credential that expires soon."""

    name: Annotated[str, Meta(description="whose it is")]
    kind: Annotated[Literal["ca", "broker", "client", "curve", "crl"], Meta(description="what it is")]
    expires: Annotated[dt.datetime, Meta(description="when it expires")]
    days_left: Annotated[int, Meta(description="until then, rounded down")]


class SeenClient(Result):
    """A client that has connected over TLS with a certificate of one authority."""

    name: Annotated[str, Meta(description="the client's")]
    first: Annotated[
        dt.datetime,
        Meta(description="when its first connection with such a certificate began, since the broker started"),
    ]
    last: Annotated[dt.datetime, Meta(description="when its latest such connection began")]


class TrustedAuthority(Result):
    """An authority whose certificates the broker accepts."""

    id: Annotated[str, Meta(description="SHA-256 of its name and its key, in hexadecimal")]
    name: Annotated[str, Meta(description="in its certificate; two authorities may have the same one")]
    expires: Annotated[dt.datetime, Meta(description="when its certificate expires")]
    shown: Annotated[bool, Meta(description="it has issued the certificate that the broker shows to clients")]
    clients: Annotated[
        list[SeenClient],
        Meta(
            description="who has connected with a certificate that it issued since the broker started; empty while "
            "only one authority is trusted"
        ),
    ]


class HealthResult(Result):
    """The state of the broker and of what it depends on."""

    status: Annotated[Literal["healthy", "degraded"], Meta(description="whether somebody must look at something")]
    problems: Annotated[list[str], Meta(description="one sentence each: what needs attention")]
    broker: Annotated[str, Meta(description="the broker's own name")]
    version: Annotated[str, Meta(description="of Afanasy Pools")]
    uptime: Annotated[float, Meta(description="in seconds")]
    pools: Annotated[int, Meta(description="how many there are")]
    store: Annotated[StoreHealth, Meta(description="the database")]
    farm: Annotated[FarmHealth, Meta(description="afserver")]
    credentials: Annotated[list[ExpiringCredential], Meta(description="those that expire soon")]
    connections: Annotated[dict[str, int], Meta(description="how many are open, by transport")]
    requests: Annotated[dict[str, int], Meta(description="how many have come since the broker started, by operation")]
    errors: Annotated[
        dict[str, dict[str, int]], Meta(description="how many were answered with an error, by operation and code")
    ]
    refused_connections: Annotated[int, Meta(description="how many have not been allowed to connect")]
    live: Annotated[
        LiveHealth | None, Meta(description="the fences of running jobs; null if this broker does not keep any")
    ] = None
    authorities: Annotated[list[TrustedAuthority], Meta(description="whose certificates are accepted over TLS")] = (
        msgspec.field(default_factory=list)
    )


class PoolSpill(Result):
    """A pool's second pool, for its jobs that wait too long."""

    pool: Annotated[str, Meta(description="the second pool's name; there may be no such pool any more")]
    after: Annotated[int, Meta(description="seconds in a row without a running task until a job may use it too")]


class PoolSummary(Result, omit_defaults=True):
    """One pool in the list of pools."""

    name: Annotated[str, Meta(description="the pool's")]
    hosts: Annotated[int, Meta(description="how many it has")]
    revision: Annotated[str, Meta(description="the pool's")]
    description: Annotated[str, Meta(description="absent if empty")] = ""
    colour: Annotated[str, Meta(description="`#rrggbb`; absent if empty")] = ""
    follows: Annotated[str, Meta(description="Afanasy's own pool that it follows; absent if it follows none")] = ""
    spill: Annotated[PoolSpill | None, Meta(description="its second pool; absent if it has none")] = None
    renders: Annotated[int | None, Meta(description="how many of its hosts are renders; absent if not known")] = None
    online: Annotated[int | None, Meta(description="how many of those are online; absent if not known")] = None


class HostSummary(Result, omit_defaults=True):
    """One host in the list of hosts."""

    name: Annotated[str, Meta(description="as the farm spells it")]
    states: Annotated[
        list[str],
        Meta(
            description="of online, offline, busy, nimby, paused, sick; absent for a host that the farm does not know"
        ),
    ] = []
    address: Annotated[str, Meta(description="the render's; absent if not known")] = ""
    engine: Annotated[str, Meta(description="the render's version of Afanasy; absent if not known")] = ""
    native_pool: Annotated[str, Meta(description="Afanasy's own pool that it is in; absent if not known")] = ""
    registered: Annotated[bool, Meta(description="it was registered by hand; absent if not")] = False
    pools: Annotated[list[str], Meta(description="the pools that it is in; absent if there are none")] = []


class NativePool(Result):
    """One of Afanasy's own pools."""

    path: Annotated[str, Meta(description="Afanasy's name of the pool")]
    pool: Annotated[str, Meta(description="our pool's name")]
    created: Annotated[bool, Meta(description="whether it was created for this")]
    hosts: Annotated[list[str], Meta(description="its renders")]
    added: Annotated[list[str], Meta(description="those that our pool lacked")]
    change: Annotated[str, Meta(description="the id of the history entry; empty if nothing was changed")]


class MaskParams(Struct, kw_only=True):
    """The mask that a job needs: for the operation `mask`, and for a job that is already running.

    If neither the job nor its user says how its own mask is read, `exclude_type` `either` excludes every host that
    either of the two readings excludes. With `future_hosts` `required`, no mask is given that would allow hosts that
    register later.
    """

    pool: PoolName
    style: Annotated[Style, Meta(description="list, compact or complement")] = "list"
    accept: Annotated[
        list[Dialect],
        Meta(
            min_length=1,
            max_length=2,
            description="a list of regex, find, or both",
            extra={"means": "which types of mask you can set on a job"},
        ),
    ] = msgspec.field(default_factory=lambda: ["regex", "find"])
    exclude: Annotated[
        str,
        Meta(
            max_length=MASK_BYTES,
            title="job's own exclude mask",
            description="a mask of at most 64 KiB",
            extra={"means": "the exclude mask that the job has already, to be joined with the pool's"},
        ),
    ] = ""
    exclude_type: Annotated[
        Reading,
        Meta(
            description="regex, find or either", extra={"means": "how that is read; `either` if the job sets no type"}
        ),
    ] = "either"
    user: Annotated[
        str,
        Meta(
            max_length=256,
            description="the name of a user, of at most 256 characters",
            extra={"means": "whose job it is; afserver reads the masks of some users as regex"},
        ),
    ] = ""
    future_hosts: Annotated[
        FutureHosts,
        Meta(
            description="required or wanted",
            extra={"means": "`required` to refuse masks that do not exclude hosts that register later"},
        ),
    ] = "wanted"
    max_bytes: Annotated[
        int,
        Meta(
            ge=1,
            lt=2**31,
            description="a number of bytes, at least 1",
            extra={
                "means": "how long the mask may be in UTF-8; a command line can carry 24,576, a job that is sent as "
                "JSON, which is what `af.Job` does, 65,536, and more than that counts as that"
            },
        ),
    ] = COMMAND_LINE_BYTES

    def __post_init__(self) -> None:
        # msgspec counts characters, and no character takes more than four bytes.
        if 4 * len(self.exclude) <= COMMAND_LINE_BYTES:
            return
        allowed = min(max(self.max_bytes, COMMAND_LINE_BYTES), MASK_BYTES)
        if (size := len(self.exclude.encode())) > allowed:
            raise ValueError(f"the job's own exclude mask is {size:,} bytes long, and {allowed:,} are allowed")


# --- reading and writing them ---------------------------------------------------------------------------------------

_request_decoder = msgspec.json.Decoder(Request)
_encoder = msgspec.json.Encoder()

# msgspec follows nested arrays by recursion.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

# A request that cannot be read is read once more for its id, on the thread that everybody waits for; but not if it is
# large.
_GUESSED_BYTES = 4096


def decode_request(data: bytes) -> Request:
    """Reads the outer object of a request.

    Raises:
        RequestRefused: `bad_request` or `unsupported_version`.
    """
    try:
        request = _request_decoder.decode(data)
    except UNREADABLE as error:
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
    """The `id` of a request that could not be read, so that its sender can match the refusal; otherwise empty."""
    value = _guess(data, "id")
    return value if isinstance(value, str) and len(value) <= 64 else ""


def _guess(data: bytes, key: str) -> object:
    if len(data) > _GUESSED_BYTES:
        return None
    try:
        value = msgspec.json.decode(data)
    except UNREADABLE:
        return None
    return value.get(key) if isinstance(value, dict) else None


def _unsupported(version: int) -> RequestRefused:
    return RequestRefused(
        Code.UNSUPPORTED_VERSION,
        f"This broker speaks version {VERSION} of the protocol, the request is version {version}. "
        "Update the older of the two.",
    )


def sentence(error: ValueError) -> str:
    """Turns the finding of a parameter check, a clause, into a sentence."""
    what = str(error)
    return f"{what[0].upper()}{what[1:].removesuffix('.')}."


def encode_answer(request_id: str, result: Result) -> bytes:
    """A successful answer as it goes on the wire."""
    return _encoder.encode(Answer(VERSION, request_id, True, result))


def encode_error(request_id: str, code: Code, message: str, made: Literal[False] | None = None) -> bytes:
    """A refusal as it goes on the wire; arguments as for `RequestRefused`."""
    return _encoder.encode(ErrorAnswer(VERSION, request_id, False, ErrorBody(code, message, made)))
