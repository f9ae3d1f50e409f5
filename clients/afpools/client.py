"""The calls: one method for each operation. calls.py decides which broker gets them."""

from __future__ import annotations

from . import results
from .calls import Caller, random_id
from .errors import BadRequest
from .fence_note import SPILL_SECONDS
from .results import (
    BadAnswer,
    HistoryEntry,
    HostList,
    Mask,
    NativePool,
    Pool,
    PoolList,
    SystemPool,
    WriteResult,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple

    from .job_results import JobList, JobsResult

# How many hosts to ask for at a time (a broker may give fewer), and how often to start again if pools change meanwhile.
_HOST_PAGE, _HOST_LIST_TURNS = 10_000, 3

# How long an order about jobs may take, in seconds, whatever the client's timeout is, and how much longer for each job.
_ORDER_SECONDS, _ORDER_SECONDS_PER_JOB = 15.0, 0.005


class Client(Caller):
    """Asks the brokers of a profile. Threads may share a client; their calls wait for one another. A forked child may
    use it too, and opens its own connection.

    The first call connects, and the connection stays open until `close`, after which the next call connects again. A
    call that one broker does not answer goes to the next one in the profile; the one that answered last is asked first
    next time.

    Args:
        profile: where the brokers are and our credentials; found with `find_profile` if omitted.
        timeout: seconds that a call may take in total: waiting for other threads, looking up names, connecting, trying
            every broker.

    Raises:
        ProfileError: there is no profile, or it cannot be used. Calls raise it too, when credentials that are read
            for a new connection cannot be used.

    Every call raises `BrokerUnreachable` when no broker answered in time, and a `BrokerRefused` (`UnknownPool`,
    `Forbidden` and so on) when one did and refused. A change that reached a broker and was not answered is sent again,
    under the same `request_id`, to all brokers in turn until one says that it was made; when the time runs out, the
    call raises `OutcomeUnknown`.
    """

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    # --- reading ---

    def hello(self) -> results.Hello:
        """Who we are to the broker, and what we may ask for."""
        return self._call("hello", {}, results.read_hello)

    def health(self) -> Dict[str, Any]:
        """The state of the broker and everything behind it: `status` (`healthy` or `degraded`), `problems` in words,
        and the details that docs/wire.md lists. A dictionary, because it grows with each version."""
        return self._call("health", {}, dict)

    def list_pools(self, if_revision: Optional[str] = None) -> PoolList:
        """Names and sizes of all pools.

        Args:
            if_revision: the revision of a list that you already have; if it is still current, the answer is `unchanged`
                and has no pools.
        """
        return self._call("pools.list", _given(if_revision=if_revision), results.read_pools)

    def get_pool(self, name: str) -> Pool:
        """One pool with its hosts."""
        return self._call("pools.get", {"pool": name}, results.read_pool)

    def list_hosts(self) -> HostList:
        """Every host the broker knows: the farm's renders, hosts registered by hand, members of pools.

        The list is read in pages, and the timeout applies to each page. If a pool changes meanwhile, the list is read
        again. After several such attempts it is taken as it is: then it has no `revision`, and each host is as it was
        when its page was read.
        """
        for _turn in range(_HOST_LIST_TURNS):
            pages = [self._host_page(None)]
            while pages[-1][1] is not None:
                pages.append(self._host_page(pages[-1][1]))
            if len({page.revision for page, _ in pages}) == 1:
                return results.joined([page for page, _ in pages])
        return results.joined([page for page, _ in pages])._replace(revision="")

    def _host_page(self, after: Optional[str]) -> Tuple[HostList, Optional[str]]:
        """The hosts that follow a name, and the name that the next page follows."""

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
            # A broker older than this library does not know pages.
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
            style: `complement` (which also excludes hosts that register later), `list` or `compact`; the broker chooses
                another if this one would be wrong, and says so in the answer.
            accept: the mask types that the caller can set on a job.
            exclude: an exclude mask that the job already has, to be joined with the pool's.
            exclude_type: what the job's `hosts_mask_type` says, or `either` if it says nothing. Then the mask is read
                as this farm reads it for this user; unless that is known to be regex, a host that either of the two
                readings excludes is excluded.
            user: whose job it is; without it, the broker cannot know how a mask without a type is read.
            future_hosts: `required`: raise `MaskNotExpressible` rather than accept a mask that does not exclude hosts
                that register later. `wanted`: take it, and see `covers_future_hosts`.
            max_bytes: how long the mask may be, in bytes of UTF-8. The default is 24 kB, which fits a command line on
                Windows. Use `afpools.job.MAX_MASK_BYTES` for a job that is sent with `af.Job`.
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
        """The jobs that are on the farm. Raises `FarmUnavailable` if the broker does not follow them.

        Args:
            pool: only jobs of this one.
            user: only this user's.
            ids: only jobs with these numbers.
            others: also jobs that name no pool; ignored if `pool` is given.
            done: also finished ones.
            limit: at most this many of each kind, up to 5,000.
        """
        params = _given(pool=pool, user=user, ids=None if ids is None else list(ids))
        params.update(others=others, done=done, limit=limit)
        from .job_results import read_jobs

        return self._call("jobs.list", params, read_jobs)

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
        """What a change would do to the jobs on the farm. Changes nothing. For managers.

        Args:
            pool: the pool that changes; with `jobs`, the one that they would be moved to.
            add_hosts: names and ranges that would join.
            remove_hosts: names and ranges that would leave.
            delete: the pool would be deleted.
            new_name: it would be renamed.
            entry: instead of all the above: the id of a change, to see what `undo` of it would do.
            jobs: numbers, or pairs of number and serial.
            limit: how many jobs are named at most; the counts include all.

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
            pool: only changes of this pool.
            limit: at most this many, up to 500.
            before: the id of the last entry on the previous page.
        """
        return self._call("history.list", _given(pool=pool, limit=limit, before=before), results.read_history)

    # --- writing ---
    #
    # For managers. `if_revision`: fail with `Conflict` if the pool has changed since it had this revision.
    # `request_id`: names the change; if it is sent twice, even to different brokers, it is applied once. Each call
    # makes a new one, so give one only to repeat a call that raised `OutcomeUnknown`, with all other arguments
    # unchanged.

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
            name: must not be taken or look like another pool's, else `PoolExists`.
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
        """Adds hosts to a pool; those that are already in it stay. If one of them must not be added, none is.

        Args:
            name: the pool's.
            hosts: names and ranges (`pc-[01-40]`). `BadRequest` if a machine is already in the pool under another name.
            new_hosts: accept names that no machine on the farm has, for machines that are not set up yet. Otherwise
                such a name raises `UnknownHost`, which suggests what may have been meant.
            if_revision: see above.
            request_id: see above.
        """
        params: Dict[str, Any] = {"pool": name, "hosts": _names("hosts", hosts), **_new_hosts(new_hosts)}
        return self._write("pools.add_hosts", params, if_revision, request_id)

    def check_hosts(
        self, name: str, hosts: Iterable[str], *, leaving: Iterable[str] = (), new_hosts: bool = False
    ) -> str:
        """Checks whether a pool would accept hosts. Changes nothing. Raises what `add_hosts` would, or `create_pool` if
        there is no such pool.

        Args:
            name: the pool's.
            hosts: names and ranges (`pc-[01-40]`).
            leaving: hosts that will be taken out of the pool first.
            new_hosts: as for `add_hosts`.

        Returns:
            Why the broker could not tell whether the farm has these hosts; empty if it could.
        """
        params: Dict[str, Any] = {"pool": name, "hosts": _names("hosts", hosts), **_new_hosts(new_hosts)}
        params["leaving"] = _names("leaving", leaving)
        return self._call("pools.check", params, results.read_check)

    def remove_hosts(
        self, name: str, hosts: Iterable[str], *, if_revision: Optional[str] = None, request_id: Optional[str] = None
    ) -> WriteResult:
        """Takes hosts (names and ranges) out of a pool. If one of them is not in it, raises `BadRequest` and takes none
        out."""
        return self._write(
            "pools.remove_hosts", {"pool": name, "hosts": _names("hosts", hosts)}, if_revision, request_id
        )

    def update_pool(
        self,
        name: str,
        description: Optional[str] = None,
        colour: Optional[str] = None,
        *,
        spill_to: Optional[str] = None,
        spill_after: int = SPILL_SECONDS,
        if_revision: Optional[str] = None,
        request_id: Optional[str] = None,
    ) -> WriteResult:
        """Changes a pool's description, colour or second pool; None leaves it as it is.

        Args:
            name: the pool's.
            description: for people.
            colour: `#rrggbb`, or empty.
            spill_to: a pool that its jobs may use too if they wait too long; empty for none.
            spill_after: after how many seconds in a row without a running task; 60 at least.
            if_revision: see above.
            request_id: see above.
        """
        params = _given(pool=name, description=description, colour=colour)
        if spill_to is not None:
            params.update(spill_to=spill_to, **({"spill_after": spill_after} if spill_to else {}))
        return self._write("pools.update", params, if_revision, request_id)

    def follow_pool(
        self, path: str, name: str, description: str = "", colour: str = "", *, request_id: Optional[str] = None
    ) -> WriteResult:
        """Makes a pool that has the renders of one of Afanasy's own, and of those below it, from now on: whoever joins
        or leaves there joins or leaves here. Nobody else changes its hosts until `unfollow_pool`.

        Args:
            path: Afanasy's name of its pool (`/local/farm`).
            name: ours; as for `create_pool`.
            description: for people.
            colour: `#rrggbb`, or empty.
            request_id: see above.
        """
        params = {"pool": name, "path": path, "description": description, "colour": colour}
        return self._write("pools.follow", params, None, request_id)

    def unfollow_pool(
        self, name: str, *, if_revision: Optional[str] = None, request_id: Optional[str] = None
    ) -> WriteResult:
        """Lets people change a pool again that follows one of Afanasy's own. It keeps the hosts that it has."""
        return self._write("pools.unfollow", {"pool": name}, if_revision, request_id)

    def register_hosts(
        self, hosts: Iterable[str], *, if_revision: Optional[str] = None, request_id: Optional[str] = None
    ) -> WriteResult:
        """Makes hosts (names and ranges) known before the farm has seen them; pools accept them without `new_hosts`."""
        return self._write("hosts.register", {"hosts": _names("hosts", hosts)}, if_revision, request_id)

    def forget_hosts(
        self, hosts: Iterable[str], *, if_revision: Optional[str] = None, request_id: Optional[str] = None
    ) -> WriteResult:
        """Undoes `register_hosts`. Renders on the farm and members of pools stay known."""
        return self._write("hosts.forget", {"hosts": _names("hosts", hosts)}, if_revision, request_id)

    def system_pool(self) -> SystemPool:
        """The pool that the post commands of all jobs are kept on, and whether that works. `FarmUnavailable` without an
        afserver."""
        return self._call("farm.system_pool", {}, results.read_system_pool)

    def set_system_pool(self, pool: Optional[str], *, request_id: Optional[str] = None) -> WriteResult:
        """Keeps afserver's system job, which runs the post commands of all jobs, on a pool; None lets it run anywhere
        again. An exclude mask that a person has set on it is replaced by the pool's."""
        return self._write("farm.set_system_pool", {"pool": pool}, None, request_id)

    def move_jobs(self, jobs: Iterable[Any], pool: str, *, request_id: Optional[str] = None) -> JobsResult:
        """Moves jobs that are on the farm to another pool, or into one if they name none. `undo` takes it back.

        Args:
            jobs: numbers, or pairs of number and serial, up to 5,000.
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
            jobs: as for `move_jobs`; None for all jobs of the pool.
            pool: only jobs of this pool; None if `jobs` says which.
            hosts: only tasks on these (names and ranges); None for all.
            request_id: see above.
        """
        params = _given(pool=pool, hosts=None if hosts is None else _names("hosts", hosts))
        if jobs is not None:
            params["jobs"] = _references(jobs)
        return self._order("jobs.requeue", params, request_id)

    def undo(self, entry: str, *, request_id: Optional[str] = None) -> WriteResult:
        """Undoes one change and nothing else, by the id that `history` gives. Raises `Conflict` or `PoolExists` if a
        later change prevents it. An undo is itself a change, and can be undone."""
        # The change may be a move of jobs.
        return self._write("history.undo", {"entry": entry}, None, request_id, at_least=_ORDER_SECONDS)

    def import_native(
        self, paths: Optional[Iterable[str]] = None, *, dry_run: bool = False, request_id: Optional[str] = None
    ) -> List[NativePool]:
        """Makes pools from Afanasy's own pools, or adds the hosts that our pools lack. It never removes a host.

        Args:
            paths: Afanasy's names of its pools (`/local/farm`); None for all that have a render.
            dry_run: only say what would be done.
            request_id: see above.
        """
        params = _given(paths=None if paths is None else _names("paths", paths))
        if dry_run:
            return self._call("pools.import_native", {**params, "dry_run": True}, results.read_native)
        params["request_id"] = request_id or random_id()
        return self._call("pools.import_native", params, results.read_native)

    # --- any operation ---

    def request(self, op: str, params: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        """Asks for any operation, including one that this version has no method for.

        Args:
            op: its name on the wire (docs/wire.md).
            params: its parameters. A change must include a `request_id`, which is how this call knows that it is a
                change; `uuid.uuid4().hex` will do.

        Returns:
            The result, unchecked.
        """
        return self._call(op, params or {}, dict)

    # --- changes and orders ---

    def _write(
        self,
        op: str,
        params: Dict[str, Any],
        if_revision: Optional[str],
        request_id: Optional[str],
        at_least: float = 0.0,
    ) -> WriteResult:
        params["request_id"] = request_id or random_id()
        params.update(_given(if_revision=if_revision))
        return self._call(op, params, results.read_write, at_least=at_least)

    def _order(self, op: str, params: Dict[str, Any], request_id: Optional[str]) -> JobsResult:
        from .job_results import read_ordered

        # afserver carries out changes once a second, and a broker sends it only as many at once as it can handle.
        params["request_id"] = request_id or random_id()
        at_least = _ORDER_SECONDS + _ORDER_SECONDS_PER_JOB * len(params.get("jobs", ()))
        return self._call(op, params, read_ordered, at_least=at_least)


def _given(**params: Any) -> Dict[str, Any]:
    """Only the parameters that are not None: the broker fills in its own defaults."""
    return {key: value for key, value in params.items() if value is not None}


def _new_hosts(wanted: bool) -> Dict[str, Any]:
    """Only if it is wanted: an older broker does not know the parameter, and checks nothing."""
    return {"new_hosts": True} if wanted else {}


def _names(parameter: str, values: Iterable[str]) -> List[str]:
    if isinstance(values, str):
        # It would be split into its letters, each of which is a valid host name.
        raise TypeError(f"{parameter} must be several names, not the one text {values!r}; write [{values!r}]")
    return list(values)


def _references(jobs: Iterable[Any]) -> List[Dict[str, int]]:
    """Jobs, each a number or a pair of number and serial, as the wire writes them."""
    pairs = [(job, None) if isinstance(job, int) else tuple(job) for job in jobs]
    return [_given(id=number, serial=serial) for number, serial in pairs]
