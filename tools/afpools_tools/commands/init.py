"""`afpools init`: asks what a broker needs to know, tests the answers, writes broker.toml and the credentials.

Strategy: every answer, from a flag, a person or a default, is checked by the same rule. An answer that can never be
right is refused; one that does not work right now (a port in use, a database that is down) can be kept on request.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from afpools_broker.config import ConfigError, load
from afpools_broker.credentials.keys import check_name
from afpools_broker.farm.afserver import FarmError
from afpools_broker.listeners import ListenError
from afpools_broker.store import StoreUnavailable

from ..credentials.authority import Authority
from ..credentials.certificates import check_address
from ..credentials.files import PASSPHRASE_VARIABLE, AuthorityError, make_folder, write
from ..network.addresses import is_loopback, own_names
from ..setup import (
    PASSWORD_FILE,
    Answers,
    Check,
    check_farm,
    check_port,
    check_store,
    make_credentials,
    needs_password,
    user_of,
    write_config,
)
from ..systemd import unit as systemd
from .options import CommandError
from .output import say, warn

FolderArgument = Annotated[
    Path, typer.Argument(metavar="DIR", file_okay=False, help="Where broker.toml and certs/ go.")
]
NameOption = Annotated[str | None, typer.Option(metavar="NAME", help="This broker's name, if you will have several.")]
AddressOption = Annotated[
    str | None, typer.Option(metavar="IP", help="Address to listen at; 0.0.0.0 for all of this machine's addresses.")
]
NamesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--reachable-as", metavar="HOST", help="Name or address that clients will use, the best first; repeatable."
    ),
]
CurvePortOption = Annotated[int | None, typer.Option(metavar="PORT", min=1, max=65535, help="For programs with pyzmq.")]
TlsPortOption = Annotated[int | None, typer.Option(metavar="PORT", min=1, max=65535, help="For plug-ins.")]
StoreOption = Annotated[
    str | None, typer.Option(metavar="URI", help="mongodb://USER@HOST/… or sqlite:///FILE; no password here.")
]
PasswordFileOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Holds the database's password.", dir_okay=False, exists=True)
]
FarmOption = Annotated[
    str | None, typer.Option(metavar="HOST[:PORT]", help="Your afserver; '' if hosts are registered by hand.")
]
LiveOption = Annotated[
    bool | None, typer.Option("--live/--no-live", help="Jobs on the farm follow their pools when these change.")
]
ManagerOption = Annotated[str, typer.Option(metavar="NAME", help="Whose manager's profile to make.")]


def init(
    folder: FolderArgument = Path(),
    name: NameOption = None,
    address: AddressOption = None,
    names: NamesOption = None,
    curve_port: CurvePortOption = None,
    tls_port: TlsPortOption = None,
    store: StoreOption = None,
    password_file: PasswordFileOption = None,
    farm: FarmOption = None,
    live: LiveOption = None,
    message_bytes: Annotated[int | None, typer.Option(metavar="BYTES", help="The largest request.")] = None,
    connections: Annotated[
        int | None, typer.Option(metavar="COUNT", help="At once, over TLS and CURVE together.")
    ] = None,
    requests_per_second: Annotated[int | None, typer.Option(metavar="COUNT", help="Of one client.")] = None,
    manager: ManagerOption = "manager",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask: flags and defaults decide.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace broker.toml. Keys are never replaced.")] = False,
    no_checks: Annotated[bool, typer.Option("--no-checks", help="Do not test ports, database and farm.")] = False,
    service: Annotated[
        bool,
        typer.Option("--systemd", help="Also install and start it as a service. Works with an existing broker.toml."),
    ] = False,
) -> None:
    """Set up a broker: ask, test, make the certificates, write broker.toml."""
    if service:
        systemd.need_root()
        if (folder / "broker.toml").exists() and not force:
            _install_service(folder.absolute(), asking=not yes)
            return
    _check_flags(folder, manager, names or (), yes=yes, force=force)
    make_folder(folder)
    folder = folder.absolute()
    talk = _Interview(folder, asking=not yes, checking=not no_checks)
    if service:
        make_folder(systemd.STATE)
        talk.answers = talk.answers.but(store=f"sqlite:///{systemd.STATE / 'pools.sqlite'}")
    if not yes:
        say("Enter keeps the value in brackets.")
    passphrase = _passphrase(folder / "certs", asking=not yes)
    talk.settle("name", "This broker's name", name)
    _settle_address(talk, address, names)
    talk.settle("curve_port", "Port for CURVE", curve_port, check_port("CURVE"))
    talk.settle("tls_port", "Port for TLS", tls_port, check_port("TLS"), _two_ports)
    if password_file is not None:
        _take_password_file(talk, password_file)
    talk.settle("store", "Database", store, check_store, talk.ask_password)
    talk.settle("farm", "afserver (empty: hosts are registered by hand)", farm, check_farm)
    if talk.answers.farm or live is not None:
        talk.settle("live", "Should jobs that are on the farm already follow their pools", live)
    talk.settle_limits(
        {"message_bytes": message_bytes, "connections": connections, "requests_per_second": requests_per_second}
    )
    profile = make_credentials(talk.answers, folder / "certs", profiles={manager: "manager"}, passphrase=passphrase)
    write_config(talk.answers, folder)
    _compare_credentials(talk.answers, folder / "certs")
    if service:
        _install_service(folder, asking=not yes)
    _say_how_to_go_on(folder, profile, started=service)


def _install_service(folder: Path, *, asking: bool) -> None:
    """Makes systemd run the broker in a folder.

    Raises:
        SystemdError, ConfigError: it cannot.
    """
    file = folder / "broker.toml"
    service = systemd.Service(file, load(file, {}), Path(sys.argv[0]).resolve())
    service.refuse_homes()
    say(f"The service {service.name} will run {service.executable} as the user {systemd.USER}: {service.path}")
    if asking:
        typer.confirm("Install and start it?", abort=True)
    left = systemd.install(service, systemd.run_command)
    if left:
        say("systemd is not running here. When it is:", "yellow")
        for command in left:
            say(f"  {command}")
    else:
        say(f"It is running, and will start at boot. Its log:  journalctl -u {service.name}", "green")


def _check_flags(folder: Path, manager: str, names: Sequence[str], *, yes: bool, force: bool) -> None:
    """Refuses wrong flags before the first question.

    Raises:
        CommandError: a flag makes no sense, or there is nobody to ask.
    """
    file = folder / "broker.toml"
    if file.exists() and not force:
        raise CommandError(f"{file} exists already. Edit it, or say --force to write a new one in its place.")
    try:
        check_name(manager)
    except ValueError as error:
        raise CommandError(f"--manager: {error}.") from None
    for name in names:
        try:
            check_address(name)
        except AuthorityError as error:
            raise CommandError(f"--reachable-as: {error}") from None
    if not yes and not sys.stdin.isatty():
        raise CommandError("There is no terminal to ask questions in. Use --yes to take flags and defaults.")


def _settle_address(talk: _Interview, address: str | None, names: Sequence[str] | None) -> None:
    talk.settle("address", "Listen at (0.0.0.0: all addresses of this machine)", address)
    talk.answers = talk.answers.but(names=_own_names(talk.answers.address))
    talk.settle("names", "Names and addresses that clients will use for it", tuple(names) if names else None)
    _warn_of_loopback(talk.answers)


def _take_password_file(talk: _Interview, file: Path) -> None:
    talk.answers = talk.answers.but(password_file=str(file.absolute()))
    if file.stat().st_mode & 0o077:
        warn(f"{file} can be read by others: chmod 600 {shlex.quote(str(file))}")


def _say_how_to_go_on(folder: Path, profile: Path, *, started: bool) -> None:
    file, certs = folder / "broker.toml", folder / "certs"
    say(f"Wrote {file} and the credentials in {certs}.")
    if not started:
        say(f"Start the broker:   afpools serve -c {shlex.quote(str(file))}")
    if profile.exists():
        say(f"Ask it something:   AFPOOLS_PROFILE={shlex.quote(str(profile))} afpools health")
    say(f"For a workstation:  afpools certs profile NAME --role reader --dir {shlex.quote(str(certs))}")


class _Interview:
    """Settles one answer after another: from the flag, else from the person, else the default.

    Args:
        folder: where broker.toml will be.
        asking: whether there is somebody to ask.
        checking: whether answers are tested.
    """

    def __init__(self, folder: Path, *, asking: bool, checking: bool) -> None:
        self.answers = Answers()
        self.asking = asking
        self._folder = folder
        self._checking = checking

    def settle(
        self,
        field: str,
        question: str,
        given: object = None,
        check: Check | None = None,
        complete: Callable[[Answers], Answers] | None = None,
    ) -> None:
        """Settles one answer; asks again as long as it is wrong.

        Args:
            field: of `Answers`.
            question: for people.
            given: the value of a flag; then nobody is asked.
            check: tests the answer.
            complete: adds what follows from this answer.

        Raises:
            CommandError: it is wrong, and there is nobody to ask.
        """
        default = getattr(self.answers, field)
        asking = self.asking and given is None
        while True:
            value = given if given is not None else _prompt(question, default) if asking else default
            answers = self.answers.but(**{field: value})
            try:
                answers.settings(self._folder)
                if complete is not None:
                    answers = complete(answers)
                remark = check(answers.settings(self._folder)) if check is not None and self._checking else ""
            except ConfigError as error:
                if not asking:
                    raise CommandError(str(error)) from None
                warn(str(error))
                continue
            except (ListenError, FarmError, StoreUnavailable) as error:
                if not asking:
                    raise CommandError(f"{error} (--no-checks writes the file anyway.)") from None
                warn(str(error))
                if not typer.confirm("Keep it anyway?", default=False):
                    continue
                remark = ""
            if remark:
                say(remark)
            self.answers = answers
            return

    def settle_limits(self, given: Mapping[str, int | None]) -> None:
        """Settles the limits; asks for each one only if the person does not want the defaults.

        Args:
            given: what flags say, by the field of `Answers`.
        """
        default = self.answers
        self.asking = (
            self.asking
            and None in given.values()
            and typer.confirm(
                f"Other limits than {default.message_bytes:,} bytes a request, {default.connections:,} connections, "
                f"{default.requests_per_second:,} requests a second of each client?",
                default=False,
            )
        )
        for field, value in given.items():
            self.settle(field, field.replace("_", " ").capitalize(), value)

    def ask_password(self, answers: Answers) -> Answers:
        """The answers, with a file for the password of the user in the database's address."""
        if not needs_password(answers.store) or answers.password_file:
            return answers
        user = user_of(answers.store)
        password = self.asking and _prompt_secret(f"Password of {user}, kept in {self._folder / PASSWORD_FILE}")
        if not password:
            raise ConfigError(f"The database's address names the user {user!r}: give --password-file FILE, too.")
        write(self._folder / PASSWORD_FILE, f"{password}\n", secret=True)
        return answers.but(password_file=PASSWORD_FILE)


