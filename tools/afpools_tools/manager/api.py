"""What the pages ask for: one function a question or a change, each a thin layer over the client library.

Strategy: parameters are decoded into a struct, which checks them; functions block, and are run in threads. Refusals of
the broker pass through as they are, because they are written for people. The same functions that the commands use
decide what a mask does, so that page and command line never disagree.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import typer
from cryptography import x509
from msgspec import Struct

from afpools import (
    AfpoolsError,
    BrokerRefused,
    BrokerUnreachable,
    Client,
    HostSummary,
    Mask,
    MaskNotExpressible,
    NativePool,
    OutcomeUnknown,
    UnknownHost,
)
from afpools.profile import Endpoint, Profile
from afpools_broker.folding import fold
from afpools_broker.hosts import Spelling
from afpools_broker.mask_check import check

from .. import exchange
from ..commands.mask import Reading, read_pattern
from ..commands.output import CommandError
from ..commands.pool import split_hosts
from ..hosts import Made, find_host, replace_host
from .live import Live
from .scan_job import ScanJob
from .usage import Usage

_STYLES: tuple[Literal["complement", "compact", "list"], ...] = ("complement", "compact", "list")
_DIALECTS: tuple[Literal["regex", "find"], ...] = ("regex", "find")

_ATTEMPTS = 3

# Of so many removals whose outcome is not known, it is kept what they named.
_UNSETTLED = 100

STOPPED = "The Pool Manager was stopped before this could be done."

# Seconds that the broker page waits for each endpoint.
_ENDPOINT_TIMEOUT = 3.0


class Params(Struct, forbid_unknown_fields=True):
    """Base of all parameters; what their values may be, the broker says."""


class Change(Params):
    """Base of the parameters of a change. `request_id` names it: the same change again under the same name, where the
    outcome of the first is not known, is made once."""

    request_id: str | None = None

    def part(self, number: int | str) -> str | None:
        """The name of one of several changes that this one consists of."""
        return self.request_id and f"{self.request_id}-{number}"


class Nothing(Params):
    """No parameters."""


class OnePool(Params):
    pool: str


class MaybePool(Params):
    """One pool, or all of them."""

    pool: str | None = None


class CreatePool(Change, kw_only=True):
    """`hosts` is text as people type it: names and ranges, separated by spaces or commas. With `new_hosts` machines are
    taken, too, that the farm has not seen."""

    pool: str
    hosts: str = ""
    description: str = ""
    colour: str = ""
    new_hosts: bool = False


class RenamePool(Change, kw_only=True):
    pool: str
    new_name: str
    if_revision: str | None = None


class UpdatePool(Change, kw_only=True):
    pool: str
    description: str | None = None
    colour: str | None = None
    if_revision: str | None = None


class DeletePool(Change, kw_only=True):
    pool: str
    if_revision: str | None = None


class Assign(Change, kw_only=True):
    """`hosts` in the farm's spelling, into all pools of `add` and out of all pools of `remove`; `typed` is more of them
    as people type them; `new_hosts` as for `CreatePool`."""

    hosts: list[str] = []
    typed: str = ""
    add: list[str] = []
    remove: list[str] = []
    new_hosts: bool = False


class Register(Change, kw_only=True):
    typed: str


class Forget(Change, kw_only=True):
    hosts: list[str]


class Leave(Change, kw_only=True):
    """`host` in the farm's spelling leaves all its pools, and is registered no longer."""

    host: str


class Replace(Leave, kw_only=True):
    """`by` takes its place; `new_hosts`: a machine that the farm has not seen, too."""

    by: str
    new_hosts: bool = False


class CheckPattern(Params):
    pattern: str
    dialect: Literal["regex", "find"]
    pool: str | None = None


class Undo(Change, kw_only=True):
    """`entries` are ids of lines of history, taken back one after the other."""

    entries: list[str]


class Export(Params):
    format: Literal["json", "csv", "jsonl"]


class ImportFile(Params):
    """`name` and `text` of a file, in whichever format; `replace`: take hosts out that it does not have; `new_hosts` as
    for `CreatePool`."""

    name: str
    text: str
    replace: bool = False
    new_hosts: bool = False


class ApplyFile(ImportFile):
    """`shown`: what `plan_import` said of the steps that are to be made; `job`: a new name, for `cancel_import`."""

    shown: str = ""
    job: str = ""


class Job(Params):
    job: str


class ImportNative(Change, kw_only=True):
    """`paths` are Afanasy's names of its pools."""

    paths: list[str]


class StartScan(Params):
    network: str


