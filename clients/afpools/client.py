"""The calls, and which broker gets them.

Strategy: a call is one request and one answer, over a connection that stays open for the next call. Everything between
is decided here: how the time is divided over the endpoints, when to go to the next one, which error to raise when none
is left. How a connection is made is in transport.py, what an answer must look like in results.py.
"""

from __future__ import annotations

import json
import os
import time
from _thread import allocate_lock  # threading.Lock, without all that threading imports

from . import results
from .errors import AfpoolsError, BadRequest, BrokerRefused, BrokerUnreachable, OutcomeUnknown, ProfileError, refusal
from .process import PerProcess, importing
from .profile import Endpoint, Profile, find_profile
from .results import (
    BadAnswer,
    HistoryEntry,
    HostList,
    JobList,
    JobsResult,
    Mask,
    NativePool,
    Pool,
    PoolList,
    SystemPool,
    WriteResult,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Tuple, TypeVar

    from . import transport

    _T = TypeVar("_T")

PROTOCOL = 1

# Refusals that are about this one broker's state: the next may be better off (docs/wire.md).
_TRY_NEXT = frozenset({"store_unavailable", "farm_unavailable", "rate_limited", "internal"})

# Refusals of a change that may come after it was made: the database did not confirm it in time, or a defect struck.
# Unless the broker says that it changed nothing.
_LEAVE_OPEN = frozenset({"store_unavailable", "internal"})

# Between two rounds over the brokers for a change whose outcome is unknown, in seconds; doubled each time.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 0.8

# As many hosts are asked for at a time; a broker may give fewer. And so often they are asked for where pools change
# meanwhile.
_HOST_PAGE, _HOST_LIST_TURNS = 10_000, 3

# An order about jobs may take that long, in seconds, whatever the client's timeout is.
_ORDER_SECONDS = 15.0

# A connection unused for longer is replaced rather than trusted, in seconds. A new one costs a few milliseconds, one
# that a firewall has forgotten, or that did not survive the laptop's sleep, a whole timeout.
_TRUSTED_IDLE = 15.0


class _Own:
    """What one process has of a client: a connection, and the turn to use it."""

    def __init__(self) -> None:
        self.lock = allocate_lock()
        self.connection: Optional[transport.Connection] = None

    def drop(self) -> None:
        """Ends the connection."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.close()

    def abandon(self) -> None:
        """In a forked child, drops the connection of the parent."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.abandon()


class Client:
    """Asks the brokers of a profile. May be shared by threads; their calls wait for one another. May be used in a
    forked child too, which opens its own connection.

    The first call connects, and the connection stays open until `close`, after which the next call connects again. A
    call that one broker does not answer goes to the next one in the profile; the one that answered last is asked first
    next time.

    Args:
        profile: where the brokers are and our credentials; found with `find_profile` if omitted.
        timeout: seconds that a call may take in all: waiting for other threads, looking up names, connecting, every
            broker.

    Raises:
        ProfileError: there is no profile, or it cannot be used. Calls raise it too, when credentials that are read
            for a new connection cannot be used.

    Every call raises `BrokerUnreachable` when no broker answered in time, and a `BrokerRefused` (`UnknownPool`,
    `Forbidden` and so on) when one did and refused. A change that reached a broker and was not answered is sent again,
    under the same `request_id`, to all brokers in turn until one says that it was made; when the time runs out, the
    call raises `OutcomeUnknown`.
    """

    def __init__(self, profile: Optional[Profile] = None, timeout: float = 2.0) -> None:
        if timeout <= 0:
            raise ValueError(f"timeout must be more than 0 seconds, not {timeout!r}")
        self.profile = find_profile() if profile is None else profile
        self.timeout = timeout
        self._owned = PerProcess(_Own, _Own.abandon)
        self._preferred: Optional[Endpoint] = None
        self._usable: List[Endpoint] = []
        self._skipped: List[Tuple[Endpoint, str]] = []

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection, after the current call of another thread, if there is one."""
        own = self._own
        with own.lock:
            own.drop()

    # --- reading ---

    def hello(self) -> results.Hello:
        """Who we are to the broker, and what we may ask for."""
        return self._call("hello", {}, results.read_hello)

    def health(self) -> Dict[str, Any]:
        """How the broker and everything behind it is: `status` (`healthy` or `degraded`), `problems` in words, and
        the details that docs/wire.md has. A dictionary, because it grows with each version."""
        return self._call("health", {}, dict)

    def list_pools(self, if_revision: Optional[str] = None) -> PoolList:
        """Names and sizes of all pools.

        Args:
            if_revision: the revision of a list that you have; if it is still current, the answer is `unchanged` and has
                no pools.
        """
        return self._call("pools.list", _given(if_revision=if_revision), results.read_pools)

    def get_pool(self, name: str) -> Pool:
        """One pool with its hosts."""
        return self._call("pools.get", {"pool": name}, results.read_pool)

    def list_hosts(self) -> HostList:
        """Every host the broker knows: the farm's renders, hosts registered by hand, members of pools.

        A large farm's are read in pages, for each of which the timeout holds. Where a pool is changed meanwhile, they
        are read again, and after some such turns taken as they are: then the list has no `revision`, and each host in
        it is as it was when its page was read.
        """
        for _turn in range(_HOST_LIST_TURNS):
            pages = [self._host_page(None)]
            while pages[-1][1] is not None:
                pages.append(self._host_page(pages[-1][1]))
            if len({page.revision for page, _ in pages}) == 1:
                return results.joined([page for page, _ in pages])
        return results.joined([page for page, _ in pages])._replace(revision="")

    def _host_page(self, after: Optional[str]) -> Tuple[HostList, Optional[str]]:
        """The hosts that come behind a name, and the name that the next page comes behind."""

        def read(result: Any) -> Tuple[HostList, Optional[str]]:
            page, following = results.read_hosts(result)
            if following is not None and not (page.hosts and following > (after or "")):
                raise BadAnswer("it sent a list of hosts that does not come to an end")
            return page, following

        try:
            return self._call("hosts.list", _given(after=after, limit=_HOST_PAGE), read)
        except BadRequest:
            if after is not None:
                raise
            # A broker that is older than this library has no pages.
            return self._call("hosts.list", {}, read)

    def exclude_mask(
        self,
        pool: str,
        style: str = "complement",
        accept: Sequence[str] = ("regex", "find"),
        exclude: str = "",
        exclude_type: str = "either",
        user: str = "",
        future_hosts: str = "wanted",
        max_bytes: Optional[int] = None,
    ) -> Mask:
        """The exclude mask that keeps a job on a pool. When this raises, the job must not be sent.

        Args:
            pool: its name.
            style: `complement` (right for hosts that register later, too), `list` or `compact`; the broker takes
                another where this one would be wrong, and says so in the answer.
            accept: the mask types that the caller can set on a job.
            exclude: an exclude mask that the job has already, to be joined with the pool's.
            exclude_type: what the job's `hosts_mask_type` says, or `either` where it says nothing: then the mask is
                read as this farm reads it for this user, and unless that is known to be regex, a host that is
                excluded by one of the two readings is excluded.
            user: whose job it is; without, the broker cannot know how a mask without a type is read.
            future_hosts: `required`: raise `MaskNotExpressible` rather than accept a mask that does not exclude hosts
                that register later. `wanted`: take it, and see `covers_future_hosts`.
            max_bytes: how long the mask may be, in UTF-8. By default, 24 kB: what a command line can carry on Windows.
                `afpools.job.MAX_MASK_BYTES` for a job that is sent with `af.Job`.
        """

        def read(result: Any) -> Mask:
            mask = results.read_mask(result)
            if mask.pool != pool:
                raise BadAnswer(f"it sent the mask of {mask.pool!r} when asked for {pool!r}")
            if mask.mask_type != "any" and mask.mask_type not in accept:
                raise BadAnswer(f"it sent a mask of the type {mask.mask_type!r}, which was not requested")
            if future_hosts == "required" and not mask.covers_future_hosts:
                raise BadAnswer("it sent a mask that does not exclude hosts that register later, which was required")
            if max_bytes is not None and len(mask.mask.encode()) > max_bytes:
                raise BadAnswer(f"it sent a mask that is longer than the {max_bytes:,} bytes that were asked for")
            return mask

        params: Dict[str, Any] = {"pool": pool, "style": style, "accept": _names("accept", accept)}
        if exclude:
            params.update(exclude=exclude)
        if exclude or exclude_type != "either":
            params.update(exclude_type=exclude_type)
        if user:
            params.update(user=user)
        if future_hosts != "wanted":
            params.update(future_hosts=future_hosts)
        if max_bytes is not None:
            params.update(max_bytes=max_bytes)
        return self._call("mask", params, read)

    def jobs(
        self,
        pool: Optional[str] = None,
        user: Optional[str] = None,
        ids: Optional[Iterable[int]] = None,
        *,
        others: bool = True,
        done: bool = False,
        limit: int = 1000,
    ) -> JobList:
        """The jobs that are on the farm. `FarmUnavailable` where the broker does not look at them.

        Args:
            pool: only jobs of this one.
            user: only this user's.
            ids: only these.
            others: also jobs that name no pool; never where `pool` is given.
            done: also finished ones.
            limit: how many of each kind at most, up to 5,000.
        """
        params = _given(pool=pool, user=user, ids=None if ids is None else list(ids))
        params.update(others=others, done=done, limit=limit)
        return self._call("jobs.list", params, results.read_jobs)

    def preview(
        self,
        pool: Optional[str] = None,
        *,
        add_hosts: Iterable[str] = (),
        remove_hosts: Iterable[str] = (),
        delete: bool = False,
        new_name: Optional[str] = None,
        entry: Optional[str] = None,
        jobs: Optional[Iterable[Any]] = None,
        limit: int = 200,
    ) -> Dict[str, Any]:
        """What a change would do to the jobs on the farm; nothing is changed. For managers.

        Args:
            pool: the pool that changes; with `jobs`, the one that they would be moved to.
            add_hosts: names and ranges that would join.
            remove_hosts: names and ranges that would leave.
            delete: the pool would be deleted.
            new_name: it would be renamed.
            entry: instead of all this, what `undo` of that change would do.
            jobs: numbers, or pairs of number and serial.
            limit: how many jobs are named at most; the counts are of all.

        Returns:
            `sentences` for people, and the details that docs/wire.md has.
        """
        params = _given(pool=pool, new_name=new_name, entry=entry, limit=limit)
        if jobs is not None:
            params["jobs"] = _references(jobs)
        if delete:
            params["delete"] = True
        params["add_hosts"] = _names("add_hosts", add_hosts)
        params["remove_hosts"] = _names("remove_hosts", remove_hosts)
        return self._call("pools.preview", params, dict)

    def history(self, pool: Optional[str] = None, limit: int = 50, before: Optional[str] = None) -> List[HistoryEntry]:
        """Who changed what, the newest first. For managers.

        Args:
            pool: only changes of this one.
            limit: how many at most, up to 500.
            before: the id of the last entry of the page before.
        """
        return self._call("history.list", _given(pool=pool, limit=limit, before=before), results.read_history)

    # --- writing ---
    #
    # For managers. `if_revision`: fail with `Conflict` when the pool has changed since it had this revision.
    # `request_id`: names the change; the same one twice is applied once, by whichever broker. A new one is made for
    # each call, so give one only to repeat a call that raised `OutcomeUnknown`, with all else as it was.

    def create_pool(
        self,
        name: str,
        hosts: Iterable[str] = (),
        description: str = "",
        colour: str = "",
        *,
        new_hosts: bool = False,
        request_id: Optional[str] = None,
    ) -> WriteResult:
        """Makes a pool.

        Args:
            name: must be free and not look like another pool's, else `PoolExists`.
            hosts: names and ranges (`pc-[01-40]`).
            description: for people.
            colour: `#rrggbb`, or empty.
            new_hosts: as for `add_hosts`.
            request_id: see above.
        """
        params: Dict[str, Any] = {"pool": name, "hosts": _names("hosts", hosts)}
        params.update(description=description, colour=colour, **_new_hosts(new_hosts))
        return self._write("pools.create", params, None, request_id)

    def rename_pool(
        self, name: str, new_name: str, *, if_revision: Optional[str] = None, request_id: Optional[str] = None
    ) -> WriteResult:
        """Gives a pool another name. Jobs on the farm keep their masks."""
        return self._write("pools.rename", {"pool": name, "new_name": new_name}, if_revision, request_id)

    def delete_pool(
        self, name: str, *, if_revision: Optional[str] = None, request_id: Optional[str] = None
    ) -> WriteResult:
        """Removes a pool. Its hosts stay known, jobs on the farm keep their masks."""
        return self._write("pools.delete", {"pool": name}, if_revision, request_id)

    def add_hosts(
        self,
        name: str,
        hosts: Iterable[str],
        *,
        new_hosts: bool = False,
        if_revision: Optional[str] = None,
        request_id: Optional[str] = None,
    ) -> WriteResult:
        """Adds hosts to a pool; those that are in it stay. With one that must not be added, none is.

        Args:
            name: the pool's.
            hosts: names and ranges (`pc-[01-40]`). `BadRequest` for a machine that is in the pool under another name.
            new_hosts: accept names that no machine of the farm has: machines that are not set up yet. Otherwise
                `UnknownHost`, which says what may have been meant.
            if_revision: see above.
            request_id: see above.
        """
        params: Dict[str, Any] = {"pool": name, "hosts": _names("hosts", hosts), **_new_hosts(new_hosts)}
        return self._write("pools.add_hosts", params, if_revision, request_id)

    def check_hosts(
        self, name: str, hosts: Iterable[str], *, leaving: Iterable[str] = (), new_hosts: bool = False
    ) -> str:
        """Whether a pool would take hosts. Changes nothing. Raises what `add_hosts` would, or `create_pool` if there
        is no such pool.

        Args:
            name: the pool's.
            hosts: names and ranges (`pc-[01-40]`).
            leaving: hosts that are to be taken out of the pool before.
            new_hosts: as for `add_hosts`.

        Returns:
            Why nobody could tell whether the farm has these hosts; empty where the broker could.
        """
        params: Dict[str, Any] = {"pool": name, "hosts": _names("hosts", hosts), **_new_hosts(new_hosts)}
        params["leaving"] = _names("leaving", leaving)
        return self._call("pools.check", params, results.read_check)

    def remove_hosts(
        self, name: str, hosts: Iterable[str], *, if_revision: Optional[str] = None, request_id: Optional[str] = None
    ) -> WriteResult:
        """Takes hosts (names and ranges) out of a pool. `BadRequest` where one of them is not in it; none is then."""
        return self._write(
            "pools.remove_hosts", {"pool": name, "hosts": _names("hosts", hosts)}, if_revision, request_id
        )

    def update_pool(
        self,
        name: str,
        description: Optional[str] = None,
        colour: Optional[str] = None,
        *,
        if_revision: Optional[str] = None,
        request_id: Optional[str] = None,
    ) -> WriteResult:
        """Changes a pool's description or colour; None leaves it as it is."""
        params = _given(pool=name, description=description, colour=colour)
        return self._write("pools.update", params, if_revision, request_id)

    def register_hosts(
        self, hosts: Iterable[str], *, if_revision: Optional[str] = None, request_id: Optional[str] = None
    ) -> WriteResult:
        """Makes hosts (names and ranges) known before the farm has seen them; pools take them without `new_hosts`."""
        return self._write("hosts.register", {"hosts": _names("hosts", hosts)}, if_revision, request_id)

    def forget_hosts(
        self, hosts: Iterable[str], *, if_revision: Optional[str] = None, request_id: Optional[str] = None
    ) -> WriteResult:
        """Undoes `register_hosts`. Renders of the farm and members of pools stay known."""
        return self._write("hosts.forget", {"hosts": _names("hosts", hosts)}, if_revision, request_id)

    def system_pool(self) -> SystemPool:
        """The pool that the post commands of all jobs are kept on, and how that stands. `FarmUnavailable` without an
        afserver."""
        return self._call("farm.system_pool", {}, results.read_system_pool)

    def set_system_pool(self, pool: Optional[str], *, request_id: Optional[str] = None) -> WriteResult:
        """Keeps afserver's system job, which runs the post commands of all jobs, on a pool; None lets it run anywhere
        again. An exclude mask that a person has set on it is replaced by the pool's."""
        return self._write("farm.set_system_pool", {"pool": pool}, None, request_id)

    def move_jobs(self, jobs: Iterable[Any], pool: str, *, request_id: Optional[str] = None) -> JobsResult:
        """Moves jobs that are on the farm to another pool, or into one if they name none. `undo` takes it back.

        Args:
            jobs: numbers, or pairs of number and serial, up to 1,000.
            pool: its name.
            request_id: see above.
        """
        return self._order("jobs.move", {"jobs": _references(jobs), "pool": pool}, request_id)

    def adopt_jobs(self, jobs: Iterable[Any], *, request_id: Optional[str] = None) -> JobsResult:
        """Takes jobs up again whose mask a person has changed, or that an earlier plug-in sent: they get their pool's
        mask, and follow the pool from then on. `jobs` as for `move_jobs`."""
        return self._order("jobs.adopt", {"jobs": _references(jobs)}, request_id)

    def requeue_tasks(
        self,
        jobs: Optional[Iterable[Any]] = None,
        pool: Optional[str] = None,
        hosts: Optional[Iterable[str]] = None,
        *,
        request_id: Optional[str] = None,
    ) -> JobsResult:
        """Sends back the tasks that run outside of their job's fence, so that they start again within it. Waits until
        the fences are what the pools mean now.

        Args:
            jobs: as for `move_jobs`; None for all of the pool.
            pool: only jobs of this one; None if `jobs` says which.
            hosts: only tasks on these (names and ranges); None for all.
            request_id: see above.
        """
        params = _given(pool=pool, hosts=None if hosts is None else _names("hosts", hosts))
        if jobs is not None:
            params["jobs"] = _references(jobs)
        return self._order("jobs.requeue", params, request_id)

    def undo(self, entry: str, *, request_id: Optional[str] = None) -> WriteResult:
        """Undoes one change and nothing else, by the id that `history` gives. `Conflict` or `PoolExists` if a
        later change prevents it. An undo is a change, and can be undone itself."""
        return self._write("history.undo", {"entry": entry}, None, request_id)

    def import_native(
        self, paths: Optional[Iterable[str]] = None, *, dry_run: bool = False, request_id: Optional[str] = None
    ) -> List[NativePool]:
        """Makes pools from Afanasy's own pools, or adds the hosts that ours are missing. It never removes a host.

        Args:
            paths: Afanasy's names of them (`/local/farm`); without, all that have a render.
            dry_run: only say what would be done.
            request_id: see above.
        """
        params = _given(paths=None if paths is None else _names("paths", paths))
        if dry_run:
            return self._call("pools.import_native", {**params, "dry_run": True}, results.read_native)
        params["request_id"] = request_id or _random_id()
        return self._call("pools.import_native", params, results.read_native)

    # --- the low-level door ---

    def request(self, op: str, params: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        """Asks for any operation, one that this version has no method for among them.

        Args:
            op: its name on the wire (docs/wire.md).
            params: its parameters. A change must have a `request_id` among them, by which this call knows that it
                is one; `uuid.uuid4().hex` will do.

        Returns:
            The result as it came.
        """
        return self._call(op, params or {}, dict)

    # --- how a call is made ---

    @property
    def _own(self) -> _Own:
        own: _Own = self._owned.get()
        return own

    def _write(
        self, op: str, params: Dict[str, Any], if_revision: Optional[str], request_id: Optional[str]
    ) -> WriteResult:
        params["request_id"] = request_id or _random_id()
        params.update(_given(if_revision=if_revision))
        return self._call(op, params, results.read_write)

    def _order(self, op: str, params: Dict[str, Any], request_id: Optional[str]) -> JobsResult:
        # afserver carries out changes once a second, and a broker sends it no more at once than it can bear.
        params["request_id"] = request_id or _random_id()
        return self._call(op, params, results.read_ordered, at_least=_ORDER_SECONDS)

    def _call(self, op: str, params: Dict[str, Any], read: Callable[[Any], _T], at_least: float = 0.0) -> _T:
        until = time.monotonic() + max(self.timeout, at_least)
        # Here, not at the top: it imports socket and ssl, and `import afpools` must cost a host application nothing.
        try:
            with importing:
                from . import transport  # noqa: F401
        except ImportError as error:
            raise AfpoolsError(
                "The Python of this program cannot make encrypted connections: {}. Often another Python's modules "
                "come first (PYTHONPATH, PYTHONHOME, a Blender started with --python-use-system-env): start the "
                "program without them, or ask for its ssl module to be fixed.".format(error)
            ) from None
        own = self._own
        if not own.lock.acquire(timeout=self.timeout):
            raise BrokerUnreachable([("this client", f"other threads kept it busy for {self.timeout:g} seconds")])
        try:
            return self._ask_all(op, params, read, until)
        finally:
            own.lock.release()

    def _ask_all(self, op: str, params: Dict[str, Any], read: Callable[[Any], _T], until: float) -> _T:
        asking = _Asking(op, params, until)
        pause = _FIRST_PAUSE
        while True:
            result = self._ask_each(asking, read)
            if result is not None:
                return result
            if not asking.unknown or time.monotonic() + pause >= until:
                break
            # The broker may be back by then, or the one that refused may have learned of the change.
            time.sleep(pause)
            asking.rounds += 1
            pause = min(2 * pause, _LONGEST_PAUSE)
        if asking.unknown:
            raise OutcomeUnknown(asking.attempts, params["request_id"])
        raise asking.refused or BrokerUnreachable(asking.attempts)

    def _ask_each(self, asking: _Asking, read: Callable[[Any], _T]) -> Optional[_T]:
        """One round over the brokers.

        Returns:
            The result of the one that answered; None, which no result is, where none did.

        Raises:
            BrokerRefused: one did, and asking the others is of no use.
        """
        from .transport import TransportError

        endpoints = self._endpoints()
        # Each broker gets its share of what is left, so that one that swallows everything leaves time for the others.
        # A broker, not an endpoint: one that is slow at its TLS port is not quicker at its CURVE port.
        untried = set(map(_broker, endpoints))
        shares: Dict[str, float] = {}
        # Their other endpoints would say the same, and take as long to say it.
        refused = set()
        for endpoint in endpoints:
            now = time.monotonic()
            broker = _broker(endpoint)
            if broker in refused:
                continue
            if broker in untried:
                shares[broker] = now + (asking.until - now) / len(untried)
                untried.remove(broker)
            if now >= shares[broker]:
                if not asking.rounds:
                    asking.failed(endpoint, "no time was left to try it")
                continue
            try:
                result = read(self._ask(endpoint, asking, shares[broker]))
            except (TransportError, BadAnswer) as error:
                self._own.drop()
                asking.failed(endpoint, str(error), sent=isinstance(error, BadAnswer))
            except ProfileError as error:
                if not asking.unknown:
                    raise
                asking.failed(endpoint, str(error))
            except BrokerRefused as error:
                if not asking.goes_on_after(endpoint, error):
                    self._preferred = endpoint
                    raise
                refused.add(broker)
            except BaseException:
                # Interrupted somewhere between request and answer: the connection is in no known state.
                self._own.drop()
                raise
            else:
                self._preferred = endpoint
                return result
        # An artist need not read that CURVE takes pyzmq where the same broker could be tried over TLS.
        for endpoint, why in self._skipped:
            if _broker(endpoint) not in shares:
                asking.failed(endpoint, why)
        return None

    def _endpoints(self) -> List[Endpoint]:
        """The endpoints that this program can use, in the order to try them."""
        if not self._usable:
            from .transport import unusable

            whys = [(endpoint, unusable(self.profile, endpoint)) for endpoint in self.profile.endpoints]
            self._usable = [endpoint for endpoint, why in whys if why is None]
            self._skipped = [(endpoint, why) for endpoint, why in whys if why is not None]
        if not self._usable:
            raise ProfileError(
                f"The profile {self.profile.folder} has no endpoint that this program can use."
                + "".join(f"\n  {endpoint.url}: {why}." for endpoint, why in self._skipped)
            )
        if self._preferred is None:
            return self._usable
        first = self._usable.index(self._preferred)
        return self._usable[first:] + self._usable[:first]

    def _ask(self, endpoint: Endpoint, asking: _Asking, until: float) -> Dict[str, Any]:
        """One request to one broker, over the open connection if it leads there and still works."""
        from .transport import ConnectionLost, connect

        own = self._own
        connection = own.connection
        if connection is not None:
            if connection.endpoint == endpoint and time.monotonic() < connection.used_at + _TRUSTED_IDLE:
                try:
                    return asking.exchange(connection, until)
                except ConnectionLost:
                    pass  # closed for being idle, or the broker was restarted: a new connection will tell
            own.drop()
        own.connection = connect(self.profile, endpoint, until)
        return asking.exchange(own.connection, until)


class _Asking:
    """One call on its way: what is asked, and what is known of it so far.

    Args:
        op: the operation.
        params: its parameters; a change has a `request_id`.
        until: when the call ends, on `time.monotonic`.

    Attributes:
        until: the same.
        rounds: how often all brokers were asked.
        refused: the first refusal.
        unknown: whether the change may have been made, or may yet be, by a broker that did not say so.
    """

    def __init__(self, op: str, params: Dict[str, Any], until: float) -> None:
        self._body = {"v": PROTOCOL, "op": op, "params": params}
        self._is_change = "request_id" in params
        self.until = until
        self.rounds = 0
        self._first: List[Tuple[str, str]] = []
        self._latest: Dict[str, str] = {}
        self.refused: Optional[BrokerRefused] = None
        self.unknown = False

    def exchange(self, connection: transport.Connection, until: float) -> Dict[str, Any]:
        """Asks over a connection; returns the result.

        Raises:
            TransportError: there was no answer in time.
            BadAnswer: there was one that is not what the protocol says.
            BrokerRefused: the broker will not.
        """
        from .transport import TransportError

        request_id = _random_id()
        request = json.dumps({**self._body, "id": request_id}).encode("ascii")
        try:
            answer = connection.exchange(request, until)
        except TransportError as error:
            self.unknown = self.unknown or (error.sent and self._is_change)
            raise
        return _read_answer(answer, request_id)

    def failed(self, endpoint: Endpoint, why: str, sent: bool = False) -> None:
        """Notes an attempt without an answer; `sent`: the broker got the request anyway."""
        self.unknown = self.unknown or (sent and self._is_change)
        if self.rounds:
            self._latest[endpoint.url] = why
        else:
            self._first.append((endpoint.url, why))

    @property
    def attempts(self) -> List[Tuple[str, str]]:
        """What became of each attempt in the first round and in the last, a URL and a clause."""
        return self._first + [attempt for attempt in self._latest.items() if attempt not in self._first]

    def goes_on_after(self, endpoint: Endpoint, error: BrokerRefused) -> bool:
        """Notes a refusal, and decides whether other brokers are asked.

        A refusal says what one broker made of one attempt. While an earlier attempt may still be in progress, it proves
        nothing about that: brokers look for the `request_id` first, so the change had not been made when this one
        looked, but a broker that hangs may make it an hour later.
        """
        self.refused = self.refused or error
        leaves_open = error.code in _LEAVE_OPEN and error.made is not False
        self.failed(endpoint, f"it refused: {error}", sent=leaves_open)
        return self.unknown or error.code in _TRY_NEXT


def _read_answer(data: bytes, request_id: str) -> Dict[str, Any]:
    """The result in an answer.

    Raises:
        BrokerRefused: it is a refusal.
        BadAnswer: it is not an answer to our request.
    """
    try:
        answer = json.loads(data.decode("utf-8"))
        if b"\\u" in data:
            # JSON can spell half a character, which no interface can show. Our brokers spell none at all.
            json.dumps(answer, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        raise BadAnswer(f"it sent what is not JSON: {data[:40]!r}") from None
    if not isinstance(answer, dict):
        raise BadAnswer(f"it sent what is not a JSON object: {data[:40]!r}")
    if answer.get("v") != PROTOCOL:
        raise BadAnswer(
            f"it answers in version {answer.get('v')!r} of the protocol, we use {PROTOCOL}; update the older program"
        )
    ok, answer_id = answer.get("ok"), answer.get("id")
    # A broker that could not read a request (too large, for one) does not know its id. Nothing else is in progress on
    # this connection, so the refusal is ours.
    if answer_id != request_id and not (ok is False and answer_id == ""):
        raise BadAnswer(f"it answered another request ({answer_id!r}, not {request_id!r})")
    if ok is True and isinstance(answer.get("result"), dict):
        result: Dict[str, Any] = answer["result"]
        return result
    error = answer.get("error")
    if ok is not False or not isinstance(error, dict):
        raise BadAnswer("it sent an answer that has neither a result nor an error")
    code, message, made = error.get("code"), error.get("message"), error.get("made")
    if not isinstance(code, str) or not isinstance(message, str):
        raise BadAnswer("it sent an error without code and message")
    raise refusal(code, message, False if made is False else None)


def _broker(endpoint: Endpoint) -> str:
    return endpoint.broker or endpoint.url


def _given(**params: Any) -> Dict[str, Any]:
    """Only the parameters that are not None: the broker fills in its own defaults."""
    return {key: value for key, value in params.items() if value is not None}


def _new_hosts(wanted: bool) -> Dict[str, Any]:
    """Only where it is wanted: a broker of an older version does not know the parameter, and checks nothing."""
    return {"new_hosts": True} if wanted else {}


def _names(parameter: str, values: Iterable[str]) -> List[str]:
    if isinstance(values, str):
        # It would be taken apart into its letters, and each of them is a valid host name.
        raise TypeError(f"{parameter} must be several names, not the one text {values!r}; write [{values!r}]")
    return list(values)


def _references(jobs: Iterable[Any]) -> List[Dict[str, int]]:
    """Jobs, each a number or a pair of number and serial, as the wire has them."""
    pairs = [(job, None) if isinstance(job, int) else tuple(job) for job in jobs]
    return [_given(id=number, serial=serial) for number, serial in pairs]


def _random_id() -> str:
    """32 hexadecimal digits, as `uuid4().hex` without importing uuid."""
    return os.urandom(16).hex()
