"""What a new broker needs: its configuration, its credentials, and tests of what it was told.

Strategy: every answer is settled by the same rule, the broker's own configuration: what it would refuse is refused
here. broker.toml is written last: where it is, everything it names is there too.
"""

from __future__ import annotations

import dataclasses
import json
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from afpools_broker import config as broker_config
from afpools_broker.broker import store_uri
from afpools_broker.config import Config, ConfigError
from afpools_broker.credentials.keys import check_name
from afpools_broker.farm.afserver import ask
from afpools_broker.farm.farm import parse_renders
from afpools_broker.listeners import ListenError, cannot_listen
from afpools_broker.protocol import Role
from afpools_broker.store import open_store, redacted

from .credentials.authority import Authority
from .credentials.certificates import check_address
from .credentials.files import PASSPHRASE_VARIABLE, AuthorityError, write

_LIMITS = broker_config.LimitsSection()
PASSWORD_FILE = "store-password"  # noqa: S105 - where it is, not what it is


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
        live: running jobs follow their pools.
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
    live: bool = True
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
            "live": {"enabled": self.live},
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
            open_store(_with_password(self.store) if needs_password(self.store) else self.store).close()
        except ValueError as error:
            raise ConfigError(str(error)) from None
        return settings


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


_CONFIG = """\
# A broker of Afanasy Pools. Every setting can be overridden by a variable: [tls] port by AFPOOLS_TLS_PORT.
# Relative paths count from this file's folder.

[broker]
# Tells this broker from others in answers and logs, and names its files in certs/brokers/.
name = {name}
# debug, info, warning or error
#log_level = "info"

[curve]
# For programs that have pyzmq: ZeroMQ's own encryption.
#enabled = true
address = {address}
port = {curve_port}

[tls]
# For plug-ins, which have nothing but Python's standard library: TLS 1.3 with client certificates.
#enabled = true
address = {address}
port = {tls_port}

[store]
# mongodb://HOST/afpools?replicaSet=NAME for a studio, sqlite:///FILE for a first look or a small one.
uri = {store}
# Holds the password of the user that uri names; so the password stands in no other file.
{no_password}password_file = {password_file}
# Seconds that the database may take to answer.
#timeout = 1.5
# How often a single server is asked for changes; a replica set tells by itself.
#poll_seconds = 1.0

[farm]
# afserver, HOST or HOST:PORT. Empty: the hosts are registered by hand (`afpools host register`).
server = {farm}
# Seconds between two looks at the renders, and for one of them.
#interval = 5.0
#timeout = 3.0
# Seconds: masks that depend on a list of renders older than this say so, and older than that are refused.
#flag_after = 60.0
#refuse_after = 3600.0
# Whether renders cut their names at the first dot, so that pc-01.studio.lan in a pool means the render pc-01: "cut",
# "whole", or "auto", as the farm's names show.
#names = "auto"

[live]
# When a pool changes, jobs that are on the farm already get its new mask: a host that joins may run them, one that left
# starts no more of their tasks. One broker at a time does this for all.
enabled = {live}
# Tasks that run on a host that left: "finish" there, or "requeue", which sends them back.
#running = "finish"

[credentials]
# Made by `afpools certs`.
folder = "certs"

[limits]
# The largest request, in bytes.
{message_bytes}
# Connections of clients at once, over both ways in, and how many of these are kept for managers.
{connections}
#connections_for_managers = {limits.connections_for_managers}
# The same for one credential, and for one client: a credential used from one address.
#connections_per_credential = {limits.connections_per_credential}
#connections_per_client = {limits.connections_per_client}
# Of one address: connections that have not shown a credential yet, on each port, and new ones in a second.
#handshakes_per_address = {limits.handshakes_per_address}
#new_connections_per_second = {limits.new_connections_per_second}
# Of one client, and of one credential.
{requests_per_second}
#requests_per_second_per_credential = {limits.requests_per_second_per_credential}
# Bytes that wait in the broker's memory, in each direction: incomplete requests, answers that are not read.
#waiting_bytes = {limits.waiting_bytes}
#waiting_bytes_in_all = {limits.waiting_bytes_in_all}
# Seconds for encryption and greeting; between two signs of life; until a connection without requests is closed.
#handshake_seconds = {limits.handshake_seconds}
#heartbeat_seconds = {limits.heartbeat_seconds}
#idle_seconds = {limits.idle_seconds}
"""


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

    return _CONFIG.format(
        name=quote(answers.name),
        address=quote(answers.address),
        curve_port=answers.curve_port,
        tls_port=answers.tls_port,
        store=quote(answers.store),
        no_password="" if answers.password_file else "#",
        password_file=quote(answers.password_file or PASSWORD_FILE),
        farm=quote(answers.farm),
        live=str(answers.live).lower(),
        message_bytes=limit("message_bytes"),
        connections=limit("connections"),
        requests_per_second=limit("requests_per_second"),
        limits=_LIMITS,
    )


Check = Callable[[Config], str]
"""Tries an answer out, and returns what there is to say of it, which may be nothing. It raises `ListenError`,
`FarmError` or `StoreUnavailable` where the answer does not work just now, `ConfigError` where it never can."""


def check_port(listener: str) -> Check:
    """A test whether the port of `CURVE` or `TLS` could be opened; it raises `ListenError` if not."""

    def check(settings: Config) -> str:
        section = settings.curve if listener == "CURVE" else settings.tls
        family = socket.AF_INET6 if ":" in section.address else socket.AF_INET
        try:
            with socket.create_server((section.address, section.port), family=family):
                pass
        except OSError as error:
            raise ListenError(cannot_listen(listener, section.address, section.port, error.errno or 0)) from None
        return ""

    return check


def check_farm(settings: Config) -> str:
    """Whether afserver answers, if there is one.

    Raises:
        FarmError: it does not, or not as afserver does.
    """
    if settings.farm_address is None:
        return ""
    renders = parse_renders(ask(settings.farm_address, {"get": {"type": "renders"}}, timeout=3.0))
    return f"afserver answers: {len(renders)} renders."


def check_store(settings: Config) -> str:
    """Whether the database answers.

    Raises:
        StoreUnavailable, ConfigError: it does not.
    """
    store = open_store(store_uri(settings), timeout=settings.store.timeout)
    try:
        store.ping()
    finally:
        store.close()
    return ""


def needs_password(uri: str) -> bool:
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


def make_state(
    folder: Path, *, farm: str | None = None, curve_port: int | None = None, tls_port: int | None = None
) -> bool:
    """Makes what `afpools up` needs in a folder, as far as it is not there: broker.toml, a manager's and a reader's
    credentials.

    Returns:
        Whether the folder was new.

    Raises:
        ConfigError: an argument, or the broker.toml that is there, is wrong.
        AuthorityError: the folder cannot be written, or the authority that is there cannot sign.
    """
    file = folder / "broker.toml"
    new = not file.exists()
    answers = Answers(address="127.0.0.1", names=("127.0.0.1", "localhost"))
    given = {"farm": farm, "curve_port": curve_port, "tls_port": tls_port}
    answers = answers.but(**{key: value for key, value in given.items() if value is not None})
    answers.settings(folder)
    if new:
        write_config(answers, folder)
    settings = broker_config.load(file, {})
    make_credentials(
        answers.but(name=settings.broker.name, curve_port=settings.curve.port, tls_port=settings.tls.port),
        folder / settings.credentials.folder,
        profiles={"manager": "manager", "reader": "reader"},
        passphrase=os.environ.get(PASSPHRASE_VARIABLE),
        anew=True,
    )
    return new