class HistoryPage(Params):
    pool: str | None = None
    before: str | None = None
    limit: int = 100


@dataclass(frozen=True)
class Api:
    """What the functions below work with.

    Args:
        client: for what somebody clicks on.
        live: told after each change.
        usage: for the charts.
        scan: of the network.
        stopping: set when the manager is to end: long work ends after the step under way.
    """

    client: Client
    live: Live
    usage: Usage
    scan: ScanJob
    stopping: threading.Event = field(default_factory=threading.Event)
    _imports: set[str] = field(default_factory=set)
    _leaving: dict[str | None, list[str]] = field(default_factory=dict)
    _replaced: dict[str | None, HostSummary] = field(default_factory=dict)

    # --- reading ---

    def show_pool(self, params: OnePool) -> dict[str, Any]:
        """A pool with its hosts, also as people read them."""
        pool = self.client.get_pool(params.pool)
        return {**pool._asdict(), "ranges": fold(pool.hosts)}

    def show_usage(self, params: MaybePool) -> dict[str, Any]:
        found = self.usage.series(params.pool)
        return {"when": found.when, "pools": {name: lines._asdict() for name, lines in found.pools.items()}}

    def show_masks(self, params: OnePool) -> dict[str, Any]:
        """The pool's mask in each style, and what it does to today's farm in either type."""
        # Farm and masks are questions of their own, and either may change in between.
        for _ in range(_ATTEMPTS):
            hosts = self.client.list_hosts().hosts
            known = frozenset(host.name for host in hosts)
            inside = frozenset(host.name for host in hosts if params.pool in host.pools)
            made = [self._mask(params.pool, style) for style in _STYLES]
            counts = {(mask.pool_hosts, mask.known_hosts) for mask in made if isinstance(mask, Mask)}
            if counts <= {(len(inside), len(known))}:
                break
        else:
            raise BadParameter("The pool or the farm changed while it was looked at. Try again.")
        return {
            "pool": params.pool,
            "known": len(known),
            "masks": [
                {"asked": style, **_mask_for_page(mask, known, inside)}
                for style, mask in zip(_STYLES, made, strict=True)
            ],
        }

    def _mask(self, pool: str, style: str) -> Mask | MaskNotExpressible:
        try:
            return self.client.exclude_mask(pool, style=style)
        except MaskNotExpressible as error:
            return error

    def check_pattern(self, params: CheckPattern) -> dict[str, Any]:
        """What somebody's mask would do: `afpools mask --check`."""
        if params.pool is not None:
            self.client.get_pool(params.pool)
        reading, warnings = read_pattern(params.pattern, params.dialect, params.pool, self.client.list_hosts().hosts)
        return {**_for_page(reading), "warnings": warnings, "known": len(reading.known)}

    def show_history(self, params: HistoryPage) -> dict[str, Any]:
        entries = self.client.history(params.pool, limit=params.limit, before=params.before)
        return {"entries": [_readable(entry._asdict()) for entry in entries]}

    def show_brokers(self, _params: Nothing) -> dict[str, Any]:
        """How every endpoint of the profile is, asked at the same moment."""
        profile = self.client.profile
        with ThreadPoolExecutor(len(profile.endpoints)) as threads:
            endpoints = list(threads.map(lambda endpoint: _endpoint_health(profile, endpoint), profile.endpoints))
        return {
            "profile": {"folder": profile.folder, "name": profile.name, "role": profile.role},
            "credentials": _own_credentials(profile),
            "endpoints": endpoints,
        }

    def show_scan(self, _params: Nothing) -> dict[str, Any]:
        return self.scan.state(tuple(self.live.view.hosts.values()))

    def show_native(self, _params: Nothing) -> dict[str, Any]:
        """What importing Afanasy's own pools would do."""
        return {"pools": [_native(pool) for pool in self.client.import_native(dry_run=True)]}

    def export(self, params: Export) -> str:
        """All pools, as the text of a file."""
        return exchange.FORMATS[params.format](exchange.present_pools(self.client))

    def plan_import(self, params: ImportFile) -> dict[str, Any]:
        """What importing a file would do."""
        wanted, steps = self._steps(params)
        found = exchange.preview(steps)
        return {
            "pools": wanted,
            "steps": [step.text for step in found.steps],
            "refused": _refusals(found.refused),
            "unchecked": found.unchecked,
            "shown": _fingerprint(steps),
        }

    def _steps(self, params: ImportFile) -> tuple[int, list[exchange.Step]]:
        """How many pools a file has, and what importing it would do."""
        wanted = exchange.read_pools(params.text, params.name or "The file", exchange.known_hosts(self.client))
        return len(wanted), exchange.steps(self.client, wanted, replace=params.replace, new_hosts=params.new_hosts)

    # --- writing ---

    def create_pool(self, params: CreatePool) -> dict[str, Any]:
        done = self.client.create_pool(
            params.pool,
            _typed(params.hosts),
            params.description,
            params.colour,
            new_hosts=params.new_hosts,
            request_id=params.request_id,
        )
        return done._asdict()

    def rename_pool(self, params: RenamePool) -> dict[str, Any]:
        done = self.client.rename_pool(
            params.pool, params.new_name, if_revision=params.if_revision, request_id=params.request_id
        )
        return done._asdict()

    def update_pool(self, params: UpdatePool) -> dict[str, Any]:
        done = self.client.update_pool(
            params.pool,
            params.description,
            params.colour,
            if_revision=params.if_revision,
            request_id=params.request_id,
        )
        return done._asdict()

    def delete_pool(self, params: DeletePool) -> dict[str, Any]:
        done = self.client.delete_pool(params.pool, if_revision=params.if_revision, request_id=params.request_id)
        return done._asdict()

    def assign(self, params: Assign) -> dict[str, Any]:
        """Puts hosts into pools and takes them out of others. Each pool is a change of its own: what could not be done
        is said with the broker's code for it, what could be is done.

        Raises:
            OutcomeUnknown: of one of them it is not known. The same again does what is missing.
        """
        hosts = params.hosts + _typed(params.typed)
        done: list[dict[str, Any]] = []
        failed: list[dict[str, str]] = []

        def change(pool: str, make: Callable[[str | None], Made]) -> None:
            if self.stopping.is_set():
                failed.append({"pool": pool, "code": "", "message": STOPPED})
                return
            try:
                made: Any = make(params.part(len(done) + len(failed)))
                done.append(made._asdict())
            except OutcomeUnknown:
                raise
            except AfpoolsError as error:
                code = error.code if isinstance(error, BrokerRefused) else ""
                failed.append({"pool": pool, "code": code, "message": str(error)})

        def add(pool: str, name: str | None) -> Made:
            return self.client.add_hosts(pool, hosts, new_hosts=params.new_hosts, request_id=name)

        for pool in params.add:
            change(pool, partial(add, pool))
        for pool in params.remove:
            change(pool, partial(self._remove, pool, hosts))
        # Nobody repeats what is settled.
        for number in range(len(done) + len(failed)):
            self._leaving.pop(params.part(number), None)
        return {"done": done, "failed": failed}

    def _remove(self, pool: str, hosts: Sequence[str], request_id: str | None) -> Made:
        """Takes hosts out of a pool, however they are spelled there. The same request again names them as it did the
        first time, although they may be out by then, because a request id belongs to one change."""
        leaving = self._leaving.get(request_id)
        if leaving is None:
            spelling, wanted = Spelling(self.live.view.hosts), frozenset(hosts)
            entered = [name for name in self.client.get_pool(pool).hosts if spelling.of(name) in wanted]
            leaving = entered or list(hosts)
        if request_id is not None:
            self._leaving[request_id] = leaving
            while len(self._leaving) > _UNSETTLED:
                self._leaving.pop(next(iter(self._leaving)), None)
        return self.client.remove_hosts(pool, leaving, request_id=request_id)

    def replace_host(self, params: Replace) -> dict[str, Any]:
        """Puts another host in the place of one, in all its pools. Each pool is a change of its own, or two.

        Raises:
            OutcomeUnknown: of one of them it is not known. The same again does what is missing.
        """
        by = _typed(params.by)
        if len(by) != 1 or "[" in by[0]:
            raise BadParameter("Name one host to take its place.")
        return self._leave(params, by[0], new_hosts=params.new_hosts)

    def leave_pools(self, params: Leave) -> dict[str, Any]:
        """Takes a host out of all its pools.

        Raises:
            OutcomeUnknown: as for `replace_host`.
        """
        return self._leave(params, None)

    def _leave(self, params: Leave, by: str | None, *, new_hosts: bool = False) -> dict[str, Any]:
        changes: list[str] = []
        known = self.client.list_hosts().hosts
        names = {host.name for host in known}

        def request(pool: str, what: str) -> str | None:
            return params.part(f"{_fingerprint_of(pool)}-{what}")

        try:
            # The same request again is about the pools that it was about the first time.
            host = self._replaced.get(params.request_id) or find_host(known, params.host)
            if params.request_id is not None:
                self._replaced[params.request_id] = host
                while len(self._replaced) > _UNSETTLED:
                    self._replaced.pop(next(iter(self._replaced)), None)
            steps = replace_host(
                self.client,
                host,
                by,
                names,
                new_hosts=new_hosts,
                request=request,
                remove=lambda pool, name: self._remove(pool, [host.name], name),
            )
            for step in steps:
                changes += step.changes
                if self.stopping.is_set():
                    return {"done": changes, "failed": STOPPED}
            if by is None and params.host in {host.name for host in self.client.list_hosts().hosts if host.registered}:
                forgotten = self.client.forget_hosts([params.host], request_id=params.part("forget"))
                changes.append(forgotten.change)
        except OutcomeUnknown:
            raise
        except (AfpoolsError, CommandError) as error:
            return {"done": changes, "failed": str(error)}
        return {"done": changes, "failed": ""}

    def register_hosts(self, params: Register) -> dict[str, Any]:
        return self.client.register_hosts(_typed(params.typed), request_id=params.request_id)._asdict()

    def forget_hosts(self, params: Forget) -> dict[str, Any]:
        return self.client.forget_hosts(params.hosts, request_id=params.request_id)._asdict()

    def undo(self, params: Undo) -> dict[str, Any]:
        """Takes changes back, in the order given; stops at the first that cannot be, and says why.

        Raises:
            OutcomeUnknown: of one of them it is not known. The same again does what is missing.
        """
        done: list[dict[str, Any]] = []
        for number, entry in enumerate(params.entries):
            if self.stopping.is_set():
                return {"done": done, "failed": STOPPED}
            try:
                done.append(self.client.undo(entry, request_id=params.part(number))._asdict())
            except OutcomeUnknown:
                raise
            except AfpoolsError as error:
                return {"done": done, "failed": str(error)}
        return {"done": done, "failed": ""}

    def import_file(self, params: ApplyFile) -> dict[str, Any]:
        """Makes pools as a file has them, if that still takes what was shown. Each step is a change of its own: of a
        pool that is refused the rest is left out, any other failure ends the import. Importing again does the rest."""
        changes: list[str] = []
        refused: dict[str, AfpoolsError] = {}
        steps: list[exchange.Step] = []
        unchecked = ""

        def result(failed: str = "") -> dict[str, Any]:
            return {
                "changes": changes,
                "steps": len(steps),
                "refused": _refusals(refused),
                "failed": failed,
                "unchecked": unchecked,
            }

        self._imports.add(params.job)
        try:
            _, steps = self._steps(params)
            if _fingerprint(steps) != params.shown:
                raise BadParameter("The pools have changed since this was shown. Look again at what would change now.")
            for step in steps:
                if self.stopping.is_set():
                    return result(STOPPED)
                if params.job not in self._imports:
                    return result("The import was cancelled.")
                if step.pool in refused:
                    continue
                try:
                    made = step.apply()
                    changes.append(made.change)
                    unchecked = made.unchecked or unchecked
                except AfpoolsError as error:
                    if not exchange.refuses_pool(error):
                        return result(str(error))
                    refused[step.pool] = error
        finally:
            self._imports.discard(params.job)
        return result()

    def cancel_import(self, params: Job) -> None:
        """Ends an import after the step under way."""
        self._imports.discard(params.job)

    def import_native(self, params: ImportNative) -> dict[str, Any]:
        return {
            "pools": [_native(pool) for pool in self.client.import_native(params.paths, request_id=params.request_id)]
        }

    def start_scan(self, params: StartScan) -> None:
        self.scan.start(params.network)

    def cancel_scan(self, _params: Nothing) -> None:
        self.scan.cancel()


