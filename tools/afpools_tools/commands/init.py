"""`afpools init`: asks what a broker needs to know, tests what it was told, writes broker.toml and the credentials.

Strategy: every answer, from a flag, a person or a default, is settled by the same rule. One that can never be right is
refused; one that does not work just now (a port in use, a database that is away) may be kept by whoever insists.
broker.toml is written last: where it is, everything it names is there too.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from afpools_broker import config as broker_config
from afpools_broker.broker import store_uri
from afpools_broker.config import Config, ConfigError
from afpools_broker.credentials import check_name
from afpools_broker.farm import FarmError, ask, parse_renders
from afpools_broker.listeners import ListenError, cannot_listen
from afpools_broker.protocol import Role
from afpools_broker.store import StoreUnavailable, open_store, redacted

from ..credentials.authority import Authority, check_address
from ..credentials.files import AuthorityError, make_folder, write
from ..network.addresses import is_loopback, own_names
from .output import CommandError, say, warn

PASSPHRASE_VARIABLE = "AFPOOLS_CA_PASSPHRASE"  # noqa: S105 - where it is, not what it is

_LIMITS = broker_config.LimitsSection()
_PASSWORD_FILE = "store-password"  # noqa: S105 - where it is, not what it is


@dataclass(frozen=True)
class Answers:
    """What `init` asks for.

    Args:
        name: the broker's own.
        address: to listen at.
        names: host names and addresses that clients will use for this broker; they go into its certificate.
        curve_port: for CURVE.
        tls_port: for TLS.
        store: the database's address, without a password.
        password_file: holds the database's password; empty for none.
        farm: afserver, as HOST or HOST:PORT; empty where hosts are registered by hand.
        message_bytes: the largest request.
        connections: at once, on each port.
        requests_per_second: on one connection.
    """

    name: str = "broker"
    address: str = "0.0.0.0"  # noqa: S104
    names: tuple[str, ...] = ()
    curve_port: int = broker_config.CurveSection().port
    tls_port: int = broker_config.TlsSection().port
    store: str = "sqlite:///pools.sqlite"
    password_file: str = ""
    farm: str = ""
    message_bytes: int = _LIMITS.message_bytes
    connections: int = _LIMITS.connections
    requests_per_second: int = _LIMITS.requests_per_second

    def but(self, **changes: Any) -> Answers:
        """The same with some answers changed."""
        return dataclasses.replace(self, **changes)

    def settings(self, folder: Path) -> Config:
        """The answers as the broker will read them.

        Raises:
            ConfigError: one of them is wrong.
        """
        refuse_password(self.store)
        try:
            check_name(self.name)
        except ValueError as error:
            raise ConfigError(f"{error}.") from None
        values: dict[str, Any] = {
            "broker": {"name": self.name},
            "curve": {"address": self.address, "port": self.curve_port},
            "tls": {"address": self.address, "port": self.tls_port},
            "store": {"uri": self.store, "password_file": self.password_file},
            "farm": {"server": self.farm},
            "limits": {
                "message_bytes": self.message_bytes,
                "connections": self.connections,
                "requests_per_second": self.requests_per_second,
            },
        }
        settings = broker_config.build(values, folder=folder, where="your answers")
        for name in self.names:
            try:
                check_address(name)
            except AuthorityError as error:
                raise ConfigError(str(error)) from None
        try:
            # Whether there is a password is found out later.
            open_store(_with_password(self.store) if _needs_password(self.store) else self.store).close()
        except ValueError as error:
            raise ConfigError(str(error)) from None
        return settings


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", file_okay=False, help="Where broker.toml and certs/ go.")
    ] = Path(),
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="This broker's name, if you will have several.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(metavar="IP", help="Listen at; 0.0.0.0 is all this machine has.")
    ] = None,
    names: Annotated[
        list[str] | None,
        typer.Option(
            "--reachable-as", metavar="HOST", help="Name or address that clients will use, the best first; repeatable."
        ),
    ] = None,
    curve_port: Annotated[
        int | None, typer.Option(metavar="PORT", min=1, max=65535, help="For programs with pyzmq.")
    ] = None,
    tls_port: Annotated[int | None, typer.Option(metavar="PORT", min=1, max=65535, help="For plug-ins.")] = None,
    store: Annotated[
        str | None, typer.Option(metavar="URI", help="mongodb://USER@HOST/… or sqlite:///FILE; no password here.")
    ] = None,
    password_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Holds the database's password.", dir_okay=False, exists=True)
    ] = None,
    farm: Annotated[
        str | None, typer.Option(metavar="HOST[:PORT]", help="Your afserver; '' if hosts are registered by hand.")
    ] = None,
    message_bytes: Annotated[int | None, typer.Option(metavar="BYTES", help="The largest request.")] = None,
    connections: Annotated[int | None, typer.Option(metavar="COUNT", help="At once, on each port.")] = None,
    requests_per_second: Annotated[int | None, typer.Option(metavar="COUNT", help="On one connection.")] = None,
    manager: Annotated[str, typer.Option(metavar="NAME", help="Whose manager's profile to make.")] = "manager",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask: flags and defaults decide.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace broker.toml. Keys are never replaced.")] = False,
    no_checks: Annotated[bool, typer.Option("--no-checks", help="Do not test ports, database and farm.")] = False,
) -> None:
    """Set up a broker: ask, test, make the certificates, write broker.toml."""
    file = folder / "broker.toml"
    if file.exists() and not force:
        raise CommandError(f"{file} exists already. Edit it, or say --force to write a new one in its place.")
    try:
        check_name(manager)
    except ValueError as error:
        raise CommandError(f"--manager: {error}.") from None
    for given_name in names or ():
        try:
            check_address(given_name)
        except AuthorityError as error:
            raise CommandError(f"--reachable-as: {error}") from None
    if not yes and not sys.stdin.isatty():
        raise CommandError("There is no terminal to ask questions at: say --yes to go by flags and defaults.")
    make_folder(folder)
    folder = folder.absolute()
    file = folder / "broker.toml"
    talk = _Interview(folder, asking=not yes, checking=not no_checks)
    if not yes:
        say("Enter keeps what stands in brackets.")
    passphrase = _passphrase(folder / "certs", asking=not yes)
    talk.settle("name", "This broker's name", name)
    talk.settle("address", "Listen at (0.0.0.0: all addresses of this machine)", address)
    talk.answers = talk.answers.but(names=_own_names(talk.answers.address))
    talk.settle("names", "Names and addresses that clients will use for it", tuple(names) if names else None)
    _warn_of_loopback(talk.answers)
    talk.settle("curve_port", "Port for CURVE", curve_port, check_port("CURVE"))
    talk.settle("tls_port", "Port for TLS", tls_port, check_port("TLS"), _two_ports)
    if password_file is not None:
        talk.answers = talk.answers.but(password_file=str(password_file.absolute()))
        if password_file.stat().st_mode & 0o077:
            warn(f"{password_file} can be read by others: chmod 600 {shlex.quote(str(password_file))}")
    talk.settle("store", "Database", store, check_store, talk.ask_password)
    talk.settle("farm", "afserver (empty: hosts are registered by hand)", farm, check_farm)
    given = {
        "message_bytes": message_bytes,
        "connections": connections,
        "requests_per_second": requests_per_second,
    }
    default = talk.answers
    talk.asking = (
        not yes
        and None in given.values()
        and typer.confirm(
            f"Other limits than {default.message_bytes:,} bytes a request, {default.connections:,} connections, "
            f"{default.requests_per_second:,} requests a second of each client?",
            default=False,
        )
    )
    for field, value in given.items():
        talk.settle(field, field.replace("_", " ").capitalize(), value)
    answers = talk.answers
    profile = make_credentials(answers, folder / "certs", profiles={manager: "manager"}, passphrase=passphrase)
    write_config(answers, folder)
    _compare_credentials(answers, folder / "certs")
    say(f"Wrote {file} and the credentials in {folder / 'certs'}.")
    quoted, certs = shlex.quote(str(file)), shlex.quote(str(folder / "certs"))
    say(f"Start the broker:   afpools serve -c {quoted}")
    if profile.exists():
        say(f"Ask it something:   AFPOOLS_PROFILE={shlex.quote(str(profile))} afpools health")
    say(f"For a workstation:  afpools certs profile NAME --role reader --dir {certs}")


class _Interview:
    """Settles one answer after the other: the flag's, else what people say, else the default.

    Args:
        folder: where broker.toml will be.
        asking: whether somebody is there to ask.
        checking: whether answers are tried out.
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
        check: Callable[[Config], None] | None = None,
        complete: Callable[[Answers], Answers] | None = None,
    ) -> None:
        """Settles one answer, asking again while it is wrong.

        Args:
            field: of `Answers`.
            question: for people.
            given: by a flag; nobody is asked then.
            check: tries the answer out.
            complete: adds what this answer entails.

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
                if check is not None and self._checking:
                    check(answers.settings(self._folder))
            except ConfigError as error:
                if not asking:
                    raise CommandError(str(error)) from None
                warn(str(error))
                continue
            except (ListenError, FarmError, StoreUnavailable) as error:
                if not asking:
                    raise CommandError(f"{error} (--no-checks writes the file all the same.)") from None
                warn(str(error))
                if not typer.confirm("Keep it all the same?", default=False):
                    continue
            self.answers = answers
            return

    def ask_password(self, answers: Answers) -> Answers:
        """The answers, completed by a file with the password of the user whom the database's address names."""
        if not _needs_password(answers.store) or answers.password_file:
            return answers
        user = user_of(answers.store)
        password = self.asking and _prompt_secret(f"Password of {user}, kept in {self._folder / _PASSWORD_FILE}")
        if not password:
            raise ConfigError(f"The database's address names the user {user!r}: give --password-file FILE, too.")
        write(self._folder / _PASSWORD_FILE, f"{password}\n", secret=True)
        return answers.but(password_file=_PASSWORD_FILE)


