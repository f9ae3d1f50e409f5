"""Puts a pool on an `af.Job` at the moment it is sent.

Every stock submitter of CGRU ends in `af.Job.send()`, so the pool is applied there: call `apply_on_send` once, and
every job that this Python sends afterwards gets the pool that is chosen then. If the mask is not available, the job is
not sent.

Strategy: read the job, work out everything that will be written, and only then change the job; so a job that is not
sent is unchanged. choice.py says which pool a job gets; this module asks it for every job.
"""

from __future__ import annotations

import functools
import re
import sys

from .choice import WITHOUT, decide, from_environment, standing
from .client import Client
from .errors import AfpoolsError, PoolNotApplied
from .fence_note import (
    MAX_SPILL_SECONDS,
    MIN_SPILL_SECONDS,
    NO_SPILL,
    SPILL_SECONDS,
    Note,
    SpillNote,
    fingerprint,
    is_of,
    parse_note,
    with_note,
    without_note,
)
from .results import Mask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

    from .choice import Standing

    _Data = Dict[str, Any]

    # The `data` of a job or a block; what it had under the keys that were written (None: nothing); what was written.
    _Applied = Tuple[_Data, _Data, _Data]

# Where afserver splits a mask of the type `find` into beginnings of names. Compiled when a job is sent, not while the
# host application starts.
_SEPARATORS = r"[|;,: ]"
# A single dot is common in names; no name has two in a row, and none ends with one.
_SPECIAL_IN_REGEX = r"[\\^$*+?()\[\]{}]|\.\.|\.(?=[|;,: ]|$)"

MAX_MASK_BYTES = 64 * 1024
"""How long a mask may be that is sent with an `af.Job`, in bytes: afserver accepts it, and still reads it quickly."""

_UNFOLLOWED = (
    "The job's custom_data is not a JSON object, so the pool could not be noted in it: when the pool changes, this job "
    "keeps its current hosts."
)

# The attribute of the job in which `apply_pool` keeps what it found and what it wrote. A job may be sent twice.
_NOTE = "_afpools_applied"

# The pool that `apply_pool` got for this job, and what has been decided for the next time it is sent, `WITHOUT` for no
# pool. Only built-in types, because a plug-in with another version of this library may have set them.
_OWN, _OWN_SPILL, _SETTLED = "_afpools_own", "_afpools_own_spill", "_afpools_settled"


def apply_pool(
    job: Any,
    pool: str,
    client: Client,
    accept: Sequence[str] = ("regex", "find"),
    future_hosts: str = "required",
    max_bytes: int = MAX_MASK_BYTES,
    spill_to: Optional[str] = None,
    spill_after: int = SPILL_SECONDS,
) -> Optional[Mask]:
    """Keeps a job on a pool's hosts: sets its exclude mask and the mask's type, and notes in `custom_data` which pool
    the job wants, so that a broker can move the fence when the pool changes.

    Everything else stays as it is. A `custom_data` that is not a JSON object is somebody's own text and stays too: the
    job is fenced, but its fence does not move when the pool changes, and the `warning` says so. If the job already has
    an exclude mask, the broker joins it with the pool's. It reads the job's mask as the job's `hosts_mask_type` says;
    if that is not set, as this farm reads the masks of the job's user; and if that is not known to be regex, as either
    type. If the pool's mask is a regex, other masks of the job and its blocks that afserver would have read as `find`
    are rewritten to mean the same.

    Args:
        job: an `af.Job`: its `data` is a dictionary, `blocks` a list of `af.Block`.
        pool: the pool's name; empty for no pool, which leaves the job untouched.
        client: asked for the mask; waits as long as its timeout says.
        accept: the mask types that may be set on the job. The broker knows which of them the farm understands.
        future_hosts: `required`: the job is not sent if its mask would not exclude hosts that register later. `wanted`:
            it is sent anyway.
        max_bytes: how long the mask may be. Give less if something other than `job.send()` passes it on.
        spill_to: a second pool, which the job may use too if it waits too long. None: as its pool says. Empty: none,
            whatever its pool says.
        spill_after: after how many seconds in a row without a running task; 60 at least.

    Returns:
        The mask that was put on the job, None for no pool. Show its `warning`, if it has one, to whoever sends the job.

    Raises:
        PoolNotApplied: there is no mask that would keep this job on this pool. The job was not changed; do not send it.
    """
    if not pool:
        return None
    mask = _fence(job, pool, client, accept, future_hosts, max_bytes, spill_to, spill_after)
    setattr(job, _OWN, pool)
    setattr(job, _OWN_SPILL, (spill_to, spill_after))
    setattr(job, _SETTLED, pool)
    return mask