def _compare_credentials(answers: Answers, certs: Path) -> None:
    """Warns if the broker already had credentials, and they were made for other addresses or ports."""
    wanted = (set(answers.names), answers.tls_port, answers.curve_port)
    for broker in Authority.open(certs).brokers():
        if broker.name == answers.name and (set(broker.addresses), broker.tls_port, broker.curve_port) != wanted:
            arguments = " ".join(f"-a {name}" for name in answers.names)
            warn(
                f"The broker's credentials already exist and are kept: for {', '.join(broker.addresses)}, TLS port "
                f"{broker.tls_port} and CURVE port {broker.curve_port}. To replace them, and every profile after them: "
                f"afpools certs broker {answers.name} {arguments} --tls-port {answers.tls_port} "
                f"--curve-port {answers.curve_port} --force --dir {shlex.quote(str(certs))}"
            )


def _passphrase(certs: Path, *, asking: bool) -> str | None:
    """The passphrase of the authority's key: from the environment, or by asking.

    Raises:
        AuthorityError: it does not open the existing authority's key.
    """
    passphrase = os.environ.get(PASSPHRASE_VARIABLE) or None
    if not (certs / "ca" / "ca.pem").exists():
        if asking and passphrase is None:
            passphrase = _prompt_secret("Passphrase for the new certificate authority's key (empty: none)", twice=True)
        return passphrase or None
    authority = Authority.open(certs, passphrase=passphrase)
    if authority.needs_passphrase and passphrase is None and asking:
        passphrase = typer.prompt("Passphrase of the certificate authority's key", hide_input=True)
        authority = Authority.open(certs, passphrase=passphrase)
    if authority.ca_key_path.exists():
        # Check it now instead of after ten questions.
        authority.ca_key()
    return passphrase