def _compare_credentials(answers: Answers, certs: Path) -> None:
    """Says so where the broker had credentials already, which were made for something else."""
    wanted = (set(answers.names), answers.tls_port, answers.curve_port)
    for broker in Authority.open(certs).brokers():
        if broker.name == answers.name and (set(broker.addresses), broker.tls_port, broker.curve_port) != wanted:
            arguments = " ".join(f"-a {name}" for name in answers.names)
            warn(
                f"The broker's credentials were there, and stay: for {', '.join(broker.addresses)}, TLS port "
                f"{broker.tls_port} and CURVE port {broker.curve_port}. To replace them, and every profile after them: "
                f"afpools certs broker {answers.name} {arguments} --tls-port {answers.tls_port} "
                f"--curve-port {answers.curve_port} --force --dir {shlex.quote(str(certs))}"
            )


def _passphrase(certs: Path, *, asking: bool) -> str | None:
    """The passphrase of the authority's key: from the environment, or from whoever is there.

    Raises:
        AuthorityError: the authority that is there cannot be used with it.
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
        # Now, and not after ten questions.
        authority.ca_key()
    return passphrase


def make_credentials(
    answers: Answers, certs: Path, *, profiles: Mapping[str, str], passphrase: str | None, anew: bool = False
) -> Path:
    """The studio's authority, the broker's credentials and first profiles, as far as they are not there.

    Args:
        answers: name, addresses and ports of the broker.
        certs: the folder of credentials.
        profiles: role by name, for the clients.
        passphrase: of the authority's key.
        anew: make a profile again that has left the folder, and revoke what it had.

    Returns:
        The first of the profiles.

    Raises:
        AuthorityError: the authority that is there cannot sign.
    """
    if (certs / "ca" / "ca.pem").exists():
        authority = Authority.open(certs, passphrase=passphrase)
    else:
        authority = Authority.create(certs, passphrase=passphrase)
    # Profiles cannot name a port that the system will choose.
    tls_port, curve_port = answers.tls_port or Answers.tls_port, answers.curve_port or Answers.curve_port
    if not authority.broker_paths(answers.name)[0].exists():
        authority.issue_broker(answers.name, answers.names, tls_port=tls_port, curve_port=curve_port)
    for name, role in profiles.items():
        # A profile that was carried away to its workstation leaves the client's public half behind.
        registered = authority.client_paths(name)[0].exists()
        if not registered or (anew and not (authority.profile_path(name) / "profile.json").exists()):
            authority.issue_profile(name, Role(role), force=registered)
    return authority.profile_path(next(iter(profiles)))


def write_config(answers: Answers, folder: Path) -> None:
    """Writes broker.toml, readable by its owner only: a store's address may hold a password one day."""
    write(folder / "broker.toml", render(answers), secret=True)