def _fence(
    job: Any,
    pool: str,
    client: Client,
    accept: Sequence[str] = ("regex", "find"),
    future_hosts: str = "required",
    max_bytes: int = MAX_MASK_BYTES,
    spill_to: Optional[str] = None,
    spill_after: int = SPILL_SECONDS,
) -> Mask:
    """As `apply_pool`, for a job that may get another pool when it is sent again."""
    applied: List[_Applied] = getattr(job, _NOTE, [])
    try:
        own = _OwnMasks(_own(job.data, applied), accept)
        mask = own.ask(client, pool, accept, future_hosts, max_bytes)
        settings = own.with_pool(mask, _spill(spill_to, spill_after, mask.pool, client))
        if "custom_data" not in settings:
            mask = mask._replace(unfollowed=_UNFOLLOWED)
        changes: List[Tuple[_Data, _Data]] = [(job.data, settings)]
        if settings.get("hosts_mask_type") == "regex" and own.reading(mask) != "regex":
            rewrite = _Rewrite(own.type, mask.untyped_as, own.user)
            if own.data.get("hosts_mask"):
                settings["hosts_mask"] = rewrite.mask("hosts mask", own.data["hosts_mask"])
            changes += [(block.data, rewrite.block(_own(block.data, applied))) for block in job.blocks]
    except AfpoolsError as error:
        raise PoolNotApplied(pool, error) from error
    for data, before, after in applied:
        _put_back(data, before, after)
    setattr(job, _NOTE, [(data, {key: data.get(key) for key in after}, after) for data, after in changes])
    for data, after in changes:
        data.update(after)
    return mask


class _OwnMasks:
    """The job's own exclude mask.

    Args:
        data: the job's, without a pool.
        accept: the mask types that may be set on it.

    Raises:
        AfpoolsError: it has an unknown mask type.
    """

    def __init__(self, data: _Data, accept: Sequence[str]) -> None:
        self.data = data
        # If only regex may be set, all of the job's masks must be regex.
        self.type = (data.get("hosts_mask_type") or "") if "find" in accept else "regex"
        self.user = str(data.get("user_name") or "")
        self._exclude, self._exclude_type = data.get("hosts_mask_exclude") or "", self.type
        # A job that was made from what afserver listed has its pool's mask, and its own mask is in its note.
        note = parse_note(data.get("custom_data"))
        if note and note.fingerprint and is_of(note, self._exclude, self.type):
            self._exclude, self._exclude_type = note.exclude, note.exclude_type
        if self.type not in ("", "find", "regex"):
            raise AfpoolsError(f"Its hosts_mask_type is {self.type!r}, and only 'find' and 'regex' are known.")

    def ask(self, client: Client, pool: str, accept: Sequence[str], future_hosts: str, max_bytes: int) -> Mask:
        """The pool's mask, joined with the job's own."""
        return client.exclude_mask(
            pool,
            # A regex cannot be written as find; find can be written as a regex.
            accept=("regex",) if self.type == "regex" else accept,
            exclude=self._exclude if re.sub(_SEPARATORS, "", self._exclude) else "",
            exclude_type=self._exclude_type or "either",
            user=self.user,
            future_hosts=future_hosts,
            max_bytes=max_bytes,
        )

    def reading(self, mask: Mask) -> str:
        """How the farm reads the job's masks: `regex`, `find`, `either` if not known; empty for an old broker."""
        return self.type or mask.untyped_as

    def with_pool(self, mask: Mask, spill: Optional[SpillNote]) -> _Data:
        """What to set: the mask, its type, and the note in `custom_data` if one can be added."""
        settings = {"hosts_mask_exclude": mask.mask}
        mask_type = (self.reading(mask) or "find") if mask.mask_type == "any" else mask.mask_type
        # If both types read the pool's mask alike, and the type of the job's other masks is not known, the type stays
        # unset.
        if mask_type != "either":
            settings["hosts_mask_type"] = mask_type
        note = Note(
            mask.pool,
            mask.revision,
            self._exclude,
            self._exclude_type or ("regex" if mask.untyped_as == "regex" else "either"),
            fingerprint(mask.mask, settings.get("hosts_mask_type", "")),
            spill=spill,
        )
        custom_data = with_note(self.data.get("custom_data"), note)
        if custom_data is not None:
            settings["custom_data"] = custom_data
        return settings


