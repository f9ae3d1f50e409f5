"""The operations about the farm's system job, which runs the post commands of all jobs."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from ..farm.system_job import SystemJobKeeper, system_mask
from ..picture.moment import Moment
from ..pools.changes import Change, asked_for
from ..pools.pool import Pool, with_system_pool
from ..protocol import Code, PoolName, RequestRefused, Result
from .base import Call, Operation, Parts
from .writing import Write


class FarmSystemPoolResult(Result):
    pool: Annotated[str | None, Meta(description="the pool that was chosen; empty for none, null if nobody has chosen")]
    state: Annotated[str, Meta(description="a sentence: where post commands run")]
    problem: Annotated[bool, Meta(description="somebody must look at that")]
    settled: Annotated[bool, Meta(description="this broker has looked at the system job since the pool was chosen")]


class FarmSystemPool(Operation):
    """Where do post commands run?"""

    op = "farm.system_pool"
    result = FarmSystemPoolResult

    def answer(self, call: Call) -> FarmSystemPoolResult:
        now = _system_job(call.parts).state
        return FarmSystemPoolResult(pool=now.pool, state=now.state, problem=now.problem, settled=now.settled)


class FarmSetSystemPool(Write, kw_only=True):
    """Keep afserver's system job, which runs the post commands of all jobs, on this pool; null lets it run anywhere
    again. An exclude mask that a person has set on the system job is replaced."""

    op = "farm.set_system_pool"
    purpose = "choose the system pool"
    did = "the system pool was set"
    verb = "chose the system pool"

    pool: PoolName | None

    def plan(self, call: Call, moment: Moment) -> Change:
        _system_job(call.parts)
        snapshot = moment.snapshot

        def vet(_before: Pool | None, _after: Pool | None) -> None:
            if self.pool is None:
                return
            snapshot.pool(self.pool)
            if snapshot.farm is None:
                raise RequestRefused(
                    Code.FARM_UNAVAILABLE,
                    "The broker has never seen the farm's list of renders, so it has no mask for its system job. Check "
                    "that afserver runs and that [farm] server in broker.toml names it.",
                )
            system_mask(self.pool, snapshot)

        return self.change(call.who, vet=vet)

    def asked(self) -> tuple[object, ...]:
        return asked_for("", new_name=self.pool or "", if_revision=self.if_revision)

    def changed(self, present: Pool) -> Pool:
        return with_system_pool(present, self.pool or "")

    def settled(self, call: Call) -> None:
        if call.parts.system_job:
            call.parts.system_job.take_over()


def _system_job(parts: Parts) -> SystemJobKeeper:
    """
    Raises:
        RequestRefused: `farm_unavailable`: there is no afserver.
    """
    if parts.system_job is None:
        raise RequestRefused(
            Code.FARM_UNAVAILABLE,
            "This broker has no afserver ([farm] server in broker.toml is empty), so there is no system job to keep on "
            "a pool.",
        )
    return parts.system_job
