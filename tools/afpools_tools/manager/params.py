"""The parameters that pages send: one struct for each question or change."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from afpools.fence_note import SPILL_SECONDS

from ..errors import ToolError
from ..hosts import split_hosts


class BadParameter(ToolError):
    """A page sent something that cannot be used. The message says what, and what to do."""


class Params(Struct, forbid_unknown_fields=True):
    """Base of all parameters. The broker checks their values."""


class Change(Params):
    """Base of the parameters of a change. `request_id` names it: if the outcome is not known, repeating the change with
    the same id makes it only once."""

    request_id: str | None = None

    def part(self, number: int | str) -> str | None:
        """The request id of one of the changes that this change consists of."""
        return self.request_id and f"{self.request_id}-{number}"


class Nothing(Params):
    """No parameters."""


class OnePool(Params):
    pool: str


class MaybePool(Params):
    """One pool, or all of them."""

    pool: str | None = None


class CreatePool(Change, kw_only=True):
    """`hosts` is text as typed: names and ranges, separated by spaces or commas. With `new_hosts`, machines that the
    farm has not seen are also accepted."""

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
    spill_to: str | None = None
    spill_after: int = SPILL_SECONDS
    if_revision: str | None = None


class DeletePool(Change, kw_only=True):
    pool: str
    if_revision: str | None = None


class Assign(Change, kw_only=True):
    """Puts `hosts`, in the farm's spelling, into all pools in `add`, and takes them out of all pools in `remove`;
    `typed` has more hosts as typed; `new_hosts` as for `CreatePool`."""

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
    """`host`, in the farm's spelling, leaves all its pools, and is no longer registered."""

    host: str


class Replace(Leave, kw_only=True):
    """`by` takes its place; with `new_hosts`, `by` may be a machine that the farm has not seen."""

    by: str
    new_hosts: bool = False


class CheckPattern(Params):
    pattern: str
    dialect: Literal["regex", "find"]
    pool: str | None = None


class Undo(Change, kw_only=True):
    """`entries` are ids of history entries, to be undone one after another."""

    entries: list[str]


class Export(Params):
    format: Literal["json", "csv", "jsonl"]


class ImportFile(Params):
    """`name` and `text` of a file in any format; `replace`: remove hosts that it does not list; `new_hosts` as for
    `CreatePool`."""

    name: str
    text: str
    replace: bool = False
    new_hosts: bool = False


class ApplyFile(ImportFile):
    """`shown`: the fingerprint of the steps, from `plan_import`; `job`: a new name for this import, for
    `cancel_import`."""

    shown: str = ""
    job: str = ""


class Job(Params):
    job: str


class ImportNative(Change, kw_only=True):
    """`paths` are Afanasy's names of its pools."""

    paths: list[str]


class FollowPool(Change, kw_only=True):
    """`path` is Afanasy's name of its pool, `pool` what it is called here."""

    path: str
    pool: str


class UnfollowPool(Change, kw_only=True):
    pool: str
    if_revision: str | None = None


class JobReference(Params):
    """A job on the farm. Ids are reused, serials never."""

    id: int
    serial: int | None = None


class PoolHosts(Params, kw_only=True):
    """Hosts that a pool would get and lose."""

    pool: str
    add: list[str] = []
    remove: list[str] = []


class PreviewChange(Params, kw_only=True):
    """One change of those that can be previewed: `pools` with `add`, `typed` and `remove` as for `Assign`; one of
    `pools` with `delete` or `new_name`, or with `jobs` that are to be moved there; `hosts` of several pools; `entries`
    of the history, to be undone."""

    hosts: list[PoolHosts] = []

    pools: list[str] = []
    add: list[str] = []
    typed: str = ""
    remove: list[str] = []
    delete: bool = False
    new_name: str | None = None
    entries: list[str] = []
    jobs: list[JobReference] = []


class Jobs(Change, kw_only=True):
    jobs: list[JobReference]

    @property
    def references(self) -> list[tuple[int, int | None]]:
        """The jobs in the form that the client takes."""
        return [(job.id, job.serial) for job in self.jobs]


class MoveJobs(Jobs, kw_only=True):
    pool: str


class RequeueTasks(Jobs, kw_only=True):
    """`hosts`: only tasks on these; none for all."""

    hosts: list[str] = []


class StartScan(Params):
    network: str


class HistoryPage(Params):
    pool: str | None = None
    before: str | None = None
    limit: int = 100


def typed_hosts(text: str) -> list[str]:
    """The names and ranges in a text as typed; none if the text is blank.

    Raises:
        BadParameter: it contains only commas.
    """
    hosts = split_hosts([text])
    if text.strip() and not hosts:
        raise BadParameter("No host is named. Write them like pc-01 'pc-[01-40]'.")
    return hosts