def render(answers: Answers) -> str:
    """broker.toml with a comment for every setting; what is at its default stands there, commented out."""

    def limit(key: str) -> str:
        value = getattr(answers, key)
        return f"{'#' if value == getattr(_LIMITS, key) else ''}{key} = {value}"

    def quote(text: str) -> str:
        # A JSON string is a TOML string, but for DEL and for characters that JSON writes as two halves.
        return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")

    return f"""\
# A broker of Afanasy Pools. Every setting can be overridden by a variable: [tls] port by AFPOOLS_TLS_PORT.
# Relative paths count from this file's folder.

[broker]
# Tells this broker from others in answers and logs, and names its files in certs/brokers/.
name = {quote(answers.name)}
# debug, info, warning or error
#log_level = "info"

[curve]
# For programs that have pyzmq: ZeroMQ's own encryption.
#enabled = true
address = {quote(answers.address)}
port = {answers.curve_port}

[tls]
# For plug-ins, which have nothing but Python's standard library: TLS 1.3 with client certificates.
#enabled = true
address = {quote(answers.address)}
port = {answers.tls_port}

[store]
# mongodb://HOST/afpools?replicaSet=NAME for a studio, sqlite:///FILE for a first look or a small one.
uri = {quote(answers.store)}
# Holds the password of the user that uri names; so the password stands in no other file.
{"" if answers.password_file else "#"}password_file = {quote(answers.password_file or _PASSWORD_FILE)}
# Seconds that the database may take to answer.
#timeout = 1.5
# How often a single server is asked for changes; a replica set tells by itself.
#poll_seconds = 1.0

[farm]
# afserver, HOST or HOST:PORT. Empty: the hosts are registered by hand (`afpools host register`).
server = {quote(answers.farm)}
# Seconds between two looks at the renders, and for one of them.
#interval = 5.0
#timeout = 3.0
# Seconds: masks that depend on a list of renders older than this say so, and older than that are refused.
#flag_after = 60.0
#refuse_after = 3600.0
# Whether renders cut their names at the first dot, so that pc-01.studio.lan in a pool means the render pc-01: "cut",
# "whole", or "auto", as the farm's names show.
#names = "auto"

[credentials]
# Made by `afpools certs`.
folder = "certs"

[limits]
# The largest request, in bytes.
{limit("message_bytes")}
# Connections of clients at once, over both ways in, and how many of these are kept for managers.
{limit("connections")}
#connections_for_managers = {_LIMITS.connections_for_managers}
# The same for one credential, and for one client: a credential used from one address.
#connections_per_credential = {_LIMITS.connections_per_credential}
#connections_per_client = {_LIMITS.connections_per_client}
# Of one address: connections that have not shown a credential yet, on each port, and new ones in a second.
#handshakes_per_address = {_LIMITS.handshakes_per_address}
#new_connections_per_second = {_LIMITS.new_connections_per_second}
# Of one client, and of one credential.
{limit("requests_per_second")}
#requests_per_second_per_credential = {_LIMITS.requests_per_second_per_credential}
# Bytes that wait in the broker's memory, in each direction: incomplete requests, answers that are not read.
#waiting_bytes = {_LIMITS.waiting_bytes}
#waiting_bytes_in_all = {_LIMITS.waiting_bytes_in_all}
# Seconds for encryption and greeting; between two signs of life; until a connection without requests is closed.
#handshake_seconds = {_LIMITS.handshake_seconds}
#heartbeat_seconds = {_LIMITS.heartbeat_seconds}
#idle_seconds = {_LIMITS.idle_seconds}
"""


