"""A person's edit that our change overwrote: found in the job's log and restored.

Strategy: afserver cannot be told to change a job only if it is still as it was read, and it carries out in sequence
what arrives within a second. So what a person set between our read and our action is lost; but it is in the job's log,
right before our own line. The job as it was read, plus what people set since our previous line, is what the job would
be without us. If that differs from what was read, a person's edit was lost.

The log has the values as they were given (afnodesrv.cpp, name_afjson.cpp). It keeps its last 100 lines, and is empty
after a restart of afserver.
"""

from __future__ import annotations

import logging
import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import msgspec

from afpools.fence_note import with_note

from ..farm.afserver import Ask, FarmError
from .apply import USER, Move, Mover, Outcome
from .intent import intent_of, params_line
from .jobs import Job, read_log
from .plan import is_done, params_for

log = logging.getLogger("afpools.live")

# How often to try to restore an edit: the job may change at the same time again.
_TRIES = 5

# The most changes that wait for their job's log to be read. Where the fences of thousands of jobs move again and again,
# the oldest are given up: memory must not grow without end.
_MOST_WAITING = 20_000

# `"custom_data" set to "…"`, and `"hosts_mask_exclude" invalid pattern "…"`; afserver shows the latter mask, too.
_KEY = re.compile(r'(?:: {2}|\n)"(?P<key>\w+)" (?:set to|invalid pattern) ')
_KEYS = ("hosts_mask_exclude", "hosts_mask_type", "custom_data")


@dataclass(frozen=True)
class Edit:
    """What people set that our change overwrote.

    Args:
        who: the last of them, with machine and time, as in afserver's log.
        values: the values of the job's keys.
    """

    who: str
    values: Mapping[str, Any]


def lost_edit(lines: Sequence[str], move: Move) -> Edit | None:
    """The edit that a change of ours overwrote; None if it overwrote none, or if the log does not show it.

    Args:
        lines: the job's log, oldest first.
        move: the change, with the job as it was read before.
    """
    ours = next((at for at in range(len(lines) - 1, -1, -1) if _is_of(lines[at], move)), None)
    if ours is None:
        return None
    values: dict[str, Any] = {}
    who: dict[str, str] = {}
    for line in reversed(lines[:ours]):
        found = params_line(line)
        if found is None:
            continue
        if found.is_by(USER):
            break
        for key, value in _values(found.said).items():
            if key not in values:
                values[key], who[key] = value, f"{found.who}, {found.when}"
    lost = {key: value for key, value in values.items() if value != getattr(move.job, key)}
    return Edit(who[next(iter(lost))], lost) if lost else None


def _is_of(line: str, move: Move) -> bool:
    found = params_line(line)
    return found is not None and found.is_by(USER) and f'"custom_data" set to "{move.params["custom_data"]}"' in line


def _values(said: str) -> dict[str, Any]:
    """What a line of the log says about the keys that our changes also set."""
    marks = list(_KEY.finditer(said))
    given = {
        mark["key"]: said[mark.end() : after.start() if after else len(said)]
        for mark, after in zip_longest(marks, marks[1:])
        if mark is not None
    }
    values: dict[str, Any] = {key: given[key].removeprefix('"').removesuffix('"') for key in _KEYS if key in given}
    if values.get("hosts_mask_type", "find") not in ("find", "regex"):
        del values["hosts_mask_type"]  # afserver logs that it set this, but does not
    # Any action unhides a hidden job unless the action says otherwise (measured).
    values["hidden"] = given.get("hidden") == "true"
    return values