def _spill(to: Optional[str], after: int, pool: str, client: Client) -> Optional[SpillNote]:
    """What the job's note says about a second pool; arguments as for `apply_pool`.

    Raises:
        AfpoolsError: there is no such pool, or it is the job's own, or `after` is out of range.
    """
    if not to:
        return None if to is None else NO_SPILL
    if to == pool:
        raise AfpoolsError(f"Its second pool is {to!r} as well. Choose another one, or none.")
    if not MIN_SPILL_SECONDS <= after <= MAX_SPILL_SECONDS:
        raise AfpoolsError(
            f"{after!r} is not a valid number of seconds to wait for the second pool {to!r} (use {MIN_SPILL_SECONDS:,} "
            f"to {MAX_SPILL_SECONDS:,})."
        )
    return SpillNote(to, client.get_pool(to).revision, after)


def settle(
    job: Any,
    chosen: str,
    client: Callable[[], Client],
    otherwise: Callable[[], Standing] = standing,
) -> Optional[Mask]:
    """Decides which pool a job gets (see `choice`), and keeps it there. If this is called again before the job is sent,
    for example by the hook, the decision stands.

    Args:
        job: as for `apply_pool`.
        chosen: what the program's chooser says: a pool, `WITHOUT`, or empty for nothing.
        client: gives the client to ask; called for a job with a pool.
        otherwise: returns what applies if nothing is chosen.

    Returns:
        As `apply_pool`.

    Raises:
        PoolNotApplied: it cannot be kept on its pool, may not be sent without one, or it is not known whether it may.
            The job was not changed; do not send it.
    """
    was = _own(job.data, getattr(job, _NOTE, []))
    note = parse_note(was.get("custom_data"))
    said = getattr(job, _OWN, "") or (note.pool if note else "") or chosen
    # A maintenance job has a task for each machine that it names, and that task runs there only (Afanasy's
    # BlockData::getReadyTaskNumber). A pool that nobody asked for would exclude it from the others.
    if was.get("maintenance") and not (said or from_environment()):
        return None
    try:
        pool = decide(said, otherwise)
    except AfpoolsError as error:
        raise PoolNotApplied("", error) from error
    if pool:
        spill_to, spill_after = getattr(job, _OWN_SPILL, None) or _spill_in(note)
        try:
            asked = client()
        except AfpoolsError as error:
            raise PoolNotApplied(pool, error) from error
        mask: Optional[Mask] = _fence(job, pool, asked, spill_to=spill_to, spill_after=spill_after)
    else:
        mask = None
        _unfence(job)
    setattr(job, _SETTLED, pool or WITHOUT)
    return mask


def _spill_in(note: Optional[Note]) -> Tuple[Optional[str], int]:
    """What a job's own note says about a second pool, in the form that `apply_pool` takes."""
    spill = note.spill if note else None
    if spill is None or spill.of_pool:
        return None, SPILL_SECONDS
    return spill.pool, spill.after or SPILL_SECONDS


def _unfence(job: Any) -> None:
    """Removes what was put on a job when it was sent before, and a note that asks for no pool."""
    for data, before, after in getattr(job, _NOTE, []):
        _put_back(data, before, after)
    setattr(job, _NOTE, [])
    note = parse_note(job.data.get("custom_data"))
    if note and note.pool == WITHOUT:
        job.data["custom_data"] = without_note(job.data["custom_data"])


def _is_settled(job: Any) -> bool:
    """Whether the pool has been decided for this `send`, and nobody has changed the job since."""
    applied: List[_Applied] = getattr(job, _NOTE, [])
    intact = all(data.get(key) == value for data, _, after in applied for key, value in after.items())
    return bool(getattr(job, _SETTLED, "")) and intact


def log_warning(text: str) -> None:
    """Writes a warning to standard error."""
    if sys.stderr is not None:  # as in a program without a console on Windows
        sys.stderr.write(f"Afanasy Pools: {text}\n")