READS: dict[str, tuple[type[Params], Callable[[Api, Any], Any]]] = {
    "pool": (OnePool, Api.show_pool),
    "usage": (MaybePool, Api.show_usage),
    "masks": (OnePool, Api.show_masks),
    "history": (HistoryPage, Api.show_history),
    "brokers": (Nothing, Api.show_brokers),
    "scan": (Nothing, Api.show_scan),
    "native": (Nothing, Api.show_native),
}

# Asked as changes are made, because an address has not the room: a mask of a large farm, a file.
LONG_READS: dict[str, tuple[type[Params], Callable[[Api, Any], Any]]] = {
    "pattern": (CheckPattern, Api.check_pattern),
    "import/plan": (ImportFile, Api.plan_import),
}

WRITES: dict[str, tuple[type[Params], Callable[[Api, Any], Any]]] = {
    "pools/create": (CreatePool, Api.create_pool),
    "pools/rename": (RenamePool, Api.rename_pool),
    "pools/update": (UpdatePool, Api.update_pool),
    "pools/delete": (DeletePool, Api.delete_pool),
    "hosts/assign": (Assign, Api.assign),
    "hosts/register": (Register, Api.register_hosts),
    "hosts/forget": (Forget, Api.forget_hosts),
    "hosts/replace": (Replace, Api.replace_host),
    "hosts/leave": (Leave, Api.leave_pools),
    "undo": (Undo, Api.undo),
    "import/apply": (ApplyFile, Api.import_file),
    "import/cancel": (Job, Api.cancel_import),
    "native/import": (ImportNative, Api.import_native),
    "scan/start": (StartScan, Api.start_scan),
    "scan/cancel": (Nothing, Api.cancel_scan),
}


