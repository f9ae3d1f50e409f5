"""What a job says about its fence: a note in its `custom_data`, written when the job is sent and read by the broker.

Strategy: the note has everything that is needed to make the job's mask again: the pool, and what the job excluded
before the pool's mask was joined with it. A fingerprint of the mask shows later whether somebody has changed it.
Whatever else is in `custom_data` stays there. The broker uses this module too, so that both agree about every
character.
"""

from __future__ import annotations

import json

from .process import importing
from .records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Optional

KEY = "afpools"
"""The note's key in `custom_data`, beside whatever else is there."""


SPILL_SECONDS = 30 * 60
"""The default time, in seconds, that a job waits for its pool before it may also use a second one."""

MIN_SPILL_SECONDS = 60
"""Seconds. afserver starts tasks once a second, and with thousands of jobs a restart takes it half a minute."""

MAX_SPILL_SECONDS = 30 * 24 * 3600


class SpillNote(Record):
    """A second pool, for a job that has no running task for `after` seconds in a row.

    An empty `pool` means that the job never gets one, whatever its pool says. `revision` is the second pool's revision
    when the note was written. `since` is when the broker allowed the job to use the second pool too (ISO 8601); empty
    if it has not. `of_pool`: this comes from the job's pool, not from the job itself.
    """

    pool: str
    revision: str = ""
    after: int = 0
    since: str = ""
    of_pool: bool = False


NO_SPILL = SpillNote("")
"""The note of a job that stays in its pool."""


class Note(Record):
    """The note of one job.

    `pool` is the pool that the job wants and `revision` the pool's revision when the mask was made. `exclude` is the
    job's own exclude mask, without the pool's, and `exclude_type` says how it is read: `regex`, `find`, or `either` for
    a job without a type. `fingerprint` is that of the mask that was set (see the function `fingerprint`); it is empty
    in a note from a version that did not make one. The broker adds `moved`, when it last changed the mask (ISO 8601),
    and `by`, the change that made this necessary; both are empty on a job that is still as it was sent. `spill` is
    None on a job that leaves it to its pool whether it gets a second one.
    """

    pool: str
    revision: str
    exclude: str = ""
    exclude_type: str = "either"
    fingerprint: str = ""
    moved: str = ""
    by: str = ""
    spill: Optional[SpillNote] = None


def fingerprint(mask: str, mask_type: str) -> str:
    """Twelve hexadecimal digits that differ when the mask or its type does.

    Args:
        mask: a job's `hosts_mask_exclude`.
        mask_type: its `hosts_mask_type`; empty if none was set.
    """
    # Not imported at the top: it loads a second part of OpenSSL, which a list of pools does not need.
    with importing:
        import hashlib
    return hashlib.sha256(f"{mask_type} {mask}".encode("utf-8", "surrogatepass")).hexdigest()[:12]


def is_of(note: Note, mask: str, mask_type: str) -> bool:
    """Whether a job still has the mask that its note is about.

    Args:
        note: the job's.
        mask: the job's `hosts_mask_exclude` now.
        mask_type: its `hosts_mask_type` now; empty if afserver lists none, as before Afanasy 3.4.0.
    """
    # If no type was set, or none is listed, only the mask can be compared.
    types = [mask_type, ""] if mask_type else ["", "regex", "find"]
    return any(fingerprint(mask, each) == note.fingerprint for each in types)


def parse_note(custom_data: Any) -> Optional[Note]:
    """The note in a job's `custom_data`; None if there is no readable one."""
    data = _object(custom_data)
    ours = data.get(KEY) if data else None
    if not isinstance(ours, dict) or not ours.get("pool"):
        return None
    known = {key: ours[key] for key in Note._fields if key in ours and key != "spill"}
    if not all(isinstance(value, str) and _is_text(value) for value in known.values()):
        return None
    if known.setdefault("exclude_type", "either") not in ("regex", "find", "either"):
        return None
    # If it cannot be read, it neither names a second pool nor permits the pool's own.
    spill = (parse_spill(ours["spill"]) or NO_SPILL) if "spill" in ours else None
    return Note(**{"revision": "", **known, "spill": spill})


def parse_spill(value: Any) -> Optional[SpillNote]:
    """What a note says about a second pool; None if that cannot be read."""
    if not isinstance(value, dict):
        return None
    pool, after, of_pool = value.get("pool"), value.get("after", 0), value.get("of_pool", False)
    revision, since = value.get("revision", ""), value.get("since", "")
    texts = (pool, revision, since)
    if not all(isinstance(text, str) and _is_text(text) for text in texts) or not isinstance(of_pool, bool):
        return None
    if pool and (type(after) is not int or not MIN_SPILL_SECONDS <= after <= MAX_SPILL_SECONDS):
        return None
    return SpillNote(str(pool), revision, after, since, of_pool) if pool else NO_SPILL


def with_note(custom_data: Any, note: Note) -> Optional[str]:
    """`custom_data` with the note in it, and everything else as it was.

    Returns:
        None if `custom_data` is not a JSON object: then it is somebody's own text, and a note cannot be added.
    """
    data = _object(custom_data)
    if data is None:
        return None
    left_out = ("moved", "by", "spill")
    said = {key: value for key, value in note._asdict().items() if value or key not in left_out}
    if note.spill is not None:
        said["spill"] = {key: value for key, value in note.spill._asdict().items() if value or key == "pool"}
    return json.dumps({**data, KEY: said})


def without_note(custom_data: Any) -> str:
    """`custom_data` without the note and with everything else unchanged; empty if there is nothing else."""
    data = {key: value for key, value in (_object(custom_data) or {}).items() if key != KEY}
    return json.dumps(data) if data else ""


def _is_text(value: str) -> bool:
    """Whether a string can be sent: JSON can hold half of a surrogate pair, UTF-8 cannot."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _object(custom_data: Any) -> Optional[Dict[str, Any]]:
    """`custom_data` as a dictionary, empty if there is none; None if it is something else."""
    if custom_data is None or (isinstance(custom_data, str) and not custom_data.strip()):
        return {}
    try:
        data = json.loads(custom_data)
    except (TypeError, ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None
