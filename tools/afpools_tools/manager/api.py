"""The pages' questions and changes: one function for each, a thin layer over the client library.

Strategy: parameters are decoded into a struct, which checks them; functions block, so they run in threads. The broker's
refusals pass through unchanged, because they are written for people. The functions that say what a mask does are those
that the commands use, so that pages and command line never disagree.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from afpools import AfpoolsError, Client, Mask, MaskNotExpressible, NativePool, OutcomeUnknown, UnknownHost
from afpools_broker.pools.folding import fold

from .. import exchange
from ..effects import Effect, effects, judge
from .brokers import brokers
from .jobs import outcome, preview
from .live import Live
from .membership import STOPPED, Membership
from .params import (
    ApplyFile,
    Assign,
    BadParameter,
    CheckPattern,
    CreatePool,
    DeletePool,
    Export,
    FollowPool,
    Forget,
    HistoryPage,
    ImportFile,
    ImportNative,
    Job,
    Jobs,
    Leave,
    MaybePool,
    MoveJobs,
    Nothing,
    OnePool,
    Params,
    PreviewChange,
    Register,
    RenamePool,
    Replace,
    RequeueTasks,
    StartScan,
    Undo,
    UnfollowPool,
    UpdatePool,
    typed_hosts,
)
from .scan_job import ScanJob
from .usage import Usage

_STYLES: tuple[Literal["complement", "compact", "list"], ...] = ("complement", "compact", "list")
_ATTEMPTS = 3


class Api:
    """The state that the functions below use. Threads may share it.

    Args:
        client: for requests that a click causes.
        orders: for orders to afserver about jobs, which take longer.
        live: notified after each change.
        usage: the samples for the charts.
        scan: runs network scans.

    Attributes:
        stopping: set when the Pool Manager is about to end: long work ends after the current step.
    """

    def __init__(self, client: Client, orders: Client, live: Live, usage: Usage, scan: ScanJob) -> None:
        self.client = client
        self.orders = orders
        self.live = live
        self.usage = usage
        self.scan = scan
        self.stopping = threading.Event()
        self.membership = Membership(client, live, self.stopping)
        self._imports: set[str] = set()

    # --- reading ---

    def show_pool(self, params: OnePool) -> dict[str, Any]:
        """A pool with its hosts, and the hosts folded into ranges."""
        pool = self.client.get_pool(params.pool)
        return {**pool._asdict(), "ranges": fold(pool.hosts)}

    def show_usage(self, params: MaybePool) -> dict[str, Any]:
        found = self.usage.series(params.pool)
        return {"when": found.when, "pools": {name: lines._asdict() for name, lines in found.pools.items()}}

    def show_masks(self, params: OnePool) -> dict[str, Any]:
        """The pool's mask in each style, and what it does to today's farm in either mask type."""
        # The farm and the masks are separate requests, and either may change in between.
        for _ in range(_ATTEMPTS):
            hosts = self.client.list_hosts().hosts
            known = frozenset(host.name for host in hosts)
            inside = frozenset(host.name for host in hosts if params.pool in host.pools)
            made = [self._mask(params.pool, style) for style in _STYLES]
            counts = {(mask.pool_hosts, mask.known_hosts) for mask in made if isinstance(mask, Mask)}
            if counts <= {(len(inside), len(known))}:
                break
        else:
            raise BadParameter("The pool or the farm changed between two requests. Try again.")
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
        """What any mask would do, as `afpools mask --check` says."""
        if params.pool is not None:
            self.client.get_pool(params.pool)
        effect, warnings = judge(params.pattern, params.dialect, params.pool, self.client.list_hosts().hosts)
        return {**_for_page(effect), "warnings": warnings, "known": len(effect.known)}

    def show_history(self, params: HistoryPage) -> dict[str, Any]:
        entries = self.client.history(params.pool, limit=params.limit, before=params.before)
        return {"entries": [_readable(entry._asdict()) for entry in entries]}

    def show_brokers(self, _params: Nothing) -> dict[str, Any]:
        """The state of every endpoint of the profile."""
        return brokers(self.client.profile)

    def show_scan(self, _params: Nothing) -> dict[str, Any]:
        return self.scan.state(tuple(self.live.view.hosts.values()))

    def show_native(self, _params: Nothing) -> dict[str, Any]:
        """What importing Afanasy's own pools would do."""
        return {"pools": [_native(pool) for pool in self.client.import_native(dry_run=True)]}

    def export(self, params: Export) -> str:
        """All pools as the text of a file."""
        return exchange.FORMATS[params.format](exchange.present_pools(self.client))

    def plan_import(self, params: ImportFile) -> dict[str, Any]:
        """What importing a file would do."""
        wanted, steps = self._steps(params)
        found = exchange.preview(steps)
        return {
            "pools": wanted,
            "steps": [step.text for step in found.steps],
            "hosts": self._hosts_of_jobs(found.steps),
            "refused": _refusals(found.refused),
            "unchecked": found.unchecked,
            "shown": _fingerprint(steps),
        }

    def _hosts_of_jobs(self, steps: Sequence[exchange.Step]) -> list[dict[str, Any]]:
        """The hosts that pools with jobs on the farm would get and lose, in the form that `preview` takes."""
        busy = {job.pool for job in self.live.view.jobs.values()}
        found: dict[str, dict[str, Any]] = {}
        for step in steps:
            if step.pool in busy:
                change = found.setdefault(step.pool, {"pool": step.pool, "add": [], "remove": []})
                change["add"] += step.added
                change["remove"] += step.removed
        return [change for change in found.values() if change["add"] or change["remove"]]

    def preview(self, params: PreviewChange) -> dict[str, Any]:
        """What a change would do to the jobs on the farm."""
        return preview(self.client, params)

    def _steps(self, params: ImportFile) -> tuple[int, list[exchange.Step]]:
        """How many pools a file has, and what importing it would do."""
        wanted = exchange.read_pools(params.text, params.name or "The file", exchange.known_hosts(self.client))
        return len(wanted), exchange.steps(self.client, wanted, replace=params.replace, new_hosts=params.new_hosts)

    # --- writing ---

    def create_pool(self, params: CreatePool) -> dict[str, Any]:
        done = self.client.create_pool(
            params.pool,
            typed_hosts(params.hosts),
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
            spill_to=params.spill_to,
            spill_after=params.spill_after,
            if_revision=params.if_revision,
            request_id=params.request_id,
        )
        return done._asdict()

    def delete_pool(self, params: DeletePool) -> dict[str, Any]:
        done = self.client.delete_pool(params.pool, if_revision=params.if_revision, request_id=params.request_id)
        return done._asdict()

    def assign(self, params: Assign) -> dict[str, Any]:
        """Puts hosts into pools and takes them out of others."""
        return self.membership.assign(params)

    def replace_host(self, params: Replace) -> dict[str, Any]:
        """Replaces a host by another in all its pools."""
        return self.membership.replace(params)

    def leave_pools(self, params: Leave) -> dict[str, Any]:
        """Takes a host out of all its pools."""
        return self.membership.leave(params)

    def register_hosts(self, params: Register) -> dict[str, Any]:
        return self.client.register_hosts(typed_hosts(params.typed), request_id=params.request_id)._asdict()

    def forget_hosts(self, params: Forget) -> dict[str, Any]:
        return self.client.forget_hosts(params.hosts, request_id=params.request_id)._asdict()

    def undo(self, params: Undo) -> dict[str, Any]:
        """Undoes changes in the given order; stops at the first that cannot be undone, and says why.

        Raises:
            OutcomeUnknown: the outcome of one of them is not known. Sending the same request again does what is
                missing.
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
        """Makes pools as a file has them, if that still takes the steps that were shown. Each step is a separate
        change. If a pool is refused, its remaining steps are left out; any other failure ends the import. Importing
        again does the rest."""
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
                raise BadParameter("The pools have changed since this was shown. Check again what would change now.")
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
        """Ends an import after the current step."""
        self._imports.discard(params.job)

    def import_native(self, params: ImportNative) -> dict[str, Any]:
        return {
            "pools": [_native(pool) for pool in self.client.import_native(params.paths, request_id=params.request_id)]
        }

    def follow_pool(self, params: FollowPool) -> dict[str, Any]:
        """Makes a pool that follows one of Afanasy's own."""
        return self.client.follow_pool(params.path, params.pool, request_id=params.request_id)._asdict()

    def unfollow_pool(self, params: UnfollowPool) -> dict[str, Any]:
        """Ends following, so that people can change the pool's hosts again."""
        done = self.client.unfollow_pool(params.pool, if_revision=params.if_revision, request_id=params.request_id)
        return done._asdict()

    def move_jobs(self, params: MoveJobs) -> dict[str, Any]:
        return outcome(self.orders.move_jobs(params.references, params.pool, request_id=params.request_id))

    def adopt_jobs(self, params: Jobs) -> dict[str, Any]:
        """Makes jobs that a person has changed follow their pool again."""
        return outcome(self.orders.adopt_jobs(params.references, request_id=params.request_id))

    def requeue_tasks(self, params: RequeueTasks) -> dict[str, Any]:
        """Sends back the tasks that run outside their job's fence."""
        hosts = params.hosts or None
        return outcome(self.orders.requeue_tasks(params.references, hosts=hosts, request_id=params.request_id))

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

