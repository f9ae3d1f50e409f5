"""The mask of one job: the pool's mask, joined with the job's own exclude mask.

It is made here both when a job is sent and when its pool changes, so that the two results are the same.
"""

from __future__ import annotations

from .. import protocol
from ..masks.exclude import ACCEPT_REGEX, Mask, find_parts
from ..masks.joint import joined
from ..protocol import Code, Dialect, MaskParams, Reading, RequestRefused
from .fences import Fences


def accepted(params: MaskParams, untyped: Reading) -> tuple[Dialect, ...]:
    """The mask types that the caller can set, except those that would change the meaning of the job's other masks.

    Args:
        params: the request.
        untyped: how afserver reads the masks of this user's jobs if the job sets no type.
    """
    becomes_regex = params.exclude_type == "either" and untyped == "regex" and "regex" in params.accept
    return ("regex",) if becomes_regex else tuple(params.accept)


def job_mask(fences: Fences, params: MaskParams, untyped: Reading, second: str = "") -> Mask:
    """The requested mask, proven. A mask that is joined with the job's own is not cached, because jobs differ in
    theirs.

    Args:
        fences: the pools as the farm spells them.
        params: the request.
        untyped: as for `accepted`.
        second: another pool whose hosts the job may use too; empty for none.

    Raises:
        RequestRefused: what `Fences.mask` and `joined` raise, and `mask_not_expressible` for a mask that would not
            exclude hosts that register later, if it must.
    """
    accept = accepted(params, untyped)
    pools = (params.pool, second) if second else (params.pool,)

    def mask_in(accept: tuple[Dialect, ...]) -> Mask:
        if second:
            return fences.mask_of_all(pools, params.style, accept, params.max_bytes)
        return fences.mask((params.pool, params.style, accept), params.max_bytes)

    # Most jobs have no mask of their own, and this is what a broker does most of the time.
    if not params.exclude or not find_parts(params.exclude):
        mask = mask_in(accept)
    else:
        mask = joined(
            mask_in,
            params.exclude,
            # If the masks of such a job are read as find, both readings count anyway: a regex would exclude nothing
            # then, which nobody wants.
            "regex" if untyped == "regex" and params.exclude_type == "either" else params.exclude_type,
            inside=fences.inside(pools),
            known=fences.nameable(*pools),
            accept=accept,
            no_find=fences.engines.no_find,
            max_bytes=min(params.max_bytes, protocol.MASK_BYTES),
        )
    if params.future_hosts == "required" and not mask.covers_future_hosts:
        raise _lets_later_hosts_in(mask, params)
    return mask


def _lets_later_hosts_in(mask: Mask, params: MaskParams) -> RequestRefused:
    """The refusal of a mask that lists the hosts to exclude, if it must also exclude hosts that register later."""
    if params.style != "complement":
        advice = "Ask for style complement."
    elif "regex" not in params.accept:
        advice = ACCEPT_REGEX
    elif params.exclude:
        advice = "Shorten the job's own exclude mask, or choose a pool with fewer hosts."
    elif params.max_bytes < protocol.MASK_BYTES:
        advice = (
            "Send the job through af.Job, which can carry a longer mask (max_bytes), or choose a pool with fewer hosts "
            "or with consecutive numbers."
        )
    else:
        advice = "Choose a pool with fewer hosts or with consecutive numbers."
    return RequestRefused(
        Code.MASK_NOT_EXPRESSIBLE,
        f"The mask of the pool {params.pool!r} would be a {mask.style}, which does not exclude hosts that register "
        f"after the job was sent. {mask.why} {advice} Or accept that with future_hosts=wanted.".replace("  ", " "),
    )
