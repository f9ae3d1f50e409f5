"""The operation that imports Afanasy's own pools."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import chain, repeat
from typing import Annotated

from msgspec import Meta

from ..picture.snapshot import Snapshot
from ..pools.changes import Change
from ..pools.native import native_name, native_pools, native_preview, native_swap
from ..pools.pool import fingerprint
from ..protocol import Code, NativePath, NativePool, RequestId, RequestRefused, Result, Role
from .base import Call, Operation, Turn
from .writing import make


class PoolsImportNativeResult(Result):
    pools: Annotated[list[NativePool], Meta(description="what was, or would be, done")]
    farm_age: Annotated[float, Meta(description="as for `hosts.list`")]


class PoolsImportNative(Operation, kw_only=True):
    """Import Afanasy's own pools (`/local/farm` becomes `local/farm`), or add the hosts that ours lack.

    Each gets the renders that are directly in Afanasy's pool, not those of the pools below. No host is ever taken out
    of a pool of ours, and names are not checked. An import is several changes under one `request_id`: a refusal in the
    middle says how many were made, and sending the same request again does the rest.
    """

    op = "pools.import_native"
    role = Role.MANAGER
    purpose = "import Afanasy's own pools"
    did = "hosts were imported from Afanasy's pools"
    verb = "imported"
    result = PoolsImportNativeResult

    dry_run: Annotated[
        bool, Meta(description="true or false", extra={"means": "only say what would be done; takes no `request_id`"})
    ] = False
    paths: Annotated[
        Annotated[list[NativePath], Meta(max_length=10_000)] | None,
        Meta(
            description="a list of Afanasy's names of pools, like /local/farm",
            extra={"means": "which; null for all that have a render"},
        ),
    ] = None
    request_id: RequestId | None = None

    def __post_init__(self) -> None:
        if not self.dry_run and self.request_id is None:
            raise ValueError("without dry_run it takes a request_id, a new one for each change that somebody wants")

    def turn(self, call: Call) -> Turn:
        return Turn.LATER if self.dry_run else Turn.WRITING

    def answer(self, call: Call) -> PoolsImportNativeResult:
        moment = call.moment
        snapshot, farm_age = moment.snapshot, moment.farm_age
        if moment.farm.by_hand or snapshot.farm is None or farm_age is None:
            raise RequestRefused(
                Code.FARM_UNAVAILABLE,
                "The broker has never seen the farm's list of renders, which says what is in Afanasy's pools. "
                "Check that afserver runs and that [farm] server in broker.toml names it.",
            )
        there = native_pools(snapshot.farm)
        for path in self.paths or ():
            if path not in there:
                raise RequestRefused(
                    Code.BAD_REQUEST,
                    f"No render of the farm is in a pool {path!r} of Afanasy. There are: {', '.join(there) or 'none'}.",
                )
        wanted = [path for path in there if self.paths is None or path in self.paths]
        if self.dry_run:
            pools = [native_preview(snapshot, path, there[path]) for path in wanted]
        else:
            call.refuse_late()
            pools = []
            for path in wanted:
                try:
                    pools.append(self._import_one(call, path, there[path]))
                except RequestRefused as refusal:
                    raise _after(pools, len(wanted), refusal) from None
        return PoolsImportNativeResult(pools=pools, farm_age=farm_age)

    def _import_one(self, call: Call, path: str, hosts: tuple[str, ...]) -> NativePool:
        keeper, name = call.parts.keeper, native_name(path)

        def reload() -> Snapshot:
            return keeper.reload((name,))

        snapshots = chain((lambda: keeper.current,), repeat(reload))

        def plan() -> Change:
            return Change(
                op=self.op,
                who=call.who,
                request_id=f"{self.request_id} {fingerprint(path)}",
                pool=name,
                # Not its renders: the farm's may have changed by the time the request is repeated.
                asked=(name,),
                deed=native_swap(next(snapshots)(), path, hosts),
            )

        entry = make(call, plan, time.monotonic())
        return NativePool(
            path=path,
            pool=entry.pool,
            created=not entry.before,
            hosts=list(hosts),
            added=list(entry.diff.added),
            change=entry.id if entry.changed else "",
        )


def _after(pools: Sequence[NativePool], wanted: int, refusal: RequestRefused) -> RequestRefused:
    """A refusal in the middle of an import, with what had already been done."""
    if not any(pool.change for pool in pools):
        return refusal
    return RequestRefused(
        refusal.code,
        f"{len(pools):,} of {wanted:,} pools of Afanasy are imported; then: {refusal.message} "
        "Sending it again with the same request_id imports the rest.",
    )