def check_port(listener: str) -> Callable[[Config], None]:
    """A test whether the port of `CURVE` or `TLS` could be opened; it raises `ListenError` if not."""

    def check(settings: Config) -> None:
        section = settings.curve if listener == "CURVE" else settings.tls
        family = socket.AF_INET6 if ":" in section.address else socket.AF_INET
        try:
            with socket.create_server((section.address, section.port), family=family):
                pass
        except OSError as error:
            raise ListenError(cannot_listen(listener, section.address, section.port, error.errno or 0)) from None

    return check


def check_farm(settings: Config) -> None:
    """Whether afserver answers, if there is one.

    Raises:
        FarmError: it does not, or not as afserver does.
    """
    if settings.farm_address is not None:
        renders = parse_renders(ask(settings.farm_address, {"get": {"type": "renders"}}, timeout=3.0))
        say(f"afserver answers: {len(renders)} renders.")


def _two_ports(answers: Answers) -> Answers:
    if answers.curve_port == answers.tls_port:
        raise ConfigError(f"CURVE and TLS cannot both have port {answers.tls_port}: give each its own.")
    return answers


def check_store(settings: Config) -> None:
    """Whether the database answers.

    Raises:
        StoreUnavailable, ConfigError: it does not.
    """
    store = open_store(store_uri(settings), timeout=settings.store.timeout)
    try:
        store.ping()
    finally:
        store.close()