# Questions that are sent like changes, because a mask of a large farm or a file does not fit into an address.
LONG_READS: dict[str, tuple[type[Params], Callable[[Api, Any], Any]]] = {
    "pattern": (CheckPattern, Api.check_pattern),
    "import/plan": (ImportFile, Api.plan_import),
    "preview": (PreviewChange, Api.preview),
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
    "jobs/move": (MoveJobs, Api.move_jobs),
    "jobs/adopt": (Jobs, Api.adopt_jobs),
    "jobs/requeue": (RequeueTasks, Api.requeue_tasks),
    "undo": (Undo, Api.undo),
    "import/apply": (ApplyFile, Api.import_file),
    "import/cancel": (Job, Api.cancel_import),
    "native/import": (ImportNative, Api.import_native),
    "native/follow": (FollowPool, Api.follow_pool),
    "native/unfollow": (UnfollowPool, Api.unfollow_pool),
    "scan/start": (StartScan, Api.start_scan),
    "scan/cancel": (Nothing, Api.cancel_scan),
}


def _fingerprint(steps: Sequence[exchange.Step]) -> str:
    """A fingerprint of the steps, to compare what would be done with what was shown."""
    return hashlib.sha256("\n".join(step.text for step in steps).encode()).hexdigest()


def _refusals(refused: Mapping[str, AfpoolsError]) -> list[dict[str, Any]]:
    """Why pools of a file are refused; `unknown` if machines are not on the farm, and perhaps not set up yet."""
    return [
        {"pool": pool, "message": str(why), "unknown": isinstance(why, UnknownHost)} for pool, why in refused.items()
    ]


