"""A whole broker: assembles the parts, and starts and stops them in the right order."""

from __future__ import annotations

import logging
import resource
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote_plus

from . import __version__
from .config import Config, ConfigError, LimitsSection, differences, taken_over
from .credentials.live import Credentials
from .farm.afserver import Ask, ask
from .farm.farm import FarmWatch
from .farm.native_mirror import NativeMirror
from .farm.system_job import SystemJobKeeper
from .listeners import Listener, ListenError, Shared, cannot_listen
from .listeners.curve import CurveListener
from .listeners.refusals import Refusals
from .listeners.shares import Shares
from .listeners.tls import TlsListener
from .listeners.workers import Workers
from .live.keeper import FenceKeeper, Settings
from .memory import return_large_blocks
from .monitoring.health import Health
from .monitoring.peer_log import PeerLog
from .monitoring.statistics import Statistics
from .picture.snapshot import SnapshotKeeper
from .service import Service
from .store import PoolStore, open_store

if TYPE_CHECKING:
    from .monitoring.scrapes import Scrapes

log = logging.getLogger("afpools")

# How often the list of keys and the revoked certificates are checked. A revocation must take effect within five
# seconds.
_CREDENTIALS_SECONDS = 1.0

# A broker whose store is unreachable at the start serves anyway, and logs it; this is how many seconds it waits first.
_FIRST_SNAPSHOT_SECONDS = 3.0

# A stop may take two seconds, which must include a store's usual timeout of one and a half.
_STOP_SECONDS = 1.8


@dataclass(frozen=True)
class Reloaded:
    """The result of reading the configuration and the credentials again.

    Args:
        changed: what has taken effect, one phrase each: `[farm] interval: 5.0 -> 2.0`.
        restart: what has changed in the file but needs a restart to take effect: `[tls] port`.
    """

    changed: list[str]
    restart: list[str]