def _needs_password(uri: str) -> bool:
    """Whether a store's address names somebody who has a password; with a certificate, for one, nobody has."""
    return bool(user_of(uri)) and "authmechanism=" not in uri.lower()


def _with_password(uri: str) -> str:
    return uri.replace("@", ":password@", 1)


def user_of(uri: str) -> str:
    """Whom a store's address names, empty for nobody."""
    return uri.partition("://")[2].rpartition("@")[0]


def refuse_password(uri: str) -> None:
    """A password in a command line can be read by everybody on the machine, and stays in the shell's history.

    Raises:
        ConfigError: there is one.
    """
    if ":" in user_of(uri) or redacted(uri) != uri:
        raise ConfigError(
            "The database's address has a password in it, and command lines can be read by everybody. "
            "Name only the user (mongodb://USER@HOST/afpools) and give --password-file."
        )


def _own_names(address: str) -> tuple[str, ...]:
    """What clients are likely to call a broker that listens at an address."""
    if address in ("0.0.0.0", "::"):  # noqa: S104
        return tuple(own_names())
    if is_loopback(address):
        return (address, "localhost")
    return tuple(dict.fromkeys((address, *(name for name in own_names() if not is_loopback(name)))))


def _warn_of_loopback(answers: Answers) -> None:
    """Says so where clients on other machines would look for the broker on their own."""
    if is_loopback(answers.names[0]) and not is_loopback(answers.address):
        warn(
            f"Profiles will lead to {answers.names[0]}, which is this machine for itself and no other. If clients on "
            "other machines are to use this broker, say what they call it: --reachable-as HOST."
        )


def _prompt(question: str, default: Any) -> Any:
    """Asks for a value of the default's type; several words where that is a tuple."""
    if isinstance(default, tuple):
        return tuple(typer.prompt(question, default=" ".join(default)).replace(",", " ").split()) or default
    return typer.prompt(question, default=default, type=type(default), show_default=default != "")


def _prompt_secret(question: str, *, twice: bool = False) -> str:
    """Asks for something that must not be seen; empty where people have none."""
    answer: str = typer.prompt(question, default="", show_default=False, hide_input=True, confirmation_prompt=twice)
    return answer
