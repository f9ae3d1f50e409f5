"""`afpools pool spill`: a second pool for jobs that wait too long."""

from __future__ import annotations

from typing import Annotated

import typer

from afpools.fence_note import MAX_SPILL_SECONDS, MIN_SPILL_SECONDS

from ..words import duration, seconds
from .options import ProfileOption, RequestIdOption, TimeoutOption, change, connect
from .output import printable, remark, say


def _span(text: str) -> str:
    try:
        span = seconds(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if not MIN_SPILL_SECONDS <= span <= MAX_SPILL_SECONDS:
        raise typer.BadParameter(f"{text!r} is not a valid time to wait (use 1m to 30d).")
    return text


def spill(
    name: Annotated[str, typer.Argument(metavar="POOL", help="The pool's name.")],
    to: Annotated[
        str | None, typer.Option("--to", metavar="POOL", help="The pool that its jobs may use too, if they wait.")
    ] = None,
    after: Annotated[
        str, typer.Option("--after", metavar="TIME", callback=_span, help="So long without a running task: 30m, 2h.")
    ] = "30m",
    never: Annotated[bool, typer.Option("--never", help="Its jobs use no other pool.")] = False,
    profile: ProfileOption = None,
    request_id: RequestIdOption = None,
    timeout: TimeoutOption = 5.0,
) -> None:
    """Let jobs of a pool use a second pool too if they have had no running task for some time.

    A job that spilled stays so until its work is done or it is moved. What a job says itself counts before its pool.
    """
    if (to is None) != never:
        raise typer.BadParameter("give --to POOL, or --never.", param_hint="--to, --never")
    span = seconds(after)
    with connect(profile, timeout) as client, change(request_id) as request:
        done = client.update_pool(name, spill_to=to or "", spill_after=span, request_id=request)
    if not done.change:
        say("Nothing to do: that is so already.")
    elif to is None:
        say(printable(f"Jobs of {name} use no second pool. Those that had spilled because of it come back."))
    else:
        say(printable(f"Jobs of {name} may use {to} too after {duration(span)} without a running task."))
        remark("This needs live pools on the broker: see `afpools health`.")