class Broker:
    """One broker process. Use it as a context manager, or call `start` and `stop`.

    Args:
        config: the validated configuration.

    Raises:
        ConfigError: the store's address is invalid.
        CredentialError: keys or certificates are missing or invalid.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self._shares = Shares(config.limits)
        peer_log = self._peer_log = PeerLog()
        self.credentials = open_credentials(config)
        self._refreshing = threading.Lock()
        self._store_uri = store_uri(config)
        self.store = _open_store(self._store_uri, config)
        self._statistics = Statistics()
        address = config.farm_address
        self._keeper = SnapshotKeeper(self.store, by_hand=address is None, names=config.farm.names)
        self._farm = address and self._open_farm(address)
        self._system_job = address and SystemJobKeeper(self._ask(address), self._keeper)
        self._mirror = address and NativeMirror(self._ask(address), self._keeper, name=config.broker.name)
        self._live = address and config.live.enabled and self._open_live(address)
        self._health = health = Health(
            name=config.broker.name,
            store=self.store,
            keeper=self._keeper,
            credentials=self.credentials,
            statistics=self._statistics,
            farm=self._farm,
            system_job=self._system_job,
            mirror=self._mirror,
            live=self._live or None,
            flag_after=config.farm.flag_after,
        )
        self._service = service = Service(
            name=config.broker.name,
            keeper=self._keeper,
            store=self.store,
            health=health,
            limits=lambda: self._shares.limits,
            peer_log=peer_log,
            statistics=self._statistics,
            farm=config.farm,
            system_job=self._system_job,
            live=self._live or None,
        )
        self._workers = Workers()
        shared = Shared(
            credentials=self.credentials,
            service=service,
            workers=self._workers,
            shares=self._shares,
            refusals=Refusals(self._statistics, peer_log),
            peer_log=peer_log,
            statistics=self._statistics,
        )
        self._listeners = _listeners(config, shared)
        self._scrapes = self._open_scrapes() if config.metrics.enabled else None
        self._serves = self._called_off = False
        self._stop = threading.Event()
        self._watch = threading.Thread(target=self._watch_credentials, name="afpools-credentials", daemon=True)

    def _ask(self, address: tuple[str, int]) -> Ask:
        """Sends a request to afserver, with the timeout that is configured then."""
        return lambda request: ask(address, request, timeout=self.config.farm.timeout)

    def _open_farm(self, address: tuple[str, int]) -> FarmWatch:
        return FarmWatch(
            address,
            interval=self.config.farm.interval,
            timeout=self.config.farm.timeout,
            store=self.store,
            changed=self._keeper.see_farm,
        )

    def _open_live(self, address: tuple[str, int]) -> FenceKeeper:
        def settings() -> Settings:
            now = self.config
            farm = now.farm
            return Settings(now.live.running == "requeue", farm.refuse_after, farm.timeout, farm.flag_after)

        return FenceKeeper(
            self._ask(address),
            address,
            keeper=self._keeper,
            store=self.store,
            name=self.config.broker.name,
            settings=settings,
        )

    def _open_scrapes(self) -> Scrapes:
        # Not imported at the top: brokers without metrics would carry the library's memory.
        from .monitoring.metrics import registry_of
        from .monitoring.scrapes import Scrapes

        section = self.config.metrics
        return Scrapes(section.address, section.port, registry_of(self._health, self._statistics), self._peer_log)

    def _start_scrapes(self) -> None:
        """
        Raises:
            ListenError: the port cannot be opened.
        """
        if self._scrapes is not None:
            try:
                self._scrapes.start()
            except OSError as error:
                where = self.config.metrics
                raise ListenError(cannot_listen("Metrics", where.address, where.port, error.errno or 0)) from None

    def start(self) -> None:
        """Reads the store, opens the ports, and starts answering. If anything goes wrong, nothing is left behind.

        Raises:
            ListenError: a port cannot be opened.
        """
        try:
            return_large_blocks()
            for problem in self.credentials.problems:
                log.warning("%s", problem)
            # Ports are opened last: a client that finds none tries the next broker at once.
            self._keeper.start(wait=0)
            until = time.monotonic() + _FIRST_SNAPSHOT_SECONDS
            while self._keeper.trouble and not self._called_off and time.monotonic() < until:
                time.sleep(0.02)
            if self._farm:
                self._farm.start()
            if self._system_job:
                self._system_job.start()
            if self._mirror:
                self._mirror.start()
            if self._live:
                self._live.start()
            for listener in self._listeners:
                listener.bind()
            self._start_scrapes()
            self._watch.start()
            _allow_files(self.config.limits)
            for listener in self._listeners:
                listener.start()
                log.info("%s: listening at %s port %d", listener.name, listener.address, listener.port)
        except BaseException:
            self.stop()
            raise
        self._serves = True
        log.info("Broker %r %s serves; store: %s", self.config.broker.name, __version__, self.store.kind)

    def is_alive(self, wait: float) -> bool:
        """Whether everything that answers clients still works, as far as that depends on the broker itself: a database
        that does not answer is not a reason for a restart. Takes at most `wait` seconds."""
        deadline = time.monotonic() + wait
        return all(listener.comes_round(max(0.0, deadline - time.monotonic())) for listener in self._listeners)

    def status(self) -> str:
        """The state of the broker, in one line for people."""
        report = self._health.report()
        connections = sum(report.connections.values())
        pools = f"{report.pools:,} {'pool' if report.pools == 1 else 'pools'}"
        also = f"{connections:,} {'connection' if connections == 1 else 'connections'}"
        return f"{report.status}; {pools}, {also}. {' '.join(report.problems)}".strip()

    def call_off(self) -> None:
        """Makes a start in progress stop waiting, because the broker is to stop. Safe in a signal handler."""
        self._called_off = True

    def stop(self) -> None:
        """Accepts nobody new, finishes what is in progress, and releases everything, within two seconds. May be called
        more than once, and on a broker that did not start."""
        deadline = time.monotonic() + _STOP_SECONDS

        def left() -> float:
            return max(0.05, deadline - time.monotonic())

        self._stop.set()
        self._keeper.refuse_writes("The broker is stopping.")
        stopping = [threading.Thread(target=listener.stop, kwargs={"wait": left()}) for listener in self._listeners]
        for thread in stopping:
            thread.start()
        for thread in stopping:
            thread.join()
        self._workers.stop()
        if self._scrapes:
            self._scrapes.stop()
        if self._farm:
            self._farm.stop(wait=min(0.2, left()))
        if self._system_job:
            self._system_job.stop(wait=min(0.2, left()))
        if self._mirror:
            self._mirror.stop(wait=min(0.2, left()))
        if self._live:
            self._live.stop(wait=min(0.3, left()))
        self._keeper.stop(wait=left())
        self._health.stop()
        self.store.close()
        if self._serves:
            log.info("Broker %r stopped", self.config.broker.name)
        self._serves = False

    def reload(self, config: Config | None = None) -> Reloaded:
        """Applies the settings that can change while it serves, and reads keys and certificates again. Only one thread
        at a time may call it; another may stop the broker meanwhile.

        Args:
            config: the present broker.toml; without it, all settings stay.

        Raises:
            ConfigError: a broker could not start with that configuration. Nothing has changed.
        """
        changed, restart = self._take_over(config) if config else ([], [])
        if self._refresh_credentials(anew=True):
            changed.append("keys and certificates")
        return Reloaded(changed, restart + self.credentials.outdated)

    def _take_over(self, config: Config) -> tuple[list[str], list[str]]:
        uri = store_uri(config)
        different = differences(self.config, config)
        changed = [f"{one.name}: {one.old} -> {one.new}" for one in different if one.at_run_time]
        restart = [one.name for one in different if not one.at_run_time]
        if uri != self._store_uri and not any(one.section == "store" for one in different):
            restart.append("the password in [store] password_file")
        self.config = now = taken_over(self.config, config)
        if now.limits != self._shares.limits:
            _allow_files(now.limits)
            self._shares.limits = now.limits
        self._service.set_farm(now.farm)
        self._health.set_flag_after(now.farm.flag_after)
        self._keeper.set_names(now.farm.names)
        if self._farm:
            self._farm.set_pace(interval=now.farm.interval, timeout=now.farm.timeout)
        return changed, restart

    def __enter__(self) -> Broker:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def port(self, name: str) -> int:
        """The port of the listener `CURVE` or `TLS`, or of `Metrics`, as chosen by the system if the configuration says
        0."""
        if name == "Metrics":
            assert self._scrapes is not None
            return self._scrapes.port
        return next(listener.port for listener in self._listeners if listener.name == name)

    def _watch_credentials(self) -> None:
        while not self._stop.wait(_CREDENTIALS_SECONDS):
            if self._refresh_credentials():
                log.info("Keys and certificates were read again")

    def _refresh_credentials(self, *, anew: bool = False) -> bool:
        """Returns whether anything changed."""
        try:
            with self._refreshing:
                return self.credentials.refresh(anew=anew)
        except Exception:
            # Even if something is wrong with a file, its next change must still be noticed.
            log.exception("Reading keys and certificates failed")
            return False


def _allow_files(limits: LimitsSection) -> None:
    """Raises the limit of open files to what this many connections need, as far as the system allows: with the usual
    1,024 a busy broker could not even read its list of keys."""
    # Twice, because each CURVE connection is watched through a second descriptor.
    connections = 2 * (limits.connections + limits.connections // 4 + limits.handshakes_per_address)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + 200
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        if most < wanted:
            log.warning("Only %d files may be open at once; %d connections want %d", most, connections, wanted)


def _open_store(uri: str, config: Config) -> PoolStore:
    """
    Raises:
        ConfigError: the address is invalid.
    """
    try:
        return open_store(uri, timeout=config.store.timeout, poll_seconds=config.store.poll_seconds)
    except ValueError as error:
        raise ConfigError(f"[store] uri: {error}") from None


def _listeners(config: Config, shared: Shared) -> list[Listener]:
    listeners: list[Listener] = []
    if config.curve.enabled:
        listeners.append(CurveListener(config.curve.address, config.curve.port, shared))
    if config.tls.enabled:
        listeners.append(TlsListener(config.tls.address, config.tls.port, shared))
    return listeners


def open_credentials(config: Config) -> Credentials:
    """The credentials that a configuration names.

    Raises:
        CredentialError: they are missing or invalid.
    """
    folder = config.path(config.credentials.folder)
    own: Path = folder / "brokers" / config.broker.name
    return Credentials(
        ca=folder / "ca" / "ca.pem",
        crl=folder / "ca" / "crl.pem",
        clients=folder / "clients",
        certificate=own.with_name(own.name + ".pem"),
        curve_secret=own.with_name(own.name + ".key_secret"),
    )


def store_uri(config: Config) -> str:
    """The store's address, with the password from its file in place, and a relative SQLite path resolved against
    broker.toml's folder.

    Raises:
        ConfigError: the password's file cannot be read, or the address has no place for a password.
    """
    uri = config.store.uri
    if config.store.password_file:
        file = config.path(config.store.password_file)
        try:
            password = file.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"[store] password_file: {file} cannot be read: {error}.") from None
        scheme, separator, rest = uri.partition("://")
        user, at, host = rest.rpartition("@")
        if not at or ":" in user:
            raise ConfigError(
                "[store] password_file is set, so [store] uri must name a user and no password: "
                "mongodb://USER@HOST/afpools."
            )
        return f"{scheme}{separator}{user}:{quote_plus(password)}@{host}"
    scheme, separator, rest = uri.partition(":///")
    if scheme == "sqlite" and separator:
        return f"sqlite:///{config.path(rest).absolute()}"
    return uri
