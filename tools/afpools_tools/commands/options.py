"""Options and arguments that several commands share, and the objects made from them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from afpools import Client, OutcomeUnknown, UnknownHost, find_profile
from afpools.certificate import expires_soon
from afpools.profile import Profile

from ..errors import ToolError
from ..hosts import split_hosts
from .output import warn

if TYPE_CHECKING:
    from afpools_broker.store import PoolStore

ProfileOption = Annotated[
    Path | None,
    typer.Option(
        "--profile",
        metavar="DIR",
        help="The folder with your credentials. Without it: $AFPOOLS_PROFILE, your configuration folder, "
        "$CGRU_LOCATION/afpools.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
TimeoutOption = Annotated[
    float, typer.Option("--timeout", metavar="SECONDS", min=0.1, max=600, help="How long to wait for the broker.")
]
RequestIdOption = Annotated[
    str | None,
    typer.Option(
        "--request-id",
        metavar="ID",
        help="Repeat a change whose outcome is unknown, with the id from its error message. The change is made "
        "once, however often you repeat it.",
    ),
]
ConfigOption = Annotated[
    Path, typer.Option("-c", "--config", metavar="FILE", help="The broker's configuration.", dir_okay=False)
]
HostsArgument = Annotated[
    list[str], typer.Argument(metavar="HOST", help="Host names and ranges: pc-01 'pc-[01-40]' 'gpu-[1-8,12]'.")
]


# Seconds for each operation: longer than a broker waits, because a broker's clients wait for it.
_PATIENCE = 30.0


class CommandError(ToolError):
    """A command cannot do what it was told, for a reason of its own."""


def open_profile(folder: Path | None) -> Profile:
    """The profile that was named, else the one that is found. Warns on standard error if its certificate expires soon.

    Raises:
        ProfileError: there is none, or it is incomplete.
    """
    profile = Profile.load(str(folder)) if folder else find_profile()
    if notice := expires_soon(profile.client_file, time.time()):
        warn(notice)
    return profile


def connect(folder: Path | None, timeout: float = 5.0) -> Client:
    """A client for one command. The caller closes it."""
    return Client(open_profile(folder), timeout=timeout)


YET_TO_COME = "If the machine is not set up yet, add --new."

DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Say what it would do to the jobs on the farm, and change nothing.")
]

NewOption = Annotated[
    bool,
    typer.Option("--new", help="Also add machines that the farm has not seen yet."),
]


@contextmanager
def change(request_id: str | None, *, besides: str = "") -> Iterator[str]:
    """Wraps one change: provides its request id, and if its outcome is unknown, says how to repeat it.

    Args:
        request_id: the value of `--request-id`.
        besides: options that the repeated command also needs.

    Raises:
        CommandError: it is not known whether the change was made, or it names machines that the farm does not have.
    """
    name = request_id or uuid.uuid4().hex
    how = f"Run the same command again with {besides}{' ' * bool(besides)}--request-id {name}: the change is made once."
    try:
        yield name
    except OutcomeUnknown as error:
        raise CommandError(f"{error}\n{how}") from None
    except UnknownHost as error:
        raise CommandError(f"{error} {YET_TO_COME}") from None
    except KeyboardInterrupt:
        raise CommandError(f"Interrupted: it is not known whether the change was made.\n{how}") from None


def open_configured(config: Path) -> PoolStore:
    """The database in broker.toml, for a command that works on it directly, as a broker does. The caller closes it.

    Raises:
        ConfigError: broker.toml cannot be read, or its `[store] uri` is not valid.
    """
    from afpools_broker.broker import store_uri
    from afpools_broker.config import ConfigError, load
    from afpools_broker.store import open_store

    try:
        return open_store(store_uri(load(config)), timeout=_PATIENCE)
    except ValueError as error:
        raise ConfigError(f"[store] uri: {error}") from None


def named_hosts(arguments: list[str]) -> list[str]:
    """Host names and ranges from a command line.

    Raises:
        typer.BadParameter: there is not one.
    """
    hosts = split_hosts(arguments)
    if arguments and not hosts:
        raise typer.BadParameter("no host is named. Write them like pc-01 'pc-[01-40]'.", param_hint="HOST")
    return hosts
