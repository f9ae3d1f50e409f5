"""The calls: a method for each operation, what it takes and what it returns. Which broker gets them: calls.py."""

from __future__ import annotations

from . import results
from .calls import Caller, random_id
from .errors import BadRequest
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

# As many hosts are asked for at a time; a broker may give fewer. And so often they are asked for where pools change
# meanwhile.
_HOST_PAGE, _HOST_LIST_TURNS = 10_000, 3

# An order about jobs may take that long, in seconds, whatever the client's timeout is.
_ORDER_SECONDS = 15.0


class Client(Caller):
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

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

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
        params["request_id"] = request_id or random_id()
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

    # --- changes and orders ---

    def _write(
        self, op: str, params: Dict[str, Any], if_revision: Optional[str], request_id: Optional[str]
    ) -> WriteResult:
        params["request_id"] = request_id or random_id()
        params.update(_given(if_revision=if_revision))
        return self._call(op, params, results.read_write)

    def _order(self, op: str, params: Dict[str, Any], request_id: Optional[str]) -> JobsResult:
        from .job_results import read_ordered

        # afserver carries out changes once a second, and a broker sends it no more at once than it can bear.
        params["request_id"] = request_id or random_id()
        return self._call(op, params, read_ordered, at_least=_ORDER_SECONDS)


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
