"""`afpools pool follow` and `unfollow`: pools that have the renders of Afanasy's own ones."""

from __future__ import annotations

from typing import Annotated

import typer

from ..words import plural, ranges
from .options import ProfileOption, RequestIdOption, TimeoutOption, change, connect
from .output import printable, remark, say


def follow(
    path: Annotated[str, typer.Argument(metavar="PATH", help="Afanasy's name of its pool: /local/farm.")],
    name: Annotated[
        str | None, typer.Option("--as", metavar="POOL", help="What it is called here; else local/farm.")
    ] = None,
    description: Annotated[str, typer.Option(metavar="TEXT", help="What it is for.")] = "",
    profile: ProfileOption = None,
    request_id: RequestIdOption = None,
    timeout: TimeoutOption = 5.0,
) -> None:
    """Make a pool that has the renders of one of Afanasy's own and of those below it, from now on.

    Renders that join or leave there join or leave here, and jobs on the farm move with it. Nobody else changes its
    hosts until `unfollow`.
    """
    pool = name or path.strip("/") or "/"
    with connect(profile, timeout) as client, change(request_id) as request:
        done = client.follow_pool(path, pool, description, request_id=request)
    say(printable(f"{done.pool} follows {path} and has {plural(done.hosts, 'host')} now: {ranges(done.added)}."))
    remark(f"To change its hosts here again: afpools pool unfollow {done.pool}")


def unfollow(
    name: Annotated[str, typer.Argument(metavar="POOL", help="The pool's name.")],
    profile: ProfileOption = None,
    request_id: RequestIdOption = None,
    timeout: TimeoutOption = 5.0,
) -> None:
    """Let people change a pool again that follows one of Afanasy's. It keeps its hosts."""
    with connect(profile, timeout) as client, change(request_id) as request:
        done = client.unfollow_pool(name, request_id=request)
    if done.change:
        say(f"{printable(done.pool)} no longer follows Afanasy's pool, and keeps its {plural(done.hosts, 'host')}.")
    else:
        say(f"Nothing to do: {printable(done.pool)} follows no pool of Afanasy.")
