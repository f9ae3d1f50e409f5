"""Afanasy Pools from Python 3.7 and newer, with nothing but the standard library.

from afpools import Client

with Client() as client:
    mask = client.exclude_mask("fx")

client.py       the calls, a method for each operation
calls.py        which broker gets a call, and when it is tried again
transport.py    one connection: TLS, or CURVE through pyzmq
zmtp.py         ZMTP's framing, without I/O; the broker uses it too
lookup.py       names of brokers to addresses, within a time limit
profile.py      the folder that says where the brokers are
certificate.py  when our certificate expires
errors.py       what can go wrong
results.py      what the calls return
job_results.py  what the calls about jobs return
records.py      the base class of results
choice.py       where a job's pool comes from, in which order
job.py          puts a pool on an `af.Job`
hook.py         puts a pool on every `af.Job` of a program
fence_note.py   what the job says about its fence
pool_menu.py    the pools for an interface to show, offline too
cache.py        what is kept from one start to the next, such as the pools used lately
chooser.py      what the choosers of Nuke, Maya and Houdini have in common
guard.py        refuses jobs whose pool cannot be obeyed; Python 2.7 can load it
cgru.py         what plug-ins must know about CGRU's Python
process.py      what belongs to one process and not to a forked child
"""

from __future__ import annotations

from .client import Client
from .errors import (
    AfpoolsError,
    BadRequest,
    BrokerRefused,
    BrokerUnreachable,
    Conflict,
    EmptyPool,
    FarmUnavailable,
    Forbidden,
    InternalError,
    MaskNotExpressible,
    NoProfile,
    OutcomeUnknown,
    PoolExists,
    PoolNotApplied,
    ProfileError,
    RateLimited,
    StoreUnavailable,
    TooLarge,
    UnknownHost,
    UnknownOp,
    UnknownPool,
    UnsupportedVersion,
)
from .profile import Endpoint, Profile, find_profile
from .results import (
    Hello,
    HistoryEntry,
    HostList,
    HostSummary,
    Mask,
    NativePool,
    Pool,
    PoolList,
    PoolSummary,
    SystemPool,
    WriteResult,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .job_results import HostTasks, Job, JobList, JobSpill, JobsResult, OrderedJob

__version__ = "0.1.0"

__all__ = [
    "AfpoolsError",
    "BadRequest",
    "BrokerRefused",
    "BrokerUnreachable",
    "Client",
    "Conflict",
    "EmptyPool",
    "Endpoint",
    "FarmUnavailable",
    "Forbidden",
    "Hello",
    "HistoryEntry",
    "HostList",
    "HostSummary",
    "HostTasks",
    "InternalError",
    "Job",
    "JobList",
    "JobSpill",
    "JobsResult",
    "Mask",
    "MaskNotExpressible",
    "NativePool",
    "NoProfile",
    "OrderedJob",
    "OutcomeUnknown",
    "Pool",
    "PoolExists",
    "PoolList",
    "PoolNotApplied",
    "PoolSummary",
    "Profile",
    "ProfileError",
    "RateLimited",
    "StoreUnavailable",
    "SystemPool",
    "TooLarge",
    "UnknownHost",
    "UnknownOp",
    "UnknownPool",
    "UnsupportedVersion",
    "WriteResult",
    "find_profile",
]

_OF_JOBS = frozenset({"HostTasks", "Job", "JobList", "JobSpill", "JobsResult", "OrderedJob"})


def __getattr__(name: str) -> Any:
    # Loaded on first use: a plug-in's list of pools does not need it.
    if name in _OF_JOBS:
        from . import job_results

        return getattr(job_results, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
