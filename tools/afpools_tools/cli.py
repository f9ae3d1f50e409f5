"""`afpools`: one program for operators, TDs and monitoring."""

from __future__ import annotations

import signal
import sys
from importlib import import_module
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from afpools import AfpoolsError

from .commands.output import fail
from .commands.parameters import plain, read_plainly
from .errors import ToolError


class _Command(NamedTuple):
    """Where a command is, and what --help says about it.

    Args:
        place: the module in `commands`, and the name in it. The module is imported only when the command runs, so that
            a list of pools, or --help, does not wait for imports of the broker, the database's driver, the certificate
            authority and the web server.
        says: the first paragraph of its own help. A test compares the two.
    """

    place: str
    says: str


_COMMANDS = {
    "up": _Command(
        "up:up", "Run a broker on this machine for a first look. It makes everything it needs on first use."
    ),
    "init": _Command("init:init", "Set up a broker: ask, test, make the certificates, write broker.toml."),
    "serve": _Command(
        "serve:serve",
        "Run a broker until SIGTERM or Ctrl-C. SIGHUP makes it read its configuration, keys and certificates again.",
    ),
    "backup": _Command(
        "backup:backup",
        "Write pools, registered hosts, history and the list of renders into one file. Run it where the broker runs.",
    ),
    "restore": _Command(
        "backup:restore",
        "Replace everything in the database with a backup. Run it where the broker runs.",
    ),
    "pool": _Command("pool:app", "Show pools, and change them."),
    "mask": _Command(
        "mask:mask", "The exclude mask that keeps a job on a pool. The mask alone goes to standard output."
    ),
    "host": _Command("host:app", "Show hosts, and register some."),
    "jobs": _Command("jobs:app", "Show the jobs on the farm and the pools they follow, and move them."),
    "submit": _Command(
        "submit:app", "Send a job as CGRU's afjob.py does, with a pool. Its arguments come last, as for afjob.py."
    ),
    "farm": _Command("farm:app", "Show where the farm runs post commands, and keep them on a pool."),
    "scan": _Command(
        "scan:scan",
        "Find machines in the network that are not render nodes yet. Ctrl-C ends it and shows what was found so far.",
    ),
    "health": _Command(
        "health:health",
        "Check the broker's health over every endpoint. Exit status 0: healthy, 1: degraded, 2: down, 3: unknown.",
    ),
    "manager": _Command("manager:manager", "Edit pools in the browser. Listens on this machine only, until Ctrl-C."),
    "certs": _Command("certs:app", "Keys and certificates: who may connect to the brokers, and in which role."),
    "bundle": _Command("bundle:app", "Plug-ins packed as their host application installs them."),
    "install": _Command("install:install_app", "Put plug-ins into host applications, and modules into their Pythons."),
    "uninstall": _Command("install:uninstall_app", "Remove what `afpools install` has written."),
}


class _Commands(TyperGroup):
    """The commands above: only their entries, until one of them runs."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        # typer uses their names to suggest a correction for a mistyped one.
        self.commands: dict[str, Any] = dict.fromkeys(_COMMANDS)

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        return TyperCommand(cmd_name, help=_COMMANDS[cmd_name].says) if cmd_name in _COMMANDS else None

    def get_params(self, ctx: Any) -> list[Any]:
        return [plain(parameter) for parameter in super().get_params(ctx)]

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, found, rest = super().resolve_command(ctx, args)
        return name, load(name) if found and name else found, rest


def load(name: str) -> Any:
    """The command itself, for a name in `_COMMANDS`. Imports its module."""
    module, _, attribute = _COMMANDS[name].place.partition(":")
    found = getattr(import_module(f".commands.{module}", __package__), attribute)
    if isinstance(found, typer.Typer):
        command = typer.main.get_command(found)
        command.name = name
    else:
        single = typer.Typer(add_completion=False)
        single.command(name)(found)
        command = typer.main.get_command(single)
    read_plainly(command)
    if name == "health":
        _misused_is_unknown(command)
    return command


def _misused_is_unknown(command: Any) -> None:
    """Makes a wrong option exit with 3: click's own 2 means here that no broker answers."""
    parse = command.parse_args

    def parse_args(ctx: Any, args: list[str]) -> Any:
        try:
            return parse(ctx, args)
        except Exception as error:
            # click's class has moved between versions of typer.
            if getattr(error, "exit_code", None) == 2:
                error.exit_code = 3  # type: ignore[attr-defined]
            raise

    command.parse_args = parse_args


app = typer.Typer(cls=_Commands, no_args_is_help=True, pretty_exceptions_enable=False)


def _print_version(wanted: bool) -> None:
    if wanted:
        from afpools_broker import __version__

        typer.echo(f"afpools {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Pools for an Afanasy render farm: run a broker, edit pools, look after credentials.

    For a first look: afpools up. In a studio: afpools init, then afpools serve.
    """


def _expected() -> tuple[type[Exception], ...]:
    """The broker's exceptions that are not bugs; imported only when needed."""
    from afpools_broker.config import ConfigError
    from afpools_broker.credentials.files import CredentialError
    from afpools_broker.listeners import ListenError
    from afpools_broker.store import Irreconcilable, StoreUnavailable
    from afpools_broker.store.archive import ArchiveError

    return ArchiveError, ConfigError, CredentialError, Irreconcilable, ListenError, StoreUnavailable


def main() -> None:
    """The console script: runs a command, and turns every expected error into one line and exit status 1."""
    if sys.argv[1:2] == ["serve"]:
        # SIGHUP means "read the configuration again". It must not end a broker that is still starting; `serve` handles
        # it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        app()
    except Exception as error:
        if not isinstance(error, (AfpoolsError, ToolError)) and not isinstance(error, _expected()):
            raise
        fail(str(error))
        sys.exit(1)
