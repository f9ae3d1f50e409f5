"""`afpools pool follow` and `unfollow`: pools that follow Afanasy's own pools."""

from __future__ import annotations

from typing import Annotated

import typer

from ..words import plural, ranges
from .options import ProfileOption, RequestIdOption, TimeoutOption, change, connect
from .output import printable, remark, say


def follow(
    path: Annotated[str, typer.Argument(metavar="PATH", help="Afanasy's name for its pool: /local/farm.")],
    name: Annotated[
        str | None, typer.Option("--as", metavar="POOL", help="Its name here. Default: local/farm.")
    ] = None,
    description: Annotated[str, typer.Option(metavar="TEXT", help="What it is for.")] = "",
    profile: ProfileOption = None,
    request_id: RequestIdOption = None,
    timeout: TimeoutOption = 5.0,
) -> None:
    """Make a pool that always has the renders of one of Afanasy's own pools and of the pools below it.

    Renders that join or leave Afanasy's pool also join or leave this one, and jobs on the farm follow. Nobody else can
    change its hosts until `unfollow`.
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
    """Stop following one of Afanasy's pools. The pool keeps its hosts, and people can change them again."""
    with connect(profile, timeout) as client, change(request_id) as request:
        done = client.unfollow_pool(name, request_id=request)
    if done.change:
        say(f"{printable(done.pool)} no longer follows Afanasy's pool, and keeps its {plural(done.hosts, 'host')}.")
    else:
        say(f"Nothing to do: {printable(done.pool)} follows no pool of Afanasy.")
