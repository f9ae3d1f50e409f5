"""What a job wants, judged by its own data: pure functions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, NamedTuple

from afpools.fence_note import Note, is_of, parse_note

from .jobs import Job

Kind = Literal["none", "unmarked", "changed", "ours"]


@dataclass(frozen=True)
class Intent:
    """What a job says about its pool.

    Args:
        kind: `none`: it names no pool. `unmarked`: it names a pool, but not which mask was set. `changed`: its mask is
            not the one that was set. `ours`: it is as we left it.
        note: our note on it; None for `none`.
    """

    kind: Kind
    note: Note | None = None


NONE = Intent("none")


def intent_of(job: Job) -> Intent:
    """What a job wants."""
    note = parse_note(job.custom_data)
    if note is None:
        return NONE
    if not note.fingerprint:
        return Intent("unmarked", note)
    ours = is_of(note, job.hosts_mask_exclude, job.hosts_mask_type)
    return Intent("ours" if ours else "changed", note)


class ParamsLine(NamedTuple):
    """A line of a job's log about keys that somebody set.

    Args:
        who: the user and the machine, as `anna@ws-04`.
        when: as afserver writes it, to the minute.
        said: the keys and their values; without what was set on blocks.
    """

    who: str
    when: str
    said: str

    def is_by(self, user: str) -> bool:
        """Whether this user did it, on any machine."""
        return self.who.startswith(f"{user}@")


# `Wed 25 Nov 08:18.50: root@x 127.0.0.1: jobs params: live c@anna:  "hosts_mask_exclude" set to "pc-03"`
# With an operation in the same action, it is `jobs restart params:` (afnodesrv.cpp, log.h).
# A person's name may have spaces in it, as on Windows. It ends at the first @, so that no line takes long to read.
_LINE = re.compile(r"(?P<when>\w{3} \d+ \w{3} \d\d:\d\d)\.\d\d: (?P<who>[^@:\n]+@\S+) \S+: jobs (?:\w+ )?params: ")
# What follows was set on a block (measured on 3.4.1).
_BLOCK = "\bBlock['"
_ABOUT = ('"hosts_mask_exclude"', '"hosts_mask_type"', '"custom_data"')


def params_line(line: str) -> ParamsLine | None:
    """A line of a job's log that says which keys somebody set; None for any other."""
    found = _LINE.match(line)
    return ParamsLine(found["who"], found["when"], line[found.end() :].partition(_BLOCK)[0]) if found else None


def changed_by(lines: list[str], ours: str, fence: Literal["changed", "removed"] = "changed") -> str:
    """A sentence that says who last changed a job's mask or custom data, or removed its note, from the job's log.

    Args:
        lines: the log, oldest first.
        ours: the name under which this program acts.
        fence: what was done.
    """
    about, did = (_ABOUT[-1:], "Note removed") if fence == "removed" else (_ABOUT, "Changed")
    for line in reversed(lines):
        found = params_line(line)
        if found and any(key in found.said for key in about) and not found.is_by(ours):
            return f"{did} by {found.who}, {found.when}."
    return f"{did} by a person; the job's log does not say who."


def is_removed_by(lines: list[str], ours: str) -> bool:
    """Whether this program set a job's custom data last, so that no person has removed its note."""
    for line in reversed(lines):
        found = params_line(line)
        if found and _ABOUT[-1] in found.said:
            return found.is_by(ours)
    return False
