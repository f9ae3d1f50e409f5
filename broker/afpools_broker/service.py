"""From an operation to its answer; the only place that checks roles.

Strategy: `answer` never waits. What can be said from memory is said at once, as bytes; what takes a database or a lot
of arithmetic comes back as a function, which the listener runs on a worker and whose result it sends when it is there.
"""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, repeat
from typing import NamedTuple, Protocol, TypeVar

import msgspec

from . import __version__, protocol
from .config import FarmSection, LimitsSection
from .credentials import Peer, utcnow
from .engines import untyped_as
from .host_list import Page
from .hosts import expand
from .job_mask import accepted, job_mask
from .kept_answers import KeptAnswers
from .native import native_name, native_pools, native_preview, native_swap
from .peer_log import PeerLog, host_of
from .pools import Change, Contents, Entry, PlanOutdated, Swap, fingerprint, refuse_lookalike
from .protocol import OPERATIONS, Code, Reading, RequestRefused, Result, Role
from .snapshot import Snapshot, SnapshotKeeper
from .store import PoolStore, StoreUnavailable
from .system_job import SystemJobKeeper, system_mask
from .tally import UNKNOWN, Listing
from .undo import REACH, Undoing
from .vetting import vetting

log = logging.getLogger("afpools.service")

# Clients wait two seconds for an answer. A write that waited this long in the queue is not made any more: whoever asked
# for it has been told that its outcome is unknown, and may have moved on.
_PATIENCE_SECONDS = 2.0
_REPLAN_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Later:
    """An answer that takes its time: `work` makes it, on a worker; those that write have workers of their own, so that
    reading never waits for a store."""

    work: Callable[[], bytes]
    writes: bool


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sent a request.

    Args:
        peer: who it is, authenticated.
        address: for log lines.
    """

    peer: Peer
    address: str


class Moment(NamedTuple):
    """What reads are answered from: all that an answer depends on besides the request.

    Args:
        snapshot: pools and farm.
        farm: how far the list of renders is trusted.
        age: seconds since the store has confirmed the snapshot, to a tenth.
        farm_age: seconds since the list of renders was true, to a tenth; None where there is none.
        farm_is_stale: it is older than the studio wants it.
        farm_is_too_old: so old that no mask that depends on it is given.
    """

    snapshot: Snapshot
    farm: FarmSection
    age: float
    farm_age: float | None
    farm_is_stale: bool
    farm_is_too_old: bool

    @property
    def can_count(self) -> bool:
        """Whether the list of renders is there, and true enough to say how many of a pool's hosts are in it."""
        return not self.farm.by_hand and self.farm_age is not None and not self.farm_is_stale


class Statistics:
    """What was asked and answered since the broker started; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.requests: Counter[str] = Counter()
        self.errors: dict[str, Counter[str]] = {}
        self.connections: Counter[str] = Counter()
        self.refused_connections = 0

    def request(self, operation: str) -> None:
        """Counts a request; `operation` is a name from `OPERATIONS`, never the client's own text."""
        with self._lock:
            self.requests[operation] += 1

    def error(self, operation: str, code: Code) -> None:
        """Counts an error answer; `operation` as for `request`, empty where it is not known."""
        with self._lock:
            self.errors.setdefault(operation or "unreadable", Counter())[code.value] += 1

    def errors_now(self) -> dict[str, dict[str, int]]:
        """Errors so far, by operation and code."""
        with self._lock:
            return {operation: dict(codes) for operation, codes in self.errors.items()}

    def connection(self, listener: str, change: int) -> None:
        """Counts a connection that was opened (1) or closed (-1)."""
        with self._lock:
            self.connections[listener] += change

    def refused(self) -> None:
        """Counts a connection that was not let in."""
        with self._lock:
            self.refused_connections += 1


class HealthSource(Protocol):
    """Answers `health`."""

    def report(self) -> protocol.HealthResult: ...


P = TypeVar("P", bound=protocol.Params)