class BadParameter(Exception):
    """What a page sent cannot be used. The message says what, and what to do."""


def _fingerprint(steps: Sequence[exchange.Step]) -> str:
    """Tells whether what would be done is what was shown."""
    return hashlib.sha256("\n".join(step.text for step in steps).encode()).hexdigest()


def _refusals(refused: Mapping[str, AfpoolsError]) -> list[dict[str, Any]]:
    """Why pools of a file are refused; `unknown` where machines are not on the farm, and may be yet to come."""
    return [
        {"pool": pool, "message": str(why), "unknown": isinstance(why, UnknownHost)} for pool, why in refused.items()
    ]


def _fingerprint_of(pool: str) -> str:
    """A pool's name as part of a `request_id`, which is short."""
    return hashlib.sha256(pool.encode()).hexdigest()[:12]


def _typed(text: str) -> list[str]:
    """Names and ranges as the command line takes them."""
    try:
        return split_hosts([text]) if text.strip() else []
    except typer.BadParameter as error:
        raise BadParameter(error.message) from None


def _mask_for_page(mask: Mask | MaskNotExpressible, known: frozenset[str], inside: frozenset[str]) -> dict[str, Any]:
    """A mask and what it does in either type, or why there is none."""
    if isinstance(mask, MaskNotExpressible):
        return {"error": str(mask)}
    readings = (Reading(dialect, check(mask.mask, dialect, known), known, inside) for dialect in _DIALECTS)
    return {**mask._asdict(), "readings": {reading.dialect: _for_page(reading) for reading in readings}}


