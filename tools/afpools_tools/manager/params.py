"""What the pages send: one struct for each question or change."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from ..errors import ToolError
from ..hosts import split_hosts


class BadParameter(ToolError):
    """What a page sent cannot be used. The message says what, and what to do."""


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


class FollowPool(Change, kw_only=True):
    """`path` is Afanasy's name of its pool, `pool` what it is called here."""

    path: str
    pool: str


class UnfollowPool(Change, kw_only=True):
    pool: str
    if_revision: str | None = None


class JobReference(Params):
    """A job on the farm; an id is used again, a serial never."""

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
        """As the client takes them."""
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
    """Names and ranges as people type them; none where the text is blank.

    Raises:
        BadParameter: it holds commas only.
    """
    hosts = split_hosts([text])
    if text.strip() and not hosts:
        raise BadParameter("No host is named. Write them like pc-01 'pc-[01-40]'.")
    return hosts