def _mask_for_page(mask: Mask | MaskNotExpressible, known: frozenset[str], inside: frozenset[str]) -> dict[str, Any]:
    """A mask and what it does in either mask type, or why there is none."""
    if isinstance(mask, MaskNotExpressible):
        return {"error": str(mask)}
    both = effects(mask.mask, known, inside)
    return {**mask._asdict(), "readings": {effect.dialect: _for_page(effect) for effect in both}}


def _for_page(effect: Effect) -> dict[str, Any]:
    """What a mask does, folded into ranges, because a page cannot show thousands of names."""
    found = effect.for_programs()
    for key in ("runs", "kept_out", "wrong"):
        names = found.get(key)
        if names is not None:
            found[key] = {"count": len(names), "ranges": fold(names)}
    return found


def _readable(entry: dict[str, Any]) -> dict[str, Any]:
    """A history entry, with its hosts also folded into ranges."""
    diff = entry["diff"]
    return {**entry, "ranges": {key: fold(diff[key]) for key in ("added", "removed") if diff.get(key)}}


def _native(pool: NativePool) -> dict[str, Any]:
    """One of Afanasy's pools with its hosts folded. Those that a pool of ours lacks are there by name as well, to ask
    what adding them would do."""
    hosts, added = ({"count": len(names), "ranges": fold(names)} for names in (pool.hosts, pool.added))
    return {**pool._asdict(), "hosts": hosts, "added": {**added, "names": [] if pool.created else pool.added}}