def apply_on_send(
    af: Any,
    chosen: Callable[[], str],
    client: Callable[[], Client],
    warn: Callable[[str], None] = log_warning,
    otherwise: Callable[[], Standing] = standing,
) -> Callable[[], None]:
    """From now on, every job that this Python sends gets its pool at that moment (see `choice`).

    Args:
        af: CGRU's module `af`.
        chosen: called for each job; returns what the program's chooser says: a pool, `choice.WITHOUT` for no pool, or
            an empty string if nothing was chosen. If it raises an exception, the job is not sent.
        client: called for each job with a pool; returns the client to ask. A `ProfileError` counts as a refusal.
        warn: called with a sentence before a job is sent to a pool if none of the pool's machines could run it now.
        otherwise: called if nothing was chosen; returns what applies then.

    Returns:
        A function that takes it back.

    Raises:
        PoolNotApplied: not by this function, but by `job.send()`, instead of sending the job.
    """
    original = af.Job.send

    @functools.wraps(original)
    def send(job: Any, *args: Any, **kwargs: Any) -> Any:
        if taken_back:
            return original(job, *args, **kwargs)
        said = ""
        if not _is_settled(job):
            said = getattr(job, _SETTLED, "") or chosen()
            mask = settle(job, said, client, otherwise)
            if mask is not None and mask.warning:
                warn(mask.warning)
        try:
            answer = original(job, *args, **kwargs)
            if said and said != WITHOUT and said == getattr(job, _SETTLED):
                _note_recent(said)
            return answer
        finally:
            # A job may be sent twice, and its pool may have changed by then.
            setattr(job, _SETTLED, "")

    taken_back: List[bool] = []

    def take_back() -> None:
        taken_back.append(True)
        # If somebody else has wrapped our function, it stays, and passes everything on.
        if af.Job.send is send:
            af.Job.send = original

    af.Job.send = send
    return take_back


def _note_recent(pool: str) -> None:
    """Has choosers show a pool near their top: somebody has chosen it, and a job was sent to it."""
    # Not before: a plug-in's first list of pools does not need it.
    from .cache import note_recent_pool

    note_recent_pool(pool)


def _own(data: _Data, applied: Sequence[_Applied]) -> _Data:
    """What a job or block says itself, without the pool that was put on it when it was sent before."""
    own = dict(data)
    for applied_to, before, after in applied:
        if applied_to is data:
            _put_back(own, before, after)
    return own


def _put_back(data: _Data, before: _Data, after: _Data) -> None:
    """Undoes what one `send` wrote, except what has been changed since."""
    for key, value in after.items():
        if data.get(key) == value:
            if before[key] is None:
                del data[key]
            else:
                data[key] = before[key]


class _Rewrite:
    """Rewrites the job's other masks if its type, which applies to blocks too, changes to regex.

    Args:
        own_type: the job's `hosts_mask_type`, empty for none.
        untyped_as: how the farm reads a job without a type, as `Mask.untyped_as`.
        user: whose job it is.
    """

    def __init__(self, own_type: str, untyped_as: str, user: str) -> None:
        self._own_type = own_type
        self._untyped_as = untyped_as
        self._user = user

    def block(self, data: _Data) -> _Data:
        """The masks of a block that change."""
        masks = {}
        for key, words in (("hosts_mask", "hosts mask"), ("hosts_mask_exclude", "exclude mask")):
            if data.get(key):
                name = f"{words} of the block {data.get('name', '')!r}"
                masks[key] = self.mask(name, data[key])
                if "\\" in masks[key]:
                    # afserver writes such masks into its database without escaping them, and then cannot read the job
                    # back.
                    raise AfpoolsError(f"The {name}, {data[key]!r}, cannot be kept beside a pool. Leave it empty.")
        return masks

    def mask(self, what: str, mask: str) -> str:
        """A mask as a regex that matches names beginning with one of its parts, unless it is already a regex.

        Raises:
            AfpoolsError: it looks like a regex, but the farm reads the job's masks as `find`.
        """
        if not self._own_type and re.search(_SPECIAL_IN_REGEX, mask):
            if self._untyped_as == "either":
                # As find it would match no host at all, so nobody meant that.
                return mask
            raise AfpoolsError(
                f"The {what}, {mask!r}, looks like a regex, but the job does not say so, and {self._farm_reads()}. "
                "Beside a pool, write beginnings of names (pc-0|pc-11), or set the job's hosts_mask_type, or leave it "
                "empty."
            )
        parts = [part for part in re.split(_SEPARATORS, mask) if part]
        return "(?:{}).*".format("|".join(re.sub(r"[^\w-]", _literally, part) for part in parts)) if parts else mask

    def _farm_reads(self) -> str:
        if not self._untyped_as:
            return "this broker is too old to say how the farm reads it"
        whose = f"the masks of jobs of {self._user!r}" if self._user else "such masks"
        return f"this farm reads {whose} as the beginnings of names"


def _literally(match: Any) -> str:
    # A character class instead of a backslash wherever possible, see `_Rewrite.block`.
    character = match.group()
    return "\\" + character if character in "^\\[]" else f"[{character}]"
