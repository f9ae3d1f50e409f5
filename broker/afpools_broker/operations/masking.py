"""The central operation: the exclude mask that keeps a job on a pool."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from ..farm.engines import untyped_as
from ..picture.job_mask import accepted, job_mask
from ..picture.moment import Moment
from ..picture.tally import UNKNOWN
from ..protocol import Code, MaskParams, MaskType, Reading, RequestRefused, Result, Style
from .base import Call, Operation, Turn


class MaskResult(Result):
    pool: Annotated[str, Meta(description="the pool's name")]
    revision: Annotated[str, Meta(description="the pool's")]
    mask: Annotated[str, Meta(description="for the job's `hosts_mask_exclude`")]
    mask_type: Annotated[
        MaskType,
        Meta(description="what the job's `hosts_mask_type` must say; `any` if both dialects read the mask alike"),
    ]
    style: Annotated[Style, Meta(description="what was given")]
    why: Annotated[str, Meta(description="a sentence: why that is not the style you asked for; empty if it is")]
    pool_hosts: Annotated[int, Meta(description="how many hosts the pool has")]
    excluded_hosts: Annotated[int, Meta(description="how many known hosts the mask excludes")]
    known_hosts: Annotated[int, Meta(description="both together")]
    covers_future_hosts: Annotated[bool, Meta(description="the mask also excludes hosts that register later")]
    age: Annotated[float, Meta(description="as for `pools.list`")]
    farm_age: Annotated[float | None, Meta(description="as for `hosts.list`")]
    farm_is_stale: Annotated[
        bool, Meta(description="the mask depends on a list of renders that is older than `[farm] flag_after`")
    ]
    untyped_as: Annotated[
        Reading,
        Meta(
            description="how this farm reads the masks of this user's jobs if a job sets no type; `either` if that "
            "is not known"
        ),
    ]
    pool_renders: Annotated[int | None, Meta(description="how many of the pool's hosts are renders; null if not known")]
    pool_online: Annotated[int | None, Meta(description="how many of those are online; null if not known")]

    def grow_older(self, seconds: float) -> None:
        self.age = round(self.age + seconds, 1)
        if self.farm_age is not None:
            self.farm_age = round(self.farm_age + seconds, 1)


class MaskOfPool(Operation, MaskParams):
    """The exclude mask that keeps a job on this pool's hosts.

    With `future_hosts` `required`, no mask is given that would allow hosts that register later. If neither the job nor
    its user says how its own mask is read, `exclude_type` `either` excludes every host that either of the two readings
    excludes.
    """

    op = "mask"
    result = MaskResult
    of_moment = True

    def turn(self, call: Call) -> Turn:
        return Turn.AT_ONCE if self._is_at_hand(call.moment) else Turn.LATER

    def _is_at_hand(self, moment: Moment) -> bool:
        if self.exclude:
            return False
        try:
            accept = accepted(self, self._untyped_as(moment))
            return moment.snapshot.fences.mask_at_hand((self.pool, self.style, accept), self.max_bytes) is not None
        except RequestRefused:
            return True

    def answer(self, call: Call) -> MaskResult:
        moment = call.moment
        snapshot = moment.snapshot
        pool = snapshot.pool(self.pool)
        if not moment.farm.by_hand and moment.farm_age is None:
            raise RequestRefused(
                Code.FARM_UNAVAILABLE,
                "The broker has never seen the farm's list of renders, so it cannot say which hosts a job must not "
                "run on. Check that afserver runs and that [farm] server in broker.toml names it.",
            )
        untyped = self._untyped_as(moment)
        mask = job_mask(snapshot.fences, self, untyped)
        if mask.style != "complement":
            # The other styles name the hosts to exclude, and are wrong if a host is not known.
            _refuse_unknown_hosts(moment)
        tally = snapshot.tally if moment.can_count else None
        counts = UNKNOWN if tally is None else tally.of(pool.name)
        return MaskResult(
            pool=pool.name,
            revision=pool.revision,
            mask=mask.text,
            mask_type=mask.type,
            style=mask.style,
            why=mask.why,
            pool_hosts=mask.pool_hosts,
            excluded_hosts=mask.excluded_hosts,
            known_hosts=mask.pool_hosts + mask.excluded_hosts,
            covers_future_hosts=mask.covers_future_hosts,
            age=moment.age,
            farm_age=moment.farm_age,
            farm_is_stale=mask.style != "complement" and moment.farm_is_stale,
            untyped_as=untyped,
            pool_renders=counts.renders,
            pool_online=counts.online,
        )

    def _untyped_as(self, moment: Moment) -> Reading:
        snapshot = moment.snapshot
        return untyped_as(None if moment.farm.by_hand else snapshot.farm, snapshot.fences.engines, self.user)


def _refuse_unknown_hosts(moment: Moment) -> None:
    """
    Raises:
        RequestRefused: `farm_unavailable`: there may be hosts that this broker does not know.
    """
    if moment.farm_is_too_old and moment.farm_age is not None:
        raise RequestRefused(
            Code.FARM_UNAVAILABLE,
            f"The farm's list of renders is {moment.farm_age / 60:,.0f} minutes old, too old for a mask that names the "
            "hosts to keep out ([farm] refuse_after). Ask for style complement, which does not depend on it, "
            "or find out why afserver does not answer.",
        )
    if moment.farm.by_hand and (problems := moment.snapshot.contents.problems):
        raise RequestRefused(
            Code.FARM_UNAVAILABLE,
            "Some of the hosts that were entered cannot be read, so they cannot be excluded: "
            f"{problems[0]} Fix that, or ask for style complement.",
        )
