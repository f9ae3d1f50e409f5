"""The mask of one job: a pool's, joined with what the job excludes itself.

Made here at sending, and again when the pool changes, so that both give the same.
"""

from __future__ import annotations

from .. import protocol
from ..fences import Fences
from ..protocol import Code, Dialect, MaskParams, Reading, RequestRefused
from .exclude import ACCEPT_REGEX, Mask, find_parts
from .joint import joined


def accepted(params: MaskParams, untyped: Reading) -> tuple[Dialect, ...]:
    """What the caller can set, less what would give the job's other masks another meaning.

    Args:
        params: what is asked for.
        untyped: how the masks of this user's jobs are read where the job says no type.
    """
    becomes_regex = params.exclude_type == "either" and untyped == "regex" and "regex" in params.accept
    return ("regex",) if becomes_regex else tuple(params.accept)


def job_mask(fences: Fences, params: MaskParams, untyped: Reading) -> Mask:
    """The mask as it is asked for, proven. One that is joined with the job's own is not kept: each job has another.

    Args:
        fences: the pools as the farm spells them.
        params: what is asked for.
        untyped: as for `accepted`.

    Raises:
        RequestRefused: what `Fences.mask` and `joined` raise, and `mask_not_expressible` for one that lets in hosts
            that register later, where it must not.
    """
    accept = accepted(params, untyped)
    # Most have none, and this is what a broker does all day.
    if not params.exclude or not find_parts(params.exclude):
        mask = fences.mask((params.pool, params.style, accept), params.max_bytes)
    else:
        mask = joined(
            lambda accept: fences.mask((params.pool, params.style, accept), params.max_bytes),
            params.exclude,
            # Where such a job's masks are read as find, both readings count anyway: a regex would exclude
            # nothing then, which nobody means.
            "regex" if untyped == "regex" and params.exclude_type == "either" else params.exclude_type,
            inside=fences.members[params.pool],
            known=fences.nameable(params.pool),
            accept=accept,
            no_find=fences.engines.no_find,
            max_bytes=min(params.max_bytes, protocol.MASK_BYTES),
        )
    if params.future_hosts == "required" and not mask.covers_future_hosts:
        raise _lets_later_hosts_in(mask, params)
    return mask


def _lets_later_hosts_in(mask: Mask, params: MaskParams) -> RequestRefused:
    """The refusal of a mask that names the hosts to keep out, where it must keep out those to come as well."""
    if params.style != "complement":
        advice = "Ask for style complement."
    elif "regex" not in params.accept:
        advice = ACCEPT_REGEX
    elif params.exclude:
        advice = "Shorten the job's own exclude mask, or take a pool of fewer hosts."
    elif params.max_bytes < protocol.MASK_BYTES:
        advice = (
            "Send the job through af.Job, which can carry a longer mask (max_bytes), or take a pool of fewer hosts, or "
            "of neighbours in their numbering."
        )
    else:
        advice = "Take a pool of fewer hosts, or of neighbours in their numbering."
    return RequestRefused(
        Code.MASK_NOT_EXPRESSIBLE,
        f"The mask of the pool {params.pool!r} would be a {mask.style}, which does not exclude hosts that register "
        f"after the job was sent. {mask.why} {advice} Or accept that with future_hosts wanted.".replace("  ", " "),
    )
