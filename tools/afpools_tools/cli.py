"""`afpools`: one program for operators, TDs and monitoring."""

from __future__ import annotations

import signal
import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from afpools import AfpoolsError

from .output import fail

# Each module is imported when its command is run, or listed by --help: whoever asks for pools need not wait for the
# broker, the database's driver and the certificate authority.
_COMMANDS = {
    "up": "up:up",
    "init": "configure:init",
    "serve": "serve:serve",
    "backup": "backup:backup",
    "restore": "backup:restore",
    "pool": "pool:app",
    "mask": "mask:mask",
    "host": "host:app",
    "scan": "scan_command:scan",
    "health": "health:health",
    "manager": "manager.command:manager",
    "certs": "certs:app",
    "bundle": "bundle:app",
    "install": "install:install_app",
    "uninstall": "install:uninstall_app",
}


class _Commands(TyperGroup):
    """The commands above, imported one by one."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        # Their names are what typer goes by when it guesses at a mistyped one.
        self.commands: dict[str, Any] = dict.fromkeys(_COMMANDS)

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[cmd_name].partition(":")
        found = getattr(import_module(f".{module}", __package__), attribute)
        if not isinstance(found, typer.Typer):
            single = typer.Typer(add_completion=False)
            single.command(cmd_name)(found)
            return typer.main.get_command(single)
        group = typer.main.get_command(found)
        group.name = cmd_name
        return group


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
    """What a command may raise that is nobody's defect, besides the client library's errors; imported when needed."""
    from afpools_broker.config import ConfigError
    from afpools_broker.files import CredentialError
    from afpools_broker.listeners import ListenError
    from afpools_broker.store import Irreconcilable, StoreUnavailable
    from afpools_broker.store.archive import ArchiveError

    from .credential_files import AuthorityError
    from .networks import ScanError
    from .output import CommandError

    return (
        ArchiveError,
        AuthorityError,
        CommandError,
        ConfigError,
        CredentialError,
        Irreconcilable,
        ListenError,
        ScanError,
        StoreUnavailable,
    )


def main() -> None:
    """The console script: runs a command, and turns every expected trouble into one line and exit status 1."""
    if sys.argv[1:2] == ["serve"]:
        # Here it means "read your configuration again". It must not end a broker that is not that far yet; `serve`
        # lets it through.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        app()
    except Exception as error:
        if not isinstance(error, AfpoolsError) and not isinstance(error, _expected()):
            raise
        fail(str(error))
        sys.exit(1)
