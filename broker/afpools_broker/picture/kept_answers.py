"""Answers kept as bytes: equal requests within the same tenth of a second differ only in their ids.

Strategy: the bytes around the id are the key, and are not parsed again. So this module knows two places where an id can
be found without parsing JSON: after the version at the very beginning, and as the last item in the object. An id of
letters and digits is the same in JSON as it is by itself. Any other request is answered as if nothing had been kept.

What is kept belongs to one moment and is dropped with it, so nobody is told an age that is no longer true.
"""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

Moment = TypeVar("Moment")

# As msgspec and most others write them, and as Python's json does, which puts the id last if it is added last.
_BEGINNINGS = b'{"v":1,"id":"', b'{"v": 1, "id": "'
_ENDINGS = b',"id":"', b', "id": "'

# The most requests that are kept, and the most bytes of an answer; ours are 300 bytes, and a long mask has 24 KiB. For
# a larger answer most of the work is copying, whether or not it is kept.
_MOST, _MOST_BYTES, _LARGEST, _LONGEST_REQUEST = 1000, 4 * 1024 * 1024, 64 * 1024, 1024

# What `encode_answer` writes before and after the id.
_HEAD, _OK = b'{"v":1,"id":"', b'","ok":true,'

_LONGEST_ID = 64


class Kept(NamedTuple):
    """An answer.

    Args:
        operation: the operation that it answers, for the statistics.
        rest: the rest of the answer, after the id.
    """

    operation: str
    rest: bytes


def part(data: bytes) -> tuple[bytes, bytes] | None:
    """Splits a request at its id.

    Returns:
        Its id and the bytes around it; None if the request is not that simple.
    """
    if len(data) > _LONGEST_REQUEST:
        return None
    parted = _part_at_the_beginning(data)
    if parted is not None:
        # Of two ids in one object the last one counts, and a backslash can disguise a key.
        return None if b'"id"' in parted[1] or b"\\" in parted[1] else parted
    if data.startswith(_BEGINNINGS):
        return None
    if data.endswith(b'"}'):
        # The quotation mark before it opens the text that the last one closes, since there is none in between. So this
        # is the last value of the outermost object.
        start = data.rfind(b'"', 0, -2) + 1
        request_id = data[start:-2]
        if request_id.isalnum() and len(request_id) <= _LONGEST_ID and data.endswith(_ENDINGS, 0, start):
            return request_id, data[:start]
    return None


def _part_at_the_beginning(data: bytes) -> tuple[bytes, bytes] | None:
    start = len(_BEGINNINGS[0]) if data.startswith(_BEGINNINGS[0]) else len(_BEGINNINGS[1])
    if start != len(_BEGINNINGS[0]) and not data.startswith(_BEGINNINGS[1]):
        return None
    end = data.find(b'"', start, start + _LONGEST_ID + 1)
    request_id = data[start:end]
    # The rest begins with the quotation mark, but what comes before an id at the end begins with a brace: they never
    # match.
    return (request_id, data[end:]) if end > 0 and request_id.isalnum() else None


class KeptAnswers(Generic[Moment]):
    """The answers of one moment. Safe to use from any thread: the first thread that sees a new moment starts afresh."""

    def __init__(self) -> None:
        self._now: tuple[Moment | None, dict[bytes, Kept], list[int]] = (None, {}, [0])

    def find(self, data: bytes, moment: Moment) -> tuple[str, bytes] | None:
        """The answer to a request, if it is known at this moment, and the operation that it answers.

        Args:
            data: the whole request.
            moment: everything that an answer depends on besides the request; compared with `==`.
        """
        of, answers, _ = self._now
        if of is not moment and of != moment:
            return None
        # Any other reason to refuse a request was checked before its answer was kept.
        parted = _part_at_the_beginning(data) or part(data)
        kept = answers.get(parted[1]) if parted is not None else None
        return (kept.operation, _HEAD + parted[0] + kept.rest) if parted is not None and kept is not None else None

    def keep(self, data: bytes, moment: Moment, operation: str, answer: bytes) -> None:
        """Keeps an answer that was made at this moment, replacing all others if there are too many. A refusal is
        not kept: it is counted by its code, each time.

        Args:
            data: the whole request.
            moment: as for `find`.
            operation: the requested operation.
            answer: the answer to the whole request.
        """
        parted = part(data)
        if parted is None:
            return
        request_id, rest = parted
        if len(answer) > _LARGEST or not answer.startswith(request_id + _OK, len(_HEAD)):
            return
        of, answers, size = self._now
        added = len(rest) + len(answer)
        if of != moment or len(answers) >= _MOST or size[0] + added > _MOST_BYTES:
            self._now = _, answers, size = moment, {}, [0]
        answers[rest] = Kept(operation, answer[len(_HEAD) + len(request_id) :])
        size[0] += added
