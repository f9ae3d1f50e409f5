"""broker.toml: what it may contain, and how it is read.

Strategy: the structs below are the one definition; reading, the environment's overrides, every error message and the
file that `afpools init` writes are derived from them. A setting `port` of the section `[tls]` is overridden by
`AFPOOLS_TLS_PORT`.
"""

from __future__ import annotations

import ipaddress
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

import msgspec
from msgspec import Meta, Struct

Port = Annotated[int, Meta(ge=0, le=65535)]
Seconds = Annotated[float, Meta(gt=0, le=86400)]

LogLevel = Literal["debug", "info", "warning", "error"]
LEVELS: tuple[LogLevel, ...] = get_args(LogLevel)
"""From the most verbose to the least."""

LogFormat = Literal["auto", "text", "json"]

Names = Literal["auto", "cut", "whole"]

Running = Literal["finish", "requeue"]

AFSERVER_PORT = 51000


class ConfigError(Exception):
    """broker.toml, or a variable that overrides it, is invalid. The message names file, key, value and what is
    allowed."""


class BrokerSection(Struct, frozen=True, forbid_unknown_fields=True):
    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$")] = "broker"
    log_level: LogLevel = "info"
    log_format: LogFormat = "text"
    audit_log: str = ""


class CurveSection(Struct, frozen=True, forbid_unknown_fields=True):
    enabled: bool = True
    address: str = "127.0.0.1"
    port: Port = 5570


class TlsSection(Struct, frozen=True, forbid_unknown_fields=True):
    enabled: bool = True
    address: str = "127.0.0.1"
    port: Port = 5571


class MetricsSection(Struct, frozen=True, forbid_unknown_fields=True):
    """What Prometheus scrapes. Off by default, so that an update does not open a port; plain HTTP without a login, so
    other machines see it only if `address` says so."""

    enabled: bool = False
    address: str = "127.0.0.1"
    port: Port = 5572


class StoreSection(Struct, frozen=True, forbid_unknown_fields=True):
    uri: str
    password_file: str = ""
    timeout: Annotated[float, Meta(ge=0.1, le=10)] = 1.5
    poll_seconds: Annotated[float, Meta(gt=0, le=2)] = 1.0


class FarmSection(Struct, frozen=True, forbid_unknown_fields=True):
    """afserver, and how far its list of renders is trusted.

    server: `host` or `host:port`; empty if the hosts registered by hand are the farm.
    flag_after: seconds after which a mask that depends on the list of renders is flagged as made from an old list.
    refuse_after: seconds after which no such mask is given any more.
    """

    server: str
    interval: Seconds = 5.0
    timeout: Seconds = 3.0
    flag_after: Seconds = 60.0
    refuse_after: Seconds = 3600.0
    names: Names = "auto"

    @property
    def by_hand(self) -> bool:
        """Whether there is no afserver, so that the hosts registered by hand are the farm."""
        return not self.server


class LiveSection(Struct, frozen=True, forbid_unknown_fields=True):
    """Fences of jobs that are on the farm already.

    enabled: they follow their pools.
    running: what happens to tasks that run outside a fence that has moved: `finish` there, or `requeue`.
    """

    enabled: bool = False
    running: Running = "finish"


class CredentialsSection(Struct, frozen=True, forbid_unknown_fields=True):
    folder: str = "certs"


