"""What a new broker needs: its configuration, its credentials, and tests of the answers.

Strategy: the broker's own configuration checks every answer, so what the broker would refuse is refused here.
broker.toml is written last: if it exists, so does everything that it names.
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
PASSWORD_FILE = "store-password"  # noqa: S105 - a file's name, not a password


@dataclass(frozen=True)
class Answers:
    """The answers that `init` asks for.

    Args:
        name: the broker's own.
        address: the address to listen at.
        names: host names and addresses that clients will use for this broker; they go into its certificate.
        curve_port: the port for CURVE.
        tls_port: the port for TLS.
        store: the database's address, without a password.
        password_file: the file with the database's password; empty for none.
        farm: afserver, as HOST or HOST:PORT; empty if hosts are registered by hand.
        live: running jobs follow their pools.
        message_bytes: the largest request, in bytes.
        connections: the most connections at once, over TLS and CURVE together.
        requests_per_second: the most requests per second of one client.
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
        """A copy with some answers changed."""
        return dataclasses.replace(self, **changes)

    def settings(self, folder: Path) -> Config:
        """The answers as the broker's configuration.

        Raises:
            ConfigError: one of them is wrong.
        """
        refuse_password(self.store)
        try:
            check_name(self.name)
        except ValueError as error:
            raise ConfigError(f"{error}.") from None
        values: dict[str, Any] = {
            "broker": {"name": self.name, "log_format": "auto"},
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
            # Whether there is a password is checked later.
            open_store(_with_password(self.store) if needs_password(self.store) else self.store).close()
        except ValueError as error:
            raise ConfigError(str(error)) from None
        return settings


def make_credentials(
    answers: Answers, certs: Path, *, profiles: Mapping[str, str], passphrase: str | None, anew: bool = False
) -> Path:
    """Makes the studio's authority, the broker's credentials and the first profiles, if they do not exist yet.

    Args:
        answers: have the broker's name, addresses and ports.
        certs: the folder of credentials.
        profiles: the clients' roles by name.
        passphrase: the authority's key's.
        anew: if a profile is no longer in the folder, make it again, and revoke the old one.

    Returns:
        The first of the profiles.

    Raises:
        AuthorityError: the existing authority cannot sign.
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
        # A profile that was moved to its workstation leaves the client's public half behind.
        registered = authority.client_paths(name)[0].exists()
        if not registered or (anew and not (authority.profile_path(name) / "profile.json").exists()):
            authority.issue_profile(name, Role(role), force=registered)
    return authority.profile_path(next(iter(profiles)))


_CONFIG = """\
# A broker of Afanasy Pools. An environment variable overrides a setting: AFPOOLS_TLS_PORT overrides [tls] port.
# Relative paths are relative to this file's folder.

[broker]
# Identifies this broker in answers and logs, and names its files in certs/brokers/.
name = {name}
# debug, info, warning or error
#log_level = "info"
# The log's lines: "text", "json", or "auto": text for a terminal and for the journal, JSON for everything else.
log_format = "auto"
# A file for who did what and who was refused, as JSON lines. Empty: the log has these lines.
#audit_log = ""

[curve]
# For programs with pyzmq: ZeroMQ's own encryption.
#enabled = true
address = {address}
port = {curve_port}

[tls]
# For plug-ins, which have only Python's standard library: TLS 1.3 with client certificates.
#enabled = true
address = {address}
port = {tls_port}

[store]
# mongodb://HOST/afpools?replicaSet=NAME for a studio, sqlite:///FILE for a first look or a small studio.
uri = {store}
# The file with the password of the user in uri, so that the password is in no other file.
{no_password}password_file = {password_file}
# Seconds that the database may take to answer.
#timeout = 1.5
# Seconds between two checks for changes on a single server; a replica set reports them by itself.
#poll_seconds = 1.0

[farm]
# afserver, HOST or HOST:PORT. Empty: hosts are registered by hand (`afpools host register`).
server = {farm}
# Seconds between two requests for the renders, and how long one of them may take.
#interval = 5.0
#timeout = 3.0
# In seconds: a mask that depends on an older list of renders than flag_after says so; older than refuse_after, it is
# refused.
#flag_after = 60.0
#refuse_after = 3600.0
# Whether renders cut their names at the first dot, so that pc-01.studio.lan in a pool means the render pc-01: "cut",
# "whole", or "auto" to decide by the farm's names.
#names = "auto"

[live]
# When a pool changes, jobs that are already on the farm get its new mask: a host that joins may run them, and one that
# leaves starts no more of their tasks. One broker at a time does this for all.
enabled = {live}
# Tasks that run on a host that left: "finish" them there, or "requeue" to send them back.
#running = "finish"

[metrics]
# http://127.0.0.1:{metrics.port}/metrics for Prometheus: plain HTTP without a login. See docs/monitoring.md.
#enabled = false
#address = "{metrics.address}"
#port = {metrics.port}

[credentials]
# Made by `afpools certs`.
folder = "certs"

[limits]
# The largest request, in bytes.
{message_bytes}
# Client connections at once, over TLS and CURVE together, and how many of these are reserved for managers.
{connections}
#connections_for_managers = {limits.connections_for_managers}
# Connections at once of one credential, and of one client (a credential used from one address).
#connections_per_credential = {limits.connections_per_credential}
#connections_per_client = {limits.connections_per_client}
# From one address: connections that have not shown a credential yet, on each port, and new connections per second.
#handshakes_per_address = {limits.handshakes_per_address}
#new_connections_per_second = {limits.new_connections_per_second}
# Requests per second of one client, and of one credential.
{requests_per_second}
#requests_per_second_per_credential = {limits.requests_per_second_per_credential}
# Bytes that may wait in the broker's memory, in each direction: incomplete requests, and answers that have not been
# read.
#waiting_bytes = {limits.waiting_bytes}
#waiting_bytes_in_all = {limits.waiting_bytes_in_all}
# Seconds for encryption and greeting; between two heartbeats; until a connection without requests is closed.
#handshake_seconds = {limits.handshake_seconds}
#heartbeat_seconds = {limits.heartbeat_seconds}
#idle_seconds = {limits.idle_seconds}
"""


def write_config(answers: Answers, folder: Path) -> None:
    """Writes broker.toml, readable by its owner only, because a database's address may later contain a password."""
    write(folder / "broker.toml", render(answers), secret=True)


def render(answers: Answers) -> str:
    """The text of broker.toml, with a comment for every setting; settings with their default value are commented
    out."""

    def limit(key: str) -> str:
        value = getattr(answers, key)
        return f"{'#' if value == getattr(_LIMITS, key) else ''}{key} = {value}"

    def quote(text: str) -> str:
        # A JSON string is a TOML string, except for DEL and for characters that JSON writes as surrogate pairs.
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
        metrics=broker_config.MetricsSection(),
        limits=_LIMITS,
    )


