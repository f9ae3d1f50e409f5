"""`afpools farm`: what brokers do to the farm itself."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from afpools import Client, SystemPool

from .options import CommandError, JsonOption, ProfileOption, RequestIdOption, TimeoutOption, change, connect
from .output import print_json, remark, say, warn

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Show where the farm runs post commands, and keep them on a pool."
)

# A broker looks at the system job at once; afserver carries out a change within a second, and the broker reads it back.
_SEEN_SECONDS = 8.0
_PAUSE = 0.25


@app.callback()
def _farm() -> None:
    """Show where the farm runs post commands, and keep them on a pool."""


@app.command("system-pool")
def system_pool(
    pool: Annotated[str | None, typer.Argument(metavar="[POOL]", help="Without it: show what is set.")] = None,
    none: Annotated[bool, typer.Option("--none", help="Let post commands run on any render again.")] = False,
    profile: ProfileOption = None,
    request_id: RequestIdOption = None,
    timeout: TimeoutOption = 5.0,
    as_json: JsonOption = False,
) -> None:
    """Keep afserver's system job on a pool: it runs the post commands of all jobs, and has no pool of its own.

    Every broker of the studio keeps it there, even after a restart of afserver.
    """
    if pool is not None and none:
        raise typer.BadParameter("cannot be given with a pool.", param_hint="--none")
    with connect(profile, timeout) as client:
        if pool is None and not none:
            now = client.system_pool()
        else:
            with change(request_id) as request:
                client.set_system_pool(pool, request_id=request)
            now = _settled(client, pool or "")
    if as_json:
        print_json(now._asdict())
    elif now.problem:
        warn(now.state)
    else:
        say(now.state)
        if not now.pool:
            remark("To keep them on a pool: afpools farm system-pool POOL")
    if now.problem:
        raise typer.Exit(1)


def _settled(client: Client, pool: str) -> SystemPool:
    """The state once the broker has done its part, or has had enough time for it.

    Raises:
        CommandError: somebody else has chosen another pool meanwhile.
    """
    until = time.monotonic() + _SEEN_SECONDS
    while True:
        now = client.system_pool()
        if now.pool is not None and now.pool != pool:
            raise CommandError(f"Somebody else has chosen another pool meanwhile. {now.state}")
        if now.problem or now.settled or time.monotonic() > until:
            return now
        time.sleep(_PAUSE)