class LimitsSection(Struct, frozen=True, forbid_unknown_fields=True):
    """How much each client may use. A *client* is one credential used from one address.

    message_bytes: the largest request.
    connections: in all, over CURVE and TLS together, after they have shown a credential.
    connections_for_managers: of these, how many are reserved for managers; never more than half.
    connections_per_credential: of one credential, wherever it is used from.
    connections_per_client: of one client.
    handshakes_per_address: connections of one address, over CURVE and over TLS, that have not shown a credential yet.
        Over CURVE a connection shows it with its first request. If there are more, the oldest is closed.
    new_connections_per_second: of one address.
    requests_per_second: of one client. TLS makes it wait; CURVE refuses, and disconnects a client that goes far beyond.
    requests_per_second_per_credential: wherever it is used from.
    waiting_bytes: of one client: incomplete requests and, counted separately, answers that it does not read.
    waiting_bytes_in_all: the same, for all clients together.
    handshake_seconds: for encryption and the ZeroMQ greeting together.
    heartbeat_seconds: a TLS peer silent for this long is pinged, and dropped after three times as long;
        over CURVE the system's TCP keep-alive does both.
    idle_seconds: a connection without a request for this long is closed; clients open a new one by themselves.
    """

    message_bytes: Annotated[int, Meta(ge=4096, le=16 * 1024 * 1024)] = 1024 * 1024
    connections: Annotated[int, Meta(ge=1, le=100_000)] = 2000
    connections_for_managers: Annotated[int, Meta(ge=0, le=100_000)] = 100
    connections_per_credential: Annotated[int, Meta(ge=1, le=100_000)] = 1000
    connections_per_client: Annotated[int, Meta(ge=1, le=100_000)] = 64
    handshakes_per_address: Annotated[int, Meta(ge=1, le=100_000)] = 64
    new_connections_per_second: Annotated[int, Meta(ge=1, le=1_000_000)] = 100
    requests_per_second: Annotated[int, Meta(ge=1, le=1_000_000)] = 500
    requests_per_second_per_credential: Annotated[int, Meta(ge=1, le=10_000_000)] = 2000
    waiting_bytes: Annotated[int, Meta(ge=8192, le=1024**3)] = 16 * 1024 * 1024
    waiting_bytes_in_all: Annotated[int, Meta(ge=8192, le=64 * 1024**3)] = 256 * 1024 * 1024
    handshake_seconds: Annotated[float, Meta(ge=0.1, le=60)] = 5.0
    heartbeat_seconds: Annotated[float, Meta(ge=0.1, le=600)] = 15.0
    idle_seconds: Seconds = 300.0


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """A broker's configuration. Relative paths count from `folder`, where broker.toml is."""

    store: StoreSection
    farm: FarmSection
    broker: BrokerSection = BrokerSection()
    curve: CurveSection = CurveSection()
    tls: TlsSection = TlsSection()
    live: LiveSection = LiveSection()
    metrics: MetricsSection = MetricsSection()
    credentials: CredentialsSection = CredentialsSection()
    limits: LimitsSection = LimitsSection()
    folder: str = "."

    def path(self, text: str) -> Path:
        """The path that a setting names."""
        return Path(self.folder, Path(text).expanduser())

    @property
    def farm_address(self) -> tuple[str, int] | None:
        """Host and port of afserver, None if the studio keeps its list of hosts by hand."""
        return parse_server(self.farm.server) if self.farm.server else None


# The settings that a running broker applies when broker.toml is read again; everything else needs a restart.
_AT_RUN_TIME = {
    "broker": ("log_level",),
    "farm": ("interval", "timeout", "flag_after", "refuse_after", "names"),
    "live": ("running",),
    # The missing ones are options of CURVE's socket, which libzmq reads when the port is opened.
    "limits": (
        "connections",
        "connections_for_managers",
        "connections_per_credential",
        "connections_per_client",
        "handshakes_per_address",
        "new_connections_per_second",
        "requests_per_second",
        "requests_per_second_per_credential",
        "waiting_bytes",
        "waiting_bytes_in_all",
        "idle_seconds",
    ),
}


@dataclass(frozen=True)
class Difference:
    """One setting that differs between two configurations.

    Args:
        section: the section, without brackets.
        key: the key in that section.
        old: its value before.
        new: its value after.
    """

    section: str
    key: str
    old: Any
    new: Any

    @property
    def at_run_time(self) -> bool:
        """Whether a running broker applies it."""
        return self.key in _AT_RUN_TIME.get(self.section, ())

    @property
    def name(self) -> str:
        """As people find it in broker.toml: `[farm] interval`. Without the values, which may contain a password."""
        return f"[{self.section}] {self.key}"


def differences(old: Config, new: Config) -> list[Difference]:
    """The settings that differ, in the order of broker.toml."""
    found = []
    for section, kind in _sections().items():
        for field in msgspec.structs.fields(kind):
            before, after = (getattr(getattr(config, section), field.name) for config in (old, new))
            if before != after:
                found.append(Difference(section, field.name, before, after))
    return found


def taken_over(old: Config, new: Config) -> Config:
    """The effective configuration of a broker that was started with the old one and has read the new one."""
    sections = {
        section: msgspec.structs.replace(
            getattr(old, section), **{key: getattr(getattr(new, section), key) for key in keys}
        )
        for section, keys in _AT_RUN_TIME.items()
    }
    return msgspec.structs.replace(old, **sections)


def parse_server(text: str) -> tuple[str, int]:
    """`afserver`, `afserver:51000` or `[::1]:51000` as host and port; if none is given, the port is afserver's default.

    Raises:
        ValueError: it is not one of these; the message says so.
    """
    match = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([^\s:\[\]/]+))(?::(\d{1,5}))?", text)
    port = int(match[3] or AFSERVER_PORT) if match else 0
    if match is None or not 0 < port < 65536:
        raise ValueError(f"{text!r} is not a server: write it as HOST or HOST:PORT, like afserver:{AFSERVER_PORT}")
    return match[1] or match[2], port