def giving_back(before: Job, now: Job, edit: Edit) -> dict[str, Any]:
    """The parameters of the action that restores an edit.

    Args:
        before: the job as it was read before our change.
        now: the job as it is, with our change.
        edit: what was lost.
    """
    without_us: Job = msgspec.structs.replace(before, **edit.values)
    mask, mask_type, custom_data = now.hosts_mask_exclude, now.hosts_mask_type, now.custom_data
    theirs, ours = intent_of(without_us), intent_of(now)
    if theirs.kind == "ours" and theirs.note is not None and ours.note is not None:
        # It follows its pool as before; only the rest of its custom data, or the pool that it names, is the person's.
        said = ours.note if theirs.note == intent_of(before).note else theirs.note
        custom_data = with_note(without_us.custom_data, said._replace(fingerprint=ours.note.fingerprint)) or custom_data
    else:
        if {"hosts_mask_exclude", "hosts_mask_type"} & set(edit.values):
            mask, mask_type = without_us.hosts_mask_exclude, without_us.hosts_mask_type
        if "custom_data" in edit.values:
            custom_data = without_us.custom_data
    params = params_for(now, mask, mask_type, custom_data)
    params.pop("hidden", None)
    if edit.values.get("hidden", now.hidden):
        params["hidden"] = True
    return params


@dataclass
class _Sent:
    move: Move
    tries: int = 0


class Overwritten:
    """Looks for lost edits in the logs of jobs that were changed, and restores them.

    Args:
        ask: sends one request to afserver; raises `FarmError`.
        mover: carries out the action that restores an edit.
    """

    def __init__(self, ask: Ask, mover: Mover) -> None:
        self._ask, self._mover = ask, mover
        self._sent: deque[_Sent] = deque(maxlen=_MOST_WAITING)

    def __len__(self) -> int:
        return len(self._sent)

    def watch(self, moves: Iterable[Move]) -> None:
        """Checks these changes later. Safe to call from any thread."""
        self._sent.extend(map(_Sent, moves))

    def look(self, job_now: Callable[[int], Job | None], at_most: int) -> Outcome:
        """Checks some of the changes; returns the outcome for those that were reverted in favour of a person's edit.

        Args:
            job_now: returns a job as it was last read.
            at_most: the most logs to read.

        Raises:
            FarmError: afserver does not answer. What has not been checked is checked the next time.
        """
        back: dict[int, tuple[_Sent, Move]] = {}
        for _ in range(min(at_most, len(self._sent))):
            sent = self._sent.popleft()
            try:
                found = self._edit_of(sent, job_now(sent.move.job.id))
            except FarmError:
                self._sent.appendleft(sent)
                self._sent.extend(each for each, _ in back.values())
                raise
            if found is not None:
                back[sent.move.job.id] = (sent, found)
        if not back:
            return Outcome()
        try:
            outcome = self._mover.carry_out([move for _, move in back.values()])
        except FarmError:
            self._sent.extend(each for each, _ in back.values())
            raise
        done = {move.job.id for move in outcome.made}
        # Somebody may have set something in that second, too. These moves do not count as moved fences.
        self.watch(outcome.made)
        outcome.done, outcome.made = [], []
        for number, (sent, _) in back.items():
            tries = sent.tries + (number in outcome.read)  # those that did not fit into the batch have not been tried
            if number not in done and tries <= _TRIES:
                self._sent.append(_Sent(sent.move, tries))
        return outcome

    def _edit_of(self, sent: _Sent, now: Job | None) -> Move | None:
        """The change that restores an edit; None if there is nothing to restore."""
        before = sent.move.job
        if now is None or now.serial != before.serial or not _is_as_left(now, sent.move):
            return None
        edit = lost_edit(read_log(self._ask, before.id), sent.move)
        if edit is None:
            return None
        log.warning(
            "Job %d: the change by %s came in the same second as ours, which overwrote %s. Restoring it.",
            *(before.id, edit.who, " and ".join(sorted(edit.values))),
        )
        return Move(now, giving_back(before, now, edit))


def _is_as_left(now: Job, move: Move) -> bool:
    """Whether nobody has changed the job since: it still follows its pool, or is as it was restored."""
    return intent_of(now).kind == "ours" or is_done(now, move.params)
