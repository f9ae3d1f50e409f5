"""The operations of the wire, one class each, and the table of them.

Strategy: everything about an operation is in its class: parameters, role, who answers it, what it does to a pool, and
its words for people. To add an operation, write that class and name it here; the service, history, undo and
docs/wire.md follow.

base.py     what all operations have in common
writing.py  what operations that change something have in common, and how a change is made
reading.py  hello, health, and what there is
masking.py  the exclude mask
pools.py    changes of pools
hosts.py    hosts registered by hand
follow.py   pools that follow one of Afanasy's own
native.py   Afanasy's own pools
farm.py     the system job
history.py  what was changed, and how to undo it
jobs.py     jobs on the farm
fields.py   parameters and results, as docs/wire.md lists them
page.py     writes docs/wire.md
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..protocol import UNREADABLE, Code, RequestRefused, sentence
from .base import Call, Operation, Parts, Sender, Turn
from .farm import FarmSetSystemPool, FarmSystemPool
from .fields import fields_of
from .follow import PoolsFollow, PoolsUnfollow
from .history import HistoryList, HistoryUndo
from .hosts import HostsForget, HostsRegister
from .jobs import JobsAdopt, JobsList, JobsMove, JobsRequeue, PoolsPreview
from .masking import MaskOfPool
from .native import PoolsImportNative
from .pools import PoolsAddHosts, PoolsCheck, PoolsCreate, PoolsDelete, PoolsRemoveHosts, PoolsRename, PoolsUpdate
from .reading import Health, Hello, HostsList, PoolsGet, PoolsList
from .writing import Write, WriteResult

__all__ = ["OPERATIONS", "Call", "Operation", "Parts", "Sender", "Turn", "Write", "WriteResult", "decode"]

OPERATIONS: dict[str, type[Operation]] = {
    operation.op: operation
    for operation in (
        Hello,
        Health,
        PoolsList,
        PoolsGet,
        HostsList,
        MaskOfPool,
        FarmSystemPool,
        JobsList,
        HistoryList,
        PoolsCheck,
        PoolsCreate,
        PoolsRename,
        PoolsDelete,
        PoolsAddHosts,
        PoolsRemoveHosts,
        PoolsUpdate,
        PoolsFollow,
        PoolsUnfollow,
        PoolsPreview,
        PoolsImportNative,
        JobsMove,
        JobsAdopt,
        JobsRequeue,
        HistoryUndo,
        HostsRegister,
        HostsForget,
        FarmSetSystemPool,
    )
}

_decoders: dict[str, msgspec.json.Decoder[Any]] = {
    name: msgspec.json.Decoder(operation) for name, operation in OPERATIONS.items()
}


def decode(operation: type[Operation], params: msgspec.Raw) -> Operation:
    """A request for an operation, from its parameters.

    Raises:
        RequestRefused: `bad_request`, naming the parameter and what it must be.
    """
    try:
        asked: Operation = _decoders[operation.op].decode(params)
    except UNREADABLE as error:
        raise RequestRefused(Code.BAD_REQUEST, _what_is_wrong(operation, error)) from None
    return asked


def _what_is_wrong(operation: type[Operation], error: Exception) -> str:
    """Errors that people can fix use people's words; errors that only a program can cause use the protocol's."""
    if isinstance(error.__cause__, ValueError):
        return sentence(error.__cause__)
    what, _, path = str(error).partition(" - at `$.")
    key = path.partition("`")[0].partition("[")[0]
    fields = {field.name: field for field in fields_of(operation)}
    field = fields.get(key)
    if field is not None and field.title:
        return f"The {field.title} must be {field.description}."
    wrong = f"its {key} must be {field.description} ({what})" if field and field.description else str(error)
    return f"The parameters of {operation.op} are wrong: {wrong}. It takes: {', '.join(fields) or 'none'}."