def load(path: Path, environment: Mapping[str, str] | None = None) -> Config:
    """Reads broker.toml and what the environment overrides.

    Args:
        path: the file.
        environment: the process's own if None.

    Raises:
        ConfigError: the file is missing, is not TOML, or something in it is invalid.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file. `afpools init` writes one.") from None
    # ValueError: not TOML, not UTF-8, or a number with thousands of digits.
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: cannot be read as TOML: {error}.") from None
    overrides = _overrides(os.environ if environment is None else environment)
    for _, section, key, value in overrides:
        table = values.setdefault(section, {})
        if isinstance(table, dict):
            table[key] = value
    changed = f" with {', '.join(variable for variable, *_ in overrides)}" if overrides else ""
    return build(values, folder=path.parent, where=f"{path}{changed}")


def build(values: dict[str, Any], *, folder: Path, where: str) -> Config:
    """A configuration from the tables of a TOML file.

    Args:
        values: the sections, each a dictionary.
        folder: the folder that relative paths are resolved against.
        where: the file's name for error messages.

    Raises:
        ConfigError: something in it is invalid.
    """
    _refuse_unknown(values, where)
    try:
        config = msgspec.convert({**values, "folder": str(folder)}, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(error, values, where)) from None
    for section in ("curve", "tls", "metrics"):
        _check_address(section, getattr(config, section).address, where)
    if not (config.curve.enabled or config.tls.enabled):
        raise ConfigError(f"{where}: both [curve] and [tls] have enabled = false: nobody could reach the broker.")
    if config.farm.refuse_after < config.farm.flag_after:
        raise ConfigError(
            f"{where}: [farm] refuse_after = {config.farm.refuse_after:g} is less than flag_after = "
            f"{config.farm.flag_after:g}: a list of renders is flagged first, and refused when it is older still."
        )
    _check_limits(config.limits, where)
    if config.farm.server:
        try:
            parse_server(config.farm.server)
        except ValueError as error:
            raise ConfigError(f"{where}: [farm] server: {error}; empty if the hosts are registered by hand.") from None
    return config


def _check_limits(limits: LimitsSection, where: str) -> None:
    for less, key, more, why in (
        # Twice: a request that is slightly too large is read as well, so that its sender can be told.
        (2 * limits.message_bytes, "waiting_bytes", limits.waiting_bytes, "twice message_bytes"),
        (limits.waiting_bytes, "waiting_bytes_in_all", limits.waiting_bytes_in_all, "waiting_bytes"),
    ):
        if more < less:
            raise ConfigError(f"{where}: [limits] {key} = {more}: it must be at least {less}, {why}.")


def _sections() -> dict[str, type[Struct]]:
    return {name: kind for name, kind in get_type_hints(Config).items() if name != "folder"}


def _overrides(environment: Mapping[str, str]) -> list[tuple[str, str, str, Any]]:
    """Variable, section, key and value of every `AFPOOLS_<SECTION>_<KEY>` that is set."""
    found = []
    for section, kind in _sections().items():
        prefix = f"AFPOOLS_{section.upper()}_"
        fields = {prefix + field.name.upper(): field for field in msgspec.structs.fields(kind)}
        for variable, text in environment.items():
            if not variable.startswith(prefix):
                continue
            if variable not in fields:
                raise ConfigError(f"{variable} is not a known variable. There are: {', '.join(fields)}.")
            field = fields[variable]
            try:
                value = msgspec.convert(text, field.type, strict=False)
            except UnicodeEncodeError:
                raise ConfigError(f"The variable {variable} is {text!r}, which is not valid UTF-8.") from None
            except msgspec.ValidationError as error:
                raise ConfigError(f"The variable {variable} is {text!r}: {_lower(str(error))}.") from None
            found.append((variable, section, field.name, value))
    return found


def _refuse_unknown(values: dict[str, Any], where: str) -> None:
    sections = _sections()
    for section, table in values.items():
        if section not in sections:
            names = ", ".join(f"[{name}]" for name in sections)
            raise ConfigError(f"{where}: there is no section or key {section!r}. There are: {names}.")
        if not isinstance(table, dict):
            raise ConfigError(f"{where}: {section} must be a section: write [{section}] on a line of its own.")
        allowed = [field.name for field in msgspec.structs.fields(sections[section])]
        for key in table:
            if key not in allowed:
                raise ConfigError(f"{where}: [{section}] has no key {key!r}. It takes: {', '.join(allowed)}.")


def _explain(error: msgspec.ValidationError, values: dict[str, Any], where: str) -> str:
    """msgspec says what is allowed and where; people want file, section, key and their own value."""
    text, _, path = str(error).partition(" - at `$.")
    section, _, key = path.rstrip("`").partition(".")
    if missing := re.fullmatch(r"Object missing required field `(\w+)`", text):
        key = missing[1]
        if not section:
            section, key = key, msgspec.structs.fields(_sections()[key])[0].name
        return f"{where}: [{section}] {key} is missing; it has no default."
    value = values.get(section, {}).get(key)
    return f"{where}: [{section}] {key} = {value!r}: {_lower(text)}{_allowed(section, key)}."


def _allowed(section: str, key: str) -> str:
    for field in msgspec.structs.fields(_sections()[section]):
        if field.name == key and getattr(field.type, "__origin__", None) is Literal:
            return f" (allowed: {', '.join(map(str, field.type.__args__))})"
    return ""


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _check_address(section: str, address: str, where: str) -> None:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        raise ConfigError(
            f"{where}: [{section}] address = {address!r}: expected an IP address of this machine, "
            "or 0.0.0.0 for all its addresses."
        ) from None