Check = Callable[[Config], str]
"""Tests an answer, and returns a sentence about it, or an empty string. Raises `ListenError`, `FarmError` or
`StoreUnavailable` if the answer does not work right now, `ConfigError` if it never can."""


def check_port(listener: str) -> Check:
    """Returns a test that raises `ListenError` if the port for `CURVE` or `TLS` cannot be opened."""

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
    """Tests whether afserver answers, if there is one.

    Raises:
        FarmError: it does not answer, or its answer is not afserver's.
    """
    if settings.farm_address is None:
        return ""
    renders = parse_renders(ask(settings.farm_address, {"get": {"type": "renders"}}, timeout=3.0))
    return f"afserver answers: {len(renders)} renders."


def check_store(settings: Config) -> str:
    """Tests whether the database answers.

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
    """Whether a database's address names a user with a password; with a client certificate, for example, there is no
    password."""
    return bool(user_of(uri)) and "authmechanism=" not in uri.lower()


def _with_password(uri: str) -> str:
    return uri.replace("@", ":password@", 1)


def user_of(uri: str) -> str:
    """The user in a database's address, empty for none."""
    return uri.partition("://")[2].rpartition("@")[0]


def refuse_password(uri: str) -> None:
    """Refuses a password on the command line, which everybody on the machine can read, and which stays in the shell's
    history.

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
    """Makes what `afpools up` needs in a folder, if it does not exist yet: broker.toml, a manager's and a reader's
    credentials.

    Returns:
        Whether the folder was new.

    Raises:
        ConfigError: an argument or the existing broker.toml is wrong.
        AuthorityError: the folder cannot be written, or the existing authority cannot sign.
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