class Service:
    """Answers requests.

    Args:
        name: this broker's own name.
        keeper: the current snapshot, and the way to change it.
        store: for history, which is not part of the snapshot.
        health: answers `health`.
        limits: how large a request may be, and how many; asked for anew each time, since they may change.
        peer_log: for lines that a peer can cause.
        statistics: counts requests and errors.
        farm: how far the list of renders is trusted.
        system_job: keeps post commands on their pool; None where there is no afserver.
        clock: the time, with its zone.
    """

    def __init__(
        self,
        *,
        name: str,
        keeper: SnapshotKeeper,
        store: PoolStore,
        health: HealthSource,
        limits: Callable[[], LimitsSection],
        peer_log: PeerLog,
        statistics: Statistics,
        farm: FarmSection,
        system_job: SystemJobKeeper | None = None,
        clock: Callable[[], dt.datetime] = utcnow,
    ) -> None:
        self._system_job = system_job
        self._name = name
        self._keeper = keeper
        self._store = store
        self._health = health
        self._limits = limits
        self._peer_log = peer_log
        self._statistics = statistics
        self._farm = farm
        self._clock = clock
        self._kept: KeptAnswers[Moment] = KeptAnswers()
        # Quick, but for a mask or a list that is not made yet.
        self._reads: dict[str, Callable[[Moment, protocol.Params], Result]] = {
            "pools.list": self._of_moment(protocol.PoolsList, self._pools_list),
            "pools.get": self._of_moment(protocol.PoolsGet, self._pools_get),
            "mask": self._of_moment(protocol.MaskParams, self._mask),
        }
        self._slow: dict[str, Callable[[Sender, protocol.Params], Result]] = {
            "health": self._typed(protocol.Health, lambda _sender, _params: self._health.report()),
            "hosts.list": self._typed(protocol.HostsList, self._hosts_list),
            "history.list": self._typed(protocol.HistoryList, self._history_list),
            "farm.system_pool": self._typed(protocol.FarmSystemPool, self._system_pool),
            "pools.check": self._typed(protocol.PoolsCheck, self._pools_check),
        }

    @staticmethod
    def _of_moment(
        _params: type[P], handler: Callable[[Moment, P], Result]
    ) -> Callable[[Moment, protocol.Params], Result]:
        return handler  # type: ignore[return-value]  # as for `_typed`

    @staticmethod
    def _typed(_params: type[P], handler: Callable[[Sender, P], Result]) -> Callable[[Sender, protocol.Params], Result]:
        # `decode_params` made the parameters by the operation's own type; this says so to the type checker.
        return handler  # type: ignore[return-value]

    def answer(self, sender: Sender, data: bytes) -> bytes | Later:
        """The answer to one request, or a function that returns it and may take its time.

        Args:
            sender: who asks, already authenticated.
            data: the request as it came, at most `[limits] message_bytes` long.
        """
        moment = None
        if self._keeper.is_loaded:
            moment = self._moment()
            kept = self._kept.find(data, moment)
            if kept is not None:
                operation, answer = kept
                self._statistics.request(operation)
                return answer
        return self._answer(sender, data, moment)

    def _answer(self, sender: Sender, data: bytes, moment: Moment | None) -> bytes | Later:
        request = operation = None
        try:
            request = protocol.decode_request(data)
            operation = OPERATIONS.get(request.op)
            if operation is None:
                raise RequestRefused(
                    Code.UNKNOWN_OP,
                    f"There is no operation {request.op!r} here (broker version {__version__}). "
                    f"There are: {', '.join(OPERATIONS)}.",
                )
            self._statistics.request(operation.name)
            if operation.role is Role.MANAGER and sender.peer.role is not Role.MANAGER:
                self._peer_log.say(
                    f"{sender.peer.name} {host_of(sender.address)}",
                    operation.name,
                    "Refused: %r (%s) at %s asked for %s, which needs a manager profile",
                    sender.peer.name,
                    sender.peer.role,
                    sender.address,
                    operation.name,
                )
                raise RequestRefused(
                    Code.FORBIDDEN,
                    f"To {operation.purpose} you need a manager profile; {sender.peer.name!r} is a "
                    f"{sender.peer.role}. Ask whoever runs the farm for one.",
                )
            params = protocol.decode_params(operation, request.params)
        except RequestRefused as refusal:
            request_id = request.id if request else protocol.guess_id(data)
            return self._refuse(request_id, operation.name if operation else "", refusal)
        except Exception:  # noqa: BLE001 - logged with its traceback, but not as often as the sender likes
            self._log_defect(sender, "", "Reading a request failed", data)
            return self._failed(protocol.guess_id(data), "")

        def finish(handler: Callable[[Sender, protocol.Params], Result]) -> bytes:
            try:
                return protocol.encode_answer(request.id, handler(sender, params))
            except RequestRefused as refusal:
                return self._refuse(request.id, operation.name, refusal)
            except StoreUnavailable as error:
                return self._refuse(request.id, operation.name, RequestRefused(Code.STORE_UNAVAILABLE, str(error)))
            except Exception:  # noqa: BLE001 - as above
                self._log_defect(sender, operation.name, f"Answering {operation.name} failed", data)
                return self._failed(request.id, operation.name)

        began = time.monotonic()
        if isinstance(params, protocol.Write):
            write = params
            return Later(
                lambda: finish(lambda sender, _params: self._write(sender, operation.name, write, began)), writes=True
            )
        if isinstance(params, protocol.PoolsImportNative):
            wanted = params
            return Later(
                lambda: finish(lambda sender, _params: self._import_native(sender, wanted, began)),
                writes=not wanted.dry_run,
            )
        if isinstance(params, protocol.Hello):
            return finish(lambda sender, _params: self._hello(sender))
        read = self._reads.get(operation.name)
        if read is not None:
            try:
                # One for the question and the answer: a newer snapshot may not have the answer yet.
                now = moment or self._moment()
            except RequestRefused as refusal:
                return self._refuse(request.id, operation.name, refusal)
            if not self._is_at_hand(now, params):
                return Later(lambda: finish(lambda _sender, params: _aged(read(now, params), began)), writes=False)
            answer = finish(lambda _sender, params: read(now, params))
            self._kept.keep(data, now, operation.name, answer)
            return answer
        slow = self._slow[operation.name]
        return Later(lambda: finish(slow), writes=False)

    def set_farm(self, farm: FarmSection) -> None:
        """Changes how far the list of renders is trusted."""
        self._farm = farm

    # What a listener answers by itself, to requests that the service does not get to see. `data` is the request.

    def too_busy(self, data: bytes) -> bytes:
        """No worker is free."""
        return self._turn_away(data, "The broker has too many requests to work on. Try again in a moment.")

    def rate_limited(self, data: bytes) -> bytes:
        """The client, or its credential from all addresses together, asks too often."""
        return self._turn_away(
            data, "You ask more often than this broker allows ([limits] requests_per_second). Slow down."
        )

    def full(self, data: bytes, reason: str) -> bytes:
        """There is no room for one more connection; `reason` is a clause."""
        return self._turn_away(data, f"There are too many connections: {reason}. Try again in a moment.")

    def unread_answers(self, data: bytes) -> bytes:
        """The client has not read what it was sent before."""
        return self._turn_away(data, "Too many answers to you have not been read yet. Read them, then ask again.")

    def not_valid_any_more(self, data: bytes, reason: str) -> bytes:
        """The credential was good when the connection was opened; `reason` is a clause."""
        message = f"Your credential is not valid any more: {reason}. Ask for a new profile."
        return self._turn_away(data, message, Code.FORBIDDEN)

    def too_large(self, size: int) -> bytes:
        """The request is over the limit, and was not read."""
        message = (
            f"The request is {size:,} bytes; this broker takes {self._limits().message_bytes:,} at most. "
            "Split the change into smaller ones."
        )
        return self._turn_away(b"", message, Code.TOO_LARGE)

    def _turn_away(self, data: bytes, message: str, code: Code = Code.RATE_LIMITED) -> bytes:
        return self._refuse(protocol.guess_id(data), "", RequestRefused(code, message))

    def _refuse(self, request_id: str, operation: str, refusal: RequestRefused) -> bytes:
        self._statistics.error(operation, refusal.code)
        return protocol.encode_error(request_id, refusal.code, refusal.message, refusal.made)

    def _log_defect(self, sender: Sender, operation: str, what: str, data: bytes) -> None:
        self._peer_log.defect(sender.peer.name, operation, f"{what}; the request was {data[:2000]!r}")

    def _failed(self, request_id: str, operation: str) -> bytes:
        """The answer to a request that met a defect of ours; everything needed to find it is in the log."""
        return self._refuse(
            request_id,
            operation,
            RequestRefused(Code.INTERNAL, "The broker failed to answer; its log says why. Please report it."),
        )

    # --- reads ----------------------------------------------------------------------------------------------------

    def _moment(self) -> Moment:
        """Now.

        Raises:
            RequestRefused: what `SnapshotKeeper.current` raises.
        """
        keeper, policy = self._keeper, self._farm
        snapshot, age = keeper.current, round(keeper.age, 1)
        farm = snapshot.farm
        if farm is None:
            return Moment(snapshot, policy, age, None, False, False)
        farm_age = farm.age(self._clock())
        return Moment(
            snapshot, policy, age, round(farm_age, 1), farm_age > policy.flag_after, farm_age > policy.refuse_after
        )

    def _hello(self, sender: Sender) -> protocol.HelloResult:
        role = sender.peer.role
        return protocol.HelloResult(
            broker=self._name,
            version=__version__,
            protocol=protocol.VERSION,
            name=sender.peer.name,
            role=role,
            operations=[op.name for op in OPERATIONS.values() if role is Role.MANAGER or op.role is Role.READER],
            message_bytes=self._limits().message_bytes,
        )

    @staticmethod
    def _pools_list(moment: Moment, params: protocol.PoolsList) -> protocol.PoolsListResult:
        snapshot = moment.snapshot
        tally = snapshot.tally if moment.can_count else None
        listing = snapshot.listing if tally is None else tally.listing
        if params.if_revision == listing.revision:
            return protocol.PoolsListResult(revision=listing.revision, age=moment.age, unchanged=True)
        return protocol.PoolsListResult(revision=listing.revision, age=moment.age, pools=listing.pools)

    @staticmethod
    def _pools_get(moment: Moment, params: protocol.PoolsGet) -> protocol.PoolsGetResult:
        pool = moment.snapshot.pool(params.pool)
        return protocol.PoolsGetResult(
            pool=protocol.PoolDetail(
                name=pool.name,
                hosts=list(pool.hosts),
                revision=pool.revision,
                description=pool.description,
                colour=pool.colour,
            ),
            age=moment.age,
        )

    def _system_pool(self, _sender: Sender, _params: protocol.FarmSystemPool) -> protocol.FarmSystemPoolResult:
        now = self._system_job_at_hand().state
        return protocol.FarmSystemPoolResult(pool=now.pool, state=now.state, problem=now.problem, settled=now.settled)

    def _hosts_list(self, _sender: Sender, params: protocol.HostsList) -> protocol.HostsListResult:
        moment = self._moment()
        hosts = moment.snapshot.hosts
        page = Page(hosts.whole(), None) if params.limit is None else hosts.page(params.after, params.limit)
        return protocol.HostsListResult(
            hosts=page.hosts,
            age=moment.age,
            farm_age=moment.farm_age,
            farm_unseen=moment.farm_age is None and not moment.farm.by_hand,
            farm_is_stale=moment.farm_is_stale,
            next=page.next,
            revision=hosts.revision,
        )

    def _is_at_hand(self, moment: Moment, params: protocol.Params) -> bool:
        if isinstance(params, protocol.MaskParams):
            return self._mask_is_at_hand(moment, params)
        if not isinstance(params, protocol.PoolsList):
            return True
        listing: Listing | None = moment.snapshot.listing
        if moment.can_count:
            tally = moment.snapshot.tally_at_hand
            listing = tally.listing_at_hand if tally else None
        return listing is not None and (listing.at_hand or listing.revision == params.if_revision)

    def _mask_is_at_hand(self, moment: Moment, params: protocol.MaskParams) -> bool:
        if params.exclude:
            return False
        try:
            accept = accepted(params, _untyped_as(moment, params))
            return (
                moment.snapshot.fences.mask_at_hand((params.pool, params.style, accept), params.max_bytes) is not None
            )
        except RequestRefused:
            return True

    def _mask(self, moment: Moment, params: protocol.MaskParams) -> protocol.MaskResult:
        snapshot = moment.snapshot
        pool = snapshot.pool(params.pool)
        if not moment.farm.by_hand and moment.farm_age is None:
            raise RequestRefused(
                Code.FARM_UNAVAILABLE,
                "The broker has never seen the farm's list of renders, so it cannot say which hosts a job must not "
                "run on. See that afserver runs and that [farm] server in broker.toml names it.",
            )
        untyped = _untyped_as(moment, params)
        mask = job_mask(snapshot.fences, params, untyped)
        if mask.style != "complement":
            # The others name the hosts to keep out, and are wrong where one is not known.
            _refuse_unknown_hosts(moment)
        tally = snapshot.tally if moment.can_count else None
        counts = UNKNOWN if tally is None else tally.of(pool.name)
        return protocol.MaskResult(
            pool=pool.name,
            revision=pool.revision,
            mask=mask.text,
            mask_type=mask.type,
            style=mask.style,
            why=mask.why,
            pool_hosts=mask.pool_hosts,
            excluded_hosts=mask.excluded_hosts,
            known_hosts=mask.pool_hosts + mask.excluded_hosts,
            covers_future_hosts=mask.covers_future_hosts,
            age=moment.age,
            farm_age=moment.farm_age,
            farm_is_stale=mask.style != "complement" and moment.farm_is_stale,
            untyped_as=untyped,
            pool_renders=counts.renders,
            pool_online=counts.online,
        )

    def _history_list(self, _sender: Sender, params: protocol.HistoryList) -> protocol.HistoryListResult:
        entries = self._store.history(pool=params.pool, limit=params.limit, before=params.before)
        if not entries:
            return protocol.HistoryListResult(entries=[])
        undoing = self._undoing(entries[-1].id, lambda _names: self._keeper.current.contents)
        return protocol.HistoryListResult(entries=[_public(entry, undoing.why_not(entry)) for entry in entries])

    # --- writes ---------------------------------------------------------------------------------------------------

    def _write(self, sender: Sender, op: str, params: protocol.Write, began: float) -> protocol.WriteResult:
        self._refuse_late(began)
        entry = self._make(sender, lambda: self._change(sender.peer, op, params), began)
        return protocol.WriteResult(
            change=entry.id if entry.changed else "",
            pool=entry.pool,
            revision=entry.after,
            hosts=entry.hosts,
            added=list(entry.diff.added),
            removed=list(entry.diff.removed),
            unchecked=self._why_unchecked() if entry.unchecked else "",
        )

    def _refuse_late(self, began: float) -> None:
        if time.monotonic() > began + _PATIENCE_SECONDS:
            raise RequestRefused(
                Code.STORE_UNAVAILABLE,
                "This broker did not make the change in time: the store is slow, and too many changes were waiting. "
                "Try again.",
                made=False,
            )

    def _make(self, sender: Sender, plan: Callable[[], Change], began: float) -> Entry:
        """Makes a change, planned anew for as long as somebody else is quicker."""
        while True:
            change = self._planned(plan)
            hosts_leave = self._farm.by_hand and self._takes_hosts(change)
            if hosts_leave:
                self._register_members(change)
            try:
                entry = self._keeper.apply(change)
            except PlanOutdated:
                self._refuse_late(began)
                # What was planned with is older than the store; a replica set takes a moment to agree on it.
                time.sleep(_REPLAN_SECONDS)
                continue
            if hosts_leave:
                self._register_leavers(change, entry)
            self._follow_rename(change, entry)
            if change.op == "farm.set_system_pool" and self._system_job:
                self._system_job.take_over()
            if entry.changed:
                log.info("%s by %r at %s: %s", entry.op, entry.who, sender.address, _described(entry))
            return entry

    @staticmethod
    def _planned(plan: Callable[[], Change]) -> Change:
        """
        Raises:
            RequestRefused: with `made` false, because a plan only reads.
        """
        try:
            return plan()
        except StoreUnavailable as error:
            raise RequestRefused(Code.STORE_UNAVAILABLE, str(error), made=False) from None
        except RequestRefused as refusal:
            raise RequestRefused(refusal.code, refusal.message, made=False) from None

    def _takes_hosts(self, change: Change) -> bool:
        """Whether hosts leave a pool."""
        if not isinstance(change.plan, Swap):
            return change.op in ("pools.remove_hosts", "pools.delete")
        becomes, present = change.plan.becomes, self._keeper.current.contents.pools.get(change.pool)
        return present is not None and (becomes is None or not set(present.hosts) <= set(becomes.hosts))

    def _register_members(self, change: Change) -> None:
        """Without afserver, what was registered or is in a pool is all that is known. A host that leaves its pool must
        not be forgotten with it, or the others' masks would not keep it out any more.

        So all members are registered before the change, while the pool still has them. Those that another broker added
        since this one last read the store are only known from what the store then took out, and registered after it.
        """
        fences = self._keeper.current.fences
        self._register_hosts(change, fences.members.get(change.pool, frozenset()) - fences.farm)

    def _register_leavers(self, change: Change, entry: Entry) -> None:
        """Registers what the store took out, with what is registered already: so the same request again is recognised,
        and does not take back that one of these hosts was forgotten since.

        Raises:
            RequestRefused: with what was made and what was not; the same request again does the rest.
        """
        try:
            self._register_hosts(change, self._keeper.current.fences.spelled(entry.diff.removed))
        except RequestRefused as refusal:
            raise RequestRefused(
                refusal.code,
                "The change was made, but the hosts that left the pool may not be registered yet, and masks may not "
                f"keep them out: {refusal.message} Sending it again with the same request_id registers them.",
            ) from None

    def _register_hosts(self, change: Change, hosts: frozenset[str]) -> None:
        """Registers hosts, as the farm spells them; `change` is the one that makes it necessary."""
        if hosts:
            # A change may take two such steps, and may be sent again: each step has one id of its own.
            names = tuple(sorted(hosts))
            request_id = f"{change.request_id} {fingerprint(names)}"
            self._keeper.apply(Change(op="hosts.register", who=change.who, request_id=request_id, hosts=names))

    def _change(self, peer: Peer, op: str, params: protocol.Write) -> Change:
        moment = self._moment()
        fences = moment.snapshot.fences
        known = fences.farm
        change = Change(op=op, who=peer.name, request_id=params.request_id, if_revision=params.if_revision)
        match params:
            case protocol.PoolsCreate():
                return replace(
                    self._vetted(change, moment, new_hosts=params.new_hosts),
                    pool=params.pool,
                    hosts=expand(params.hosts, known),
                    description=params.description,
                    colour=params.colour,
                )
            case protocol.PoolsRename():
                return replace(change, pool=params.pool, new_name=params.new_name)
            case protocol.FarmSetSystemPool():
                return self._choose_system_pool(change, params.pool, moment.snapshot)
            case protocol.PoolsUpdate():
                return replace(change, pool=params.pool, description=params.description, colour=params.colour)
            case protocol.PoolsDelete():
                return replace(change, pool=params.pool, vet=self._refuse_to_delete_system_pool)
            case protocol.PoolsAddHosts():
                change = self._vetted(change, moment, new_hosts=params.new_hosts)
                return replace(change, pool=params.pool, hosts=expand(params.hosts, known))
            case protocol.PoolsRemoveHosts():
                return replace(change, pool=params.pool, hosts=expand(params.hosts, known, leaving=True))
            case protocol.HostsRegister():
                # This is how a machine is announced: it need not be on the farm, but must not be there twice.
                change = replace(change, vet=vetting(fences.spelling, None))
                return replace(change, hosts=expand(params.hosts, known))
            case protocol.HostsForget():
                return replace(change, hosts=expand(params.hosts, known, leaving=True))
            case protocol.HistoryUndo():
                return self._undo(change, params.entry)
        raise TypeError(f"no such write: {params!r}")

    def _pools_check(self, sender: Sender, params: protocol.PoolsCheck) -> protocol.PoolsCheckResult:
        """What the change that is asked about would be refused for, found out as it would be, on the present picture.

        Raises:
            RequestRefused: as the change would be.
        """
        pools = self._keeper.current.contents.pools
        current = pools.get(params.pool)
        kind: type[protocol.PoolsCreate | protocol.PoolsAddHosts]
        if current is None:
            op, kind = "pools.create", protocol.PoolsCreate
            refuse_lookalike(params.pool, pools)
        else:
            op, kind = "pools.add_hosts", protocol.PoolsAddHosts
            leaving = frozenset(params.leaving)
            current = replace(current, hosts=tuple(host for host in current.hosts if host not in leaving))
        try:
            wanted = kind(pool=params.pool, hosts=params.hosts, new_hosts=params.new_hosts, request_id="check")
        except ValueError as error:
            raise RequestRefused(Code.BAD_REQUEST, protocol.sentence(error)) from None
        change = self._change(sender.peer, op, wanted)
        change.apply(current)
        return protocol.PoolsCheckResult(unchecked=self._why_unchecked() if change.unchecked and change.hosts else "")

    def _choose_system_pool(self, change: Change, pool: str | None, snapshot: Snapshot) -> Change:
        """
        Raises:
            RequestRefused: there is no afserver.
        """
        self._system_job_at_hand()

        def vet(*_: object) -> None:
            if pool is None:
                return
            snapshot.pool(pool)
            if snapshot.farm is None:
                raise RequestRefused(
                    Code.FARM_UNAVAILABLE,
                    "The broker has never seen the farm's list of renders, so it has no mask for its system job. See "
                    "that afserver runs and that [farm] server in broker.toml names it.",
                )
            system_mask(pool, snapshot)

        return replace(change, new_name=pool or "", vet=vet)

    def _system_job_at_hand(self) -> SystemJobKeeper:
        """
        Raises:
            RequestRefused: `farm_unavailable`: there is no afserver.
        """
        if self._system_job is None:
            raise RequestRefused(
                Code.FARM_UNAVAILABLE,
                "This broker has no afserver ([farm] server in broker.toml is empty), so there is no system job to "
                "keep on a pool.",
            )
        return self._system_job

    def _refuse_to_delete_system_pool(self, pool: str, *_: object) -> None:
        if pool == self._keeper.current.contents.system_pool:
            raise RequestRefused(
                Code.CONFLICT,
                f"Post commands are kept on the pool {pool!r}. Choose another pool for them first: afpools farm "
                "system-pool NAME, or --none to let them run on any render.",
            )

    def _follow_rename(self, change: Change, entry: Entry) -> None:
        """The system pool stays the system pool under its new name."""
        old, new = entry.diff.name or ("", "")
        if not old or not new or self._keeper.current.contents.system_pool != old:
            return
        # A rename may be sent again: this step has an id of its own.
        request_id = f"{change.request_id} {fingerprint('system pool', old, new)}"
        self._keeper.apply(Change(op="farm.set_system_pool", who=change.who, request_id=request_id, new_name=new))

    def _vetted(self, change: Change, moment: Moment, *, new_hosts: bool) -> Change:
        """The change, with what looks at the hosts that it puts into a pool.

        Args:
            change: as it was asked for.
            moment: has the farm that they are compared with.
            new_hosts: machines that the farm has not seen are wanted, too.
        """
        fences = moment.snapshot.fences
        unseen = moment.farm.by_hand or moment.farm_age is None
        vet = vetting(
            fences.spelling,
            None if new_hosts or unseen else fences.farm,
            registered=fences.registered,
            stale=(moment.farm_age or 0.0) if moment.farm_is_stale else 0.0,
        )
        return replace(change, vet=vet, unchecked=unseen and not new_hosts)

    def _why_unchecked(self) -> str:
        if self._farm.by_hand:
            return "The names could not be checked: this broker has no afserver to ask which machines there are."
        return "The names could not be checked: the broker has never seen the farm."

    def _undo(self, change: Change, entry_id: str) -> Change:
        """
        Raises:
            RequestRefused: `bad_request`, for an entry that is not there.
        """
        entry = self._store.entry(entry_id)
        if entry is None:
            raise RequestRefused(
                Code.BAD_REQUEST, f"There is no change {entry_id!r} in the history. Take one that the history shows."
            )
        # In this order: of a change that is made meanwhile the trail may lack a step, never the pools its effect.
        undoing = self._undoing(entry.id, lambda names: self._keeper.reload(names).contents)
        change = replace(change, undoes=entry.id)
        try:
            pool, swap = undoing.plan(entry)
            if swap.becomes is None:
                self._refuse_to_delete_system_pool(pool)
        except RequestRefused as refusal:
            return replace(change, pool=entry.pool, plan=refusal)
        if swap.becomes is not None and entry.op == "farm.set_system_pool" and not swap.becomes.description:
            # A fence outlives a pool of which nobody has said anything.
            nothing = Change(op=entry.op, who=change.who, request_id=change.request_id).apply(swap.becomes)
            swap = replace(swap, becomes=nothing)
        return replace(change, pool=pool, plan=swap)

    def _undoing(self, since: str, contents: Callable[[set[str]], Contents]) -> Undoing:
        """
        Args:
            since: id of the oldest entry that may be undone.
            contents: gives the contents in which the pools of some names, at least, are as new as they have to be.
        """
        trail = self._store.trail(since=since, limit=REACH)
        return Undoing(trail, contents({name for step in trail for name in (step.pool, *(step.diff.name or ()))}))

    # --- Afanasy's own pools --------------------------------------------------------------------------------------

    def _import_native(
        self, sender: Sender, params: protocol.PoolsImportNative, began: float
    ) -> protocol.PoolsImportNativeResult:
        moment = self._moment()
        snapshot, farm_age = moment.snapshot, moment.farm_age
        if moment.farm.by_hand or snapshot.farm is None or farm_age is None:
            raise RequestRefused(
                Code.FARM_UNAVAILABLE,
                "The broker has never seen the farm's list of renders, which says what is in Afanasy's pools. "
                "See that afserver runs and that [farm] server in broker.toml names it.",
            )
        there = native_pools(snapshot.farm)
        for path in params.paths or ():
            if path not in there:
                raise RequestRefused(
                    Code.BAD_REQUEST,
                    f"No render of the farm is in a pool {path!r} of Afanasy. There are: {', '.join(there) or 'none'}.",
                )
        wanted = [path for path in there if params.paths is None or path in params.paths]
        if params.dry_run:
            pools = [native_preview(snapshot, path, there[path]) for path in wanted]
        else:
            self._refuse_late(began)
            pools = []
            for path in wanted:
                try:
                    pools.append(self._import_one(sender, params, path, there[path]))
                except RequestRefused as refusal:
                    raise _after(pools, len(wanted), refusal) from None
        return protocol.PoolsImportNativeResult(pools=pools, farm_age=farm_age)

    def _import_one(
        self, sender: Sender, params: protocol.PoolsImportNative, path: str, hosts: tuple[str, ...]
    ) -> protocol.NativePool:
        first = Change(
            op="pools.import_native",
            who=sender.peer.name,
            request_id=f"{params.request_id} {fingerprint(path)}",
            pool=native_name(path),
        )

        def reload() -> Snapshot:
            return self._keeper.reload((first.pool,))

        snapshots = chain((lambda: self._keeper.current,), repeat(reload))

        def plan() -> Change:
            return replace(first, plan=native_swap(next(snapshots)(), path, hosts))

        entry = self._make(sender, plan, time.monotonic())
        return protocol.NativePool(
            path=path,
            pool=entry.pool,
            created=not entry.before,
            hosts=list(hosts),
            added=list(entry.diff.added),
            change=entry.id if entry.changed else "",
        )