def _for_page(reading: Reading) -> dict[str, Any]:
    """What a mask does, folded for people: thousands of names are of no use on a page."""
    found = reading.for_programs()
    for key in ("runs", "kept_out", "wrong"):
        names = found.get(key)
        if names is not None:
            found[key] = {"count": len(names), "ranges": fold(names)}
    return found


def _readable(entry: dict[str, Any]) -> dict[str, Any]:
    """A line of history with its hosts folded, too."""
    diff = entry["diff"]
    return {**entry, "ranges": {key: fold(diff[key]) for key in ("added", "removed") if diff.get(key)}}


def _native(pool: NativePool) -> dict[str, Any]:
    """One of Afanasy's pools with its hosts folded."""
    hosts, added = ({"count": len(names), "ranges": fold(names)} for names in (pool.hosts, pool.added))
    return {**pool._asdict(), "hosts": hosts, "added": added}


def _endpoint_health(profile: Profile, endpoint: Endpoint) -> dict[str, Any]:
    found: dict[str, Any] = {"url": endpoint.url, "broker": endpoint.broker or ""}
    began = time.monotonic()
    try:
        with Client(profile._replace(endpoints=(endpoint,)), timeout=_ENDPOINT_TIMEOUT) as client:
            found["hello"] = client.hello()._asdict()
            found["connected_ms"] = round((time.monotonic() - began) * 1000, 1)
            found["health"] = client.health()
    except AfpoolsError as error:
        # The address is there already.
        attempts = error.attempts if isinstance(error, BrokerUnreachable) else ()
        found["error"] = "; ".join(why for _, why in attempts) or str(error)
    return found


def _own_credentials(profile: Profile) -> list[dict[str, Any]]:
    """Until when the profile's certificates are valid."""
    found: list[dict[str, Any]] = []
    for what, path in (("Your certificate", profile.client_file), ("The studio's authority", profile.ca_file)):
        try:
            certificate = x509.load_pem_x509_certificate(Path(path).read_bytes())
        except (OSError, ValueError) as error:
            found.append({"what": what, "path": path, "error": f"It cannot be read: {error}."})
            continue
        until = certificate.not_valid_after_utc
        days = (until - dt.datetime.now(dt.UTC)).days
        found.append({"what": what, "path": path, "expires": until.isoformat(), "days_left": days})
    return found