def _two_ports(answers: Answers) -> Answers:
    if answers.curve_port == answers.tls_port:
        raise ConfigError(f"CURVE and TLS cannot both use port {answers.tls_port}: give each its own.")
    return answers


def _own_names(address: str) -> tuple[str, ...]:
    """The names that clients are likely to use for a broker that listens at an address."""
    if address in ("0.0.0.0", "::"):  # noqa: S104
        return tuple(own_names())
    if is_loopback(address):
        return (address, "localhost")
    return tuple(dict.fromkeys((address, *(name for name in own_names() if not is_loopback(name)))))


def _warn_of_loopback(answers: Answers) -> None:
    """Warns if clients on other machines would look for the broker on their own machine."""
    if is_loopback(answers.names[0]) and not is_loopback(answers.address):
        warn(
            f"Profiles will lead to {answers.names[0]}, which is this machine for itself and no other. If clients on "
            "other machines are to use this broker, say what they call it: --reachable-as HOST."
        )


def _prompt(question: str, default: Any) -> Any:
    """Asks for a value of the default's type: yes or no for a bool, several words for a tuple."""
    if isinstance(default, bool):
        return typer.confirm(f"{question}?", default=default)
    if isinstance(default, tuple):
        return tuple(typer.prompt(question, default=" ".join(default)).replace(",", " ").split()) or default
    return typer.prompt(question, default=default, type=type(default), show_default=default != "")


def _prompt_secret(question: str, *, twice: bool = False) -> str:
    """Asks for a secret without showing it; empty if there is none."""
    answer: str = typer.prompt(question, default="", show_default=False, hide_input=True, confirmation_prompt=twice)
    return answer