def _after(pools: Sequence[protocol.NativePool], wanted: int, refusal: RequestRefused) -> RequestRefused:
    """A refusal in the middle of an import, with what had been done by then."""
    if not any(pool.change for pool in pools):
        return refusal
    return RequestRefused(
        refusal.code,
        f"{len(pools):,} of {wanted:,} pools of Afanasy are imported; then: {refusal.message} "
        "Sending it again with the same request_id imports the rest.",
    )


def _aged(result: Result, began: float) -> Result:
    """An answer that took its time: what it was made from is older by that. `began` is of `time.monotonic`."""
    passed = time.monotonic() - began
    if isinstance(result, protocol.MaskResult | protocol.PoolsListResult):
        result.age = round(result.age + passed, 1)
    if isinstance(result, protocol.MaskResult) and result.farm_age is not None:
        result.farm_age = round(result.farm_age + passed, 1)
    return result


def _untyped_as(moment: Moment, params: protocol.MaskParams) -> Reading:
    snapshot = moment.snapshot
    return untyped_as(None if moment.farm.by_hand else snapshot.farm, snapshot.fences.engines, params.user)


def _refuse_unknown_hosts(moment: Moment) -> None:
    """
    Raises:
        RequestRefused: `farm_unavailable`: there may be hosts that nobody here knows of.
    """
    if moment.farm_is_too_old and moment.farm_age is not None:
        raise RequestRefused(
            Code.FARM_UNAVAILABLE,
            f"The farm's list of renders is {moment.farm_age / 60:,.0f} minutes old, too old for a mask that names the "
            "hosts to keep out ([farm] refuse_after). Ask for style complement, which does not depend on it, "
            "or see why afserver does not answer.",
        )
    if moment.farm.by_hand and (problems := moment.snapshot.contents.problems):
        raise RequestRefused(
            Code.FARM_UNAVAILABLE,
            "Not all hosts that were entered can be read, so they cannot be kept out: "
            f"{problems[0]} Mend that, or ask for style complement.",
        )


def _public(entry: Entry, why_not: str) -> protocol.HistoryEntry:
    """A history entry as managers see it."""
    return protocol.HistoryEntry(
        id=entry.id,
        when=entry.when,
        who=entry.who,
        op=entry.op,
        pool=entry.pool,
        diff=msgspec.Raw(msgspec.json.encode(entry.diff)),
        before=entry.before,
        after=entry.after,
        hosts=entry.hosts,
        undoes=entry.undoes,
        undoable=not why_not,
        why_not=why_not,
    )


def _described(entry: Entry) -> str:
    counts = [f"+{len(entry.diff.added)}"] * bool(entry.diff.added) + [f"-{len(entry.diff.removed)}"] * bool(
        entry.diff.removed
    )
    hosts = f" ({', '.join(counts)} hosts)" if counts else ""
    if entry.op == "farm.set_system_pool":
        return entry.diff.description[1] if entry.diff.description else ""
    return f"pool {entry.pool!r}{hosts}" if entry.pool else f"registered hosts{hosts}"
